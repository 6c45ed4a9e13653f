"""Converse: one body for every chat model that has it, and the parts that Nova's native body shares with it.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import Capabilities, capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    DecodeError,
    Document,
    Encoded,
    FinishReason,
    Image,
    InvocationType,
    JsonFormat,
    Number,
    Part,
    PlainForm,
    Policy,
    RequestError,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    dumps,
)
from tasks.codecs.families._common import (
    EMPTY_OBJECT,
    decode_as,
    limit_max_tokens,
    native_reason,
    plain_sampling,
    refuse_rest,
    refuse_unseen,
    safe_tool_id,
    sampling,
    stop_sequences,
    take,
    tool_arguments,
)
from tasks.codecs.families._conversation import check_beginning, continue_thinking
from tasks.codecs.families._reasoning import keep_thinking
from tasks.codecs.families._thinking import claude_thinking, effort_word, refuse_effort
from tasks.codecs.families._tools import fit_format
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES

_FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
}


class _ReasoningText(msgspec.Struct, gc=False):
    text: str | None = None
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel", gc=False):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Generated(msgspec.Struct, gc=False):
    text: str | None = None


class _Cited(msgspec.Struct, gc=False):
    content: list[_Generated] | None = None


class _ToolUse(msgspec.Struct, rename="camel", gc=False):
    tool_use_id: str
    name: str
    input: msgspec.Raw = EMPTY_OBJECT


class _Block(msgspec.Struct, rename="camel", gc=False):
    # A batch job echoes every alternative of the union, the others as null: only values count, not keys.
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    #: Text with its sources beside it.
    citations_content: _Cited | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] | None = None


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Usage(msgspec.Struct, rename="camel", gc=False):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_read_input_token_count: int | None = None
    cache_write_input_token_count: int | None = None


class _Response(msgspec.Struct, rename="camel", gc=False):
    output: _Output
    stop_reason: str | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Response).decode


def encode_content(part: Part) -> dict[str, Any]:
    """One ContentBlock."""
    match part:
        case Text(text):
            return {"text": text}
        case Image(format, data):
            return {"image": {"format": format, "source": {"bytes": data}}}
        case Document(format, name, data):
            return {"document": {"format": format, "name": name, "source": {"bytes": data}}}
        case Thinking(_, _, str(redacted)):
            return {"reasoningContent": {"redactedContent": redacted}}
        case Thinking(text, signature):
            return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
        case ToolCall(id, name, arguments):
            return {"toolUse": {"toolUseId": safe_tool_id(id), "name": name, "input": msgspec.Raw(arguments)}}
        case ToolResult(id, parts):
            # A result needs content, and blank text is refused: an empty answer becomes an empty object.
            content = [encode_content(inner) for inner in parts] or [{"json": {}}]
            return {"toolResult": {"toolUseId": safe_tool_id(id), "content": content}}


def encode_conversation(chat: Chat) -> dict[str, Any]:
    """`system` and `messages`."""
    body: dict[str, Any] = {}
    if chat.system:
        body["system"] = [{"text": text} for text in chat.system]
    body["messages"] = [
        {"role": turn.role, "content": [encode_content(part) for part in turn.parts]} for turn in chat.turns
    ]
    _number_documents(body["messages"])
    for message in body["messages"]:
        alone = [block["document"]["name"] for block in message["content"] if "document" in block]
        if alone and not any("text" in block for block in message["content"]):
            # A message with a document needs a text as well.
            message["content"].append({"text": alone[0]})
    return body


def _number_documents(messages: list[dict[str, Any]]) -> None:
    """Documents of one conversation must not share a name."""
    seen: set[str] = set()
    for message in messages:
        for block in message["content"]:
            document = block.get("document")
            if document is None:
                continue
            name, number = document["name"], 1
            while document["name"] in seen:
                number += 1
                document["name"] = f"{name[:190]} {number}"
            seen.add(document["name"])


def encode_inference_config(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any]:
    limit_max_tokens(chat, facts, policy)
    temperature, top_p = sampling(chat, facts, policy)
    values = {
        "maxTokens": chat.max_tokens,
        "temperature": temperature,
        "topP": top_p,
        "stopSequences": stop_sequences(chat, policy) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def plain_form(opening: bytes, facts: Capabilities) -> PlainForm | None:
    """The same for plain text; `opening` starts the object. None where it takes more than to put the text in."""
    if facts.sampling != "both":
        return None

    def parameters(max_tokens: int | None, temperature: Number | None, top_p: Number | None) -> bytes | None:
        if not plain_sampling(max_tokens, temperature, top_p, facts):
            return None
        values = {"maxTokens": max_tokens, "temperature": temperature, "topP": top_p}
        config = {name: value for name, value in values.items() if value is not None}
        return b'],"inferenceConfig":%b}' % dumps(config) if config else b"]}"

    return PlainForm(
        opening=opening,
        system=(b'"system":[{"text":', b"}],"),
        user=(b'{"role":"user","content":[{"text":', b"}]}"),
        assistant=(b'{"role":"assistant","content":[{"text":', b"}]}"),
        parameters=parameters,
    )


def decode_response(output: bytes | msgspec.Raw, what: str) -> Answer:
    """The answer in a Converse response, or in Nova's native one, which has its shape."""
    response = decode_as(_decode, output, what, "usage")
    if response.output.message is None:
        raise DecodeError(f"not {what} (no message)")
    text: list[str] = []
    thinking: list[Thinking] = []
    calls: list[ToolCall] = []
    for block in response.output.message.content or ():
        if block.text is not None:
            text.append(block.text)
        elif block.tool_use is not None:
            use = block.tool_use
            calls.append(ToolCall(use.tool_use_id, use.name, tool_arguments(use.input)))
        elif block.reasoning_content is not None:
            thought = block.reasoning_content.reasoning_text
            if thought is not None:
                thinking.append(Thinking(thought.text or "", thought.signature))
            elif block.reasoning_content.redacted_content is not None:
                thinking.append(Thinking("", redacted=block.reasoning_content.redacted_content))
        elif block.citations_content is not None:
            text += [each.text or "" for each in block.citations_content.content or ()]
    finish = _FINISH.get(response.stop_reason or "end_turn", "stop")
    answer = Answer("".join(text) if text or not calls else None, finish, _usage(response.usage), calls)
    answer.native_reason = native_reason(response.stop_reason)
    if thinking:
        keep_thinking(answer, thinking)
    return answer


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    # Nova's native body names the cache counters with ...TokenCount; either way input_tokens excludes them.
    cached = usage.cache_read_input_tokens or usage.cache_read_input_token_count or 0
    written = usage.cache_write_input_tokens or usage.cache_write_input_token_count or 0
    return Usage(usage.input_tokens + cached + written, usage.output_tokens, cached, written=written)


