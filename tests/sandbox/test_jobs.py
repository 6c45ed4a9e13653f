"""Jobs of the imitation: their states, what they read and write, and how they are spoiled; on S3 in memory."""

import json
import re
import threading
from typing import Any

import pytest

from deployments.sandbox.checks import Refused
from deployments.sandbox.faults import Faults, Journal
from deployments.sandbox.jobs import OPEN, Job, Jobs
from tests.conftest import CLAUDE, NOVA
from tests.fakes import BUCKET, Cloud
from tests.waiting import until

BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


def record(number: int, **body: Any) -> bytes:
    return json.dumps({"recordId": f"r{number:08d}", "modelInput": {**BODY, **body}}).encode()


class Imitation:
    def __init__(self, cloud: Cloud, seconds: float = 0.0, **faults: Any) -> None:
        self.cloud, self.faults, self.journal = cloud, Faults(), Journal()
        self.faults.set({"min_records": 1, **faults})
        self.jobs = Jobs(cloud.s3.client, "us-east-1", self.faults, self.journal, seconds)

    def begin(self, records: list[bytes], **fields: Any) -> Job:
        self.cloud.s3.put("in/a.jsonl", b"".join(each + b"\n" for each in records))
        return self.jobs.get(self.jobs.create(request(**fields)))

    def end(self, records: list[bytes], **fields: Any) -> Job:
        job = self.begin(records, **fields)
        until(lambda: job.status not in OPEN, "the job ends")
        return job

    def output(self, job: Job) -> list[bytes]:
        return self.cloud.s3.objects[f"out/{job.id}/a.jsonl.out"].body.splitlines()

    def manifest(self, job: Job) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.cloud.s3.objects[f"out/{job.id}/manifest.json.out"].body)
        return found


def request(**fields: Any) -> dict[str, Any]:
    return {
        "jobName": "job",
        "roleArn": "role",
        "modelId": CLAUDE,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/in/a.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
        **fields,
    }


def test_every_record_is_answered_once_in_an_order_of_its_own(cloud: Cloud) -> None:
    given = [record(n) for n in range(50)]
    imitation = Imitation(cloud)
    job = imitation.end([*given, record(50, max_tokens=-1)])
    assert (job.status, job.total, job.processed, job.succeeded, job.errored) == ("Completed", 51, 51, 50, 1)
    lines = [json.loads(line) for line in imitation.output(job)]
    ids = [line["recordId"] for line in lines]
    assert sorted(ids) == [f"r{n:08d}" for n in range(51)] != ids
    assert [line["recordId"] for line in lines if "error" in line] == ["r00000050"]
    said = sum(
        json.loads(line)["modelOutput"]["usage"]["output_tokens"]
        for line in imitation.output(job)
        if b"error" not in line
    )
    assert imitation.manifest(job) == {
        "totalRecordCount": 51,
        "processedRecordCount": 51,
        "successRecordCount": 50,
        "errorRecordCount": 1,
        "inputTokenCount": 2 * 50,
        "outputTokenCount": said,
    }
    assert said > 50
    assert imitation.journal.snapshot() | {"calls": 0} == {
        "calls": 0, "bodies": 1, "paid": 50, "asked": 51, "most_often": 50
    }  # fmt: skip
    shown = job.describe()
    assert shown["status"] == "Completed"
    assert "message" not in shown


