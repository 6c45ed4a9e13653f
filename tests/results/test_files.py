"""The rows of results.parquet, by name."""

import io
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.batch.paths import result_piece
from tasks.results.files import RESULT_SCHEMA, Result, ResultRow, Results, _table_of_rows, table_writer
from tests.builders import REF, range_of
from tests.fakes import Cloud


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    assert list(ResultRow._fields) == RESULT_SCHEMA.names


def test_rows_become_columns() -> None:
    rows = [
        ResultRow(custom_id="a", line=1, choice=0, ok=True, status_code=200, content="x", embedding=[0.5]),
        ResultRow(custom_id=None, line=2, choice=0, ok=False, status_code=None, error_code="batch_expired"),
    ]
    table = _table_of_rows(rows)
    assert table.schema == RESULT_SCHEMA
    assert table.to_pylist() == [row._asdict() for row in rows]


def test_how_the_table_is_stored() -> None:
    """Small; and who looks for failures reads only the groups of rows that have some."""
    body: Any = io.BytesIO()
    rows = [ResultRow(custom_id="a", line=1, choice=0, ok=False, status_code=429, error_code="x", content="y")] * 3
    with table_writer(body) as writer:
        writer.write_table(_table_of_rows(rows))
    group = pq.ParquetFile(io.BytesIO(body.getvalue())).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    told = {column.path_in_schema for column in columns if column.statistics is not None}
    assert told == {"line", "ok", "status_code", "error_code"}
    alike = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert alike == {"choice", "status_code", "finish_reason", "error_code", "error_message", "model", "file"}


@pytest.mark.parametrize(
    ("most_rows", "most_characters", "held", "groups"),
    [
        (2, 10**9, [1, 0, 1, 0, 1], [2, 2, 1]),
        (10**9, 5, [1, 2, 0, 1, 2], [3, 2]),
        (9, 99, [1, 2, 3, 4, 5], [5]),
    ],
)
def test_groups_of_rows_are_bounded_by_rows_and_by_what_is_in_them(
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    most_rows: int,
    most_characters: int,
    held: list[int],
    groups: list[int],
) -> None:
    """A reader, and who puts the table together, holds one group in memory."""
    monkeypatch.setattr("tasks.results.files._GROUP_ROWS", most_rows)
    monkeypatch.setattr("tasks.results.files._GROUP_CHARACTERS", most_characters)
    with Results(REF, range_of(), "m") as results:
        for line in range(5):
            row = ResultRow(custom_id="a", line=line, choice=0, ok=True, status_code=200)
            results.add(Result(b"{}", True, [row]))
            assert len(results._other) == held[line]
    stored = cloud.s3.objects[result_piece(REF, range_of(), "results.parquet").key].body
    metadata = pq.ParquetFile(io.BytesIO(stored)).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == groups
