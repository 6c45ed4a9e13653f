"""One record on demand, through the runtime API, answered as a batch job would have answered it."""

import base64
import binascii
import re
from typing import Any, Final, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from tasks.bedrock import aws
from tasks.bedrock.causes import said
from tasks.bedrock.records import encode_error_line, encode_output_line
from tasks.errors import ConfigurationError, PipelineError

#: Errors that are not this record's but the whole run's: no other record would fare better.
_FATAL: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
#: As Bedrock begins what it says of them: further on, a message may echo a prompt that says the same.
_BAD_MODEL: Final = re.compile(
    r"(?:the )?(?:provided |given |specified )?model id|invocation of model id", re.IGNORECASE
)


def invoke(record_id: str, model_input: bytes, model_id: str, invocation: Literal["InvokeModel", "Converse"]) -> bytes:
    """An output line for one record. Raises PipelineError for what concerns the whole run, such as a wrong model."""
    try:
        if invocation == "InvokeModel":
            reply = aws.runtime().invoke_model(
                modelId=model_id, body=model_input, contentType="application/json", accept="application/json"
            )
            return encode_output_line(record_id, reply["body"].read())
        arguments = _bytes_from_base64(msgspec.json.decode(model_input))
        response: Any = aws.runtime().converse(modelId=model_id, **arguments)
        response.pop("ResponseMetadata", None)
        return encode_output_line(record_id, msgspec.json.encode(response))
    except (ParamValidationError, binascii.Error) as error:
        return encode_error_line(record_id, 400, f"The request does not fit the Converse API ({type(error).__name__}).")
    except (ClientError, BotoCoreError) as error:
        if _is_fatal(error):
            raise _explain(error, model_id) from error
        return encode_error_line(record_id, aws.status_of(error), aws.message_of(error))


def _is_fatal(error: ClientError | BotoCoreError) -> bool:
    if aws.is_credential_problem(error) or aws.code_of(error) in _FATAL:
        return True
    if isinstance(error, BotoCoreError):
        return not aws.is_transient(error)
    return aws.code_of(error) == "ValidationException" and _BAD_MODEL.match(aws.message_of(error)) is not None


def _explain(error: ClientError | BotoCoreError, model_id: str) -> PipelineError:
    if isinstance(error, ClientError) and not aws.is_credential_problem(error):
        return ConfigurationError(
            f"Bedrock cannot answer with model {model_id} ({aws.code_of(error)}): {said(aws.message_of(error))} "
            "Check the model id, its availability in this region, and the access that the account was granted."
        )
    return aws.explain(error, f"calling model {model_id}")


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
