"""The answers to one range of the input: joined by recordId from unordered output, at a few bytes a record."""

import mmap
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from types import TracebackType

import msgspec
import numpy as np

from tasks.bedrock.names import PADDING_PREFIX
from tasks.bedrock.records import OutputRecord, RecordError, decode_output_line
from tasks.fetch import OutputObject, ShardOutput
from tasks.storage.reader import UNLIMITED, Source, read_lines

#: What is known of a record. A greater one goes before a lesser one, and among equals the later.
MISSING, PASSING, REFUSED, ANSWERED = 0, 1, 2, 3
#: An on-demand answer is an object of its own, of a few kilobytes: many are read at once.
_SMALL_OBJECT = 1 << 20
_READERS = 16
_NUMBER = 9
_SPACE = 0x20

decode_error = msgspec.json.Decoder(RecordError).decode


class Answers:
    """The outcomes of a range's records, spooled to a local temporary file in the order in which they came.

    Records are known by their row in the range's index. Memory is 14 bytes a record: where its outcome is in the file,
    how long, what, and from which output. Output that nobody asked for, that cannot be read, or that comes twice is
    counted in `oddities`.
    """

    def __init__(
        self,
        first_request: int,
        records_per_request: "np.ndarray[tuple[int], np.dtype[np.int64]]",
        all_requests: int | None = None,
    ) -> None:
        self._first = first_request
        # Records of other ranges are in the output of a round that gathers many; another range reads them.
        self._all = first_request + len(records_per_request) if all_requests is None else all_requests
        total = int(records_per_request.sum())
        self._requests = len(records_per_request)
        # Nearly always a request is one record, and its row its place in the range.
        self._starts: array[int] | None = None
        if total != self._requests:
            self._starts = array("q", np.concatenate(([0], np.cumsum(records_per_request))).tobytes())
        self._offset = array("q", bytes(8 * total))
        self._length = array("i", bytes(4 * total))
        self.kinds = bytearray(total)
        self._source = bytearray(total)
        self._file = tempfile.TemporaryFile(prefix="bedrock-batch-")  # noqa: SIM115 (closed by __exit__)
        self._end = 0
        self._map: mmap.mmap | None = None
        self.oddities: Counter[str] = Counter()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._map is not None:
            self._map.close()
        self._file.close()

    def load(self, outputs: list[ShardOutput]) -> None:
        """Read all output objects once, those of the first round first."""
        # A second outcome from the same job is odd, one from a later job or round is not.
        jobs = [list(job) for output in outputs for _, job in groupby(output.objects, key=lambda o: o.attempt)]
        for number, objects in enumerate(jobs, 1):
            source = min(number, 255)
            for data in _read_small([o for o in objects if o.bytes <= _SMALL_OBJECT]):
                self._add(data.split(b"\n"), source)
            for large in objects:
                if large.bytes > _SMALL_OBJECT:
                    entry = Source(large.uri, large.uri, large.etag, large.bytes)
                    for block in read_lines(entry, limit=UNLIMITED):
                        self._add(block.lines, source)
        self._file.flush()
        if self._end:
            self._map = mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ)

    def _add(self, lines: list[bytes], source: int) -> None:
        """Take the records of one block. This is the hot loop of the join."""
        offsets, lengths, kinds, sources = self._offset, self._length, self.kinds, self._source
        end = self._end
        spooled = []
        for line in lines:
            if not line or (line[0] <= _SPACE and line.isspace()):
                continue
            try:
                record = decode_output_line(line)
            except ValueError:
                self.oddities["output lines that cannot be read"] += 1
                continue
            row = self._row(record.record_id)
            if row is None:
                continue
            kind, data = ANSWERED, record.output
            if data is None:
                kind, data = _failure(record)
            known = kinds[row]
            if sources[row] == source:
                self.oddities["records that were answered more than once"] += 1
            if kind < known:
                continue
            spooled.append(data)
            offsets[row], lengths[row], kinds[row], sources[row] = end, len(data), kind, source
            end += len(data)
        self._file.write(b"".join(spooled))
        self._end = end

    def _row(self, record_id: str) -> int | None:
        """The row of a record; None, and counted, where it is none of the range's."""
        number = record_id[1:]
        if (
            len(number) == _NUMBER
            and record_id[0] == "r"
            and self._starts is None
            and number.isdigit()
            and number.isascii()
        ):
            # The common case: one record a request.
            place = int(number) - self._first
            if 0 <= place < self._requests:
                return place
        if record_id.startswith(PADDING_PREFIX):
            return None
        number, choice = record_id[1 : _NUMBER + 1], 0
        plain = len(record_id) == _NUMBER + 1
        if not plain and record_id[_NUMBER + 1 : _NUMBER + 2] == "c" and record_id[_NUMBER + 2 :].isdecimal():
            choice, plain = int(record_id[_NUMBER + 2 :]), True
        if plain and record_id[0] == "r" and number.isascii() and number.isdecimal():
            request = int(number)
            place = request - self._first
            if not 0 <= place < self._requests:
                if not 0 <= request < self._all:
                    self.oddities["output records that were never asked for"] += 1
                return None
            if self._starts is None:
                if choice == 0:
                    return place
            elif self._starts[place] + choice < self._starts[place + 1]:
                return self._starts[place] + choice
        self.oddities["output records that were never asked for"] += 1
        return None

    def get(self, row: int) -> bytes:
        """The modelOutput of an answered record, or the encoded RecordError of a failed one."""
        if self._map is None:
            return b""
        start = self._offset[row]
        return self._map[start : start + self._length[row]]

    def forget_pages(self) -> None:
        """Give back the memory of what was read: the pages of the file count as this process's."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _failure(record: OutputRecord) -> tuple[int, bytes]:
    assert record.error is not None
    return (PASSING if record.error.passing else REFUSED), msgspec.json.encode(record.error)


def _read_small(objects: list[OutputObject]) -> Iterator[bytes]:
    if not objects:
        return
    with ThreadPoolExecutor(_READERS if len(objects) > 1 else 1) as pool:
        for start in range(0, len(objects), 8 * _READERS):
            yield from pool.map(_read_object, objects[start : start + 8 * _READERS])


def _read_object(entry: OutputObject) -> bytes:
    source = Source(entry.uri, entry.uri, entry.etag, entry.bytes)
    return b"\n".join(line for block in read_lines(source, limit=UNLIMITED) for line in block.lines)
