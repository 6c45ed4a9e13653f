"""Records into objects: cut between requests, within the limits, padded or asked on demand where they are few."""

from typing import Any

import msgspec
import numpy as np
import pytest

from tasks.batch.document import Shard
from tasks.bedrock.limits import Limits
from tasks.shards.writer import ShardWriter, padding_record
from tests.builders import HELD, document, range_of
from tests.fakes import Cloud

LIMITS = Limits(min_records_per_job=2, max_records_per_job=3, max_bytes_per_file=100)
KEYED = msgspec.structs.replace(HELD, kms_key="key", epoch=4)


def writer(suffix: str = "", **fields: Any) -> ShardWriter:
    return ShardWriter(KEYED, range_of(7), document(**{"limits": LIMITS, **fields}), b"{}", "Converse", suffix)


def body(cloud: Cloud, name: str) -> bytes:
    return cloud.s3.objects[KEYED.uri("input", "epoch-4", name).key].body


def test_as_many_objects_as_the_limits_ask_for(cloud: Cloud) -> None:
    out = writer()
    for data in (b"a\n", b"b\n", b"c\n", b"d\n", b"e\n"):
        out.add(1, data)
    out.close()
    first, second = out.shards
    assert (body(cloud, "part-00007.jsonl"), body(cloud, "part-00007-1.jsonl")) == (b"a\nb\nc\n", b"d\ne\n")
    assert first == Shard(
        id="00007",
        epoch=4,
        ranges=[7],
        invocation="Converse",
        records=3,
        bytes=6,
        etag=cloud.s3.objects[KEYED.uri("input", "epoch-4", "part-00007.jsonl").key].etag,
    )
    assert (second.id, second.records, second.bytes, second.route) == ("00007-1", 2, 4, "batch")
    assert cloud.s3.objects[KEYED.uri("input", "epoch-4", "part-00007.jsonl").key].options["SSEKMSKeyId"] == "key"


def test_shards_of_another_kind_have_a_suffix(cloud: Cloud) -> None:
    out = writer("c")
    assert out.current == "00007c"
    out.add(1, b"a\n")
    assert out.current == "00007c"
    out.close()
    assert out.current == "00007c-1"


def test_a_request_is_never_cut(cloud: Cloud) -> None:
    out = writer()
    out.add(2, b"a\nb\n")
    out.add(2, b"c\nd\n")
    out.close()
    assert [shard.records for shard in out.shards] == [2, 2]
    # More than an object holds is one of its own.
    out.add(5, b"x" * 200)
    assert not out.fits(1, 1)
    out.add(1, b"y")
    out.close()
    assert [shard.records for shard in out.shards] == [2, 2, 5, 1]


def test_an_object_is_cut_by_its_bytes_in_all(cloud: Cloud) -> None:
    out = writer()
    for _ in range(3):
        out.add(1, b"x" * 40)
    out.close()
    assert [(shard.records, shard.bytes) for shard in out.shards] == [(2, 80), (1, 40)]


@pytest.mark.parametrize(
    ("records", "size", "fits"), [(2, 90, True), (3, 1, False), (1, 91, False), (2, 91, False), (0, 0, True)]
)
def test_what_fits(cloud: Cloud, records: int, size: int, fits: bool) -> None:
    out = writer()
    out.add(1, b"x" * 10)
    assert out.fits(records, size) is fits


@pytest.mark.parametrize(
    ("sizes", "room"), [([30, 30, 30], 2), ([90], 1), ([91], 0), ([60, 31, 1], 1), ([60, 30, 1], 2), ([], 0)]
)
def test_room_for_the_next_records(cloud: Cloud, sizes: list[int], room: int) -> None:
    out = writer()
    out.add(1, b"x" * 10)
    assert out.room(np.array(sizes, dtype=np.int64)) == room


@pytest.mark.parametrize(
    ("fields", "records", "padding", "route"),
    [
        ({}, 1, 0, "on_demand"),
        ({}, 2, 0, "batch"),
        ({"options": {"below_minimum": "pad"}}, 1, 1, "batch"),
        ({"options": {"below_minimum": "pad"}}, 2, 0, "batch"),
        ({"options": {"below_minimum": "fail"}}, 1, 0, "on_demand"),
        ({"completion_window": "immediate"}, 2, 0, "on_demand"),
        ({"completion_window": "immediate", "options": {"below_minimum": "pad"}}, 1, 0, "on_demand"),
    ],
)
def test_fewer_than_a_job_takes(cloud: Cloud, fields: dict[str, Any], records: int, padding: int, route: str) -> None:
    out = writer(**fields)
    out.add(records, b"a\n" * records)
    out.close()
    (shard,) = out.shards
    assert (shard.records, shard.padding, shard.route) == (records, padding, route)
    padded = b'{"recordId":"pad000000000","modelInput":{}}\n' * padding
    assert body(cloud, "part-00007.jsonl") == b"a\n" * records + padded
    assert shard.bytes == len(body(cloud, "part-00007.jsonl"))


def test_nothing_written_is_no_object(cloud: Cloud) -> None:
    out = writer()
    out.close()
    out.abort()
    assert out.shards == []
    assert not cloud.s3.calls


def test_what_is_given_up_leaves_nothing(cloud: Cloud) -> None:
    out = writer(limits=Limits())
    out.add(1, b"x" * (20 << 20))
    assert cloud.s3.uploads
    out.abort()
    assert (cloud.s3.keys(), cloud.s3.uploads, out.shards) == ([], {}, [])


def test_padding() -> None:
    assert padding_record(12, b'{"a":1}') == b'{"recordId":"pad000000012","modelInput":{"a":1}}\n'
