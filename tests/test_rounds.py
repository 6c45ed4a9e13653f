"""Rounds: what is asked again, and in how many objects."""

import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, Origin, Shard
from tasks.batch.paths import shard_object
from tasks.bedrock.limits import Limits
from tasks.bedrock.names import record_id
from tasks.rounds import begin_round, start_round
from tasks.shards.gather import Remainder, gather, merge, write_remainders
from tests.builders import HELD, REF, document, job, put_shard, range_of, records, shard, store, stored
from tests.fakes import Cloud

SMALL = Limits(min_records_per_job=10, max_records_per_job=100)
LIMITS = Limits(max_records_per_job=100, max_bytes_per_file=1000)


def piece(records: int, size: int, **fields: Any) -> Remainder:
    given: dict[str, Any] = {"shard": "00000", "range": 0, "invocation": "InvokeModel", "uri": "s3://b/k", **fields}
    return Remainder(records=records, bytes=size, **given)


@pytest.mark.parametrize(
    ("pieces", "groups"),
    [
        ([], []),
        ([(60, 10), (40, 10)], [2]),
        ([(60, 10), (41, 10)], [1, 1]),
        ([(1, 500), (1, 500)], [2]),
        ([(1, 500), (1, 501)], [1, 1]),
        ([(50, 1)] * 5, [2, 2, 1]),
        ([(1, 400)] * 5, [2, 2, 1]),
        ([(100, 1000), (100, 1000)], [1, 1]),
        ([(101, 1001), (1, 1)], [1, 1]),
    ],
)
def test_groups_fit_the_limits(pieces: list[tuple[int, int]], groups: list[int]) -> None:
    found = list(gather([piece(*each) for each in pieces], LIMITS))
    assert [len(group) for group in found] == groups
    assert [(p.records, p.bytes) for group in found for p in group] == pieces, "all of them, in their order"


def asked(cloud: Cloud, count: int = 50, **fields: Any) -> tuple[BatchDocument, Shard]:
    first = put_shard(
        cloud, shard(jobs=[job("Completed")], done=True), [*records(range(count)), *records([999999], "Pad")]
    )
    first.records = count
    return store(cloud, document([first], holder="me", limits=SMALL, **fields)), first


def ids(numbers: range) -> set[bytes]:
    return {record_id(number).encode() for number in numbers}


@pytest.mark.parametrize(("numbers", "folder"), [(range(3, 9), "again"), (range(3, 23), "input")])
def test_what_is_left_is_copied(cloud: Cloud, numbers: range, folder: str) -> None:
    """Too few for a job stay out of the folder that jobs read."""
    batch, _ = asked(cloud)
    (left,) = write_remainders(HELD, batch, range_of(), {"00000": ids(numbers)})
    assert left.uri == str(REF.uri(folder, "part-00000-r2.jsonl"))
    object_ = cloud.s3.objects[REF.uri(folder, "part-00000-r2.jsonl").key]
    assert object_.body == b"".join(records(numbers))
    assert (left.records, left.bytes, left.etag) == (len(numbers), len(object_.body), object_.etag)


def test_the_whole_of_a_shard_is_another_job_over_the_same_object(cloud: Cloud) -> None:
    batch, first = asked(cloud)
    first.retry = True
    store(cloud, batch)
    before = dict(cloud.s3.objects)
    pieces = write_remainders(HELD, batch, range_of(), {"00000": ids(range(50))})
    assert [each.uri for each in pieces] == [None]
    after = start_round(HELD, batch, pieces)
    (again,) = after.bedrock.shards or []
    assert (again.done, again.round, again.etag, after.bedrock.round) == (False, 2, first.etag, 2)
    assert not again.retry, "if this job fails, too, the call does not ask again"
    assert cloud.s3.keys(REF.uri("input").key) == [key for key in before if "/input/" in key]


def test_a_round_begins_once(cloud: Cloud) -> None:
    """The task is repeated after its work: what it gathered from is gone, and what it wrote is settled."""
    batch, _ = asked(cloud)
    pieces = write_remainders(HELD, batch, range_of(), {"00000": ids(range(3, 9))})
    after = start_round(HELD, batch, pieces)
    assert after == stored()
    _, second = after.bedrock.shards or []
    assert (second.route, second.records, second.round, second.ranges) == ("on_demand", 6, 2, [0])
    assert [(origin.range, origin.shard) for origin in second.origins] == [(0, "00000")]
    assert not cloud.s3.keys(REF.uri("again").key)
    objects = dict(cloud.s3.objects)
    assert start_round(HELD, batch, pieces) == after
    assert cloud.s3.objects == objects


