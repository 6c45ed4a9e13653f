"""Tools as a target takes them, and a format that is asked for by one."""

from typing import Any

import pytest

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import Chat, Encoded, JsonFormat, Policy, RequestError, Tool, ToolCall, Turn
from tasks.codecs.families._tools import (
    fit_format,
    flat_parameters,
    force_json_tool,
    plain_tool,
    single_tools,
    strict_tool,
    without_strict,
    wrap_odd_keys,
)
from tests.codecs.helpers import facts as known_facts
from tests.codecs.helpers import refused

OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OBJECT, "additionalProperties": False}


def tool(schema: dict[str, Any] = OBJECT, name: str = "f", strict: bool | None = None) -> Tool:
    return Tool(name, None, schema, strict)


def facts(**fields: Any) -> Capabilities:
    return known_facts(**{"tool_choice": frozenset({"named"}), **fields})


def lenient() -> Policy:
    return Policy("drop", "x")


def test_tools_that_are_there_twice() -> None:
    policy = lenient()
    assert single_tools([tool(), tool(name="g"), tool()], policy) == [tool(), tool(name="g")]
    assert policy.dropped == {"tools[] (there twice)": 1}
    with refused("tools", "two different functions named 'f'", "invalid_value"):
        single_tools([tool(), tool({"type": "object"})], lenient())


def test_strict_where_the_model_does_not_enforce() -> None:
    tools = [tool(strict=True), tool(name="g")]
    assert without_strict(tools, facts(strict_tools=True), Policy("error", "x")) is tools
    assert without_strict(tools[1:], facts(strict_tools=False), Policy("error", "x")) == tools[1:]
    policy = lenient()
    assert [each.strict for each in without_strict(tools, facts(strict_tools=False), policy)] == [None, None]
    assert policy.dropped == {"tools[].function.strict": 1}


def test_a_tool_whose_schema_is_enforced() -> None:
    enforcing = facts(strict_tools=True, schemas="closed")
    assert strict_tool(tool(), enforcing, Policy("error", "x")) == (OBJECT, False)
    assert strict_tool(tool(strict=True), enforcing, Policy("error", "x")) == (CLOSED, True)
    assert strict_tool(tool(strict=True), facts(strict_tools=True, schemas="any"), Policy("error", "x")) == (
        OBJECT,
        True,
    )
    for known, schema in ((facts(strict_tools=False), OBJECT), (enforcing, {"type": "object", "not": {}})):
        policy = lenient()
        assert strict_tool(tool(schema, strict=True), known, policy) == (schema, False)
        assert policy.dropped == {"tools[].function.strict": 1}


def test_a_plain_root() -> None:
    plain = Policy("error", "x")
    assert plain_tool(tool(), plain) == tool()
    assert plain_tool(tool({"$ref": "#/$defs/a", "$defs": {"a": OBJECT}}), plain).parameters == OBJECT
    policy = lenient()
    union = {"type": "object", "anyOf": [OBJECT, {"properties": {"b": {"type": "string"}}}]}
    assert set(plain_tool(tool(union), policy).parameters["properties"]) == {"a", "b"}
    assert policy.dropped == {"tools[].function.parameters (anyOf in the description)": 1}
    with pytest.raises(RequestError, match="is recursive"):
        plain_tool(tool({"$ref": "#"}), plain)


@pytest.mark.parametrize("schema", [None, {"type": "array", "items": {}}])
def test_what_cannot_be_a_tools_schema_is_one_of_its_arguments(schema: Any) -> None:
    _, chat, _ = forced(JsonFormat("j", schema), facts(tool_choice=frozenset({"named"}), schemas="nova"))
    told = "The whole JSON that was asked for, with every one of its fields."
    assert chat.tools[0].parameters == {
        "type": "object",
        "properties": {"response": {"description": told, **(schema or {"type": "object"})}},
        "required": ["response"],
    }


def test_the_type_of_a_root_is_said() -> None:
    plain = Policy("error", "x")
    assert flat_parameters(tool({}), plain)[0] == {"type": "object", "properties": {}}
    assert flat_parameters(tool({"properties": {"a": {}}, "additionalProperties": False}), plain)[0] == {
        "type": "object",
        "properties": {"a": {}},
    }


