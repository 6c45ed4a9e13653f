"""Watching jobs: how often, until when, and that nothing of a cancelled batch runs on."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError
from prefect.logging import disable_run_logger

from tasks import poll as module
from tasks.batch.document import Shard
from tasks.batch.jobs import Progress, stop_running
from tasks.bedrock.jobs import JobStatus
from tasks.cancel import stop_batch
from tasks.errors import PipelineError
from tasks.poll import describe, interval, look, poll
from tasks.submit import submit_jobs
from tests.builders import HELD, REF, document, job, shard, store, stored
from tests.fakes import Cloud, raising

Sleeps = list[float]
#: Most tests show nothing.
SHOW = module._show


@pytest.fixture
def sleeps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sleeps]:
    """The waits of the poller, each as long as it says on the store's clock; it shows nothing."""
    slept: Sleeps = []

    def sleep(seconds: float) -> None:
        assert len(slept) < 500, "it waits for ever"
        slept.append(seconds)
        cloud.clock.advance(seconds)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=cloud.clock, time=cloud.clock))
    monkeypatch.setattr(module, "_show", lambda *_: None)
    with disable_run_logger():
        yield slept


def in_flight(cloud: Cloud, *ids: str, **fields: Any) -> list[str]:
    """A batch whose shards are all submitted; returns the ARNs."""
    store(cloud, document([shard(id) for id in ids], holder="me", **fields))
    submit_jobs(HELD)
    return list(cloud.bedrock.jobs)


def at(cloud: Cloud, count: int, action: Callable[[], object]) -> None:
    """Have something happen at the n-th look."""
    looks = iter(range(1, 1000))
    cloud.bedrock.before("GetModelInvocationJob", lambda: action() if next(looks) == count else None, times=None)


@pytest.mark.parametrize(
    ("waited", "poll_seconds", "expected"),
    [
        (0, None, 1),
        (5, None, 1),
        (10, None, 1),
        (100, None, 10),
        (599, None, 59.9),
        (600, None, 60),
        (10**6, None, 60),
        (0, 7.0, 7),
        (10**6, 0.05, 0.05),
        (0, 0.0, 0),
    ],
)
def test_the_interval_grows_to_a_minute(waited: float, poll_seconds: float | None, expected: float) -> None:
    assert interval(waited, poll_seconds) == pytest.approx(expected)


