"""Stopping a batch: its mark first, then every job that runs, those that nobody had noted as well."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks import cancel
from tasks.batch.document import BatchDocument, Job
from tasks.cancel import stop_batch
from tasks.errors import BatchNotFoundError, PipelineError
from tests.builders import REF, document, job, shard, store, stored
from tests.fakes import Cloud


@pytest.fixture(autouse=True)
def _same_clock(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "time", SimpleNamespace(time=cloud.clock))


def submitted(cloud: Cloud, number: int, status: str = "InProgress") -> Job:
    """A job that Bedrock has."""
    name = f"job-{number}"
    arn = cloud.bedrock.put(jobName=name, clientRequestToken=f"token-{number}", status=status)
    return job(status, number, arn=arn)


def running(cloud: Cloud, *statuses: str, **fields: Any) -> BatchDocument:
    shards = [
        shard(f"{number:05d}", jobs=[submitted(cloud, number, status)], done=status == "Completed")
        for number, status in enumerate(statuses)
    ]
    return store(cloud, document(shards, **fields))


def states(cloud: Cloud) -> list[str]:
    return [each["status"] for each in cloud.bedrock.jobs.values()]


def test_every_job_that_runs_is_stopped(cloud: Cloud) -> None:
    running(cloud, "InProgress", "Completed", "Scheduled")
    batch = stop_batch(REF)
    assert (batch.status, batch.cancelling_at) == ("cancelling", int(cloud.clock()))
    assert stored().status == "cancelling"
    assert states(cloud) == ["Stopping", "Completed", "Stopping"]
    assert cloud.bedrock.count("StopModelInvocationJob") == 2


def test_the_mark_is_set_before_the_first_job_is_stopped(cloud: Cloud) -> None:
    """Otherwise whoever drives the batch would submit the next one into the freed slot."""
    running(cloud, "InProgress")
    seen: list[str] = []
    cloud.bedrock.before("StopModelInvocationJob", lambda: seen.append(stored().status))
    stop_batch(REF)
    assert seen == ["cancelling"]


def test_a_job_whose_reply_was_lost_is_found_and_stopped(cloud: Cloud) -> None:
    arn = submitted(cloud, 0).arn
    store(cloud, document([shard(jobs=[job(None, arn=None)])]))
    stop_batch(REF)
    noted = (stored().bedrock.shards or [])[0].job
    assert noted is not None
    assert noted.arn == arn
    assert states(cloud) == ["Stopping"]


def test_said_twice_it_is_marked_once(cloud: Cloud) -> None:
    running(cloud, "InProgress")
    first = stop_batch(REF)
    cloud.clock.advance(100)
    second = stop_batch(REF)
    assert second.cancelling_at == first.cancelling_at


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_a_finished_batch_stays_as_it_is(cloud: Cloud, status: str) -> None:
    before = running(cloud, "InProgress", status=status)
    assert stop_batch(REF).status == status
    assert stored() == before
    assert states(cloud) == ["InProgress"]


def test_a_job_that_has_ended_meanwhile_is_no_trouble(cloud: Cloud) -> None:
    running(cloud, "InProgress", "InProgress")
    cloud.bedrock.move(next(iter(cloud.bedrock.jobs)), "Completed")
    assert stop_batch(REF).status == "cancelling"
    assert states(cloud) == ["Completed", "Stopping"]


def test_a_job_that_cannot_be_stopped_is_an_error_and_the_mark_stays(cloud: Cloud) -> None:
    running(cloud, "InProgress")
    cloud.bedrock.refuse("StopModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="stopping the job"):
        stop_batch(REF)
    assert stored().status == "cancelling"


def test_there_must_be_such_a_batch(cloud: Cloud) -> None:
    with pytest.raises(BatchNotFoundError, match=REF.batch_id):
        stop_batch(REF)
