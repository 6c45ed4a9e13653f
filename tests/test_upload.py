"""Settling the shards: nothing that is not ours is submitted, and what is settled is never made again."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, Shard
from tasks.bedrock.limits import Limits
from tasks.errors import BatchFailedError, LostLeaseError, PipelineError
from tasks.shards.writer import Converted
from tasks.upload import commit_shards, upload
from tests.builders import HELD, REF, document, put_shard, range_of, records, shard, store, stored
from tests.fakes import Cloud

SMALL = Limits(min_records_per_job=10, max_records_per_job=100)


def opened(cloud: Cloud, **fields: Any) -> BatchDocument:
    ranges = [range_of(0, 50), range_of(1, 50, 50)]
    return store(cloud, document(holder="me", limits=SMALL, status="validating", section={"ranges": ranges}, **fields))


def uploaded(cloud: Cloud, id: str = "00000", numbers: range = range(50), **fields: Any) -> Shard:
    return put_shard(cloud, shard(id, **fields), records(numbers))


def converted(*shards: Shard, dropped: dict[str, int] | None = None) -> Converted:
    return Converted(shards[0].ranges[0], 50, 0, list(shards), dropped or {})


def test_shards_are_settled(cloud: Cloud) -> None:
    before = opened(cloud)
    first, second = uploaded(cloud), uploaded(cloud, "00001", range(50, 100), ranges=[1])
    after = commit_shards(HELD, before, [converted(first), converted(second)])
    assert after == stored()
    assert after.bedrock.shards == [first, second]
    assert (after.status, after.in_progress_at is not None) == ("in_progress", True)


@pytest.mark.parametrize("change", ["another body", "another body of the same size", "deleted"])
def test_an_object_that_is_not_what_was_uploaded(cloud: Cloud, change: str) -> None:
    """It would be submitted, and paid for."""
    before = opened(cloud)
    first = uploaded(cloud)
    key = REF.uri("input", "part-00000.jsonl").key
    body = cloud.s3.objects.pop(key).body
    if change != "deleted":
        cloud.s3.put(key, body[:-2] + (b"]\n" if change.endswith("size") else b"}}\n"))
    with pytest.raises(PipelineError, match=r"part-00000\.jsonl"):
        commit_shards(HELD, before, [converted(first)])
    assert stored() == before


def test_what_was_uploaded_is_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *given: said.append(text % given), warning=None)
    log.warning = log.info
    monkeypatch.setattr("tasks.upload.run_log", lambda: log)
    sent = [uploaded(cloud), uploaded(cloud, "00001", range(50, 100), ranges=[1])]
    upload.fn(HELD, opened(cloud), [converted(each, dropped={"seed": 2}) for each in sent])
    assert said == [
        f"Uploaded 100 records in 2 shards, {sum(each.bytes for each in sent):,} bytes",
        "Dropped from 4 requests: seed",
    ]


def test_dropped_fields_of_all_ranges_add_up(cloud: Cloud) -> None:
    before = opened(cloud)
    parts = [
        converted(uploaded(cloud), dropped={"seed": 2, "user": 1}),
        converted(uploaded(cloud, "00001", range(50, 100), ranges=[1]), dropped={"seed": 3, "n": 1}),
    ]
    assert commit_shards(HELD, before, parts).bedrock.dropped_fields == {"seed": 5, "user": 1, "n": 1}


def test_the_repeated_task_writes_nothing(cloud: Cloud) -> None:
    """Of shards that were gathered nothing is left to gather from: the settled one must not be written again."""
    before = opened(cloud)
    parts = [
        converted(uploaded(cloud, f"0000{n}", range(n * 6, n * 6 + 6), ranges=[n], route="on_demand")) for n in (0, 1)
    ]
    after = commit_shards(HELD, before, parts)
    writes, objects = cloud.s3.count("PutObject"), dict(cloud.s3.objects)
    assert commit_shards(HELD, before, parts) == after
    assert cloud.s3.count("PutObject") == writes
    assert cloud.s3.objects == objects


def test_what_is_too_little_by_itself_is_gathered(cloud: Cloud) -> None:
    before = opened(cloud)
    parts = [
        converted(uploaded(cloud, f"0000{n}", range(n * 6, n * 6 + 6), ranges=[n], route="on_demand")) for n in (0, 1)
    ]
    after = commit_shards(HELD, before, parts)
    *left, gathered = after.bedrock.shards or []
    assert [(each.route, each.done) for each in left] == [("none", True)] * 2
    assert (gathered.id, gathered.route, gathered.records, gathered.ranges) == ("gathered-00000", "batch", 12, [0, 1])
    assert (gathered.round, [origin.shard for origin in gathered.origins]) == (1, ["00000", "00001"])
    assert cloud.s3.objects[REF.uri("input", "part-gathered-00000.jsonl").key].body == b"".join(records(range(12)))
    assert [each.route for part in parts for each in part.shards] == ["on_demand"] * 2, (
        "the given ones stay as they are"
    )


def test_what_stays_too_little_goes_on_demand_or_fails_the_batch(cloud: Cloud) -> None:
    for minimum in ("on_demand", "fail"):
        before = opened(cloud, options={"below_minimum": minimum})
        part = converted(uploaded(cloud, numbers=range(6), route="on_demand"))
        cloud.s3.put(REF.uri("index", "part-00000.parquet").key, b"x")
        if minimum == "on_demand":
            assert [each.route for each in commit_shards(HELD, before, [part]).bedrock.shards or []] == ["on_demand"]
            continue
        with pytest.raises(BatchFailedError, match="it takes at least 10"):
            commit_shards(HELD, before, [part])
        assert (stored().status, stored().bedrock.shards) == ("failed", None)
        left = [key for folder in ("input", "index") for key in cloud.s3.keys(REF.uri(folder).key)]
        assert (stored().bedrock.ranges, left) == ([], []), "nothing is left lying"


@pytest.mark.parametrize(
    ("numbers", "window", "route"),
    [(10, "24h", "batch"), (6, "immediate", "on_demand"), (10, "immediate", "on_demand")],
)
def test_what_is_enough_or_wanted_on_demand_fails_no_batch(cloud: Cloud, numbers: int, window: str, route: Any) -> None:
    before = opened(cloud, options={"below_minimum": "fail"}, completion_window=window)
    part = converted(uploaded(cloud, numbers=range(numbers), route=route))
    assert [each.route for each in commit_shards(HELD, before, [part]).bedrock.shards or []] == [route]


def test_what_an_interrupted_run_cut_differently_is_deleted(cloud: Cloud) -> None:
    before = opened(cloud)
    uploaded(cloud, "00007")
    cloud.s3.put(REF.uri("index", "part-00007.parquet").key, b"x")
    cloud.s3.put(REF.uri("index", "part-00000.parquet").key, b"x")
    later = REF.uri("input", "epoch-2", "part-00007.jsonl").key
    cloud.s3.put(later, b"x")
    commit_shards(HELD, before, [converted(uploaded(cloud))])
    assert cloud.s3.keys(REF.uri("input").key) == [later, REF.uri("input", "part-00000.jsonl").key]
    assert cloud.s3.keys(REF.uri("index").key) == [REF.uri("index", "part-00000.parquet").key]


def test_who_lost_the_lease_settles_nothing(cloud: Cloud) -> None:
    before = opened(cloud)
    part = converted(uploaded(cloud))
    relieved = document(holder="other", epoch=2)
    cloud.s3.before("HeadObject", lambda: store(cloud, relieved))
    with pytest.raises(LostLeaseError):
        commit_shards(HELD, before, [part])
    assert stored() == relieved


def test_the_last_object_is_looked_at_as_well(cloud: Cloud) -> None:
    before = opened(cloud)
    first, second = uploaded(cloud), uploaded(cloud, "00001", range(50, 100), ranges=[1])
    cloud.s3.put(REF.uri("input", "part-00001.jsonl").key, b"another body")
    with pytest.raises(PipelineError, match=r"part-00001\.jsonl"):
        commit_shards(HELD, before, [converted(first), converted(second)])


@pytest.mark.parametrize(
    ("numbers", "window", "routes"),
    [
        (5, "24h", ["none", "none", "batch"]),
        (4, "24h", ["on_demand"] * 2),
        (6, "immediate", ["on_demand"] * 2),
    ],
)
def test_what_together_is_just_enough_is_gathered_for_a_job_alone(
    cloud: Cloud, numbers: int, window: str, routes: list[str]
) -> None:
    before = opened(cloud, completion_window=window)
    parts = [
        converted(uploaded(cloud, f"0000{n}", range(n * 6, n * 6 + numbers), ranges=[n], route="on_demand"))
        for n in (0, 1)
    ]
    assert [each.route for each in commit_shards(HELD, before, parts).bedrock.shards or []] == routes


def test_too_few_records_have_a_code(cloud: Cloud) -> None:
    before = opened(cloud, options={"below_minimum": "fail"})
    with pytest.raises(BatchFailedError) as caught:
        commit_shards(HELD, before, [converted(uploaded(cloud, numbers=range(6), route="on_demand"))])
    errors = caught.value.batch.errors
    assert errors
    assert [error.code for error in errors.data] == ["below_minimum"]


def test_a_shard_is_looked_for_where_its_epoch_wrote_it(cloud: Cloud) -> None:
    """Whoever verifies it may hold a later lease."""
    before = opened(cloud)
    part = converted(uploaded(cloud))
    later = msgspec.structs.replace(HELD, epoch=2)
    assert [each.id for each in commit_shards(later, before, [part]).bedrock.shards or []] == ["00000"]


def test_a_size_that_differs_is_not_what_was_uploaded(cloud: Cloud) -> None:
    before = opened(cloud)
    first = uploaded(cloud)
    first.bytes += 1000
    with pytest.raises(PipelineError, match=rf"\({first.bytes - 1000:,} bytes for {first.bytes:,}\): somebody else"):
        commit_shards(HELD, before, [converted(first)])


def test_a_batch_that_is_cancelled_meanwhile_stays_so(cloud: Cloud) -> None:
    before = opened(cloud)
    part = converted(uploaded(cloud))
    cloud.s3.before(
        "PutObject", lambda: store(cloud, before.model_copy(update={"status": "cancelling"})), on="batch.json"
    )
    after = commit_shards(HELD, before, [part])
    assert (after.status, after.in_progress_at) == ("cancelling", None)
    assert [each.id for each in after.bedrock.shards or []] == ["00000"]


def test_shards_that_are_settled_meanwhile_stay(cloud: Cloud) -> None:
    """The task is repeated while its first try is on its way."""
    before = opened(cloud)
    part = converted(uploaded(cloud), dropped={"seed": 1})
    settled = before.model_copy(deep=True)
    settled.bedrock.shards = [uploaded(cloud, "other")]
    cloud.s3.before("PutObject", lambda: store(cloud, settled), on="batch.json")
    after = commit_shards(HELD, before, [part])
    assert [each.id for each in after.bedrock.shards or []] == ["other"]
    assert after.bedrock.dropped_fields == {}


def test_what_is_gathered_is_gathered_by_type_of_job(cloud: Cloud) -> None:
    """Each into a shard of its own name, whose pieces it is told apart from; just enough is enough."""
    before = opened(cloud)
    parts = [
        converted(
            uploaded(cloud, f"0000{n}", range(n * 20, n * 20 + 5), ranges=[n], route="on_demand"),
            uploaded(
                cloud,
                f"0000{n}-other",
                range(n * 20 + 5, n * 20 + 10),
                ranges=[n],
                route="on_demand",
                invocation="Converse",
            ),
        )
        for n in (0, 1)
    ]
    *left, converse, invoke = commit_shards(HELD, before, parts).bedrock.shards or []
    assert [(each.route, each.done) for each in left] == [("none", True)] * 4
    assert [(each.id, each.invocation, each.route, each.records) for each in (converse, invoke)] == [
        ("gathered-00000", "Converse", "batch", 10),
        ("gathered-00001", "InvokeModel", "batch", 10),
    ]
    for made, numbers in ((converse, [*range(5, 10), *range(25, 30)]), (invoke, [*range(5), *range(20, 25)])):
        assert cloud.s3.objects[REF.uri("input", f"part-{made.id}.jsonl").key].body == b"".join(records(numbers))


def test_a_piece_that_changed_is_not_gathered(cloud: Cloud) -> None:
    before = opened(cloud)
    parts = [
        converted(uploaded(cloud, f"0000{n}", range(n * 6, n * 6 + 6), ranges=[n], route="on_demand")) for n in (0, 1)
    ]

    def change() -> None:
        cloud.s3.put(REF.uri("input", "part-00001.jsonl").key, b"x" * parts[1].shards[0].bytes)

    cloud.s3.after("HeadObject", change, on="part-00001.jsonl")
    with pytest.raises(PipelineError):
        commit_shards(HELD, before, parts)


def test_what_is_too_little_is_named_with_its_remedy(cloud: Cloud) -> None:
    before = opened(cloud, options={"below_minimum": "fail"})
    part = converted(
        uploaded(cloud), uploaded(cloud, "00000-other", range(50, 56), route="on_demand", invocation="Converse")
    )
    with pytest.raises(BatchFailedError) as caught:
        commit_shards(HELD, before, [part])
    (error,) = caught.value.batch.errors.data if caught.value.batch.errors else []
    assert (error.code, error.message) == (
        "below_minimum",
        'The Converse job would have 6 records; it takes at least 10. Add requests, or choose below_minimum="on_demand" '
        'or "pad".',
    )


@pytest.mark.usefixtures("without_prefect")
def test_what_is_asked_by_others_is_not_counted_twice(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = [
        converted(
            uploaded(cloud, f"0000{n}", range(n * 6, n * 6 + 6), ranges=[n], route="on_demand"), dropped={"seed": 1}
        )
        for n in (0, 1)
    ]
    upload(HELD, opened(cloud), parts)
    assert [(record.levelname, record.getMessage().partition(",")[0]) for record in caplog.records] == [
        ("INFO", "Uploaded 12 records in 1 shard"),
        ("WARNING", "Dropped from 2 requests: seed"),
    ]
