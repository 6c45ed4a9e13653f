"""Models whose native body is OpenAI's chat completion: gpt-oss, Qwen, DeepSeek V3, Gemma, Kimi, MiniMax, GLM …

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html; the open-weight families'
bodies are the same, with the differences that the table of models has.
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
    Number,
    PlainForm,
    Policy,
    RequestError,
    Text,
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
    take,
    tool_arguments,
    unit_temperature,
)
from tasks.codecs.families._conversation import shorten_tool_ids
from tasks.codecs.families._reasoning import separate_thoughts, take_leaked_calls, take_thoughts_out
from tasks.codecs.families._thinking import effort_word, refuse_effort
from tasks.codecs.families._tools import force_json_tool, single_tools, without_strict
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES

_FINISH: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # Mistral's own servers, where the model's window is full; DeepSeek's, where they cut an answer off.
    "model_length": "length",
    "insufficient_system_resource": "length",
}


#: Fields that go through by OpenAI's own name.
_PASSED: Final = ("seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "top_k")


class _TopLogprob(msgspec.Struct, gc=False):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprob(_TopLogprob, gc=False):
    top_logprobs: list[_TopLogprob] = []


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Logprob] | None = None
    refusal: list[_Logprob] | None = None


# msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"null")


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: msgspec.Raw = EMPTY_OBJECT


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    #: What servers of before had in place of tool_calls.
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None
    stop_reason: str | None = None
    logprobs: msgspec.Raw = _ABSENT


class _CachedDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ReasoningDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _CachedDetails | None = None
    completion_tokens_details: _ReasoningDetails | None = None
    # Where there are no details: Kimi's, DeepSeek's and Qwen's own servers.
    cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Completion).decode


_decode_logprobs = msgspec.json.Decoder(_Logprobs | None).decode


_decode_text = msgspec.json.Decoder(str).decode


def encode_messages(chat: Chat, policy: Policy, *, images: bool, short_ids: bool = False) -> list[dict[str, Any]]:
    """OpenAI messages of a chat."""
    if short_ids:
        shorten_tool_ids(chat)
    messages: list[dict[str, Any]] = []
    if chat.system:
        messages.append({"role": "system", "content": "\n\n".join(chat.system)})
    for turn in chat.turns:
        messages += _turn(turn, policy, images=images)
    if not any(message["role"] == "user" for message in messages):
        raise RequestError("'messages' holds no user message with content that this model takes.", "messages")
    return messages


def _turn(turn: Turn, policy: Policy, *, images: bool) -> list[dict[str, Any]]:
    results = [
        {"role": "tool", "tool_call_id": part.id, "content": _flat(part.parts, policy)}
        for part in turn.parts
        if isinstance(part, ToolResult)
    ]
    content: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Image) and images:
            content.append({"type": "image_url", "image_url": {"url": f"data:image/{part.format};base64,{part.data}"}})
        elif isinstance(part, Image | Document):
            policy.refuse(
                "messages[].content[]", "it takes text only.", count_as=f"messages[].content[] ({part.format})"
            )
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments.decode()}}
        for part in turn.parts
        if isinstance(part, ToolCall)
    ]
    text_only = all(part["type"] == "text" for part in content)
    plain: Any = "\n".join(part["text"] for part in content) if text_only else content
    if calls:
        return [{"role": "assistant", "content": plain or None, "tool_calls": calls}]
    return results + ([{"role": turn.role, "content": plain}] if content else [])


def _flat(parts: list[Text | Image | Document], policy: Policy) -> str:
    for part in parts:
        if not isinstance(part, Text):
            policy.refuse("messages[].content[]", "tool results are text.", count_as="messages[].content[] (tool)")
    # An empty content is refused: as Converse has it, nothing is an empty object.
    return "\n".join(part.text for part in parts if isinstance(part, Text)) or "{}"


def encode_tools(chat: Chat, *, required: str = "required") -> dict[str, Any]:
    """`tools` and `tool_choice`; `required` is the family's own word for it."""
    if not chat.tools:
        return {}
    tools = []
    for tool in chat.tools:
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
        if tool.description:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        tools.append({"type": "function", "function": function})
    body: dict[str, Any] = {"tools": tools}
    choice = chat.tool_choice
    if choice is not None:
        named = {"type": "function", "function": {"name": named_function(choice)}}
        body["tool_choice"] = {"auto": "auto", "none": "none", "required": required}.get(choice, named)
    return body


