"""What one model makes of lines, counted as they come."""

import json
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.inputs.survey import Survey
from tests.conftest import CLAUDE, NOVA, chat

CHAT = "/v1/chat/completions"
PICTURES = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]


def survey(*lines: dict[str, Any] | bytes, model: str = CLAUDE, endpoint: str = CHAT, **options: Any) -> Survey:
    found = Survey(parse_model(model), **{"unsupported": "error", **options})
    for number, line in enumerate(lines, 1):
        found.add(line if isinstance(line, bytes) else json.dumps(line).encode(), endpoint, number, "in.jsonl")
    return found


def causes(found: Survey) -> list[tuple[str | None, int, int]]:
    return [(cause.param, cause.lines, cause.first_line) for cause in found.causes.ranked()]


def test_plain_lines() -> None:
    found = survey(*[chat(f"r{i}", "x" * 36, max_tokens=7) for i in range(3)])
    assert (found.family, found.lines, found.refused, found.records, found.exact) == ("anthropic", 3, 0, 3, True)
    # "user" is a token of its own.
    assert (found.input_tokens, found.max_output_tokens) == (30, 21)
    assert (found.dropped, dict(found.mapped), causes(found)) == ({}, {}, [])


def test_every_field_of_a_line_is_a_cause_and_the_line_counts_once() -> None:
    found = survey(chat("a"), chat("b", seed=1, logit_bias={"1": 2}), chat("c", seed=2))
    assert (found.lines, found.refused, found.records) == (3, 2, 1)
    assert sorted(causes(found)) == [("logit_bias", 1, 2), ("seed", 2, 2)]
    assert found.dropped == {"seed": 2, "logit_bias": 1}


def test_the_first_field_gets_the_requests_own_message_and_the_others_one_of_their_own() -> None:
    first, second = survey(chat("b", seed=1, logit_bias={"1": 2})).causes.ranked()
    assert first.message.startswith("'seed' cannot be honoured by anthropic: there is no equivalent. Remove it, or")
    assert second.message == "'logit_bias' cannot be honoured by anthropic"
    (alone,) = survey(chat("b", seed=1)).causes.ranked()
    assert alone.message.startswith("'seed' cannot be honoured by anthropic")


def test_what_is_left_out_is_no_refusal() -> None:
    found = survey(chat("b", seed=1), chat("c"), unsupported="drop")
    assert (found.refused, found.records, found.dropped, causes(found)) == (0, 2, {"seed": 1}, [])


def test_a_line_that_is_refused_whatever_is_left_out() -> None:
    found = survey(chat("a", temperature="hot"), unsupported="drop")
    assert (found.refused, found.records, found.input_tokens) == (1, 0, 0)
    assert causes(found) == [("temperature", 1, 1)]


def test_a_line_may_stand_for_many() -> None:
    found = Survey(parse_model(CLAUDE), "error")
    for number, line in enumerate([chat("a", n=2, max_tokens=3), chat("b", seed=1), chat("c", temperature="hot")], 1):
        found.add(json.dumps(line).encode(), CHAT, number, "in.jsonl", weight=16)
    assert (found.exact, found.lines, found.refused, found.records) == (False, 48, 32, 32)
    assert found.max_output_tokens == 16 * 6
    assert [lines for _, lines, _ in causes(found)] == [16, 16]
    assert list(found.mapped.values()) == [16]
    assert found.dropped == {"seed": 16}
    assert found.prefixes == [], "one prompt shares nothing, however many it stands for"
    found.add(json.dumps(chat("d")).encode(), CHAT, 4, "in.jsonl")
    assert not found.exact, "once a part, always a part"


def test_requests_that_a_model_cannot_hold() -> None:
    long = json.dumps(chat("a", "x" * 300_000, max_tokens=4000)).encode()
    found = Survey(parse_model("meta.llama3-8b-instruct-v1:0"), "error")
    assert found.window_warning is None
    found.add(long, CHAT, 1, "in.jsonl")
    found.add(json.dumps(chat("b")).encode(), CHAT, 2, "in.jsonl")
    assert (found.window_warning or "").startswith(
        "1 request with its answer may be longer than the 8,192 tokens that meta.llama3-8b-instruct-v1:0 holds"
    )
    found.add(long, CHAT, 3, "in.jsonl", weight=16)
    assert (found.too_long, (found.window_warning or "")[:18]) == (17, "about 17 requests ")
    found.clear()
    assert (found.too_long, found.window_warning) == (0, None)


