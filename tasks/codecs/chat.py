"""/v1/chat/completions: its request body to a `Chat`, and `Answer`s to its response body.

Source: https://platform.openai.com/docs/api-reference/chat (create, and the chat completion object).
"""

import base64
import binascii
import json
import re
from typing import Any, Final, cast

import msgspec

from tasks.codecs.base import (
    Answer,
    Chat,
    Image,
    Part,
    Policy,
    RequestError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    dumps,
)

#: Fields that change nothing about the answer of a batch request, whatever their value.
_WITHOUT_EFFECT: Final = frozenset(
    {"model", "user", "metadata", "store", "stream", "stream_options", "service_tier", "safety_identifier",
     "prompt_cache_key", "prompt_cache_retention"}
)  # fmt: skip
#: Values that ask for what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
}
_MAPPED: Final = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice",
     "parallel_tool_calls"}
)  # fmt: skip
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DATA_URL: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def parse_chat(body: dict[str, Any], policy: Policy) -> Chat:
    """The neutral form of a chat completion body. Raises RequestError naming the field that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list with at least one message.", "messages")
    system, turns = _parse_messages(messages, policy)
    chat = Chat(system, _settle(turns, policy))
    chat.max_tokens = _integer(body, "max_completion_tokens", 1)
    if chat.max_tokens is None:
        chat.max_tokens = _integer(body, "max_tokens", 1)
    chat.temperature = _number(body, "temperature", 0, 2)
    chat.top_p = _number(body, "top_p", 0, 1)
    chat.stop = _parse_stop(body.get("stop"))
    chat.tools = _parse_tools(body.get("tools"))
    chat.tool_choice = _parse_tool_choice(body.get("tool_choice"), chat.tools)
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RequestError("'parallel_tool_calls' must be true or false.", "parallel_tool_calls", "invalid_type")
    chat.parallel_tool_calls = parallel if chat.tools else None
    chat.rest = {
        field: value
        for field, value in body.items()
        if value is not None
        and field not in _MAPPED
        and field not in _WITHOUT_EFFECT
        and not any(value == default and type(value) is type(default) for default in _DEFAULTS.get(field, ()))
    }
    return chat


def _parse_messages(messages: list[Any], policy: Policy) -> tuple[list[str], list[Turn]]:
    system: list[str] = []
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RequestError(f"'{where}' must be an object.", where, "invalid_type")
        role = message.get("role")
        if message.get("name") is not None and role != "tool" and role != "function":
            policy.refuse(f"{where}.name", "it has no participant names.", count_as="messages[].name")
        if role in ("system", "developer"):
            # Everything a target knows of system text is one place before the conversation.
            system += [part.text for part in _text_parts(message.get("content"), f"{where}.content")]
        elif role == "user":
            turns.append(Turn("user", list(_parse_parts(message.get("content"), f"{where}.content", policy))))
        elif role == "assistant":
            turns.append(Turn("assistant", _parse_assistant(message, where, policy)))
        elif role == "tool":
            call = message.get("tool_call_id")
            if not isinstance(call, str) or not call:
                raise RequestError(f"'{where}.tool_call_id' must name the call that this answers.",
                                   f"{where}.tool_call_id", "missing_required_parameter")  # fmt: skip
            parts = _parse_parts(message.get("content"), f"{where}.content", policy)
            turns.append(Turn("user", [ToolResult(call, [part for part in parts if not _is_blank(part)])]))
        else:
            raise RequestError(f"'{where}.role' must be system, developer, user, assistant or tool.", f"{where}.role")
    return [text for text in system if text.strip()], turns


def _parse_assistant(message: dict[str, Any], where: str, policy: Policy) -> list[Part]:
    parts: list[Part] = []
    if message.get("content") is not None:
        parts += _text_parts(message["content"], f"{where}.content")
    if message.get("refusal") is not None:
        parts += _text_parts(message["refusal"], f"{where}.refusal")
    for field in ("audio", "function_call"):
        if message.get(field) is not None:
            policy.refuse(f"{where}.{field}", "it has nothing like it.", count_as=f"messages[].{field}")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RequestError(f"'{where}.tool_calls' must be a list.", f"{where}.tool_calls", "invalid_type")
    for number, call in enumerate(calls):
        at = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not call.get("id"):
            raise RequestError(f"'{at}' must have an id and a function with a name.", at)
        parts.append(ToolCall(str(call["id"]), function["name"], _arguments(function.get("arguments"), at)))
    return parts


def _arguments(text: Any, where: str) -> bytes:
    if text is None or text == "":
        return b"{}"
    try:
        # The standard library keeps integers of any size; floats keep their shortest form.
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestError(
            f"'{where}.function.arguments' must be a JSON object in a string.", f"{where}.function.arguments"
        )
    return dumps(value)


def _text_parts(content: Any, where: str) -> list[Text]:
    """Content that may hold text only, as system, assistant and refusal content may."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise RequestError(f"'{where}' must be a string or a list of parts.", where, "invalid_type")
    parts = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            raise RequestError(f"'{at}' must be a text part here.", at)
        parts.append(Text(part[kind]))
    return parts


