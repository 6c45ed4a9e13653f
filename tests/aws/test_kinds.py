"""What an error is: the same of botocore's own and of ours that was made of it."""

import http.client
from collections.abc import Callable

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)

from tasks import aws
from tasks.errors import PipelineError
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
