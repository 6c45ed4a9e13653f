"""Tools and JSON schemas, which chat nests and the responses endpoint has directly."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tasks.codecs.base import JsonFormat, RequestError, Tool, dumps

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
#: The lines of a file repeat a few lists of tools, and a few schemas.
_MANY: Final = 16

_ReadT = TypeVar("_ReadT")


def repeated(read: Callable[[Any], _ReadT]) -> Callable[[Any], _ReadT]:
    """What reads a field that lines repeat: the same content gives the same object, so what is made of it is kept."""
    known: dict[bytes, _ReadT] = {}

    def reader(value: Any) -> _ReadT:
        content = dumps(value)
        found = known.get(content)
        if found is None:
            if len(known) >= _MANY:
                known.clear()
            found = known[content] = read(value)
        return found

    return reader


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
    return Tool(name, kept, {"type": "object", **parameters}, _strict(function, where))


def _strict(given: dict[str, Any], where: str) -> bool | None:
    strict = given.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise RequestError(f"'{where}.strict' must be true or false.", f"{where}.strict", "invalid_type")
    return strict


def parse_parallel(body: dict[str, Any], tools: list[Tool]) -> bool | None:
    """`parallel_tool_calls`; None where there are no tools."""
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise RequestError("'parallel_tool_calls' must be true or false.", "parallel_tool_calls", "invalid_type")
    return parallel if tools else None


def parse_tool_choice(choice: Any, tools: list[Tool]) -> str | None:
    """ "auto", "none", "required", or "function:NAME"."""
    if choice is None:
        return None
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        if name not in [tool.name for tool in tools]:
            raise RequestError("'tool_choice' names a function that is not in 'tools'.", "tool_choice")
        return f"function:{name}"
    if not isinstance(choice, str) or choice not in ("auto", "none", "required"):
        raise RequestError("'tool_choice' must be none, auto, required, or name a function.", "tool_choice")
    if choice == "required" and not tools:
        raise RequestError("'tool_choice' requires a tool, but 'tools' is empty.", "tool_choice")
    return choice if tools else None


def json_format(value: Any, where: str) -> JsonFormat:
    """A named JSON schema, as chat's response_format and the responses endpoint's text.format have it."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, dict):
        raise RequestError(f"'{where}.schema' must be a JSON Schema.", f"{where}.schema")
    name = value.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise RequestError(f"'{where}.name' must be 1 to 64 letters, digits, _ or -.", f"{where}.name")
    description = value.get("description")
    return JsonFormat(name, schema, description if isinstance(description, str) else None, _strict(value, where))
