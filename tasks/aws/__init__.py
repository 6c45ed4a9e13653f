"""The one seam to AWS: boto3's clients, and its errors turned into ours.

A call to AWS stands in `with aws.translated("reading …"):`, and nobody outside of this package knows botocore's
exceptions (the import contract sees to it). What comes out says what failed, why, and the remedy:

    MissingObjectError        no such key
    PreconditionError         a conditional call came too late
    ConfigurationError        credentials, the region, a setting; as AccessDeniedError, a permission
    TransientError            throttled, down or out of reach
    PipelineError             AWS refused the call for another reason

Who must know more asks `code_of`, `message_of` and their kin: the error of botocore stays the cause of ours.
"""

from tasks.aws.clients import READ_ATTEMPTS, REPLY, back_off, bedrock, keep_reply, looker, runtime, s3
from tasks.aws.errors import explain, missing_object, translated
from tasks.aws.kinds import (
    code_of,
    has_answered,
    headers_of,
    is_credential_problem,
    is_malformed,
    is_transient,
    maybe_arrived,
    message_of,
    name_of,
    reply_broke_off,
    status_of,
)

__all__ = [
    "READ_ATTEMPTS",
    "REPLY",
    "back_off",
    "bedrock",
    "code_of",
    "explain",
    "has_answered",
    "headers_of",
    "is_credential_problem",
    "is_malformed",
    "is_transient",
    "keep_reply",
    "looker",
    "maybe_arrived",
    "message_of",
    "missing_object",
    "name_of",
    "reply_broke_off",
    "runtime",
    "s3",
    "status_of",
    "translated",
]
