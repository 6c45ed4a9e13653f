"""The records of a block of chats that differ in their texts only."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.codecs.encoder import Encoder
from tasks.index import digits, texts_of
from tasks.openai_format.scan import slices
from tasks.openai_format.template import Template
from tasks.openai_format.uniform import Block

_BEGINNING, _MIDDLE = b'{"recordId":"r', b'","modelInput":'


class PlainForm(msgspec.Struct, frozen=True):
    """What a template's records have in common: what stands around the texts, with their quotes."""

    fixed: tuple[bytes, ...]


def form_of(template: Template, encoder: Encoder) -> PlainForm | None:
    """How the encoder writes the template's own line, cut at its texts; None where it is no plain chat to it."""
    plain = encoder.encode_plain_record(template.line, b"")
    if plain is None:
        return None
    # The prefix; then what stands before a text and the text, in turn; then what stands behind the last, in two parts.
    _, *parts, after, end = plain[1]
    around, texts = [*parts[0::2], after + end], parts[1::2]
    # The first texts may be the same in all lines.
    same = len(texts) - len(template.text_slots)
    fixed = [b"".join(part for pair in zip(around[:same], texts[:same], strict=True) for part in pair) + around[same]]
    fixed += around[same + 1 :]
    # The texts' own quotes are what surrounds them here.
    for place in range(len(fixed) - 1):
        fixed[place], fixed[place + 1] = fixed[place] + b'"', b'"' + fixed[place + 1]
    return PlainForm(tuple(fixed))


class PlainRecords:
    """The records of all lines of a block that fit a template; those of other lines are empty.

    The texts are never Python objects: Arrow joins them with what stands around them, all of a block in one call.
    """

    def __init__(
        self, data: bytes, block: Block, requests: Any, templates: list[Template], forms: list[PlainForm | None]
    ) -> None:
        self.requests = requests
        self.custom_ids = slices(data, *block.custom_ids(templates)).cast(pa.string())
        self.sizes = np.zeros(len(block.shapes), dtype=np.int64)
        joined, places = [], []
        for number, (template, form) in enumerate(zip(templates, forms, strict=True), 1):
            rows = np.flatnonzero(block.shapes == number)
            if not len(rows) or form is None:
                continue
            slots = block.slots(rows, template)
            parts: list[Any] = [texts_of(digits(requests[rows], _BEGINNING, _MIDDLE), pa.binary()), form.fixed[0]]
            for slot, after in zip(template.text_slots, form.fixed[1:], strict=True):
                parts += (slices(data, *slots[slot]), after)
            joined.append(pc.binary_join_element_wise(*parts, b""))
            places.append(rows)
        records = joined[0] if len(joined) == 1 else _in_order(joined, places)
        _, offsets, self._bytes = records.buffers()
        rows = np.flatnonzero(block.shapes)
        self.sizes[rows] = np.diff(np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1))
        self._ends = np.cumsum(self.sizes)

    def between(self, first: int, last: int) -> memoryview:
        """The records of a run of lines, as they go into the file."""
        start = int(self._ends[first] - self.sizes[first])
        return memoryview(self._bytes)[start : int(self._ends[last - 1])]


def _in_order(arrays: list[pa.Array], places: list[Any]) -> pa.Array:
    """The elements of some arrays, by their places."""
    return pa.concat_arrays(arrays).take(pa.array(np.argsort(np.concatenate(places))))