def _parse_parts(content: Any, where: str, policy: Policy) -> list[Text | Image]:
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise RequestError(f"'{where}' must be a string or a list of parts.", where, "invalid_type")
    parts: list[Text | Image] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(Text(part["text"]))
        elif kind == "image_url":
            image = _parse_image(part, at, policy)
            parts += [image] if image else []
        elif kind in ("input_audio", "file"):
            policy.refuse(f"{at}", f"parts of type {kind} are not converted.", count_as=f"messages[].content[].{kind}")
        else:
            raise RequestError(f"'{at}' is not a content part of a known type.", at)
    return parts


def _parse_image(part: dict[str, Any], where: str, policy: Policy) -> Image | None:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise RequestError(f"'{where}.image_url.url' must be a string.", f"{where}.image_url.url", "invalid_type")
    head = _DATA_URL.match(url)
    if head is None:
        policy.refuse(
            f"{where}.image_url.url",
            "a batch job fetches no images; put the image into a base64 data URL.",
            count_as="messages[].content[].image_url",
        )
        return None
    data = url[head.end() :]
    return Image(_image_format(data, where), data)


def _image_format(data: str, where: str) -> Any:
    """png, jpeg, gif or webp by content: labels in data URLs are often wrong, and Bedrock checks."""
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"'{where}.image_url.url' is not valid base64.", f"{where}.image_url.url") from None
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    raise RequestError(f"'{where}.image_url.url' is not a PNG, JPEG, GIF or WebP image.", f"{where}.image_url.url")


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _settle(turns: list[Turn], policy: Policy) -> list[Turn]:
    """Turns as every target wants them: no blank text, merged to alternate, the user first."""
    settled: list[Turn] = []
    for turn in turns:
        parts = [part for part in turn.parts if not _is_blank(part)]
        if not parts:
            continue
        if settled and settled[-1].role == turn.role:
            settled[-1].parts += parts
        else:
            settled.append(Turn(turn.role, parts))
    while settled and settled[0].role == "assistant":
        policy.refuse("messages", "the conversation must start with a user message.",
                      count_as="messages[] (assistant before the first user)")  # fmt: skip
        settled.pop(0)
    if not any(turn.role == "user" for turn in settled):
        raise RequestError("'messages' holds no user message with content.", "messages")
    _check_tool_results(settled)
    return settled


def _check_tool_results(turns: list[Turn]) -> None:
    asked: set[str] = set()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                asked.add(part.id)
            elif isinstance(part, ToolResult) and part.id not in asked:
                raise RequestError("A tool message answers a call that no assistant message before it made.",
                                   "messages[].tool_call_id")  # fmt: skip


def _parse_stop(stop: Any) -> list[str]:
    if stop is None:
        return []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise RequestError("'stop' must be a string or a list of strings.", "stop", "invalid_type")
    return [text for text in stops if text]