def test_it_waits_until_all_jobs_are_over(cloud: Cloud, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []
    monkeypatch.setattr(module, "_show", lambda *given: shown.append(given[-1]))
    arns = in_flight(cloud, "00000", "00001")
    at(cloud, 9, lambda: cloud.bedrock.move(arns[0], "Completed", processedRecordCount=100))
    at(cloud, 20, lambda: cloud.bedrock.move(arns[1], "Expired", message="The job timed out"))
    assert poll.fn(HELD) == Progress(waiting=0, in_flight=0)
    first, second = stored().bedrock.shards or []
    assert [(each.done, each.job and each.job.status) for each in (first, second)] == [
        (True, "Completed"),
        (True, "Expired"),
    ]
    assert second.job
    assert (second.job.message, second.job.ended_at) == ("The job timed out", int(cloud.clock()))
    assert sleeps[0] == 1
    assert sleeps == sorted(sleeps)
    # Also where a job has left records out.
    assert (shown[0], shown[-1], shown.count(100.0)) == (0.0, 100.0, 1)


def test_a_freed_slot_is_used_while_others_run(cloud: Cloud, sleeps: Sleeps) -> None:
    """Three shards, two slots, one job that takes for ever."""
    cloud.bedrock.max_jobs = 2
    arns = in_flight(cloud, "00000", "00001", "00002")
    assert len(arns) == 2
    at(cloud, 5, lambda: cloud.bedrock.move(arns[0], "Completed"))
    assert poll.fn(HELD) == Progress(waiting=1, in_flight=1)
    assert submit_jobs(HELD) == Progress(waiting=0, in_flight=2, submitted=1)


@pytest.mark.parametrize(("poll_seconds", "waited"), [(None, 60), (2.0, 2)])
def test_without_a_slot_it_waits_a_minute_for_others(
    cloud: Cloud, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch, poll_seconds: float | None, waited: float
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(module, "_show", lambda *given: shown.append(given[-1]))
    cloud.bedrock.max_jobs = 0
    in_flight(cloud, "00000")
    assert poll.fn(HELD, poll_seconds) == Progress(waiting=1, in_flight=0)
    assert sleeps == [waited]
    assert shown == [0.0], "it is not over"


def test_what_was_on_its_way_at_the_cancel_is_stopped(cloud: Cloud, sleeps: Sleeps) -> None:
    """A create call that returns after the batch was cancelled: its job is noted, and must not run on and be paid for."""
    store(cloud, document([shard()], holder="me"))
    cloud.bedrock.before("CreateModelInvocationJob", lambda: stop_batch(REF))
    submit_jobs(HELD)
    (arn,) = cloud.bedrock.jobs
    assert cloud.bedrock.jobs[arn]["status"] == "Submitted"
    at(cloud, 3, lambda: cloud.bedrock.move(arn, "Stopped"))
    assert poll.fn(HELD) == Progress(waiting=0, in_flight=0)
    assert cloud.bedrock.count("StopModelInvocationJob") == 1, "one that is stopping is not stopped again"
    assert [each.job and each.job.status for each in stored().bedrock.shards or []] == ["Stopped"]


def test_a_batch_that_is_cancelled_meanwhile_is_seen(cloud: Cloud, sleeps: Sleeps) -> None:
    (arn,) = in_flight(cloud, "00000")
    at(cloud, 3, lambda: store(cloud, stored().model_copy(update={"status": "cancelling"})))
    cloud.bedrock.after("StopModelInvocationJob", lambda: cloud.bedrock.move(arn, "Stopped"))
    poll.fn(HELD)
    assert cloud.bedrock.jobs[arn]["status"] == "Stopped"


@pytest.mark.parametrize("trouble", ["throttled", "network", "server"])
def test_passing_trouble_does_not_end_the_wait(cloud: Cloud, sleeps: Sleeps, trouble: str) -> None:
    arns = in_flight(cloud, "00000")
    if trouble == "network":
        cloud.bedrock.before("GetModelInvocationJob", raising(EndpointConnectionError(endpoint_url="x")), times=5)
    else:
        code, status = {"throttled": ("ThrottlingException", 429), "server": ("InternalServerException", 500)}[trouble]
        cloud.bedrock.refuse("GetModelInvocationJob", code, status, times=5)
    at(cloud, 8, lambda: cloud.bedrock.move(arns[0], "Completed"))
    assert poll.fn(HELD) == Progress(0, 0)


def test_trouble_with_s3_does_not_end_the_wait(cloud: Cloud, sleeps: Sleeps) -> None:
    arns = in_flight(cloud, "00000")
    at(cloud, 1, lambda: cloud.s3.refuse("GetObject", "SlowDown", 503, times=3))
    at(cloud, 8, lambda: cloud.bedrock.move(arns[0], "Completed"))
    assert poll.fn(HELD) == Progress(0, 0)


def test_trouble_while_a_change_is_noted_does_not_end_the_wait(cloud: Cloud, sleeps: Sleeps) -> None:
    arns = in_flight(cloud, "00000")

    def end() -> None:
        cloud.bedrock.move(arns[0], "Completed")
        cloud.s3.refuse("PutObject", "SlowDown", 503, times=3)

    at(cloud, 3, end)
    assert poll.fn(HELD) == Progress(0, 0)
    assert [each.job and each.job.status for each in stored().bedrock.shards or []] == ["Completed"]


def test_what_has_ended_stays_so(cloud: Cloud) -> None:
    """Who looked before another noted the end, and was told of a state before it, takes nothing back."""
    (arn,) = in_flight(cloud, "00000")
    before = stored()
    cloud.bedrock.move(arn, "Completed", processedRecordCount=100)
    ended = look(HELD, stored())
    cloud.bedrock.move(arn, "Stopping", processedRecordCount=70)
    assert look(HELD, before) == stored() == ended


def test_progress_that_cannot_be_shown_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Prefect server that is away for a while."""

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(module, "create_progress_artifact", away)
    monkeypatch.setattr(module, "update_progress_artifact", away)
    known = uuid4()
    assert [SHOW(each, REF, "text", 1.0) for each in (None, known)] == [None, known]


def test_progress_is_one_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    known = uuid4()

    def create(**given: Any) -> Any:
        made.append(given)
        return known

    monkeypatch.setattr(module, "create_progress_artifact", create)
    monkeypatch.setattr(module, "update_progress_artifact", lambda id, **given: made.append((id, given)))
    assert SHOW(SHOW(None, REF, "1 of 2", 50.0), REF, "2 of 2", 100.0) == known
    first = {"progress": 50.0, "key": "bedrock-jobs", "description": f"{REF.batch_id}: 1 of 2"}
    assert made == [first, (known, {"progress": 100.0, "description": f"{REF.batch_id}: 2 of 2"})]


@pytest.mark.parametrize(("age", "ends"), [(0, False), (119, False), (121, True)])
def test_a_job_that_is_not_found_is_new_or_gone(
    cloud: Cloud, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch, age: int, ends: bool
) -> None:
    arns = in_flight(cloud, "00000")
    batch = stored()
    for each in batch.bedrock.shards or []:
        assert each.job
        each.job.submitted_at = int(cloud.clock()) - age
    cloud.bedrock.jobs.pop(arns[0])
    if not ends:
        assert look(HELD, batch) == batch
        return
    with pytest.raises(PipelineError, match=arns[0]):
        look(HELD, batch)


def test_denied_looks_end_the_wait(cloud: Cloud, sleeps: Sleeps) -> None:
    in_flight(cloud, "00000")
    cloud.bedrock.refuse("GetModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="asking for the state"):
        poll.fn(HELD)


def test_a_run_that_does_not_wait_notes_how_far_the_jobs_are(cloud: Cloud) -> None:
    (arn,) = in_flight(cloud, "00000")
    cloud.bedrock.move(arn, "InProgress")
    look(HELD, stored())
    cloud.bedrock.move(arn, "InProgress", totalRecordCount=100, processedRecordCount=60)
    look(HELD, stored(), every_count=True)
    (shard_,) = stored().bedrock.shards or []
    assert shard_.job is not None
    assert shard_.job.processed == 60
    writes = cloud.s3.count("PutObject")
    look(HELD, stored(), every_count=True)
    assert cloud.s3.count("PutObject") == writes


def test_counters_alone_write_nothing(cloud: Cloud) -> None:
    (arn,) = in_flight(cloud, "00000")
    cloud.bedrock.move(arn, "InProgress")
    batch = look(HELD, stored())
    writes = cloud.s3.count("PutObject")
    cloud.bedrock.move(arn, "InProgress", totalRecordCount=100, processedRecordCount=60)
    batch = look(HELD, batch)
    assert cloud.s3.count("PutObject") == writes
    assert describe(batch) == ("60 of 100 records; jobs: 1 InProgress", 60.0)
    cloud.bedrock.move(arn, "InProgress", processedRecordCount=40)
    assert describe(look(HELD, batch))[1] == 60.0, "a counter that lags takes nothing back"


def test_progress_in_words() -> None:
    def each(status: str | None, processed: int = 0) -> Shard:
        return shard(jobs=[job(status, processed=processed)], padding=10, records=90)

    text, percent = describe(
        document([each("Completed"), each("InProgress", 50), each(None), shard(route="on_demand"), shard(records=100)])
    )
    assert text == "150 of 400 records; jobs: 1 Completed, 1 InProgress, 1 Submitting, 1 Waiting"
    assert percent == 37.5
    assert describe(document([shard(route="on_demand")])) == ("0 of 0 records; jobs: ", 100.0)


def test_jobs_that_run_are_stopped_and_no_others(cloud: Cloud) -> None:
    arns = in_flight(cloud, "00000", "00001", "00002")
    cloud.bedrock.move(arns[0], "Completed")
    cloud.bedrock.move(arns[1], "Stopping")
    batch = look(HELD, stored())
    assert stop_running(batch) == 1
    assert [cloud.bedrock.jobs[arn]["status"] for arn in arns] == ["Completed", "Stopping", "Stopping"]
    cloud.bedrock.refuse("StopModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="stopping the job"):
        stop_running(batch)


def test_it_looks_as_often_as_was_asked(cloud: Cloud, sleeps: Sleeps) -> None:
    arns = in_flight(cloud, "00000")
    at(cloud, 4, lambda: cloud.bedrock.move(arns[0], "Completed"))
    poll.fn(HELD, 7.0)
    assert sleeps == [7.0, 7.0, 7.0]


def test_only_a_job_that_is_not_found_may_be_new(cloud: Cloud, sleeps: Sleeps) -> None:
    in_flight(cloud, "00000")
    batch = stored()
    for each in batch.bedrock.shards or []:
        assert each.job
        each.job.submitted_at = int(cloud.clock())
    cloud.bedrock.refuse("GetModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="asking for the state"):
        look(HELD, batch)


def test_a_job_that_cannot_be_looked_at_now_keeps_no_other_from_being_noted(cloud: Cloud, sleeps: Sleeps) -> None:
    arns = in_flight(cloud, "00000", "00001")
    cloud.bedrock.move(arns[1], "Completed")
    cloud.bedrock.refuse("GetModelInvocationJob", "ThrottlingException", 429, on=arns[0])
    assert [each.done for each in look(HELD, stored()).bedrock.shards or []] == [False, True]


def test_no_counter_goes_back() -> None:
    each = job(total=9, processed=7, succeeded=5, errored=2)
    module._take_counts(each, JobStatus("arn", "InProgress", total=8, processed=6, succeeded=4, errored=1))
    assert (each.total, each.processed, each.succeeded, each.errored) == (9, 7, 5, 2)
    module._take_counts(each, JobStatus("arn", "InProgress", total=10, processed=9, succeeded=6, errored=3))
    assert (each.total, each.processed, each.succeeded, each.errored) == (10, 9, 6, 3)
