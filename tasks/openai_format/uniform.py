"""Lines that differ in their texts only: found a block at a time, without looking at each line.

Nearly every large batch file is written by a loop: the same bytes in every line, around a custom_id and the texts of
the messages. From one such line a template is learned; then the positions of all quotes of a block, a few columns of
them and some comparisons of whole columns tell which other lines fit it. Nothing is decoded: a line fits only if it is
byte for byte the template's line but for the inside of those strings, and if the block is valid UTF-8 and each escape
in the line is valid. Lines that do not fit are looked at one by one, and a property test holds both ways to the same
result.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tasks.openai_format.requests import SURELY_TEXT

_QUOTE, _BACKSLASH, _NEWLINE, _SPACE = 0x22, 0x5C, 0x0A, 0x20
_IS_TEXT = np.isin(np.arange(256), sorted(SURELY_TEXT))
_IS_ESCAPE = np.isin(np.arange(256), list(b'"\\/bfnrtu'))
_IS_HEX = np.isin(np.arange(256), list(b"0123456789abcdefABCDEF"))
_SURROGATE = np.isin(np.arange(256), list(b"dD"))
_COLON = b":"
#: A file of more shapes than this gains nothing.
_MOST_TEMPLATES, _MOST_TRIES = 16, 64


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw
    body: dict[str, msgspec.Raw]


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode


class Template(msgspec.Struct, frozen=True):
    """What lines have in common: `fixed` stands before, between and after the strings that vary."""

    quotes: int
    #: By variable string, the number of its opening quote; the closing one is the next.
    openings: list[int]
    fixed: "list[np.ndarray[Any, np.dtype[np.uint8]]]"
    #: Which of the variable strings is the custom_id; the others are the messages' contents, in order.
    id_place: int
    #: The line it was learned from.
    line: bytes


class Group(msgspec.Struct, frozen=True):
    """The lines of a block that fit one template."""

    template: int
    rows: Any
    #: By row: the opening and the closing quote of each variable string, from the block's start.
    bounds: Any


class Block(msgspec.Struct, frozen=True):
    """What was found in a block: its lines, and which of them fit."""

    starts: Any
    ends: Any
    fits: Any
    groups: list[Group]


class Templates:
    """The templates learned from one input so far."""

    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        """`accept` tells whether a line that a template would be learned from is one that the caller can take."""
        self._accept = accept
        self.known: list[Template] = []
        self._tries = 0

    def find(self, data: bytes) -> Block | None:
        """The lines of a block of whole lines that fit a template; None where the block is out of the ordinary."""
        block = self._match(data)
        while block is not None and len(self.known) < _MOST_TEMPLATES and self._tries < _MOST_TRIES:
            others = np.flatnonzero(~block.fits)
            if not len(others):
                break
            row = int(others[0])
            self._tries += 1
            line = data[block.starts[row] : block.ends[row]]
            template = learn(line)
            if template is None or not self._accept(line):
                break
            alone = _look(line + b"\n")
            if alone is None or not len(_fit(alone, template, np.array([0]))[0]):
                # It does not even fit itself: an escape that is looked at one by one.
                break
            self.known.append(template)
            block = self._match(data)
        return block

    def _match(self, data: bytes) -> Block | None:
        look = _look(data)
        if look is None:
            return None
        fits = np.zeros(len(look.ends), dtype=bool)
        groups = []
        for number, template in enumerate(self.known):
            rows, bounds = _fit(look, template, np.flatnonzero((look.counts == template.quotes) & ~fits))
            if len(rows):
                fits[rows] = True
                groups.append(Group(number, rows, bounds))
        return Block(look.starts, look.ends, fits, groups)


class _Look(msgspec.Struct, frozen=True):
    """The positions in a block that matter."""

    bytes: Any
    starts: Any
    ends: Any
    #: All quotes that are not escaped; by line, the first of them, and how many (-1: not to be told here).
    quotes: Any
    firsts: Any
    counts: Any
    slashes: Any


def _look(data: bytes) -> _Look | None:
    """Find quotes, line ends and escapes; None for a block with other control characters or of invalid UTF-8."""
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    # One search for the three: what makes positions of flags costs more than all comparisons.
    found = np.flatnonzero((bytes_ == _QUOTE) | (bytes_ == _NEWLINE) | (bytes_ == _BACKSLASH))
    kinds = bytes_[found]
    ends = found[kinds == _NEWLINE]
    # Tabs and carriage returns among others are left to the general way.
    if not data.endswith(b"\n") or np.count_nonzero(bytes_ < _SPACE) != len(ends) or not _is_utf8(data):
        return None
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    quotes = found[kinds == _QUOTE]
    slashes = found[kinds == _BACKSLASH]
    odd = None
    if len(slashes):
        odd = slashes[_odd_escapes(bytes_, slashes)]
        quotes = quotes[bytes_[quotes - 1] != _BACKSLASH]
    upto = np.searchsorted(quotes, ends)
    firsts = np.empty_like(upto)
    firsts[0], firsts[1:] = 0, upto[:-1]
    counts = upto - firsts
    if odd is not None and len(odd):
        counts[np.searchsorted(ends, odd)] = -1
    return _Look(bytes_, starts, ends, quotes, firsts, counts, slashes)


def _is_utf8(data: bytes) -> bool:
    # Arrow's check is several times as fast as decoding.
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _odd_escapes(bytes_: Any, slashes: Any) -> Any:
    """Which backslashes do not begin one of JSON's simple escapes, or stand beside another."""
    # The block ends with a line end: there is always a next byte, but not always four more.
    following = bytes_[slashes + 1]
    odd = ~_IS_ESCAPE[following] | (following == _BACKSLASH)
    unicode = np.flatnonzero(following == ord("u"))
    if len(unicode):
        digits = np.minimum(slashes[unicode][:, None] + np.arange(2, 6), len(bytes_) - 1)
        # Surrogates come in pairs, or not: that is for the general way to see.
        odd[unicode] |= ~_IS_HEX[bytes_[digits]].all(axis=1) | _SURROGATE[bytes_[digits[:, 0]]]
    return odd