def _text_format(wanted: JsonFormat, schema: dict[str, Any]) -> dict[str, Any]:
    """outputConfig.textFormat; its schema is a string."""
    structure: dict[str, Any] = {"schema": dumps(schema).decode(), "name": wanted.name}
    if wanted.description:
        structure["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": structure}}


def reasoning_config(effort: str, chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any]:
    """Nova's reasoningConfig for one of OpenAI's efforts; clears what may not stand beside it."""
    if effort == "none":
        return {"type": "disabled"}
    word = effort_word(effort, facts)
    if word == "high":
        # At high effort Nova sets its own length and sampling, and refuses ours.
        for field in ("max_tokens", "temperature", "top_p"):
            if getattr(chat, field) is not None:
                policy.refuse(field, "it cannot be set at high reasoning effort.")
                setattr(chat, field, None)
    return {"type": "enabled", "maxReasoningEffort": word}


class ConverseCodec:
    family = "converse"
    prefers: InvocationType = "Converse"
    native_tools = False
    tidy = None
    replays_thinking = True
    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})

    def serves(self, model: Model) -> bool:
        return True

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        facts = capabilities_of(model)
        if facts.kind != "chat":
            raise RequestError(f"{model.base_id} is a model for {facts.kind}, and takes no chats.", "model")
        if chat.uses_tools:
            self._refuse_tools(chat, policy)
        refuse_unseen(chat, facts, policy)
        if chat.stop and not (facts.stop and facts.stop_by_converse):
            policy.refuse("stop", "this model takes no stop sequences by Converse.")
            chat.stop = []
        if chat.system and not facts.system_by_converse:
            # Where there is no place for it, it goes before what the user says first.
            chat.turns[0].parts[:0] = [Text(text) for text in chat.system]
            chat.system = []
        check_beginning(chat, facts, policy, formatted=chat.json_format is not None)
        thinking = self._thinking(chat, facts, policy)
        additional = self._additional(chat, facts, policy) | thinking
        text_format = self._text_format(chat, facts, policy)
        config = encode_inference_config(chat, facts, policy)
        refuse_rest(chat, policy)
        body = encode_conversation(chat)
        if config:
            body["inferenceConfig"] = config
        if additional:
            body["additionalModelRequestFields"] = additional
        if text_format:
            body["outputConfig"] = {"textFormat": text_format}
        return Encoded(body)

    @staticmethod
    def _text_format(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any] | None:
        wanted = chat.json_format
        if wanted is None:
            return None
        fitted = fit_format(wanted, facts)
        if isinstance(fitted, str):
            policy.refuse("response_format", f"{fitted}, and a Converse batch job takes no tools.")
            return None
        fitted.note("response_format.json_schema.schema", policy)
        return _text_format(wanted, fitted.schema)

    @staticmethod
    def _thinking(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any]:
        """Claude's thinking and effort, as in its native body; others do not know earlier thoughts again."""
        if facts.codec != "anthropic":
            chat.leave_out_thinking(policy)
            return {}
        given = "thinking" if "thinking" in chat.rest else "reasoning_effort"
        output_config: dict[str, Any] = {}
        thinking = claude_thinking(chat, facts, policy, output_config, forced=False)
        allowed = continue_thinking(chat, thinking, policy, given)
        if allowed is None:
            return {}
        return {"thinking": allowed} | ({"output_config": output_config} if output_config else {})

    @staticmethod
    def _additional(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any]:
        """What Converse itself has no word for, in the model's own words."""
        given = take(chat, "additionalModelRequestFields")
        fields = dict(given) if isinstance(given, dict) else {}
        if facts.top_k and "top_k" in chat.rest and facts.sampling != "none":
            top_k = take(chat, "top_k")
            fields |= {"inferenceConfig": {"topK": top_k}} if facts.codec == "nova" else {facts.top_k: top_k}
        if "anthropic_beta" in chat.rest and facts.codec == "anthropic":
            fields["anthropic_beta"] = take(chat, "anthropic_beta")
        effort = chat.reasoning_effort
        if effort is None or facts.codec == "anthropic":
            return fields
        word = effort_word(effort, facts)
        if facts.codec == "nova" and facts.thinking:
            fields["reasoningConfig"] = reasoning_config(effort, chat, facts, policy)
        elif facts.codec == "openai-bodied" and word is not None and effort != "none":
            fields["reasoning_effort"] = word
        else:
            refuse_effort(chat, facts, policy)
        return fields

    def plain_form(self, model: Model) -> PlainForm | None:
        facts = capabilities_of(model)
        return plain_form(b"{", facts) if facts.system_by_converse else None

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        return decode_response(output, "a Converse response")

    def padding(self) -> bytes:
        return b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":1}}'

    @staticmethod
    def _refuse_tools(chat: Chat, policy: Policy) -> None:
        """Converse jobs answer a toolConfig with an error (UG/batch-inference), and tool blocks need one."""
        why = "a Converse batch job takes no tools; choose a Claude or Nova model."
        if any(isinstance(part, ToolCall | ToolResult) for turn in chat.turns for part in turn.parts):
            # Leaving calls and results out of a conversation would change what is asked.
            policy.refuse_always("messages[].tool_calls", why)
        policy.refuse("tools", why)


CODEC = ConverseCodec()