def _parse_tools(tools: Any) -> list[Tool]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise RequestError("'tools' must be a list.", "tools", "invalid_type")
    parsed = []
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise RequestError(f"'{at}' must be of type function.", f"{at}.type")
        name = function.get("name")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise RequestError(f"'{at}.function.name' must be 1 to 64 letters, digits, _ or -.", f"{at}.function.name")
        parameters = function.get("parameters")
        if parameters is None or parameters == {}:
            parameters = {"type": "object", "properties": {}}
        if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
            raise RequestError(
                f"'{at}.function.parameters' must be a JSON Schema of type object.", f"{at}.function.parameters"
            )
        description = function.get("description")
        parsed.append(Tool(name, description if isinstance(description, str) and description.strip() else None,
                           {"type": "object", **parameters}, function.get("strict")))  # fmt: skip
    return parsed


def _parse_tool_choice(choice: Any, tools: list[Tool]) -> str | None:
    """ "auto", "none", "required", or "function:NAME"."""
    if choice is None:
        return None
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        if name not in [tool.name for tool in tools]:
            raise RequestError("'tool_choice' names a function that is not in 'tools'.", "tool_choice")
        return f"function:{name}"
    if choice not in ("auto", "none", "required"):
        raise RequestError("'tool_choice' must be none, auto, required, or name a function.", "tool_choice")
    if choice == "required" and not tools:
        raise RequestError("'tool_choice' requires a tool, but 'tools' is empty.", "tool_choice")
    return cast(str, choice) if tools else None


def _number(body: dict[str, Any], field: str, low: float, high: float) -> float | int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"'{field}' must be a number.", field, "invalid_type")
    if not low <= value <= high:
        raise RequestError(f"'{field}' must be between {low} and {high}.", field)
    return value


def _integer(body: dict[str, Any], field: str, low: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"'{field}' must be a whole number.", field, "invalid_type")
    if value < low:
        raise RequestError(f"'{field}' must be at least {low}.", field)
    return value


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct, gc=False):
    id: str
    type: str
    function: _Function


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[_ToolCall] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct, gc=False):
    index: int
    message: _Message
    logprobs: None
    finish_reason: str


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class ChatCompletion(msgspec.Struct, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage | None


def build_chat_completion(answers: list[Answer], *, id: str, created: int, model: str) -> ChatCompletion:
    """OpenAI's chat completion object of one request: a choice per answer, usage summed.

    `usage` is null where the family reports none: it is estimated nowhere.
    """
    return ChatCompletion(
        f"chatcmpl-{id}",
        "chat.completion",
        created,
        model,
        [_Choice(index, _message(answer), None, answer.finish_reason) for index, answer in enumerate(answers)],
        _usage(sum_usage(answers)),
    )


def _message(answer: Answer) -> _Message:
    message = _Message("assistant", answer.content, answer.refusal)
    if answer.tool_calls:
        message.tool_calls = [
            _ToolCall(call.id, "function", _Function(call.name, call.arguments.decode())) for call in answer.tool_calls
        ]
    if answer.reasoning is not None:
        message.reasoning_content = answer.reasoning
    return message


def sum_usage(answers: list[Answer]) -> Usage | None:
    """The usage of all answers together; None unless each has one."""
    if len(answers) == 1:
        return answers[0].usage
    usages = [answer.usage for answer in answers if answer.usage is not None]
    if len(usages) < len(answers):
        return None
    return Usage(
        sum(usage.prompt for usage in usages),
        sum(usage.completion for usage in usages),
        sum(usage.cached for usage in usages),
        sum(usage.reasoning for usage in usages),
    )


def _usage(usage: Usage | None) -> _Usage | None:
    if usage is None:
        return None
    return _Usage(
        usage.prompt,
        usage.completion,
        usage.prompt + usage.completion,
        _PromptDetails(usage.cached),
        _CompletionDetails(usage.reasoning),
    )
