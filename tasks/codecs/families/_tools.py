"""Tools as a target takes them: one of a name, schemas with a plain root, keys that it knows, enforced or not."""

import functools
import re
from typing import Any, Final

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import Chat, Encoded, JsonFormat, Policy, RequestError, Tool, ToolCall, dumps
from tasks.codecs.families._schemas import (
    ANNOTATIONS,
    ROOT_KEYS,
    Fitted,
    UnenforceableError,
    as_property,
    fit_closed,
    inline_references,
    is_plain_object,
    root_alternatives,
    root_words,
    says_properties_only,
    with_own_root,
    without_root_alternatives,
)

_PARAMETERS: Final = "tools[].function.parameters"
_SCHEMA: Final = "response_format.json_schema.schema"
#: What is made of a schema is made once for the lines that repeat it: they share their tools and formats.
_once: Final = functools.lru_cache(maxsize=64)
#: What Claude takes as a key of a tool's properties.
_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

#: The argument that holds all of them.
_ARGUMENTS: Final = "arguments"

#: The tool whose arguments become the content, where a family has no structured output of its own.
JSON_TOOL: Final = "json_response"
#: The property that holds the content, where the content itself cannot be a tool's arguments.
_JSON_KEY: Final = "response"
_UNSTRUCTURED: Final = "this model has no structured output"


def single_tools(tools: list[Tool], policy: Policy) -> list[Tool]:
    """The tools without those that are there twice. Raises RequestError for two that share but the name."""
    if len(tools) < 2:
        return tools
    found: dict[str, Tool] = {}
    for tool in tools:
        other = found.setdefault(tool.name, tool)
        if other is not tool:
            if dumps(other) != dumps(tool):
                raise RequestError(f"'tools' has two different functions named {tool.name!r}.", "tools")
            policy.note("tools[] (there twice)")
    return list(found.values())


def without_strict(tools: list[Tool], facts: Capabilities, policy: Policy) -> list[Tool]:
    """The tools as they are, or without `strict` where the model does not enforce their schemas."""
    if facts.strict_tools or not any(tool.strict for tool in tools):
        return tools
    policy.refuse("tools[].function.strict", "this model does not enforce the schemas of tools.")
    return [Tool(tool.name, tool.description, tool.parameters, None) for tool in tools]


def plain_tool(tool: Tool, policy: Policy) -> Tool:
    """The tool with a root that Claude takes."""
    plain, fitted = _plain(tool)
    fitted.note(_PARAMETERS, policy)
    return plain


@_once
def _plain(tool: Tool) -> tuple[Tool, Fitted]:
    schema = tool.parameters
    if is_plain_object(schema):
        return tool, Fitted(schema)
    try:
        schema = inline_references(schema, _PARAMETERS) if _refers(schema) else schema
    except RequestError:
        # Recursive: what is at the root is told from the rest, which keeps its definitions.
        schema = _own_root(schema)
    fitted = without_root_alternatives(schema)
    return Tool(tool.name, tool.description, fitted.schema, tool.strict), fitted


def flat_parameters(tool: Tool, policy: Policy) -> tuple[dict[str, Any], str | None]:
    """The schema of a tool for a target that takes an object's properties and required ones alone, and the description.

    References are inlined, and what the root says otherwise in words, or by anyOf, oneOf and allOf, goes into the
    description. Raises RequestError for a recursive schema.
    """
    fitted, description = _flat(tool)
    fitted.note(_PARAMETERS, policy)
    for key in fitted.schema.keys() - ROOT_KEYS - ANNOTATIONS:
        policy.refuse(
            f"{_PARAMETERS}.{key}", "at the root of a tool's schema it takes type, properties and required only."
        )
    return fitted.schema, description


@_once
def _flat(tool: Tool) -> tuple[Fitted, str | None]:
    fitted = without_root_alternatives(inline_references(tool.parameters, _PARAMETERS))
    schema = {"type": "object", "properties": {}, **fitted.schema}
    if isinstance(schema.get("additionalProperties"), bool):
        # Open is what a schema is without saying so; of a closed one, a model fills in declared properties only.
        del schema["additionalProperties"]
    texts = dict.fromkeys(text for text in (tool.description, root_words(schema)) if text)
    return Fitted(schema, fitted.described), "\n\n".join(texts) or None


def wrap_odd_keys(chat: Chat) -> dict[str, str] | None:
    """Put the arguments of tools with keys that Claude does not take into one argument, in the history as well.

    Returns that argument's name by tool. Only keys at the root are held to letters.
    """
    odd = [tool.name for tool in chat.tools if _has_odd_keys(tool)]
    if not odd:
        return None
    chat.tools = [_wrapped(tool) if tool.name in odd else tool for tool in chat.tools]
    for turn in chat.turns:
        for place, part in enumerate(turn.parts):
            if isinstance(part, ToolCall) and part.name in odd:
                turn.parts[place] = ToolCall(part.id, part.name, b'{"%b":%b}' % (_ARGUMENTS.encode(), part.arguments))
    return dict.fromkeys(odd, _ARGUMENTS)


