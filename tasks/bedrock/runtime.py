"""One record on demand, through the runtime API, answered as a batch job would have answered it.

A call costs money when it is carried out, not when its reply can be read. So a reply is kept as it came, and only what
is known not to have been carried out is called again here: throttled, refused with an error of Bedrock's own, or never
sent. Where no reply came it cannot be known, and `LostReplyError` leaves it to the caller to count.
"""

import base64
import binascii
import contextlib
import re
from typing import Any, Final, Literal, NamedTuple

import msgspec
import urllib3

from tasks import aws
from tasks.bedrock.causes import said
from tasks.bedrock.records import RecordError, encode_error_line, encode_output_line
from tasks.errors import ConfigurationError, PipelineError, TransientError

#: Errors that are not this record's but the whole run's: no other record would fare better.
_FATAL: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
#: As Bedrock begins what it says of them: further on, a message may echo a prompt that says the same.
_BAD_MODEL: Final = re.compile(
    r"(?:the )?(?:provided |given |specified )?model id|invocation of model id", re.IGNORECASE
)
#: Tries at a call that is throttled or finds the service down, half a minute in all.
_TRIES: Final = 9
_BACK_OFF_SECONDS: Final = 20.0
#: What ends a reply that began.
_BROKEN_OFF = (TransientError, urllib3.exceptions.HTTPError, OSError)
_CHUNK_BYTES: Final = 64 << 10

Invocation = Literal["InvokeModel", "Converse"]
Tier = Literal["default", "flex", "priority", "reserved"]


class LostReplyError(Exception):
    """No reply came to a call, which may have been carried out all the same, and billed."""


class Reply(NamedTuple):
    """What became of one record: an output line, and whether asking again may give another."""

    line: bytes
    retryable: bool = False


def invoke(record_id: str, model_input: bytes, model_id: str, invocation: Invocation, tier: Tier = "default") -> Reply:
    """An output line for one record.

    Raises PipelineError for what concerns the whole run, such as a wrong model, and LostReplyError.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return Reply(encode_output_line(record_id, _call(model_input, model_id, invocation, tier)))
        except binascii.Error as error:
            return _does_not_fit(record_id, error)
        except urllib3.exceptions.HTTPError as error:
            # An error's body, which botocore reads where nothing turns this into one of its own.
            raise LostReplyError(type(error).__name__) from error
        except PipelineError as error:
            if aws.is_malformed(error):
                return _does_not_fit(record_id, error)
            if _is_fatal(error):
                _explain(error, model_id)
                raise
            # To Converse, botocore has read the reply before we get it.
            if aws.reply_broke_off(error):
                return Reply(encode_output_line(record_id, b""))
            if _may_be_carried_out(error):
                raise LostReplyError(aws.name_of(error)) from error
            if attempt == _TRIES or not _may_pass_soon(error):
                return error_reply(record_id, aws.status_of(error), aws.message_of(error))
        aws.back_off(attempt, _BACK_OFF_SECONDS)
    raise AssertionError("unreachable")


def _does_not_fit(record_id: str, error: Exception) -> Reply:
    message = f"The request does not fit the Converse API ({aws.name_of(error)})."
    return Reply(encode_error_line(record_id, 400, message))


def error_reply(record_id: str, status: int, message: str) -> Reply:
    return Reply(encode_error_line(record_id, status, message), RecordError(status, message).retryable)


def _call(model_input: bytes, model_id: str, invocation: Invocation, tier: Tier) -> bytes:
    """The reply's bytes, as many as came. Raises PipelineError and urllib3's HTTPError."""
    doing = f"calling model {model_id}"
    if invocation == "Converse":
        arguments = _bytes_from_base64(msgspec.json.decode(model_input))
        if tier != "default":
            arguments["serviceTier"] = {"type": tier}
        with aws.translated(doing):
            response: Any = aws.runtime().converse(modelId=model_id, **arguments)
        return bytes(response[aws.REPLY])
    # Left alone, it is what the account says.
    chosen: Any = {} if tier == "default" else {"serviceTier": tier}
    with aws.translated(doing):
        reply = aws.runtime().invoke_model(
            modelId=model_id, body=model_input, contentType="application/json", accept="application/json", **chosen
        )
    chunks: list[bytes] = []
    # The status came, so the call was carried out: what there is of its answer is its answer.
    with contextlib.suppress(*_BROKEN_OFF), aws.translated(doing):
        chunks.extend(reply["body"].iter_chunks(_CHUNK_BYTES))
    return b"".join(chunks)


def _may_be_carried_out(error: PipelineError) -> bool:
    if aws.has_answered(error):
        # Bedrock names its errors. Without a name it is a gateway's word, which knows of no reply, and of nothing more.
        return aws.status_of(error) in (502, 504) and aws.code_of(error) == str(aws.status_of(error))
    return aws.maybe_arrived(error)


def _may_pass_soon(error: PipelineError) -> bool:
    """Whether to call again at once; a model that failed or took too long is left for another round."""
    return isinstance(error, TransientError) and aws.status_of(error) not in (408, 424)


def _is_fatal(error: PipelineError) -> bool:
    if aws.is_credential_problem(error) or aws.code_of(error) in _FATAL:
        return True
    if not aws.has_answered(error):
        return not isinstance(error, TransientError)
    return aws.code_of(error) == "ValidationException" and _BAD_MODEL.match(aws.message_of(error)) is not None


def _explain(error: PipelineError, model_id: str) -> None:
    """Raise ConfigurationError where it is the model that cannot be had."""
    if aws.has_answered(error) and not aws.is_credential_problem(error):
        raise ConfigurationError(
            f"Bedrock cannot answer with model {model_id} ({aws.code_of(error)}): {said(aws.message_of(error))} "
            "Check the model id, its availability in this region, and the access that the account was granted."
        ) from error


def _bytes_from_base64(value: Any) -> Any:
    """boto3 takes blobs as bytes where a batch record holds base64: under the keys `bytes` and `redactedContent`."""
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item, validate=True)
            if key in ("bytes", "redactedContent") and isinstance(item, str)
            else _bytes_from_base64(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_bytes_from_base64(item) for item in value]
    return value
