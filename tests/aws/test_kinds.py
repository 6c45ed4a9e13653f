"""What an error is: the same of botocore's own and of ours that was made of it."""

import http.client
from collections.abc import Callable

import pytest
from botocore.exceptions import (
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    LoginRefreshRequired,
    MetadataRetrievalError,
    MissingDependencyException,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    RefreshWithMFAUnsupportedError,
    ResponseStreamingError,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnknownCredentialError,
)
from s3transfer.exceptions import RetriesExceededError

from tasks import aws
from tasks.errors import AccessDeniedError, ConfigurationError, PipelineError, TransientError
from tests.fakes import refusal

DENIED = refusal("AccessDenied", 403, "you\n  may not")
DENIED.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": "eu-west-1"}
NO_WAY = EndpointConnectionError(endpoint_url="http://x")
UNTRUSTED = SSLError(endpoint_url="https://x", error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
BROKEN_TLS = SSLError(endpoint_url="https://x", error=OSError("[SSL] record layer failure"))
CUT = HTTPClientError(error=ConnectionError(http.client.IncompleteRead(b"")))


@pytest.mark.parametrize("of", [lambda error: error, lambda error: aws.explain(error, "asking")])
@pytest.mark.parametrize(
    ("error", "answered", "code", "name", "status"),
    [
        (DENIED, True, "AccessDenied", "AccessDenied", 403),
        (NO_WAY, False, "", "EndpointConnectionError", 503),
        (ParamValidationError(report="x"), False, "", "ParamValidationError", 503),
    ],
)
def test_words_and_numbers(
    error: Exception,
    answered: bool,
    code: str,
    name: str,
    status: int,
    of: Callable[[Exception], Exception],
) -> None:
    found = of(error)
    assert aws.has_answered(found) is answered
    assert (aws.code_of(found), aws.name_of(found), aws.status_of(found)) == (code, name, status)
    assert aws.is_malformed(found) is isinstance(error, ParamValidationError)


def test_what_aws_said_beside_its_code() -> None:
    error = aws.explain(DENIED, "asking")
    assert aws.message_of(error) == "you may not"
    assert aws.headers_of(error) == {"x-amz-bucket-region": "eu-west-1"}
    assert aws.headers_of(NO_WAY) == {}
    assert aws.message_of(aws.explain(NO_WAY, "asking")) == str(NO_WAY)


def test_an_error_of_ours_that_is_none_of_aws() -> None:
    error = PipelineError("no batch")
    assert (aws.code_of(error), aws.name_of(error), aws.has_answered(error)) == ("", "PipelineError", False)
    assert not aws.is_transient(error)


@pytest.mark.parametrize(
    ("error", "maybe"),
    [
        (NO_WAY, False),
        (ConnectTimeoutError(endpoint_url="x"), False),
        (UNTRUSTED, False),
        (BROKEN_TLS, True),
        (ReadTimeoutError(endpoint_url="x"), True),
        (CUT, True),
    ],
)
def test_whether_a_call_without_an_answer_may_have_arrived(error: Exception, maybe: bool) -> None:
    assert aws.maybe_arrived(error) is aws.maybe_arrived(aws.explain(error, "asking")) is maybe


def test_whether_a_reply_broke_off() -> None:
    assert aws.reply_broke_off(aws.explain(CUT, "asking"))
    assert not aws.reply_broke_off(aws.explain(NO_WAY, "asking"))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (NoCredentialsError(), True),
        (refusal("ExpiredToken", 400), True),
        (refusal("AccessDenied", 403, operation="AssumeRole"), True),
        (DENIED, False),
        (NO_WAY, False),
    ],
)
def test_whether_there_are_usable_credentials(error: Exception, is_one: bool) -> None:
    assert aws.is_credential_problem(aws.explain(error, "asking")) is is_one


PASSES = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "InternalServerException",
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "ModelTimeoutException",
    "ModelNotReadyException",
    "ModelErrorException",
    "500",
    "502",
    "503",
    "504",
]
CREDENTIALS = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "RequestTimeTooSkewed",
]
DENIALS = ["AccessDenied", "AccessDeniedException", "403", "Forbidden", "UnauthorizedException"]
OTHERS = [
    "ValidationException",
    "ResourceNotFoundException",
    "ServiceQuotaExceededException",
    "NoSuchKey",
    "NoSuchBucket",
]


def test_every_code_of_what_passes_and_of_credentials() -> None:
    """With a status that says nothing: some services answer all with 400."""
    every = [*PASSES, *CREDENTIALS, *DENIALS, *OTHERS]
    assert [code for code in every if aws.is_transient(refusal(code, 400))] == PASSES
    assert [code for code in every if aws.is_credential_problem(refusal(code, 400))] == CREDENTIALS
    explained = {code: type(aws.explain(refusal(code, 400), "asking")) for code in every}
    assert [code for code in every if explained[code] is AccessDeniedError] == DENIALS
    assert [code for code in every if explained[code] is TransientError] == PASSES


