"""Anthropic Claude: the Messages API, as InvokeModel takes it.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

import base64
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import Capabilities, capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    Document,
    Encoded,
    FinishReason,
    Image,
    InvocationType,
    Number,
    Part,
    PlainForm,
    Policy,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    dumps,
)
from tasks.codecs.families._common import (
    EMPTY_OBJECT,
    decode_as,
    limit_max_tokens,
    named_function,
    native_reason,
    plain_sampling,
    refuse_rest,
    refuse_unseen,
    safe_tool_id,
    sampling,
    stop_sequences,
    take,
    tool_arguments,
    without_default_sampling,
)
from tasks.codecs.families._conversation import check_beginning, continue_thinking
from tasks.codecs.families._reasoning import keep_thinking
from tasks.codecs.families._thinking import claude_thinking
from tasks.codecs.families._tools import (
    fit_format,
    force_json_tool,
    plain_tool,
    single_tools,
    strict_tool,
    wrap_odd_keys,
)
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES

VERSION: Final = "bedrock-2023-05-31"


_FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    #: Of thoughts that only the model can read.
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = EMPTY_OBJECT


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _StopDetails(msgspec.Struct, gc=False):
    explanation: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None
    stop_details: _StopDetails | None = None


_decode = msgspec.json.Decoder(_Message).decode


class AnthropicCodec:
    family = "anthropic"
    prefers: InvocationType = "InvokeModel"
    native_tools = True
    tidy = None
    replays_thinking = True
    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        facts = capabilities_of(model)
        refuse_unseen(chat, facts, policy)
        limit_max_tokens(chat, facts, policy)
        chat.tools = [plain_tool(tool, policy) for tool in single_tools(chat.tools, policy)]
        wrapped = wrap_odd_keys(chat)
        output_config, json_tool = _structure(chat, facts, policy)
        _check_choice(chat, facts, policy)
        forced = bool(chat.tools) and chat.tool_choice not in (None, "auto", "none")
        formatted = "format" in output_config or json_tool.json_tool is not None
        check_beginning(chat, facts, policy, formatted=formatted)
        thinking = _think(chat, facts, policy, output_config, forced=forced)
        temperature, top_p = sampling(chat, facts, policy)
        stops = stop_sequences(chat, policy)
        top_k, beta = take(chat, "top_k"), take(chat, "anthropic_beta")
        extra = take(chat, "additionalModelRequestFields")
        refuse_rest(chat, policy)
        body: dict[str, Any] = {
            "anthropic_version": VERSION,
            "max_tokens": chat.max_tokens or _default_max_tokens(facts),
        }
        if isinstance(extra, dict):
            body |= extra
        if chat.system:
            body["system"] = "\n\n".join(chat.system)
        body["messages"] = [_encode_turn(turn) for turn in chat.turns]
        if temperature is not None:
            body["temperature"] = temperature
        if top_p is not None:
            body["top_p"] = top_p
        if stops:
            body["stop_sequences"] = stops
        if chat.uses_tools:
            body["tools"] = _encode_tools(chat, facts, policy)
            choice = _encode_tool_choice(chat)
            if choice:
                body["tool_choice"] = choice
        for field, value in (
            ("thinking", thinking),
            ("output_config", output_config or None),
            ("top_k", top_k),
            ("anthropic_beta", beta),
        ):
            if value is not None:
                body[field] = value
        return Encoded(body, json_tool.json_tool, json_tool.json_key, wrapped)

    def plain_form(self, model: Model) -> PlainForm:
        facts = capabilities_of(model)
        default = _default_max_tokens(facts)

        def parameters(max_tokens: int | None, temperature: Number | None, top_p: Number | None) -> bytes | None:
            temperature, top_p = without_default_sampling(temperature, top_p, facts)
            given = (temperature is not None) + (top_p is not None)
            if given > _MOST_SAMPLING[facts.sampling] or not plain_sampling(max_tokens, temperature, top_p, facts):
                return None
            values = {"max_tokens": max_tokens or default, "temperature": temperature, "top_p": top_p}
            return b"]," + dumps({k: v for k, v in values.items() if v is not None})[1:]

        return PlainForm(
            opening=b'{"anthropic_version":"bedrock-2023-05-31",',
            system=(b'"system":', b","),
            user=(b'{"role":"user","content":', b"}"),
            assistant=(b'{"role":"assistant","content":', b"}"),
            parameters=parameters,
        )

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        message = decode_as(_decode, output, "an Anthropic message", "usage", "stop_details")
        finish, usage = _FINISH.get(message.stop_reason or "end_turn", "stop"), _usage(message.usage)
        first = message.content[0] if len(message.content) == 1 else None
        if first is not None and first.type == "text" and message.stop_reason != "refusal":
            # Nearly always it is one text.
            return Answer(first.text or "", finish, usage, native_reason=native_reason(message.stop_reason))
        text: list[str] = []
        thinking: list[Thinking] = []
        calls: list[ToolCall] = []
        for block in message.content:
            if block.type == "text" and block.text is not None:
                text.append(block.text)
            elif block.type == "thinking" and block.thinking is not None:
                thinking.append(Thinking(block.thinking, block.signature))
            elif block.type == "redacted_thinking" and block.data is not None:
                thinking.append(Thinking("", redacted=block.data))
            elif block.type == "tool_use" and block.id is not None and block.name is not None:
                calls.append(ToolCall(block.id, block.name, tool_arguments(block.input)))
        content = "".join(text) if text or not calls else None
        answer = Answer(content, finish, usage, calls, native_reason=native_reason(message.stop_reason))
        keep_thinking(answer, thinking)
        if message.stop_reason == "refusal":
            why = message.stop_details.explanation if message.stop_details is not None else None
            answer.refusal = why or content or "The model declined to answer."
            answer.content = content or None if why else None
        return answer

    def padding(self) -> bytes:
        return b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'


_MOST_SAMPLING: Final = {"none": 0, "one": 1, "both": 2}


def _default_max_tokens(facts: Capabilities) -> int:
    """Claude wants a number: what an answer may need, thoughts included where the model thinks by itself."""
    return facts.default_max_tokens or 8192


def _structure(chat: Chat, facts: Capabilities, policy: Policy) -> tuple[dict[str, Any], Encoded]:
    """response_format: a structured output where model and schema allow one, else a forced tool."""
    if chat.json_format is None:
        return {}, Encoded({})
    fitted = fit_format(chat.json_format, facts)
    if isinstance(fitted, str):
        return {}, force_json_tool(chat, facts, policy, fitted)
    fitted.note("response_format.json_schema.schema", policy)
    # The format has no description of its own: it stands before the schema's.
    texts = (chat.json_format.description, fitted.schema.get("description"))
    told = [text for text in texts if isinstance(text, str) and text]
    schema = {**fitted.schema, "description": "\n\n".join(told)} if told else fitted.schema
    chat.json_format = None
    return {"format": {"type": "json_schema", "schema": schema}}, Encoded({})


def _think(
    chat: Chat, facts: Capabilities, policy: Policy, output_config: dict[str, Any], *, forced: bool
) -> dict[str, Any] | None:
    """`thinking` as it was asked for, and as the history allows it; `output_config` gets the effort."""
    given = "thinking" if "thinking" in chat.rest else "reasoning_effort"
    thinking = claude_thinking(chat, facts, policy, output_config, forced=forced)
    allowed = continue_thinking(chat, thinking, policy, given)
    if allowed is None:
        output_config.pop("effort", None)
    return allowed


def _check_choice(chat: Chat, facts: Capabilities, policy: Policy) -> None:
    """Refuse a forced call, or leave the choice to the model, where it cannot be made to call a tool."""
    if chat.tools and chat.tool_choice not in (None, "auto", "none") and not facts.forces_tools:
        policy.refuse("tool_choice", "this model cannot be made to call a tool.")
        chat.tool_choice = "auto"


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    cached = usage.cache_read_input_tokens or 0
    # Claude counts cache reads and writes beside input_tokens; OpenAI counts them in.
    written = usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    thought = details.thinking_tokens or 0 if details is not None else 0
    return Usage(usage.input_tokens + cached + written, usage.output_tokens, cached, thought, written)


def _encode_turn(turn: Turn) -> dict[str, Any]:
    if len(turn.parts) == 1 and isinstance(turn.parts[0], Text):
        return {"role": turn.role, "content": turn.parts[0].text}
    return {"role": turn.role, "content": [_encode_part(part) for part in turn.parts]}


def _encode_part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case ToolCall(id, name, arguments):
            return {"type": "tool_use", "id": safe_tool_id(id), "name": name, "input": msgspec.Raw(arguments)}
        case ToolResult(id, parts):
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": safe_tool_id(id)}
            if parts:
                result["content"] = [_encode_part(inner) for inner in parts]
            return result
        case Image(format, data):
            return {"type": "image", "source": {"type": "base64", "media_type": f"image/{format}", "data": data}}
        case Document("pdf", name, data):
            source = {"type": "base64", "media_type": "application/pdf", "data": data}
            return {"type": "document", "source": source, "title": name}
        case Document(_, name, data):
            text = base64.b64decode(data).decode()
            return {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": text},
                "title": name,
            }
        case Thinking(_, _, str(redacted)):
            return {"type": "redacted_thinking", "data": redacted}
        case Thinking(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}


def _encode_tools(chat: Chat, facts: Capabilities, policy: Policy) -> list[dict[str, Any]]:
    tools = []
    for tool in chat.tools:
        encoded: dict[str, Any] = {"name": tool.name}
        if tool.description:
            encoded["description"] = tool.description
        encoded["input_schema"], strict = strict_tool(tool, facts, policy)
        if strict:
            encoded["strict"] = True
        tools.append(encoded)
    # Claude refuses tool_use blocks of tools that are not declared.
    declared = {tool.name for tool in chat.tools}
    used = {part.name: None for turn in chat.turns for part in turn.parts if isinstance(part, ToolCall)}
    tools += [{"name": name, "input_schema": {"type": "object"}} for name in used if name not in declared]
    return tools


def _encode_tool_choice(chat: Chat) -> dict[str, Any] | None:
    if not chat.tools:
        return {"type": "none"}
    choice = chat.tool_choice
    if choice == "none":
        return {"type": "none"}
    encoded: dict[str, Any] = {"type": "auto"}
    if choice == "required":
        encoded = {"type": "any"}
    elif choice is not None and choice != "auto":
        encoded = {"type": "tool", "name": named_function(choice)}
    if chat.parallel_tool_calls is False:
        encoded["disable_parallel_tool_use"] = True
    return encoded if choice is not None or chat.parallel_tool_calls is False else None


CODEC = AnthropicCodec()
