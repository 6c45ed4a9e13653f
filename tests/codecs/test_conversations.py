"""Conversations that OpenAI's models answer, as every family takes them: put in order where that says the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import checks, model_rules
from deployments.sandbox.models import base_model
from tasks.bedrock.models import parse_model
from tasks.codecs.base import RequestError
from tasks.codecs.decoder import Decoder
from tasks.codecs.encoder import EncodedRequest, Encoder
from tasks.openai_format.requests import CHAT, RESPONSES
from tests.codecs.helpers import TOOL, user
from tests.codecs.test_answers import claude
from tests.conftest import CLAUDE, NOVA

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
HAIKU, SONNET_37 = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_46, LARGE_3, KIMI = (
    "us.anthropic.claude-sonnet-4-6",
    "mistral.mistral-large-3-675b-instruct",
    "moonshotai.kimi-k2.5",
)
MODELS = [CLAUDE, HAIKU, SONNET_37, SONNET_46, "us.anthropic.claude-opus-5", NOVA, "us.amazon.nova-2-lite-v1:0", LARGE_3, KIMI,
          "mistral.mistral-large-2407-v1:0", "openai.gpt-oss-20b-1:0", "us.meta.llama3-3-70b-instruct-v1:0",
          "qwen.qwen3-32b-v1:0"]  # fmt: skip
CLAUDES = [model for model in MODELS if "claude" in model]
SIGNED = {"type": "thinking", "thinking": "I should look.", "signature": "EqQB"}


def call(id: str, name: str = "get_weather", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made), **fields}


def result(id: str, text: str = "rain") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def encoded(
    model: str, body: dict[str, Any], unsupported: str = "error", endpoint: str = CHAT, invocation: str = "auto"
) -> EncodedRequest:
    encoder = Encoder(parse_model(model), endpoint, unsupported, invocation)  # type: ignore[arg-type]
    return encoder.encode(json.dumps({"custom_id": "x", "body": body}).encode())


def sent(model: str, *messages: dict[str, Any], unsupported: str = "error", **fields: Any) -> dict[str, Any]:
    body = {"messages": list(messages), "tools": [TOOL], **fields}
    found: dict[str, Any] = json.loads(encoded(model, body, unsupported).model_inputs[0])
    return found


def shape(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Roles and types of blocks."""
    return [
        (m["role"], ["text"] if isinstance(m["content"], str) else [b["type"] for b in m["content"]])
        for m in body["messages"]
    ]


ASKED = user("What is the weather in Oslo?")


def test_results_come_first_in_their_turn_and_calls_last() -> None:
    body = sent(CLAUDE, ASKED, calls(call("c1")), said("One moment."), user("(hurry)"), result("c1"))
    assert shape(body)[1:] == [("assistant", ["text", "tool_use"]), ("user", ["tool_result", "text"])]
    checks.anthropic(body, CLAUDE)


def test_two_results_of_a_call_become_one() -> None:
    body = sent(CLAUDE, ASKED, calls(call("c1")), result("c1"), result("c1", "again: rain"))
    (block,) = body["messages"][2]["content"]
    assert [part["text"] for part in block["content"]] == ["rain", "again: rain"]


@pytest.mark.parametrize(
    "messages",
    [
        [calls(call("c1"), call("c2")), result("c1"), user("go on")],
        [calls(call("c1")), user("never mind")],
        [said("Hm."), calls(call("c1"))],
    ],
)
def test_a_call_without_a_result_is_refused_or_left_out(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(RequestError) as caught:
        sent(CLAUDE, ASKED, *messages)
    assert caught.value.param == "messages[].tool_calls"
    body = sent(CLAUDE, ASKED, *messages, unsupported="drop")
    assert "c2" not in json.dumps(body)
    checks.anthropic(body, CLAUDE)


def test_a_result_that_comes_late_is_refused() -> None:
    for unsupported in ("error", "drop"):
        with pytest.raises(RequestError) as caught:
            sent(CLAUDE, ASKED, calls(call("c1")), result("c1"), said("ok"), result("c1"), unsupported=unsupported)
        assert caught.value.param == "messages[].tool_call_id"


def test_ids_are_numbered_where_clients_use_them_again() -> None:
    body = sent(CLAUDE, ASKED, calls(call("c1"), call("c1")), result("c1", "a"), result("c1", "b"), calls(call("c1")), result("c1", "c"))  # fmt: skip
    blocks = [block for message in body["messages"][1:] for block in message["content"]]
    made = [block["id"] for block in blocks if block["type"] == "tool_use"]
    answered = {b["tool_use_id"]: b["content"][0]["text"] for b in blocks if b["type"] == "tool_result"}
    assert made == ["c1", "c1_2", "c1_3"]
    assert answered == {"c1": "a", "c1_2": "b", "c1_3": "c"}


def test_legacy_functions_have_an_id_for_each_call() -> None:
    made = {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "{}"}}
    answered = {"role": "function", "name": "get_weather", "content": "rain"}
    body = {"messages": [ASKED, made, answered, made, answered], "functions": [TOOL["function"]]}
    turns = json.loads(encoded(CLAUDE, body).model_inputs[0])["messages"]
    assert [turn["content"][0]["id"] for turn in turns if turn["role"] == "assistant"] == [
        "call_get_weather",
        "call_get_weather_2",
    ]


