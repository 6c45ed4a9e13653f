"""The records of a block of chats that differ in their texts only."""

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.codecs import chat_codec
from tasks.codecs.base import InvocationType
from tasks.codecs.encoder import RECORD_END
from tasks.errors import PipelineError
from tasks.fast.line import FastEncoder
from tasks.fast.match import LineBlock
from tasks.fast.template import Template
from tasks.support.columns import Offsets, digits, slices, texts_of

_BEGINNING, _MIDDLE = b'{"recordId":"r', b'","modelInput":'


#: What lines may grow to, in times of their size, beyond the first bytes.
_MOST_GROWTH, _ANY_GROWTH_BYTES = 4, 4096


#: Stands for a text where a template's line is encoded to see where its texts go.
_MARK = "text-5b1f0c9e-"


class RecordForm(msgspec.Struct, frozen=True):
    """What the records of a template's lines have in common."""

    #: What stands around the texts, with their quotes.
    fixed: tuple[bytes, ...]
    #: The slots of the texts, in the order in which the record has them.
    slots: tuple[int, ...]
    invocation: InvocationType
    context: bytes | None = None
    #: The fields that each of them leaves out, with how often.
    dropped: dict[str, int] = {}


def form_of(template: Template, encoder: FastEncoder) -> RecordForm | None:
    """How the encoder writes the template's own line, cut at its texts; None where it takes texts any other way."""
    try:
        form = _form_of(template, encoder)
        # Of lines that grow much (by references of their schemas), a block of records would not fit in memory.
        grown = form is not None and sum(map(len, form.fixed)) > _MOST_GROWTH * len(template.line) + _ANY_GROWTH_BYTES
        return None if grown else form
    except (PipelineError, MemoryError):
        raise
    except Exception:
        # Its lines go one by one then, and each says what is wrong with it.
        return None


def _form_of(template: Template, encoder: FastEncoder) -> RecordForm | None:
    plain = encoder.encode_plain_record(template.line, b"")
    if plain is None:
        return _general_form(template, encoder)
    # The prefix; then what stands before a text and the text, in turn; then what stands behind the last, in two parts.
    _, *parts, after, end = plain[1]
    around, texts = [*parts[0::2], after + end], parts[1::2]
    # The first texts may be the same in all lines.
    same = len(texts) - len(template.text_slots)
    fixed = [b"".join(part for pair in zip(around[:same], texts[:same], strict=True) for part in pair) + around[same]]
    return _form([*fixed, *around[same + 1 :]], template.text_slots, encoder.plain_invocation)


def _form(
    around: list[bytes],
    slots: tuple[int, ...],
    invocation: InvocationType,
    context: bytes | None = None,
    dropped: dict[str, int] | None = None,
) -> RecordForm:
    # The texts' own quotes are what surrounds them here.
    last = len(around) - 1
    fixed = (b'"' * (place > 0) + piece + b'"' * (place < last) for place, piece in enumerate(around))
    return RecordForm(tuple(fixed), slots, invocation, context, dropped or {})


def _general_form(template: Template, encoder: FastEncoder) -> RecordForm | None:
    """The same for lines with tools, a response_format and the like: told from the line's record with other texts.

    Only where the family is known to pass texts on unchanged, and where each is a string by itself in the record.
    """
    marks = [f"{_MARK}{slot}" for slot in template.text_slots]
    if _MARK.encode() in template.line:
        return None
    encoded = encoder.draft(template.with_texts([mark.encode() for mark in marks]))
    own = encoder.draft(template.line)
    codec = chat_codec(encoder.model, encoded.invocation)
    if len(encoded.model_inputs) != 1 or codec.plain_form(encoder.model) is None:
        return None
    (body,) = encoded.model_inputs
    texts = [b'"%b"' % mark.encode() for mark in marks]
    places = [body.find(text) for text in texts]
    if any(body.count(text) != 1 for text in texts):
        return None
    around, end = [], 0
    order = sorted(range(len(texts)), key=places.__getitem__)
    for number in order:
        around.append(body[end : places[number]])
        end = places[number] + len(texts[number])
    slots = tuple(template.text_slots[number] for number in order)
    form = _form([*around, body[end:] + RECORD_END], slots, encoded.invocation, encoded.contexts[0], encoded.dropped)
    # The proof of it: the line's own texts give the line's own record.
    own_texts = template.texts()
    parts = [part for number, fixed in zip(order, form.fixed, strict=False) for part in (fixed, own_texts[number])]
    made = b"".join([*parts, form.fixed[-1]]).removesuffix(RECORD_END)
    return form if msgspec.json.decode(made) == msgspec.json.decode(own.model_inputs[0]) else None


class PlainRecords:
    """The records of all lines of a block that fit a template; those of other lines are empty.

    A line whose template has no form has shape 0 in the block. The texts are never Python objects: Arrow joins them
    with what stands around them, all of a block in one call.
    """

    def __init__(
        self,
        data: bytes,
        block: LineBlock,
        requests: Offsets,
        templates: list[Template],
        forms: list[RecordForm | None],
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
            parts: list[pa.Array | bytes] = [
                texts_of(digits(requests[rows], _BEGINNING, _MIDDLE), pa.binary()),
                form.fixed[0],
            ]
            for slot, after in zip(form.slots, form.fixed[1:], strict=True):
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


def _in_order(arrays: list[pa.Array], places: list[Offsets]) -> pa.Array:
    """The elements of some arrays, by their places."""
    return pa.concat_arrays(arrays).take(pa.array(np.argsort(np.concatenate(places))))
