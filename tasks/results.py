"""The result files of one range: OpenAI's lines as JSONL, and the same as a Parquet table, each streamed to S3."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.state import BatchRef, Range
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer

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
    ]
)
#: The columns of a plain answer that differ from row to row, in the order of `PlainRow`; others are constant or null.
_PLAIN = ("custom_id", "line", "content", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens",
          "cached_tokens", "reasoning_tokens")  # fmt: skip
PlainRow = tuple[str | None, int, str, str, int, int, int, int, int]
#: A row group is written at so many rows, or characters of content.
_GROUP_ROWS, _GROUP_CHARACTERS = 8192, 8 << 20
#: Columns of few values; a dictionary of the others would be as large as they are.
_DICTIONARIES = ["choice", "ok", "status_code", "finish_reason", "error_code", "error_message", "model", "file"]
WRITE_BYTES = 1 << 20


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


def piece(ref: BatchRef, range_: Range, name: str) -> S3Uri:
    """The part of a result file that one range makes; gone once the file is put together."""
    return ref.uri("results", f"{range_.name}.{name}")


class Results:
    """Writes the three result files of a range."""

    def __init__(self, ref: BatchRef, range_: Range, model: str) -> None:
        self._output = S3Writer(piece(ref, range_, "output.jsonl"), ref.kms_key)
        self._errors = S3Writer(piece(ref, range_, "errors.jsonl"), ref.kms_key)
        self._parquet = S3Writer(piece(ref, range_, "results.parquet"), ref.kms_key, "application/vnd.apache.parquet")
        self._table = table_writer(self._parquet)
        self._model = model
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._other: list[tuple[Any, ...]] = []
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
        self._output.write(b"".join(self._lines))
        self._write_group()
        self._table.close()
        for writer in writers:
            writer.close()

    def add_plain(self, lines: list[bytes], rows: list[PlainRow], file: str) -> dict[str, tuple[Any, ...]]:
        """Add the answers of some plain chats of one file; returns the columns of the rows."""
        self._settle()
        columns = dict(zip(_PLAIN, zip(*rows, strict=True), strict=True))
        constants: dict[str, Any] = {"choice": 0, "ok": True, "status_code": 200, "model": self._model, "file": file}
        arrays = [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.repeat(pa.scalar(constants.get(field.name), field.type), len(rows))
            for field in RESULT_SCHEMA
        ]
        self._tables.append(pa.table(arrays, schema=RESULT_SCHEMA))
        text = b"".join(lines)
        self._add_line(text)
        self._count(len(rows), len(text))
        return columns

    def add(self, line: bytes, ok: bool, rows: list[tuple[Any, ...]]) -> None:
        """Add any result; `rows` in the order of RESULT_SCHEMA."""
        self._other += rows
        if ok:
            self._add_line(line)
        else:
            self._errors.write(line)
        self._count(len(rows), len(line))

    def _add_line(self, line: bytes) -> None:
        self._lines.append(line)
        self._line_bytes += len(line)
        if self._line_bytes >= WRITE_BYTES:
            self._output.write(b"".join(self._lines))
            self._lines, self._line_bytes = [], 0

    def _count(self, rows: int, characters: int) -> None:
        self._rows += rows
        self._characters += characters
        if self._rows >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
            self._write_group()

    def _settle(self) -> None:
        """Turn the other rows gathered so far into a table."""
        if self._other:
            columns_of_rows = [list(column) for column in zip(*self._other, strict=True)]
            self._tables.append(pa.table(columns_of_rows, schema=RESULT_SCHEMA))
            self._other = []

    def _write_group(self) -> None:
        self._settle()
        if self._tables:
            self._table.write_table(pa.concat_tables(self._tables), row_group_size=_GROUP_ROWS)
        self._tables, self._rows, self._characters = [], 0, 0


def copy_groups(table: pq.ParquetFile) -> Iterator[pa.Table]:
    """The row groups of a table, one at a time."""
    for group in range(table.num_row_groups):
        yield table.read_row_group(group)
