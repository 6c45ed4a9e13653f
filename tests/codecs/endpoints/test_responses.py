"""/v1/responses: what comes first in the system prompt, and which count of tokens goes where."""

import json
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import (
    Answer,
    JsonFormat,
    Policy,
    RequestError,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)
from tasks.codecs.encoder import Encoder
from tasks.codecs.endpoints._thinking import seal, unseal
from tasks.codecs.endpoints.responses import ENDPOINT, build_response, parse_response
from tasks.openai_format.requests import RESPONSES
from tests.conftest import CLAUDE, NOVA


def encode(model: str, **body: Any) -> Any:
    line = json.dumps({"custom_id": "a", "body": {"model": "m", **body}}).encode()
    return json.loads(Encoder(parse_model(model), RESPONSES, "error").encode(line).model_inputs[0])


def test_instructions_come_before_the_developers_items() -> None:
    given = [
        {"role": "developer", "content": "second"},
        {"role": "system", "content": "third"},
        {"role": "user", "content": "Hi"},
    ]
    assert encode(NOVA, input=given, instructions="first")["system"] == [
        {"text": "first"},
        {"text": "second"},
        {"text": "third"},
    ]


def test_counts_of_tokens_are_where_openai_has_them() -> None:
    usage = Usage(100, 40, 30, 4, written=20)
    answer = Answer("Hi", "stop", usage)
    body = json.loads(msgspec.json.encode(build_response([answer], [None], id="x", created=1, model=CLAUDE)))
    assert body["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 140,
    }


def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    body = build_response([Answer("Hi", "length", None)], [None], id="x", created=1, model=CLAUDE)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["usage"] is None


@pytest.mark.parametrize(
    ("answer", "status", "details"),
    [
        (Answer("Hi", "stop", None), "completed", None),
        (Answer("Hi", "content_filter", None), "incomplete", {"reason": "content_filter"}),
        # A refusal is an answer, and whole.
        (Answer(None, "content_filter", None, refusal="No."), "completed", None),
    ],
)
def test_how_a_response_ended(answer: Answer, status: str, details: dict[str, str] | None) -> None:
    body = build_response([answer], [None], id="x", created=1, model=CLAUDE)
    assert (body["status"], body["incomplete_details"]) == (status, details)


CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
BUILT_IN = [{"type": "web_search"}]
SEALED = {"type": "reasoning", "encrypted_content": "x"}
WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"previous_response_id": "r"}, "previous_response_id", "unsupported_parameter"),
    ({"conversation": "c"}, "conversation", "unsupported_parameter"),
    ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
    ({"background": True}, "background", "unsupported_parameter"),
    ({"include": ["x"]}, "include", "unsupported_parameter"),
    ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
    ({"max_tool_calls": 1}, "max_tool_calls", "unsupported_parameter"),
    ({"instructions": ["x"]}, "instructions", "invalid_type"),
    ({"input": None}, "input", "invalid_type"),
    ({"input": {}}, "input", "invalid_type"),
    ({"input": ["x"]}, "input[0]", "invalid_type"),
    (
        {"input": [{"role": "user", "content": "Hi"}, {"role": "critic", "content": "Hi"}]},
        "input[1].role",
        "invalid_value",
    ),
    ({"input": [{**CALL, "name": 7}]}, "input[0]", "invalid_value"),
    ({"input": [{**CALL, "call_id": ""}]}, "input[0]", "invalid_value"),
    ({"input": ["Hi", SEALED][1:]}, "input[0]", "unsupported_parameter"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "unsupported_parameter"),
    ({"input": [{"type": "computer_call"}]}, "input[0]", "unsupported_parameter"),
    ({"input": [{}]}, "input[0]", "unsupported_parameter"),
    ({"tools": {}}, "tools", "invalid_type"),
    ({"tools": BUILT_IN}, "tools[0]", "unsupported_parameter"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice", "unsupported_parameter"),
    ({"reasoning": "low"}, "reasoning", "invalid_type"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "unsupported_parameter"),
    ({"reasoning": {"generate_summary": "concise"}}, "reasoning.generate_summary", "unsupported_parameter"),
    ({"text": "low"}, "text", "invalid_type"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse_response({"input": "Hi", **fields}, Policy("error", "nova"))
    assert (caught.value.param, caught.value.code) == (param, code)
    assert f"'{param}'" in caught.value.message


@pytest.mark.parametrize(
    ("item", "what"),
    [({"type": "computer_call"}, "type computer_call"), ({"type": 7}, "no known type"), ({}, "no known type")],
)
def test_an_item_that_exists_at_openai_only(item: dict[str, Any], what: str) -> None:
    with pytest.raises(RequestError, match=f"items of {what} exist at OpenAI only"):
        parse_response({"input": [item]}, Policy("drop", "nova"))


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False, "include": [], "truncation": "disabled", "max_tool_calls": None, "prompt": None},
        {"reasoning": {"effort": None, "summary": "auto", "generate_summary": "auto"}, "text": {"verbosity": "medium"}},
        {"text": {"format": {"type": "text"}}, "tools": None, "instructions": None, "tool_choice": "auto"},
    ],
)
def test_what_happens_anyway_is_no_trouble(fields: dict[str, Any]) -> None:
    policy = Policy("error", "nova")
    chat, _ = parse_response({"input": "Hi", **fields}, policy)
    assert (chat.rest, chat.json_format, chat.reasoning_effort, policy.dropped) == ({}, None, None, {})