@pytest.mark.parametrize(
    ("end", "status", "answered"),
    [
        ({"status": "Failed", "message": "no"}, "Failed", None),
        ({"status": "Failed", "message": "no", "fraction": 0.25}, "Failed", 5),
        ({"status": "Expired"}, "Expired", None),
        ({"status": "PartiallyCompleted", "fraction": 0.5}, "PartiallyCompleted", 10),
    ],
)
def test_a_job_ends_as_it_was_told(cloud: Cloud, end: dict[str, Any], status: str, answered: int | None) -> None:
    imitation = Imitation(cloud, job_ends=[end])
    job = imitation.end([record(n) for n in range(20)])
    assert job.status == status
    if answered is None:
        assert not cloud.s3.keys("out")
    else:
        assert len(imitation.output(job)) == job.processed == answered
    assert imitation.end([record(0)]).status == "Completed", "the next one is told nothing"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([b"not json"], "line 1 is not a JSON object"),
        ([record(0), b"[1]"], "line 2 has no modelInput object"),
        ([b"\xef\xbb\xbf" + record(0)], "line 1 is not a JSON object"),
        ([b"\xff"], "line 1 is not a JSON object"),
        ([record(0), b""], "line 2 is not a JSON object"),
        ([b'{"recordId": 7, "modelInput": {}}'], "no alphanumeric recordId"),
        ([b'{"recordId": "a-b", "modelInput": {}}'], "no alphanumeric recordId"),
        ([b'{"recordId": "%b", "modelInput": {}}' % (b"a" * 65)], "no alphanumeric recordId"),
        ([record(1), record(1)], "Duplicate recordId"),
        ([record(1)] * 3, "Duplicate recordId"),
        ([], "minimum is 1"),
    ],
)
def test_what_validation_finds(cloud: Cloud, records: list[bytes], said: str) -> None:
    job = Imitation(cloud).end(records)
    assert job.status == "Failed"
    assert said in job.message


def test_what_it_cannot_reach_fails_the_job(cloud: Cloud) -> None:
    config = {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/elsewhere/"}}}
    assert "No .jsonl file" in Imitation(cloud).end([record(0)], **config).message
    owner = {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/", "s3BucketOwner": "9" * 12}}}
    assert "belongs to another account" in Imitation(cloud).end([record(0)], **owner).message
    assert "S3 denied PutObject" in Imitation(cloud, s3_require_kms=True).end([record(0)]).message


def test_a_token_is_one_job_and_a_quota_is_of_one_model(cloud: Cloud) -> None:
    imitation = Imitation(cloud, hold=True, max_jobs=1)
    job = imitation.begin([record(0)], clientRequestToken="t")
    assert imitation.jobs.create(request(clientRequestToken="t", tags=[{"key": "a", "value": "b"}])) == job.arn
    with pytest.raises(Refused, match="other parameters"):
        imitation.jobs.create(request(clientRequestToken="t", roleArn="another"))
    with pytest.raises(Refused, match="Too many in-progress"):
        imitation.jobs.create(request(clientRequestToken="u"))
    imitation.jobs.create(request(modelId=NOVA))
    with pytest.raises(Refused, match="model identifier is invalid"):
        imitation.jobs.create(request(modelId="gpt-4o"))
    imitation.faults.set({"hold": False, "bad_roles": ["role"]})
    with pytest.raises(Refused, match="cannot be assumed"):
        imitation.jobs.create(request(clientRequestToken="v"))
    with pytest.raises(Refused, match="Could not find"):
        imitation.jobs.get("nothing")


def test_a_job_is_stopped_and_keeps_what_was_answered(cloud: Cloud) -> None:
    imitation = Imitation(cloud, hold=True)
    job = imitation.begin([record(n) for n in range(3)])
    until(lambda: job.processed == 3, "its records are answered")
    imitation.jobs.stop(job.id)
    assert job.status == "Stopping"
    imitation.jobs.stop(job.arn)
    until(lambda: job.status == "Stopped", "it is stopped")
    assert len(imitation.output(job)) == 3
    with pytest.raises(Refused, match="cannot be stopped"):
        imitation.jobs.stop(job.arn)


def test_output_is_spoiled_as_it_was_told(cloud: Cloud) -> None:
    imitation = Imitation(cloud, missing=2, doubled=3, unasked=1, garbled=1, wrong_manifest=True)
    job = imitation.end([record(n) for n in range(10)])
    lines = imitation.output(job)
    assert len(lines) == 10 - 2 + 3 + 1
    whole = [line for line in lines if line.endswith(b"}") and line.count(b"{") == line.count(b"}")]
    assert len(whole) == len(lines) - 1
    assert sum(json.loads(line)["recordId"].startswith("x") for line in whole) == 1
    assert imitation.manifest(job)["processedRecordCount"] == 7


def test_records_fail_at_a_rate_and_so_many_times(cloud: Cloud) -> None:
    errors = {"rate": 0.3, "code": 429, "message": "slow down", "times": 1}
    imitation = Imitation(cloud, record_errors=errors)
    given = [record(n, max_tokens=n + 1) for n in range(200)]
    first, second = imitation.end(given), imitation.end(given)
    assert 30 < first.errored < 90
    assert second.errored == 0
    refused = [json.loads(line)["error"] for line in imitation.output(first) if b'"error"' in line]
    assert {(each["errorCode"], each["errorMessage"]) for each in refused} == {(429, "slow down")}


def test_jobs_of_many_threads_are_one_for_each_token(cloud: Cloud) -> None:
    imitation = Imitation(cloud, hold=True, max_jobs=100)
    cloud.s3.put("in/a.jsonl", record(0) + b"\n")
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(imitation.jobs.create(request(clientRequestToken=f"t{n % 3}"))))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(made), len(set(made)), len(imitation.jobs.all())) == (12, 3, 3)
    imitation.faults.set({"hold": False})


