"""boto3's clients: one for each environment, made anew where that or a file of credentials changes."""

import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, SSLError

from tasks import aws
from tasks.aws.clients import _NamesFiles
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


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of this test's own, in a region."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in list(os.environ):
        if name.startswith("AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("make", "service", "attempts", "read_timeout"),
    [
        (aws.s3, "s3", 9, 60),
        (aws.bedrock, "bedrock", 9, 60),
        # Only we know which call on demand may be sent, and paid for, once more; and an answer may take minutes.
        (aws.runtime, "bedrock-runtime", 1, 600),
    ],
)
def test_how_long_and_how_often_a_call_is_tried(make: Any, service: str, attempts: int, read_timeout: int) -> None:
    client = make()
    assert client.meta.service_model.endpoint_prefix == service
    config = client.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": attempts}
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (10, read_timeout, 64)


@pytest.mark.usefixtures("anew")
def test_a_look_is_soon_given_up() -> None:
    client = aws.looker("sts")
    assert client.meta.service_model.service_name == "sts"
    assert client.meta.region_name == "us-east-1"
    config = client.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert (config.connect_timeout, config.read_timeout) == (3, 20)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("make", [aws.s3, lambda: aws.looker("sts")])
def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(ConfigurationError, match=r"^Invalid endpoint: not a url: AWS_ENDPOINT_URL and"):
        make()


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("make", [aws.bedrock, lambda: aws.looker("sts")])
def test_no_profile_of_that_name(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="There is no AWS profile 'nobody'"):
        make()


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("variable", "style"),
    [(None, None), ("AWS_ENDPOINT_URL_S3", "path"), ("AWS_ENDPOINT_URL", "path"), ("AWS_ENDPOINT_URL_BEDROCK", None)],
)
def test_other_stores_are_addressed_by_path(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, style: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    s3: Any = aws.s3().meta.config
    bedrock: Any = aws.bedrock().meta.config
    assert (s3.s3 or {}).get("addressing_style") == style
    assert bedrock.s3 is None


@pytest.mark.usefixtures("anew")
def test_replies_are_kept_as_they_came_of_the_runtime_only() -> None:
    def kept(client: Any, service: str) -> list[Any]:
        found: list[Any] = client.meta.events._emitter._lookup_cache.clear() or list(
            client.meta.events._emitter._handlers.prefix_search(f"before-parse.{service}.InvokeModel")
        )
        return found

    assert aws.keep_reply in kept(aws.runtime(), "bedrock-runtime")
    assert aws.keep_reply not in kept(aws.bedrock(), "bedrock")


@pytest.mark.usefixtures("anew")
def test_a_program_with_credentials_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Botocore leaves it raw, at the first call."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    with pytest.raises(ConfigurationError) as caught, aws.translated("listing"):
        aws.s3().list_buckets()
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in str(caught.value)
    assert str(token) in str(caught.value)


def test_the_waits_are_jittered_double_and_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[tuple[float, float]] = []
    slept: list[float] = []

    def uniform(low: float, high: float) -> float:
        most.append((low, high))
        return high / 4

    monkeypatch.setattr("tasks.aws.clients.random.uniform", uniform)
    monkeypatch.setattr("tasks.aws.clients.time.sleep", slept.append)
    for attempt in range(6):
        aws.back_off(attempt)
    aws.back_off(9, 60)
    assert most == [(0, 0.5), (0, 1), (0, 2), (0, 4), (0, 5), (0, 5), (0, 60)]
    assert slept == [high / 4 for _, high in most]
    assert aws.READ_ATTEMPTS == 20


@pytest.mark.parametrize(
    "error",
    [
        # An OSError as well, of the library that botocore took it from.
        SSLError(endpoint_url="https://x", error=OSError("x")),
        EndpointConnectionError(endpoint_url="https://x"),
    ],
)
def test_errors_of_botocore_are_left_as_they_are(error: Exception) -> None:
    class Client:
        def _make_api_call(self, name: str, parameters: dict[str, Any]) -> None:
            raise error

    named = type("Named", (_NamesFiles, Client), {})
    with pytest.raises(type(error)) as caught:
        named()._make_api_call("ListObjectsV2", {})
    assert caught.value is error


@pytest.mark.parametrize(
    ("status", "body", "kept", "parsed"),
    [
        (200, b"\xff not JSON", b"\xff not JSON", b"{}"),
        (299, b'{"a":1}', b'{"a":1}', b"{}"),
        (300, b'{"message":"no"}', None, b'{"message": "no"}'),
        (400, b'{"message":"half \\ud800","n":1,"deep":{"a":1}}', None, b'{"message": "half \\ufffd"}'),
        (502, b"<html>" + b"x" * 500, None, b'{"message": "<html>' + b"x" * 194 + b'"}'),
        (502, b"[1]", None, b'{"message": "[1]"}'),
        (502, b"[" * 100_000, None, b'{"message": "' + b"[" * 200 + b'"}'),
    ],
)
def test_a_reply_is_kept_and_of_an_error_its_texts(status: int, body: bytes, kept: bytes | None, parsed: bytes) -> None:
    response: dict[str, Any] = {"status_code": status, "body": body}
    beside: dict[str, Any] = {}
    aws.keep_reply(response, beside, other=1)
    assert beside == ({} if kept is None else {aws.REPLY: kept})
    assert response["body"] == parsed


def test_a_stream_is_left_alone() -> None:
    stream = object()
    response: dict[str, Any] = {"status_code": 200, "body": stream}
    beside: dict[str, Any] = {}
    aws.keep_reply(response, beside)
    assert (response["body"], beside) == (stream, {})
