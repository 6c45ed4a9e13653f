"""The rows of results.parquet, by name."""

from tasks.results.files import RESULT_SCHEMA, ResultRow, _table_of_rows


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
