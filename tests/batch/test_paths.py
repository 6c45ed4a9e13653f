"""Where the objects of a batch lie. Batches of every version are read by these names: they are for ever."""

import msgspec
import pytest

from tasks.batch.paths import (
    BatchRef,
    answers_folder,
    epoch_of,
    heartbeat,
    index_object,
    jobs_folder,
    layout_object,
    lost_folder,
    open_folder,
    result_piece,
    runs_folder,
    shard_object,
)
from tasks.storage.uris import S3Uri
from tests.builders import range_of, shard

REF = BatchRef(S3Uri("b", "p/q"), "batch_1", epoch=1)
LATER = msgspec.structs.replace(REF, epoch=3)
FOLDER = "s3://b/p/q/batches/batch_1"


def test_names_of_the_first_epoch() -> None:
    """They have no epoch: batches of before there were any have them."""
    assert [
        str(uri)
        for uri in (
            REF.folder,
            REF.document,
            shard_object(REF, "00007-1"),
            index_object(REF, range_of(7)),
            layout_object(REF, range_of(7)),
            result_piece(REF, range_of(7), "output.jsonl"),
            answers_folder(REF, shard("00007")),
            lost_folder(REF),
            REF.own("output.jsonl"),
            heartbeat(REF),
            jobs_folder(REF),
            open_folder(REF.root),
            runs_folder(REF.root),
        )
    ] == [
        FOLDER,
        f"{FOLDER}/batch.json",
        f"{FOLDER}/input/part-00007-1.jsonl",
        f"{FOLDER}/index/part-00007.parquet",
        f"{FOLDER}/layout/part-00007.msgpack",
        f"{FOLDER}/results/part-00007.output.jsonl",
        f"{FOLDER}/bedrock/on-demand/part-00007",
        f"{FOLDER}/bedrock/on-demand-lost",
        f"{FOLDER}/output.jsonl",
        f"{FOLDER}/heartbeat.json",
        f"{FOLDER}/bedrock",
        "s3://b/p/q/open",
        "s3://b/p/q/runs",
    ]


def test_a_later_runner_writes_in_folders_of_its_own() -> None:
    assert [
        str(uri)
        for uri in (
            shard_object(LATER, "00000"),
            result_piece(LATER, range_of(0), "output.jsonl"),
            LATER.own("output.jsonl"),
        )
    ] == [
        f"{FOLDER}/input/epoch-3/part-00000.jsonl",
        f"{FOLDER}/results/epoch-3/part-00000.output.jsonl",
        f"{FOLDER}/epoch-3/output.jsonl",
    ]


def test_and_reads_what_others_wrote_where_they_wrote_it() -> None:
    """A shard's epoch, and a range's, are of whoever wrote them, not of the reader."""
    assert str(shard_object(LATER, "00000", 1)) == f"{FOLDER}/input/part-00000.jsonl"
    assert str(shard_object(LATER, "00000", 2)) == f"{FOLDER}/input/epoch-2/part-00000.jsonl"
    for each in (REF, LATER):
        assert str(index_object(each, range_of(0, epoch=2))) == f"{FOLDER}/index/epoch-2/part-00000.parquet"
        assert str(layout_object(each, range_of(0, epoch=2))) == f"{FOLDER}/layout/epoch-2/part-00000.msgpack"
        assert str(index_object(each, range_of(0))) == f"{FOLDER}/index/part-00000.parquet"


def test_what_is_paid_for_by_the_call_and_what_one_looks_for_has_no_epoch() -> None:
    """Answers on demand count whoever got them; batch.json is one."""
    assert answers_folder(LATER, shard()) == answers_folder(REF, shard())
    assert lost_folder(LATER) == lost_folder(REF)
    assert LATER.document == REF.document


@pytest.mark.parametrize(
    ("key", "epoch"),
    [
        ("p/batches/batch_1/input/part-00000.jsonl", 1),
        ("p/batches/batch_1/input/epoch-2/part-00000.jsonl", 2),
        ("p/batches/batch_1/epoch-12/output.jsonl", 12),
        ("p/batches/batch_1/input/epoch-2", 1),
        ("p/epochs/epoch-x/part-epoch-3.jsonl", 1),
    ],
)
def test_the_epoch_of_a_key(key: str, epoch: int) -> None:
    assert epoch_of(key) == epoch


def test_a_bucket_without_a_prefix() -> None:
    ref = BatchRef(S3Uri("b", ""), "batch_1")
    assert str(ref.document) == "s3://b/batches/batch_1/batch.json"
