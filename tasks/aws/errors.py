"""AWS errors turned into ours: what happened, in one line, and what to do about it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    InvalidConfigError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from s3transfer.exceptions import RetriesExceededError

from tasks.aws.kinds import (
    CLOCK_CODES,
    CLOCK_MESSAGE,
    CREDENTIAL_CALLS,
    CREDENTIAL_CODES,
    CREDENTIAL_ERRORS,
    DENIED_CODES,
    UNKNOWN_KEY_CODES,
    WRONG_SECRET_CODES,
    code_of,
    distrusts,
    is_transient,
    message_of,
    name_of,
)
from tasks.errors import (
    AccessDeniedError,
    ConfigurationError,
    MissingObjectError,
    PipelineError,
    PreconditionError,
    TransientError,
)

#: S3's words for what is not there, and to a conditional call that comes too late (409 where two came at once).
_REFUSALS: dict[str, type[PipelineError]] = {
    **dict.fromkeys(("NoSuchKey", "NotFound", "404"), MissingObjectError),
    **dict.fromkeys(("PreconditionFailed", "412", "ConditionalRequestConflict", "409"), PreconditionError),
    # A range of a version that was longer.
    "InvalidRange": PreconditionError,
}
_OTHER_REGION_CODES = frozenset({"PermanentRedirect", "301", "IllegalLocationConstraintException"})
_RESUMES = "then repeat the same call; it resumes."


def explain(error: BaseException, doing: str) -> PipelineError:
    """One line: what failed while `doing` something, why, and the remedy; the error itself is its cause."""
    explained = _explained(error, doing)
    explained.__cause__ = error
    return explained


def _explained(error: BaseException, doing: str) -> PipelineError:  # noqa: PLR0911 (a list of cases)
    code, message = code_of(error), message_of(error).rstrip(".")
    setting = _setting_problem(error) or _credential_problem(error)
    if setting:
        return ConfigurationError(setting)
    if is_transient(error):
        return _transient(error, doing)
    if isinstance(error, ClientError) and error.operation_name in CREDENTIAL_CALLS:
        return ConfigurationError(
            f"AWS did not give the credentials while {doing} ({code} of {error.operation_name}): {message}. Check the "
            f"role (AWS_ROLE_ARN, or role_arn of the profile) and whom it trusts, {_RESUMES}"
        )
    if code in CREDENTIAL_CODES:
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
    if code in DENIED_CODES:
        return AccessDeniedError(
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
        return _REFUSALS.get(code, PipelineError)(f"AWS refused {doing} ({code}): {message}")
    return PipelineError(f"{doing} failed ({type(error).__name__}): {message}")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """A block of calls to AWS, whose errors become ours: what failed while `doing` something, why, and the remedy."""
    try:
        yield
    except (ClientError, BotoCoreError, RetriesExceededError) as error:
        raise explain(error, doing) from error


def missing_object(doing: str) -> PipelineError:
    """What S3 says of a key that is not there, for where it says something else to a caller who may not list keys."""
    reply: Any = {
        "Error": {"Code": "NoSuchKey", "Message": "The specified key does not exist."},
        "ResponseMetadata": {"HTTPStatusCode": 404},
    }
    return explain(ClientError(reply, "GetObject"), doing)


def _transient(error: BaseException, doing: str) -> TransientError:
    if isinstance(error, BotoConnectionError):
        return TransientError(
            f"AWS could not be reached while {doing} ({type(error).__name__}): check the network, the region and any "
            f"AWS_ENDPOINT_URL_* setting, {_RESUMES}"
        )
    return TransientError(f"AWS is not answering while {doing} ({name_of(error)}): {message_of(error)}")


def _setting_problem(error: BaseException) -> str | None:  # noqa: PLR0911 (a list of cases)
    """What is wrong with a setting of AWS, and the remedy; None where the error is another."""
    if isinstance(error, NoRegionError):
        return "No AWS region is set: set AWS_REGION (or a region in your AWS profile)."
    if isinstance(error, InvalidRegionError):
        return f"{message_of(error)} Set AWS_REGION to one such as us-east-1."
    if isinstance(error, ValueError) and message_of(error).startswith("Invalid endpoint"):
        return f"{message_of(error)}: AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_* must be URLs such as http://host:port."
    if distrusts(error):
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


def unreadable(error: OSError) -> CredentialRetrievalError:
    variables = (name for name, value in os.environ.items() if name.startswith("AWS_") and value == error.filename)
    named_by = next(variables, None) or (f"the AWS profile {_profile()}" if _profile() else "the AWS configuration")
    return CredentialRetrievalError(provider=named_by, error_msg=f"{error.strerror}: {error.filename}")


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or ""


def _of_profile() -> str:
    return f" of profile {_profile()!r}" if _profile() else ""


def _credential_problem(error: BaseException) -> str | None:
    """Why there are no credentials, and the remedy; None where the error is another."""
    if not isinstance(error, CREDENTIAL_ERRORS):
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
    if code in CLOCK_CODES or CLOCK_MESSAGE.search(message_of(error)):
        return (
            f"This machine's clock is wrong: AWS refused the time of a request while {doing} ({code}). Set the clock "
            f"(by NTP, for one), {_RESUMES}"
        )
    if code in UNKNOWN_KEY_CODES:
        return (
            f"AWS does not know the access key while {doing} ({code}): check AWS_ACCESS_KEY_ID (and "
            f"AWS_SESSION_TOKEN), or the profile in AWS_PROFILE, {_RESUMES}"
        )
    if code in WRONG_SECRET_CODES:
        return (
            f"The secret key is not that of the access key: AWS refused the signature while {doing} ({code}). Check "
            f"AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE, {_RESUMES}"
        )
    return f"AWS refused the credentials while {doing} ({code}): refresh them, {_RESUMES}"
