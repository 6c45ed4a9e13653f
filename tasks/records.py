"""The records of a block of chats that differ in their texts only."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.codecs.encoder import Encoder
from tasks.index import digits, texts_of
from tasks.openai_format.uniform import Block, Template, slices

_BEGINNING, _MIDDLE = b'{"recordId":"r', b'","modelInput":'


class PlainForm(msgspec.Struct, frozen=True):
    """What a template's records have in common: what stands before the text and behind it, with its quotes."""

    before: bytes
    after: bytes


def form_of(template: Template, encoder: Encoder) -> PlainForm | None:
    """How the encoder writes the template's own line, cut at its last text; None where it is no plain chat to it."""
    plain = encoder.encode_plain_record(template.line, b"")
    if plain is None:
        return None
    # The prefix, then before and text in turn, then after and ending.
    parts = plain[1][1:]
    return PlainForm(b"".join(parts[:-3]) + b'"', b'"' + b"".join(parts[-2:]))


class PlainRecords:
    """The records of all lines of a block that fit a template; those of other lines are empty.

    The texts are never Python objects: Arrow joins them with what stands around them, all of a block in one call.
    """

    def __init__(
        self, data: bytes, block: Block, requests: Any, templates: list[Template], forms: list[PlainForm | None]
    ) -> None:
        self.requests = requests
        self.custom_ids = slices(data, *block.id_bounds(templates)).cast(pa.string())
        rows = np.flatnonzero(block.shapes)
        heads = texts_of(digits(requests[rows], _BEGINNING, _MIDDLE), pa.binary())
        befores, tails = _around(block.shapes[rows], forms)
        texts = slices(data, *(bounds[rows] for bounds in block.text_bounds(templates)))
        joined = pc.binary_join_element_wise(heads, befores, texts, tails, b"")
        _, offsets, self._bytes = joined.buffers()
        self.sizes = np.zeros(len(block.shapes), dtype=np.int64)
        self.sizes[rows] = np.diff(np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1))
        self._ends = np.cumsum(self.sizes)

    def between(self, first: int, last: int) -> memoryview:
        """The records of a run of lines, as they go into the file."""
        start = int(self._ends[first] - self.sizes[first])
        return memoryview(self._bytes)[start : int(self._ends[last - 1])]


def _around(shapes: Any, forms: list[PlainForm | None]) -> tuple[Any, Any]:
    """What stands before the texts, and behind them; the shapes count from 1."""
    before = [form.before if form else b"" for form in forms]
    after = [form.after if form else b"" for form in forms]
    if (shapes == shapes[0]).all():
        return before[shapes[0] - 1], after[shapes[0] - 1]
    return pa.array(before, pa.binary()).take(shapes - 1), pa.array(after, pa.binary()).take(shapes - 1)
