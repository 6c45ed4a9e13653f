"""Converse: golden pairs, and what is refused."""

import json
from typing import Any

import botocore.session
import msgspec
import pytest

from deployments.sandbox import checks
from tasks.bedrock.models import parse_model
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
from tasks.codecs.encoder import Encoder
from tasks.codecs.families.converse import _FINISH, encode_content
from tasks.fast.line import FastEncoder
from tasks.openai_format.requests import CHAT
from tests.codecs.helpers import CALL, PNG, RESULTS, TOOL, decode, encode, user

LLAMA = "us.meta.llama3-2-90b-instruct-v1:0"
BODY = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        user([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}]),
        {"role": "assistant", "content": "A dot"},
        user("Sure?"),
    ],
    "max_tokens": 5,
    "temperature": 0,
    "top_p": 0.5,
    "stop": ["END"],
}
CONVERSATION = {
    "system": [{"text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"text": "What?"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]},
        {"role": "assistant", "content": [{"text": "A dot"}]},
        {"role": "user", "content": [{"text": "Sure?"}]},
    ],
    "inferenceConfig": {"maxTokens": 5, "temperature": 0, "topP": 0.5, "stopSequences": ["END"]},
}


def test_a_chat() -> None:
    assert encode(LLAMA, BODY) == CONVERSATION
    checks.converse(encode(LLAMA, BODY), batch=True)


def test_tools_cannot_go_into_a_converse_job() -> None:
    with pytest.raises(RequestError, match="no tools") as caught:
        encode(LLAMA, {"messages": [user()], "tools": [TOOL]})
    assert caught.value.param == "tools"
    assert "toolConfig" not in encode(LLAMA, {"messages": [user()], "tools": [TOOL]}, "drop")
    with pytest.raises(RequestError):
        encode(LLAMA, {"messages": [user(), CALL, *RESULTS], "tools": [TOOL]}, "drop")


def test_an_answer_with_nulls_in_its_unions() -> None:
    nulls = dict.fromkeys(("text", "toolUse", "image", "reasoningContent", "document"))
    output = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {
                        **nulls,
                        "reasoningContent": {
                            "reasoningText": {"text": "Hm.", "signature": None},
                            "redactedContent": None,
                        },
                    },
                    {**nulls, "text": "One "},
                    {**nulls, "text": "two"},
                    {**nulls, "toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
                ],
            }
        },
        "stopReason": "tool_use",
        "metrics": {"latencyMs": 3},
        "trace": None,
        "usage": {
            "inputTokens": 4,
            "outputTokens": 6,
            "totalTokens": 10,
            "cacheReadInputTokens": 2,
            "cacheWriteInputTokens": None,
        },
    }
    answer = decode(LLAMA, output)
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("One two", "Hm.", "tool_calls")
    assert [(call.id, call.arguments) for call in answer.tool_calls] == [("t1", b'{"a": 1}')]
    assert answer.usage == Usage(6, 6, 2)


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", None),
        ("max_tokens", "length", None),
        ("tool_use", "tool_calls", None),
        ("guardrail_intervened", "content_filter", "guardrail_intervened"),
        ("content_filtered", "content_filter", None),
        ("malformed_model_output", "stop", "malformed_model_output"),
        ("malformed_tool_use", "stop", "malformed_tool_use"),
        ("new_one", "stop", "new_one"),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"),
    ],
)
def test_finish_reasons(reason: str, finish: str, native: str | None) -> None:
    answer = decode(LLAMA, {"output": {"message": {"content": []}}, "stopReason": reason})
    assert (answer.finish_reason, answer.native_reason) == (finish, native)


def test_every_finish_reason_of_converse_is_known() -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    assert set(model.shape_for("StopReason").metadata["enum"]) == set(_FINISH)


