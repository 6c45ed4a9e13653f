"""The order of stages: who has lost the lease goes on to none."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from flows import pipeline
from flows.pipeline import drive
from tasks.batch import lease
from tasks.batch.document import LeaseState
from tasks.batch.jobs import Progress
from tasks.batch.lease import Lease
from tasks.errors import LostLeaseError
from tasks.results.totals import RangeResult
from tasks.shards.gather import Remainder
from tests.builders import REF, document, range_of, shard, store
from tests.fakes import Cloud

pytestmark = pytest.mark.usefixtures("without_prefect")


STAGES = ["convert", "upload", "look_once", "submit", "answer_on_demand", "poll", "begin_round"]
END = ["fetch", "normalize", "begin_finalizing", "assemble", "report", "tidy"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that were called, none of which does anything; jobs are open at the first look."""
    names: list[str] = []
    looks = iter([Progress(0, 1), *[Progress(0, 0)] * 5])

    def stand_in(name: str) -> Callable[..., Any]:
        def call(ref: Any, given: Any = None, range_: Any = None, *_: Any, **__: Any) -> Any:
            names.append(name)
            if name == "submit":
                return next(looks)
            if name == "normalize":
                return RangeResult(range_.index)
            return {} if name == "fetch" else given or document([shard(done=True)])

        return call

    for name in [*STAGES, *END]:
        monkeypatch.setattr(pipeline, name, stand_in(name))
    monkeypatch.setattr(lease, "_living", set())
    monkeypatch.setattr(lease, "_held", {})
    monkeypatch.setattr(Lease, "_renew", lambda self: None)
    return names


def held(cloud: Cloud, **fields: Any) -> Lease:
    store(cloud, document([shard()], **fields))
    mine = Lease(REF)
    assert mine.take()
    return mine


def test_the_stages_of_a_batch_that_runs(cloud: Cloud, called: list[str]) -> None:
    drive(held(cloud).ref)
    assert called == ["submit", "poll", "submit", *END]


def test_a_lost_lease_ends_before_what_was_answered_is_fetched(
    cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out by the heartbeat while the jobs were polled: its successor fetches and writes."""
    mine = held(cloud)

    def poll(*_: Any) -> None:
        called.append("poll")
        mine.lost = True

    monkeypatch.setattr(pipeline, "poll", poll)
    with pytest.raises(LostLeaseError):
        drive(mine.ref)
    assert called == ["submit", "poll", "submit"]


def test_also_where_nobody_has_noticed_yet(cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """batch.json is read before the stages of the end, and names another."""
    mine = held(cloud)
    taken = document([shard()])
    taken.bedrock.lease = LeaseState(epoch=2, holder="other")

    def poll(*_: Any) -> None:
        called.append("poll")
        store(cloud, taken)

    monkeypatch.setattr(pipeline, "poll", poll)
    with pytest.raises(LostLeaseError):
        drive(mine.ref)
    assert called == ["submit", "poll", "submit"]


def test_without_waiting_it_looks_once_and_leaves(cloud: Cloud, called: list[str]) -> None:
    assert drive(held(cloud).ref, wait=False).status == "in_progress"
    assert called == ["look_once", "submit"]


def test_a_range_is_settled_once(cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In another round, only ranges that asked again are read."""
    read: list[int] = []

    def normalize(_ref: Any, _document: Any, range_: Any, **_: Any) -> RangeResult:
        read.append(range_.index)
        left = [Remainder("00000", 1, 1, "InvokeModel")] if read == [0, 1] else []
        return RangeResult(range_.index, again=left)

    monkeypatch.setattr(pipeline, "normalize", normalize)
    drive(held(cloud, section={"ranges": [range_of(0), range_of(1, first=100)]}).ref)
    assert read == [0, 1, 1]
    assert called.count("begin_round") == 1


def test_what_a_stage_is_given(cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval that was asked for, the warnings of what was fetched, and place, key and account of the copies."""
    polled: list[Any] = []
    said: list[list[str]] = []
    published: list[tuple[Any, ...]] = []

    def assemble(_ref: Any, given: Any, _results: Any, warnings: list[str]) -> Any:
        said.append(warnings)
        return given

    monkeypatch.setattr(pipeline, "poll", lambda ref, seconds: polled.append(seconds))
    monkeypatch.setattr(pipeline, "assemble", assemble)

    def publish(_ref: Any, given: Any, *to: Any) -> Any:
        published.append(to)
        return given

    monkeypatch.setattr(pipeline, "publish_results", publish)
    options = {"output_location": "s3://out/x", "output_kms_key": "arn:key/1", "output_owner": "123456789012"}
    ends = document([shard()], options=options)
    outputs = {"00000": SimpleNamespace(warnings=["a", "b"]), "00001": SimpleNamespace(warnings=["c"])}
    monkeypatch.setattr(pipeline, "fetch", lambda *_: outputs)
    monkeypatch.setattr(pipeline, "begin_finalizing", lambda ref: ends)
    drive(held(cloud).ref, poll_seconds=0.25)
    assert polled == [0.25]
    assert said == [["a", "b", "c"]]
    assert published == [("s3://out/x", "arn:key/1", "123456789012")]


def test_what_was_answered_on_demand_is_not_asked_again(cloud: Cloud, called: list[str]) -> None:
    mine = held(cloud)
    store(cloud, document([shard(route="on_demand", done=True)], holder=mine.id))
    drive(mine.ref)
    assert "answer_on_demand" not in called
    called.clear()
    store(cloud, document([shard(route="on_demand")], holder=mine.id))
    drive(mine.ref)
    assert called.count("answer_on_demand") == 1