def test_mistrals_ids_have_nine_characters() -> None:
    body = sent(LARGE_3, ASKED, calls(call("tooluse_bpe71yCfRu2b5i-nKGDr5g"), call("abc123XYZ")), result("tooluse_bpe71yCfRu2b5i-nKGDr5g"), result("abc123XYZ"))  # fmt: skip
    _, made, first, second = body["messages"]
    ids = [each["id"] for each in made["tool_calls"]]
    assert all(len(id) == 9 and id.isalnum() for id in ids)
    assert ids[1] == "abc123XYZ"
    assert [first["tool_call_id"], second["tool_call_id"]] == ids


@pytest.mark.parametrize("name", ["multi_tool_use.parallel", 'click_on(url="x")', "", "x" * 80, "$get_weather"])
def test_names_are_mapped_there_and_back(name: str) -> None:
    request = encoded(CLAUDE, {"messages": [ASKED, calls(call("c1", name)), result("c1")], "tools": [TOOL]})
    body = json.loads(request.model_inputs[0])
    (use,) = body["messages"][1]["content"]
    checks.anthropic(body, CLAUDE)
    assert use["name"] != name
    answer = claude({"type": "tool_use", "id": "t", "name": use["name"], "input": {}}, stop_reason="tool_use")
    outcome: Any = Decoder(parse_model(CLAUDE), CHAT, "InvokeModel").decode(
        json.dumps(answer).encode(), request.contexts[0]
    )
    assert [each.name for each in outcome.tool_calls] == [name]


def test_distinct_names_stay_distinct() -> None:
    made = [call("c1", "get.weather"), call("c2", "get weather"), call("c3", "get_weather")]
    body = sent(CLAUDE, ASKED, calls(*made), result("c1"), result("c2"), result("c3"))
    names = [block["name"] for block in body["messages"][1]["content"]]
    assert len(set(names)) == 3
    assert names[2] == "get_weather"


def test_system_text_alone_and_a_greeting_are_answered() -> None:
    body = sent(CLAUDE, {"role": "system", "content": "Write a haiku about rain."})
    assert body["system"] == "Write a haiku about rain."
    assert shape(body) == [("user", ["text"])]
    body = sent(CLAUDE, said("Hello, how can I help?"), user("Haiku please"))
    assert [role for role, _ in shape(body)] == ["user", "assistant", "user"]
    for model in MODELS:
        assert encoded(model, {"messages": [{"role": "system", "content": "Write."}]}).model_inputs


@pytest.mark.parametrize("content", ["", "  ", []])
def test_nothing_at_all_is_refused(content: Any) -> None:
    with pytest.raises(RequestError) as caught:
        sent(CLAUDE, {"role": "system", "content": " "}, user(content))
    assert caught.value.param == "messages"


def test_the_beginning_of_an_answer_goes_where_the_model_goes_on_from_it() -> None:
    assert shape(sent(CLAUDE, ASKED, said("In Oslo ")))[-1] == ("assistant", ["text"])
    with pytest.raises(RequestError) as caught:
        sent(SONNET_46, ASKED, said("In Oslo"))
    assert caught.value.param == "messages"
    request = encoded(SONNET_46, {"messages": [ASKED, said("In Oslo")]}, "drop")
    assert request.dropped == {"messages[] (beginning of the answer)": 1}
    assert shape(json.loads(request.model_inputs[0])) == [("user", ["text"])]


def test_the_beginning_of_an_answer_stands_beside_no_thinking_and_no_format() -> None:
    with pytest.raises(RequestError) as caught:
        sent(HAIKU, ASKED, said("{"), reasoning_effort="low", max_tokens=20_000)
    assert caught.value.param == "reasoning_effort"
    body = sent(HAIKU, ASKED, said("{"), reasoning_effort="low", max_tokens=20_000, unsupported="drop")
    assert "thinking" not in body
    with pytest.raises(RequestError) as caught:
        encoded(HAIKU, {"messages": [ASKED, said("{")], "response_format": {"type": "json_object"}})
    assert caught.value.param == "messages"


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}


