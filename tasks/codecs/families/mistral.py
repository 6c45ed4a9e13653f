"""Mistral: three native forms. Instruct prompts, chat completions with `stop_reason`, and OpenAI-like models.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral.html
"""

import re
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, Chat, DecodeError, Encoded, FinishReason, InvocationType, Policy
from tasks.codecs.families._common import (
    decode_as,
    limit_max_tokens,
    native_reason,
    refuse_rest,
    take,
    unit_temperature,
)
from tasks.codecs.families._prompts import GeneralCodec, kept, neutralise, plain_text, refuse_tools
from tasks.codecs.families._thinking import refuse_effort
from tasks.codecs.families._tools import force_json_tool, single_tools, without_strict
from tasks.codecs.families.openai_bodied import OpenAIBodiedCodec, decode_completion, encode_messages, encode_tools

_TOKENS: Final = re.compile(
    r"</?s>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT|IMG|TOOL_CONTENT)\]"
)


class _Text(msgspec.Struct, gc=False):
    text: str
    stop_reason: str | None = None


class _Outputs(msgspec.Struct, gc=False):
    outputs: list[_Text]


_decode = msgspec.json.Decoder(_Outputs).decode


class InstructCodec(GeneralCodec):
    """7B Instruct, Mixtral 8x7B, Large and Small 24.02: a prompt. Their answers carry no usage, Converse's do."""

    family = "mistral-instruct"
    prefers: InvocationType = "Converse"
    native_tools = False

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        limit_max_tokens(chat, capabilities_of(model), policy)
        refuse_tools(chat, "Mistral's instruct form", model, policy)
        system = neutralise("\n\n".join(chat.system), _TOKENS)
        if chat.turns[-1].role == "assistant":
            policy.refuse_always("messages", "the instruct form ends with a user message.")
        prompt = "<s>"
        for place, turn in enumerate(chat.turns):
            text = neutralise(plain_text(turn, "Mistral's instruct form", policy), _TOKENS)
            if turn.role == "assistant":
                prompt += f" {text}</s>"
            else:
                lead = f"{system}\n\n" if place == 0 and system else ""
                prompt += f"[INST] {lead}{text} [/INST]"
        body = {"prompt": prompt} | kept(
            max_tokens=chat.max_tokens,
            temperature=unit_temperature(chat, policy),
            top_p=chat.top_p,
            stop=chat.stop,
            top_k=take(chat, "top_k"),
        )
        refuse_rest(chat, policy)
        return Encoded(body)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        parsed = decode_as(_decode, output, "a Mistral answer")
        if not parsed.outputs:
            raise DecodeError("not a Mistral answer (no outputs)")
        first = parsed.outputs[0]
        finish: FinishReason = "length" if first.stop_reason == "length" else "stop"
        return Answer(first.text.strip(), finish, None, native_reason=native_reason(first.stop_reason))

    def padding(self) -> bytes:
        return b'{"prompt":"<s>[INST] Hi [/INST]","max_tokens":1}'


class ChatCompletionCodec(GeneralCodec):
    """Large 24.07: messages and tools, answers with `stop_reason` and without usage."""

    family = "mistral-chat"
    prefers: InvocationType = "Converse"
    native_tools = True

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        facts = capabilities_of(model)
        limit_max_tokens(chat, facts, policy)
        chat.tools = without_strict(single_tools(chat.tools, policy), facts, policy)
        json_tool = force_json_tool(chat, facts, policy)
        refuse_effort(chat, facts, policy)
        if chat.parallel_tool_calls is False:
            policy.refuse("parallel_tool_calls", "it cannot be kept to one call.")
        body: dict[str, Any] = {"messages": encode_messages(chat, policy, images=False, short_ids=True)}
        body |= kept(
            max_tokens=chat.max_tokens, temperature=unit_temperature(chat, policy), top_p=chat.top_p, stop=chat.stop
        )
        if json_tool.json_tool or (chat.tool_choice or "").startswith("function:"):
            # It knows no named function: one tool that must be called is the same.
            named = (chat.tool_choice or "").removeprefix("function:")
            chat.tools = [tool for tool in chat.tools if tool.name == named]
            chat.tool_choice = "required"
        body |= encode_tools(chat, required="any")
        refuse_rest(chat, policy)
        return Encoded(body, json_tool.json_tool, json_tool.json_key)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        return decode_completion(output, "a Mistral chat completion")

    def padding(self) -> bytes:
        return b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'


class OpenAILikeCodec(OpenAIBodiedCodec):
    """Pixtral and all models since Large 3: OpenAI's body, with images."""

    family = "mistral"


CODECS = (InstructCodec(), ChatCompletionCodec(), OpenAILikeCodec())