def test_what_is_left_out_is_counted_by_its_kind() -> None:
    policy = Policy("drop", "nova")
    items = [{"role": "user", "content": "Hi"}, SEALED]
    parse_response({"input": items, "tools": BUILT_IN, "background": True}, policy)
    assert policy.dropped == {"input[] (reasoning)": 1, "tools[] (built-in)": 1, "background": 1}


def test_the_tools_that_are_repeated_were_in_force() -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    body = {"input": "Hi", "tools": [{"type": "web_search"}, function]}
    _, context = parse_response(body, Policy("drop", "x"))
    assert context.repeat is not None
    assert context.repeat["tools"] == [function]
    _, context = parse_response({"input": "Hi", "tools": [function]}, Policy("error", "x"))
    assert context.repeat is not None
    assert context.repeat["tools"] == [function]


def test_a_whole_response() -> None:
    calls = [ToolCall("c", "f", b'{"a":1}')]
    answer = Answer("Hi", "tool_calls", Usage(3, 2), calls, reasoning="hm")
    body = json.loads(msgspec.json.encode(build_response([answer], [None], id="x", created=7, model="m")))
    assert body == {
        "id": "resp_x",
        "object": "response",
        "created_at": 7,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "m",
        "output": [
            {
                "id": "rs_x",
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "hm"}],
                "status": "completed",
            },
            {
                "id": "msg_x",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
            },
            {
                "id": "fc_x_0",
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "arguments": '{"a":1}',
                "status": "completed",
            },
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
    }


def test_a_response_repeats_what_was_asked() -> None:
    asked = {
        "instructions": "Be brief.",
        "max_output_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.5,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "tool_choice": "required",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
        "user": "u",
    }
    _, context = parse_response({"input": "Hi", **asked, "seed": 1}, Policy("error", "nova"))
    assert context.repeat == asked
    body = build_response([Answer("Hi", "stop", None)], [context], id="x", created=1, model="m")
    assert {name: body[name] for name in asked} == asked


def test_thoughts_that_only_the_model_can_read_are_an_item_without_a_text() -> None:
    answer = Answer("Hi", "stop", None, thinking=[Thinking("", redacted="x")])
    item, said = build_response([answer], [None], id="x", created=1, model="m")["output"]
    assert (item["type"], item["content"], item["status"]) == ("reasoning", [], "completed")
    assert unseal(item["encrypted_content"]) == [Thinking("", redacted="x")]
    assert said["type"] == "message"
    (plain, _) = build_response([Answer("Hi", "stop", None, reasoning="hm")], [None], id="x", created=1, model="m")[
        "output"
    ]
    assert "encrypted_content" not in plain


