"""The short cut for files whose chats are alike: lines that differ in their custom_id and their last text only.

Most batch files are written by one program in one way: the same keys in the same order, the same parameters and system
prompt, another question. From the first such line a template is learned: what stands before, between and after the two
strings that vary. Then a few comparisons of whole columns of a block tell which lines fit. Nothing is decoded: a line
fits only if it is byte for byte the template's line but for the inside of those strings, and if the block is valid
UTF-8, each escape in the line valid, and no quote of its text ends it early. Lines that do not fit are looked at one by
one, and a property test holds both ways to the same result.
"""

from collections.abc import Callable, Iterator
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
#: A custom_id of more bytes is looked for by itself.
_MOST_ID_BYTES = 72
#: A file of more shapes than this gains nothing, nor does a shape that few lines of its block have.
_MOST_TEMPLATES, _MOST_TRIES, _LEAST_SHARE = 8, 24, 1 / 16


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw
    body: dict[str, msgspec.Raw]


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode


class Template(msgspec.Struct, frozen=True):
    """What lines have in common: what stands before the custom_id, from there to the text, and behind it."""

    before: "np.ndarray[Any, np.dtype[np.uint8]]"
    between: "np.ndarray[Any, np.dtype[np.uint8]]"
    after: "np.ndarray[Any, np.dtype[np.uint8]]"
    #: The quotes of a line that are not escaped.
    quotes: int
    #: The line it was learned from.
    line: bytes


class Group(msgspec.Struct, frozen=True):
    """The lines of a block that fit one template."""

    template: Template
    rows: Any
    #: By row, from the block's start: where the custom_id begins and ends, and the text; without their quotes.
    id_starts: Any
    id_ends: Any
    text_starts: Any
    text_ends: Any


class Block(msgspec.Struct, frozen=True):
    """What was found in a block: its lines, and which of them fit."""

    starts: Any
    ends: Any
    fits: Any
    groups: list[Group]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of lines that fit, as first and last + 1; between one run and the next stands one line that does not."""
        done = 0
        for row in [*np.flatnonzero(~self.fits).tolist(), len(self.fits)]:
            yield done, row
            done = row + 1

    def custom_ids(self, data: bytes) -> list[bytes]:
        """By line, its custom_id; nothing where a line does not fit."""
        found = [b""] * len(self.fits)
        for group in self.groups:
            bounds = zip(group.rows.tolist(), group.id_starts.tolist(), group.id_ends.tolist(), strict=True)
            for row, start, end in bounds:
                found[row] = data[start:end]
        return found


class Templates:
    """The templates learned from one input so far."""

    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        """`accept` tells whether a line that a template would be learned from is one that the caller can take."""
        self._accept = accept
        self._known: list[Template] = []
        self._tries = 0

    def find(self, data: bytes) -> Block | None:
        """The lines of a block of whole lines that fit a template; None where the block is out of the ordinary."""
        if not self._known and not self._may_learn():
            return None
        look = _look(data)
        if look is None:
            return None
        fits = np.zeros(len(look.ends), dtype=bool)
        groups = [group for template in self._known if (group := _fit(look, template, fits)) is not None]
        for row in np.flatnonzero(~fits).tolist():
            if not self._may_learn():
                break
            if fits[row]:
                continue
            self._tries += 1
            line = data[look.starts[row] : look.ends[row]]
            template = learn(line)
            if template is None or not self._accept(line):
                continue
            left = len(fits) - int(fits.sum())
            group = _fit(look, template, fits)
            if group is not None:
                groups.append(group)
                if len(group.rows) >= _LEAST_SHARE * left:
                    self._known.append(template)
        return Block(look.starts, look.ends, fits, groups)

    def _may_learn(self) -> bool:
        return len(self._known) < _MOST_TEMPLATES and self._tries < _MOST_TRIES


class _Look(msgspec.Struct, frozen=True):
    """What is to be known of a block before templates are held against it."""

    data: bytes
    bytes: Any
    starts: Any
    ends: Any
    #: Quotes that are not escaped, in the whole block.
    quotes: int
    slashes: Any
    #: The lines with an escape that is to be looked at one by one.
    odd: Any


def _look(data: bytes) -> _Look | None:
    """Find line ends and escapes; None for a block with other control characters or of invalid UTF-8."""
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(bytes_ == _NEWLINE)
    # Tabs and carriage returns among others are left to the general way.
    if not data.endswith(b"\n") or np.count_nonzero(bytes_ < _SPACE) != len(ends) or not _is_utf8(data):
        return None
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    quotes = int(np.count_nonzero(bytes_ == _QUOTE))
    if b"\\" not in data:
        none = ends[:0]
        return _Look(data, bytes_, starts, ends, quotes, none, none)
    slashes = np.flatnonzero(bytes_ == _BACKSLASH)
    following = bytes_[slashes + 1]
    odd = np.searchsorted(ends, slashes[_odd_escapes(bytes_, slashes, following)])
    return _Look(data, bytes_, starts, ends, quotes - int(np.count_nonzero(following == _QUOTE)), slashes, odd)


def _is_utf8(data: bytes) -> bool:
    # Arrow's check is several times as fast as decoding.
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _odd_escapes(bytes_: Any, slashes: Any, following: Any) -> Any:
    """Which backslashes do not begin one of JSON's simple escapes, or stand beside another."""
    # The block ends with a line end: there is always a next byte, but not always four more.
    odd = ~_IS_ESCAPE[following] | (following == _BACKSLASH)
    unicode = np.flatnonzero(following == ord("u"))
    if len(unicode):
        digits = np.minimum(slashes[unicode][:, None] + np.arange(2, 6), len(bytes_) - 1)
        # Surrogates come in pairs, or not: that is for the general way to see.
        odd[unicode] |= ~_IS_HEX[bytes_[digits]].all(axis=1) | _SURROGATE[bytes_[digits[:, 0]]]
    return odd


