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
import pyarrow.compute as pc

from tasks.openai_format.requests import SURELY_TEXT, SURELY_TEXT_PAIRS

_QUOTE, _BACKSLASH, _NEWLINE, _SPACE = 0x22, 0x5C, 0x0A, 0x20
#: By the first two bytes of a text, the first one times 256.
_IS_TEXT = np.repeat(np.isin(np.arange(256), sorted(SURELY_TEXT)), 256)
_IS_TEXT[[int.from_bytes(pair, "big") for pair in SURELY_TEXT_PAIRS]] = True
_IS_ESCAPE = np.isin(np.arange(256), list(b'"\\/bfnrtu'))
_IS_HEX = np.isin(np.arange(256), list(b"0123456789abcdefABCDEF"))
_SURROGATE = np.isin(np.arange(256), list(b"dD"))
#: A custom_id of more bytes is looked for by itself.
_MOST_ID_BYTES = 255
#: So many lines are counted one by one.
_FEW = 16
#: Arrow's offsets have 32 bits.
_MOST_BYTES = (1 << 31) - 1
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

    before: bytes
    between: bytes
    #: With the line end.
    after: bytes
    #: The quotes of a line that are not escaped.
    quotes: int
    #: The line it was learned from, and how long its text is.
    line: bytes
    text_size: int


class Block(msgspec.Struct, frozen=True):
    """What was found in a block of whole lines, line by line."""

    #: Where each begins, and its line end.
    starts: Any
    ends: Any
    #: The template it fits, from 1; 0 where it fits none.
    shapes: Any
    #: The length of its custom_id where it fits one.
    id_sizes: Any

    @property
    def fits(self) -> Any:
        return self.shapes > 0

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of lines that fit, as first and last + 1; between one run and the next stands one line that does not."""
        done = 0
        for row in [*np.flatnonzero(self.shapes == 0).tolist(), len(self.shapes)]:
            yield done, row
            done = row + 1

    def id_bounds(self, templates: list[Template]) -> tuple[Any, Any]:
        """By line, where its custom_id begins and ends; the same where it fits no template."""
        begins = self.starts + _by_shape(self.shapes, [len(template.before) for template in templates])
        return begins, begins + self.id_sizes

    def text_bounds(self, templates: list[Template]) -> tuple[Any, Any]:
        """By line, where its text begins and ends, without the quotes; the same where it fits no template."""
        fits = self.fits
        begins = self.id_bounds(templates)[1] + _by_shape(self.shapes, [len(each.between) for each in templates])
        ends = self.ends + 1 - _by_shape(self.shapes, [len(template.after) for template in templates])
        return begins, ends if fits.all() else np.where(fits, ends, begins)


def _by_shape(shapes: Any, values: list[int]) -> Any:
    return np.array([0, *values])[shapes]


class Templates:
    """The templates learned from one input so far."""

    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        """`accept` tells whether a line that a template would be learned from is one that the caller can take."""
        self._accept = accept
        self.known: list[Template] = []
        self._tries = 0
        # Reused: a fresh one would be fresh pages for every block.
        self._mask = np.empty(0, dtype=bool)

    def find(self, data: bytes) -> Block | None:
        """The lines of a block of whole lines that fit a template; None where the block is out of the ordinary."""
        if not self.known and not self._may_learn():
            return None
        if len(self._mask) < len(data):
            self._mask = np.empty(len(data) + len(data) // 4, dtype=bool)
        look = _look(data, self._mask[: len(data)])
        if look is None:
            return None
        count = len(look.ends)
        block = Block(look.starts, look.ends, np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.uint8))
        for number, template in enumerate(self.known, 1):
            if not block.shapes.all():
                _fit(look, template, number, block)
        for row in np.flatnonzero(block.shapes == 0).tolist():
            if not self._may_learn():
                break
            if block.shapes[row]:
                continue
            self._tries += 1
            line = data[look.starts[row] : look.ends[row]]
            learned = learn(line)
            if learned is None or not self._accept(line):
                continue
            left = count - int(np.count_nonzero(block.shapes))
            fitting = _fit(look, learned, len(self.known) + 1, block)
            if fitting >= _LEAST_SHARE * left:
                self.known.append(learned)
            else:
                block.shapes[block.shapes > len(self.known)] = 0
        block.id_sizes[block.shapes == 0] = 0
        return block

    def _may_learn(self) -> bool:
        return len(self.known) < _MOST_TEMPLATES and self._tries < _MOST_TRIES


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


def _look(data: bytes, mask: Any) -> _Look | None:
    """Find line ends and escapes; None for a block with other control characters or of invalid UTF-8."""
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    ends = _places(np.less(bytes_, _SPACE, out=mask))
    # Tabs and carriage returns among others are left to the general way.
    if not data.endswith(b"\n") or len(data) > _MOST_BYTES or (bytes_[ends] != _NEWLINE).any() or not _is_utf8(data):
        return None
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    quotes = int(np.count_nonzero(np.equal(bytes_, _QUOTE, out=mask)))
    if b"\\" not in data:
        none = ends[:0]
        return _Look(data, bytes_, starts, ends, quotes, none, none)
    slashes = _places(np.equal(bytes_, _BACKSLASH, out=mask))
    following = bytes_[slashes + 1]
    odd = np.searchsorted(ends, slashes[_odd_escapes(bytes_, slashes, following)])
    return _Look(data, bytes_, starts, ends, quotes - int(np.count_nonzero(following == _QUOTE)), slashes, odd)


def _places(mask: Any) -> Any:
    """Where a mask holds: np.flatnonzero in half of its time, where that is rarely the case."""
    whole = len(mask) // 8
    words = mask[: 8 * whole].view(np.uint64)
    # Of eight bytes at a time, most are left out at once.
    held = np.flatnonzero(words != 0)
    within = np.flatnonzero(words[held].view(bool))
    places = 8 * held[within >> 3] + (within & 7)
    return np.append(places, np.flatnonzero(mask[8 * whole :]) + 8 * whole)


def pieces(data: bytes, offsets: Any) -> pa.Array:
    """What stands between one offset and the next, as an Arrow array over the block itself: nothing is copied."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def slices(data: bytes, begins: Any, ends: Any) -> pa.Array:
    """What stands between each begin and its end, none of which overlap."""
    both = np.empty(2 * len(begins), dtype=np.int32)
    both[0::2], both[1::2] = begins, ends
    return pieces(data, both)[::2] if len(both) == 2 else pieces(data, both).take(np.arange(0, len(both), 2))


