"""Anthropic Claude: the Messages API, as InvokeModel takes it.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
"""

import base64
import re
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
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
    force_json_tool,
    named_function,
    plain_sampling,
    refuse_rest,
    safe_tool_id,
    stop_sequences,
    take,
    tool_arguments,
    unit_temperature,
)
from tasks.codecs.families._conversation import check_beginning, continue_thinking
from tasks.codecs.families._reasoning import keep_thinking
from tasks.codecs.families._schemas import close_objects
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES

VERSION: Final = "bedrock-2023-05-31"


_FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


#: Claude 3 answers with at most 4,096 tokens; all later models take 8,192.
_CLAUDE_3: Final = re.compile(r"claude-3-(?:haiku|sonnet|opus)-")


#: Generations that refuse temperature and top_p in one request, and those that refuse either.
_ONE_SAMPLING_FIELD: Final = re.compile(r"claude-(?:opus-4-[1-6]|(?:sonnet|haiku)-4-[5-9])(?:-|$)")


#: Generations with structured outputs, with adaptive thinking, and with a thinking budget.
_STRUCTURED: Final = re.compile(
    r"claude-(?:(?:opus|sonnet|haiku)-4-[5-9]|(?:opus|sonnet|haiku|fable|mythos)-[5-9])(?:-|$)"
)


_ADAPTIVE: Final = re.compile(
    r"claude-(?:(?:opus|sonnet|haiku)-4-[6-9]|(?:opus|sonnet|haiku|fable|mythos)-[5-9])(?:-|$)"
)


_THINKS: Final = re.compile(r"claude-(?:3-7-sonnet|(?:opus|sonnet|haiku)-4)(?:-|$)")


#: Thinking tokens for OpenAI's efforts; Claude takes 1,024 or more.
_LEAST_BUDGET: Final = 1024


_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768}


