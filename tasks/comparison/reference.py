"""The right answers, where the user has them: for each custom_id, from JSON lines, CSV or Parquet."""

import ast
import contextlib
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.comparison.extract import as_text
from tasks.errors import InputFileError
from tasks.storage.reader import UNLIMITED, open_source, read_lines
from tasks.storage.sources import Source, find_sources
from tasks.support.words import counted, cut

#: Names of the column that holds the answer, where the call does not say.
_ANSWERS = ("label", "reference", "answer", "expected", "ideal", "target")
#: What separates the cells of a CSV file: the first with which its header has a custom_id.
_DELIMITERS = ",;\t|"
#: An integer, as pandas writes it into a column that has a hole.
_WIDENED = re.compile(r"[-+]?\d+\.0", re.ASCII)


class Reference(msgspec.Struct, frozen=True):
    """The right answers by custom_id: several where each of them is right."""

    answers: dict[str, tuple[str, ...]]
    #: The column that they are from, and whether the call named it.
    column: str = "label"
    named: bool = True
    #: Rows whose cell is blank.
    missing: int = 0
    #: Values of other columns by custom_id, by the column's name.
    fields: dict[str, dict[str, str]] = {}


def read_reference(path: str, column: str | None = None, fields: Iterable[str] = ()) -> Reference:
    """The right answers, and the values of other columns where the file has them.

    Raises InputFileError for a file that cannot be read or contradicts itself.
    """
    columns, rows = _table(path)
    if "custom_id" not in columns:
        raise InputFileError(f"{path} has no column custom_id; it has {', '.join(columns[:10]) or 'none'}.")
    chosen = _answer_column(columns, path, column)
    found: dict[str, tuple[str, ...]] = {}
    first: dict[str, int] = {}
    missing = 0
    for number, row in enumerate(rows, 1):
        custom_id, accepted = _text(row.get("custom_id")), _accepted(row.get(chosen))
        if custom_id is None:
            continue
        if not accepted:
            missing += 1
            continue
        known, at = found.setdefault(custom_id, accepted), first.setdefault(custom_id, number)
        if known != accepted:
            raise InputFileError(
                f"{path}: custom_id {cut(custom_id, 80)!r} has two different labels, in rows {at} and {number} "
                f"(counted without a header): keep one{_several(path)}."
            )
    if not found:
        blank = f": all {counted(missing, 'cell')} of {chosen!r} are blank" if missing else ""
        raise InputFileError(f"{path} holds no label{blank}; it needs the columns custom_id and {_ANSWERS[0]}.")
    others = {name: _values(rows, name) for name in fields if name in columns}
    return Reference(found, chosen, column is not None, missing, others)


def digest_of(reference: Reference) -> str:
    """Of what a reference says: the same answers name the same comparison."""
    answers = {id: accepted[0] if len(accepted) == 1 else list(accepted) for id, accepted in reference.answers.items()}
    digest = hashlib.sha256(repr(sorted(answers.items())).encode("utf-8", "surrogatepass"))
    if reference.fields:
        digest.update(repr(sorted((name, sorted(v.items())) for name, v in reference.fields.items())).encode())
    return digest.hexdigest()


def _several(path: str) -> str:
    return ", or give both as a JSON list where both are right" if ".parquet" not in path else ""


def _values(rows: list[dict[str, Any]], column: str) -> dict[str, str]:
    values = {}
    for row in rows:
        custom_id, value = _text(row.get("custom_id")), _text(row.get(column))
        if custom_id is not None and value is not None:
            values[custom_id] = value
    return values


def _table(path: str) -> tuple[list[str], list[dict[str, Any]]]:
    columns: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    for source in find_sources(path):
        name = source.name.lower().removesuffix(".gz").removesuffix(".zst")
        if name.endswith((".xlsx", ".xls", ".ods")):
            raise InputFileError(f"{path} is a spreadsheet: save its sheet as CSV (UTF-8).")
        if name.endswith(".parquet"):
            names, more = _from_parquet(source, path)
        elif name.endswith((".csv", ".tsv")):
            names, more = _from_csv(source, path)
        else:
            names, more = _from_lines(source, path)
        columns |= dict.fromkeys(names)
        rows += more
    return list(columns), rows


