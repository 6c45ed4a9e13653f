"""Output lines: whose they are, and what they say, also where they are no JSON."""

import json

import numpy as np
import pytest

from tasks.bedrock.records import (
    RecordError,
    decode_output_line,
    decode_output_lines,
    encode_error_line,
    encode_output_line,
)
from tasks.results.answers import ANSWERED, MISSING, REFUSED, RETRYABLE, Answers, decode_record_error
from tasks.support.surrogates import without_lone_surrogates

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
    assert (outcome.outcome.status, outcome.outcome.retryable) == (502, False)


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
            assert answers.kinds[1] > RETRYABLE
            assert decode_record_error(answers.get(1)).unreadable


def test_a_message_with_a_lone_surrogate_is_written() -> None:
    line = encode_error_line("r1", 400, "a\ud800b")
    assert json.loads(line)["error"]["errorMessage"] == "a\ufffdb"


def outcome_of(error: str) -> RecordError:
    outcome = decode_output_line(b'{"recordId":"r000000001","error":%b}' % error.encode()).outcome
    assert isinstance(outcome, RecordError)
    return outcome


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("400", 400),
        ('"400"', 400),
        ("400.0", 400),
        ('"429.0"', 429),
        ("599", 599),
        ("399", 500),
        ("600", 500),
        ("4000", 500),
        ('"ThrottlingException"', 500),
        ("null", 500),
        ("[400]", 500),
        ("true", 500),
    ],
)
def test_an_error_code_is_a_status_however_it_is_written(code: str, status: int) -> None:
    """What is none is 500: asked again, where a permanent 400 is not."""
    found = outcome_of(f'{{"errorCode":{code},"errorMessage":"no"}}')
    assert (found.status, found.message, found.expired, found.unreadable) == (status, "no", False, False)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (400, 403, 404, 407, 409, 424, 428, 430, 499)),
        *((status, True) for status in (408, 429, 500, 501, 502, 503, 504, 529)),
    ],
)
def test_what_may_be_answered_later(status: int, retryable: bool) -> None:
    assert RecordError(status, "no").retryable is retryable
    assert RecordError(status, "no", expired=True).retryable
    assert not RecordError(status, "no", expired=True, unreadable=True).retryable


@pytest.mark.parametrize(
    ("expired", "is_"), [("true", True), ("false", False), ("null", False), ('"yes"', True), ("1", True)]
)
def test_a_record_that_expired_may_be_asked_again(expired: str, is_: bool) -> None:
    found = outcome_of(f'{{"errorCode":400,"errorMessage":"late","expired":{expired}}}')
    assert (found.status, found.expired, found.retryable) == (400, is_, is_)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ('{"errorCode":400}', 400, "Bedrock reported error 400."),
        ('{"errorCode":"x y"}', 500, "Bedrock reported error x y."),
        ("{}", 500, "Bedrock reported error None."),
        ('{"errorMessage":{"a":1}}', 500, '{"a":1}'),
        ('"Internal failure"', 500, "Internal failure"),
        (json.dumps("x" * 300), 500, "x" * 300),
        ("[" + "1," * 300 + "1]", 500, ("[" + "1," * 300)[:200]),
    ],
)
def test_an_error_that_says_little_is_told_as_it_is(error: str, status: int, message: str) -> None:
    found = outcome_of(error)
    assert (found.status, found.message) == (status, message)


@pytest.mark.parametrize("nothing", ["", ',"modelOutput":null', ',"error":null', ',"modelOutput":null,"error":null'])
def test_a_line_without_an_outcome_may_be_asked_again(nothing: str) -> None:
    outcome = decode_output_line(b'{"recordId":"r000000001"%b}' % nothing.encode()).outcome
    assert outcome == RecordError(500, "Bedrock returned neither output nor error.")
    assert outcome.retryable


def test_an_error_goes_before_an_output() -> None:
    line = b'{"recordId":"r000000001","modelOutput":{"a":1},"error":{"errorCode":400,"errorMessage":"no"}}'
    assert decode_output_line(line).outcome == RecordError(400, "no")
    assert decode_output_line(line.replace(b'{"errorCode":400,"errorMessage":"no"}', b"null")).outcome == b'{"a":1}'


def test_lines_that_are_nobodys_are_counted_and_blank_ones_are_not() -> None:
    data = b"\n".join([GOOD, b"", b" \t", b"<html>", CUT, b'{"x":1}', GOOD])
    for whole in (data, data + b"\n"):
        records, unreadable = decode_output_lines(whole)
        assert ([record.record_id for record in records], unreadable) == (["r000000001"] * 3, 2)
        assert [isinstance(record.outcome, RecordError) for record in records] == [False, True, False]
    assert decode_output_lines(b"") == ([], 0)
    assert [len(decode_output_lines(end.join([GOOD, GOOD]))[0]) for end in (b"\n", b"\n\n")] == [2, 2]


def test_two_records_on_a_line_are_not_taken_for_two_lines() -> None:
    records, unreadable = decode_output_lines(GOOD + GOOD + b"\n" + GOOD)
    assert ([isinstance(record.outcome, RecordError) for record in records], unreadable) == ([True, False], 0)


def test_an_answer_with_half_a_pair_is_repaired() -> None:
    line = b'{"recordId":"r000000001","modelOutput":{"a":"x\\ud800"}}'
    assert json.loads(decode_output_line(line).outcome) == {"a": "x\ufffd"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (b'{"a":1}', b'{"recordId":"r1","modelOutput":{"a":1}}\n'),
        # A line is one line, whatever the model writes between its tokens.
        (b'{\r\n "a":\n1}', b'{"recordId":"r1","modelOutput":{   "a": 1}}\n'),
        (b"null", b'{"recordId":"r1","reply":"bnVsbA=="}\n'),
        (b"", b'{"recordId":"r1","reply":""}\n'),
        (b'{"a":"\xff"}', b'{"recordId":"r1","reply":"eyJhIjoi/yJ9"}\n'),
        (b"<html>", b'{"recordId":"r1","reply":"PGh0bWw+"}\n'),
    ],
)
def test_a_reply_becomes_a_line(reply: bytes, line: bytes) -> None:
    assert encode_output_line("r1", reply) == line


@pytest.mark.parametrize(
    ("reply", "size"), [("bnVsbA==", 4), ("", 0), ("eyJhIjoi/yJ9", 9), ("PGh0bWw+", 6), ("no base64!", 0)]
)
def test_a_reply_that_is_no_json_was_paid_for(reply: str, size: int) -> None:
    outcome = decode_output_line(b'{"recordId":"r1","reply":"%b"}' % reply.encode()).outcome
    why = f"The model's output cannot be read: a reply of {size} bytes that is no JSON"
    assert outcome == RecordError(502, why, unreadable=True)


def test_a_reply_with_half_a_pair_in_its_bytes_is_repaired() -> None:
    kept = encode_output_line("r1", b'{"a":"\xed\xa0\x80"}')
    assert b'"reply"' in kept
    assert decode_output_line(kept).outcome == '{"a":"\ufffd"}'.encode()


def test_an_error_goes_before_a_reply() -> None:
    line = b'{"recordId":"r1","reply":"e30=","error":{"errorCode":400,"errorMessage":"no"}}'
    assert decode_output_line(line).outcome == RecordError(400, "no")
