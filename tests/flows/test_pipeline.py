"""The order of stages: who has lost the lease goes on to none."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL

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


# Several ranges, side by side


class Mapped:
    """A task that is mapped: what it was given, and in which surroundings."""

    def __init__(self) -> None:
        self.given: tuple[Any, ...] = ()
        self.shared: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.calls: list[Any] = []

    def __call__(self, ref: Any, given: Any, range_: Any, **shared: Any) -> int:
        self.calls.append((ref, given, range_.index, shared, pipeline._TURN.locked()))
        return int(range_.index)

    def map(self, *given: Any, **shared: Any) -> Any:
        main = sys.modules["__main__"]
        self.given, self.shared = given, shared
        self.found = {
            "main": main.__spec__,
            "server": PREFECT_API_URL.value(),
            "turn": pipeline._TURN.locked(),
        }
        futures = [SimpleNamespace(wait=lambda n=n: self.calls.append(n)) for n in range(len(given[2]))]
        return _Futures(futures)


class _Futures(list[Any]):
    def result(self) -> list[str]:
        return ["of 0", "of 1"]


class _Bar:
    def __init__(self) -> None:
        self.told: list[Any] = []

    @contextlib.contextmanager
    def stage(self, *given: Any, **named: Any) -> Iterator["_Bar"]:
        self.told.append((given, named))
        yield self

    def advance(self, amount: int) -> None:
        self.told.append(amount)


RANGES = [range_of(0, requests=70), range_of(1, requests=30)]


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> _Bar:
    made = _Bar()
    monkeypatch.setattr(pipeline, "stage", made.stage)
    return made


@pytest.mark.parametrize(("ranges", "within"), [(RANGES, False), (RANGES[:1], True), ([], True)])
def test_one_range_or_no_flow_needs_no_workers(
    monkeypatch: pytest.MonkeyPatch, bar: _Bar, ranges: list[Any], within: bool
) -> None:
    monkeypatch.setattr(FlowRunContext, "get", lambda: object() if within else None)
    task = Mapped()
    assert pipeline.over_ranges("reading", task, ranges, REF, "document", outputs=5) == [r.index for r in ranges]  # type: ignore[arg-type]
    # One batch of a process at a time: each takes a core.
    assert task.calls == [(REF, "document", r.index, {"outputs": 5}, True) for r in ranges]
    assert not pipeline._TURN.locked()
    assert bar.told == [(("reading", sum(r.requests for r in ranges)), {})]


def test_several_ranges_are_mapped(monkeypatch: pytest.MonkeyPatch, bar: _Bar) -> None:
    client = contextlib.nullcontext(SimpleNamespace(api_url="http://server/api/"))
    monkeypatch.setattr(FlowRunContext, "get", object)
    monkeypatch.setattr(pipeline, "get_client", lambda sync_client: client)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", "spec")
    task = Mapped()
    found = pipeline.over_ranges("converting", task, RANGES, REF, "document", outputs=[5, 6])  # type: ignore[arg-type]
    assert found == ["of 0", "of 1"]
    ref, given, ranges = task.given
    assert (ref.value, given.value, ranges) == (REF, "document", RANGES)
    assert {name: value.value for name, value in task.shared.items()} == {"outputs": [5, 6]}
    # Workers import no main module, and know the server.
    assert task.found == {"main": None, "server": "http://server/api/", "turn": True}
    assert sys.modules["__main__"].__spec__ == "spec"
    assert not pipeline._TURN.locked()
    # Each is waited for in its turn; what workers count themselves is counted once.
    assert task.calls == [0, 1]
    assert bar.told == [(("converting", 100), {"inside": False}), 70, 30]


def test_the_end_of_a_batch_is_reported_and_tidied_with_what_was_read(
    cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the input's order, whichever range was settled first."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(pipeline, "report", lambda ref, done, results: given.update(report=results))
    monkeypatch.setattr(pipeline, "tidy", lambda ref, done: given.update(tidy=done.id))
    ranges = [range_of(0), range_of(1, first=100), range_of(2, first=200)]
    times: list[int] = []

    def normalize(_ref: Any, _document: Any, range_: Any, **_: Any) -> RangeResult:
        times.append(range_.index)
        left = [Remainder("00000", 1, 1, "InvokeModel")] if times == [0] else []
        return RangeResult(range_.index, again=left)

    monkeypatch.setattr(pipeline, "normalize", normalize)
    ends = document([shard()], section={"ranges": ranges})
    monkeypatch.setattr(pipeline, "begin_finalizing", lambda ref: ends)
    drive(held(cloud, section={"ranges": ranges}).ref)
    assert times == [0, 1, 2, 0]
    assert [result.range for result in given["report"]] == [0, 1, 2]
    assert given["tidy"] == ends.id


def test_what_was_converted_is_uploaded_in_the_inputs_order(
    cloud: Cloud, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: a batch whose shards are settled is not converted again."""
    given: list[Any] = []

    def upload(_ref: Any, _document: Any, converted: list[Any]) -> Any:
        given.append(converted)
        return document([shard()])

    monkeypatch.setattr(pipeline, "convert", lambda ref, found, range_: f"range {range_.index}")
    monkeypatch.setattr(pipeline, "upload", upload)
    mine = held(cloud)
    ranges = [range_of(0), range_of(1, first=100), range_of(2, first=200)]
    store(cloud, document(None, holder=mine.id, section={"ranges": ranges}))
    drive(mine.ref)
    assert given == [["range 0", "range 1", "range 2"]]
    store(cloud, document([shard()], holder=mine.id, section={"ranges": ranges}))
    drive(mine.ref)
    assert len(given) == 1
