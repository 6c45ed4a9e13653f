"""Output lines: whose they are, and what they say, also where they are no JSON."""

import json

import numpy as np
import pytest

from tasks.answers import ANSWERED, MISSING, PASSING, REFUSED, Answers, decode_error
from tasks.bedrock.records import RecordError, decode_output_line, encode_error_line
from tasks.bedrock.surrogates import without_lone_surrogates

GOOD = b'{"recordId":"r000000001","modelInput":{},"modelOutput":{"a":1}}'
CUT = b'{"recordId":"r000000001","modelOutput":{"content":"It is'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (rb'"\ud800"', rb'"\ufffd"'),
        (rb'"\uDFFFx\uD83D\uDE00"', rb'"\ufffdx\uD83D\uDE00"'),
        (rb'"\ud800\ud83d\ude00\udc00"', rb'"\ufffd\ud83d\ude00\ufffd"'),
        # An escaped backslash, and what only looks like an escape behind it.
        (rb'"\\ud800"', None),
        (rb'"\\\ud800"', rb'"\\\ufffd"'),
        (b'"\xed\xa0\x80 \xed\xa0\xbd\xed\xb8\x80"', '"\ufffd 😀"'.encode()),
        (b'"\xed\xa0\x80 \\udc00"', '"\ufffd \\ufffd"'.encode()),
        ("\ud7a3한".encode(), None),
        (b"\xed\xa0\x80 \xff", None),
        (b"", None),
    ],
)
def test_lone_surrogates(before: bytes, after: bytes | None) -> None:
    assert without_lone_surrogates(before) == after


@pytest.mark.parametrize(
    ("line", "record_id"),
    [
        (CUT, "r000000001"),
        (b'{ "modelInput" : {"a":"}{"}, "recordId" : "r000000001", "modelOutput": {"a', "r000000001"),
        (b'{"modelOutput":{"a":"x\ty"},"recordId":"r000000001"}', "r000000001"),
        (b'lost bytes" of a value}]}},"recordId":"r000000001"}', "r000000001"),
        # Whose it is stands in the line itself, not in what was asked or answered.
        (b'{"modelInput":{"recordId":"r000000002","x":[{"recordId":"r000000003"}]},"modelOutput":{"a', None),
        (b'{"modelInput":{"text":"\\"recordId\\":\\"r000000002\\""},"modelOutput":{"a', None),
        (b'{"modelInput":{"recordId":"r000000002"},"modelOutput":"\t","recordId":"r000000001"}', "r000000001"),
        (b'{"recordId":5,"modelOutput":{}}', None),
        (b'{"recordId":"r00', None),
        (b"<html>", None),
        (b'{"a":"' + b'\\"' * 100_000, None),
        (b"{" * 100_000, None),
    ],
)
def test_whose_a_line_is(line: bytes, record_id: str | None) -> None:
    if record_id is None:
        with pytest.raises(ValueError, match="not an output record"):
            decode_output_line(line)
        return
    outcome = decode_output_line(line)
    assert outcome.record_id == record_id
    assert isinstance(outcome.outcome, RecordError)
    assert (outcome.outcome.status, outcome.outcome.passing) == (502, False)


@pytest.mark.parametrize(
    ("lines", "kind", "odd"),
    [
        ([CUT], REFUSED, 0),
        ([CUT, GOOD], ANSWERED, 1),
        ([GOOD, CUT], ANSWERED, 1),
        ([CUT, b'{"recordId":"r000000001","error":{"errorCode":429}}'], REFUSED, 1),
        ([GOOD[:50].replace(b"r000000001", b"r00")], MISSING, 1),
    ],
)
def test_a_line_that_cannot_be_read_is_neither_missing_nor_asked_again(lines: list[bytes], kind: int, odd: int) -> None:
    with Answers(0, np.ones(3, dtype=np.int64)) as answers:
        answers._add(b"\n".join(lines) + b"\n", 1)
        assert answers.kinds[1] == kind
        assert sum(answers.oddities.values()) == odd
        if kind == REFUSED:
            assert answers.kinds[1] > PASSING
            assert decode_error(answers.get(1)).unreadable


def test_a_message_with_a_lone_surrogate_is_written() -> None:
    line = encode_error_line("r1", 400, "a\ud800b")
    assert json.loads(line)["error"]["errorMessage"] == "a\ufffdb"
