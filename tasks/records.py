"""The records of a block of chats that differ in their texts only."""

from typing import Any

import msgspec
import numpy as np

from tasks.codecs.encoder import Encoder
from tasks.index import digits
from tasks.openai_format.uniform import Block, Template

_BEGINNING, _MIDDLE = b'{"recordId":"r', b'","modelInput":'


class PlainForm(msgspec.Struct, frozen=True):
    """What a template's records have in common: what stands before the text and behind it, with its quotes."""

    before: bytes
    after: bytes


def form_of(template: Template, encoder: Encoder) -> PlainForm:
    """How the encoder writes the template's own line, cut at its last text."""
    plain = encoder.encode_plain_record(template.line, b"")
    assert plain is not None
    # The prefix, then before and text in turn, then after and ending.
    parts = plain[1][1:]
    return PlainForm(b"".join(parts[:-3]) + b'"', b'"' + b"".join(parts[-2:]))


class PlainRecords:
    """The records of all lines of a block that fit a template; those of other lines are empty."""

    def __init__(
        self, data: bytes, block: Block, encoder: Encoder, requests: Any, forms: dict[bytes, PlainForm]
    ) -> None:
        self.requests = requests
        self.custom_ids = block.custom_ids(data)
        self.sizes = np.zeros(len(block.fits), dtype=np.int64)
        # Three pieces a record: what stands before the text, the text, and what stands behind it.
        self._pieces: list[bytes] = [b""] * (3 * len(block.fits))
        for group in block.groups:
            if group.template.line not in forms:
                forms[group.template.line] = form_of(group.template, encoder)
            form = forms[group.template.line]
            rows = digits(requests[group.rows], _BEGINNING, _MIDDLE + form.before)
            width, heads = rows.shape[1], rows.tobytes()
            self.sizes[group.rows] = group.text_ends - group.text_starts + width + len(form.after)
            bounds = zip(group.rows.tolist(), group.text_starts.tolist(), group.text_ends.tolist(), strict=True)
            for place, (row, start, end) in enumerate(bounds):
                self._pieces[3 * row : 3 * row + 3] = (
                    heads[place * width : (place + 1) * width], data[start:end], form.after,
                )  # fmt: skip

    def between(self, first: int, last: int) -> bytes:
        """The records of a run of lines, as they go into the file."""
        return b"".join(self._pieces[3 * first : 3 * last])
