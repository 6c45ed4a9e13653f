"""Command R's message, history and preamble."""

import copy
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Chat, DecodeError, JsonFormat, Policy, RequestError, Text, Tool, ToolCall, Turn
from tasks.codecs.families.cohere_command import CODEC
from tests.codecs.helpers import refused

MODEL = parse_model("cohere.command-r-plus-v1:0")
FIND = Tool(
    "find",
    None,
    {"type": "object", "properties": {"n": {"type": "integer", "description": "How many"}, "q": {}}, "required": ["n"]},
    None,
)


def sent(*texts: str, unsupported: Any = "error", **fields: Any) -> dict[str, Any]:
    turns = [Turn("assistant" if place % 2 else "user", [Text(text)]) for place, text in enumerate(texts)]
    return CODEC.encode(Chat(["S", "T"], turns, **fields), MODEL, Policy(unsupported, "cohere-command")).body


def test_a_conversation() -> None:
    assert sent(
        *("One", "1", "Two"),
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        stop=["END"],
        rest={"seed": 1, "top_k": 2, "frequency_penalty": 0.1, "presence_penalty": 0.2},
    ) == {
        "message": "Two",
        "chat_history": [{"role": "USER", "message": "One"}, {"role": "CHATBOT", "message": "1"}],
        "preamble": "S\n\nT",
        "max_tokens": 5,
        "temperature": 0,
        "p": 0.5,
        "stop_sequences": ["END"],
        "k": 2,
        "seed": 1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }


def test_tools() -> None:
    assert sent("Hi", tools=[FIND])["tools"] == [
        {
            "name": "find",
            "description": "find",
            "parameter_definitions": {
                "n": {"description": "How many", "type": "int", "required": True},
                "q": {"description": "q", "type": "str", "required": False},
            },
        }
    ]
    assert "tools" not in sent("Hi", tools=[FIND], tool_choice="none")


DETAILED = Tool("f", None, {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}}, None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"json_format": JsonFormat("j", None)}, "response_format"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"tools": [FIND], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [FIND], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [DETAILED]}, "tools[].function.parameters.properties.a"),
        ({"tools": [Tool("f", None, {"type": "object"}, True)]}, "tools[].function.strict"),
        ({"rest": {"logprobs": True}}, "logprobs"),
    ],
)
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent("Hi", **fields)
    assert caught.value.param == param
    assert sent("Hi", unsupported="drop", **fields)["message"] == "Hi"


def test_the_user_comes_last() -> None:
    with refused("messages", "a last message by the user"):
        sent("One", "1", unsupported="drop")


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (b'{"text":"Hi","finish_reason":"COMPLETE"}', Answer("Hi", "stop", None)),
        (b'{"text":"Hi","finish_reason":"MAX_TOKENS"}', Answer("Hi", "length", None)),
        (b'{"text":"Hi","finish_reason":"ERROR_LIMIT"}', Answer("Hi", "length", None, native_reason="ERROR_LIMIT")),
        (b'{"text":"","finish_reason":"ERROR_TOXIC"}', Answer("", "content_filter", None, native_reason="ERROR_TOXIC")),
        (b'{"text":"Hi"}', Answer("Hi", "stop", None)),
        (
            b'{"text":"","tool_calls":[{"name":"f","parameters":{"a": 1}},{"name":"g"}]}',
            Answer(None, "tool_calls", None, [ToolCall("call_0", "f", b'{"a": 1}'), ToolCall("call_1", "g", b"{}")]),
        ),
    ],
)
def test_answers(output: bytes, answer: Answer) -> None:
    assert CODEC.decode(output) == answer


@pytest.mark.parametrize("output", [b"{}", b"[]", b'{"text":null}'])
def test_what_is_no_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a Command R answer \("):
        CODEC.decode(output)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("string", "str"),
        ("integer", "int"),
        ("number", "float"),
        ("boolean", "bool"),
        ("array", "list"),
        ("object", "dict"),
        (["string", "null"], "str"),
    ],
)
def test_types_are_pythons(kind: Any, own: str) -> None:
    (tool,) = sent("Hi", tools=[Tool("f", None, {"type": "object", "properties": {"a": {"type": kind}}}, None)])[
        "tools"
    ]
    assert tool["parameter_definitions"] == {"a": {"description": "a", "type": own, "required": False}}


def test_a_parameter_is_described_by_its_title_where_it_says_no_more() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "title": "The city"}}}
    (tool,) = sent("Hi", tools=[Tool("f", None, schema, None)])["tools"]
    assert tool["parameter_definitions"]["a"]["description"] == "The city"


def test_what_is_left_out_is_counted_once_by_its_kind() -> None:
    properties = {"a": {"type": "string", "enum": ["x"]}, "b": {"type": "string", "minLength": 1}, "c": True}
    tool = Tool("f", "D", {"type": "object", "properties": properties, "required": ["b"]}, None)
    policy = Policy("drop", "cohere-command")
    chat = Chat([], [Turn("user", [Text("Hi")])], [tool, copy.copy(tool)], temperature=1.5)
    body = CODEC.encode(chat, MODEL, policy).body
    assert policy.dropped == {
        "tools[] (there twice)": 1,
        "temperature (clamped to 1)": 1,
        "tools[].function.parameters.properties (details)": 3,
    }
    assert body["temperature"] == 1
    assert [(each["name"], each["description"]) for each in body["tools"]] == [("f", "D")]
    definitions = body["tools"][0]["parameter_definitions"]
    assert {name: each["required"] for name, each in definitions.items()} == {"a": False, "b": True, "c": False}
