"""boto3 clients, and AWS errors in one line: what happened and what to do about it."""

import functools
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ResponseStreamingError,
    TokenRetrievalError,
)  # fmt: skip
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from tasks.bedrock.surrogates import LONE
from tasks.errors import ConfigurationError, PipelineError, TransientError

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_s3 import S3Client

#: Of reading one body of S3 (or one part of it). Even where every second one breaks off, a batch of hundreds of reads
#: ends; with `back_off`'s cap of 5 s, a network that is gone is given up after some forty seconds.
READ_ATTEMPTS = 20

#: Error codes that pass by themselves. botocore retries most of them a few times before we see them.
TRANSIENT_CODES = frozenset(
    {
        "ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown",
        "InternalServerException", "InternalError", "InternalFailure", "ServiceUnavailable",
        "ServiceUnavailableException", "RequestTimeout", "ModelTimeoutException", "ModelNotReadyException",
        "ModelErrorException", "500", "502", "503", "504",
    }
)  # fmt: skip

_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch",
     "UnrecognizedClientException", "RequestExpired", "InvalidToken"}
)  # fmt: skip
_CREDENTIAL_ERRORS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
_NETWORK_ERRORS = (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "UnauthorizedException"})


#: Of an error that is not AWS's own, so much is shown.
_SHOWN = 200

#: The files that boto3 takes credentials and settings from, by the variable that names another.
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


@functools.lru_cache(maxsize=16)
def _client(service: str, environment: tuple[tuple[str, str], ...]) -> Any:
    settings = dict(environment)
    client: Any = boto3.session.Session().client
    custom_s3 = "AWS_ENDPOINT_URL_S3" in settings or "AWS_ENDPOINT_URL" in settings
    runtime = service == "bedrock-runtime"
    try:
        made = client(
            service,
            # Every other AWS SDK and the command line read AWS_REGION; boto3 knows AWS_DEFAULT_REGION only.
            region_name=settings.get("AWS_REGION") or None,
            config=Config(
                # A call on demand costs money: `tasks.bedrock.runtime` knows which may be sent again.
                retries={"mode": "standard", "total_max_attempts": 1 if runtime else 9},
                max_pool_connections=64,
                connect_timeout=10,
                # An on-demand answer of a slow model arrives in one piece.
                read_timeout=600 if runtime else 60,
                # S3-compatible stores are rarely reachable under bucket.host.
                s3={"addressing_style": "path"} if custom_s3 and service == "s3" else None,
            ),
        )
    except (NoRegionError, ValueError, BotoCoreError) as error:
        raise explain(error, f"connecting to {service}") from error
    if runtime:
        made.meta.events.register("before-parse.bedrock-runtime", keep_reply)
    return made


def _environment() -> tuple[tuple[str, str], ...]:
    # A client holds the endpoint and credentials it was made with: a changed environment needs another one, and so do
    # files that were written anew, as tools do that refresh credentials once an hour.
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return (*variables, *((name, _written(os.environ.get(name) or default)) for name, default in _FILES.items()))


def _written(path: str) -> str:
    """When a file was last written; empty where there is none."""
    try:
        return str(os.stat(os.path.expanduser(path)).st_mtime_ns)
    except OSError:
        return ""


def s3() -> "S3Client":
    client: S3Client = _client("s3", _environment())
    return client


def bedrock() -> "BedrockClient":
    client: BedrockClient = _client("bedrock", _environment())
    return client


def runtime() -> "BedrockRuntimeClient":
    client: BedrockRuntimeClient = _client("bedrock-runtime", _environment())
    return client


#: Where a parsed reply of the runtime has its bytes.
REPLY = "_Reply"