class OpenAIBodiedCodec:
    family = "openai-bodied"
    prefers: InvocationType = "InvokeModel"
    native_tools = True
    tidy = staticmethod(take_thoughts_out)
    replays_thinking = False
    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        facts = capabilities_of(model)
        limit_max_tokens(chat, facts, policy)
        body: dict[str, Any] = {
            "messages": encode_messages(chat, policy, images=facts.images, short_ids=facts.short_tool_ids)
        }
        if chat.max_tokens is not None:
            body[facts.max_tokens_name] = chat.max_tokens
        temperature = unit_temperature(chat, policy) if facts.temperature == 1 else chat.temperature
        for field, value in (("temperature", temperature), ("top_p", chat.top_p)):
            if value is not None:
                body[field] = value
        if chat.stop and not facts.stop:
            policy.refuse("stop", "this model takes no stop sequences.")
        elif chat.stop:
            body["stop"] = chat.stop
        json_tool = Encoded({})
        if chat.json_format is not None and not facts.structured_output:
            json_tool = force_json_tool(chat, facts, policy)
        self._tools(chat, facts, body, policy)
        self._format(chat, body)
        self._effort(chat, facts, body, policy)
        for field in _PASSED:
            if field in chat.rest and (facts.penalties or not field.endswith("penalty")):
                body[field] = take(chat, field)
        extra = take(chat, "additionalModelRequestFields")
        if isinstance(extra, dict):
            body |= extra
        refuse_rest(chat, policy)
        return Encoded(body, json_tool.json_tool, json_tool.json_key)

    @staticmethod
    def _effort(chat: Chat, facts: Capabilities, body: dict[str, Any], policy: Policy) -> None:
        effort = chat.reasoning_effort
        word = effort_word(effort, facts) if effort not in (None, "none") else None
        if word is not None:
            body["reasoning_effort"] = word
        else:
            refuse_effort(chat, facts, policy)

    @staticmethod
    def _tools(chat: Chat, facts: Capabilities, body: dict[str, Any], policy: Policy) -> None:
        if chat.uses_tools and not facts.tools:
            if any(isinstance(part, ToolCall | ToolResult) for turn in chat.turns for part in turn.parts):
                policy.refuse_always("messages[].tool_calls", "this model takes no tools.")
            policy.refuse("tools", "this model takes no tools.")
            return
        chat.tools = without_strict(single_tools(chat.tools, policy), facts, policy)
        form = chat.tool_choice if chat.tool_choice in (None, "auto", "none", "required") else "named"
        if chat.tools and form is not None and form not in facts.tool_choice:
            policy.refuse("tool_choice", f"this model does not know {form!r}.")
            chat.tool_choice = "auto"
        body |= encode_tools(chat)
        if chat.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = chat.parallel_tool_calls

    @staticmethod
    def _format(chat: Chat, body: dict[str, Any]) -> None:
        wanted = chat.json_format
        if wanted is None:
            return
        if wanted.schema is None:
            body["response_format"] = {"type": "json_object"}
            return
        schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
        if wanted.description:
            schema["description"] = wanted.description
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        body["response_format"] = {"type": "json_schema", "json_schema": schema}

    def plain_form(self, model: Model) -> PlainForm:
        facts = capabilities_of(model)

        def parameters(max_tokens: int | None, temperature: Number | None, top_p: Number | None) -> bytes | None:
            if not plain_sampling(max_tokens, temperature, top_p, facts, highest=facts.temperature):
                return None
            values = {facts.max_tokens_name: max_tokens, "temperature": temperature, "top_p": top_p}
            kept = {name: value for name, value in values.items() if value is not None}
            return b"]," + dumps(kept)[1:] if kept else b"]}"

        return PlainForm(
            opening=b"{",
            system=None,
            user=(b'{"role":"user","content":', b"}"),
            assistant=(b'{"role":"assistant","content":', b"}"),
            parameters=parameters,
        )

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        return decode_completion(output, "a chat completion")

    def padding(self) -> bytes:
        return b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'


def decode_completion(output: bytes | msgspec.Raw, what: str) -> Answer:
    """The answer in a chat completion; some families name its finish_reason stop_reason."""
    completion = decode_as(_decode, output, what, "usage")
    if not completion.choices:
        raise DecodeError(f"not {what} (no choices)")
    choice = completion.choices[0]
    message = choice.message
    ended = choice.finish_reason or choice.stop_reason
    finish = _FINISH.get(ended or "stop", "stop")
    content, thoughts = _text(message.content, what)
    apart = message.reasoning_content or message.reasoning or thoughts or None
    reasoning, content = separate_thoughts(content, apart, finish)
    given = message.tool_calls or ([_Call(message.function_call)] if message.function_call is not None else [])
    calls = [
        ToolCall(call.id or f"call_{number}", call.function.name, _arguments(call.function.arguments))
        for number, call in enumerate(given)
    ]
    elsewhere = calls or message.refusal
    answer = Answer(content if content or not elsewhere else None, finish, _usage(completion.usage), calls)
    answer.native_reason = native_reason(ended)
    answer.reasoning, answer.refusal, answer.logprobs = reasoning, message.refusal, _logprobs(choice.logprobs)
    take_leaked_calls(answer)
    return answer


def _text(content: Any, what: str) -> tuple[str, str]:
    """The text of a content, and the thoughts in it, which Magistral has as parts of their own."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        texts = [part.get("text") or "" for part in parts if part.get("type") != "thinking"]
        thoughts = [_thoughts(part.get("thinking")) for part in parts if part.get("type") == "thinking"]
        if all(isinstance(text, str) for text in texts):
            return "".join(texts), "".join(thoughts)
    raise DecodeError(f"not {what} (its content is no text)")


def _thoughts(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_thoughts(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _arguments(value: msgspec.Raw) -> bytes:
    """Arguments as JSON text: a string is the model's own, an object is left as it is written, and nothing is one."""
    written = tool_arguments(value)
    return (_decode_text(written).encode() or b"{}") if written.startswith(b'"') else written


def _logprobs(value: msgspec.Raw) -> _Logprobs | None:
    """The answer does not depend on them: what cannot be read is left out. Raises DecodeError for what is no UTF-8."""
    try:
        found: _Logprobs | None = _decode_logprobs(value)
    except UnicodeDecodeError:
        raise DecodeError("its logprobs are no UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        (prompt.cached_tokens if prompt else None) or usage.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        (completion.reasoning_tokens if completion else None) or usage.reasoning_tokens or 0,
        (prompt.cache_write_tokens if prompt else None) or 0,
    )


CODEC = OpenAIBodiedCodec()