def _from_parquet(source: Source, path: str) -> tuple[list[str], list[dict[str, Any]]]:
    with open_source(source) as stream:
        data = stream.read()
    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid:
        raise InputFileError(f"{path} is no Parquet file.") from None
    return table.column_names, table.to_pylist()


def _from_csv(source: Source, path: str) -> tuple[list[str], list[dict[str, Any]]]:
    with open_source(source) as stream:
        try:
            # The text is the BOM's reader's: a stream of its own would close it.
            text = io.StringIO(stream.read().decode("utf-8-sig"), newline="")
            found = csv.reader(text, delimiter=_delimiter(text), strict=True)
            names = [name.strip() for name in next(found, [])]
            cells = [row for row in found if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputFileError(
                f"{path} is no CSV file in UTF-8 ({error if isinstance(error, csv.Error) else 'other characters'})."
            ) from None
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise InputFileError(f"{path} has two columns {twice!r}: keep one.")
    for number, row in enumerate(cells, 1):
        if any(row[len(names) :]):
            raise InputFileError(
                f"{path}: row {number:,} (counted without a header) has {len(row)} cells, the header {len(names)}: "
                "put cells with a separator in them in quotes."
            )
    rows: list[dict[str, Any]] = [dict(zip(names, [*row, *[None] * len(names)], strict=False)) for row in cells]
    for name in names:
        _narrow(rows, name)
    return names, rows


def _delimiter(text: io.StringIO) -> str:
    header = text.readline()
    text.seek(0)
    for delimiter in _DELIMITERS:
        if "custom_id" in [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]:
            return delimiter
    return ","


def _narrow(rows: list[dict[str, Any]], name: str) -> None:
    """Integers that pandas wrote as 1.0, because a cell of their column is blank, are integers again."""
    cells = [str(row.get(name) or "").strip() for row in rows]
    if "" in cells and all(_WIDENED.fullmatch(cell) for cell in cells if cell):
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell.removesuffix(".0") or None


def _from_lines(source: Source, path: str) -> tuple[list[str], list[dict[str, Any]]]:
    names: dict[str, None] = {}
    rows = []
    for block in read_lines(source, limit=UNLIMITED):
        for line in block.lines:
            if not line.strip():
                continue
            row = _decoded(line)
            if not isinstance(row, dict):
                raise InputFileError(
                    f"{path} holds a line that is no JSON object: write one object a line (pandas: to_json(…, "
                    'orient="records", lines=True)), or CSV or Parquet under a name that ends so.'
                )
            names |= dict.fromkeys(row)
            rows.append(row)
    return list(names), rows


def _decoded(line: bytes) -> Any:
    """A line of JSON; None where it is none. Python writes a missing number as NaN, which is not JSON."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(line)
    return None


def _text(value: Any) -> str | None:
    """A cell as text; None where it is blank, as pandas writes None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = as_text(value)
    return text if text.strip() else None


def _accepted(value: Any) -> tuple[str, ...]:
    """The answers that a cell accepts: each of a list, and the list itself, for models that answer with lists."""
    text = _text(value)
    if text is None:
        return ()
    listed = _listed(value.strip()) if isinstance(value, str) else value
    if not isinstance(listed, list):
        return (text,)
    each = [one for one in map(_text, listed) if one is not None]
    return tuple(dict.fromkeys([*each, as_text(listed)])) if each else ()


def _listed(text: str) -> Any:
    """A list as JSON, or as pandas writes one into a CSV file: as Python has it."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        return msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        found = ast.literal_eval(text)
        # Not numpy's ['x' 'y'], which Python takes for one text.
        return found if repr(found) == text else None
    return None


def _answer_column(names: list[str], path: str, column: str | None) -> str:
    # What has no name is the index that pandas writes.
    others = [name for name in names if name and name != "custom_id"]
    if column is not None:
        if column not in others:
            raise InputFileError(f"{path} has no column {column!r}; it has {', '.join(names[:10])}.")
        return column
    named = [name for name in _ANSWERS if name in others]
    if len(named) > 1:
        raise InputFileError(
            f"{path}: {' and '.join(map(repr, named))} could both hold the right answers: say which with label_column."
        )
    if not named and len(others) != 1:
        raise InputFileError(
            f"{path}: name the column with the right answers {_ANSWERS[0]!r}, or say which it is with label_column."
        )
    return named[0] if named else others[0]
