"""Anthropic Messages: golden pairs, and what is refused."""

import base64
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from anthropic.types.beta import BetaStopReason

from deployments.sandbox import checks
from tasks.codecs.base import (
    DecodeError,
    Document,
    Image,
    RequestError,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from tasks.codecs.families.anthropic import _FINISH, _encode_part
from tests.codecs.helpers import CALL, PNG, RESULTS, TOOL, decode, encode, encoder_for, user

OLD = "anthropic.claude-3-haiku-20240307-v1:0"
MODEL = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
NEW = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NEWEST = "global.anthropic.claude-opus-5"


def test_a_chat() -> None:
    sent = encode(
        MODEL,
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "Be brief."},
                user("One"),
                user([{"type": "text", "text": "Two"}]),
                {"role": "assistant", "content": "Yes"},
                {"role": "developer", "content": "And kind."},
                user("Three"),
            ],
            "max_completion_tokens": 9,
            "max_tokens": 3,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": "END",
            "n": 1,
            "user": "u",
            "stream": True,
            "frequency_penalty": 0,
            "logprobs": None,
            "store": True,
            "metadata": {"a": "b"},
        },
    )
    assert sent == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "system": "Be brief.\n\nAnd kind.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": "Yes"},
            {"role": "user", "content": "Three"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
    }
    checks.anthropic(sent, MODEL)


def test_tools_and_their_results() -> None:
    body = {
        "messages": [user(), CALL, *RESULTS, user("Thanks")],
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    sent = encode(MODEL, body)
    checks.anthropic(sent, MODEL)
    assert sent["tools"] == [
        {"name": "get_weather", "description": "Weather in a city", "input_schema": TOOL["function"]["parameters"]}
    ]
    assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    first, second = sent["messages"][1]["content"]
    assert first == {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}}
    assert second["input"] == {"n": 12345678901234567890123}, "integers keep their digits"
    results = sent["messages"][2]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", "text"]
    assert results[1]["tool_use_id"] == second["id"] != "call:2", "an id that Claude refuses is mapped, in both places"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "get_weather"}}, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: object, sent: object) -> None:
    assert encode(MODEL, {"messages": [user()], "tools": [TOOL], "tool_choice": choice})["tool_choice"] == sent


def test_images_by_content_not_by_label() -> None:
    url = f"data:image/jpg;base64,{PNG}"
    sent = encode(MODEL, {"messages": [user([{"type": "image_url", "image_url": {"url": url}}])]})
    assert sent["messages"][0]["content"][0]["source"]["media_type"] == "image/png"
    checks.anthropic(sent)


TXT = base64.b64encode("Grüße".encode()).decode()


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (Text("a"), {"type": "text", "text": "a"}),
        (Image("gif", "AA"), {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AA"}}),
        (
            Document("pdf", "n", "AA"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
                "title": "n",
            },
        ),
        (
            Document("txt", "n", TXT),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}, "title": "n"},
        ),
        (Thinking("hm", "s"), {"type": "thinking", "thinking": "hm", "signature": "s"}),
        (Thinking("", redacted="r"), {"type": "redacted_thinking", "data": "r"}),
        (ToolCall("1", "f", b"{}"), {"type": "tool_use", "id": "1", "name": "f", "input": msgspec.Raw(b"{}")}),
        (ToolResult("1", []), {"type": "tool_result", "tool_use_id": "1"}),
        (
            ToolResult("1", [Text("r")]),
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]},
        ),
    ],
)
def test_parts(part: Any, sent: Any) -> None:
    assert _encode_part(part) == sent


@pytest.mark.parametrize(("model", "default"), [(OLD, 4096), (MODEL, 8192), (NEW, 8192)])
def test_max_tokens_has_a_default(model: str, default: int) -> None:
    assert encode(model, {"messages": [user()]})["max_tokens"] == default
    assert encode(model, {"messages": [user("é")]})["max_tokens"] == default


@pytest.mark.parametrize(
    ("model", "body", "sent"),
    [
        (NEW, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}),
        (NEW, {"temperature": 1.0, "top_p": 0.5}, {"top_p": 0.5}),
        (NEW, {"temperature": 1, "top_p": 1.0}, {"temperature": 1}),
        (NEWEST, {"temperature": 1, "top_p": 1}, {}),
        (OLD, {"temperature": 1, "top_p": 1}, {"temperature": 1, "top_p": 1}),
        (MODEL, {"frequency_penalty": 0.0, "presence_penalty": 0.0, "n": 1, "logprobs": False}, {}),
    ],
)
def test_values_that_ask_for_nothing_are_no_trouble(
    model: str, body: dict[str, object], sent: dict[str, object]
) -> None:
    """Many clients send every default along: 1 is what happens without the field, at OpenAI as at Claude."""
    encoded = encode(model, {"messages": [user()], **body})
    assert {k: v for k, v in encoded.items() if k not in ("messages", "max_tokens", "anthropic_version")} == sent


HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
#: A conversation that ends with the beginning of an answer.
BEGUN = [user(), {"role": "assistant", "content": "So"}]


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (MODEL, {"temperature": 1.5}, "temperature"),
        (MODEL, {"seed": 3}, "seed"),
        (MODEL, {"unknown_field": 1}, "unknown_field"),
        (MODEL, {"stop": [" "]}, "stop"),
        (NEW, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (NEWEST, {"temperature": 0.5}, "temperature"),
        (HAIKU, {"messages": BEGUN, "reasoning_effort": "low"}, "reasoning_effort"),
        (HAIKU, {"messages": BEGUN, "thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking"),
        (MODEL, {"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
        (
            MODEL,
            {
                "messages": [
                    user(
                        [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
                    )
                ]
            },
            "messages[0].content[1].image_url.url",
        ),
    ],
)
def test_what_claude_cannot_honour(model: str, body: dict[str, object], param: str) -> None:
    body = {"messages": [user()], **body}
    with pytest.raises(RequestError) as caught:
        encode(model, body)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    assert 'unsupported="drop"' in caught.value.message
    encoder = encoder_for(model, "drop")
    import json

    sent = json.loads(encoder.encode(json.dumps({"custom_id": "x", "body": body}).encode()).model_inputs[0])
    checks.anthropic(sent, model)
    assert sum(encoder.dropped.as_dict().values()) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [user("  ")]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user(7)]}, "messages[0].content"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [user([{"type": "hologram"}])]}, "messages[0].content[0]"),
        (
            {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [user(), *RESULTS]}, "messages[].tool_call_id"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stop": 3}, "stop"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        (
            {
                "messages": [
                    user(),
                    {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{bad"}}]},
                ]
            },
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, object], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode(MODEL, {"messages": [user()], **body}, "drop")
    assert caught.value.param == param


def test_an_answer() -> None:
    answer = decode(
        MODEL,
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "One "},
                {"type": "text", "text": "two"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 12345678901234567890}},
            ],
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 5,
                "output_tokens": 7,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 2,
            },
        },
    )
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("One two", "Hm.", "tool_calls")
    assert answer.tool_calls[0].arguments == b'{"n": 12345678901234567890}'
    assert answer.usage == Usage(10, 7, 3, written=2)


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({}, Usage(5, 7)),
        ({"cache_read_input_tokens": 3}, Usage(8, 7, 3)),
        ({"cache_creation_input_tokens": 2}, Usage(7, 7, written=2)),
        ({"cache_read_input_tokens": None, "cache_creation_input_tokens": None}, Usage(5, 7)),
        ({"output_tokens_details": {"thinking_tokens": 4}}, Usage(5, 7, 0, 4)),
        ({"output_tokens_details": {"thinking_tokens": None}}, Usage(5, 7)),
        ({"output_tokens_details": None}, Usage(5, 7)),
    ],
)
def test_counts_of_tokens(more: dict[str, Any], usage: Usage) -> None:
    output = {"content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 5, "output_tokens": 7, **more}}
    assert decode(MODEL, output).usage == usage


def test_blocks_without_what_makes_them_one_are_left_out() -> None:
    blocks = [
        {"type": "text"},
        {"type": "thinking", "signature": "s"},
        {"type": "redacted_thinking"},
        {"type": "tool_use", "id": "t", "input": {}},
        {"type": "tool_use", "name": "f", "input": {}},
        {"type": "later", "id": "t", "name": "f", "text": "x", "thinking": "x", "data": "x"},
        {"type": "text", "text": "Hi"},
    ]
    answer = decode(MODEL, {"content": blocks, "stop_reason": "end_turn"})
    assert (answer.content, answer.tool_calls, answer.reasoning, answer.thinking) == ("Hi", [], None, [])


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("end_turn", "stop", None),
        ("max_tokens", "length", None),
        ("stop_sequence", "stop", None),
        ("pause_turn", "stop", "pause_turn"),
        ("compaction", "stop", "compaction"),
        ("tool_use", "tool_calls", None),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"),
        ("refusal", "content_filter", None),
        (None, "stop", None),
        ("new_one", "stop", "new_one"),
    ],
)
def test_finish_reasons(reason: str | None, finish: str, native: str | None) -> None:
    answer = decode(MODEL, {"content": [], "stop_reason": reason})
    assert (answer.finish_reason, answer.native_reason) == (finish, native)


def test_every_finish_reason_of_anthropic_is_known() -> None:
    assert set(get_args(BetaStopReason)) <= set(_FINISH)


