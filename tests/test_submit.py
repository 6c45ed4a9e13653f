"""Submitting: every shard has one job, whatever is lost on the way; and what a refused job is called."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from botocore.exceptions import EndpointConnectionError

from tasks import aws
from tasks.batch.document import BatchDocument, Job
from tasks.batch.jobs import Progress
from tasks.batch.lease import holding
from tasks.batch.store import update
from tasks.bedrock.limits import Limits
from tasks.cancel import stop_batch
from tasks.errors import BatchFailedError, LostLeaseError, PipelineError
from tasks.storage.uris import S3Uri
from tasks.submit import _error_code, submit, submit_jobs
from tests.builders import HELD, REF, ROLE, document, job, shard, store, stored
from tests.conftest import CLAUDE, NOVA
from tests.fakes import Cloud, raising, refusal

#: Messages of Bedrock, from its documentation and from reports of those who met them.
NO_MODEL = [
    ("ValidationException", "The provided model identifier is invalid."),
    ("ValidationException", "Could not resolve the foundation model from the provided model identifier."),
    ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    ("ValidationException", "Batch inference is not supported for the requested model"),
    ("ValidationException", "The model amazon.nova-sonic-v1:0 is not supported for batch inference."),
    ("ValidationException", "The requested model us.x.y-v1:0 doesn't support batch inference."),
    ("ValidationException", "1 validation error detected: Value at 'modelId' failed to satisfy constraint: Member …"),
    ("ResourceNotFoundException", "This model version has reached the end of its life."),
    (
        "ResourceNotFoundException",
        "Access denied. This Model is marked by provider as Legacy and you have not been "
        "actively using the model in the last 15 days.",
    ),
    ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
]
SOMETHING_ELSE = [
    (
        "AccessDeniedException",
        "User: arn:aws:iam::1:user/x is not authorized to perform: "
        "bedrock:CreateModelInvocationJob on resource: arn:aws:bedrock:us-east-1::foundation-model/x",
        "permission_denied",
    ),
    ("AccessDeniedException", "The role may not invoke the model.", "permission_denied"),
    ("ValidationException", "The provided role cannot be assumed by principal bedrock.", "invalid_request"),
    ("ValidationException", "The role cannot invoke the model, which is not available to it.", "invalid_request"),
    ("ValidationException", "Value at 'modelInvocationType' failed to satisfy constraint", "invalid_request"),
    ("ValidationException", "The invocation type is not supported for this model in batch.", "invalid_request"),
    ("ServiceQuotaExceededException", "The number of records exceeds the limit of the model.", "invalid_request"),
    ("ValidationException", "The output bucket of the model invocation job does not exist.", "invalid_request"),
    ("ResourceNotFoundException", "Could not find the model invocation job.", "invalid_request"),
]


@pytest.mark.parametrize(("code", "message"), NO_MODEL)
def test_a_model_that_cannot_be_had(code: str, message: str) -> None:
    assert _error_code(_refusal(code, message)) == "model_not_found"


@pytest.mark.parametrize(("code", "message", "called"), SOMETHING_ELSE)
def test_a_message_with_a_model_in_it(code: str, message: str, called: str) -> None:
    assert _error_code(_refusal(code, message)) == called


def _refusal(code: str, message: str) -> PipelineError:
    return aws.explain(refusal(code, 400, message, "CreateModelInvocationJob"), "submitting")


# Against the fakes


def two_shards(**fields: Any) -> BatchDocument:
    return document([shard("00000"), shard("00001")], holder="me", **fields)


def created(cloud: Cloud) -> list[dict[str, Any]]:
    return [given for name, given in cloud.bedrock.calls if name == "CreateModelInvocationJob"]


def test_jobs_are_noted_before_bedrock_hears_of_them(cloud: Cloud) -> None:
    store(cloud, two_shards())
    noted: list[Any] = []
    cloud.bedrock.before("CreateModelInvocationJob", lambda: noted.append(stored().bedrock.shards), times=None)
    assert submit_jobs(HELD) == Progress(waiting=0, in_flight=2, submitted=2)
    for place, (before, given) in enumerate(zip(noted, created(cloud), strict=True)):
        job = before[place].job
        assert (job.name, job.token, job.arn) == (given["jobName"], given["clientRequestToken"], None)
    jobs = [each.job for each in stored().bedrock.shards or []]
    assert [job.arn for job in jobs if job] == list(cloud.bedrock.jobs)
    assert {job.status for job in jobs if job} == {"Submitted"}
    assert len({job.token for job in jobs if job}) == 2
    submit_jobs(HELD)
    assert len(cloud.bedrock.jobs) == 2, "nothing waits any more"


def test_a_batch_of_the_same_name_elsewhere_has_tokens_of_its_own(cloud: Cloud) -> None:
    elsewhere = msgspec.structs.replace(HELD, root=S3Uri("bucket", "elsewhere"))
    for ref in (HELD, elsewhere):
        store(cloud, two_shards(), ref)
        submit_jobs(ref)
    assert len({given["clientRequestToken"] for given in created(cloud)}) == 4


def test_what_a_job_is_asked_for(cloud: Cloud) -> None:
    section = {"kms_key": "arn:aws:kms:us-east-1:123456789012:key/1", "job_name": "my job"}
    store(
        cloud,
        document(
            [shard(epoch=3, invocation="Converse")],
            holder="me",
            section=section,
            completion_window="2d",
            options={"bucket_owner": "123456789012"},
            metadata={"team": "a"},
        ),
    )
    submit_jobs(HELD)
    (given,) = created(cloud)
    assert given["jobName"].startswith("my-job-")
    assert given["inputDataConfig"]["s3InputDataConfig"] == {
        "s3Uri": str(REF.uri("input", "epoch-3", "part-00000.jsonl")),
        "s3InputFormat": "JSONL",
        "s3BucketOwner": "123456789012",
    }
    assert given["outputDataConfig"]["s3OutputDataConfig"] == {
        "s3Uri": str(REF.uri("bedrock")) + "/",
        "s3EncryptionKeyId": section["kms_key"],
        "s3BucketOwner": "123456789012",
    }
    assert (given["timeoutDurationInHours"], given["modelInvocationType"]) == (48, "Converse")
    assert (given["modelId"], given["roleArn"]) == (CLAUDE, ROLE)
    assert given["tags"] == [{"key": "team", "value": "a"}, {"key": "bedrock-batch-id", "value": REF.batch_id}]


def test_a_refusal_for_good_keeps_the_job_that_was_taken(cloud: Cloud) -> None:
    """It is paid for: the batch is no failed one, and its answers come back."""
    store(cloud, two_shards())
    cloud.bedrock.refuse("CreateModelInvocationJob", "ValidationException", on="part-00001")
    with pytest.raises(PipelineError, match="ValidationException") as caught:
        submit_jobs(HELD)
    assert not isinstance(caught.value, BatchFailedError)
    now = stored()
    first, second = now.bedrock.shards or []
    assert now.status == "in_progress"
    assert first.job
    assert first.job.arn in cloud.bedrock.jobs
    assert second.job
    assert second.job.arn is None
    assert submit_jobs(HELD) == Progress(waiting=0, in_flight=2, submitted=1), "the same call carries on"
    assert len(cloud.bedrock.jobs) == 2


@pytest.mark.parametrize(
    ("code", "called"),
    [
        ("AccessDeniedException", "permission_denied"),
        ("ValidationException", "invalid_request"),
        ("ResourceNotFoundException", "invalid_request"),
    ],
)
def test_a_batch_of_which_nothing_ran_is_failed(cloud: Cloud, code: str, called: str) -> None:
    store(cloud, two_shards())
    cloud.bedrock.refuse("CreateModelInvocationJob", code, 403 if "Denied" in code else 400, times=None)
    with pytest.raises(BatchFailedError) as caught:
        submit_jobs(HELD)
    errors = caught.value.batch.errors
    assert errors
    assert [error.code for error in errors.data] == [called]
    assert ROLE in (errors.data[0].message or "")
    assert (stored().status, stored().bedrock.shards) == ("failed", None)


def test_what_has_no_slot_waits(cloud: Cloud) -> None:
    store(cloud, two_shards())
    cloud.bedrock.max_jobs = 1
    assert submit_jobs(HELD) == Progress(waiting=1, in_flight=1, submitted=1)
    assert submit_jobs(HELD) == Progress(waiting=1, in_flight=1)
    (arn,) = cloud.bedrock.jobs
    cloud.bedrock.move(arn, "Completed")
    assert submit_jobs(HELD).submitted == 1
    assert len(cloud.bedrock.jobs) == 2


def test_what_was_submitted_and_what_waits_is_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *given: said.append(text % given))
    monkeypatch.setattr("tasks.submit.run_log", lambda: log)
    store(cloud, two_shards())
    cloud.bedrock.max_jobs = 1
    for _ in range(2):
        submit.fn(HELD)
    cloud.bedrock.max_jobs = 2
    for _ in range(2):
        submit.fn(HELD)
    assert said == [
        "Submitted 1 job; 1 in flight, 1 waiting for a slot",
        "No slot is free: 1 job waits, 1 in flight",
        "Submitted 1 job; 2 in flight, 0 waiting for a slot",
    ]


@pytest.mark.parametrize(("others", "model", "submitted"), [(19, CLAUDE, 1), (20, CLAUDE, 0), (20, NOVA, 2)])
def test_jobs_of_others_take_slots_of_their_model(cloud: Cloud, others: int, model: str, submitted: int) -> None:
    """The quota is asked of nobody: what would be one too many is not even tried."""
    store(cloud, two_shards())
    cloud.bedrock.max_jobs = 1000
    for _ in range(others):
        cloud.bedrock.put(modelId=model)
    for status in ("Completed", "Failed", "Stopped", "PartiallyCompleted", "Expired"):
        cloud.bedrock.put(modelId=model, status=status)
    assert submit_jobs(HELD).submitted == cloud.bedrock.count("CreateModelInvocationJob") == submitted


def test_who_may_not_list_jobs_submits_all_the_same(cloud: Cloud) -> None:
    store(cloud, two_shards())
    cloud.bedrock.refuse("ListModelInvocationJobs", "AccessDeniedException", 403, times=None)
    assert submit_jobs(HELD).submitted == 2


@pytest.mark.parametrize("listing", [True, False])
def test_a_lost_reply_is_no_second_job(cloud: Cloud, listing: bool) -> None:
    """Found by name and token; where listing is denied, the token alone sees to it."""
    store(cloud, two_shards())
    cloud.bedrock.after("CreateModelInvocationJob", raising(EndpointConnectionError(endpoint_url="x")))
    assert submit_jobs(HELD) == Progress(waiting=2, in_flight=0)
    if not listing:
        cloud.bedrock.refuse("ListModelInvocationJobs", "AccessDeniedException", 403, times=None)
    assert submit_jobs(HELD).submitted == 2
    assert len(cloud.bedrock.jobs) == 2
    assert cloud.bedrock.count("CreateModelInvocationJob") == (2 if listing else 3)


def test_a_changed_role_between_lost_reply_and_resume_adopts_the_job(cloud: Cloud) -> None:
    store(cloud, two_shards())
    cloud.bedrock.after("CreateModelInvocationJob", raising(EndpointConnectionError(endpoint_url="x")))
    submit_jobs(HELD)
    update(HELD, lambda current: setattr(current.bedrock, "role_arn", ROLE + "2"))
    # Just created: the list does not have it yet.
    cloud.bedrock.before("ListModelInvocationJobs", lambda: hide(cloud, True), on="nameContains")
    cloud.bedrock.before("CreateModelInvocationJob", lambda: hide(cloud, False))
    assert submit_jobs(HELD).submitted == 2
    assert len(cloud.bedrock.jobs) == 2


def hide(cloud: Cloud, hidden: bool) -> None:
    (job, *_) = cloud.bedrock.jobs.values()
    job["jobName"] = ("?" if hidden else "") + job["jobName"].removeprefix("?")


@pytest.mark.parametrize("by_other", ["takes it for lost", "knows the job", "has cancelled", "has finished"])
def test_a_job_that_was_created_after_the_lease_was_lost(cloud: Cloud, by_other: str) -> None:
    """It is stopped, unless who has the lease now knows it: nobody would wait for it, or pay for its answers gladly."""
    store(cloud, two_shards())

    def relieve() -> None:
        now = stored()
        now.bedrock.lease.holder = "other"
        if by_other == "takes it for lost":
            for each in now.bedrock.shards or []:
                each.jobs = []
        now.status = {"has cancelled": "cancelling", "has finished": "completed"}.get(by_other, "in_progress")  # type: ignore[assignment]
        store(cloud, now)

    cloud.bedrock.after("CreateModelInvocationJob", relieve)
    with pytest.raises(LostLeaseError):
        submit_jobs(HELD)
    (job,) = cloud.bedrock.jobs.values()
    assert job["status"] == ("Submitted" if by_other == "knows the job" else "Stopping")


def test_a_batch_that_is_cancelled_before_its_jobs_are_noted_gets_none(cloud: Cloud) -> None:
    """Between the look at what waits and the note of what is about to be submitted."""
    store(cloud, two_shards())
    cloud.bedrock.before("ListModelInvocationJobs", lambda: stop_batch(REF))
    assert submit_jobs(HELD).submitted == 0
    assert not cloud.bedrock.jobs
    assert [each.jobs for each in stored().bedrock.shards or []] == [[], []]


def test_who_is_relieved_submits_no_further_job(cloud: Cloud) -> None:
    """What it submitted is noted; the second shard is its successor's."""
    store(cloud, document([shard("00000"), shard("00001")]))
    with pytest.raises(LostLeaseError), holding(REF) as lease:
        cloud.bedrock.after("CreateModelInvocationJob", lambda: setattr(lease, "lost", True))
        submit_jobs(lease.ref)
    assert cloud.bedrock.count("CreateModelInvocationJob") == 1
    first, second = stored().bedrock.shards or []
    assert first.job
    assert first.job.arn in cloud.bedrock.jobs
    assert second.job is None or second.job.arn is None


