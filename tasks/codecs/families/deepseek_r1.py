"""DeepSeek R1: a prompt with exact tokens, an answer whose text starts with its reasoning. Chats go by Converse.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html
"""

import re
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, Chat, DecodeError, Encoded, FinishReason, InvocationType, Policy
from tasks.codecs.families._common import decode_as, limit_max_tokens, native_reason, refuse_rest, unit_temperature
from tasks.codecs.families._prompts import GeneralCodec, kept, neutralise, plain_text, refuse_tools

_TOKENS: Final = re.compile(r"<｜[^｜>]{1,40}｜>|</?think>")


class _Choice(msgspec.Struct, gc=False):
    text: str
    stop_reason: str | None = None


class _Output(msgspec.Struct, gc=False):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Output).decode


class DeepSeekR1Codec(GeneralCodec):
    family = "deepseek-r1"
    prefers: InvocationType = "Converse"
    native_tools = False

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        limit_max_tokens(chat, capabilities_of(model), policy)
        refuse_tools(chat, "DeepSeek R1", model, policy)
        refuse_rest(chat, policy)
        prompt = "<｜begin▁of▁sentence｜>" + neutralise("\n\n".join(chat.system), _TOKENS)
        for turn in chat.turns:
            text = neutralise(plain_text(turn, "DeepSeek R1", policy), _TOKENS)
            prompt += f"<｜User｜>{text}" if turn.role == "user" else f"<｜Assistant｜>{text}<｜end▁of▁sentence｜>"
        body: dict[str, Any] = {"prompt": prompt + "<｜Assistant｜><think>\n"}
        body |= kept(
            max_tokens=chat.max_tokens, temperature=unit_temperature(chat, policy), top_p=chat.top_p, stop=chat.stop
        )
        return Encoded(body)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        parsed = decode_as(_decode, output, "a DeepSeek R1 answer")
        if not parsed.choices:
            raise DecodeError("not a DeepSeek R1 answer (no choices)")
        first = parsed.choices[0]
        # The prompt has opened <think>; what comes before its end is reasoning, all of it where the answer was cut.
        reasoning, closed, text = first.text.removeprefix("<think>").partition("</think>")
        finish: FinishReason = "length" if first.stop_reason == "length" else "stop"
        if not closed and finish == "stop":
            reasoning, text = "", reasoning
        native = native_reason(first.stop_reason)
        return Answer(text.strip(), finish, None, reasoning=reasoning.strip() or None, native_reason=native)

    def padding(self) -> bytes:
        return b'{"prompt":"Hi","max_tokens":1}'


CODEC = DeepSeekR1Codec()
