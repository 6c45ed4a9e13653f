"""What is in a request: its text, the form it wants, what repeats it; and whether an answer keeps the form."""

import json
from typing import Any

import pytest

from tasks.comparison.texts import NOTHING, Asked, Wanted, asked, keeps_form, valid_calls


def of(**body: Any) -> Asked:
    return asked(json.dumps({"body": body}).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


PICTURE = {"type": "image_url", "image_url": {"url": "data:x"}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [user("first"), {"role": "assistant", "content": "x"}, user("last")]}, "last"),
        ({"messages": [user("q"), {"role": "system", "content": "s"}]}, "q"),
        ({"messages": [{"role": "system", "content": "s"}]}, ""),
        (
            {"messages": [user([{"type": "text", "text": "a"}, PICTURE, {"type": "text", "text": "b"}])]},
            "a\n[image_url]\nb",
        ),
        ({"messages": [user(None)]}, ""),
        ({"messages": [user([{}])]}, "[object]"),
        ({"input": "in", "prompt": "no"}, "in"),
        ({"input": [user([{"type": "input_text", "text": "q"}])]}, "q"),
        ({"input": ""}, ""),
        ({"prompt": ["a", "b"]}, "a\nb"),
        # Token ids are no text.
        ({"prompt": [1, 2, 3]}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_a_request(body: dict[str, Any], text: str) -> None:
    assert of(**body).text == text


SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"response_format": {"type": "json_object"}}, Wanted(True)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            Wanted(True, b'{"type":"object"}'),
        ),
        # The Responses API has it flat.
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, Wanted(True, b'{"type":"object"}')),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, Wanted(True)),
        ({"response_format": {"type": "text"}}, Wanted()),
        ({"response_format": "json_object"}, Wanted()),
        ({"text": "json_object"}, Wanted()),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}, {"name": "g"}]},
            Wanted(tools=(("f", b'{"type":"object"}'), ("g", b"{}"))),
        ),
        ({"tools": [3, {"type": "web_search"}, {"function": {"name": 3}}]}, Wanted()),
        ({"tools": {"name": "f"}}, Wanted()),
    ],
)
def test_the_form_that_is_wanted(body: dict[str, Any], wanted: Wanted) -> None:
    assert of(**body).wanted == wanted


def test_the_same_question_has_the_same_key() -> None:
    one = of(messages=[user("q")])
    assert one.key != 0
    # Neither options nor the order of fields make it another one.
    assert of(temperature=1, messages=[{"content": "q", "role": "user"}]).key == one.key
    others = [
        of(messages=[user("Q")]),
        of(messages=[{"role": "system", "content": "s"}, user("q")]),
        of(input="q"),
        of(prompt="q"),
    ]
    assert len({one.key, *(each.key for each in others)}) == 5


def test_metadata_is_the_bodys_own() -> None:
    assert of(metadata={"lang": "fr"}).metadata == {"lang": "fr"}
    assert of(metadata="fr").metadata == {}


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"body": 3}', b"{}", b'{"body":{"messages":3}}', b'{"body":{"prompt":"\xff"}}']
)
def test_a_line_that_cannot_be_read_asks_nothing(line: bytes) -> None:
    assert asked(line) is NOTHING


NUMBER = b'{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'


@pytest.mark.parametrize(
    ("wanted", "answer", "kept"),
    [
        (Wanted(), "{", (None, None)),
        (Wanted(True), "{}", (True, None)),
        (Wanted(True), "{", (False, None)),
        (Wanted(True), None, (False, None)),
        (Wanted(True), "```json\n{}\n```", (False, None)),
        (Wanted(True, NUMBER), '{"n": 1}', (True, True)),
        (Wanted(True, NUMBER), '{"n": "1"}', (True, False)),
        # What is not JSON does not keep a schema either.
        (Wanted(True, NUMBER), "{", (False, False)),
        (Wanted(True, NUMBER), "\ud83d", (False, False)),
        (Wanted(True, b'{"type":"nonsense"}'), "{}", (True, None)),
    ],
)
def test_whether_an_answer_keeps_its_form(wanted: Wanted, answer: str | None, kept: tuple[Any, Any]) -> None:
    assert keeps_form(wanted, answer) == kept


def calls(*given: tuple[str, str]) -> str:
    return json.dumps([["call", name, arguments] for name, arguments in given])


TOOLS = Wanted(tools=(("f", NUMBER), ("any", b"{}"), ("odd", b'{"type":"nonsense"}')))


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        (None, None),
        ("", None),
        (calls(("f", '{"n":1}')), True),
        (calls(("any", "")), True),
        (calls(("f", '{"n":1}'), ("f", "{}")), False),
        (calls(("f", "{")), False),
        (calls(("g", "{}")), False),
        (calls(("odd", "{}"), ("any", "{}")), None),
        # One that is wrong is enough.
        (calls(("odd", "{}"), ("g", "{}")), False),
    ],
)
def test_whether_tool_calls_are_valid(given: str | None, valid: bool | None) -> None:
    assert valid_calls(TOOLS, given) is valid
