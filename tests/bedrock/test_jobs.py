"""Bedrock's jobs: found by name and token, counted by model, stopped where they run; metadata as tags."""

from typing import Any

import pytest

from deployments.sandbox import patterns
from tasks.bedrock.jobs import (
    FINAL_STATUSES,
    OPEN_STATUSES,
    JobRequest,
    NoFreeSlot,
    count_open_jobs,
    create_job,
    find_job,
    get_job,
    job_tags,
    stop_job,
)
from tasks.errors import PipelineError
from tests.conftest import CLAUDE, NOVA
from tests.fakes import Cloud


def request(**fields: Any) -> JobRequest:
    given: dict[str, Any] = {
        "name": "job-1",
        "token": "token-1",
        "model_id": CLAUDE,
        "role_arn": "arn:aws:iam::123456789012:role/x",
        "input_uri": "s3://b/i",
        "output_uri": "s3://b/o/",
        "invocation": "InvokeModel",
        "timeout_hours": 24,
        **fields,
    }
    return JobRequest(**given)


def test_what_a_job_may_be() -> None:
    assert OPEN_STATUSES == ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
    assert {"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"} == FINAL_STATUSES


def test_a_job_is_found_by_its_whole_name_and_its_token(cloud: Cloud) -> None:
    """Among names that hold it, those of other batches, and several pages."""
    for name, token in (("job-10", "token-1"), ("job-1", "token-9"), ("a-job-1", "token-1"), ("job-1", "token-8")):
        cloud.bedrock.put(jobName=name, clientRequestToken=token)
    assert find_job("job-1", "token-1") is None
    arn = cloud.bedrock.put(jobName="job-1", clientRequestToken="token-1")
    assert find_job("job-1", "token-1") == arn
    assert cloud.bedrock.count("ListModelInvocationJobs") > 3


def test_a_list_without_tokens_tells_a_job_by_its_name(cloud: Cloud) -> None:
    arn = cloud.bedrock.put(jobName="job-1")
    del cloud.bedrock.jobs[arn]["clientRequestToken"]
    assert find_job("job-1", "token-1") == arn
    assert cloud.bedrock.calls[0][1]["nameContains"] == "job-1", "the account may have thousands"


def test_a_token_is_one_job(cloud: Cloud) -> None:
    first = create_job(request())
    assert create_job(request()) == first
    assert create_job(request(role_arn="arn:aws:iam::123456789012:role/y")) == first, "it is there, with another role"
    assert create_job(request(name="job-2", token="token-2")) != first


def test_a_conflict_about_a_job_that_is_not_there_is_an_error(cloud: Cloud) -> None:
    cloud.bedrock.refuse("CreateModelInvocationJob", "ConflictException")
    with pytest.raises(PipelineError, match="ConflictException"):
        create_job(request())


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        ("Too many jobs in progress for this model.", True),
        ("The number of jobs exceeds the quota.", True),
        ("Quota exceeded.", True),
        ("The sum of in-progress and submitted batch inference jobs exceeds the limit", True),
        ("The number of records exceeds the limit of the model.", False),
        ("The file size exceeds the quota.", False),
        ("The total size exceeds the quota.", False),
        ("The input file exceeds the quota.", False),
        ("One record exceeds the quota.", False),
        # It names records, and is of jobs all the same.
        ("The number of records of jobs in flight exceeds the quota.", True),
        ("Files of concurrent jobs: quota exceeded.", True),
        ("Records of submitted jobs exceed the quota.", True),
    ],
)
def test_only_a_quota_of_jobs_frees_itself(cloud: Cloud, message: str, waits: bool) -> None:
    cloud.bedrock.refuse("CreateModelInvocationJob", "ServiceQuotaExceededException", message=message)
    with pytest.raises(NoFreeSlot if waits else PipelineError):
        create_job(request())


def test_jobs_in_flight_are_counted_by_model(cloud: Cloud) -> None:
    """A model is the same under its id, its profile and its ARN; other models' jobs take none of its slots."""
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"
    for model in (CLAUDE, f"us.{CLAUDE}", arn, NOVA, "acme.other-model"):
        for status in (*OPEN_STATUSES, "Completed", "Failed", "Stopped", "Expired", "PartiallyCompleted"):
            cloud.bedrock.put(modelId=model, status=status)
    assert count_open_jobs(CLAUDE) == count_open_jobs(arn) == 3 * len(OPEN_STATUSES)
    assert count_open_jobs(NOVA) == len(OPEN_STATUSES)
    cloud.bedrock.refuse("ListModelInvocationJobs", "AccessDeniedException", 403)
    assert count_open_jobs(CLAUDE) is None
    cloud.bedrock.put(modelId="of no form")
    assert count_open_jobs(CLAUDE) is None


