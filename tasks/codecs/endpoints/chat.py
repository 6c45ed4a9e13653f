"""/v1/chat/completions: its request body to a `Chat`.

Source: https://platform.openai.com/docs/api-reference/chat (create).
"""

import re
from typing import Any, Final, cast

from tasks.codecs.base import (
    Chat,
    Context,
    JsonFormat,
    Part,
    Policy,
    RequestError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from tasks.codecs.endpoints._content import arguments, parse_parts, text_parts

#: Fields that change nothing about the answer of a batch request, whatever their value.
_WITHOUT_EFFECT: Final = frozenset(
    {
        "model",
        "user",
        "metadata",
        "store",
        "stream",
        "stream_options",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)


#: Values that ask for what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
}


_MAPPED: Final = frozenset(
    {
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "response_format",
        "reasoning_effort",
        "n",
    }
)


EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")


#: OpenAI's own limit on `n`.
MAX_CHOICES: Final = 128


_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def parse_chat(body: dict[str, Any], policy: Policy) -> tuple[Chat, Context]:
    """The neutral form of a chat completion body. Raises RequestError naming the field that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list with at least one message.", "messages")
    legacy = body.get("functions") is not None or body.get("function_call") is not None
    if legacy:
        body = _modern(body)
    system, turns = _parse_messages(messages, policy)
    chat = Chat(system, settle(turns, policy))
    chat.max_tokens = integer(body, "max_completion_tokens", 1)
    if chat.max_tokens is None:
        chat.max_tokens = integer(body, "max_tokens", 1)
    parse_sampling(body, chat)
    chat.tools = _parse_tools(body.get("tools"))
    chat.tool_choice = parse_tool_choice(body.get("tool_choice"), chat.tools)
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RequestError("'parallel_tool_calls' must be true or false.", "parallel_tool_calls", "invalid_type")
    chat.parallel_tool_calls = parallel if chat.tools else None
    chat.json_format = _parse_response_format(body.get("response_format"))
    chat.reasoning_effort = parse_effort(body.get("reasoning_effort"), "reasoning_effort")
    chat.n = integer(body, "n", 1) or 1
    if chat.n > MAX_CHOICES:
        raise RequestError(f"'n' must be at most {MAX_CHOICES}.", "n")
    chat.rest = leftovers(body, _MAPPED)
    return chat, Context(function_call=legacy)


def parse_sampling(body: dict[str, Any], chat: Chat) -> None:
    """temperature, top_p and stop, which several endpoints share."""
    chat.temperature = number(body, "temperature", 0, 2)
    chat.top_p = number(body, "top_p", 0, 1)
    chat.stop = _parse_stop(body.get("stop"))


def leftovers(body: dict[str, Any], mapped: frozenset[str]) -> dict[str, Any]:
    """The fields that ask for something and that the endpoint has not mapped, for the family to take or refuse."""
    return {
        field: value
        for field, value in body.items()
        if value is not None and field not in mapped and field not in _WITHOUT_EFFECT and not _is_default(field, value)
    }


def _is_default(field: str, value: Any) -> bool:
    """Whether a value asks for what happens anyway; 0.0 is 0, but False is not."""
    return any(
        value == default and (isinstance(value, bool) is isinstance(default, bool))
        for default in _DEFAULTS.get(field, ())
    )


def _modern(body: dict[str, Any]) -> dict[str, Any]:
    """`functions` and `function_call` as the tools and tool_choice that took their place."""
    if body.get("tools") is not None or body.get("tool_choice") is not None:
        raise RequestError("'functions' and 'tools' cannot both be given.", "functions")
    functions, choice = body.get("functions"), body.get("function_call")
    if functions is not None and not isinstance(functions, list):
        raise RequestError("'functions' must be a list.", "functions", "invalid_type")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    tools = [{"type": "function", "function": function} for function in functions or []]
    return {**body, "tools": tools or None, "tool_choice": choice}


def _parse_response_format(value: Any) -> JsonFormat | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return JsonFormat("json_object", None)
    if kind == "json_schema":
        return json_format(value.get("json_schema"), "response_format.json_schema")
    raise RequestError("'response_format.type' must be text, json_object or json_schema.", "response_format.type")


def json_format(value: Any, where: str) -> JsonFormat:
    """A named JSON schema, as chat's response_format and the responses endpoint's text.format have it."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, dict):
        raise RequestError(f"'{where}.schema' must be a JSON Schema.", f"{where}.schema")
    name = value.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise RequestError(f"'{where}.name' must be 1 to 64 letters, digits, _ or -.", f"{where}.name")
    description = value.get("description")
    return JsonFormat(name, schema, description if isinstance(description, str) else None, value.get("strict"))


def parse_effort(value: Any, where: str) -> str | None:
    """One of OpenAI's reasoning efforts, or None."""
    if value is None:
        return None
    if value not in EFFORTS:
        raise RequestError(f"'{where}' must be one of {', '.join(EFFORTS)}.", where)
    return cast(str, value)


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
            system += [part.text for part in text_parts(message.get("content"), f"{where}.content")]
        elif role == "user":
            turns.append(Turn("user", list(parse_parts(message.get("content"), f"{where}.content", policy))))
        elif role == "assistant":
            turns.append(Turn("assistant", _parse_assistant(message, where, policy)))
        elif role == "function":
            # The legacy form has no ids: a call and its result are told by the function's name.
            parts = list(parse_parts(message.get("content"), f"{where}.content", policy))
            turns.append(Turn("user", [ToolResult(f"call_{message.get('name')}", parts)]))
        elif role == "tool":
            call = message.get("tool_call_id")
            if not isinstance(call, str) or not call:
                raise RequestError(
                    f"'{where}.tool_call_id' must name the call that this answers.",
                    f"{where}.tool_call_id",
                    "missing_required_parameter",
                )
            parts = parse_parts(message.get("content"), f"{where}.content", policy)
            turns.append(Turn("user", [ToolResult(call, [part for part in parts if not _is_blank(part)])]))
        else:
            raise RequestError(f"'{where}.role' must be system, developer, user, assistant or tool.", f"{where}.role")
    return [text for text in system if text.strip()], turns


def _parse_assistant(message: dict[str, Any], where: str, policy: Policy) -> list[Part]:
    parts: list[Part] = []
    if message.get("content") is not None:
        parts += text_parts(message["content"], f"{where}.content")
    if message.get("refusal") is not None:
        parts += text_parts(message["refusal"], f"{where}.refusal")
    if message.get("audio") is not None:
        policy.refuse(f"{where}.audio", "earlier audio cannot be referred to.", count_as="messages[].audio")
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        name = str(legacy.get("name"))
        given = arguments(legacy.get("arguments"), f"{where}.function_call.arguments")
        parts.append(ToolCall(f"call_{name}", name, given))
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RequestError(f"'{where}.tool_calls' must be a list.", f"{where}.tool_calls", "invalid_type")
    for number, call in enumerate(calls):
        at = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not call.get("id"):
            raise RequestError(f"'{at}' must have an id and a function with a name.", at)
        given = arguments(function.get("arguments"), f"{at}.function.arguments")
        parts.append(ToolCall(str(call["id"]), function["name"], given))
    return parts


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def settle(turns: list[Turn], policy: Policy) -> list[Turn]:
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
        policy.refuse(
            "messages",
            "the conversation must start with a user message.",
            count_as="messages[] (assistant before the first user)",
        )
        settled.pop(0)
    if not any(turn.role == "user" for turn in settled):
        raise RequestError("'messages' holds no user message with content.", "messages")
    _check_tool_results(settled)
    last = settled[-1]
    if last.role == "assistant" and isinstance(last.parts[-1], Text):
        # The beginning of an answer that the model goes on from: Claude refuses white space at its end.
        last.parts[-1] = Text(last.parts[-1].text.rstrip())
    return settled


def _check_tool_results(turns: list[Turn]) -> None:
    asked: set[str] = set()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                asked.add(part.id)
            elif isinstance(part, ToolResult) and part.id not in asked:
                raise RequestError(
                    "A tool message answers a call that no assistant message before it made.", "messages[].tool_call_id"
                )


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
        parsed.append(parse_tool(function, f"{at}.function"))
    return parsed


def parse_tool(function: dict[str, Any], where: str) -> Tool:
    """A function as chat's tools nest it, and as the responses endpoint has it directly."""
    name = function.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise RequestError(f"'{where}.name' must be 1 to 64 letters, digits, _ or -.", f"{where}.name")
    parameters = function.get("parameters")
    if parameters is None or parameters == {}:
        parameters = {"type": "object", "properties": {}}
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise RequestError(f"'{where}.parameters' must be a JSON Schema of type object.", f"{where}.parameters")
    if not isinstance(parameters.get("properties", {}), dict) or not isinstance(parameters.get("required", []), list):
        raise RequestError(
            f"'{where}.parameters' must have an object of properties, and a list of required ones.",
            f"{where}.parameters",
        )
    description = function.get("description")
    kept = description if isinstance(description, str) and description.strip() else None
    return Tool(name, kept, {"type": "object", **parameters}, function.get("strict"))


def parse_tool_choice(choice: Any, tools: list[Tool]) -> str | None:
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


def number(body: dict[str, Any], field: str, low: float, high: float) -> float | int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"'{field}' must be a number.", field, "invalid_type")
    if not low <= value <= high:
        raise RequestError(f"'{field}' must be between {low} and {high}.", field)
    return value


def integer(body: dict[str, Any], field: str, low: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"'{field}' must be a whole number.", field, "invalid_type")
    if value < low:
        raise RequestError(f"'{field}' must be at least {low}.", field)
    return value
