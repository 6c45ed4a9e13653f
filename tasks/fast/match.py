"""The short cut for files whose chats are alike: lines that differ in their custom_id and in their texts only.

Most batch files are written by one program in one way: the same keys in the same order, the same parameters, another
question. From the first such line a template is learned: what stands around the strings that vary. Then a few
comparisons of whole columns of a block tell which lines fit. Nothing is decoded: a line fits only if it is byte for
byte the template's line but for the inside of those strings, and if the block is valid UTF-8, each escape in the line
valid, and no quote of a text ends it early. Lines that do not fit are looked at one by one, and a property test holds
both ways to the same result.

Mostly only the last text varies, beside the custom_id: then one is found from the line's beginning, the other from its
end. Where more does (conversations, documents in the system prompt, a `user`), strings are found by counting quotes,
which takes longer.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.fast.scan import Scan, scan
from tasks.fast.template import Template, learn
from tasks.support.columns import Bytes, Mask, Offsets, Sizes

#: A custom_id of more bytes is looked for by itself.
MOST_ID_BYTES = 255


#: So many lines are counted one by one.
_FEW = 16


#: A file of more shapes than this gains nothing, nor does a shape that few lines of its block have.
_MOST_TEMPLATES, _MOST_TRIES, _LEAST_SHARE = 8, 24, 1 / 16


#: Where fewer of the lines left are alike in all but the last text, a template of more slots is tried.
_MOSTLY = 1 / 2


_BACKSLASH = 0x5C


Bounds: TypeAlias = tuple[Offsets, Offsets]


class LineBlock(msgspec.Struct):
    """What was found in a block of whole lines, line by line."""

    #: Where each begins, and its line end.
    starts: Offsets
    ends: Offsets
    #: The template it fits, from 1; 0 where it fits none.
    shapes: Bytes
    #: The lengths of its slots, a column each, but for the last one of the template, which is what is left.
    sizes: Sizes

    @classmethod
    def of(cls, starts: Offsets, ends: Offsets) -> "LineBlock":
        """A block of which nothing is known yet."""
        return cls(starts, ends, np.zeros(len(ends), dtype=np.uint8), np.zeros((len(ends), 1), dtype=np.uint32))

    def take(self, rows: slice) -> "LineBlock":
        """Some of its lines."""
        return LineBlock(self.starts[rows], self.ends[rows], self.shapes[rows], self.sizes[rows])

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of lines that fit, as first and last + 1; between one run and the next stands one line that does not."""
        done = 0
        for row in [*np.flatnonzero(self.shapes == 0).tolist(), len(self.shapes)]:
            yield done, row
            done = row + 1

    def custom_ids(self, templates: list[Template]) -> Bounds:
        """By line, where its custom_id begins and ends; the same where it fits no template."""
        bounds = (self.starts.copy(), self.starts.copy())
        for number, template in enumerate(templates, 1):
            rows = np.flatnonzero(self.shapes == number)
            for column, values in zip(bounds, self.slots(rows, template)[template.id_slot], strict=True):
                column[rows] = values
        return bounds

    def slots(self, rows: Offsets, template: Template) -> list[Bounds]:
        """Where the slots of some lines that fit a template begin and end, without their quotes."""
        place = self.starts[rows]
        last = len(template.strings) - 1
        bounds = []
        for slot, fixed in enumerate(template.fixed[:-1]):
            begins = place + len(fixed)
            place = begins + self.sizes[rows, slot] if slot < last else self.ends[rows] + 1 - len(template.fixed[-1])
            bounds.append((begins, place))
        return bounds

    def note(self, rows: Offsets, number: int, bounds: list[Bounds]) -> None:
        """Note that some lines fit a template, and how long their slots are."""
        missing = len(bounds) - 1 - self.sizes.shape[1]
        if missing > 0:
            self.sizes = np.pad(self.sizes, ((0, 0), (0, missing)))
        self.shapes[rows] = number
        for slot, (begins, ends) in enumerate(bounds[:-1]):
            self.sizes[rows, slot] = ends - begins

    def forget(self, number: int) -> None:
        """Lines that fit a template fit none again."""
        rows = self.shapes == number
        self.shapes[rows], self.sizes[rows] = 0, 0