def test_a_tool_call_alone_has_null_content() -> None:
    output = {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}], "stop_reason": "tool_use"}
    assert decode(MODEL, output).content is None


@pytest.mark.parametrize("output", [{}, [], None, {"content": "text"}, {"content": [{"text": "no type"}]}])
def test_other_shapes_are_said(output: object) -> None:
    with pytest.raises(DecodeError):
        decode(MODEL, output)


#: What a request may say in Claude's own words.
OWN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (MODEL, {"top_k": 5, "anthropic_beta": ["x"]}, {"top_k": 5, "anthropic_beta": ["x"]}),
    (MODEL, {"additionalModelRequestFields": {"x": 1, "max_tokens": 7}}, {"x": 1, "max_tokens": 7}),
    (NEW, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (NEWEST, {"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
    (NEWEST, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    (MODEL, {"reasoning_effort": "none"}, {}),
]


@pytest.mark.parametrize(("model", "fields", "sent"), OWN)
def test_claudes_own_fields(model: str, fields: dict[str, Any], sent: dict[str, Any]) -> None:
    body = encode(model, {"messages": [user()], **fields})
    usual = {"anthropic_version", "messages", *(() if "max_tokens" in sent else ("max_tokens",))}
    assert {name: value for name, value in body.items() if name not in usual} == sent


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True, "tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_how_many_calls_there_may_be(fields: dict[str, Any], choice: dict[str, Any] | None) -> None:
    assert encode(MODEL, {"messages": [user()], "tools": [TOOL], **fields}).get("tool_choice") == choice


def test_tools_of_the_history_are_declared_once_and_not_called_again() -> None:
    body = encode(MODEL, {"messages": [user(), CALL, *RESULTS]})
    assert body["tools"] == [{"name": "get_weather", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert len(encode(MODEL, {"messages": [user(), CALL, *RESULTS], "tools": [TOOL]})["tools"]) == 1


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "description": "own"}


def asked(schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "j", "schema": schema, **more}}


def test_a_format_has_its_description_before_the_schemas() -> None:
    encoder = encoder_for(NEW)
    line = {"custom_id": "x", "body": {"messages": [user()], "response_format": asked(description="D")}}
    encoded = encoder.encode(msgspec.json.encode(line))
    config = msgspec.json.decode(encoded.model_inputs[0])["output_config"]
    assert config["format"]["schema"]["description"] == "D\n\nown"
    assert encoded.dropped == {"response_format.json_schema.schema (minimum in the description)": 1}
    assert "tools" not in msgspec.json.decode(encoded.model_inputs[0])


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        ("us.anthropic.claude-opus-5-5", {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ("us.anthropic.claude-opus-5-5", {"response_format": {"type": "json_object"}}, "response_format"),
        (NEW, {"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "low"}, "reasoning_effort"),
        (NEW, {"response_format": {"type": "json_object"}, "reasoning_effort": "low"}, "reasoning_effort"),
        (NEW, {"messages": BEGUN, "response_format": asked()}, "messages"),
        (OLD, {"messages": BEGUN, "response_format": asked()}, "messages"),
        (OLD, {"max_tokens": 4097}, "max_tokens"),
        (MODEL, {"temperature": 0.5, "thinking": {"type": "enabled", "budget_tokens": 2000}}, "temperature"),
    ],
)
def test_what_excludes_each_other(model: str, body: dict[str, Any], param: str) -> None:
    body = {"messages": [user()], **body}
    with pytest.raises(RequestError) as caught:
        encode(model, body)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    checks.anthropic(encode(model, body, "drop"), model)


def test_beside_tools_that_may_be_called_claude_thinks() -> None:
    for choice in ("auto", None):
        body = encode(NEW, {"messages": [user()], "tools": [TOOL], "tool_choice": choice, "reasoning_effort": "low"})
        assert body["thinking"]["budget_tokens"] == 2048
    none = encode(NEW, {"messages": [user()], "tools": [TOOL], "tool_choice": "none", "reasoning_effort": "low"})
    assert none["thinking"]["budget_tokens"] == 2048


def test_a_claude_that_does_not_see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a user's own row may have it."""
    rows = tmp_path / "models.toml"
    rows.write_text(f'[[model]]\nid = "{NEW}"\nseen = "2026-11-26"\nsource = "here"\nimages = false\n')
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    asked = {"messages": [user([{"type": "text", "text": "?"}, picture])]}
    assert len(encode(NEW, asked)["messages"][0]["content"]) == 2
    monkeypatch.setenv("BEDROCK_BATCH_MODELS", str(rows))
    with pytest.raises(RequestError, match="takes text only"):
        encode(NEW, asked)