def test_jobs_in_flight_are_counted_once_where_the_list_is_not_filtered(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by imitations and proxies that do not know `statusEquals`."""
    for status in ("Submitted", "InProgress", "Completed"):
        cloud.bedrock.put(modelId=CLAUDE, status=status)
    listed = cloud.bedrock.ListModelInvocationJobs
    monkeypatch.setattr(
        cloud.bedrock, "ListModelInvocationJobs", lambda **given: listed(**{**given, "statusEquals": ""})
    )
    assert count_open_jobs(CLAUDE) == 2


def test_the_state_of_a_job(cloud: Cloud) -> None:
    arn = cloud.bedrock.put()
    cloud.bedrock.move(
        arn,
        "PartiallyCompleted",
        message="out of time",
        totalRecordCount=4,
        processedRecordCount=3,
        successRecordCount=2,
        errorRecordCount=1,
    )
    status = get_job(arn)
    assert (status.status, status.message) == ("PartiallyCompleted", "out of time")
    assert (status.total, status.processed, status.succeeded, status.errored) == (4, 3, 2, 1)
    del cloud.bedrock.jobs[arn]["status"]
    assert get_job(arn).status == "InProgress"


def test_a_job_is_stopped_once(cloud: Cloud) -> None:
    arn = cloud.bedrock.put()
    assert stop_job(arn)
    cloud.bedrock.move(arn, "Stopped")
    assert not stop_job(arn)
    cloud.bedrock.refuse("StopModelInvocationJob", "AccessDeniedException", 403)
    with pytest.raises(PipelineError, match="AccessDenied"):
        stop_job(arn)


def test_a_job_within_a_vpc(cloud: Cloud) -> None:
    arn = create_job(request(subnets=("subnet-1", "subnet-2"), security_groups=("sg-1",)))
    wanted: dict[str, object] = {"subnetIds": ["subnet-1", "subnet-2"], "securityGroupIds": ["sg-1"]}
    assert cloud.bedrock.jobs[arn]["vpcConfig"] == wanted
    assert "vpcConfig" not in cloud.bedrock.jobs[create_job(request(name="job-2", token="token-2"))]
    body: dict[str, object] = {**job_body(), "vpcConfig": wanted}
    assert patterns.problem(body) is None
    for wrong in ({}, {**wanted, "subnetIds": []}, {**wanted, "securityGroupIds": ["a_b"]}, "vpc"):
        assert patterns.problem({**body, "vpcConfig": wrong}), "the imitation knows what AWS refuses"


def job_body() -> dict[str, object]:
    return {
        "jobName": "job-1",
        "roleArn": "arn:aws:iam::123456789012:role/x",
        "modelId": CLAUDE,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in/x.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
    }


def test_metadata_become_tags_that_aws_takes() -> None:
    metadata = {"aws:x": "1", "AWS:y": "1", "é": "ü!", "k" * 200: "v" * 300, "": "x", "team": "a b/c", "+": "a+b@c"}
    tags = job_tags(metadata, "batch_1")
    assert tags == {"_": "__", "k" * 128: "v" * 256, "team": "a b/c", "+": "a+b@c", "bedrock-batch-id": "batch_1"}
    assert job_tags({"bedrock-batch-id": "mine"}, "batch_1") == {"bedrock-batch-id": "batch_1"}
    request = {**job_body(), "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    assert patterns.problem(request) is None
    request["tags"] = [{"key": "aws:x", "value": "1"}]
    assert patterns.problem(request), "the imitation knows what AWS refuses"


def test_a_create_call_says_all_that_it_was_given(cloud: Cloud) -> None:
    create_job(
        request(
            timeout_hours=48,
            kms_key="arn:key/1",
            bucket_owner="999999999999",
            subnets=("s-1", "s-2"),
            security_groups=("g-1",),
            tags={"team": "x"},
        )
    )
    ((_, given),) = cloud.bedrock.calls
    assert given == {
        "jobName": "job-1",
        "clientRequestToken": "token-1",
        "modelId": CLAUDE,
        "roleArn": "arn:aws:iam::123456789012:role/x",
        "inputDataConfig": {
            "s3InputDataConfig": {"s3Uri": "s3://b/i", "s3InputFormat": "JSONL", "s3BucketOwner": "999999999999"}
        },
        "outputDataConfig": {
            "s3OutputDataConfig": {
                "s3Uri": "s3://b/o/",
                "s3EncryptionKeyId": "arn:key/1",
                "s3BucketOwner": "999999999999",
            }
        },
        "timeoutDurationInHours": 48,
        "modelInvocationType": "InvokeModel",
        "vpcConfig": {"subnetIds": ["s-1", "s-2"], "securityGroupIds": ["g-1"]},
        "tags": [{"key": "team", "value": "x"}],
    }


@pytest.mark.parametrize("code", ["ConflictException", "ValidationException"])
def test_a_job_that_is_over_is_not_stopped(cloud: Cloud, code: str) -> None:
    arn = cloud.bedrock.put()
    cloud.bedrock.refuse("StopModelInvocationJob", code)
    assert stop_job(arn) is False


def test_the_message_of_a_job_holds_no_text_of_a_record(cloud: Cloud) -> None:
    arn = cloud.bedrock.put()
    cloud.bedrock.move(arn, "Failed", message='The record "TEXT OF A REQUEST" is malformed')
    found = get_job(arn)
    assert "TEXT OF A REQUEST" not in (found.message or "")
    assert "malformed" in (found.message or "")


@pytest.mark.parametrize("model", [f"us.{CLAUDE}", f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"])
def test_a_model_is_called_what_the_user_called_it(cloud: Cloud, model: str) -> None:
    arn = create_job(request(model_id=model))
    assert cloud.bedrock.jobs[arn]["modelId"] == model


def test_which_jobs_take_a_slot_and_which_are_over() -> None:
    assert OPEN_STATUSES == ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
    assert {"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"} == FINAL_STATUSES