class Templates:
    """The templates learned from one input so far."""

    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        """`accept` tells whether a template may be learned from a line.

        It sees the lines of a block in order, up to the last one that is tried, but for those that fit a template.
        """
        self._accept = accept
        self.known: list[Template] = []
        self._tries = 0
        # Reused: a fresh one would be fresh pages for every block.
        self._mask = np.empty(0, dtype=bool)

    def find(self, data: bytes) -> LineBlock | None:
        """The lines of a block of whole lines that fit a template; None where the block is out of the ordinary."""
        if not self.known and not self._may_learn():
            return None
        if len(self._mask) < len(data):
            self._mask = np.empty(len(data) + len(data) // 4, dtype=bool)
        found = scan(data, self._mask[: len(data)])
        if found is None:
            return None
        block = LineBlock.of(found.starts, found.ends)
        for number, template in enumerate(self.known, 1):
            if not block.shapes.all():
                _fit(found, template, number, block)
        for row in np.flatnonzero(block.shapes == 0).tolist():
            if not self._may_learn():
                break
            if not block.shapes[row]:
                self._tries += 1
                self._learn(found, data[found.starts[row] : found.ends[row]], block)
        return block

    def _learn(self, found: Scan, line: bytes, block: LineBlock) -> None:
        """Learn a template from a line, where enough of the lines left fit it."""
        # In this order: the caller sees every line that comes before what is learned.
        template = learn(line) if self._accept(line) else None
        if template is None:
            return
        number = len(self.known) + 1
        left = int(np.count_nonzero(block.shapes == 0))
        fitting = _fit(found, template, number, block)
        if fitting < _MOSTLY * left:
            wider = learn(line, "all")
            if wider is not None and wider.strings != template.strings:
                block.forget(number)
                template, fitting = wider, _fit(found, wider, number, block)
        if fitting >= _LEAST_SHARE * left:
            self.known.append(template)
        else:
            block.forget(number)

    def _may_learn(self) -> bool:
        return len(self.known) < _MOST_TEMPLATES and self._tries < _MOST_TRIES


def _fit(found: Scan, template: Template, number: int, block: LineBlock) -> int:
    """Note which of the lines that fit no template yet fit this one; returns how many."""
    of_two = len(template.strings) == 2 and template.id_slot == 0
    rows, bounds = _by_ends(found, template, block) if of_two else _by_quotes(found, template, block)
    block.note(rows, number, bounds)
    return len(rows)


def _by_ends(found: Scan, template: Template, block: LineBlock) -> tuple[Offsets, list[Bounds]]:
    """The lines that fit a template of the custom_id and one text behind it, and where these are."""
    before, between, after = template.fixed
    starts, ends = found.starts, found.ends
    # No offset may pass the end of its line, or the pieces of Arrow's arrays would run backwards.
    id_starts = np.minimum(starts + len(before), ends)
    lines = found.rest(starts)
    chosen = _is(pc.starts_with(lines, before)) & _is(pc.ends_with(lines, after))
    id_sizes = pc.find_substring(found.rest(id_starts), b'"').to_numpy(zero_copy_only=False)
    id_ends = np.minimum(id_starts + np.maximum(id_sizes, 0), ends)
    # What it is compared with holds no line end: it cannot go on in the next line.
    chosen &= _is(pc.starts_with(found.rest(id_ends), between))
    text_starts, text_ends = id_ends + len(between), ends + 1 - len(after)
    chosen &= (block.shapes == 0) & (id_sizes > 0) & (id_sizes <= MOST_ID_BYTES) & (text_starts < text_ends)
    chosen &= found.not_blank(text_starts, np.maximum(text_ends, 0))
    chosen &= found.bytes[np.maximum(text_ends, 1) - 1] != _BACKSLASH
    if len(found.escapes):
        # A custom_id with an escape means another text than its bytes say.
        chosen &= ~found.escaped_within(id_starts, id_ends)
    chosen[found.odd] = False
    # Each has the template's quotes; one more would end its text early.
    count = int(np.count_nonzero(chosen))
    few_others = count >= len(chosen) - _FEW
    if count and not (few_others and found.quotes_in(chosen) == template.quotes * count):
        chosen &= np.diff(found.quotes_before) == template.quotes
    rows = np.flatnonzero(chosen)
    return rows, [(id_starts[rows], id_ends[rows]), (text_starts[rows], text_ends[rows])]


def _by_quotes(found: Scan, template: Template, block: LineBlock) -> tuple[Offsets, list[Bounds]]:
    """The lines that fit a template, and where its slots are: told by their quotes, of which all have as many."""
    fits = (block.shapes == 0) & (np.diff(found.quotes_before) == template.quotes)
    fits[found.odd] = False
    rows = np.flatnonzero(fits)
    first = found.quotes_before[rows]
    bounds = [
        (found.quote_places[first + 2 * string] + 1, found.quote_places[first + 2 * string + 1])
        for string in template.strings
    ]
    # Where what is fixed begins, and what follows it; each must be as long as the template's.
    begins = [found.starts[rows], *(end for _, end in bounds)]
    ends = [*(begin for begin, _ in bounds), found.ends[rows] + 1]
    chosen = np.ones(len(rows), dtype=bool)
    for fixed, begin, end in zip(template.fixed, begins, ends, strict=True):
        chosen &= end - begin == len(fixed)
    id_starts, id_ends = bounds[template.id_slot]
    chosen &= (id_ends > id_starts) & (id_ends - id_starts <= MOST_ID_BYTES)
    chosen &= ~found.escaped_within(id_starts, id_ends)
    for slot in template.text_slots:
        chosen &= found.not_blank(*bounds[slot])
    for fixed, begin in zip(template.fixed, begins, strict=True):
        chosen &= _is(pc.starts_with(found.rest(begin), fixed))
    return rows[chosen], [(begin[chosen], end[chosen]) for begin, end in bounds]


def _is(answers: pa.Array) -> Mask:
    column: Mask = answers.to_numpy(zero_copy_only=False)
    return column
