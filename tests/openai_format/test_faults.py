"""What is wrong with a JSON text: told by its place, and never by quoting it."""

import json

import pytest

from tasks.openai_format.faults import (
    HALF_PAIR,
    NO_NUMBER,
    NOT_JSON,
    fault_of,
    first_custom_id,
    nests_too_deeply,
)

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('{"a": 1}', None, None),
        ("[]", None, None),
        ('{"a": ', None, NOT_JSON),
        ("", None, NOT_JSON),
        ("[" * 100_000, None, "nests JSON too deeply"),
        ('{"body": {"temperature": NaN}}', "body.temperature", NO_NUMBER),
        ('{"body": {"n": [1, 1e999]}}', "body.n[1]", NO_NUMBER),
        ('{"seed": ' + "9" * 4300 + "}", None, None),
        ('{"seed": ' + "9" * 4301 + "}", "seed", NO_NUMBER),
        (r'{"messages": [{"content": "ok"}, {"content": "\ud800"}]}', "messages[1].content", HALF_PAIR),
        (r'{"a": "\udc00\ud800"}', "a", HALF_PAIR),
        (r'{"a": "\ud83d\udddd"}', None, None),
        # A key is the user's own word: where it stands is said, and it is not.
        (rf'{{"body": {{"{SECRET}\ud800": 1}}}}', "body", HALF_PAIR),
        (rf'{{"{SECRET} {SECRET}": "\ud800"}}', None, HALF_PAIR),
        (rf'{{"{"x" * 41}": "\ud800"}}', None, HALF_PAIR),
        (rf'{{"{"x" * 40}": "\ud800"}}', "x" * 40, HALF_PAIR),
        # So are the names below these.
        (rf'{{"metadata": {{"{SECRET}": "\ud800"}}}}', "metadata", HALF_PAIR),
        (rf'{{"parameters": {{"{SECRET}": [{{"a": NaN}}]}}}}', "parameters", NO_NUMBER),
        (rf'{{"logit_bias": {{"{SECRET}": Infinity}}}}', "logit_bias", NO_NUMBER),
        (rf'{{"json_schema": {{"schema": {{"{SECRET}": -Infinity}}}}}}', "json_schema.schema", NO_NUMBER),
        # The first one counts, in the order of the text.
        (r'{"a": [1, {"b": NaN}], "c": "\ud800"}', "a[1].b", NO_NUMBER),
    ],
)
def test_a_fault_and_its_place(text: str, place: str | None, what: str | None) -> None:
    assert fault_of(text) == (place, what)
    assert fault_of(text.encode()) == (place, what)


def test_bytes_are_utf8() -> None:
    assert fault_of('{"a": "é"}'.encode("latin-1")) == (None, NOT_JSON)
    assert fault_of('{"a": "é"}'.encode("utf-16")) == (None, NOT_JSON)


@pytest.mark.parametrize(("depth", "too_deep"), [(1, False), (200, False), (201, True)])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth(depth: int, too_deep: bool, left: bytes, right: bytes) -> None:
    text = left * depth + b"1" + right * depth
    assert nests_too_deeply(text) is too_deep
    # Others beside it make it no deeper.
    assert nests_too_deeply(b"[]" * 200 + text) is too_deep


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[],{}," * 300 + b"1]",
        json.dumps("[" * 300).encode(),
        json.dumps(['"' + "{" * 300 + "\\"]).encode(),
    ],
)
def test_brackets_side_by_side_or_within_texts_are_no_depth(text: bytes) -> None:
    assert nests_too_deeply(text) is False


@pytest.mark.parametrize(
    ("line", "custom_id"),
    [
        (b'{"custom_id":"a","body":', "a"),
        (b' { "custom_id" : "a b" , ', "a b"),
        (rb'{"custom_id":"\u00e9\"","x', 'é"'),
        (b'{"custom_id":"","x"', None),
        (b'{"custom_id":"a"', None),
        (b'{"custom_id":7,"x"', None),
        (b'{"method":"POST","custom_id":"a",', None),
        (rb'{"custom_id":"\ud800","x"', None),
        (b'{"custom_id":"\xff","x"', None),
        (b"", None),
    ],
)
def test_the_id_of_a_line_that_cannot_be_read(line: bytes, custom_id: str | None) -> None:
    assert first_custom_id(line) == custom_id
