"""boto3 clients, and AWS errors in one line: what happened and what to do about it."""

import contextlib
import functools
import json
import os
import random
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    ResponseStreamingError,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from tasks.errors import ConfigurationError, PipelineError, TransientError
from tasks.support.surrogates import LONE

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


_EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken", "TokenRefreshRequired"}
)


_UNKNOWN_KEY_CODES = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"})


_WRONG_SECRET_CODES = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})


_CLOCK_CODES = frozenset({"RequestTimeTooSkewed"})


#: Services other than S3 tell a skewed clock by the message alone.
_CLOCK_MESSAGE = re.compile(r"signature (?:expired|not yet current)", re.IGNORECASE)


_CREDENTIAL_CODES = _EXPIRED_CODES | _UNKNOWN_KEY_CODES | _WRONG_SECRET_CODES | _CLOCK_CODES


#: Calls that botocore makes by itself, to get the credentials for ours.
_CREDENTIAL_CALLS = frozenset(
    {
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "AssumeRoleWithSAML",
        "GetRoleCredentials",
        "CreateToken",
        "CreateOAuth2Token",
    }
)


_CREDENTIAL_ERRORS = (
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


_NETWORK_ERRORS = (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)


_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "UnauthorizedException"})


_OTHER_REGION_CODES = frozenset({"PermanentRedirect", "301", "IllegalLocationConstraintException"})


_RESUMES = "then repeat the same call; it resumes."


#: Of an error that is not AWS's own, so much is shown.
_SHOWN = 200


#: The files that boto3 takes credentials and settings from, by the variable that names another.
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


@functools.lru_cache(maxsize=16)
def _client(service: str, environment: tuple[tuple[str, str], ...]) -> Any:
    settings = dict(environment)
    custom_s3 = "AWS_ENDPOINT_URL_S3" in settings or "AWS_ENDPOINT_URL" in settings
    runtime = service == "bedrock-runtime"
    try:
        session = boto3.session.Session()
        session.events.register("creating-client-class", _name_files)
        make: Any = session.client
        made = make(
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
    except (ValueError, BotoCoreError) as error:
        raise explain(error, f"connecting to {service}") from error
    except OSError as error:
        raise explain(_unreadable(error), f"connecting to {service}") from error
    if runtime:
        made.meta.events.register("before-parse.bedrock-runtime", keep_reply)
    return made


def _name_files(base_classes: list[type], **_: Any) -> None:
    """Botocore lets its users put a class of their own before a client's: the one seam for all calls."""
    base_classes.insert(0, _NamesFiles)


class _NamesFiles:
    """Turns what botocore leaves raw: a file or program with credentials that is not there when a call is signed."""

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        call: Any = super()
        try:
            return call._make_api_call(operation_name, api_params)
        except BotoCoreError:
            # Some of them are OSErrors as well.
            raise
        except OSError as error:
            raise _unreadable(error) from error


def _unreadable(error: OSError) -> CredentialRetrievalError:
    variables = (name for name, value in os.environ.items() if name.startswith("AWS_") and value == error.filename)
    named_by = next(variables, None) or (f"the AWS profile {_profile()}" if _profile() else "the AWS configuration")
    return CredentialRetrievalError(provider=named_by, error_msg=f"{error.strerror}: {error.filename}")


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or ""


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


#: A look that nobody answers soon is given up: what it would have told is said to be unknown.
_LOOK = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=20)


def looker(service: str) -> Any:
    """A client that only looks, of any service; raises PipelineError where it cannot be made."""
    settings = dict(_environment())
    try:
        make: Any = boto3.session.Session().client
        return make(service, region_name=settings.get("AWS_REGION") or None, config=_LOOK)
    except (ValueError, BotoCoreError) as error:
        raise explain(error, f"connecting to {service}") from error
    except OSError as error:
        raise explain(_unreadable(error), f"connecting to {service}") from error


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
        return " ".join(str(error.response.get("Error", {}).get("Message", "")).split()) or code_of(error)
    return " ".join(str(error).split())


