"""The imitation's two HTTP APIs, called without a network: routes, errors by AWS's names, and lost replies."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.test import Client

from deployments.sandbox.faults import Faults, Journal
from deployments.sandbox.jobs import Jobs
from deployments.sandbox.service import Bedrock
from tests.conftest import CLAUDE, NOVA
from tests.fakes import BUCKET, Cloud

CHAT = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
TURNS = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
JOB: dict[str, Any] = {
    "jobName": "job-1",
    "roleArn": "arn:aws:iam::123456789012:role/x",
    "modelId": CLAUDE,
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/in/a.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}},
}


class Service:
    def __init__(self, cloud: Cloud, **faults: Any) -> None:
        self.faults, self.journal = Faults(), Journal()
        self.faults.set({"hold": False, **faults})
        jobs = Jobs(cloud.s3.client, "us-east-1", self.faults, self.journal, 1000.0)
        self.client: Any = Client(Bedrock(jobs, self.faults, self.journal, "us-east-1"))

    def post(self, path: str, body: Any, **headers: str) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self.client.post(path, data=data, headers=headers)


@pytest.fixture
def service(cloud: Cloud) -> Service:
    return Service(cloud)


def error_of(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.headers["x-amzn-errortype"]


def test_a_job_from_its_making_to_its_stop(service: Service) -> None:
    arn = service.post("/model-invocation-job", JOB).json["jobArn"]
    for name in (arn, arn.rsplit("/", 1)[-1]):
        found = service.client.get(f"/model-invocation-job/{quote(name, safe='')}")
        assert (found.json["jobArn"], found.json["status"]) == (arn, "Submitted")
    assert service.post(f"/model-invocation-job/{quote(arn, safe='')}/stop", {}).status_code == 200
    assert service.client.get(f"/model-invocation-job/{quote(arn, safe='')}").json["status"] in ("Stopping", "Stopped")
    assert service.journal.calls == {
        "CreateModelInvocationJob": 1,
        "GetModelInvocationJob": 3,
        "StopModelInvocationJob": 1,
    }


def test_jobs_are_listed_in_pages_by_name_and_status(service: Service) -> None:
    for name in ("a-1", "a-2", "b-1"):
        service.post("/model-invocation-job", {**JOB, "jobName": name})
    first = service.client.get("/model-invocation-jobs?nameContains=a-&maxResults=1").json
    second = service.client.get(f"/model-invocation-jobs?nameContains=a-&maxResults=1&nextToken={first['nextToken']}")
    names = [each["invocationJobSummaries"][0]["jobName"] for each in (first, second.json)]
    assert sorted(names) == ["a-1", "a-2"]
    assert "nextToken" not in second.json
    assert service.client.get("/model-invocation-jobs?statusEquals=Completed").json["invocationJobSummaries"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("POST", "/model-invocation-job", {**JOB, "jobName": "a_b"}, (400, "ValidationException")),
        ("POST", "/model-invocation-job", b"{", (400, "ValidationException")),
        ("POST", "/model-invocation-job", [], (400, "ValidationException")),
        ("GET", "/model-invocation-job/none", None, (404, "ResourceNotFoundException")),
        ("GET", "/nothing", None, (404, "ResourceNotFoundException")),
        ("GET", "/inference-profiles/none", None, (404, "ResourceNotFoundException")),
        ("POST", "/model/gpt-4o/invoke", CHAT, (400, "ValidationException")),
        ("POST", f"/model/{CLAUDE}/invoke", {**CHAT, "max_tokens": 0}, (400, "ValidationException")),
        ("POST", "/_sandbox/faults", {"trottle": 1}, (400, "ValidationException")),
        ("GET", "/_sandbox/faults", None, (404, "ResourceNotFoundException")),
    ],
)
def test_what_is_wrong_has_awss_name(
    service: Service, method: str, path: str, body: Any, error: tuple[int, str]
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    assert error_of(service.client.open(path, method=method, data=data)) == error


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"throttle": 1.0}, (429, "ThrottlingException")),
        ({"server_error": 1.0}, (500, "InternalServerException")),
        ({"expired_token": True}, (403, "ExpiredTokenException")),
        ({"denied_operations": ["InvokeModel"]}, (403, "AccessDeniedException")),
        ({"invoke_errors": {"rate": 1.0, "code": 408, "message": "late", "times": 1}}, (408, "ModelTimeoutException")),
    ],
)
def test_faults_of_a_call_cost_nothing(cloud: Cloud, fault: dict[str, Any], error: tuple[int, str]) -> None:
    service = Service(cloud, **fault)
    assert error_of(service.post(f"/model/{CLAUDE}/invoke", CHAT)) == error
    assert service.journal.snapshot()["paid"] == 0


@pytest.mark.parametrize("fault", [{"drop": 1.0}, {"lose_create_replies": 1}])
def test_a_lost_reply_is_no_reply(cloud: Cloud, fault: dict[str, Any]) -> None:
    service = Service(cloud, **fault)
    with pytest.raises(ConnectionAbortedError):
        service.post("/model-invocation-job", JOB)
    made = len(service.client.get("/_sandbox/jobs").json)
    assert made == (1 if "lose_create_replies" in fault else 0)


def test_calls_on_demand_are_paid_whatever_becomes_of_their_replies(cloud: Cloud) -> None:
    service = Service(cloud, lose_invoke_replies=1, gateway_replies=1, rubbish_replies=["html", "broken off"])
    path = f"/model/{CLAUDE}/invoke"
    with pytest.raises(ConnectionAbortedError):
        service.post(path, CHAT)
    assert (service.post(path, CHAT).status_code, service.post(path, CHAT).data[:6]) == (504, b"<html>")
    with pytest.raises(ConnectionAbortedError):
        _ = service.post(path, CHAT).data
    assert service.post(path, CHAT).json["type"] == "message"
    assert service.client.get("/_sandbox/journal").json["paid"] == 5
    assert service.post("/_sandbox/reset", {}).json["gateway_replies"] == 0
    assert service.journal.snapshot()["paid"] == 0


def test_converse_leaves_out_what_a_job_echoes_as_null(service: Service) -> None:
    reply = service.post(f"/model/{NOVA}/converse", TURNS).json
    assert set(reply["output"]["message"]["content"][0]) == {"text"}
    assert "trace" not in reply
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"
    assert service.post(f"/model/{quote(arn, safe='')}/converse", TURNS).json["output"] == reply["output"]


@pytest.mark.parametrize(("tier", "status"), [("flex", 200), ("default", 200), ("fastest", 400)])
def test_service_tiers(service: Service, tier: str, status: int) -> None:
    assert service.post(f"/model/{NOVA}/converse", {**TURNS, "serviceTier": {"type": tier}}).status_code == status
    headers = {"X-Amzn-Bedrock-Service-Tier": tier}
    assert service.post(f"/model/{CLAUDE}/invoke", CHAT, **headers).status_code == status


def test_an_application_profile_stands_for_a_model(service: Service) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/appnova"
    found = service.client.get(f"/inference-profiles/{quote(arn, safe='')}").json
    assert found["models"] == [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"}]


def test_the_newest_jobs_are_listed_first_unless_it_is_said(cloud: Cloud) -> None:
    service = Service(cloud)
    names = ["a-1", "a-2", "a-3"]
    for name in names:
        service.post("/model-invocation-job", {**JOB, "jobName": name})
    jobs: Any = service.client.application._jobs
    for number, job in enumerate(jobs.all()):
        job.submitted = f"2026-11-2{number}T00:00:00Z"

    def listed(query: str = "") -> list[str]:
        found = service.client.get(f"/model-invocation-jobs{query}").json["invocationJobSummaries"]
        return [each["jobName"] for each in found]

    assert listed() == names[::-1]
    assert listed("?sortOrder=Ascending") == names


def test_a_call_fails_so_many_times_and_is_answered_then(cloud: Cloud) -> None:
    service = Service(cloud, invoke_errors={"rate": 1.0, "code": 429, "message": "slow", "times": 2})
    path = f"/model/{CLAUDE}/invoke"
    assert [service.post(path, CHAT).status_code for _ in range(4)] == [429, 429, 200, 200]
    assert service.post(path, {**CHAT, "max_tokens": 8}).status_code == 429, "each body for itself"
    assert service.journal.snapshot() | {"calls": 0} == {
        "calls": 0, "bodies": 1, "paid": 2, "asked": 5, "most_often": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        (400, "ValidationException", 400),
        (402, "ServiceQuotaExceededException", 400),
        (403, "AccessDeniedException", 403),
        (404, "ResourceNotFoundException", 404),
        (408, "ModelTimeoutException", 408),
        (409, "ConflictException", 400),
        (419, "ExpiredTokenException", 403),
        (429, "ThrottlingException", 429),
        (500, "InternalServerException", 500),
        (418, "InternalServerException", 500),
    ],
)
def test_errors_are_called_as_aws_calls_them(cloud: Cloud, status: int, name: str, code: int) -> None:
    service = Service(cloud, invoke_errors={"rate": 1.0, "code": status, "message": "why", "times": 1})
    reply = service.post(f"/model/{CLAUDE}/invoke", CHAT)
    assert error_of(reply) == (code, name)
    assert reply.json == {"message": "why"}


def test_a_job_may_be_unknown_for_a_while(cloud: Cloud) -> None:
    service = Service(cloud, unknown_gets=2)
    arn = service.post("/model-invocation-job", JOB).json["jobArn"]
    path = f"/model-invocation-job/{quote(arn, safe='')}"
    assert [service.client.get(path).status_code for _ in range(3)] == [404, 404, 200]
