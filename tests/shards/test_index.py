"""The index: every request of a range, as it was written, whatever it was written in."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.document import Range
from tasks.batch.paths import index_object
from tasks.bedrock.names import record_id
from tasks.errors import AccountingError, PipelineError
from tasks.shards.index import (
    INDEX_ROWS,
    INDEX_SCHEMA,
    Index,
    IndexRow,
    read_index,
    record_ids,
    records_per_request,
    requests_of,
)
from tasks.support.columns import Offsets
from tests.builders import REF, range_of
from tests.fakes import Cloud


def opened(index: Index) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(index.finish()))


def rows(index: pq.ParquetFile) -> list[IndexRow]:
    return [row for group in requests_of(index) for row in group]


def numbers(*values: int) -> Offsets:
    return np.array(values, dtype=np.int64)


def test_runs_and_single_rows_of_all_kinds() -> None:
    made = Index()
    made.start_file(0)
    made.extend(numbers(0, 1), pa.array(["a", "b"]), numbers(1, 2), "00000", b"c")
    made.add(2, "c", 4, shard="00000", choice=0)
    made.add(2, "c", 4, shard="00000", choice=1, context=b"x")
    made.start_file(1)
    made.add(3, None, 1, error=b"{}")
    made.extend(numbers(4), pa.array(["ü"]), numbers(2), "00000-1")
    index = opened(made)
    assert index.schema_arrow.equals(INDEX_SCHEMA)
    assert rows(index) == [
        IndexRow(0, "a", 0, 1, 0, "r000000000", "00000", b"c", None),
        IndexRow(1, "b", 0, 2, 0, "r000000001", "00000", b"c", None),
        IndexRow(2, "c", 0, 4, 0, "r000000002", "00000", None, None),
        IndexRow(2, "c", 0, 4, 1, "r000000002c0001", "00000", b"x", None),
        IndexRow(3, None, 1, 1, 0, None, None, None, b"{}"),
        IndexRow(4, "ü", 1, 2, 0, "r000000004", "00000-1", None, None),
    ]


def test_requests_of_two_files_that_stand_on_the_same_line_are_two() -> None:
    made = Index()
    for file in range(2):
        made.start_file(file)
        made.add(file, "a", 1, shard="00000")
    assert [[(row.request, row.file) for row in group] for group in requests_of(opened(made))] == [[(0, 0)], [(1, 1)]]


def test_an_empty_one() -> None:
    index = opened(Index())
    assert index.metadata.num_rows == 0
    assert list(requests_of(index)) == []


def test_requests_stay_together_over_the_blocks_that_are_written_and_read() -> None:
    made = Index()
    for request in range(INDEX_ROWS - 1):
        made.add(request, f"id-{request}", request + 1, shard="00000")
    for choice in range(3):
        made.add(INDEX_ROWS - 1, "several", INDEX_ROWS, shard="00000", choice=choice)
    index = opened(made)
    assert index.metadata.num_rows == INDEX_ROWS + 2
    assert index.metadata.num_row_groups == 2
    groups = list(requests_of(index))
    assert len(groups) == INDEX_ROWS
    assert [row.choice for row in groups[-1]] == [0, 1, 2]
    assert groups[0] == [IndexRow(0, "id-0", 0, 1, 0, "r000000000", "00000", None, None)]


def test_a_request_takes_about_a_byte() -> None:
    made = Index()
    for request in range(8192):
        made.add(request, f"request-{request:06d}", request + 1, shard="00000", context=b'{"model":"a","n":1}')
    assert len(made.finish()) < 8192


@pytest.mark.parametrize("first", [0, 7, 99_999_998, 999_999_990])
def test_ids_of_records_are_the_same_one_by_one_and_together(first: int) -> None:
    requests = np.arange(first, first + 10, dtype=np.int64)
    assert record_ids(requests).to_pylist() == [record_id(int(request)) for request in requests]


def put(cloud: Cloud, range_: Range, *requests: int) -> None:
    made = Index()
    for request in requests:
        made.add(request, "a", 1, shard="00000")
    cloud.s3.put(index_object(REF, range_).key, made.finish())


def test_it_is_read_where_the_range_says_it_was_written(cloud: Cloud) -> None:
    range_ = range_of(1, 2, first=5, epoch=3)
    put(cloud, range_, 5, 6, 6)
    assert cloud.s3.keys() == [REF.uri("index", "epoch-3", "part-00001.parquet").key]
    index = read_index(REF, range_)
    assert [row.request for row in rows(index)] == [5, 6, 6]
    assert records_per_request(index, range_).tolist() == [1, 2]


def test_one_that_is_gone_is_named(cloud: Cloud) -> None:
    with pytest.raises(PipelineError, match=r"reading s3://bucket/prefix/.*/index/part-00000\.parquet"):
        read_index(REF, range_of())


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ((5, 7), "lacks 1 of 3 requests"),
        ((5, 6), "lacks 1 of 3 requests"),
        ((6, 7), "lacks 1 of 3 requests"),
        ((), "lacks 3 of 3 requests"),
        ((4, 5, 6, 7), "holds requests of another range"),
        ((5, 6, 7, 8), "holds requests of another range"),
    ],
)
def test_one_that_does_not_fit_the_range_is_refused(cloud: Cloud, requests: tuple[int, ...], message: str) -> None:
    range_ = range_of(2, 3, first=5)
    put(cloud, range_, *requests)
    with pytest.raises(AccountingError, match=f"The index of part-00002 {message}"):
        records_per_request(read_index(REF, range_), range_)