@pytest.mark.parametrize(
    ("status", "passes"),
    [(400, False), (403, False), (404, False), (429, True), (499, False), (500, True), (503, True)],
)
def test_a_code_that_nobody_knows_is_judged_by_its_status(status: int, passes: bool) -> None:
    assert aws.is_transient(refusal("SomethingNew", status)) is passes
    assert aws.status_of(refusal("SomethingNew", status)) == status


CALLS = [
    "AssumeRole",
    "AssumeRoleWithWebIdentity",
    "AssumeRoleWithSAML",
    "GetRoleCredentials",
    "CreateToken",
    "CreateOAuth2Token",
]


@pytest.mark.parametrize("call", CALLS)
def test_whatever_refuses_the_credentials_is_about_them(call: str) -> None:
    error = refusal("AccessDenied", 403, "no", call)
    assert aws.is_credential_problem(error)
    explained = aws.explain(error, "asking")
    assert type(explained) is ConfigurationError
    assert f"(AccessDenied of {call})" in str(explained)
    assert aws.is_credential_problem(explained)
    # Of any other call it is a permission.
    assert not aws.is_credential_problem(refusal("AccessDenied", 403, "no", "GetObject"))


NETWORK: list[Exception] = [
    NO_WAY,
    ConnectTimeoutError(endpoint_url="x"),
    ReadTimeoutError(endpoint_url="x"),
    ConnectionClosedError(endpoint_url="x"),
    ProxyConnectionError(proxy_url="x"),
    HTTPClientError(error=OSError("x")),
    IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ResponseStreamingError(error="x"),
    RetriesExceededError(OSError("x")),
    BROKEN_TLS,
]
UNUSABLE: list[Exception] = [
    NoCredentialsError(),
    PartialCredentialsError(provider="env", cred_var="X"),
    CredentialRetrievalError(provider="x", error_msg="x"),
    MetadataRetrievalError(error_msg="x"),
    NoAuthTokenError(),
    TokenRetrievalError(provider="x", error_msg="x"),
    SSOTokenLoadError(error_msg="x"),
    LoginRefreshRequired(),
    RefreshWithMFAUnsupportedError(),
    UnknownCredentialError(name="x"),
    ProfileNotFound(profile="x"),
    ConfigNotFound(path="x"),
    ConfigParseError(path="x"),
    InvalidConfigError(error_msg="x"),
    MissingDependencyException(msg="x"),
]


@pytest.mark.parametrize("error", NETWORK, ids=lambda error: type(error).__name__)
def test_a_network_that_is_down_passes(error: Exception) -> None:
    assert aws.is_transient(error)
    assert not aws.is_credential_problem(error)
    assert type(aws.explain(error, "asking")) is TransientError


@pytest.mark.parametrize("error", UNUSABLE, ids=lambda error: type(error).__name__)
def test_credentials_that_cannot_be_had_do_not_pass(error: Exception) -> None:
    assert aws.is_credential_problem(error)
    assert not aws.is_transient(error)
    assert type(aws.explain(error, "asking")) is ConfigurationError


def test_a_certificate_that_is_not_trusted_is_not_waited_for() -> None:
    assert not aws.is_transient(UNTRUSTED)
    # Nothing was sent, and so nothing is paid for.
    assert not aws.maybe_arrived(UNTRUSTED)
    assert not any(aws.maybe_arrived(error) for error in (NETWORK[0], NETWORK[1], NETWORK[4]))
    assert all(aws.maybe_arrived(error) for error in (NETWORK[2], NETWORK[3], BROKEN_TLS))


def test_an_answer_without_a_status_is_no_refusal() -> None:
    """What stands before AWS may answer anything: the same call may go well later."""
    error = ClientError({"Error": {"Code": "Odd"}}, "Operation")
    assert (aws.status_of(error), aws.is_transient(error)) == (500, True)
    assert aws.message_of(error) == "Odd"
    assert aws.headers_of(error) == {}
    nothing = ClientError({}, "Operation")
    assert (aws.code_of(nothing), aws.message_of(nothing), aws.name_of(nothing)) == ("", "", "ClientError")


def test_the_error_that_one_of_ours_was_made_of_is_found_at_any_depth() -> None:
    inner = aws.explain(DENIED, "asking")
    outer = PipelineError("outer")
    outer.__cause__ = inner
    assert aws.code_of(outer) == "AccessDenied"
    assert aws.message_of(aws.explain(ParamValidationError(report="two\nlines"), "asking")).endswith("two lines")
