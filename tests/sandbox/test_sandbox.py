"""The imitation refuses what AWS refuses."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from deployments.sandbox import checks
from deployments.sandbox.checks import Refused
from tests.conftest import CLAUDE, Sandbox

GOOD: dict[str, Any] = {
    "jobName": "job-1",
    "roleArn": "arn:aws:iam::123456789012:role/BedrockBatchRole",
    "modelId": CLAUDE,
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://sandbox-batches/in/x.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://sandbox-batches/out/"}},
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"jobName": "under_score"}, "jobName"),
        ({"roleArn": "arn:aws:iam::1:role/x"}, "roleArn"),
        ({"clientRequestToken": "a_b"}, "clientRequestToken"),
        ({"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://sandbox-batches/dt=2026/"}}}, "s3Uri"),
        ({"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://sandbox-batches/a//b.jsonl"}}}, "s3Uri"),
        (
            {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://sandbox-batches/x.jsonl", "s3BucketOwner": "1"}}},
            "s3BucketOwner",
        ),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://sandbox-batches/o/", "s3BucketOwner": "12a"}}},
            "s3BucketOwner",
        ),
        ({"timeoutDurationInHours": 169}, "timeoutDurationInHours"),
        ({"tags": [{"key": "k", "value": "ü!"}]}, "tags"),
        ({"modelId": "gpt-4o"}, "model identifier"),
    ],
)
def test_create_refuses(sandbox: Sandbox, change: dict[str, Any], field: str) -> None:
    client = boto3.client("bedrock")
    with pytest.raises(ClientError, match=field):
        client.create_model_invocation_job(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"", "minimum is 100"),
        (b"not json\n" * 100, "not a JSON object"),
        (b'{"recordId":"a","modelInput":{}}\n' * 100, "Duplicate recordId"),
        (b'{"recordId":"a-b","modelInput":{}}\n' * 100, "alphanumeric"),
        (b"\xef\xbb\xbf" + b'{"recordId":"a","modelInput":{}}\n' * 100, "not a JSON object"),
    ],
)
def test_jobs_fail_on_bad_input(sandbox: Sandbox, prefix: str, lines: bytes, message: str) -> None:
    import time

    key = f"{prefix}/x.jsonl"
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=lines)
    client = boto3.client("bedrock")
    request = {**GOOD, "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{sandbox.bucket}/{key}"}}}
    arn = client.create_model_invocation_job(**request)["jobArn"]
    for _ in range(100):
        job = client.get_model_invocation_job(jobIdentifier=arn)
        if job["status"] == "Failed":
            break
        time.sleep(0.05)
    assert message in job["message"]


def test_a_token_makes_one_job(sandbox: Sandbox) -> None:
    client = boto3.client("bedrock")
    first = client.create_model_invocation_job(**GOOD, clientRequestToken="token-1")["jobArn"]
    assert client.create_model_invocation_job(**GOOD, clientRequestToken="token-1")["jobArn"] == first
    with pytest.raises(ClientError, match="ConflictException"):
        client.create_model_invocation_job(**{**GOOD, "jobName": "job-2"}, clientRequestToken="token-1")


ASK = {"role": "user", "content": "Hi"}
ANTHROPIC = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [ASK]}


@pytest.mark.parametrize(
    "change",
    [
        {"anthropic_version": None},
        {"max_tokens": 0},
        {"model": "x"},
        {"stream": False},
        {"temperature": 1.1},
        {"messages": []},
        {"messages": [ASK, ASK]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
        {"system": ""},
        {"tools": [{"name": "a b", "input_schema": {"type": "object"}}]},
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"tool_choice": {"type": "auto"}},
        {"stop_sequences": ["\n"]},
    ],
)
def test_anthropic_bodies_that_claude_refuses(change: dict[str, Any]) -> None:
    checks.anthropic(ANTHROPIC)
    with pytest.raises(Refused):
        checks.anthropic({**ANTHROPIC, **change})


TURN = {"role": "user", "content": [{"text": "Hi"}]}
TOOLS = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": [TURN, TURN]},
        {"messages": [{"role": "user", "content": [{"text": ""}]}]},
        {"inferenceConfig": {"temperature": 2}},
        {"inferenceConfig": {"maxTokens": "5"}},
        {"toolConfig": TOOLS},
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"modelId": "x"},
        {"unknown": 1},
        {"messages": [{"role": "user", "content": [{"text": "a", "image": None}]}]},
    ],
)
def test_converse_bodies_that_a_job_refuses(change: dict[str, Any]) -> None:
    checks.converse({"messages": [TURN]}, batch=True)
    with pytest.raises(Refused):
        checks.converse({"messages": [TURN], **change}, batch=True)


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 3},
        {"inferenceConfig": {"max_tokens": 3}},
        {"inferenceConfig": {"topP": 2}},
        {"system": "x"},
        {
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "$defs": {}}}}}]
            }
        },
    ],
)
def test_nova_bodies_that_nova_refuses(change: dict[str, Any]) -> None:
    checks.nova({"messages": [TURN]})
    with pytest.raises(Refused):
        checks.nova({"messages": [TURN], **change})
