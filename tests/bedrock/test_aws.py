"""AWS errors in one line: the cause, the remedy, and whether it passes by itself."""

import os
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)

from tasks.bedrock import aws
from tasks.errors import ConfigurationError, PipelineError, TransientError


def client_error(code: str, status: int = 400, message: str = "why") -> ClientError:
    reply = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(reply, "Operation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NoRegionError(), ConfigurationError, "AWS_REGION"),
        (NoCredentialsError(), ConfigurationError, "No usable AWS credentials"),
        (client_error("ExpiredTokenException", 403), ConfigurationError, "refresh them, then repeat the same call"),
        (client_error("AccessDenied", 403), ConfigurationError, "IAM section"),
        (client_error("NoSuchBucket", 404), ConfigurationError, "BEDROCK_BATCH_BUCKET"),
        (client_error("PermanentRedirect", 301), ConfigurationError, "another region"),
        (client_error("ThrottlingException", 429), TransientError, "not answering"),
        (client_error("SlowDown", 503), TransientError, "not answering"),
        (client_error("SomethingNew", 500), TransientError, "not answering"),
        (EndpointConnectionError(endpoint_url="http://x"), TransientError, "could not be reached"),
        (ConnectTimeoutError(endpoint_url="http://x"), TransientError, "could not be reached"),
        (client_error("ValidationException"), PipelineError, "AWS refused"),
    ],
)
def test_explain(error: Exception, kind: type[Exception], said: str) -> None:
    explained = aws.explain(error, "doing something")
    assert type(explained) is kind
    assert said in str(explained)
    assert "\n" not in str(explained)
    assert aws.is_transient(error) == (kind is TransientError)


def test_clients_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    first = aws.s3()
    assert aws.s3() is first
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    assert aws.s3().meta.endpoint_url == "http://127.0.0.1:1"


def test_clients_follow_refreshed_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for number in (1, 2):
        file.write_text(f"[default]\naws_access_key_id = key{number}\naws_secret_access_key = secret\n")
        os.utime(file, ns=(number, number))
        client = aws.s3()
        assert client._request_signer._credentials.access_key == f"key{number}"  # type: ignore[attr-defined]
        assert aws.s3() is client


def test_either_variable_names_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert aws.bedrock().meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "ap-northeast-1")
    assert aws.bedrock().meta.region_name == "ap-northeast-1"


def test_without_a_region_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        aws.bedrock()