def _fit(look: _Look, template: Template, fits: Any) -> Group | None:
    """The lines that fit the template and no other yet; they are marked in `fits`."""
    before, between, after = template.before, template.between, template.after
    rows = np.flatnonzero(~fits)
    shortest = len(before) + len(between) + len(after) + _MOST_ID_BYTES
    rows = rows[look.starts[rows] + shortest <= look.ends[rows] + 1]
    rows = rows[_stands_at(look, look.starts[rows], before)]
    id_starts = look.starts[rows] + len(before)
    windows = _windows(look, id_starts, _MOST_ID_BYTES)
    lengths = (windows == _QUOTE).argmax(axis=1)
    chosen = lengths > 0
    if len(look.slashes):
        # A custom_id with an escape means another text than its bytes say.
        chosen &= np.searchsorted(look.slashes, id_starts) == np.searchsorted(look.slashes, id_starts + lengths)
        chosen &= ~np.isin(rows, look.odd)
    rows, id_ends = rows[chosen], (id_starts + lengths)[chosen]
    rows, id_ends = _keep(_stands_at(look, id_ends, between), rows, id_ends)
    text_starts, text_ends = id_ends + len(between), look.ends[rows] + 1 - len(after)
    # Not a text that might be blank.
    chosen = (text_starts < text_ends) & _IS_TEXT[look.bytes[text_starts]]
    chosen &= (look.bytes[text_ends - 1] != _BACKSLASH) & _stands_at(look, text_ends, after)
    rows, id_ends, text_starts, text_ends = _keep(chosen, rows, id_ends, text_starts, text_ends)
    # Each has the template's quotes; one more would end its text early.
    if len(rows) and _quotes_in(look, rows) != template.quotes * len(rows):
        chosen = _quotes_of(look, rows) == template.quotes
        rows, id_ends, text_starts, text_ends = _keep(chosen, rows, id_ends, text_starts, text_ends)
    if not len(rows):
        return None
    fits[rows] = True
    return Group(template, rows, look.starts[rows] + len(before), id_ends, text_starts, text_ends)


def _keep(chosen: Any, *columns: Any) -> tuple[Any, ...]:
    return tuple(column[chosen] for column in columns)


def _windows(look: _Look, begins: Any, size: int) -> Any:
    """So many bytes from each position; they must lie within the block."""
    if size > len(look.bytes):
        return np.empty((0, size), dtype=np.uint8)
    shape = (len(look.bytes) - size + 1, size)
    return np.lib.stride_tricks.as_strided(look.bytes, shape, (1, 1))[begins]


def _stands_at(look: _Look, begins: Any, text: Any) -> Any:
    """At which of the positions, all well before the block's end, a text stands."""
    return (_windows(look, begins, len(text)) == text).all(axis=1)


def _quotes_in(look: _Look, rows: Any) -> int:
    """How many quotes that are not escaped some of the lines have together, told from those of all others."""
    others = np.ones(len(look.ends), dtype=bool)
    others[rows] = False
    count = look.quotes
    for row in np.flatnonzero(others).tolist():
        line = look.data[look.starts[row] : look.ends[row]]
        count -= line.count(b'"') - line.count(b'\\"')
    return count


def _quotes_of(look: _Look, rows: Any) -> Any:
    """How many quotes that are not escaped each of the lines has."""
    quotes = np.flatnonzero(look.bytes == _QUOTE)
    if len(look.slashes):
        quotes = quotes[look.bytes[quotes - 1] != _BACKSLASH]
    return np.searchsorted(quotes, look.ends[rows]) - np.searchsorted(quotes, look.starts[rows])


def learn(line: bytes) -> Template | None:
    """The template of a chat line whose messages are plain text, its custom_id first; None for any other line."""
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
    (id_start, id_end), (text_start, text_end) = strings[ids[0]], strings[contents[-1]]
    if line[id_start : id_end + 1] != bytes(parsed.custom_id) or id_start > text_start:
        return None
    before, between, after = (
        np.frombuffer(piece, dtype=np.uint8)
        for piece in (line[: id_start + 1], line[id_end : text_start + 1], line[text_end:] + b"\n")
    )
    return Template(before, between, after, 2 * len(strings), line)


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
        if line[start : end + 1] == key and line[end + 1 :].lstrip().startswith(b":"):
            follows = number + 1 < len(strings) and line[end + 1 : strings[number + 1][0]].strip() == b":"
            values.append(number + 1 if follows else -1)
    return values
