"""Lone surrogates in JSON become U+FFFD; everything else stays as it is."""

import pytest

from tasks.support.surrogates import LONE, without_lone_surrogates


@pytest.mark.parametrize(
    ("given", "repaired"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00"', rb'"\ufffd"'),
        (rb'"\uD83Dx\uDE00"', rb'"\ufffdx\ufffd"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        # An escaped backslash begins no escape of its own.
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (b'"\xed\xa0\xbd"', '"\ufffd"'.encode()),
        # Two halves in six bytes are the character that they stand for.
        (b'"\xed\xa0\xbd\xed\xb8\x80"', '"\U0001f600"'.encode()),
        (b'"\xed\xb8\x80 \\ud83d"', '"\ufffd '.encode() + rb'\ufffd"'),
    ],
)
def test_they_are_replaced(given: bytes, repaired: bytes) -> None:
    assert without_lone_surrogates(given) == repaired


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b'"plain"',
        rb'"\ud83d\ude00"',
        rb'"\\ud83d"',
        rb'"\ufffd\u00e9"',
        "\U0001f600é\ud7ff\ue000".encode(),
        b"\xff",
        # Other bad UTF-8 beside one is not for us to mend.
        b'"\xed\xa0\xbd\xff"',
    ],
)
def test_there_are_none(given: bytes) -> None:
    assert without_lone_surrogates(given) is None


def test_in_a_python_string() -> None:
    assert LONE.findall("a\ud7ff\ud800\udfff\ue000") == ["\ud800", "\udfff"]