def test_a_round_is_announced(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = SimpleNamespace(warning=lambda text, *given: said.append(text % given))
    monkeypatch.setattr("tasks.rounds.run_log", lambda: log)
    for numbers, asked_how in ((range(3, 9), "0 jobs, 6 calls on demand"), (range(20), "1 job, 0 calls on demand")):
        batch, _ = asked(cloud)
        begin_round.fn(HELD, batch, write_remainders(HELD, batch, range_of(), {"00000": ids(numbers)}))
        assert said.pop() == (
            f"{len(numbers)} records were throttled, expired, missing or hit a fault of the service; "
            f"round 2 of {batch.bedrock.last_round} asks again: {asked_how}"
        )


def test_of_two_that_begin_a_round_at_once_the_first_counts(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = asked(cloud)
    pieces = write_remainders(HELD, batch, range_of(), {"00000": ids(range(3, 23))})
    before = stored()
    after = start_round(HELD, batch, pieces)
    # The other has looked before the first noted its round.
    monkeypatch.setattr("tasks.rounds.store.read", lambda ref: before)
    assert start_round(HELD, batch, pieces) == after == stored()


def test_the_window_of_a_round_begins_with_it(cloud: Cloud) -> None:
    batch, _ = asked(cloud, completion_window="2d", expires_at=1)
    began = int(time.time())
    after = start_round(HELD, batch, write_remainders(HELD, batch, range_of(), {"00000": ids(range(3, 23))}))
    assert began + 48 * 3600 <= (after.expires_at or 0) <= int(time.time()) + 48 * 3600


@pytest.mark.parametrize(("records_", "id", "route"), [(9, "r2-00000", "on_demand"), (10, "00000-r2", "batch")])
def test_what_is_enough_for_a_job_is_one_as_it_is(cloud: Cloud, records_: int, id: str, route: Any) -> None:
    batch, _ = asked(cloud)
    pieces = write_remainders(HELD, batch, range_of(), {"00000": ids(range(3, 3 + records_))})
    _, second = start_round(HELD, batch, pieces).bedrock.shards or []
    written = cloud.s3.objects[shard_object(REF, id).key]
    assert second == Shard(
        id=id,
        epoch=1,
        ranges=[0],
        round=2,
        origins=[Origin(range=0, shard="00000")],
        invocation="InvokeModel",
        records=records_,
        bytes=len(written.body),
        etag=written.etag,
        route=route,
    )


@pytest.mark.parametrize(
    ("below_minimum", "route", "padding"),
    [("on_demand", "on_demand", 0), ("pad", "batch", 7), ("fail", "on_demand", 0)],
)
def test_few_records_are_padded_where_that_was_chosen(
    cloud: Cloud, below_minimum: str, route: str, padding: int
) -> None:
    batch, _ = asked(cloud, options={"below_minimum": below_minimum})
    pieces = write_remainders(HELD, batch, range_of(), {"00000": ids(range(3))})
    made = merge(HELD, batch, pieces, "InvokeModel", "r2-00000", 2)
    assert (made.route, made.records, made.padding) == (route, 3, padding)
    lines = cloud.s3.objects[shard_object(REF, "r2-00000").key].body.splitlines(keepends=True)
    assert lines[:3] == records(range(3))
    assert len(lines) == 3 + padding
    assert all(line.startswith(b'{"recordId":"pad') for line in lines[3:])
    assert made.bytes == sum(map(len, lines))


def test_records_of_other_kinds_are_not_mixed(cloud: Cloud) -> None:
    batch, _ = asked(cloud)
    pieces = []
    for number, invocation in enumerate(("Converse", "InvokeModel", "Converse")):
        key = f"again/part-{number}.jsonl"
        object_ = cloud.s3.put(REF.uri(*key.split("/")).key, records([number])[0])
        pieces.append(
            piece(
                1,
                len(object_.body),
                invocation=invocation,
                range=number,
                uri=str(REF.uri(*key.split("/"))),
                etag=object_.etag,
            )
        )
    _, *made = start_round(HELD, batch, pieces).bedrock.shards or []
    assert [(each.invocation, each.records, each.ranges) for each in made] == [
        ("Converse", 2, [0, 2]),
        ("InvokeModel", 1, [1]),
    ]


def test_an_immediate_batch_stays_on_demand(cloud: Cloud) -> None:
    batch, _ = asked(cloud, completion_window="immediate", expires_at=None)
    after = start_round(HELD, batch, write_remainders(HELD, batch, range_of(), {"00000": ids(range(50))}))
    assert [each.route for each in after.bedrock.shards or []] == ["batch", "on_demand"]
    assert after.expires_at is None


def test_a_round_is_of_the_epoch_that_writes_it(cloud: Cloud) -> None:
    later = msgspec.structs.replace(HELD, epoch=2)
    batch, _ = asked(cloud, epoch=2)
    pieces = write_remainders(later, batch, range_of(), {"00000": ids(range(20))})
    first, second = start_round(later, batch, pieces).bedrock.shards or []
    assert (first.epoch, second.epoch) == (1, 2)
    assert shard_object(REF, second.id, second.epoch).key in cloud.s3.objects


def test_pieces_of_a_kind_are_gathered_over_all_ranges(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other they would be too few for a job, and asked at the full price."""
    made: list[tuple[str, list[int]]] = []

    def merged(_ref: Any, _document: Any, pieces: list[Remainder], kind: str, name: str, _number: int) -> Shard:
        made.append((kind, [each.range for each in pieces]))
        return shard(name, round=2)

    monkeypatch.setattr("tasks.rounds.merge", merged)
    batch, _ = asked(cloud)
    start_round(HELD, batch, [piece(5, 10, range=r, invocation=i) for r in (1, 0) for i in ("InvokeModel", "Converse")])
    assert made == [("Converse", [0, 1]), ("InvokeModel", [0, 1])]
