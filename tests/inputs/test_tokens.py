"""About how many tokens a request has."""

import json
from typing import Any

import pytest

from tasks.inputs.tokens import TokenCount, count_tokens, tokens_of


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
