"""What an error of AWS or of botocore is: its code, whether it passes, whether the call may have been carried out.

Every function takes an error of botocore, or one of ours that was made of it.
"""

import http.client
import re
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    RefreshWithMFAUnsupportedError,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from s3transfer.exceptions import RetriesExceededError

from tasks.errors import PipelineError

#: Error codes that pass by themselves. botocore retries most of them a few times before we see them.
TRANSIENT_CODES = frozenset(
    {
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
    }
)
EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken", "TokenRefreshRequired"}
)
UNKNOWN_KEY_CODES = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"})
WRONG_SECRET_CODES = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
CLOCK_CODES = frozenset({"RequestTimeTooSkewed"})
#: Services other than S3 tell a skewed clock by the message alone.
CLOCK_MESSAGE = re.compile(r"signature (?:expired|not yet current)", re.IGNORECASE)
CREDENTIAL_CODES = EXPIRED_CODES | UNKNOWN_KEY_CODES | WRONG_SECRET_CODES | CLOCK_CODES
#: Calls that botocore makes by itself, to get the credentials for ours.
CREDENTIAL_CALLS = frozenset(
    {
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "AssumeRoleWithSAML",
        "GetRoleCredentials",
        "CreateToken",
        "CreateOAuth2Token",
    }
)
CREDENTIAL_ERRORS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    MetadataRetrievalError,
    NoAuthTokenError,
    TokenRetrievalError,
    SSOError,
    LoginError,
    RefreshWithMFAUnsupportedError,
    UnknownCredentialError,
    ProfileNotFound,
    ConfigNotFound,
    ConfigParseError,
    InvalidConfigError,
    MissingDependencyException,
)
_NETWORK_ERRORS = (
    BotoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    # A download whose parts broke off again and again.
    RetriesExceededError,
)
#: What comes before a request is sent.
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "UnauthorizedException"})


def origin(error: BaseException) -> BaseException:
    """The error of botocore that one of ours was made of; another error itself."""
    while isinstance(error, PipelineError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _response(error: BaseException) -> Mapping[str, Any]:
    cause = origin(error)
    return cause.response if isinstance(cause, ClientError) else {}


def has_answered(error: BaseException) -> bool:
    """Whether AWS (or what stands before it) answered the call, with an error of its own."""
    return isinstance(origin(error), ClientError)


def code_of(error: BaseException) -> str:
    """AWS's code of its error; an empty string where none came."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def name_of(error: BaseException) -> str:
    """What to call an error in a word: AWS's code of it, or the exception's name."""
    return code_of(error) or type(origin(error)).__name__


def message_of(error: BaseException) -> str:
    """What AWS said, in one line; where no answer came, what botocore did."""
    if has_answered(error):
        return " ".join(str(_response(error).get("Error", {}).get("Message", "")).split()) or code_of(error)
    return " ".join(str(origin(error)).split())


def status_of(error: BaseException) -> int:
    """The HTTP status of AWS's answer; 503 for a connection that failed."""
    if has_answered(error):
        return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return 503


def headers_of(error: BaseException) -> Mapping[str, str]:
    """The HTTP headers of AWS's answer, their names in lower case."""
    headers: Mapping[str, str] = _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def is_transient(error: BaseException) -> bool:
    """True for throttling, 5xx and network errors: the same call may succeed later."""
    cause = origin(error)
    if isinstance(cause, ClientError):
        return code_of(cause) in TRANSIENT_CODES or status_of(cause) >= 500 or status_of(cause) == 429
    return isinstance(cause, _NETWORK_ERRORS) and not distrusts(cause)


def distrusts(error: BaseException) -> bool:
    """Whether the other side's certificate is not trusted, which no waiting mends."""
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def is_credential_problem(error: BaseException) -> bool:
    """Whether there are no usable credentials; of a permission that they lack it is not."""
    cause = origin(error)
    if isinstance(cause, ClientError):
        return code_of(cause) in CREDENTIAL_CODES or cause.operation_name in CREDENTIAL_CALLS
    return isinstance(cause, CREDENTIAL_ERRORS)


def is_malformed(error: BaseException) -> bool:
    """Whether botocore sent nothing, because the call's parameters do not fit its operation."""
    return isinstance(origin(error), ParamValidationError)


def maybe_arrived(error: BaseException) -> bool:
    """Whether a call that no answer came to may have reached AWS, and been carried out."""
    cause = origin(error)
    return not isinstance(cause, _NOT_SENT) and not distrusts(cause)


def reply_broke_off(error: BaseException) -> bool:
    """Whether a reply began, and ended before its length."""
    cause = getattr(origin(error), "kwargs", {}).get("error")
    return any(isinstance(part, http.client.IncompleteRead) for part in getattr(cause, "args", ()))