_NO_SAMPLING: Final = re.compile(r"claude-(?:opus-4-[789]|(?:opus|sonnet|haiku|fable|mythos)-[5-9])(?:-|$)")


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
    replays_thinking = True
    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        output_config, json_tool = self._structure(chat, model, policy)
        thinking = self._thinking(chat, model, policy, output_config, forced=json_tool is not None)
        given = "reasoning_effort" if chat.reasoning_effort is not None else "thinking"
        formatted = bool(output_config.get("format")) or json_tool is not None
        check_beginning(chat, capabilities_of(model), policy, formatted=formatted)
        thinking = continue_thinking(chat, thinking, policy, given)
        temperature, top_p = self._sampling(chat, model, policy)
        stops = stop_sequences(chat, policy)
        top_k, beta = take(chat, "top_k"), take(chat, "anthropic_beta")
        extra = take(chat, "additionalModelRequestFields")
        refuse_rest(chat, policy)
        body: dict[str, Any] = {
            "anthropic_version": VERSION,
            "max_tokens": chat.max_tokens or self._default_max_tokens(model),
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
            body["tools"] = _encode_tools(chat)
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
        return Encoded(body, json_tool)

    def plain_form(self, model: Model) -> PlainForm:
        default = self._default_max_tokens(model)

        def parameters(max_tokens: int | None, temperature: Number | None, top_p: Number | None) -> bytes | None:
            temperature, top_p = self._without_defaults(model, temperature, top_p)
            if not plain_sampling(max_tokens, temperature, top_p) or not self._takes(model, temperature, top_p):
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
            return Answer(first.text or "", finish, usage)
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
        answer = Answer(content, finish, usage, calls)
        keep_thinking(answer, thinking)
        if message.stop_reason == "refusal":
            why = message.stop_details.explanation if message.stop_details is not None else None
            answer.refusal = why or content or "The model declined to answer."
            answer.content = content or None if why else None
        return answer

    def padding(self) -> bytes:
        return b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'

    @staticmethod
    def _structure(chat: Chat, model: Model, policy: Policy) -> tuple[dict[str, Any], str | None]:
        """response_format: structured outputs where the generation has them, else a forced tool."""
        wanted = chat.json_format
        if wanted is not None and wanted.schema is not None and _STRUCTURED.match(model.name):
            closed = close_objects(wanted.schema)
            if closed is not None:
                chat.json_format = None
                return {"format": {"type": "json_schema", "schema": closed}}, None
        return {}, force_json_tool(chat, policy)

    @staticmethod
    def _thinking(
        chat: Chat, model: Model, policy: Policy, output_config: dict[str, Any], *, forced: bool
    ) -> dict[str, Any] | None:
        """reasoning_effort as the generation thinks: by effort, by budget, or not at all; `thinking` as it is."""
        given, effort = take(chat, "thinking"), chat.reasoning_effort
        if isinstance(given, dict):
            return given
        if effort is None:
            return None
        if _ADAPTIVE.match(model.name):
            if effort == "none":
                return {"type": "disabled"}
            output_config["effort"] = "low" if effort == "minimal" else effort
            return {"type": "adaptive"}
        if effort == "none":
            return None
        if not _THINKS.match(model.name):
            policy.refuse("reasoning_effort", "this Claude generation does not think aloud.")
            return None
        choice = chat.tool_choice or "auto"
        if forced or (chat.tools and choice not in ("auto", "none")):
            policy.refuse("reasoning_effort", "thinking and a forced tool call exclude each other.")
            return None
        budget = _BUDGETS[effort]
        if chat.max_tokens is None:
            chat.max_tokens = budget + AnthropicCodec._default_max_tokens(model)
        elif chat.max_tokens <= _LEAST_BUDGET:
            policy.refuse("reasoning_effort", f"thinking takes {_LEAST_BUDGET:,} tokens and max_tokens must be above.")
            return None
        else:
            # max_tokens covers thinking and answer, at OpenAI as here: half of a small one is left for the answer.
            budget = min(budget, max(_LEAST_BUDGET, chat.max_tokens // 2))
        for field, value in (
            ("temperature", chat.temperature),
            ("top_p", chat.top_p),
            ("top_k", chat.rest.get("top_k")),
        ):
            if value is not None and not (field != "top_k" and value == 1):
                policy.refuse(field, "it cannot be set while Claude thinks.")
        chat.temperature = chat.top_p = None
        chat.rest.pop("top_k", None)
        return {"type": "enabled", "budget_tokens": budget}

    @staticmethod
    def _default_max_tokens(model: Model) -> int:
        return 4096 if _CLAUDE_3.match(model.name + "-") else 8192

    @staticmethod
    def _without_defaults(
        model: Model, temperature: Number | None, top_p: Number | None
    ) -> tuple[Number | None, Number | None]:
        """Leave out a 1 that a generation would refuse: at OpenAI as at Claude it is what happens without the field."""
        if _NO_SAMPLING.match(model.name):
            return (None if temperature == 1 else temperature), (None if top_p == 1 else top_p)
        if temperature is not None and top_p is not None and _ONE_SAMPLING_FIELD.match(model.name):
            if top_p == 1:
                return temperature, None
            if temperature == 1:
                return None, top_p
        return temperature, top_p

    @staticmethod
    def _takes(model: Model, temperature: Number | None, top_p: Number | None) -> bool:
        if temperature is None and top_p is None:
            return True
        if _NO_SAMPLING.match(model.name):
            return False
        both = temperature is not None and top_p is not None
        return not (both and _ONE_SAMPLING_FIELD.match(model.name))

    @staticmethod
    def _sampling(chat: Chat, model: Model, policy: Policy) -> tuple[Number | None, Number | None]:
        temperature, top_p = AnthropicCodec._without_defaults(model, unit_temperature(chat, policy), chat.top_p)
        if _NO_SAMPLING.match(model.name):
            for field, value in (("temperature", temperature), ("top_p", top_p), ("top_k", take(chat, "top_k"))):
                if value is not None:
                    policy.refuse(field, "this Claude generation refuses sampling parameters.")
            return None, None
        if temperature is not None and top_p is not None and _ONE_SAMPLING_FIELD.match(model.name):
            policy.refuse("top_p", "this Claude generation takes temperature or top_p, not both.")
            return temperature, None
        return temperature, top_p


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
        case ToolCall(id, name, arguments):
            return {"type": "tool_use", "id": safe_tool_id(id), "name": name, "input": msgspec.Raw(arguments)}
        case ToolResult(id, parts):
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": safe_tool_id(id)}
            if parts:
                result["content"] = [_encode_part(inner) for inner in parts]
            return result


def _encode_tools(chat: Chat) -> list[dict[str, Any]]:
    tools = []
    for tool in chat.tools:
        encoded: dict[str, Any] = {"name": tool.name}
        if tool.description:
            encoded["description"] = tool.description
        encoded["input_schema"] = tool.parameters
        if tool.strict:
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
