"""The answers to one range of the input: joined by recordId from unordered output, at a few bytes a record."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import msgspec
import numpy as np

from tasks.bedrock.names import PADDING_PREFIX
from tasks.bedrock.records import OutputRecord, RecordError, decode_output_line
from tasks.fetch import OutputObject, ShardOutput
from tasks.storage.reader import UNLIMITED, Source, read_lines

_MISSING, _ERROR, _ANSWER = 0, 1, 2
#: An on-demand answer is an object of its own, of a few kilobytes: many are read at once.
_SMALL_OBJECT = 1 << 20
_READERS = 16

_decode_error = msgspec.json.Decoder(RecordError).decode


class Answers:
    """The outcomes of a range's records, spooled to a local temporary file in the order in which they came.

    Memory is 13 bytes a record: where it is in the file, how long, and what. Output that nobody asked for, that
    cannot be read, or that comes twice is counted in `oddities`; an answer goes before an error, a later answer
    before an earlier one.
    """

    def __init__(self, first_request: int, records_per_request: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
        self._first = first_request
        self._starts = np.concatenate(([0], np.cumsum(records_per_request)))
        total = int(self._starts[-1])
        self._offset = np.zeros(total, dtype=np.int64)
        self._length = np.zeros(total, dtype=np.int32)
        self._kind = np.zeros(total, dtype=np.int8)
        self._file = tempfile.TemporaryFile(prefix="bedrock-batch-")  # noqa: SIM115 (closed by __exit__)
        self._end = 0
        self.oddities: Counter[str] = Counter()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def load(self, outputs: list[ShardOutput]) -> None:
        """Read all output objects once."""
        for output in outputs:
            small = [o for o in output.objects if o.bytes <= _SMALL_OBJECT]
            for data in _read_small(small):
                for line in data.split(b"\n"):
                    self._add(line)
            for large in output.objects:
                if large.bytes > _SMALL_OBJECT:
                    source = Source(large.uri, large.uri, large.etag, large.bytes)
                    for block in read_lines(source, limit=UNLIMITED):
                        for line in block.lines:
                            self._add(line)
        self._file.flush()

    def _add(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        try:
            record = decode_output_line(line)
        except ValueError:
            self.oddities["output lines that cannot be read"] += 1
            return
        if record.record_id.startswith(PADDING_PREFIX):
            return
        row = self._row(record.record_id)
        if row is None:
            self.oddities["output records that were never asked for"] += 1
            return
        kind, data = _outcome(record)
        if self._kind[row] != _MISSING:
            self.oddities["records that were answered more than once"] += 1
            if kind < self._kind[row]:
                return
        self._file.write(data)
        self._offset[row], self._length[row], self._kind[row] = self._end, len(data), kind
        self._end += len(data)

    def _row(self, record_id: str) -> int | None:
        number, _, choice = record_id[1:].partition("c")
        if record_id[:1] != "r" or len(number) != 9 or not number.isdigit() or not (choice or "0").isdigit():
            return None
        request = int(number) - self._first
        if not 0 <= request < len(self._starts) - 1:
            return None
        row = int(self._starts[request]) + int(choice or 0)
        return row if row < self._starts[request + 1] else None

    def get(self, request: int, choice: int) -> bytes | RecordError | None:
        """The modelOutput of a record, its error, or None where there is neither."""
        row = int(self._starts[request - self._first]) + choice
        kind = self._kind[row]
        if kind == _MISSING:
            return None
        data = os.pread(self._file.fileno(), int(self._length[row]), int(self._offset[row]))
        return data if kind == _ANSWER else _decode_error(data)


def _outcome(record: OutputRecord) -> tuple[int, bytes]:
    if record.output is not None:
        return _ANSWER, bytes(record.output)
    return _ERROR, msgspec.json.encode(record.error)


def _read_small(objects: list[OutputObject]) -> Iterator[bytes]:
    if not objects:
        return
    with ThreadPoolExecutor(_READERS if len(objects) > 1 else 1) as pool:
        for start in range(0, len(objects), 8 * _READERS):
            yield from pool.map(_read_object, objects[start : start + 8 * _READERS])


def _read_object(entry: OutputObject) -> bytes:
    source = Source(entry.uri, entry.uri, entry.etag, entry.bytes)
    return b"\n".join(line for block in read_lines(source, limit=UNLIMITED) for line in block.lines)