def test_keys_that_claude_does_not_take() -> None:
    odd = {"type": "object", "properties": {"a b": {}, "ok.k-e_y": {}, "é": {}}, "required": ["a b", "ok.k-e_y"]}
    chat = Chat([], [], [tool(odd)])
    assert wrap_odd_keys(chat) == {chat.tools[0].name: "arguments"}
    assert chat.tools[0].parameters == {"type": "object", "properties": {"arguments": odd}, "required": ["arguments"]}
    plain = Chat([], [], [tool()])
    assert wrap_odd_keys(plain) is None
    assert plain.tools == [tool()]


@pytest.mark.parametrize(
    ("schema", "known", "why"),
    [
        (None, facts(structured_output=True), "it has no structured output without a schema"),
        (OBJECT, facts(structured_output=False), "this model has no structured output"),
        (
            {"type": "object", "not": {}},
            facts(structured_output=True),
            "its schema has 'not', which this model does not enforce",
        ),
    ],
)
def test_a_format_without_a_tool(schema: Any, known: Capabilities, why: str) -> None:
    found = fit_format(JsonFormat("j", schema), known)
    assert found == why
    fitted = fit_format(JsonFormat("j", OBJECT), facts(structured_output=True))
    assert not isinstance(fitted, str)
    assert fitted.schema == CLOSED


def forced(wanted: JsonFormat, known: Capabilities, **fields: Any) -> tuple[Encoded, Chat, dict[str, int]]:
    chat, policy = Chat([], [], json_format=wanted, **fields), lenient()
    return force_json_tool(chat, known, policy), chat, policy.dropped


def test_a_format_by_a_tool() -> None:
    encoded, chat, dropped = forced(JsonFormat("j", OBJECT, "Say it.", True), facts())
    assert encoded == Encoded({}, "json_response", None)
    assert chat.tools == [Tool("json_response", "Say it.", OBJECT, None)]
    assert (chat.tool_choice, chat.json_format) == ("function:json_response", None)
    assert dropped == {"response_format (asked for by a tool and not enforced)": 1}


@pytest.mark.parametrize("schema", [{"type": "array", "items": {"type": "string"}}, {"anyOf": [OBJECT]}])
def test_what_is_no_tools_own_schema_is_a_property_of_one(schema: dict[str, Any]) -> None:
    encoded, chat, _ = forced(JsonFormat("j", schema), facts())
    assert encoded.json_key == "response"
    (only,) = chat.tools
    assert only.parameters["required"] == ["response"]
    assert schema.items() <= only.parameters["properties"]["response"].items()


def test_any_object() -> None:
    encoded, chat, _ = forced(JsonFormat("json_object", None), facts())
    assert (encoded.json_key, chat.tools[0].parameters["additionalProperties"]) == (None, True)
    encoded, chat, _ = forced(JsonFormat("json_object", None), facts(schemas="nova"))
    assert encoded.json_key == "response"


def test_where_no_tool_can_be_forced() -> None:
    for known, fields in ((facts(tool_choice=frozenset()), {}), (facts(), {"tools": [tool()]})):
        encoded, chat, dropped = forced(JsonFormat("j", OBJECT), known, **fields)
        assert (encoded.json_tool, chat.tools, dropped) == (None, fields.get("tools", []), {"response_format": 1})
    assert force_json_tool(Chat([], []), facts(), Policy("error", "x")) == Encoded({})


@pytest.mark.parametrize(
    ("root", "description", "told"),
    [
        ({"description": "A place."}, None, "A place."),
        ({"description": "A place."}, "Finds.", "Finds.\n\nA place."),
        ({"description": "Finds."}, "Finds.", "Finds."),
        ({"examples": [{"a": "b"}]}, "Finds.", 'Finds.\n\n{examples: [{"a":"b"}]}'),
        ({"default": {}, "description": "A place."}, None, "A place.\n\n{default: {}}"),
        ({"title": "F", "$comment": "x", "$schema": "y", "$id": "z"}, "Finds.", "Finds."),
    ],
)
def test_what_a_root_says_in_words_is_told_where_it_takes_properties_only(
    root: dict[str, Any], description: str | None, told: str
) -> None:
    policy = Policy("error", "x")
    assert flat_parameters(Tool("f", description, {**OBJECT, **root}, None), policy)[1] == told
    assert not policy.dropped


