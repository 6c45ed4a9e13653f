"""Texts and numbers as columns over the bytes of a block."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.support.columns import digits, is_utf8, pieces, slices, texts_of


def test_numbers_have_nine_digits_between_two_texts() -> None:
    rows = digits(np.array([0, 7, 10_000, 12_345_678, 999_999_999]), b'"r', b'",')
    assert [bytes(row) for row in rows] == [
        b'"r000000000",',
        b'"r000000007",',
        b'"r000010000",',
        b'"r012345678",',
        b'"r999999999",',
    ]
    assert digits(np.array([], dtype=np.int64), b"a", b"").shape == (0, 10)


@pytest.mark.parametrize("step", [1, 9_999, 10_001, 123_457])
def test_every_digit_is_right(step: int) -> None:
    numbers = np.arange(0, 10**9, step * 997, dtype=np.int64)[:5000]
    assert [bytes(row) for row in digits(numbers, b"", b"")] == [b"%09d" % number for number in numbers.tolist()]


def test_rows_become_texts_over_the_same_bytes() -> None:
    rows = np.frombuffer(b"abcdef", dtype=np.uint8).reshape(3, 2)
    texts = texts_of(rows, pa.string())
    assert texts.type == pa.string()
    assert texts.to_pylist() == ["ab", "cd", "ef"]
    assert texts.buffers()[2].address == rows.ctypes.data
    assert texts_of(rows, pa.binary()).to_pylist() == [b"ab", b"cd", b"ef"]


def test_pieces_lie_between_offsets() -> None:
    assert pieces(b"abcdef", np.array([1, 1, 3, 6])).to_pylist() == [b"", b"bc", b"def"]
    assert pieces(b"abc", np.array([0])).to_pylist() == []


@pytest.mark.parametrize(
    ("begins", "ends", "found"),
    [([1], [3], [b"bc"]), ([0, 2, 5], [1, 5, 5], [b"a", b"cde", b""]), ([], [], [])],
)
def test_slices_lie_between_a_begin_and_its_end(begins: list[int], ends: list[int], found: list[bytes]) -> None:
    both = (np.array(each, dtype=np.int64) for each in (begins, ends))
    assert slices(b"abcdef", *both).to_pylist() == found


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        (b"", True),
        (b"plain", True),
        ("ключ 🗝".encode(), True),
        (b"\x00", True),
        (b"\xff", False),
        ("é".encode()[:1], False),
        # Half of a surrogate pair, and an overlong slash.
        ("\ud800".encode("utf-8", "surrogatepass"), False),
        (b"\xc0\xaf", False),
    ],
)
def test_what_is_utf8(data: bytes, valid: bool) -> None:
    assert is_utf8(data) is valid
