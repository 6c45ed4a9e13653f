"""A block of lines of JSON looked at in columns: where lines end, where escapes and quotes are. Nothing is decoded."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.openai_format.requests import MAX_LINE_BYTES, SURELY_TEXT, SURELY_TEXT_PAIRS
from tasks.support.columns import Bytes, Mask, Offsets, is_utf8, pieces

_QUOTE, _BACKSLASH, _NEWLINE, _SPACE, _U = 0x22, 0x5C, 0x0A, 0x20, 0x75


_IS_ESCAPE = np.isin(np.arange(256), list(b'"\\/bfnrtu'))


#: The values of hexadecimal digits; -1 for other bytes.
_HEX = np.full(256, -1, dtype=np.int32)


_HEX[list(b"0123456789")], _HEX[list(b"abcdef")], _HEX[list(b"ABCDEF")] = range(10), range(10, 16), range(10, 16)


#: By the first two bytes of a text, the first one times 256: whether it is surely not blank, and how many bytes of it
#: are white space that something may follow.
_IS_TEXT = np.repeat(np.isin(np.arange(256), sorted(SURELY_TEXT)), 256)


_IS_TEXT[[int.from_bytes(pair, "big") for pair in SURELY_TEXT_PAIRS]] = True


_BLANKS = np.zeros(1 << 16, dtype=np.int64)


_BLANKS[_SPACE << 8 : (_SPACE + 1) << 8] = 1


_BLANKS[[int.from_bytes(pair, "big") for pair in (rb"\n", rb"\r", rb"\t")]] = 2


_MOST_BLANKS = 4


_UNICODE_ESCAPE = int.from_bytes(rb"\u", "big")


#: Which code points below 65,536 are white space.
_IS_SPACE = np.zeros(1 << 16, dtype=bool)


_IS_SPACE[[code for code in range(0x3001) if chr(code).isspace()]] = True


#: Arrow's offsets have 32 bits.
_MOST_BYTES = (1 << 31) - 1


class Scan:
    """What is to be known of a block of whole lines before templates are held against it."""

    def __init__(self, data: bytes, mask: Mask, bytes_: Bytes, ends: Offsets) -> None:
        self.data, self.bytes = data, bytes_
        self._mask = mask
        #: Where each line begins, and its line end.
        self.starts, self.ends = np.empty_like(ends), ends
        self.starts[0], self.starts[1:] = 0, ends[:-1] + 1
        quotes = int(np.count_nonzero(np.equal(bytes_, _QUOTE, out=mask)))
        #: The backslashes that begin an escape, and the quotes that are escaped.
        self.escapes = self.escaped_quotes = ends[:0]
        #: The lines that fit nothing: longer than a request may be, or with an escape that is not valid.
        self.odd = np.flatnonzero(ends - self.starts > MAX_LINE_BYTES)
        if b"\\" in data:
            self.escapes = _beginnings(_places(np.equal(bytes_, _BACKSLASH, out=mask)))
            # The block ends with a line end: there is always a next byte.
            following = bytes_[self.escapes + 1]
            self.escaped_quotes = self.escapes[following == _QUOTE] + 1
            invalid = np.searchsorted(ends, self.escapes[self._invalid(following)])
            self.odd = np.concatenate([self.odd, invalid])
        #: How many quotes are not escaped, in the whole block.
        self.quotes = quotes - len(self.escaped_quotes)

    def _invalid(self, following: Bytes) -> Mask:
        """Which escapes are no valid ones of JSON: no such letter, no four digits, or half a pair of surrogates."""
        invalid = ~_IS_ESCAPE[following]
        unicode = np.flatnonzero(following == _U)
        if len(unicode):
            places = self.escapes[unicode]
            codes = self._codes(places)
            high, low = codes >> 10 == 0xD800 >> 10, codes >> 10 == 0xDC00 >> 10
            # A pair is one escape right after the other.
            paired = np.zeros(len(codes) + 1, dtype=bool)
            paired[1:-1] = high[:-1] & low[1:] & (np.diff(places) == 6)
            invalid[unicode] |= (codes < 0) | (high & ~paired[1:]) | (low & ~paired[:-1])
        return invalid

    def _codes(self, places: Offsets) -> npt.NDArray[np.int32]:
        """The code units of escapes of four digits; negative where a digit is none."""
        digits = [_HEX[self.bytes[np.minimum(places + place, len(self.bytes) - 1)]] for place in range(2, 6)]
        codes = digits[0] << 12 | digits[1] << 8 | digits[2] << 4 | digits[3]
        return np.where(np.minimum.reduce(digits) < 0, -1, codes)

    @cached_property
    def quote_places(self) -> Offsets:
        """Where the quotes are that are not escaped."""
        quotes = np.equal(self.bytes, _QUOTE, out=self._mask)
        quotes[self.escaped_quotes] = False
        # Too many for `_places`.
        return np.flatnonzero(quotes)

    @cached_property
    def quotes_before(self) -> Offsets:
        """By line, how many of these quotes stand before it; at the end, how many there are."""
        return np.append(np.searchsorted(self.quote_places, self.starts), len(self.quote_places))

    def quotes_in(self, chosen: Mask) -> int:
        """How many quotes that are not escaped some of the lines have together, told from those of all others."""
        count = self.quotes
        for row in np.flatnonzero(~chosen).tolist():
            start, end = int(self.starts[row]), int(self.ends[row])
            first, last = np.searchsorted(self.escaped_quotes, [start, end])
            count -= self.data.count(b'"', start, end) - int(last - first)
        return count

    def escaped_within(self, begins: Offsets, ends: Offsets) -> Mask:
        """Which of some stretches have an escape."""
        following = np.append(self.escapes, len(self.data))[np.searchsorted(self.escapes, begins)]
        return following < ends

    def not_blank(self, begins: Offsets, ends: Offsets) -> Mask:
        """Which of some strings are surely not blank; `ends` are their closing quotes."""
        # Where there is no text, there may be no such bytes.
        begins = np.minimum(begins, ends)
        sure = _IS_TEXT[self._pairs(begins)]
        others = np.flatnonzero(~sure)
        if len(others):
            places, last = begins[others], ends[others]
            for _ in range(_MOST_BLANKS):
                places = np.minimum(places + _BLANKS[self._pairs(places)], last)
            pairs = self._pairs(places)
            found = _IS_TEXT[pairs]
            escaped = np.flatnonzero(pairs == _UNICODE_ESCAPE)
            if len(escaped):
                found[escaped] = ~_IS_SPACE[self._codes(places[escaped])]
            sure[others] = found & (places < last)
        return sure

    def _pairs(self, places: Offsets) -> npt.NDArray[np.uint16]:
        return (
            self.bytes[places].astype(np.uint16) << np.uint16(8)
            | self.bytes[np.minimum(places + 1, len(self.bytes) - 1)]
        )

    def rest(self, begins: Offsets) -> pa.Array:
        """What stands between the begins, each in a line of its own; after the last, the rest of the block."""
        return pieces(self.data, np.append(begins, len(self.data)))


def scan(data: bytes, mask: Mask) -> Scan | None:
    """Look at a block; None for one with other control characters than line ends, or of invalid UTF-8.

    `mask` is room for a bool a byte, to be used again for the next block: a fresh one would be fresh pages.
    """
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    ends = _places(np.less(bytes_, _SPACE, out=mask))
    # Tabs and carriage returns among others are left to the general way.
    if not data.endswith(b"\n") or len(data) > _MOST_BYTES or (bytes_[ends] != _NEWLINE).any() or not is_utf8(data):
        return None
    return Scan(data, mask, bytes_, ends)


def _beginnings(slashes: Offsets) -> Offsets:
    """Of all backslashes, those that begin an escape: every second one of those that stand side by side."""
    apart = np.diff(slashes) > 1
    if apart.all():
        return slashes
    numbers = np.arange(len(slashes))
    first = np.maximum.accumulate(np.where(np.append(True, apart), numbers, 0))
    second: Mask = (numbers - first) & 1 == 1
    return slashes[~second]


def _places(mask: Mask) -> Offsets:
    """Where a mask holds: np.flatnonzero in half of its time, where that is rarely the case."""
    whole = len(mask) // 8
    words = mask[: 8 * whole].view(np.uint64)
    # Of eight bytes at a time, most are left out at once.
    held = np.flatnonzero(words != 0)
    within = np.flatnonzero(words[held].view(bool))
    places = 8 * held[within >> 3] + (within & 7)
    return np.append(places, np.flatnonzero(mask[8 * whole :]) + 8 * whole)