def status_of(error: BaseException) -> int:
    """The HTTP status of a ClientError; 503 for a connection that failed."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return 503


def is_transient(error: BaseException) -> bool:
    """True for throttling, 5xx and network errors: the same call may succeed later."""
    if isinstance(error, ClientError):
        return code_of(error) in TRANSIENT_CODES or status_of(error) >= 500 or status_of(error) == 429
    return isinstance(error, _NETWORK_ERRORS) and not _distrusts(error)


def _distrusts(error: BaseException) -> bool:
    """Whether the other side's certificate is not trusted, which no waiting mends."""
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def is_credential_problem(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return code_of(error) in _CREDENTIAL_CODES or error.operation_name in _CREDENTIAL_CALLS
    return isinstance(error, _CREDENTIAL_ERRORS)


def is_denied(error: BaseException) -> bool:
    """True where the caller lacks a permission."""
    return code_of(error) in _DENIED_CODES


def back_off(attempt: int, cap_seconds: float = 5.0) -> None:
    """Sleep with full jitter: up to 2^attempt / 2 seconds, at most `cap_seconds`."""
    time.sleep(random.uniform(0, min(cap_seconds, 2**attempt / 2)))


def explain(error: BaseException, doing: str) -> PipelineError:  # noqa: PLR0911 (a list of cases)
    """One line: what failed while `doing` something, why, and the remedy."""
    code, message = code_of(error), message_of(error).rstrip(".")
    setting = _setting_problem(error) or _credential_problem(error)
    if setting:
        return ConfigurationError(setting)
    if is_transient(error):
        return _transient(error, doing)
    if isinstance(error, ClientError) and error.operation_name in _CREDENTIAL_CALLS:
        return ConfigurationError(
            f"AWS did not give the credentials while {doing} ({code} of {error.operation_name}): {message}. Check the "
            f"role (AWS_ROLE_ARN, or role_arn of the profile) and whom it trusts, {_RESUMES}"
        )
    if code in _CREDENTIAL_CODES:
        return ConfigurationError(_refused_credentials(error, doing))
    if code == "400" and isinstance(error, ClientError) and error.operation_name.startswith("Head"):
        return ConfigurationError(
            f"AWS refused the credentials while {doing} (400: S3 gives no reason to a HEAD request; most often it is "
            f"ExpiredToken): refresh them, {_RESUMES}"
        )
    if code.startswith("KMS."):
        return ConfigurationError(
            f"S3 cannot use the KMS key while {doing} ({code}): {message}. Check BEDROCK_BATCH_KMS_KEY, and that the "
            "key is enabled and in the bucket's region."
        )
    if is_denied(error):
        return ConfigurationError(
            f"AWS denied access while {doing} ({code}): {message}. "
            "Grant the permission to the caller (see IAM in deployments/docs/operating.md)."
        )
    if code == "NoSuchBucket":
        return ConfigurationError(f"The bucket does not exist ({doing}): create it, or set BEDROCK_BATCH_BUCKET.")
    if code in _OTHER_REGION_CODES or (code == "AuthorizationHeaderMalformed" and "region" in message.lower()):
        return ConfigurationError(
            f"The bucket is in another region ({doing}): use a bucket in the region of the job, or set AWS_REGION."
        )
    if isinstance(error, ClientError):
        return PipelineError(f"AWS refused {doing} ({code}): {message}")
    return PipelineError(f"{doing} failed ({type(error).__name__}): {message}")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """A block of calls to AWS, whose errors become ours: what failed while `doing` something, why, and the remedy."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explain(error, doing) from error


def _transient(error: BaseException, doing: str) -> TransientError:
    if isinstance(error, BotoConnectionError):
        return TransientError(
            f"AWS could not be reached while {doing} ({type(error).__name__}): check the network, the region and any "
            f"AWS_ENDPOINT_URL_* setting, {_RESUMES}"
        )
    reason = code_of(error) or type(error).__name__
    return TransientError(f"AWS is not answering while {doing} ({reason}): {message_of(error)}")


def _setting_problem(error: BaseException) -> str | None:  # noqa: PLR0911 (a list of cases)
    """What is wrong with a setting of AWS, and the remedy; None where the error is another."""
    if isinstance(error, NoRegionError):
        return "No AWS region is set: set AWS_REGION (or a region in your AWS profile)."
    if isinstance(error, InvalidRegionError):
        return f"{message_of(error)} Set AWS_REGION to one such as us-east-1."
    if isinstance(error, ValueError) and message_of(error).startswith("Invalid endpoint"):
        return f"{message_of(error)}: AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_* must be URLs such as http://host:port."
    if _distrusts(error):
        return (
            "The certificate of AWS's endpoint is not trusted: behind a proxy that has its own, set AWS_CA_BUNDLE to "
            f"the file of its certificates, {_RESUMES}"
        )
    if isinstance(error, ProfileNotFound):
        return (
            f"There is no AWS profile {error.kwargs.get('profile')!r}: set AWS_PROFILE to one that `aws configure "
            "list-profiles` shows, or unset it."
        )
    if isinstance(error, ConfigNotFound | ConfigParseError):
        return f"The AWS configuration file {error.kwargs.get('path')} cannot be read: mend it, or set AWS_CONFIG_FILE."
    if isinstance(error, InvalidConfigError):
        return f"The AWS configuration{_of_profile()} is wrong: {message_of(error)} Mend it in ~/.aws/config."
    if isinstance(error, MissingDependencyException):
        return f"The AWS credentials{_of_profile()} cannot be had: {message_of(error)}"
    return None


def _of_profile() -> str:
    return f" of profile {_profile()!r}" if _profile() else ""


def _credential_problem(error: BaseException) -> str | None:
    """Why there are no credentials, and the remedy; None where the error is another."""
    if not isinstance(error, _CREDENTIAL_ERRORS):
        return None
    option = f" --profile {_profile()}" if _profile() else ""
    if isinstance(error, SSOError) or (isinstance(error, TokenRetrievalError) and "sso" in message_of(error).lower()):
        return f"The AWS SSO session{_of_profile()} has ended or never began: run `aws sso login{option}`, {_RESUMES}"
    if isinstance(error, LoginError):
        return f"The AWS login session{_of_profile()} has ended: run `aws login{option}`, {_RESUMES}"
    if isinstance(error, RefreshWithMFAUnsupportedError):
        return (
            f"The AWS credentials{_of_profile()} need an MFA code, which nobody is there to type: get temporary ones "
            f"with `aws sts get-session-token`, {_RESUMES}"
        )
    if isinstance(error, PartialCredentialsError):
        return f"No usable AWS credentials: {message_of(error)}. Set what is missing beside it, {_RESUMES}"
    if isinstance(error, CredentialRetrievalError) and error.kwargs.get("provider") == "custom-process":
        # What the process printed may be anything.
        return f"No usable AWS credentials: the credential_process{_of_profile()} failed. Run it by hand, {_RESUMES}"
    if isinstance(error, CredentialRetrievalError | MetadataRetrievalError):
        return f"No usable AWS credentials: {message_of(error).rstrip('.')}. Mend that, or set AWS_PROFILE, {_RESUMES}"
    return (
        f"No usable AWS credentials ({type(error).__name__}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        f"AWS_SECRET_ACCESS_KEY, or log in again, {_RESUMES}"
    )


def _refused_credentials(error: BaseException, doing: str) -> str:
    """Why AWS refused the credentials of a call, and the remedy."""
    code = code_of(error)
    if code in _CLOCK_CODES or _CLOCK_MESSAGE.search(message_of(error)):
        return (
            f"This machine's clock is wrong: AWS refused the time of a request while {doing} ({code}). Set the clock "
            f"(by NTP, for one), {_RESUMES}"
        )
    if code in _UNKNOWN_KEY_CODES:
        return (
            f"AWS does not know the access key while {doing} ({code}): check AWS_ACCESS_KEY_ID (and "
            f"AWS_SESSION_TOKEN), or the profile in AWS_PROFILE, {_RESUMES}"
        )
    if code in _WRONG_SECRET_CODES:
        return (
            f"The secret key is not that of the access key: AWS refused the signature while {doing} ({code}). Check "
            f"AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE, {_RESUMES}"
        )
    return f"AWS refused the credentials while {doing} ({code}): refresh them, {_RESUMES}"
