"""The rows of results.parquet, by name."""

import io
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.paths import result_piece
from tasks.results import files
from tasks.results.files import (
    RESULT_SCHEMA,
    Result,
    ResultBlock,
    ResultRow,
    Results,
    _table_of_rows,
    copy_groups,
    table_writer,
)
from tests.builders import REF, range_of
from tests.fakes import Cloud

KEYED = msgspec.structs.replace(REF, kms_key="key")
NAMES = ("output.jsonl", "errors.jsonl", "results.parquet")


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


def test_groups_of_a_batch() -> None:
    assert (files._GROUP_ROWS, files._GROUP_CHARACTERS) == (8192, 8 << 20)


def test_the_columns_and_their_types_are_for_ever() -> None:
    """Queries and notebooks of users name them."""
    assert {field.name: (str(field.type), field.nullable) for field in RESULT_SCHEMA} == {
        "custom_id": ("string", True),
        "line": ("int64", False),
        "choice": ("int16", False),
        "ok": ("bool", False),
        "status_code": ("int16", True),
        "content": ("string", True),
        "reasoning_content": ("string", True),
        "refusal": ("string", True),
        "tool_calls": ("string", True),
        "finish_reason": ("string", True),
        "prompt_tokens": ("int64", True),
        "completion_tokens": ("int64", True),
        "total_tokens": ("int64", True),
        "cached_tokens": ("int64", True),
        "reasoning_tokens": ("int64", True),
        "error_code": ("string", True),
        "error_message": ("string", True),
        "model": ("string", True),
        "file": ("string", True),
        "embedding": (str(pa.list_(pa.float32())), True),
        "cost_usd": ("double", True),
    }


def one(line: int, choices: int = 1, ok: bool = True) -> Result:
    rows = [
        ResultRow(custom_id=f"id-{line}", line=line, choice=choice, ok=ok, status_code=200 if ok else 429)
        for choice in range(choices)
    ]
    return Result(f"{line}\n".encode(), ok, rows)


def block(places: list[int], others: dict[int, Result], first: int = 0) -> ResultBlock:
    """Plain answers at some places, others at others; each place is a line."""
    numbers = [first + place for place in places]
    columns: dict[str, Any] = {
        "custom_id": pa.array([f"id-{number}" for number in numbers]),
        "line": pa.array(numbers),
        "choice": 0,
        "ok": True,
        "status_code": 200,
    }
    return ResultBlock(np.array(places), pa.array([f"{number}\n" for number in numbers]), columns, others)


def written(cloud: Cloud, name: str) -> bytes:
    return cloud.s3.objects[result_piece(KEYED, range_of(), name).key].body


def test_plain_answers_and_others_come_in_the_order_of_the_input(cloud: Cloud) -> None:
    with Results(KEYED, range_of(), "m") as results:
        results.add(one(0))
        results.add(one(1, ok=False))
        # Two others side by side, at the beginning and at the end; one of several choices, some without an answer.
        others = {0: one(2), 1: one(3, ok=False), 4: one(6, choices=3), 6: one(8, ok=False), 7: one(9)}
        results.add_block(block([2, 3, 5], others, first=2))
        results.add(one(10, choices=2))
        results.add_block(block([0, 1], {}, first=11))
    assert written(cloud, "output.jsonl").split() == [b"%d" % n for n in (0, 2, 4, 5, 6, 7, 9, 10, 11, 12)]
    assert written(cloud, "errors.jsonl").split() == [b"1", b"3", b"8"]
    rows = pq.read_table(io.BytesIO(written(cloud, "results.parquet"))).to_pylist()
    assert [(row["line"], row["choice"]) for row in rows] == [
        *((n, 0) for n in range(6)), (6, 0), (6, 1), (6, 2), (7, 0), (8, 0), (9, 0), (10, 0), (10, 1), (11, 0), (12, 0),
    ]  # fmt: skip
    assert [row["line"] for row in rows if not row["ok"]] == [1, 3, 8]
    assert [row["custom_id"] for row in rows] == [f"id-{row['line']}" for row in rows]
    assert {row["model"] for row in rows} == {None}, "what is not given is null"


def test_each_file_is_encrypted_and_the_table_is_one(cloud: Cloud) -> None:
    with Results(KEYED, range_of(), "m") as results:
        results.add(one(0))
    options = [cloud.s3.objects[result_piece(KEYED, range_of(), name).key].options for name in NAMES]
    assert [given["SSEKMSKeyId"] for given in options] == ["key"] * 3
    assert options[2]["ContentType"] == "application/vnd.apache.parquet"


def test_results_that_fail_half_way_leave_nothing(cloud: Cloud) -> None:
    line = b"x" * (1 << 20) + b"\n"
    with pytest.raises(KeyError), Results(KEYED, range_of(), "m") as results:
        for number in range(40):
            results.add(Result(line, number % 2 == 0, one(number).rows))
        assert len(cloud.s3.uploads) >= 2, "this is about files that are well under way"
        raise KeyError
    assert (cloud.s3.keys(), cloud.s3.uploads) == ([], {})


def test_a_block_of_more_rows_than_a_group_is_several(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.results.files._GROUP_ROWS", 4)
    with Results(KEYED, range_of(), "m") as results:
        results.add_block(block(list(range(10)), {}))
    table = pq.ParquetFile(io.BytesIO(written(cloud, "results.parquet")))
    assert [group.num_rows for group in copy_groups(table)] == [4, 4, 2]


def test_what_is_held_is_counted_by_its_rows_and_characters(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.results.files._GROUP_ROWS", 4)
    with Results(KEYED, range_of(), "m") as results:
        results.add(one(0, choices=3))
        assert len(results._other) == 3
        results.add(one(1))
        assert not results._other, "four rows"
        results.add_block(block([0, 1], {}, first=2))
        assert len(results._tables) == 1
        results.add_block(block([0], {1: one(5)}, first=4))
        assert not results._tables
        monkeypatch.setattr("tasks.results.files._GROUP_CHARACTERS", 4)
        results.add_block(block([0], {}, first=6))
        assert len(results._tables) == 1, "two characters"
        results.add_block(block([0], {}, first=7))
        assert not results._tables, "four"
    table = pq.ParquetFile(io.BytesIO(written(cloud, "results.parquet")))
    assert [group.num_rows for group in copy_groups(table)] == [4, 4, 2]