@pytest.mark.parametrize("output", [{}, {"output": {}}, {"output": {"message": None}}, {"generation": "x"}, 3])
def test_other_shapes_are_said(output: object) -> None:
    with pytest.raises(DecodeError):
        decode(LLAMA, output)


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({}, Usage(5, 7)),
        ({"cacheReadInputTokens": 3}, Usage(8, 7, 3)),
        ({"cacheWriteInputTokens": 2}, Usage(7, 7, written=2)),
        ({"cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}, Usage(10, 7, 3, written=2)),
        ({"cacheReadInputTokenCount": 3, "cacheWriteInputTokenCount": 2}, Usage(10, 7, 3, written=2)),
        ({"cacheReadInputTokens": None, "cacheWriteInputTokens": None}, Usage(5, 7)),
    ],
)
def test_what_was_read_and_written_counts_as_input(more: dict[str, Any], usage: Usage) -> None:
    output = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 7, **more},
    }
    assert decode(LLAMA, output).usage == usage


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (Text("a"), {"text": "a"}),
        (Image("gif", "AA"), {"image": {"format": "gif", "source": {"bytes": "AA"}}}),
        (Document("pdf", "n", "AA"), {"document": {"format": "pdf", "name": "n", "source": {"bytes": "AA"}}}),
        (Thinking("hm", "s"), {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}),
        (Thinking("", redacted="r"), {"reasoningContent": {"redactedContent": "r"}}),
        (ToolCall("1", "f", b"{}"), {"toolUse": {"toolUseId": "1", "name": "f", "input": msgspec.Raw(b"{}")}}),
        (ToolResult("1", []), {"toolResult": {"toolUseId": "1", "content": [{"json": {}}]}}),
        (ToolResult("1", [Text("r")]), {"toolResult": {"toolUseId": "1", "content": [{"text": "r"}]}}),
    ],
)
def test_parts(part: Any, sent: Any) -> None:
    assert encode_content(part) == sent


HAIKU, OPUS, NOVA_2 = (
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-opus-5-5",
    "us.amazon.nova-2-lite-v1:0",
)


def by_converse(model: str, unsupported: Any = "error", **body: Any) -> Any:
    """The modelInput of a body, and what was counted, where Converse was asked for."""
    encoder = Encoder(parse_model(model), CHAT, unsupported, "Converse")
    line = json.dumps({"custom_id": "x", "body": {"messages": [user()], **body}}).encode()
    encoded = encoder.encode(line)
    return json.loads(encoded.model_inputs[0]), encoded.dropped


def test_claude_thinks_by_converse_as_by_its_own_body() -> None:
    body, _ = by_converse(HAIKU, reasoning_effort="high")
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 16_384}}
    assert body["inferenceConfig"]["maxTokens"] > 16_384
    body, _ = by_converse(OPUS, reasoning_effort="max")
    assert body["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "max"},
    }


#: A conversation that ends with the beginning of an answer.
BEGUN = [user(), {"role": "assistant", "content": "So"}]


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (HAIKU, {"reasoning_effort": "high", "temperature": 0.2}, "temperature"),
        (HAIKU, {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 3}, "top_k"),
        (OPUS, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking"),
        (NOVA_2, {"reasoning_effort": "high", "max_tokens": 50}, "max_tokens"),
        (HAIKU, {"reasoning_effort": "high", "messages": BEGUN}, "reasoning_effort"),
        (HAIKU, {"thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": BEGUN}, "thinking"),
    ],
)
def test_what_may_not_stand_beside_thinking_by_converse(model: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as raised:
        by_converse(model, **body)
    assert raised.value.param == field
    _, counted = by_converse(model, "drop", **body)
    assert counted == {field: 1}


COMMAND_R, GPT_OSS, MIXTRAL = "cohere.command-r-v1:0", "openai.gpt-oss-20b-1:0", "mistral.mixtral-8x7b-instruct-v0:1"


@pytest.mark.parametrize(
    ("model", "fields", "sent"),
    [
        (HAIKU, {"top_k": 5, "anthropic_beta": ["x"]}, {"top_k": 5, "anthropic_beta": ["x"]}),
        (COMMAND_R, {"top_k": 5}, {"k": 5}),
        (NOVA_2, {"top_k": 5}, {"inferenceConfig": {"topK": 5}}),
        (NOVA_2, {"reasoning_effort": "max"}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        (NOVA_2, {"reasoning_effort": "none"}, {"reasoningConfig": {"type": "disabled"}}),
        (GPT_OSS, {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}),
        (COMMAND_R, {"additionalModelRequestFields": {"x": 1}, "top_k": 5}, {"x": 1, "k": 5}),
        (HAIKU, {"reasoning_effort": "none"}, None),
    ],
)
def test_what_converse_has_no_word_for(model: str, fields: dict[str, Any], sent: Any) -> None:
    body, dropped = by_converse(model, **fields)
    assert (body.get("additionalModelRequestFields"), dropped) == (sent, {})


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        (LLAMA, {"top_k": 5}, "top_k"),
        (OPUS, {"top_k": 5}, "top_k"),
        (NOVA_2, {"anthropic_beta": ["x"]}, "anthropic_beta"),
        (LLAMA, {"reasoning_effort": "low"}, "reasoning_effort"),
        (GPT_OSS, {"reasoning_effort": "none"}, "reasoning_effort"),
        (GPT_OSS, {"stop": ["END"]}, "stop"),
        ("moonshotai.kimi-k2.5", {"stop": ["END"]}, "stop"),
        (LLAMA, {"response_format": {"type": "json_object"}}, "response_format"),
        ("us.meta.llama3-3-70b-instruct-v1:0", {"max_tokens": 8193}, "max_tokens"),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"max_tokens": 4097}, "max_tokens"),
        (LLAMA, {"seed": 1}, "seed"),
        (OPUS, {"messages": BEGUN}, "messages"),
        (HAIKU, {"messages": BEGUN, "response_format": {"type": "json_schema", "json_schema": {
            "name": "j", "schema": {"type": "object", "properties": {}}}}}, "messages"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_take_by_converse(model: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        by_converse(model, **fields)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    body, dropped = by_converse(model, "drop", **fields)
    assert len(dropped) == 1
    assert "additionalModelRequestFields" not in body
    assert "stopSequences" not in body.get("inferenceConfig", {})
    assert body["messages"][-1]["role"] == "user"


def test_where_a_model_has_no_place_for_the_system_it_goes_before_the_users_words() -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "developer", "content": "T"}, user()]
    body, dropped = by_converse(MIXTRAL, messages=messages)
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [{"text": "S"}, {"text": "T"}, {"text": "Hi"}]}]
    assert dropped == {}
    body, _ = by_converse(LLAMA, messages=messages)
    assert body["system"] == [{"text": "S"}, {"text": "T"}]


