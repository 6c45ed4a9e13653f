"""The records of a block of chats that differ in their texts only, made column by column."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.codecs.encoder import Encoder
from tasks.index import digits, fixed_width
from tasks.openai_format.uniform import Block, Group, Template

_BEGINNING, _MIDDLE = b'{"recordId":"r', b'","modelInput":'


class PlainPieces(msgspec.Struct, frozen=True):
    """What a template's records are made of: the same bytes before, between and after the texts."""

    fixed: list[pa.Scalar]


def pieces_of(template: Template, encoder: Encoder) -> PlainPieces:
    """How the encoder writes the template's own line, cut at its texts."""
    plain = encoder.encode_plain_record(template.line, b"")
    assert plain is not None
    _, parts = plain
    # The prefix, then before and text in turn, then after and ending.
    texts = len(template.openings) - 1
    between = [parts[1 + 2 * place] for place in range(texts)]
    return PlainPieces([pa.scalar(each, pa.binary()) for each in [*between, b"".join(parts[1 + 2 * texts :])]])


class PlainRecords:
    """The records of all lines of a block that fit a template; those of other lines are empty."""

    def __init__(
        self, data: bytes, block: Block, templates: list[Template], encoder: Encoder, requests: Any,
        forms: dict[bytes, PlainPieces],
    ) -> None:  # fmt: skip
        self.requests = requests
        rows, records, custom_ids = [], [], []
        for group in block.groups:
            template = templates[group.template]
            if template.line not in forms:
                forms[template.line] = pieces_of(template, encoder)
            strings = _strings(data, template, group)
            heads = fixed_width(digits(requests[group.rows], _BEGINNING, _MIDDLE), pa.binary())
            columns: list[Any] = [heads]
            for text, before in zip(strings[1:], forms[template.line].fixed, strict=False):
                columns += [before, text]
            records.append(pc.binary_join_element_wise(*columns, forms[template.line].fixed[-1], b""))
            custom_ids.append(strings[0].cast(pa.string()))
            rows.append(group.rows)
        self._records: Any = records[0]
        self.custom_ids: Any = custom_ids[0]
        if len(rows) > 1 or len(rows[0]) < len(block.starts):
            # In the order of the input, with nothing in the place of the other lines.
            place = np.full(len(block.starts), -1)
            place[np.concatenate(rows)] = np.arange(sum(map(len, rows)))
            indices = pa.array(place, mask=place < 0)
            self._records = pa.concat_arrays(records).take(indices)
            self.custom_ids = pa.concat_arrays(custom_ids).take(indices)
        self._offsets = np.frombuffer(self._records.buffers()[1], dtype=np.int32)[: len(block.starts) + 1]
        self._data = memoryview(self._records.buffers()[2])
        self.sizes = np.diff(self._offsets)

    def between(self, first: int, last: int) -> memoryview:
        """The records of a run of lines, as they go into the file."""
        return self._data[self._offsets[first] : self._offsets[last]]


def _strings(data: bytes, template: Template, group: Group) -> list[pa.Array]:
    """The custom_ids without their quotes, then the texts of each message with theirs."""
    inner = np.zeros(group.bounds.shape[1], dtype=np.int64)
    inner[0::2], inner[1::2] = 0, 1
    # From the opening quote to behind the closing one, but for the custom_id: from behind the one to the other.
    inner[2 * template.id_place], inner[2 * template.id_place + 1] = 1, 0
    edges = (group.bounds + inner).astype(np.int32)
    # Cut at every edge, the block is an array whose even elements are the strings.
    offsets = np.append(edges.ravel(), edges[-1, -1])
    everything = pa.Array.from_buffers(pa.binary(), edges.size, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    width = edges.shape[1]
    columns = [everything.take(pa.array(np.arange(place, edges.size, width))) for place in range(0, width, 2)]
    return [columns[template.id_place], *(c for place, c in enumerate(columns) if place != template.id_place)]