def test_lines_are_forgotten() -> None:
    found = survey(chat("a", n=2), chat("b", seed=1), chat("b", temperature="hot"))
    found.clear()
    assert (found.lines, found.refused, found.records, found.input_tokens, found.max_output_tokens) == (0, 0, 0, 0, 0)
    assert (found.dropped, dict(found.mapped), causes(found), found.prefixes, found.exact) == ({}, {}, [], [], True)


def test_a_variants_own_line_is_looked_at() -> None:
    def change(line: bytes) -> bytes:
        return json.dumps(chat("a", seed=1)).encode()

    assert survey(chat("a"), change=change).refused == 1


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (chat("a", n=2), "several answers, texts or prompts: a record each"),
        (
            chat("a", response_format={"type": "json_object"}),
            "response_format: asked for as a tool that the model must call",
        ),
        (chat("a", functions=[{"name": "f"}], function_call={"name": "f"}), "functions: sent as tools"),
    ],
)
def test_what_is_sent_as_something_else(line: dict[str, Any], what: str) -> None:
    assert survey(line).mapped == {what: 1}


def test_what_a_request_needs_decides_how_it_is_sent() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    found = survey(chat("a", tools=tools), model="cohere.command-r-v1:0")
    assert found.mapped == {"sent by InvokeModel for what the request needs": 1}


def test_the_type_of_job_that_was_asked_for_is_the_one_that_is_looked_at() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert survey(chat("a", tools=tools)).refused == 0
    assert causes(survey(chat("a", tools=tools), invocation="Converse")) == [("tools", 1, 1)]


def test_fields_that_are_left_out_are_told_the_most_frequent_first() -> None:
    lines = [chat(f"r{i}", logit_bias={"1": 1}, seed=1 if i else None) for i in range(3)]
    found = survey(chat("a", seed=2), chat("b", seed=3), *lines)
    assert list(found.dropped.items()) == [("seed", 4), ("logit_bias", 3)]


def test_arguments_by_other_names_are_told() -> None:
    schema = {"type": "object", "properties": {"a b": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    what = "tools: arguments of other names than the model takes, as one argument"
    assert survey(chat("a", tools=tools)).mapped == {what: 1}


def test_texts_to_embed_share_no_prompt() -> None:
    lines = [{"custom_id": f"{i}", "url": "/v1/embeddings", "body": {"input": "the same"}} for i in range(2)]
    assert survey(*lines, endpoint="/v1/embeddings", model="amazon.titan-embed-text-v2:0").prefixes == []


def test_an_echo_is_put_before_the_answer() -> None:
    line = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "P", "echo": True}}
    assert survey(line, endpoint="/v1/completions").mapped == {"echo: put before the answer by the pipeline": 1}


def test_base64_is_made_of_floats() -> None:
    line = {"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "P", "encoding_format": "base64"}}
    found = survey(line, endpoint="/v1/embeddings", model="amazon.titan-embed-text-v2:0")
    assert found.mapped == {"encoding_format: made of the model's floats": 1}
    assert found.max_output_tokens == 0


def test_pictures_are_not_fetched() -> None:
    """A run would fetch them where it may; here, one pixel stands for each."""
    line = chat("a", messages=[{"role": "user", "content": PICTURES}])
    assert survey(line).refused == 1
    beside = survey(chat("a", messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, *PICTURES]}]))
    assert (beside.refused, beside.dropped) == (1, {"messages[].content[].image_url.url": 1})
    assert survey(line, fetch_images=True).refused == 0
    stored = json.loads(json.dumps(line).replace("https://example.com", "s3://bucket"))
    assert survey(stored).refused == 0
    assert survey(stored, model=NOVA).refused == 0


SYSTEM = "The rules of the house are many, and each of them is to be kept at all times. " * 2


def prefixed(*users: str) -> list[dict[str, Any]]:
    return [
        chat(f"r{i}", messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}])
        for i, user in enumerate(users)
    ]


def test_what_prompts_begin_with_alike() -> None:
    (shared,) = survey(*prefixed("What is one?", "What is two?", "Who?"), chat("z", "alone")).prefixes
    assert (shared.requests, shared.seen, shared.text) == (3, 3, SYSTEM + "Wh")
    assert shared.tokens == len(SYSTEM + "Wh") // 4


def test_prompts_that_begin_otherwise_share_nothing() -> None:
    assert survey(chat("a", "one"), chat("b", "two")).prefixes == []


def test_so_many_beginnings_are_told_apart() -> None:
    lines = [chat(f"r{i}", f"{i} is the number") for i in range(70)]
    found = survey(*lines, *lines)
    assert len(found.prefixes) == 64
    assert {prefix.requests for prefix in found.prefixes} == {2}
