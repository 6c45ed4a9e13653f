"""Buckets as they are: policies that demand a key, deny deleting, or allow one folder; other regions, other owners."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.batch import BatchFailedError, batch_inference
from flows.compare import compare_models
from flows.operations import collect_batches
from tasks.errors import ConfigurationError, InputFileError
from tests.conftest import CLAUDE, NOVA, Sandbox, account, chat, write_chats, write_lines

pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
KEY = "arn:aws:kms:us-east-1:123456789012:key/89b483cb-130d-497b-aa37-7db177e7cd32"


def keys_of(sandbox: Sandbox, prefix: str) -> set[str | None]:
    heads = [sandbox.s3.head_object(Bucket=sandbox.bucket, Key=name) for name in sandbox.keys(f"{prefix}/")]
    return {head.get("SSEKMSKeyId") for head in heads}


def test_a_bucket_that_demands_a_key(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", KEY)
    # A second round, on demand, and a batch that is left to the collector.
    sandbox.faults(s3_require_kms=True, record_errors={"rate": 0.1, "code": 500, "message": "fault", "times": 1})
    path = write_chats(tmp_path / "in.jsonl", 120)
    batch = batch_inference(path, CLAUDE, wait=False, **FAST)
    assert f"{prefix}/open/{batch.id}" in sandbox.keys(prefix)
    assert keys_of(sandbox, prefix) == {KEY}
    place = {"s3OutputDataConfig": {"s3Uri": f"s3://{sandbox.bucket}/{prefix}-copies/"}}
    batch = batch_inference(path, CLAUDE, output_data_config=place, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(120)])
    assert keys_of(sandbox, prefix) == keys_of(sandbox, f"{prefix}-copies") == {KEY}


def test_a_comparison_in_a_bucket_that_demands_a_key(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", KEY)
    sandbox.faults(s3_require_kms=True)
    models: list[str | dict[str, Any]] = [CLAUDE, {"model": NOVA, "overrides": {"temperature": 0}}]
    comparison = compare_models(
        str(write_chats(tmp_path / "in.jsonl", 5)), models, judge=NOVA, completion_window="immediate"
    )
    assert not comparison.failed
    assert keys_of(sandbox, prefix) == {KEY}


@pytest.mark.parametrize("window", ["24h", "immediate"])
def test_a_bucket_that_denies_deleting(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, window: str
) -> None:
    sandbox.faults(s3_denied=["DeleteObject", "AbortMultipartUpload", "ListMultipartUploads"])
    path = write_chats(tmp_path / "in.jsonl", 100)
    with caplog.at_level(logging.WARNING):
        batch = batch_inference(str(path), CLAUDE, completion_window=window, **FAST)
    assert batch.status == "completed"
    account(sandbox, batch, [f"req-{i}" for i in range(100)])
    said = [record.getMessage() for record in caplog.records if "could not be deleted" in record.getMessage()]
    assert 1 <= len(said) <= 2, said
    # What is left behind troubles nobody: neither the same call nor a collector.
    assert batch_inference(path, CLAUDE, completion_window=window, **FAST) == batch
    assert [each.id for each in collect_batches()] == [batch.id]


def test_a_failed_batch_where_deleting_is_denied(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(s3_denied=["DeleteObject"])
    path = write_lines(tmp_path / "in.jsonl", [chat("a"), "no json"])
    with pytest.raises(BatchFailedError, match="invalid_json_line"):
        batch_inference(path, CLAUDE, **FAST)


def test_a_caller_who_may_list_one_folder_only(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(s3_list_prefix=prefix)
    path = write_chats(tmp_path / "in.jsonl", 100)
    batch = batch_inference(path, CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(100)])
    # The same input as a folder of the bucket, named without a slash.
    sandbox.s3.upload_file(str(path), sandbox.bucket, f"{prefix}/given/in.jsonl")
    assert batch_inference(f"s3://{sandbox.bucket}/{prefix}/given", CLAUDE, **FAST).id == batch.id
    with pytest.raises(InputFileError, match="There is no object"):
        batch_inference(f"s3://{sandbox.bucket}/{prefix}/none.jsonl", CLAUDE, **FAST)
    with pytest.raises(ConfigurationError, match="denied access while reading"):
        batch_inference(f"s3://{sandbox.bucket}/elsewhere/none.jsonl", CLAUDE, **FAST)


@pytest.mark.parametrize(
    ("faults", "environment", "said"),
    [
        ({"bucket_region": "eu-west-1"}, {}, r"is in eu-west-1, and the jobs would run in us-east-1.*AWS_REGION"),
        ({"s3_list_prefix": "another"}, {}, r"denied access to s3://\S+ .*s3:ListBucket.*another account's"),
        ({"s3_denied": ["HeadBucket", "ListBucket"]}, {}, "denied access to .*s3:ListBucket"),
        ({"bucket_owner": "210987654321"}, {"BEDROCK_BATCH_BUCKET_OWNER": "111122223333"}, "not account 111122223333"),
        ({}, {"BEDROCK_BATCH_BUCKET_OWNER": "me"}, "BEDROCK_BATCH_BUCKET_OWNER must be the 12 digits"),
        ({"s3_refused": "RequestTimeTooSkewed"}, {}, "clock is wrong"),
        ({"s3_refused": "SignatureDoesNotMatch"}, {}, "AWS_SECRET_ACCESS_KEY"),
        ({"s3_refused": "InvalidAccessKeyId"}, {}, "does not know the access key"),
        ({"s3_refused": "ExpiredToken"}, {}, "refresh them, then repeat the same call"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_before_any_work(
    sandbox: Sandbox,
    tmp_path: Path,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, Any],
    environment: dict[str, str],
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sandbox.faults(**faults)
    with pytest.raises(ConfigurationError, match=said) as caught:
        batch_inference(write_chats(tmp_path / "in.jsonl", 100), CLAUDE, **FAST)
    assert "\n" not in str(caught.value)
    sandbox.reset()
    assert not sandbox.keys(prefix)


def test_a_bucket_of_another_account(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(bucket_owner="210987654321")
    path = write_chats(tmp_path / "in.jsonl", 100)
    with pytest.raises(BatchFailedError, match="belongs to another account"):
        batch_inference(path, CLAUDE, **FAST)
    place = {"s3Uri": f"s3://{sandbox.bucket}/{prefix}/copies/", "s3BucketOwner": "210987654321"}
    batch = batch_inference(path, CLAUDE, output_data_config={"s3OutputDataConfig": place}, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(100)])
    job = sandbox.jobs(prefix)[-1]
    assert job["inputDataConfig"]["s3InputDataConfig"]["s3BucketOwner"] == "210987654321"
    assert job["outputDataConfig"]["s3OutputDataConfig"]["s3BucketOwner"] == "210987654321"
    assert f"{prefix}/copies/{batch.id}/output.jsonl" in sandbox.keys(prefix)
    document = json.loads(sandbox.read(f"s3://{sandbox.bucket}/{prefix}/batches/{batch.id}/batch.json"))
    assert document["bedrock"]["options"]["bucket_owner"] == "210987654321"


def test_metadata_may_be_null(sandbox: Sandbox, tmp_path: Path) -> None:
    path = write_chats(tmp_path / "in.jsonl", 3)
    assert not batch_inference(str(path), CLAUDE, metadata=None, **FAST).metadata
    with pytest.raises(ConfigurationError, match=r"metadata\['team'\] must be text, not int"):
        batch_inference(path, CLAUDE, metadata={"team": 7}, **FAST)
    with pytest.raises(ConfigurationError, match=r"metadata\['team'\] must be text, not NoneType"):
        compare_models(path, [CLAUDE, NOVA], metadata={"team": None}, **FAST)


@pytest.mark.e2e
@pytest.mark.parametrize("command", ["flows.batch", "flows.compare"])
def test_an_unreachable_prefect_server_is_one_line(tmp_path: Path, command: str) -> None:
    arguments = [sys.executable, "-m", command, str(write_chats(tmp_path / "in.jsonl", 3)), "--model", CLAUDE]
    environment = {**os.environ, "PREFECT_API_URL": "http://me:hunter2@127.0.0.1:9/api"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "http://127.0.0.1:9/api" in line
    assert "unset PREFECT_API_URL" in line
