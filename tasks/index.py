"""The index beside the shards: what became of every request of a range, as Parquet, a few dozen bytes a request."""

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from tasks.bedrock import aws
from tasks.bedrock.names import record_id
from tasks.errors import AccountingError
from tasks.state import BatchRef, Range
from tasks.storage.objects import read_object
from tasks.storage.uris import S3Uri

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


def index_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.uri("index", f"{range_.name}.parquet")


class Index:
    """Collects index rows and writes them as one Parquet object, a few thousand rows at a time."""

    def __init__(self) -> None:
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._sink,
            INDEX_SCHEMA,
            compression="zstd",
            use_dictionary=["file", "choice", "shard"],
            write_statistics=False,
        )
        self._file = 0
        self._start()

    def _start(self) -> None:
        self._requests: list[int] = []
        self._custom_ids: list[str | None] = []
        self._lines: list[int] = []
        # Runs of rows of the same shard: nearly all rows of a range have one.
        self._shards: list[tuple[str | None, int]] = []
        self._special: dict[int, tuple[int, bytes | None, bytes | None]] = {}

    def start_file(self, file: int) -> None:
        """The file of the rows that follow."""
        if file != self._file:
            self._flush()
            self._file = file

    def extend(self, first_request: int, custom_ids: list[str], lines: list[int], shard: str) -> None:
        """Add consecutive requests that became one record of a shard each, with nothing to remember."""
        self._note_shard(shard, len(lines))
        self._requests += range(first_request, first_request + len(lines))
        self._custom_ids += custom_ids
        self._lines += lines
        if len(self._lines) >= INDEX_ROWS:
            self._flush()

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
        if choice or context is not None or error is not None:
            self._special[len(self._lines)] = (choice, context, error)
        self._note_shard(shard, 1)
        self._requests.append(request)
        self._custom_ids.append(custom_id)
        self._lines.append(line)
        if len(self._lines) >= INDEX_ROWS:
            self._flush()

    def _note_shard(self, shard: str | None, count: int) -> None:
        if self._shards and self._shards[-1][0] == shard:
            count += self._shards.pop()[1]
        self._shards.append((shard, count))

    def _flush(self) -> None:
        count = len(self._lines)
        if not count:
            return
        choices = np.zeros(count, dtype=np.int16)
        record_ids: list[str | None] = [record_id(request) for request in self._requests]
        contexts: Any = pa.nulls(count, pa.binary())
        errors: Any = pa.nulls(count, pa.binary())
        if self._special:
            contexts, errors = [None] * count, [None] * count
            for row, (choice, context, error) in self._special.items():
                choices[row], contexts[row], errors[row] = choice, context, error
                record_ids[row] = None if error is not None else record_id(self._requests[row], choice)
        shards = pa.concat_arrays([pa.repeat(pa.scalar(shard, pa.string()), rows) for shard, rows in self._shards])
        columns = [np.array(self._requests), self._custom_ids, np.full(count, self._file, dtype=np.int32),
                   np.array(self._lines), choices, record_ids, shards, contexts, errors]  # fmt: skip
        self._writer.write_table(pa.table(columns, schema=INDEX_SCHEMA))
        self._start()

    def finish(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._sink.getvalue()


def read_index(ref: BatchRef, range_: Range) -> pq.ParquetFile:
    """The index of a range, in memory: a few dozen bytes a request."""
    uri = index_object(ref, range_)
    try:
        body, _ = read_object(uri)
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"reading {uri}") from error
    return pq.ParquetFile(pa.BufferReader(body))


def records_per_request(index: pq.ParquetFile, range_: Range) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """How many index rows each request of the range has. Raises AccountingError unless every one has at least one."""
    counts = np.zeros(range_.requests, dtype=np.int64)
    for batch in index.iter_batches(columns=["request"]):
        requests = batch.column(0).to_numpy() - range_.first_request
        if len(requests) and (requests.min() < 0 or requests.max() >= range_.requests):
            raise AccountingError(f"The index of {range_.name} holds requests of another range.")
        counts += np.bincount(requests, minlength=range_.requests)
    if not counts.all():
        raise AccountingError(
            f"The index of {range_.name} lacks {int((counts == 0).sum()):,} of {range_.requests:,} requests."
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
