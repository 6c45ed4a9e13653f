"""The result files of one range: OpenAI's lines as JSONL, and the same as a Parquet table, each streamed to S3."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.batch.document import Range
from tasks.batch.paths import BatchRef, result_piece
from tasks.storage.writer import S3Writer
from tasks.support.columns import Offsets

RESULT_SCHEMA = pa.schema(
    [
        pa.field("custom_id", pa.string()),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("choice", pa.int16(), nullable=False),
        pa.field("ok", pa.bool_(), nullable=False),
        pa.field("status_code", pa.int16()),
        pa.field("content", pa.string()),
        pa.field("reasoning_content", pa.string()),
        pa.field("refusal", pa.string()),
        pa.field("tool_calls", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("total_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("model", pa.string()),
        pa.field("file", pa.string()),
        pa.field("embedding", pa.list_(pa.float32())),
        pa.field("cost_usd", pa.float64()),
    ]
)


class ResultRow(NamedTuple):
    """A row of the result table: a choice of an answer, an embedding, or the error of a request.

    Its fields are RESULT_SCHEMA's, in that order: rows become columns without a look-up.
    """

    custom_id: str | None
    line: int
    choice: int
    ok: bool
    status_code: int | None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    #: [id, name, arguments] of each, as JSON.
    tool_calls: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    model: str | None = None
    file: str | None = None
    embedding: list[float] | None = None
    #: By its tokens and the way in which it was asked.
    cost_usd: float | None = None


class Result(NamedTuple):
    """What became of one request."""

    line: bytes
    ok: bool
    rows: list[ResultRow]


class ResultBlock(NamedTuple):
    """What became of some requests: plain answers, and others by their places among all of them."""

    places: Offsets
    #: The lines of the plain answers, and their columns by name: arrays, or a value for all of them.
    lines: pa.StringArray
    columns: dict[str, pa.Array | str | int]
    others: dict[int, Result]


#: A row group is written at so many rows, or characters of content.
_GROUP_ROWS, _GROUP_CHARACTERS = 8192, 8 << 20


#: Columns of few values; a dictionary of the others would be as large as they are.
_DICTIONARIES = ["choice", "status_code", "finish_reason", "error_code", "error_message", "model", "file"]


def table_writer(out: S3Writer) -> pq.ParquetWriter:
    """A writer of result tables."""
    return pq.ParquetWriter(
        pa.PythonFile(out, mode="w"),
        RESULT_SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARIES,
        write_statistics=["line", "ok", "status_code", "error_code"],
    )


class Results:
    """Writes the three result files of a range."""

    def __init__(self, ref: BatchRef, range_: Range, model: str) -> None:
        self._output = S3Writer(result_piece(ref, range_, "output.jsonl"), ref.kms_key)
        self._errors = S3Writer(result_piece(ref, range_, "errors.jsonl"), ref.kms_key)
        self._parquet = S3Writer(
            result_piece(ref, range_, "results.parquet"), ref.kms_key, "application/vnd.apache.parquet"
        )
        self._table = table_writer(self._parquet)
        self._model = model
        self._other: list[ResultRow] = []
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._characters = 0

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        writers = (self._output, self._errors, self._parquet)
        if error is not None:
            for writer in writers:
                writer.abort()
            return
        self._write_group()
        self._table.close()
        for writer in writers:
            writer.close()

    def add(self, result: Result) -> None:
        """Add the result of the next request."""
        self._other += result.rows
        self._write(result)
        self._count(len(result.rows), len(result.line))

    def add_block(self, block: ResultBlock) -> None:
        """Add the results of the next requests."""
        self._settle()
        _, bounds, data = block.lines.buffers()
        ends = np.frombuffer(bounds, dtype=np.int32)
        text, done = memoryview(data), 0
        for count, (place, result) in enumerate(block.others.items()):
            before = place - count
            self._output.write(text[ends[done] : ends[before]])
            self._write(result)
            done = before
        self._output.write(text[ends[done] : ends[len(block.lines)]])
        table = _table_of(block.columns, len(block.lines))
        if block.others:
            others = block.others.values()
            table = pa.concat_tables([table, _table_of_rows([row for result in others for row in result.rows])])
            places = np.repeat(np.fromiter(block.others, np.int64), [len(result.rows) for result in others])
            table = table.take(pa.array(np.argsort(np.concatenate((block.places, places)), kind="stable")))
        self._tables.append(table)
        self._count(len(table), len(text))

    def _write(self, result: Result) -> None:
        (self._output if result.ok else self._errors).write(result.line)

    def _count(self, rows: int, characters: int) -> None:
        self._rows += rows
        self._characters += characters
        if self._rows >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
            self._write_group()

    def _settle(self) -> None:
        """Turn the other rows gathered so far into a table."""
        if self._other:
            self._tables.append(_table_of_rows(self._other))
            self._other = []

    def _write_group(self) -> None:
        self._settle()
        if self._tables:
            self._table.write_table(pa.concat_tables(self._tables), row_group_size=_GROUP_ROWS)
        self._tables, self._rows, self._characters = [], 0, 0


def _table_of_rows(rows: list[ResultRow]) -> pa.Table:
    columns = zip(RESULT_SCHEMA.types, zip(*rows, strict=True), strict=True)
    return pa.table([pa.array(column, type_) for type_, column in columns], schema=RESULT_SCHEMA)


def _table_of(columns: dict[str, pa.Array | str | int], rows: int) -> pa.Table:
    """A table of some columns, each an array or one value for all rows; the others are null."""
    arrays = [columns.get(field.name) for field in RESULT_SCHEMA]
    return pa.table(
        [
            array if isinstance(array, pa.Array) else pa.repeat(pa.scalar(array, field.type), rows)
            for array, field in zip(arrays, RESULT_SCHEMA, strict=True)
        ],
        schema=RESULT_SCHEMA,
    )


def copy_groups(table: pq.ParquetFile) -> Iterator[pa.Table]:
    """The row groups of a table, one at a time."""
    for group in range(table.num_row_groups):
        yield table.read_row_group(group)
