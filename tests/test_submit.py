"""What a refused job is called: `model_not_found` only where Bedrock speaks of the model itself."""

import pytest
from botocore.exceptions import ClientError

from tasks.submit import _error_code

#: Messages of Bedrock, from its documentation and from reports of those who met them.
NO_MODEL = [
    ("ValidationException", "The provided model identifier is invalid."),
    ("ValidationException", "Could not resolve the foundation model from the provided model identifier."),
    ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    ("ValidationException", "Batch inference is not supported for the requested model"),
    ("ValidationException", "The model amazon.nova-sonic-v1:0 is not supported for batch inference."),
    ("ValidationException", "The requested model us.x.y-v1:0 doesn't support batch inference."),
    ("ValidationException", "1 validation error detected: Value at 'modelId' failed to satisfy constraint: Member …"),
    ("ResourceNotFoundException", "This model version has reached the end of its life."),
    ("ResourceNotFoundException", "Access denied. This Model is marked by provider as Legacy and you have not been "
     "actively using the model in the last 15 days."),
    ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
]  # fmt: skip
SOMETHING_ELSE = [
    ("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: "
     "bedrock:CreateModelInvocationJob on resource: arn:aws:bedrock:us-east-1::foundation-model/x", "permission_denied"),
    ("AccessDeniedException", "The role may not invoke the model.", "permission_denied"),
    ("ValidationException", "The provided role cannot be assumed by principal bedrock.", "invalid_request"),
    ("ValidationException", "The role cannot invoke the model, which is not available to it.", "invalid_request"),
    ("ValidationException", "Value at 'modelInvocationType' failed to satisfy constraint", "invalid_request"),
    ("ValidationException", "The invocation type is not supported for this model in batch.", "invalid_request"),
    ("ServiceQuotaExceededException", "The number of records exceeds the limit of the model.", "invalid_request"),
    ("ValidationException", "The output bucket of the model invocation job does not exist.", "invalid_request"),
    ("ResourceNotFoundException", "Could not find the model invocation job.", "invalid_request"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message"), NO_MODEL)
def test_a_model_that_cannot_be_had(code: str, message: str) -> None:
    assert _error_code(_refusal(code, message)) == "model_not_found"


@pytest.mark.parametrize(("code", "message", "called"), SOMETHING_ELSE)
def test_a_message_with_a_model_in_it(code: str, message: str, called: str) -> None:
    assert _error_code(_refusal(code, message)) == called


def _refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateModelInvocationJob")