def test_of_a_cancelled_batch_nothing_is_submitted_and_what_was_unsure_is_found(cloud: Cloud) -> None:
    first, second = shard("00000"), shard("00001")
    first.jobs = [Job(attempt=1, name="name-1", token="token-1")]
    store(cloud, document([first, second], holder="me", status="cancelling"))
    arn = cloud.bedrock.put(jobName="name-1", clientRequestToken="token-1")
    assert submit_jobs(HELD) == Progress(waiting=0, in_flight=1)
    assert cloud.bedrock.count("CreateModelInvocationJob") == 0
    first, second = stored().bedrock.shards or []
    assert first.job
    assert (first.job.arn, second.job) == (arn, None)


def test_a_shard_that_failed_before_gets_another_job_of_another_name(cloud: Cloud) -> None:
    store(cloud, document([shard(jobs=[job("Failed")])], holder="me"))
    assert submit_jobs(HELD).submitted == 1
    (each,) = stored().bedrock.shards or []
    assert [job.attempt for job in each.jobs] == [1, 2]
    assert each.jobs[1].name.endswith("-2")
    assert each.jobs[1].token != each.jobs[0].token


def test_a_refusal_for_good_of_a_second_attempt_keeps_what_the_first_one_answered(cloud: Cloud) -> None:
    store(cloud, document([shard(jobs=[job("Failed", processed=60)])], holder="me"))
    cloud.bedrock.refuse("CreateModelInvocationJob", "ValidationException")
    with pytest.raises(PipelineError, match="ValidationException") as caught:
        submit_jobs(HELD)
    assert not isinstance(caught.value, BatchFailedError)
    (each,) = stored().bedrock.shards or []
    assert [job.arn is None for job in each.jobs] == [False, True]


