"""boto3's clients: one for each environment, made anew where that or a file of credentials changes."""

import os
from pathlib import Path

import pytest

from tasks import aws
from tasks.errors import ConfigurationError


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
