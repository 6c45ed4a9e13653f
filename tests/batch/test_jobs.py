"""Which shards wait for a job and which run; jobs that nobody knows of; and stopping them."""

from typing import Any

import pytest

from tasks.batch.document import Job
from tasks.batch.jobs import Progress, adopt_unsure, note_jobs, running_shards, stop_running, waiting_shards
from tasks.errors import PipelineError, TransientError
from tests.builders import REF, document, job, shard, store, stored
from tests.fakes import Cloud


@pytest.mark.parametrize(
    ("progress", "open_"),
    [(Progress(0, 0), False), (Progress(1, 0), True), (Progress(0, 1), True), (Progress(0, 0, submitted=3), False)],
)
def test_what_is_open(progress: Progress, open_: bool) -> None:
    assert progress.open is open_


UNKNOWN: dict[str, Any] = {"arn": None}


@pytest.mark.parametrize(
    ("fields", "waits", "runs"),
    [
        ({}, True, False),
        ({"jobs": [job("Submitted")]}, False, True),
        ({"jobs": [job("InProgress")]}, False, True),
        ({"jobs": [job("Stopping")]}, False, True),
        ({"jobs": [job(None)]}, False, True),
        # Written down before it was submitted, and no reply is known.
        ({"jobs": [job(None, **UNKNOWN)]}, True, False),
        *(
            ({"jobs": [job(status)]}, True, False)
            for status in ("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired")
        ),
        # The last job counts.
        ({"jobs": [job("Failed"), job("InProgress", 1)]}, False, True),
        ({"jobs": [job("InProgress"), job("Failed", 1)]}, True, False),
        ({"done": True}, False, False),
        ({"done": True, "jobs": [job("InProgress")]}, False, False),
        ({"route": "on_demand"}, False, False),
        ({"route": "none", "jobs": [job("InProgress")]}, False, False),
    ],
)
def test_which_shards_wait_and_which_run(fields: dict[str, Any], waits: bool, runs: bool) -> None:
    batch = document([shard(**fields)])
    assert (bool(waiting_shards(batch)), bool(running_shards(batch))) == (waits, runs)


@pytest.mark.parametrize("status", ["cancelling", "cancelled"])
def test_a_cancelled_batch_gets_no_more_jobs(status: str) -> None:
    batch = document([shard(), shard("00001", jobs=[job()])], status=status)
    assert waiting_shards(batch) == []
    assert [each.id for each in running_shards(batch)] == ["00001"]


def test_a_batch_that_is_not_converted_has_neither() -> None:
    assert waiting_shards(document(None)) == running_shards(document(None)) == []


def test_a_job_whose_reply_was_lost_is_found_by_name_and_token(cloud: Cloud) -> None:
    unsure = job(None, **UNKNOWN)
    cloud.bedrock.put(jobName=unsure.name, clientRequestToken="another batch's")
    arn = cloud.bedrock.put(jobName=unsure.name, clientRequestToken=unsure.token)
    batch = store(
        cloud, document([shard(jobs=[unsure]), shard("00001", jobs=[job(None, 1, **UNKNOWN)]), shard("00002")])
    )
    adopt_unsure(REF, batch)
    first, second, third = stored().bedrock.shards or []
    assert first.job is not None
    assert (first.job.arn, first.job.status) == (arn, "Submitted")
    assert first.job.submitted_at is not None
    assert second.job is not None
    assert (second.job.arn, second.job.status, second.job.submitted_at) == (None, None, None)
    assert third.job is None


def test_nothing_is_written_where_no_job_was_found(cloud: Cloud) -> None:
    batch = store(cloud, document([shard(jobs=[job(None, **UNKNOWN)]), shard("00001", jobs=[job()])]))
    assert adopt_unsure(REF, batch) is batch
    assert cloud.s3.count("PutObject") == 0
    # A job whose ARN is known is not looked for.
    assert cloud.bedrock.count("ListModelInvocationJobs") == 1


def test_trouble_while_looking_names_the_job(cloud: Cloud) -> None:
    cloud.bedrock.refuse("ListModelInvocationJobs", "ThrottlingException", 429)
    with pytest.raises(TransientError, match="looking for the job job-0"):
        adopt_unsure(REF, document([shard(jobs=[job(None, **UNKNOWN)])]))


def test_a_note_keeps_what_is_known_already(cloud: Cloud) -> None:
    known = Job(attempt=1, name="n", token="t", status="InProgress", submitted_at=5)
    store(cloud, document([shard(jobs=[known]), shard("00001")]))
    note_jobs(REF, {"00000": "arn:1", "00001": "arn:2"})
    first, second = stored().bedrock.shards or []
    assert first.job == known.model_copy(update={"arn": "arn:1"})
    assert second.job is None, "there is no attempt to note it on"


def test_every_job_that_runs_is_stopped(cloud: Cloud) -> None:
    running, stopping, ended = (cloud.bedrock.put(jobName=f"job-{n}") for n in range(3))
    cloud.bedrock.move(ended, "Completed")
    shards = [
        shard("00000", jobs=[job("InProgress", arn=running)]),
        shard("00001", jobs=[job("Stopping", 1, arn=stopping)]),
        shard("00002", jobs=[job("InProgress", 2, arn=ended)]),
        shard("00003"),
        shard("00004", jobs=[job("Completed", 4)]),
    ]
    assert stop_running(document(shards)) == 1
    assert cloud.bedrock.jobs[running]["status"] == "Stopping"
    assert cloud.bedrock.count("StopModelInvocationJob") == 2, "one that is stopping already is not asked again"


def test_a_job_that_may_not_be_stopped_is_an_error(cloud: Cloud) -> None:
    arn = cloud.bedrock.put()
    cloud.bedrock.refuse("StopModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="stopping the job"):
        stop_running(document([shard(jobs=[job(arn=arn)])]))