@pytest.mark.parametrize("key", ["minProperties", "patternProperties", "if", "propertyNames"])
def test_what_a_root_says_beyond_words_is_refused_where_it_takes_properties_only(key: str) -> None:
    with refused(f"tools[].function.parameters.{key}", "it takes type, properties and required only"):
        flat_parameters(tool({**OBJECT, key: {}}), Policy("error", "x"))
    policy = lenient()
    flat_parameters(tool({**OBJECT, "anyOf": [OBJECT]}), policy)
    assert policy.dropped == {"tools[].function.parameters (anyOf in the description)": 1}


def test_a_plain_root_keeps_all_else_of_a_tool() -> None:
    given = Tool("f", "D", {"type": "object", "oneOf": [OBJECT]}, True)
    plain = plain_tool(given, lenient())
    assert (plain.name, plain.description, plain.strict) == ("f", "D", True)
    recursive = {"$ref": "#/$defs/a", "$defs": {"a": {**OBJECT, "properties": {"a": {"$ref": "#/$defs/a"}}}}}
    assert plain_tool(tool(recursive), Policy("error", "x")).parameters["$defs"] == recursive["$defs"]


def test_earlier_calls_are_wrapped_as_their_tools_are() -> None:
    odd = {"type": "object", "properties": {"a b": {}}}
    calls = [Turn("assistant", [ToolCall("1", "f", b'{"a b":1}'), ToolCall("2", "g", b'{"a":1}')])]
    chat = Chat([], calls, [tool(odd, strict=True), tool(name="g")])
    assert wrap_odd_keys(chat) == {"f": "arguments"}
    assert chat.turns[0].parts == [ToolCall("1", "f", b'{"arguments":{"a b":1}}'), ToolCall("2", "g", b'{"a":1}')]
    assert (chat.tools[0].strict, chat.tools[1]) == (True, tool(name="g"))
    for key, is_odd in (("a" * 64, False), ("a" * 65, True), ("", True)):
        assert (wrap_odd_keys(Chat([], [], [tool({"properties": {key: {}}})])) is not None) is is_odd


def test_what_an_enforced_schema_only_tells_is_counted() -> None:
    told = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    policy = Policy("error", "x")
    assert strict_tool(tool(told, strict=True), facts(strict_tools=True, schemas="closed"), policy)[1]
    assert policy.dropped == {"tools[].function.parameters (minimum in the description)": 1}


@pytest.mark.parametrize(
    ("strict", "told", "dropped"),
    [
        (True, False, {"response_format (asked for by a tool and not enforced)": 1}),
        (True, True, {}),
        (False, False, {}),
        (None, False, {}),
    ],
)
def test_it_is_said_once_that_a_format_is_not_enforced(strict: Any, told: bool, dropped: dict[str, int]) -> None:
    chat, policy = Chat([], [], json_format=JsonFormat("j", OBJECT, None, strict)), Policy("error", "x")
    assert force_json_tool(chat, facts(), policy, told=told).json_tool == "json_response"
    assert policy.dropped == dropped
    assert (chat.tools[0].description or "").startswith("Gives the answer. Put the whole JSON object")


def test_a_format_of_keys_that_claude_does_not_take_is_a_property_of_the_tool() -> None:
    odd = {"type": "object", "properties": {"a b": {}}}
    assert forced(JsonFormat("j", odd), facts(schemas="closed"))[0].json_key == "response"
    assert forced(JsonFormat("j", odd), facts(schemas="open"))[0].json_key is None
    assert forced(JsonFormat("j", {**OBJECT, "minProperties": 1}), facts(schemas="nova"))[0].json_key == "response"
    assert forced(JsonFormat("j", OBJECT), facts(schemas="nova"))[0].json_key is None


@pytest.mark.parametrize(
    ("known", "tools", "why"),
    [
        (facts(tool_choice=frozenset({"required"})), [], "this model cannot be made to call a tool"),
        (facts(), [tool()], "it has other tools to call"),
    ],
)
def test_why_a_format_cannot_be_asked_for(known: Capabilities, tools: list[Tool], why: str) -> None:
    with refused("response_format", f"for a reason, and {why}"):
        force_json_tool(
            Chat([], [], tools, json_format=JsonFormat("j", OBJECT)), known, Policy("error", "x"), "for a reason"
        )