def test_each_call_is_an_item_of_its_own() -> None:
    calls = [ToolCall("a", "f", b"{}"), ToolCall("b", "g", b'{"x":1}')]
    output = build_response([Answer(None, "tool_calls", None, calls)], [None], id="x", created=1, model="m")["output"]
    assert [(item["id"], item["call_id"], item["name"], item["arguments"]) for item in output] == [
        ("fc_x_0", "a", "f", "{}"),
        ("fc_x_1", "b", "g", '{"x":1}'),
    ]


def test_a_cut_off_answer_is_an_incomplete_message() -> None:
    answer = Answer("H", "length", None, native_reason="odd")
    body = build_response([answer], [None], id="x", created=1, model="m")
    assert (body["output"][0]["status"], body["native_finish_reason"]) == ("incomplete", "odd")
    assert "native_finish_reason" not in build_response(
        [Answer("H", "stop", None)], [None], id="x", created=1, model="m"
    )


def test_what_nobody_maps_is_left_to_the_family_beside_the_verbosity() -> None:
    asked = {"input": "Hi", "seed": 1, "text": {"verbosity": "low"}, "user": "u", "store": True, "top_logprobs": 0}
    ((chat, _),) = ENDPOINT.parse(asked, Policy("error", "x"))
    assert chat.rest == {"seed": 1, "text.verbosity": "low"}
    assert chat.turns == [Turn("user", [Text("Hi")])]
    mapped = (
        "input instructions max_output_tokens temperature top_p tools tool_choice parallel_tool_calls text reasoning "
        "background include truncation previous_response_id conversation prompt max_tool_calls"
    )
    assert set(mapped.split()) == ENDPOINT.mapped


def test_items_of_an_earlier_response() -> None:
    items: list[dict[str, Any]] = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
        {"type": "reasoning", "encrypted_content": seal([Thinking("hm", "s")])},
        {**CALL, "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": " "}]},
        {"role": "developer", "content": "T"},
    ]
    chat, context = parse_response({"input": items, "instructions": " "}, Policy("error", "x"))
    assert chat.system == ["S", "T"]
    assert chat.turns == [
        Turn("user", [Text("Hi")]),
        Turn("assistant", [Text("A"), Thinking("hm", "s"), ToolCall("1", "f", b'{"a":1}')]),
        Turn("user", [ToolResult("1", [])]),
    ]
    assert context.tool_names is None
    odd = [{"role": "user", "content": "Hi"}, {**CALL, "name": "f(x)"}, {**items[5], "output": "r"}]
    chat, context = parse_response({"input": odd, "reasoning": {"effort": "low"}}, Policy("error", "x"))
    assert (context.tool_names, chat.reasoning_effort) == ({"f_x_": "f(x)"}, "low")


def test_a_choice_of_a_function() -> None:
    function = {"type": "function", "name": "f", "description": "D", "strict": True}
    asked = {"input": "Hi", "tools": [function], "tool_choice": {"type": "function", "name": "f"}}
    chat, _ = parse_response({**asked, "parallel_tool_calls": False}, Policy("error", "x"))
    assert (chat.tool_choice, chat.parallel_tool_calls) == ("function:f", False)
    assert (chat.tools[0].description, chat.tools[0].strict) == ("D", True)
    lenient = Policy("drop", "x")
    chat, _ = parse_response({**asked, "tool_choice": {"type": "web_search"}}, lenient)
    assert (chat.tool_choice, lenient.dropped) == (None, {"tool_choice": 1})
    wanted = {"type": "json_schema", "name": "j", "description": "D", "schema": {"type": "object"}, "strict": True}
    chat, _ = parse_response({"input": "Hi", "text": {"format": wanted}}, Policy("error", "x"))
    assert chat.json_format == JsonFormat("j", {"type": "object"}, "D", True)
