"""A block looked at in columns: line ends, escapes, quotes; and the blocks that are left to the general way."""

import json

import numpy as np
import pytest

from tasks.fast import scan as module
from tasks.fast.scan import Scan, scan
from tasks.openai_format.requests import MAX_LINE_BYTES


def scanned(data: bytes) -> Scan:
    found = scan(data, np.empty(len(data), dtype=bool))
    assert found is not None
    return found


def test_where_lines_are() -> None:
    found = scanned(b'{"a":1}\n\n"x"\n')
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 8, 9], [7, 8, 12])
    assert found.rest(np.array([1, 8, 10])).to_pylist() == [b'"a":1}\n', b'\n"', b'x"\n']
    assert (found.escapes.tolist(), found.odd.tolist(), found.quotes) == ([], [], 4)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"a\tb\n", b"a\r\n", b"\x00\n", b"\x1f\n", b"\xff\n", "é\n".encode()[1:], b"x\ny"]
)
def test_blocks_that_are_left_to_the_general_way(data: bytes) -> None:
    assert scan(data, np.empty(len(data), dtype=bool)) is None


@pytest.mark.parametrize("data", [b"\n", b" \n", b"\x7f\n", "ключ 🗝\n".encode()])
def test_blocks_that_are_not(data: bytes) -> None:
    assert scanned(data).ends.tolist() == [len(data) - 1]


def test_every_second_backslash_begins_an_escape() -> None:
    data = rb'"\\\"\n" "a\\" \u0041' + b"\n"
    found = scanned(data)
    assert found.escapes.tolist() == [1, 3, 5, 11, 15]
    assert found.escaped_quotes.tolist() == [4]
    assert found.quotes == 4
    assert found.quote_places.tolist() == [0, 7, 9, 13]


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        (r"\b\f\n\r\t\"\\\/", False),
        (r"\u0041\uabcd\uABCD\uFFFF", False),
        (r"\ud83d\ude00", False),
        (r"\ud83d\ude00\ud83d\ude00", False),
        (r"\x41", True),
        (r"\U0041", True),
        (r"\'", True),
        (r"\u004", True),
        (r"\u00g1", True),
        (r"\u 041", True),
        (r"\ud83d", True),
        (r"\ude00", True),
        (r"\ude00\ud83d", True),
        (r"\ud83d\u0041", True),
        (r"\ud83d \ude00", True),
        (r"\ud83d\ud83d\ude00", True),
        (r"\ud83d\ude00\ude00", True),
    ],
)
def test_escapes_that_are_none_of_json(text: str, odd: bool) -> None:
    found = scanned(f'"first"\n"{text}"\n"last \\n"\n'.encode())
    assert set(found.odd.tolist()) == ({1} if odd else set())
    # What Python's own reader says of it: half a pair it lets pass.
    if "\\ud" not in text:
        valid = True
        try:
            json.loads(f'"{text}"')
        except ValueError:
            valid = False
        assert valid is not odd


def test_a_line_end_is_no_escape() -> None:
    assert scanned(b'"a"\n"b\\\n"c"\n').odd.tolist() == [1]


def test_lines_that_are_too_long_fit_nothing() -> None:
    longest = b"x" * MAX_LINE_BYTES
    assert scanned(b"a\n" + longest + b"\n").odd.tolist() == []
    assert scanned(b"a\n" + longest + b"x\n").odd.tolist() == [1]


def test_quotes_by_line() -> None:
    found = scanned(b'"a"\n\n"\\"b"\n"c" "d"\n')
    assert found.quotes_before.tolist() == [0, 2, 2, 4, 8]
    assert found.quotes_in(np.array([True, True, True, True])) == found.quotes == 8
    assert found.quotes_in(np.array([True, True, False, True])) == 6
    assert found.quotes_in(np.array([False, False, False, False])) == 0


def test_which_stretches_have_an_escape() -> None:
    data = rb'"ab" "a\n" "\t"' + b"\n"
    begins, ends = np.array([1, 6, 12, 15]), np.array([3, 9, 14, 15])
    assert scanned(data).escaped_within(begins, ends).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("a", True),
        (" a", True),
        ("    a", True),
        (r"\n\t\r a", True),
        (r"\"", True),
        (r"\\", True),
        (r"\u0041", True),
        ("é", True),
        ("", False),
        (" ", False),
        (r"\n", False),
        (r"\n\n\n\n", False),
        # More than it looks at: the general way does.
        ("     a", False),
        (r"\u0020", False),
        (r"\u3000", False),
        (r"\u00a0", False),
        ("\u3000", False),
    ],
)
def test_what_is_surely_not_blank(text: str, sure: bool) -> None:
    data = f'"{text}"\n'.encode()
    found = scanned(data).not_blank(np.array([1]), np.array([len(data) - 2]))
    assert found.tolist() == [sure]
    # Never sure of a text that is blank.
    assert not sure or json.loads(data).strip()


def test_several_texts_at_once() -> None:
    data = b'"" "a" "  " " b"\n'
    begins, ends = np.array([1, 4, 8, 13]), np.array([1, 5, 10, 15])
    assert scanned(data).not_blank(begins, ends).tolist() == [False, True, False, True]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 100])
def test_places_of_a_mask(size: int) -> None:
    for every in (1, 3, 50):
        mask = np.arange(size) % every == every - 1
        assert module._places(mask).tolist() == np.flatnonzero(mask).tolist()


def test_no_other_character_makes_an_escape() -> None:
    """A line with another one is no JSON, and would fail the whole job."""
    known = set(b'"\\/bfnrtu')
    for byte in set(range(0x20, 0x7F)) - known:
        assert scanned(b'"x\\' + bytes([byte]) + b'y"\n').odd.tolist() == [0], chr(byte)
    for byte in known - {ord("u")}:
        assert scanned(b'"x\\' + bytes([byte]) + b'y"\n').odd.tolist() == [], chr(byte)