def test_documents_have_names_of_their_own_and_a_text_beside_them() -> None:
    def file(name: str) -> dict[str, Any]:
        return {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjQK", "filename": name}}

    long = "n" * 200
    first, second = (
        user([file("a.pdf"), file("a.pdf"), file(f"{long}.pdf")]),
        user([file("a.pdf"), file(f"{long}.pdf")]),
    )
    body, _ = by_converse(HAIKU, messages=[first, {"role": "assistant", "content": "ok"}, second])
    names = [
        [block["document"]["name"] for block in message["content"] if "document" in block]
        for message in body["messages"]
    ]
    assert names == [["a", "a 2", long], [], ["a 3", "n" * 190 + " 2"]]
    assert [message["content"][-1] for message in body["messages"]] == [{"text": "a"}, {"text": "ok"}, {"text": "a 3"}]
    asked, _ = by_converse(HAIKU, messages=[user([{"type": "text", "text": "What?"}, file("a.pdf")])])
    assert [list(block) for block in asked["messages"][0]["content"]] == [["text"], ["document"]]


def test_a_format_of_converse() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "j", "description": "D", "schema": schema}}
    body, dropped = by_converse(HAIKU, response_format=wanted)
    structure = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (structure["name"], structure["description"]) == ("j", "D")
    assert json.loads(structure["schema"])["additionalProperties"] is False
    assert dropped == {"response_format.json_schema.schema (minimum in the description)": 1}


def test_models_that_do_not_chat_are_named() -> None:
    from tasks.codecs import all_codecs
    from tasks.codecs.base import Chat, Policy

    converse: Any = all_codecs()[-1]
    with pytest.raises(
        RequestError, match=r"amazon\.titan-embed-text-v2:0 is a model for embeddings, and takes no chats"
    ):
        converse.encode(Chat([], []), parse_model("amazon.titan-embed-text-v2:0"), Policy("error", "converse"))


def test_thoughts_that_only_the_model_can_read() -> None:
    content = [{"reasoningContent": {"redactedContent": "x9"}}, {"text": "4"}]
    answer = decode(LLAMA, {"output": {"message": {"content": content}}, "stopReason": "end_turn"})
    assert (answer.content, answer.reasoning, answer.thinking) == ("4", None, [Thinking("", redacted="x9")])


@pytest.mark.parametrize("model", [HAIKU, OPUS, LLAMA, NOVA_2, MIXTRAL, GPT_OSS, COMMAND_R])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 5, "temperature": 0.5},
        {"top_p": 0.5, "max_tokens": 5},
        {"temperature": 0.5, "top_p": 0.5},
        {"temperature": 1, "top_p": 1},
        {"temperature": 1.5},
        {"max_tokens": 1_000_000},
    ],
)
@pytest.mark.parametrize("invocation", ["Converse", "InvokeModel"])
def test_the_short_way_is_the_general_one_in_either_type_of_job(
    model: str, fields: dict[str, Any], invocation: Any
) -> None:
    messages = [{"role": "system", "content": "S"}, user(), {"role": "assistant", "content": "A"}, user("B")]
    line = json.dumps({"custom_id": "x", "body": {"messages": messages, **fields}}).encode()
    encoder = FastEncoder(parse_model(model), CHAT, "error", invocation)
    found: list[Any] = []
    for way in (encoder.encode, encoder.encode_general):
        try:
            found.append(json.loads(way(line).model_inputs[0]))
        except RequestError as error:
            found.append((error.param, error.message))
    assert found[0] == found[1]
