"""Lines of a job's output, and what of them may be asked again."""

import json
from typing import Any

import pytest

from tasks.bedrock.records import RecordError, decode_output_line, decode_output_lines


def outcome(**fields: Any) -> Any:
    return decode_output_line(json.dumps({"recordId": "r1", "modelInput": {"a": 1}, **fields}).encode()).outcome


@pytest.mark.parametrize(
    ("error", "expected", "passing"),
    [
        ({"errorCode": 400, "errorMessage": "no"}, RecordError(400, "no"), False),
        ({"errorCode": "400", "errorMessage": "no"}, RecordError(400, "no"), False),
        ({"errorCode": 429, "errorMessage": "slow"}, RecordError(429, "slow"), True),
        ({"errorCode": 408, "errorMessage": "late"}, RecordError(408, "late"), True),
        ({"errorCode": "503"}, RecordError(503, "Bedrock reported error 503."), True),
        ({"errorCode": "Throttled", "errorMessage": "x"}, RecordError(500, "x"), True),
        ({"errorCode": 400, "errorMessage": "over", "expired": True}, RecordError(400, "over", expired=True), True),
        ("a text", RecordError(500, "a text"), True),
        ({"errorCode": "²", "errorMessage": "x"}, RecordError(500, "x"), True),
    ],
)  # fmt: skip
def test_errors(error: Any, expected: RecordError, passing: bool) -> None:
    found = outcome(error=error)
    assert found == expected
    assert found.passing is passing


def test_answers() -> None:
    assert outcome(modelOutput={"b": [1]}) == b'{"b": [1]}'
    assert outcome(modelOutput={"b": 1}, error={"errorCode": 400, "errorMessage": "no"}) == RecordError(400, "no")
    for nothing in ({"modelOutput": None}, {}):
        assert outcome(**nothing) == RecordError(500, "Bedrock returned neither output nor error.")


def test_lines_that_cannot_be_read_are_counted() -> None:
    good = b'{"recordId":"r1","modelOutput":{}}'
    for data, read, unreadable in ((good + b"\n" + good, 2, 0), (good + b"\n\n  \n" + good + b"\n", 2, 0), (good + good, 0, 1),
                                   (good + b"\n{\n" + good[:-1], 1, 2), (b"[1]\n" + good, 1, 1)):  # fmt: skip
        records, bad = decode_output_lines(data)
        assert (len(records), bad) == (read, unreadable)
