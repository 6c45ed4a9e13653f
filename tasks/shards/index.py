"""The index beside the shards: what became of every request of a range, as Parquet, a few dozen bytes a request."""

import io
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.batch.document import Range
from tasks.batch.paths import BatchRef, index_object
from tasks.bedrock.names import record_id
from tasks.errors import AccountingError
from tasks.storage.objects import read_object
from tasks.support.columns import Offsets, digits, texts_of
from tasks.support.words import counted

INDEX_SCHEMA = pa.schema(
    [
        pa.field("request", pa.int64(), nullable=False),
        pa.field("custom_id", pa.string()),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("choice", pa.int16(), nullable=False),
        # Null where the request was never sent; then `error` says why.
        pa.field("record_id", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("context", pa.binary()),
        pa.field("error", pa.binary()),
    ]
)


#: Rows that are written and read at a time.
INDEX_ROWS = 8192


class IndexRow(msgspec.Struct, gc=False):
    """One row, its fields in the order of INDEX_SCHEMA."""

    request: int
    custom_id: str | None
    file: int
    line: int
    choice: int
    record_id: str | None
    shard: str | None
    context: bytes | None
    error: bytes | None


class Index:
    """Collects index rows and writes them as one Parquet object, a few thousand rows at a time."""

    def __init__(self) -> None:
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._sink,
            INDEX_SCHEMA,
            compression="lz4",
            use_dictionary=["file", "choice", "shard"],
            # Most ids and numbers differ from the one before in their last digit: a byte a request, not 30.
            column_encoding={
                "request": "DELTA_BINARY_PACKED",
                "line": "DELTA_BINARY_PACKED",
                "record_id": "DELTA_BYTE_ARRAY",
                "custom_id": "DELTA_BYTE_ARRAY",
            },
            write_statistics=False,
        )
        self._file = 0
        self._start()

    def _start(self) -> None:
        self._rows = 0
        #: Runs of rows, each as its columns; None stands for nulls.
        self._runs: list[tuple[Any, ...]] = []

    def start_file(self, file: int) -> None:
        """The file of the rows that follow."""
        self._file = file

    def extend(
        self, requests: Offsets, custom_ids: pa.Array, lines: Offsets, shard: str, context: bytes | None = None
    ) -> None:
        """Add requests that became one record of a shard each, with the same to remember; columns of equal length."""
        self._keep(requests, custom_ids, lines, 0, shard, context, None)

    def add(
        self,
        request: int,
        custom_id: str | None,
        line: int,
        *,
        shard: str | None = None,
        choice: int = 0,
        context: bytes | None = None,
        error: bytes | None = None,
    ) -> None:
        """Add one record of a request, or the error of one that is never sent."""
        self._keep(np.array([request]), [custom_id], np.array([line]), choice, shard, context, error)

    def _keep(self, requests: Any, *columns: Any) -> None:
        self._runs.append((requests, self._file, *columns))
        self._rows += len(requests)
        if self._rows >= INDEX_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        requests, files, custom_ids, lines, choices, shards, contexts, errors = zip(*self._runs, strict=True)
        counts = [len(run) for run in requests]
        numbers = np.concatenate(requests)
        choice = np.repeat(np.array(choices, dtype=np.int16), counts)
        unsent = np.repeat(np.array([error is not None for error in errors]), counts)
        ids = record_ids(numbers)
        if choice.any() or unsent.any():
            pairs = zip(numbers.tolist(), choice.tolist(), unsent.tolist(), strict=True)
            ids = pa.array([None if not_sent else record_id(n, c) for n, c, not_sent in pairs], pa.string())
        columns = [
            numbers,
            _strings(custom_ids),
            np.repeat(np.array(files, dtype=np.int32), counts),
            np.concatenate(lines),
            choice,
            ids,
            _repeated(shards, counts, pa.string()),
            _repeated(contexts, counts, pa.binary()),
            _repeated(errors, counts, pa.binary()),
        ]
        self._writer.write_table(pa.table(columns, schema=INDEX_SCHEMA))
        self._start()

    def finish(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._sink.getvalue()


def _strings(columns: tuple[Any, ...]) -> pa.ChunkedArray:
    """Arrays and lists of strings, one after the other."""
    chunks: list[pa.Array] = []
    for is_array, run in itertools.groupby(columns, lambda column: isinstance(column, pa.Array)):
        together = list(run)
        chunks += together if is_array else [pa.array(itertools.chain.from_iterable(together), pa.string())]
    return pa.chunked_array(chunks, pa.string())


def _repeated(values: tuple[Any, ...], counts: list[int], type_: pa.DataType) -> Any:
    """Each value so many times; runs of the same value are put together first."""
    if all(value is None for value in values):
        return pa.nulls(sum(counts), type_)
    if all(value == values[0] for value in values):
        return pa.repeat(pa.scalar(values[0], type_), sum(counts))
    return pa.array(values, type_).take(pa.array(np.repeat(np.arange(len(values)), counts)))


def record_ids(requests: Offsets) -> pa.Array:
    """The recordIds of requests that are one record each, as `tasks.bedrock.names.record_id` writes them."""
    return texts_of(digits(requests, b"r", b""), pa.string())


def read_index(ref: BatchRef, range_: Range) -> pq.ParquetFile:
    """The index of a range, in memory: a few dozen bytes a request."""
    uri = index_object(ref, range_)
    body, _ = read_object(uri)
    return pq.ParquetFile(pa.BufferReader(body))


def records_per_request(index: pq.ParquetFile, range_: Range) -> Offsets:
    """How many index rows each request of the range has. Raises AccountingError unless every one has at least one."""
    counts = np.zeros(range_.requests, dtype=np.int64)
    for batch in index.iter_batches(columns=["request"]):
        requests = batch.column(0).to_numpy() - range_.first_request
        if len(requests) and (requests.min() < 0 or requests.max() >= range_.requests):
            raise AccountingError(f"The index of {range_.name} holds requests of another range.")
        counts += np.bincount(requests, minlength=range_.requests)
    if not counts.all():
        raise AccountingError(
            f"The index of {range_.name} lacks {int((counts == 0).sum()):,} of {counted(range_.requests, 'request')}."
        )
    return counts


def requests_of(index: pq.ParquetFile) -> Iterator[list[IndexRow]]:
    """The index rows of each request together, in the order of the input."""
    group: list[IndexRow] = []
    for batch in index.iter_batches(INDEX_ROWS):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = IndexRow(*values)
            if group and group[0].request != row.request:
                yield group
                group = []
            group.append(row)
    if group:
        yield group
