"""The records of a block of chats that differ in their texts only."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.codecs.encoder import Encoder
from tasks.index import digits
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
        heads, tails = _around(requests[rows], block.shapes[rows], forms)
        texts = slices(data, *(bounds[rows] for bounds in block.text_bounds(templates)))
        joined = pc.binary_join_element_wise(heads, texts, tails, b"")
        _, offsets, self._bytes = joined.buffers()
        self.sizes = np.zeros(len(block.shapes), dtype=np.int64)
        self.sizes[rows] = np.diff(np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1))
        self._ends = np.cumsum(self.sizes)

    def between(self, first: int, last: int) -> memoryview:
        """The records of a run of lines, as they go into the file."""
        start = int(self._ends[first] - self.sizes[first])
        return memoryview(self._bytes)[start : int(self._ends[last - 1])]


def _around(requests: Any, shapes: Any, forms: list[PlainForm | None]) -> tuple[Any, Any]:
    """What stands before the texts of the requests, and behind them; the shapes count from 1."""
    heads, tails, order = [], [], []
    for number, form in enumerate(forms, 1):
        of_shape = np.flatnonzero(shapes == number)
        if form is not None and len(of_shape):
            rows = digits(requests[of_shape], _BEGINNING, _MIDDLE + form.before)
            offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
            heads.append(pa.Array.from_buffers(pa.binary(), len(rows), buffers))
            tails.append(pa.repeat(pa.scalar(form.after, pa.binary()), len(rows)))
            order.append(of_shape)
    if len(heads) == 1:
        return heads[0], tails[0][0]
    back = np.argsort(np.concatenate(order), kind="stable")
    return pa.concat_arrays(heads).take(back), pa.concat_arrays(tails).take(back)