def _is_utf8(data: bytes) -> bool:
    # Arrow's check is several times as fast as decoding.
    try:
        pieces(data, np.array([0, len(data)])).view(pa.string()).validate(full=True)
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


def _fit(look: _Look, template: Template, number: int, block: Block) -> int:
    """Note which of the lines that fit no template yet fit this one; returns how many."""
    before, between, after = len(template.before), len(template.between), len(template.after)
    starts, ends = look.starts, look.ends
    # No offset may pass the end of its line, or the pieces of Arrow's arrays would run backwards.
    id_starts = np.minimum(starts + before, ends)
    lines, rests = _to_next(look, starts), _to_next(look, id_starts)
    chosen = _is(pc.starts_with(lines, template.before)) & _is(pc.ends_with(lines, template.after))
    id_sizes = pc.find_substring(rests, b'"').to_numpy(zero_copy_only=False)
    id_ends = np.minimum(id_starts + np.maximum(id_sizes, 0), ends)
    # What it is compared with holds no line end: it cannot go on in the next line.
    chosen &= _is(pc.starts_with(_to_next(look, id_ends), template.between))
    text_starts, text_ends = id_ends + between, ends + 1 - after
    chosen &= (block.shapes == 0) & (id_sizes > 0) & (id_sizes <= _MOST_ID_BYTES) & (text_starts < text_ends)
    # Not a text that might be blank. (Where there is no text, there may be no such bytes.)
    first = np.minimum(text_starts, ends - 1)
    chosen &= _IS_TEXT[look.bytes[first].astype(np.uint16) << 8 | look.bytes[first + 1]]
    chosen &= look.bytes[np.maximum(text_ends, 1) - 1] != _BACKSLASH
    if len(look.slashes):
        # A custom_id with an escape means another text than its bytes say.
        following = np.append(look.slashes, len(look.data))[np.searchsorted(look.slashes, id_starts)]
        chosen &= following >= id_ends
        chosen[look.odd] = False
    # Each has the template's quotes; one more would end its text early.
    count = int(np.count_nonzero(chosen))
    few_others = count >= len(chosen) - _FEW
    if count and not (few_others and _quotes_in(look, chosen) == template.quotes * count):
        chosen &= _quotes_by_line(look) == template.quotes
    block.shapes[chosen] = number
    block.id_sizes[chosen] = id_sizes[chosen]
    return int(np.count_nonzero(chosen))


def _to_next(look: _Look, begins: Any) -> pa.Array:
    """What stands between the begins, each in a line of its own; after the last, the rest of the block."""
    return pieces(look.data, np.append(begins, len(look.data)))


def _is(answers: pa.Array) -> Any:
    return answers.to_numpy(zero_copy_only=False)


def _quotes_in(look: _Look, chosen: Any) -> int:
    """How many quotes that are not escaped some of the lines have together, told from those of all others."""
    count = look.quotes
    for row in np.flatnonzero(~chosen).tolist():
        line = look.data[look.starts[row] : look.ends[row]]
        count -= line.count(b'"') - line.count(b'\\"')
    return count


def _quotes_by_line(look: _Look) -> Any:
    """How many quotes that are not escaped each line has."""
    quotes = np.flatnonzero(look.bytes == _QUOTE)
    if len(look.slashes):
        quotes = quotes[look.bytes[quotes - 1] != _BACKSLASH]
    return np.searchsorted(quotes, look.ends) - np.searchsorted(quotes, look.starts)


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
    before, between, after = line[: id_start + 1], line[id_end : text_start + 1], line[text_end:] + b"\n"
    return Template(before, between, after, 2 * len(strings), line, text_end - text_start - 1)


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