@pytest.mark.parametrize("where", ["thinking_blocks", "content_blocks", "content"])
def test_thoughts_are_sent_back_first_in_their_turn(where: str) -> None:
    made = calls(call("c1"), reasoning_content="I should look.", **{where: [SIGNED]})
    request = encoded(HAIKU, {"messages": [ASKED, made, result("c1")], "tools": [TOOL], **THINKING})
    body = json.loads(request.model_inputs[0])
    assert body["messages"][1]["content"][0] == SIGNED
    assert body["thinking"]["type"] == "enabled"
    assert request.dropped == {}


def test_thoughts_are_sent_back_by_converse() -> None:
    body = {"messages": [ASKED, {**said("Rain."), "thinking_blocks": [SIGNED]}, user("Sure?")], **THINKING}
    turns = json.loads(encoded(HAIKU, body, invocation="Converse").model_inputs[0])["messages"]
    assert turns[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "I should look.", "signature": "EqQB"}}},
        {"text": "Rain."},
    ]


@pytest.mark.parametrize("model", [CLAUDE, NOVA, KIMI, LARGE_3, "us.meta.llama3-3-70b-instruct-v1:0"])
def test_where_thoughts_mean_nothing_they_are_left_out_and_counted(model: str) -> None:
    body = {"messages": [ASKED, {**said("Rain."), "thinking_blocks": [SIGNED]}, user("Sure?")]}
    request = encoded(model, body)
    assert request.dropped == {"messages[].thinking_blocks": 1}
    assert b"I should look" not in request.model_inputs[0]
    unsigned = {"messages": [ASKED, {**said("Rain."), "reasoning_content": "Hm."}, user("Sure?")]}
    assert encoded(model, unsigned).dropped == {"messages[].reasoning_content": 1}


def test_without_its_thoughts_claude_cannot_think_on_after_a_tool() -> None:
    messages = [ASKED, calls(call("c1")), result("c1")]
    with pytest.raises(RequestError) as caught:
        sent(SONNET_37, *messages, reasoning_effort="low")
    assert caught.value.param == "reasoning_effort"
    body = sent(SONNET_37, *messages, reasoning_effort="low", unsupported="drop")
    assert "thinking" not in body
    # A question of its own begins a turn of its own.
    assert "thinking" in sent(SONNET_37, *messages, said("Rain."), user("And in Bergen?"), reasoning_effort="low")


def test_reasoning_items_of_ours_go_back_into_the_conversation() -> None:
    request = encoded(HAIKU, {"input": "Hi"}, endpoint=RESPONSES)
    output = claude(
        SIGNED, {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {}}, stop_reason="tool_use"
    )
    decoder = Decoder(parse_model(HAIKU), RESPONSES, "InvokeModel")
    from tasks.codecs.decoder import build

    response = build(
        RESPONSES, [decoder.decode(json.dumps(output).encode(), None)], request.contexts, id="1", created=1, model=HAIKU
    )
    again = {
        "input": [
            {"role": "user", "content": "Hi"},
            *response["output"],
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
        "tools": [{"type": "function", **TOOL["function"]}],
        "reasoning": {"effort": "low"},
    }
    body = json.loads(encoded(HAIKU, again, endpoint=RESPONSES).model_inputs[0])
    assert body["messages"][1]["content"][0] == SIGNED
    assert body["thinking"]["type"] == "enabled"


def test_a_lone_document_has_a_text_beside_it_in_converse() -> None:
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjQK", "filename": "plan.pdf"}}
    body = json.loads(encoded(NOVA, {"messages": [user([file])]}).model_inputs[0])
    assert [list(block) for block in body["messages"][0]["content"]] == [["document"], ["text"]]


def _lines() -> Iterator[Any]:
    for number in ("07", "08", "09", "12", "20"):
        for path in SHARED.glob(f"{number}_*.jsonl"):
            for line in path.read_text("utf-8").splitlines():
                models = CLAUDES if number == "08" else MODELS
                yield pytest.param(json.loads(line)["body"], models, id=f"{number}-{json.loads(line)['custom_id']}")


@pytest.mark.parametrize(("body", "models"), _lines())
@pytest.mark.parametrize("unsupported", ["error", "drop"])
def test_shared_lines_on_every_kind_of_model(body: dict[str, Any], models: list[str], unsupported: str) -> None:
    """What is sent, the service takes; what is not, names its field."""
    for model in models:
        try:
            request = encoded(model, body, unsupported)
        except RequestError as error:
            assert error.status == 400, (model, error.message)
            assert error.param, (model, error.message)
            continue
        for each in request.model_inputs:
            assert model_rules.problem(json.loads(each), base_model(model)) is None, model