def keep_reply(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Keep a reply of the runtime as it came: botocore's parser raises for, or alters, what it cannot read.

    A call with a reply is paid for, whatever the reply is. Of an error the parser sees the texts, which is all it uses.
    """
    body = response_dict["body"]
    if not isinstance(body, bytes):
        # A stream: botocore leaves it alone.
        return
    if response_dict["status_code"] < 300:
        customized_response_dict[REPLY] = body
        response_dict["body"] = b"{}"
        return
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        texts = {name: LONE.sub("\ufffd", value) for name, value in fields.items() if isinstance(value, str)}
    else:
        # A proxy's own words.
        texts = {"message": body[:_SHOWN].decode("utf-8", "replace")}
    response_dict["body"] = json.dumps(texts).encode()


def code_of(error: BaseException) -> str:
    """The AWS error code of a ClientError, else an empty string."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def message_of(error: BaseException) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Message", "")) or code_of(error)
    return str(error)


def status_of(error: BaseException) -> int:
    """The HTTP status of a ClientError; 503 for a connection that failed."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return 503


def is_transient(error: BaseException) -> bool:
    """True for throttling, 5xx and network errors: the same call may succeed later."""
    if isinstance(error, ClientError):
        return code_of(error) in TRANSIENT_CODES or status_of(error) >= 500 or status_of(error) == 429
    return isinstance(error, _NETWORK_ERRORS)


def is_credential_problem(error: BaseException) -> bool:
    return code_of(error) in _CREDENTIAL_CODES or isinstance(error, _CREDENTIAL_ERRORS)


def is_denied(error: BaseException) -> bool:
    """True where the caller lacks a permission."""
    return code_of(error) in _DENIED_CODES


def back_off(attempt: int, cap_seconds: float = 5.0) -> None:
    """Sleep with full jitter: up to 2^attempt / 2 seconds, at most `cap_seconds`."""
    time.sleep(random.uniform(0, min(cap_seconds, 2**attempt / 2)))


def explain(error: BaseException, doing: str) -> PipelineError:
    """One line: what failed while `doing` something, why, and the remedy."""
    code, message = code_of(error), message_of(error)
    if isinstance(error, NoRegionError):
        return ConfigurationError("No AWS region is set: set AWS_REGION (or a region in your AWS profile).")
    if isinstance(error, _CREDENTIAL_ERRORS):
        return ConfigurationError(
            f"No usable AWS credentials while {doing} ({type(error).__name__}): "
            "set AWS_PROFILE or log in again, then repeat the same call; it resumes."
        )
    if code in _CREDENTIAL_CODES:
        return ConfigurationError(
            f"AWS refused the credentials while {doing} ({code}): refresh them, then repeat the same call; it resumes."
        )
    if code == "400" and isinstance(error, ClientError) and error.operation_name.startswith("Head"):
        return ConfigurationError(
            f"AWS refused the credentials while {doing} (400: S3 gives no reason to a HEAD request; most often it is "
            "ExpiredToken): refresh them, then repeat the same call; it resumes."
        )
    if is_denied(error):
        return ConfigurationError(
            f"AWS denied access while {doing} ({code}): {message}. "
            "Grant the permission to the caller (see the IAM section of README.md)."
        )
    if code in ("NoSuchBucket",):
        return ConfigurationError(f"The bucket does not exist ({doing}): create it, or set BEDROCK_BATCH_BUCKET.")
    if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return ConfigurationError(
            f"The bucket is in another region ({doing}): use a bucket in the region of the job, or set AWS_REGION."
        )
    if isinstance(error, BotoConnectionError):
        return TransientError(
            f"AWS could not be reached while {doing} ({type(error).__name__}): check the network, the region and any "
            "AWS_ENDPOINT_URL_* setting, then repeat the same call; it resumes."
        )
    if is_transient(error):
        return TransientError(f"AWS is not answering while {doing} ({code or type(error).__name__}): {message}")
    if isinstance(error, ClientError):
        return PipelineError(f"AWS refused {doing} ({code}): {message}")
    return PipelineError(f"{doing} failed ({type(error).__name__}): {message}")
