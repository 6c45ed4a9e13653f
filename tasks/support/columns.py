"""Texts and numbers as columns: Arrow arrays over the bytes of a block."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: The bytes of a block, or of texts side by side.
Bytes: TypeAlias = npt.NDArray[np.uint8]
#: Places in a block or a file, and numbers of rows and requests.
Offsets: TypeAlias = npt.NDArray[np.int64]
#: How many bytes something takes; of which width the numbers are, the largest one decides.
Sizes: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
#: Which rows or bytes it is about.
Mask: TypeAlias = npt.NDArray[np.bool_]
#: 64-bit hashes of custom_ids.
Hashes: TypeAlias = npt.NDArray[np.uint64]

#: The digits of the numbers below 10,000, in rows of four.
_FOUR_DIGITS = (np.arange(10_000)[:, None] // 10 ** np.arange(3, -1, -1) % 10 + ord("0")).astype(np.uint8)


def digits(numbers: Offsets, before: bytes, after: bytes) -> Bytes:
    """A row of bytes for each number: nine digits between two texts."""
    rows = np.empty((len(numbers), len(before) + 9 + len(after)), dtype=np.uint8)
    rows[:] = np.frombuffer(before + b"000000000" + after, dtype=np.uint8)
    upper, lower = np.divmod(numbers, 10_000)
    first, middle = np.divmod(upper, 10_000)
    place = len(before)
    rows[:, place] += first.astype(np.uint8)
    rows[:, place + 1 : place + 5] = _FOUR_DIGITS[middle]
    rows[:, place + 5 : place + 9] = _FOUR_DIGITS[lower]
    return rows


def texts_of(rows: Bytes, type_: pa.DataType) -> pa.Array:
    """Rows of bytes as an Arrow array of texts, without a copy."""
    count, width = rows.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(type_, count, [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def pieces(data: bytes, offsets: npt.NDArray[np.signedinteger[Any]]) -> pa.Array:
    """What stands between one offset and the next, as an Arrow array over the block itself: nothing is copied."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def slices(data: bytes, begins: Offsets, ends: Offsets) -> pa.Array:
    """What stands between each begin and its end, none of which overlap."""
    both = np.full(2 * len(begins) + 1, len(data), dtype=np.int32)
    both[:-1:2], both[1::2] = begins, ends
    return pieces(data, both).take(np.arange(0, 2 * len(begins), 2))


def is_utf8(data: bytes) -> bool:
    """Whether a block is valid UTF-8."""
    # Arrow's check is several times as fast as decoding.
    try:
        pieces(data, np.array([0, len(data)])).view(pa.string()).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
