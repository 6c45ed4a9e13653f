"""What validation learned about an input, for all later stages."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tasks.inputs.layout import Layout
from tasks.openai_format.batch import BatchError
from tasks.storage.sources import Source
from tasks.support.causes import Cause


class InvalidLine(msgspec.Struct):
    """One bad line. `request` is its place in the input, from 0; `line` its line in `file`, from 1."""

    request: int
    line: int
    file: str
    code: str
    message: str
    param: str | None
    custom_id: str | None


class BadLines:
    """Bad lines in the order of the input, of which only those are held that are being converted."""

    def __init__(self, lines: Iterable[InvalidLine]) -> None:
        self._lines = iter(lines)
        self._next = next(self._lines, None)
        self._held: dict[int, InvalidLine] = {}

    def within(self, first: int, past: int) -> dict[int, InvalidLine]:
        """Those of the requests from `first`, which may not be less than before, to before `past`, by request.

        With them may come those that were asked for before.
        """
        held = {request: bad for request, bad in self._held.items() if request >= first}
        while self._next is not None and self._next.request < past:
            if self._next.request >= first:
                held[self._next.request] = self._next
            self._next = next(self._lines, None)
        self._held = held
        return held


@dataclass
class InputSummary:
    """What validation learned about an input. It keeps 12 bytes a request, and 6 bytes a line in `layout`."""

    sources: list[Source]
    #: BLAKE3 of the decompressed content, in hex.
    digest: str
    endpoint: str | None
    requests: int
    invalid: int
    codes: dict[str, int]
    first_invalid: list[InvalidLine]
    #: All bad lines, as JSON lines in the order of the input; None where there are none.
    invalid_file: Path | None
    #: The folder of that file, for whoever has read it to remove.
    work: Path
    offsets: "array[int]"
    lines: "array[int]"
    layout: Layout
    #: The number of the first request of each source, and of the end.
    source_starts: list[int]
    #: Decompressed length of each source.
    source_bytes: list[int]
    #: Estimated number and bytes of all records.
    records: int
    record_bytes: int
    #: What the input is as a whole, where it is no batch file at all: a sentence with a command that mends it.
    mistake: str | None = None
    #: What is wrong with the bad lines, equal mistakes told once; the most frequent first.
    causes: list[Cause] = field(default_factory=list)

    @property
    def valid(self) -> int:
        return self.requests - self.invalid

    def source_of(self, request: int) -> int:
        """The number of the source that a request stands in."""
        return bisect_right(self.source_starts, request) - 1

    def errors(self) -> list[BatchError]:
        """OpenAI's `errors.data[]`: the first thousand."""
        if not self.requests:
            names = ", ".join(source.name for source in self.sources[:3])
            return [BatchError(code="empty_file", message=f"The input file is empty: {names} holds no request.")]
        many = len(self.sources) > 1
        whole = [BatchError(code="invalid_file_format", message=self.mistake)] if self.mistake else []
        return whole + [
            BatchError(
                code=bad.code,
                message=f"{bad.file}: {bad.message}" if many else bad.message,
                param=bad.param,
                line=bad.line,
            )
            for bad in self.first_invalid
        ]