def _fit(look: _Look, template: Template, rows: Any) -> tuple[Any, Any]:
    """The rows among the candidates that fit, and the bounds of their variable strings."""
    columns = np.array([number + side for number in template.openings for side in (0, 1)])
    bounds = look.quotes[look.firsts[rows][:, None] + columns]
    last = len(template.fixed) - 1
    fits = np.ones(len(rows), dtype=bool)
    begins = []
    for place, fixed in enumerate(template.fixed):
        begin = look.starts[rows] if place == 0 else bounds[:, 2 * place - 1]
        end = look.ends[rows] if place == last else bounds[:, 2 * place] + 1
        fits &= end - begin == len(fixed)
        begins.append(begin)
    for place in range(len(template.openings)):
        # Neither an empty custom_id nor a text that might be blank.
        first = look.bytes[bounds[:, 2 * place] + 1]
        fits &= (first != _QUOTE) if place == template.id_place else _IS_TEXT[first]
    if len(look.slashes):
        # A custom_id with an escape means another text than its bytes say.
        opening, closing = bounds[:, 2 * template.id_place], bounds[:, 2 * template.id_place + 1]
        fits &= np.searchsorted(look.slashes, opening) == np.searchsorted(look.slashes, closing)
    chosen = np.flatnonzero(fits)
    for begin, fixed in zip(begins, template.fixed, strict=True):
        if len(fixed) > len(look.bytes):
            return rows[:0], bounds[:0]
        windows = np.lib.stride_tricks.as_strided(look.bytes, (len(look.bytes) - len(fixed) + 1, len(fixed)), (1, 1))
        chosen = chosen[(windows[begin[chosen]] == fixed).all(axis=1)]
    return rows[chosen], bounds[chosen]


def learn(line: bytes) -> Template | None:
    """The template of a chat line whose messages are plain text; None for any other line."""
    try:
        parsed = _decode_line(line)
        messages = _decode_messages(parsed.body["messages"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None
    strings = _strings(line)
    keys = {name: _values_of(line, strings, name) for name in (b'"custom_id"', b'"content"')}
    ids, contents = keys[b'"custom_id"'], keys[b'"content"']
    if -1 in ids or -1 in contents:
        return None
    texts = [line[start : end + 1] for start, end in (strings[number] for number in contents)]
    if len(ids) != 1 or not messages or texts != [bytes(message.content) for message in messages]:
        return None
    start, end = strings[ids[0]]
    if line[start : end + 1] != bytes(parsed.custom_id):
        return None
    variable = sorted([*ids, *contents])
    fixed, begin = [], 0
    for number in variable:
        opening, closing = strings[number]
        fixed.append(np.frombuffer(line[begin : opening + 1], dtype=np.uint8))
        begin = closing
    fixed.append(np.frombuffer(line[begin:], dtype=np.uint8))
    return Template(2 * len(strings), [2 * number for number in variable], fixed, variable.index(ids[0]), line)


def _strings(line: bytes) -> list[tuple[int, int]]:
    """The opening and closing quotes of all strings of a line of valid JSON."""
    found = []
    place = line.find(b'"')
    while place >= 0:
        end = line.find(b'"', place + 1)
        while end >= 0 and (end - len(line[place + 1 : end].rstrip(b"\\")) - place - 1) % 2:
            end = line.find(b'"', end + 1)
        found.append((place, end))
        place = line.find(b'"', end + 1) if end >= 0 else -1
    return found


def _values_of(line: bytes, strings: list[tuple[int, int]], key: bytes) -> list[int]:
    """The numbers of the strings that are values of a key; -1 for a value that is no string."""
    values = []
    for number, (start, end) in enumerate(strings):
        if line[start : end + 1] == key and line[end + 1 :].lstrip().startswith(_COLON):
            follows = number + 1 < len(strings) and line[end + 1 : strings[number + 1][0]].strip() == _COLON
            values.append(number + 1 if follows else -1)
    return values