@_once
def _has_odd_keys(tool: Tool) -> bool:
    return not all(map(_KEY.fullmatch, tool.parameters.get("properties", {})))


@_once
def _wrapped(tool: Tool) -> Tool:
    return Tool(tool.name, tool.description, as_property(tool.parameters, _ARGUMENTS, _PARAMETERS), tool.strict)


def _own_root(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        return with_own_root(schema, _PARAMETERS)
    except UnenforceableError as error:
        raise RequestError(f"'{_PARAMETERS}' {error}.", _PARAMETERS, "unsupported_parameter") from None


def _refers(schema: dict[str, Any]) -> bool:
    return any("$ref" in node for node in [schema, *root_alternatives(schema)])


def strict_tool(tool: Tool, facts: Capabilities, policy: Policy) -> tuple[dict[str, Any], bool]:
    """The schema of a tool, and whether the model is to keep to it without fail."""
    if not tool.strict:
        return tool.parameters, False
    if not facts.strict_tools:
        policy.refuse("tools[].function.strict", "this model does not enforce the schemas of tools.")
        return tool.parameters, False
    if facts.schemas != "closed":
        return tool.parameters, True
    fitted = _closed_tool(tool)
    if isinstance(fitted, str):
        policy.refuse("tools[].function.strict", f"its schema {fitted}.")
        return tool.parameters, False
    fitted.note(_PARAMETERS, policy)
    return fitted.schema, True


@_once
def _closed_tool(tool: Tool) -> Fitted | str:
    """The schema of a tool as it is enforced, or what it has that is not."""
    return _closed(tool.parameters, _PARAMETERS)


@_once
def _closed_format(wanted: JsonFormat) -> Fitted | str:
    return _closed(wanted.schema or {}, _SCHEMA)


def _closed(schema: dict[str, Any], where: str) -> Fitted | str:
    try:
        return fit_closed(schema, where)
    except UnenforceableError as error:
        return str(error)


@_once
def format_error(wanted: JsonFormat) -> str | None:
    """Why the schema of a response_format has no form without references; None where it has."""
    try:
        inline_references(wanted.schema or {}, _SCHEMA)
    except RequestError as error:
        return error.message
    return None


def fit_format(wanted: JsonFormat, facts: Capabilities) -> Fitted | str:
    """The schema of a response_format as the model enforces it without a tool, or why it does not."""
    if wanted.schema is None:
        return "it has no structured output without a schema"
    if not facts.structured_output:
        return _UNSTRUCTURED
    fitted = _closed_format(wanted)
    return f"its schema {fitted}" if isinstance(fitted, str) else fitted


def force_json_tool(
    chat: Chat, facts: Capabilities, policy: Policy, why: str = _UNSTRUCTURED, *, told: bool = False
) -> Encoded:
    """Ask for response_format by a tool that must be called: the names by which the answer is unwrapped.

    `why` there is no other way. Where the model cannot be made to call a tool, or is to call others, the format is
    refused, or left out. `told`: the user knows that a strict schema is not enforced.
    """
    wanted, chat.json_format = chat.json_format, None
    none = Encoded({})
    if wanted is None:
        return none
    if not facts.forces_tools:
        policy.refuse("response_format", f"{why}, and this model cannot be made to call a tool.")
        return none
    if chat.uses_tools:
        policy.refuse("response_format", f"{why}, and it has other tools to call.")
        return none
    if wanted.schema is not None and wanted.strict and not told:
        policy.note("response_format (asked for by a tool and not enforced)")
    try:
        tool, key = _json_tool(wanted, facts.schemas)
    except UnenforceableError as error:
        policy.refuse("response_format", f"its schema {error}.")
        return none
    chat.tools = [tool]
    chat.tool_choice = f"function:{JSON_TOOL}"
    return Encoded({}, JSON_TOOL, key)


@_once
def _json_tool(wanted: JsonFormat, schemas: str) -> tuple[Tool, str | None]:
    description = wanted.description or (
        "Gives the answer. Put the whole JSON object that was asked for into this input, with every one of its fields."
    )
    schema, key = _as_arguments(wanted.schema, schemas)
    return Tool(JSON_TOOL, description, schema, None), key


def _takes_root(schema: dict[str, Any], schemas: str) -> bool:
    if schemas == "closed":
        return all(map(_KEY.fullmatch, schema.get("properties", {})))
    return schemas != "nova" or says_properties_only(schema)


def _as_arguments(schema: dict[str, Any] | None, schemas: str) -> tuple[dict[str, Any], str | None]:
    """The schema as a tool's, and the key of the content in it where it cannot be one itself."""
    if schema:
        schema = with_own_root(schema, _SCHEMA)
        if is_plain_object(schema) and _takes_root(schema, schemas):
            return {"type": "object", **schema}, None
    elif schemas != "nova":
        # Without a schema the model must be told that the object is open, or it gives an empty one.
        return {"type": "object", "properties": {}, "additionalProperties": True}, None
    described = {"description": "The whole JSON that was asked for, with every one of its fields."}
    return as_property({**described, **(schema or {"type": "object"})}, _JSON_KEY, _SCHEMA), _JSON_KEY
