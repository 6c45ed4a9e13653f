"""The right answers, where the user has them: a label for each custom_id, from JSON lines, CSV or Parquet."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InputFileError
from tasks.storage.reader import UNLIMITED, find_sources, open_source, read_lines
from tasks.words import cut

#: Names of the column that holds the answer, the first that is there.
_ANSWERS = ("label", "reference", "answer", "expected", "ideal", "target")


def read_reference(path: str) -> dict[str, str]:
    """Labels by custom_id. Raises InputFileError for a file that cannot be read or contradicts itself."""
    found: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, (custom_id, label) in enumerate(_rows(path), 1):
        if custom_id is None or label is None:
            continue
        known = found.setdefault(str(custom_id), str(label))
        at = first.setdefault(str(custom_id), number)
        if known != str(label):
            raise InputFileError(
                f"{path}: custom_id {cut(str(custom_id), 80)!r} has two different labels, in rows {at} and {number} "
                "(counted without a header): keep one."
            )
    if not found:
        raise InputFileError(f"{path} holds no label: it needs the columns custom_id and {_ANSWERS[0]}.")
    return found


def _rows(path: str) -> Iterator[tuple[Any, Any]]:
    for source in find_sources(path):
        name = source.name.lower().removesuffix(".gz").removesuffix(".zst")
        if name.endswith(".parquet"):
            with open_source(source) as stream:
                yield from _from_parquet(stream.read(), path)
        elif name.endswith((".csv", ".tsv")):
            with open_source(source) as stream:
                text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
                yield from _from_csv(text, path, "\t" if name.endswith(".tsv") else ",")
        else:
            for block in read_lines(source, limit=UNLIMITED):
                yield from (_from_line(line, path) for line in block.lines if line.strip())


def _from_parquet(data: bytes, path: str) -> Iterator[tuple[Any, Any]]:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid:
        raise InputFileError(f"{path} is no Parquet file.") from None
    column = _answer_column(table.column_names, path)
    yield from zip(table.column("custom_id").to_pylist(), table.column(column).to_pylist(), strict=True)


def _from_csv(text: io.TextIOWrapper, path: str, delimiter: str) -> Iterator[tuple[Any, Any]]:
    rows = csv.DictReader(text, delimiter=delimiter)
    try:
        column = _answer_column(rows.fieldnames or [], path)
        for row in rows:
            yield row["custom_id"], row[column]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} is no CSV file in UTF-8 ({type(error).__name__}).") from None


def _from_line(line: bytes, path: str) -> tuple[Any, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputFileError(f"{path} holds a line that is no JSON.") from None
    if not isinstance(row, dict):
        raise InputFileError(f"{path} holds a line that is no JSON object.")
    return row.get("custom_id"), row.get(_answer_column(list(row), path))


def _answer_column(names: Any, path: str) -> str:
    names = list(names)
    if "custom_id" not in names:
        raise InputFileError(f"{path} has no column custom_id; it has {', '.join(map(str, names[:10])) or 'none'}.")
    others = [str(name) for name in names if name != "custom_id"]
    named = [name for name in _ANSWERS if name in others]
    if not named and len(others) != 1:
        raise InputFileError(f"{path}: name the column with the right answers {_ANSWERS[0]!r}.")
    return named[0] if named else others[0]
