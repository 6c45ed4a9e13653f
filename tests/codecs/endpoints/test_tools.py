"""Tools, the choice among them, and named schemas."""

from typing import Any

import pytest

from tasks.codecs.base import JsonFormat, RequestError, Tool
from tasks.codecs.endpoints._tools import json_format, parse_tool, parse_tool_choice, repeated

NOTHING = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("function", "tool"),
    [
        ({"name": "f"}, Tool("f", None, NOTHING, None)),
        ({"name": "f", "parameters": {}, "description": " "}, Tool("f", None, NOTHING, None)),
        (
            {
                "name": "a-B_9",
                "description": "D",
                "parameters": {"properties": {"a": {}}, "required": ["a"]},
                "strict": True,
            },
            Tool("a-B_9", "D", {"type": "object", "properties": {"a": {}}, "required": ["a"]}, True),
        ),
    ],
)
def test_a_function(function: dict[str, Any], tool: Tool) -> None:
    assert parse_tool(function, "x") == tool


@pytest.mark.parametrize(
    ("function", "param", "code"),
    [
        ({}, "x.name", "invalid_value"),
        ({"name": ""}, "x.name", "invalid_value"),
        ({"name": "a" * 65}, "x.name", "invalid_value"),
        ({"name": "a b"}, "x.name", "invalid_value"),
        ({"name": "f", "parameters": []}, "x.parameters", "invalid_value"),
        ({"name": "f", "parameters": {"type": "array"}}, "x.parameters", "invalid_value"),
        ({"name": "f", "parameters": {"properties": []}}, "x.parameters", "invalid_value"),
        ({"name": "f", "parameters": {"required": "a"}}, "x.parameters", "invalid_value"),
        ({"name": "f", "strict": "yes"}, "x.strict", "invalid_type"),
        ({"name": "f", "strict": 1}, "x.strict", "invalid_type"),
    ],
)
def test_what_is_no_function(function: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse_tool(function, "x")
    assert (caught.value.param, caught.value.code) == (param, code)


TOOLS = [Tool("f", None, NOTHING, None)]
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("choice", "tools", "found"),
    [
        (None, TOOLS, None),
        ("auto", TOOLS, "auto"),
        ("none", TOOLS, "none"),
        ("required", TOOLS, "required"),
        (NAMED, TOOLS, "function:f"),
        ("auto", [], None),
        ("none", [], None),
    ],
)
def test_a_choice(choice: Any, tools: list[Tool], found: str | None) -> None:
    assert parse_tool_choice(choice, tools) == found


@pytest.mark.parametrize(
    ("choice", "tools", "why"),
    [
        ("any", TOOLS, "must be none, auto, required"),
        ({"type": "auto"}, TOOLS, "must be none, auto, required"),
        (["auto"], TOOLS, "must be none, auto, required"),
        ("required", [], "but 'tools' is empty"),
        (NAMED, [], "is not in 'tools'"),
        ({"type": "function", "function": {"name": "g"}}, TOOLS, "is not in 'tools'"),
    ],
)
def test_what_is_no_choice(choice: Any, tools: list[Tool], why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        parse_tool_choice(choice, tools)
    assert caught.value.param == "tool_choice"


def test_a_named_schema() -> None:
    given = {"name": "j", "schema": {"type": "object"}, "description": "D", "strict": True}
    assert json_format(given, "x") == JsonFormat("j", {"type": "object"}, "D", True)
    assert json_format({"name": "j", "schema": {}, "description": 7}, "x") == JsonFormat("j", {})


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        (None, "x.schema", "invalid_value"),
        ({"name": "j"}, "x.schema", "invalid_value"),
        ({"name": "j", "schema": []}, "x.schema", "invalid_value"),
        ({"schema": {}}, "x.name", "invalid_value"),
        ({"name": "a b", "schema": {}}, "x.name", "invalid_value"),
        ({"name": "j", "schema": {}, "strict": "yes"}, "x.strict", "invalid_type"),
    ],
)
def test_what_is_none(value: Any, param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        json_format(value, "x")
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_lines_repeat_is_read_once_and_nothing_else_is_taken_for_it() -> None:
    seen: list[Any] = []

    def keep(value: Any) -> list[Any]:
        seen.append(value)
        return [value]

    read = repeated(keep)
    first = read({"minimum": 1})
    assert read({"minimum": 1}) is first
    for other in ({"minimum": 1.0}, {"minimum": True}, {"minimum": "1"}, {"maximum": 1}):
        assert read(other) == [other]
    assert len(seen) == 5


def test_what_cannot_be_read_is_refused_each_time() -> None:
    def read(value: object) -> None:
        raise RequestError(f"no {value}")

    for _ in range(2):
        with pytest.raises(RequestError, match="no 1"):
            repeated(read)(1)


def test_what_differs_at_its_end_only_is_another() -> None:
    read = repeated(lambda value: [value])
    long = {"description": "x" * 500}
    for other in (long, {**long, "name": "f"}, {**long, "name": "g"}):
        assert read(other) == [other]
    many = [{"n": n} for n in range(100)]
    assert [read(value) for value in [*many, *many]] == [[value] for value in [*many, *many]]
