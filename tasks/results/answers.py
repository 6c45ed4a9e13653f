"""The answers to one range of the input: joined by recordId from unordered output, at a few bytes a record."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from types import TracebackType

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.bedrock.names import PADDING_PREFIX
from tasks.bedrock.records import OutputRecord, RecordError, decode_output_lines
from tasks.fast.answers import PlainAnswers
from tasks.results.outputs import OutputObject, ShardOutput
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import Source
from tasks.support.columns import Bytes, Mask, Offsets
from tasks.support.scratch import ScratchFile

#: What is known of a record. A greater one goes before a lesser one, and among equals the later.
MISSING, RETRYABLE, REFUSED, ANSWERED = 0, 1, 2, 3


#: An on-demand answer is an object of its own, of a few kilobytes: many are read at once.
_SMALL_OBJECT = 1 << 20


_READERS = 16


#: Outcomes that are worked on at a time.
_PIECE_BYTES = 8 << 20


#: What lies between two outcomes is read with them where it is less.
_SKIPPED_BYTES = 16 << 10


#: `r` and a number.
_NUMBER, _WIDTH = 9, 10


_DIGITS = 10 ** np.arange(_NUMBER - 1, -1, -1)


#: As `tasks.bedrock.names.record_id` writes them.
_RECORD_ID = re.compile(r"r([0-9]{9})(?:c([0-9]{4}))?")


decode_record_error = msgspec.json.Decoder(RecordError).decode


class Answers:
    """The outcomes of a range's records, spooled to a local temporary file in the order in which they came.

    Records are known by their row in the range's index. Memory is 14 bytes a record: where its outcome is in the file,
    how long, what, and from which output. Of an answer that `plain` takes, the file has the text, of others the
    modelOutput. Those of a block of output are sorted by row, so that neighbours are read together, a stretch of each
    block, and nothing else is: of a mapped file, all would be in memory. Output that nobody asked for, that is nobody's
    because it cannot be read, or that comes twice is counted in `oddities`.
    """

    def __init__(
        self,
        first_request: int,
        records_per_request: Offsets,
        all_requests: int | None = None,
        plain: PlainAnswers | None = None,
    ) -> None:
        self.plain = plain
        self._first = first_request
        # Records of other ranges are in the output of a round that gathers many; another range reads them.
        self._all = first_request + len(records_per_request) if all_requests is None else all_requests
        total = int(records_per_request.sum())
        self._requests = len(records_per_request)
        # Nearly always a request is one record, and its row its place in the range.
        self._starts: array[int] | None = None
        if total != self._requests:
            self._starts = array("q", np.concatenate(([0], np.cumsum(records_per_request))).tobytes())
        self._offset = np.zeros(total, dtype=np.int64)
        self.lengths = np.zeros(total, dtype=np.int32)
        self.kinds = bytearray(total)
        self._source = bytearray(total)
        self._file = ScratchFile()
        self._end = 0
        self.oddities: Counter[str] = Counter()
        #: The shards whose output was read, by the number of a job; 0 is none.
        self.shards: list[str] = [""]

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def load(self, outputs: list[ShardOutput]) -> None:
        """Read all output objects once, those of the first round first."""
        # A second outcome from the same job is odd, one from a later job or round is not.
        jobs = [
            (output.shard, list(job))
            for output in outputs
            for _, job in groupby(output.found(), key=lambda found: found.attempt)
        ]
        self.shards = ["", *(shard for shard, _ in jobs)]
        for number, (_, objects) in enumerate(jobs, 1):
            source = min(number, 255)
            for data in _read_small([o for o in objects if o.bytes <= _SMALL_OBJECT]):
                self._add(data, source)
            for large in objects:
                if large.bytes > _SMALL_OBJECT:
                    entry = Source(large.uri, large.uri, large.etag, large.bytes)
                    for block in read_lines(entry, limit=UNLIMITED):
                        self._add(block.data, source)

    def _add(self, data: bytes, source: int) -> None:
        """Take the records of some lines."""
        records, unreadable = decode_output_lines(data)
        if unreadable:
            self.oddities["output lines that cannot be read"] += unreadable
        rows = self._rows([record.record_id for record in records])
        plain: set[int] = set()
        if self.plain is not None:
            places, texts = self.plain.take(records, np.where(self._first_seen(rows), rows, -1))
            plain.update(places)
            self._keep(rows[places], texts, source)
        # Nearly always all were plain, or none.
        if len(plain) < len(records):
            others = np.argsort(rows, kind="stable")
            rest = (place for place in others[rows[others] >= 0].tolist() if place not in plain)
            self._add_one_by_one([(records[place], int(rows[place])) for place in rest], source)

    def _first_seen(self, rows: Offsets) -> Mask:
        """Which of some rows had no outcome before, and are there once."""
        _, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True)
        known = np.frombuffer(self._source, dtype=np.uint8)
        first: Mask = (rows >= 0) & (counts[inverse] == 1)
        first[first] = known[rows[first]] == 0
        return first

    def _keep(self, rows: Offsets, texts: pa.LargeStringArray, source: int) -> None:
        """Spool the texts of plain answers."""
        if not len(rows):
            return
        order = np.argsort(rows)
        rows = rows[order]
        _, bounds, data = texts.take(pa.array(order)).buffers()
        ends = np.frombuffer(bounds, dtype=np.int64)[: len(rows) + 1]
        self._offset[rows] = self._end + ends[:-1]
        self.lengths[rows] = np.diff(ends)
        np.frombuffer(self.kinds, dtype=np.uint8)[rows] = ANSWERED
        np.frombuffer(self._source, dtype=np.uint8)[rows] = source
        size = int(ends[-1])
        if size:
            self._file.write(memoryview(data)[:size])
        self._end += size

    def _add_one_by_one(self, records: list[tuple[OutputRecord, int]], source: int) -> None:
        """Spool what became of the records of some rows, where it is news."""
        kinds, sources, end = self.kinds, self._source, self._end
        spooled = []
        for record, row in records:
            outcome = record.outcome
            kind, data = (ANSWERED, outcome) if isinstance(outcome, bytes) else _failure(outcome)
            if sources[row] == source:
                self.oddities["records that were answered more than once"] += 1
            if kind < kinds[row]:
                continue
            if self.plain is not None:
                self.plain.finish[row] = 0
            spooled.append(data)
            self._offset[row], self.lengths[row], kinds[row], sources[row] = end, len(data), kind, source
            end += len(data)
        self._file.write(b"".join(spooled))
        self._end = end

    def _rows(self, ids: list[str]) -> Offsets:
        """The rows of some records; -1, and counted, where it is none of the range's."""
        rows = np.full(len(ids), -1, dtype=np.int64)
        characters = np.frombuffer("".join(ids).encode(), dtype=np.uint8)
        if self._starts is None and len(characters) == _WIDTH * len(ids) and set(map(len, ids)) == {_WIDTH}:
            # The common case: one record a request.
            characters = characters.reshape(-1, _WIDTH)
            digits = characters[:, 1:] - ord("0")
            places = digits @ _DIGITS - self._first
            usual = (characters[:, 0] == ord("r")) & (digits <= 9).all(axis=1)
            usual &= (places >= 0) & (places < self._requests)
            rows[usual] = places[usual]
        for place in np.flatnonzero(rows < 0).tolist():
            row = self._row(ids[place])
            rows[place] = -1 if row is None else row
        return rows

    def _row(self, record_id: str) -> int | None:
        """The row of a record; None, and counted, where it is none of the range's."""
        if record_id.startswith(PADDING_PREFIX):
            return None
        ours = _RECORD_ID.fullmatch(record_id)
        if ours is not None:
            request, choice = int(ours[1]), int(ours[2] or 0)
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

    def sources(self, rows: Offsets) -> Bytes:
        """By row, the place in `shards` of the shard that its outcome came from."""
        known = np.frombuffer(self._source, dtype=np.uint8)[rows]
        found: Bytes = np.minimum(known, min(len(self.shards) - 1, 255)).astype(np.uint8)
        return found

    def get(self, row: int) -> bytes:
        """The modelOutput of an answered record, or the encoded RecordError of a failed one."""
        return self._file.read_at(int(self._offset[row]), int(self.lengths[row]))

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A range of rows in pieces whose outcomes are some megabytes at most, or one row."""
        sizes = np.cumsum(self.lengths[start:end], dtype=np.int64)
        first = start
        while first < end:
            done = int(sizes[first - start - 1]) if first > start else 0
            last = start + int(np.searchsorted(sizes, done + _PIECE_BYTES, side="right"))
            last = min(max(last, first + 1), end)
            yield first, last
            first = last

    def texts(self, rows: Offsets) -> pa.StringArray:
        """The texts of some plain answers."""
        order = np.argsort(self._offset[rows], kind="stable")
        lengths = self.lengths[rows][order]
        starts, data = self._read(self._offset[rows][order], lengths)
        # To Arrow, the texts in the order of the file and what lies between them are one array, of which it takes some.
        bounds = np.empty(2 * len(rows) + 1, dtype=np.int64)
        bounds[:-1:2], bounds[1::2] = starts, starts + lengths
        bounds[-1] = bounds[-2]
        spooled = pa.LargeStringArray.from_buffers(2 * len(rows), pa.py_buffer(bounds), pa.py_buffer(data))
        places = np.empty(len(rows), dtype=np.int64)
        places[order] = 2 * np.arange(len(rows))
        return spooled.take(pa.array(places)).cast(pa.string())

    def _read(self, starts: Offsets, lengths: npt.NDArray[np.int32]) -> tuple[Offsets, bytes]:
        """Outcomes by ascending places in the file: their places in what was read of it, and that."""
        ends = starts + lengths
        first = np.flatnonzero(np.append(True, starts[1:] > ends[:-1] + _SKIPPED_BYTES))
        last = np.append(first[1:], len(starts)) - 1
        parts = []
        for start, end in zip(starts[first].tolist(), ends[last].tolist(), strict=True):
            parts.append(self._file.read_at(start, end - start))
        before = np.cumsum([0, *(len(part) for part in parts[:-1])])
        return starts + np.repeat(before - starts[first], last - first + 1), b"".join(parts)


def _failure(error: RecordError) -> tuple[int, bytes]:
    return (RETRYABLE if error.retryable else REFUSED), msgspec.json.encode(error)


def _read_small(objects: list[OutputObject]) -> Iterator[bytes]:
    if not objects:
        return
    with ThreadPoolExecutor(_READERS if len(objects) > 1 else 1) as pool:
        for start in range(0, len(objects), 8 * _READERS):
            together = pool.map(_read_object, objects[start : start + 8 * _READERS])
            yield b"\n".join(data.rstrip(b"\n") for data in together)


def _read_object(entry: OutputObject) -> bytes:
    source = Source(entry.uri, entry.uri, entry.etag, entry.bytes)
    return b"".join(block.data for block in read_lines(source, limit=UNLIMITED))