def test_what_is_ended_is_not_answered_any_more_and_takes_no_slot(cloud: Cloud) -> None:
    """The next test counts from nothing: a job that the one before it left behind is none of its own."""
    imitation = Imitation(cloud, seconds=600.0, max_jobs=1)
    late = imitation.begin([record(0)])
    imitation.jobs.end_all()
    assert late.status == "Stopped"
    imitation.faults.set({"job_seconds": 0.0})
    assert imitation.end([record(1)]).status == "Completed"
    assert imitation.journal.snapshot()["paid"] == 1


def test_a_file_may_have_so_many_records_and_a_job_must(cloud: Cloud) -> None:
    three = [record(n) for n in range(3)]
    assert Imitation(cloud, max_records=3, min_records=3).end(three).status == "Completed"
    assert "A file has more than 2 records" in Imitation(cloud, max_records=2).end(three).message
    assert "3 records; the minimum is 4" in Imitation(cloud, min_records=4).end(three).message


def test_output_is_written_with_the_jobs_own_key(cloud: Cloud) -> None:
    config = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/", "s3EncryptionKeyId": "key-1"}}
    job = Imitation(cloud, s3_require_kms=True).end([record(0)], outputDataConfig=config)
    assert job.status == "Completed"
    for name in ("a.jsonl.out", "manifest.json.out"):
        options = cloud.s3.objects[f"out/{job.id}/{name}"].options
        assert (options["ServerSideEncryption"], options["SSEKMSKeyId"]) == ("aws:kms", "key-1")


def test_what_a_job_says_of_itself(cloud: Cloud) -> None:
    asked = request(
        clientRequestToken="t",
        vpcConfig={"subnetIds": ["s"]},
        timeoutDurationInHours=48,
        modelInvocationType="InvokeModel",
        tags=[{"key": "a", "value": "b"}],
    )
    imitation = Imitation(cloud)
    cloud.s3.put("in/a.jsonl", record(0) + b"\n" + record(1, max_tokens=-1) + b"\n")
    job = imitation.jobs.get(imitation.jobs.create(asked))
    until(lambda: job.status not in OPEN, "the job ends")
    found = job.describe()
    times = {name: found.pop(name) for name in ("submitTime", "lastModifiedTime", "endTime")}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each) for each in times.values())
    del asked["tags"]
    assert found == {
        **asked,
        "jobArn": job.arn,
        "status": "Completed",
        "totalRecordCount": 2,
        "processedRecordCount": 2,
        "successRecordCount": 1,
        "errorRecordCount": 1,
    }
    usual = imitation.end([record(0)]).describe()
    assert (usual["timeoutDurationInHours"], usual["modelInvocationType"]) == (24, "InvokeModel")
    assert not {"vpcConfig", "clientRequestToken"} & usual.keys()


def test_nova_and_converse_count_tokens_too(cloud: Cloud) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "four"}]}]}
    imitation = Imitation(cloud)
    line = json.dumps({"recordId": "r1", "modelInput": body}).encode()
    job = imitation.end([line], modelId=NOVA, modelInvocationType="Converse")
    (found,) = map(json.loads, imitation.output(job))
    usage = found["modelOutput"]["usage"]
    assert (found["recordId"], found["modelInput"]) == ("r1", body)
    counted = imitation.manifest(job)
    assert (counted["inputTokenCount"], counted["outputTokenCount"]) == (usage["inputTokens"], usage["outputTokens"])
    # A job of Converse echoes every member of a union.
    assert found["modelOutput"]["output"]["message"]["content"][0]["image"] is None
