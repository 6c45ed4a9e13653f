"""AWS errors in one line: the cause, the remedy, and whether it passes by itself."""

import os
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConfigParseError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    InvalidConfigError,
    InvalidRegionError,
    LoginRefreshRequired,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from s3transfer.exceptions import RetriesExceededError

from tasks import aws
from tasks.errors import (
    AccessDeniedError,
    ConfigurationError,
    MissingObjectError,
    PipelineError,
    PreconditionError,
    TransientError,
)
from tasks.storage.bucket import check_bucket
from tasks.storage.listing import list_folder
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri


def client_error(code: str, status: int = 400, message: str = "why", operation: str = "Operation") -> ClientError:
    reply = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(reply, operation)  # type: ignore[arg-type]


UNTRUSTED = SSLError(endpoint_url="https://x", error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
EXPIRED_SIGNATURE = client_error("InvalidSignatureException", 403, "Signature expired: 1 is now earlier than 2")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NoRegionError(), ConfigurationError, "AWS_REGION"),
        (NoCredentialsError(), ConfigurationError, "No usable AWS credentials"),
        (client_error("ExpiredTokenException", 403), ConfigurationError, "refresh them, then repeat the same call"),
        (client_error("AccessDenied", 403), AccessDeniedError, "see IAM in deployments/docs/operating.md"),
        (client_error("AccessDeniedException", 403), AccessDeniedError, "Grant the permission"),
        (client_error("NoSuchKey", 404), MissingObjectError, "(NoSuchKey)"),
        (client_error("404", 404, operation="HeadObject"), MissingObjectError, "(404)"),
        (client_error("PreconditionFailed", 412), PreconditionError, "(PreconditionFailed)"),
        (client_error("ConditionalRequestConflict", 409), PreconditionError, "(ConditionalRequestConflict)"),
        (client_error("InvalidRange", 416), PreconditionError, "(InvalidRange)"),
        (client_error("NoSuchBucket", 404), ConfigurationError, "BEDROCK_BATCH_BUCKET"),
        (client_error("PermanentRedirect", 301), ConfigurationError, "another region"),
        (client_error("ThrottlingException", 429), TransientError, "not answering"),
        (client_error("SlowDown", 503), TransientError, "not answering"),
        (client_error("SomethingNew", 500), TransientError, "not answering"),
        (EndpointConnectionError(endpoint_url="http://x"), TransientError, "could not be reached"),
        (ConnectTimeoutError(endpoint_url="http://x"), TransientError, "could not be reached"),
        (RetriesExceededError(OSError("reset")), TransientError, "not answering"),
        (client_error("ValidationException"), PipelineError, "AWS refused"),
        (client_error("ValidationException", message="two\nlines"), PipelineError, "two lines"),
        (ParamValidationError(report="two\nlines"), PipelineError, "two lines"),
        (client_error("RequestTimeTooSkewed", 403), ConfigurationError, "clock is wrong"),
        (EXPIRED_SIGNATURE, ConfigurationError, "clock is wrong"),
        (client_error("InvalidAccessKeyId", 403), ConfigurationError, "AWS_ACCESS_KEY_ID"),
        (client_error("UnrecognizedClientException", 403), ConfigurationError, "does not know the access key"),
        (client_error("SignatureDoesNotMatch", 403), ConfigurationError, "AWS_SECRET_ACCESS_KEY"),
        (client_error("AccessDenied", 403, operation="AssumeRoleWithWebIdentity"), ConfigurationError, "AWS_ROLE_ARN"),
        (client_error("Throttling", 400, operation="AssumeRole"), TransientError, "not answering"),
        (client_error("KMS.DisabledException"), ConfigurationError, "BEDROCK_BATCH_KMS_KEY"),
        (client_error("AuthorizationHeaderMalformed", message="the region 'a' is wrong"), ConfigurationError, "region"),
        (ProfileNotFound(profile="work"), ConfigurationError, "no AWS profile 'work'"),
        (ConfigParseError(path="/x/config"), ConfigurationError, "/x/config"),
        (InvalidConfigError(error_msg="source_profile is missing."), ConfigurationError, "source_profile is missing"),
        (InvalidRegionError(region_name="us east"), ConfigurationError, "'us east'"),
        (
            PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            ConfigurationError,
            "missing: AWS_SECRET_ACCESS_KEY",
        ),
        (SSOTokenLoadError(error_msg="no token"), ConfigurationError, "aws sso login --profile work"),
        (UnauthorizedSSOTokenError(), ConfigurationError, "aws sso login --profile work"),
        (TokenRetrievalError(provider="sso", error_msg="expired"), ConfigurationError, "aws sso login --profile work"),
        (LoginRefreshRequired(), ConfigurationError, "aws login --profile work"),
        (
            CredentialRetrievalError(provider="custom-process", error_msg="hunter2"),
            ConfigurationError,
            "credential_process of profile 'work' failed",
        ),
        (UNTRUSTED, ConfigurationError, "AWS_CA_BUNDLE"),
        (ValueError("Invalid endpoint: foo"), ConfigurationError, "AWS_ENDPOINT_URL"),
    ],
)
def test_what_is_said_of_an_error(
    error: Exception, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    explained = aws.explain(error, "doing something")
    assert type(explained) is kind
    assert said in str(explained)
    assert "\n" not in str(explained)
    assert "hunter2" not in str(explained)
    assert "belongs to someone else" not in str(explained)
    assert aws.is_transient(error) == (kind is TransientError)
    assert explained.__cause__ is error


def test_a_block_of_calls_raises_our_errors_and_leaves_those_of_others() -> None:
    with pytest.raises(AccessDeniedError, match="while reading x") as caught, aws.translated("reading x"):
        raise client_error("AccessDenied", 403)
    with pytest.raises(AccessDeniedError) as again, aws.translated("doing more"):
        raise caught.value
    assert again.value is caught.value
    with pytest.raises(KeyError), aws.translated("reading x"):
        raise KeyError


def test_a_key_that_s3_denies_knowledge_of() -> None:
    missing = aws.missing_object("reading x")
    assert type(missing) is MissingObjectError
    assert (aws.code_of(missing), aws.status_of(missing)) == ("NoSuchKey", 404)
    assert str(missing) == "AWS refused reading x (NoSuchKey): The specified key does not exist"


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # A call that got as far as the network would fail there at once.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path / "config"


ROLE = "arn:aws:iam::123456789012:role/x"
SSO = "sso_session=s\nsso_account_id=123456789012\nsso_role_name=r\n[sso-session s]\nsso_region=us-east-1\n"


@pytest.mark.parametrize(
    ("environment", "config", "said"),
    [
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/none/token", "AWS_ROLE_ARN": ROLE},
            "",
            "AWS_WEB_IDENTITY_TOKEN_FILE: No such file or directory: /none/token",
        ),
        (
            {
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/none/token",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/x",
            },
            "",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
        ({"AWS_PROFILE": "p"}, f"web_identity_token_file=/none/token\nrole_arn={ROLE}\n", "/none/token"),
        ({"AWS_PROFILE": "p"}, "credential_process=/none/program\n", "/none/program"),
        ({"AWS_PROFILE": "p"}, "credential_process=false\n", "credential_process of profile 'p' failed"),
        ({"AWS_PROFILE": "p"}, SSO + "sso_start_url=https://x.awsapps.com/start\n", "aws sso login --profile p"),
        ({"AWS_PROFILE": "p"}, f"source_profile=none\nrole_arn={ROLE}\n", "source_profile"),
        ({"AWS_PROFILE": "q"}, "region=us-east-1\n", "no AWS profile 'q'"),
        ({"AWS_ACCESS_KEY_ID": "x"}, "", "missing: AWS_SECRET_ACCESS_KEY"),
        ({}, "", "No usable AWS credentials"),
    ],
)
def test_credentials_that_are_not_there(
    no_credentials: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], config: str, said: str
) -> None:
    """As botocore raises them, raw OSErrors among them: at the first call that is signed, or before."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    no_credentials.write_text(f"[profile p]\n{config}")
    for call in (
        lambda: check_bucket(S3Uri("bucket", "prefix")),
        lambda: find_sources("s3://bucket/in.jsonl"),
        lambda: list(list_folder(S3Uri("bucket", "prefix"))),
    ):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["NoSuchKey", "NotFound", "404"])
def test_every_word_for_what_is_not_there(code: str) -> None:
    assert type(aws.explain(client_error(code, 404), "reading")) is MissingObjectError


@pytest.mark.parametrize("code", ["PreconditionFailed", "412", "ConditionalRequestConflict", "409", "InvalidRange"])
def test_every_word_for_a_call_that_came_too_late(code: str) -> None:
    """409 where two came at once: a lost race, as the other one is."""
    assert type(aws.explain(client_error(code, 409), "writing")) is PreconditionError


@pytest.mark.parametrize("code", ["PermanentRedirect", "301", "IllegalLocationConstraintException"])
def test_every_word_for_another_region(code: str) -> None:
    explained = aws.explain(client_error(code, 301), "reading")
    assert type(explained) is ConfigurationError
    assert "in another region" in str(explained)


def test_a_header_that_is_wrong_for_another_reason_is_no_matter_of_regions() -> None:
    explained = aws.explain(client_error("AuthorizationHeaderMalformed", message="no signature"), "reading")
    assert type(explained) is PipelineError


@pytest.mark.parametrize(
    ("operation", "credentials"), [("HeadObject", True), ("HeadBucket", True), ("GetObject", False)]
)
def test_only_a_head_request_is_given_no_reason(operation: str, credentials: bool) -> None:
    explained = aws.explain(client_error("400", 400, operation=operation), "reading")
    assert ("most often it is ExpiredToken" in str(explained)) is credentials
    assert (type(explained) is ConfigurationError) is credentials


@pytest.mark.parametrize(
    ("set_", "named"),
    [
        ({"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"}, " --profile a`"),
        ({"AWS_DEFAULT_PROFILE": "b"}, " --profile b`"),
        ({}, "`aws sso login`"),
    ],
)
def test_the_profile_to_log_in_with(monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], named: str) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    assert named in str(aws.explain(SSOTokenLoadError(error_msg="no token"), "reading"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client_error("AccessDenied", 403), AccessDeniedError),
        (NoRegionError(), ConfigurationError),
        # Of s3transfer, not of botocore: a download whose parts broke off again and again.
        (RetriesExceededError(OSError("reset")), TransientError),
    ],
)
def test_whatever_a_call_raises_becomes_ours(error: Exception, kind: type[PipelineError]) -> None:
    with pytest.raises(kind) as caught, aws.translated("downloading"):
        raise error
    assert caught.value.__cause__ is error
