"""About how many tokens a request has."""

import json
from typing import Any

import pytest

from tasks.inputs.tokens import TokenCount, count_tokens, most_written, tokens_of
from tests.codecs.helpers import facts


def line(url: str = "/v1/chat/completions", **body: Any) -> bytes:
    return json.dumps({"custom_id": "a", "url": url, "body": body}).encode()


USER = [{"role": "user", "content": "x" * 396}]  # "user" is a text as well: a token.


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"messages": USER}, TokenCount(1, 100, 4096)),
        ({"messages": USER, "max_tokens": 50}, TokenCount(1, 100, 50)),
        ({"messages": USER, "max_tokens": 50, "max_completion_tokens": 60}, TokenCount(1, 100, 60)),
        ({"messages": USER, "max_tokens": 50, "max_output_tokens": 60}, TokenCount(1, 100, 50)),
        ({"messages": USER, "n": 3, "max_tokens": 10}, TokenCount(3, 300, 30)),
        ({"messages": USER, "n": 0}, TokenCount(1, 100, 4096)),
        ({"prompt": "x" * 5}, TokenCount(1, 2, 4096)),
        ({"instructions": "x" * 4, "input": "x" * 4, "max_output_tokens": 7}, TokenCount(1, 2, 7)),
        ({"tools": ["x" * 8], "response_format": {"type": "x" * 4}, "text": "x" * 4}, TokenCount(1, 4, 4096)),
        # Other scripts: by their bytes.
        ({"prompt": "🗝" * 3}, TokenCount(1, 3, 4096)),
        ({}, TokenCount(1, 0, 4096)),
    ],
)
def test_a_request(body: dict[str, Any], count: TokenCount) -> None:
    assert count_tokens(line(**body)) == count


def test_embeddings_answer_with_no_tokens() -> None:
    assert count_tokens(line("/v1/embeddings", input=[1, 2, 3])) == TokenCount(1, 3, 0)
    assert count_tokens(line("/v1/embeddings", input=[[1, 2], [3]])) == TokenCount(1, 3, 0)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[]",
        b'{"body": {"messages": "\xff"}}',
        b'{"body": {"messages":' + b'{"a":' * 5000,
        line(max_tokens="many"),
        line(max_tokens=-1),
        line(max_tokens=(1 << 31) + 1),
        line(n=129),
        line(n=1.5),
    ],
)
def test_a_line_that_is_not_sent_has_none(bad: bytes) -> None:
    assert count_tokens(bad) is None


def test_the_largest_that_are_sent() -> None:
    assert count_tokens(line(n=128, max_tokens=1 << 31)) == TokenCount(128, 0, 128 << 31)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("data:image/png;base64," + "A" * 100_000, 1600),
        ({"image_url": {"url": "data:,x"}, "text": "x" * 4}, 1601),
        ("xx", 0.5),
        ([1, 2.5, "x" * 4], 3),
        (None, 0),
        ("\ud800", 0.25),
    ],
)
def test_a_part(value: Any, tokens: float) -> None:
    assert tokens_of(value) == tokens


def test_a_completion_is_short_where_it_does_not_say() -> None:
    assert count_tokens(line("/v1/completions", prompt="x" * 4)) == TokenCount(1, 1, 16)
    assert count_tokens(line("/v1/completions", prompt="x" * 4, max_tokens=5, n=2)) == TokenCount(2, 2, 10)
    assert count_tokens(line("/v1/chat/completions", messages=[]), 7) == TokenCount(1, 0, 7)
    assert count_tokens(line("/v1/chat/completions", messages=[]), lambda: 8) == TokenCount(1, 0, 8)


def test_of_texts_to_embed_the_longest_counts() -> None:
    assert count_tokens(line("/v1/embeddings", input=["x" * 4, "y" * 9])) == TokenCount(1, 4, 0, longest=3)
    assert count_tokens(line("/v1/embeddings", input="x" * 8)) == TokenCount(1, 2, 0, longest=2)


@pytest.mark.parametrize(
    ("count", "window", "exceeds"),
    [
        # Of what is counted from the text alone, two thirds are there for sure.
        (TokenCount(1, 1000, 0), 670, False),
        (TokenCount(1, 1000, 0), 669, True),
        (TokenCount(1, 1000, 30), 700, False),
        (TokenCount(1, 1000, 31), 700, True),
        # Each answer stands for itself, and so does each text to embed.
        (TokenCount(10, 10_000, 300), 700, False),
        (TokenCount(10, 10_000, 310), 700, True),
        (TokenCount(1, 100_000, 0, longest=1000), 670, False),
        (TokenCount(1, 1000, 0, longest=1000), 669, True),
        (TokenCount(1, 1 << 40, 1 << 40), None, False),
    ],
)
def test_what_is_surely_more_than_a_model_holds(count: TokenCount, window: int | None, exceeds: bool) -> None:
    assert count.exceeds(window) is exceeds


@pytest.mark.parametrize(
    ("record", "most"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_gen_len": 5}, 5),
        ({"inferenceConfig": {"maxTokens": 5}}, 5),
        ({"textGenerationConfig": {"maxTokenCount": 5}}, 5),
        ({"prompt": "x"}, 300),
        ({"max_tokens": "many"}, 300),
        (None, 300),
    ],
)
def test_the_longest_answer_is_what_the_record_says(record: dict[str, Any] | None, most: int) -> None:
    known = facts(default_max_tokens=300, max_tokens=500)
    assert most_written(known, None if record is None else json.dumps(record).encode()) == most


def test_else_it_is_the_models() -> None:
    assert most_written(facts(max_tokens=500)) == 500
    assert most_written(facts()) == 4096