@pytest.mark.parametrize("listed", [True, False])
def test_jobs_of_its_own_take_a_slot_each_and_once(cloud: Cloud, listed: bool) -> None:
    own = cloud.bedrock.put(modelId=CLAUDE)
    running = shard("00009", jobs=[job(arn=own)])
    waiting = [shard(f"0000{number}") for number in range(4)]
    store(cloud, document([running, *waiting], holder="me", limits=Limits(max_jobs=3)))
    if not listed:
        cloud.bedrock.refuse("ListModelInvocationJobs", "AccessDeniedException", 403, times=None)
    assert submit_jobs(HELD) == Progress(waiting=2, in_flight=3, submitted=2)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ServiceQuotaExceededException", "The number of records in the file is above the quota"),
        ("ConflictException", "The token is known with other parameters"),
    ],
)
def test_what_no_waiting_mends_fails_the_batch(cloud: Cloud, code: str, message: str) -> None:
    store(cloud, two_shards())
    cloud.bedrock.refuse("CreateModelInvocationJob", code, message=message, times=None)
    with pytest.raises(BatchFailedError):
        submit_jobs(HELD)
    assert stored().status == "failed"


def test_what_may_be_mended_ends_the_run_and_not_the_batch(cloud: Cloud) -> None:
    store(cloud, two_shards())
    cloud.bedrock.refuse("CreateModelInvocationJob", "ExpiredTokenException", 403)
    with pytest.raises(PipelineError) as caught:
        submit_jobs(HELD)
    assert not isinstance(caught.value, BatchFailedError)
    assert stored().status == "in_progress"


def test_what_is_throttled_waits_for_the_next_pass_and_so_do_the_others(cloud: Cloud) -> None:
    store(cloud, two_shards())
    cloud.bedrock.refuse("CreateModelInvocationJob", "ThrottlingException", 429)
    assert submit_jobs(HELD) == Progress(waiting=2, in_flight=0)
    assert cloud.bedrock.count("CreateModelInvocationJob") == 1
    assert submit_jobs(HELD) == Progress(waiting=0, in_flight=2, submitted=2)


def test_a_job_runs_in_the_network_of_its_batch(cloud: Cloud) -> None:
    network = {"subnetIds": ["subnet-1", "subnet-2"], "securityGroupIds": ["sg-1"]}
    store(cloud, document([shard()], holder="me", options={"vpc_config": network}))
    submit_jobs(HELD)
    (given,) = created(cloud)
    assert given["vpcConfig"] == network
