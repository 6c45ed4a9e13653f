"""The text of a request, for people."""

import json
from typing import Any

import pytest

from tasks.openai_format.prompts import prefix_of, prompt_of, texts_in

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def line(**body: Any) -> bytes:
    return json.dumps({"custom_id": "a", "body": body}).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]}, "S\n\nU"),
        ({"messages": [{"content": [{"type": "text", "text": "one"}, PICTURE, {"text": "two"}]}]}, "one\n\ntwo"),
        ({"instructions": "I", "input": [{"role": "user", "content": "U"}]}, "I\n\nU"),
        ({"input": "text"}, "text"),
        ({"prompt": "P", "input": "U", "messages": [{"content": "M"}], "instructions": "I"}, "I\n\nM\n\nU\n\nP"),
        ({"input": ["a", "b"]}, "a\n\nb"),
        ({"prompt": "P"}, "P"),
        ({"input": [1, 2, 3]}, ""),
        ({"messages": None, "tools": [{"function": {"description": "T"}}]}, ""),
        ({}, ""),
    ],
)
def test_the_texts_in_their_order(body: dict[str, Any], text: str) -> None:
    assert prompt_of(line(**body)) == ("a", text)


@pytest.mark.parametrize("bad", [b"{", b"[]", b'"\xff"', b'{"body": 7}', b'{"body":' + b'{"a":' * 5000])
def test_a_line_that_is_none_has_no_text(bad: bytes) -> None:
    assert prompt_of(bad) == (None, "")
    assert prefix_of(bad, 10) == ""


def test_an_id_that_is_no_text_is_none() -> None:
    assert prompt_of(b'{"custom_id": 7, "body": {"prompt": "P"}}') == (None, "P")
    assert prompt_of(b"{}") == (None, "")


def test_what_the_model_reads_first_stands_first() -> None:
    tools = [{"type": "function"}]
    request = line(messages=[{"content": "M"}], instructions="I", tools=tools)
    assert prefix_of(request, 100) == '[{"type":"function"}]IM'
    assert prefix_of(request, 3) == '[{"'
    assert prefix_of(line(prompt="P", input="U", messages=[{"content": "M"}], instructions="I"), 9) == "IMUP"
    assert prefix_of(line(prompt="P" * 50, tools=[]), 7) == "P" * 7


def test_what_begins_beyond_is_left_out() -> None:
    assert texts_in(["abc", "de", "f"], 3) == ["abc"]
    assert texts_in(["abc", "de", "f"], 4) == ["abc", "de"]
    assert texts_in(["abc", "de", "f"]) == ["abc", "de", "f"]
    # The text of a part goes before what it contains no further than that.
    assert texts_in({"content": [{"text": "a"}], "other": "x"}) == ["a"]
