"""Bedrock's model invocation jobs: create, find, watch and stop (API reference: CreateModelInvocationJob …)."""

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from tasks import aws
from tasks.bedrock.causes import said
from tasks.bedrock.models import parse_model
from tasks.errors import PipelineError

if TYPE_CHECKING:
    from mypy_boto3_bedrock.type_defs import CreateModelInvocationJobRequestTypeDef

#: Jobs that count against the quota of jobs in flight.
OPEN_STATUSES: Final = ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
#: Jobs that will never change again.
FINAL_STATUSES: Final = frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"})

_TAG: Final = re.compile(r"[^a-zA-Z0-9\s._:/=+@-]")
#: A quota on what the job holds never frees itself, one on jobs in flight does.
_CONTENT_QUOTA: Final = re.compile(r"\b(?:records?|size|file)\b", re.IGNORECASE)
_SLOT_QUOTA: Final = re.compile(
    r"\b(?:in[- ]?(?:progress|flight)|submitted|concurrent|number of jobs)\b", re.IGNORECASE
)


class JobRequest(msgspec.Struct):
    """What a create call needs; `timeout_hours` within 24 to 168."""

    name: str
    token: str
    model_id: str
    role_arn: str
    input_uri: str
    output_uri: str
    invocation: Literal["InvokeModel", "Converse"]
    timeout_hours: int
    kms_key: str | None = None
    #: The account that the bucket of both URIs belongs to, where it is not the caller's.
    bucket_owner: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: dict[str, str] | None = None


class JobStatus(msgspec.Struct):
    """The part of GetModelInvocationJob that a batch follows. Counters may lag by a minute."""

    arn: str
    status: str
    message: str | None = None
    total: int = 0
    processed: int = 0
    succeeded: int = 0
    errored: int = 0


class NoFreeSlot(Exception):
    """Bedrock takes no further job of this model now; one will be free when another ends."""


def create_job(request: JobRequest) -> str:
    """Submit a job and return its ARN; with the token of an earlier job, that job's.

    Raises NoFreeSlot where the account's quota of jobs in flight is used up, PipelineError else.
    """
    source: Any = {"s3Uri": request.input_uri, "s3InputFormat": "JSONL"}
    output: Any = {"s3Uri": request.output_uri}
    if request.kms_key:
        output["s3EncryptionKeyId"] = request.kms_key
    if request.bucket_owner:
        source["s3BucketOwner"] = output["s3BucketOwner"] = request.bucket_owner
    arguments: CreateModelInvocationJobRequestTypeDef = {
        "jobName": request.name,
        "clientRequestToken": request.token,
        "modelId": request.model_id,
        "roleArn": request.role_arn,
        "inputDataConfig": {"s3InputDataConfig": source},
        "outputDataConfig": {"s3OutputDataConfig": output},
        "timeoutDurationInHours": request.timeout_hours,
        "modelInvocationType": request.invocation,
    }
    if request.subnets:
        arguments["vpcConfig"] = {
            "subnetIds": list(request.subnets),
            "securityGroupIds": list(request.security_groups),
        }
    if request.tags:
        arguments["tags"] = [{"key": key, "value": value} for key, value in request.tags.items()]
    try:
        with aws.translated(f"submitting the job for model {request.model_id} with role {request.role_arn}"):
            return aws.bedrock().create_model_invocation_job(**arguments)["jobArn"]
    except PipelineError as error:
        code, message = aws.code_of(error), aws.message_of(error)
        if code == "ServiceQuotaExceededException" and (
            _SLOT_QUOTA.search(message) or not _CONTENT_QUOTA.search(message)
        ):
            raise NoFreeSlot(message) from error
        if code == "ConflictException":
            # The token is known with other parameters, such as a role since changed: the job is there.
            arn = find_job(request.name, request.token)
            if arn:
                return arn
        raise


def find_job(name: str, token: str) -> str | None:
    """The ARN of the job with this name and token, if the service has it. Raises PipelineError."""
    pages = aws.bedrock().get_paginator("list_model_invocation_jobs").paginate(nameContains=name)
    with aws.translated(f"looking for the job {name}"):
        for page in pages:
            for summary in page.get("invocationJobSummaries", []):
                if summary["jobName"] == name and summary.get("clientRequestToken", token) == token:
                    return summary["jobArn"]
    return None


def get_job(arn: str) -> JobStatus:
    """The state of one job. A reply without a status means that it is still running. Raises PipelineError."""
    with aws.translated(f"asking for the state of {arn}"):
        reply = aws.bedrock().get_model_invocation_job(jobIdentifier=arn)
    return JobStatus(
        arn=arn,
        status=reply.get("status") or "InProgress",
        # It may echo a record, and goes into batch.json and from there into logs and exceptions.
        message=said(reply.get("message") or "") or None,
        total=reply.get("totalRecordCount") or 0,
        processed=reply.get("processedRecordCount") or 0,
        succeeded=reply.get("successRecordCount") or 0,
        errored=reply.get("errorRecordCount") or 0,
    )


def stop_job(arn: str) -> bool:
    """Stop a job; False where it was over already. Raises PipelineError."""
    try:
        with aws.translated(f"stopping the job {arn}"):
            aws.bedrock().stop_model_invocation_job(jobIdentifier=arn)
    except PipelineError as error:
        if aws.code_of(error) in ("ConflictException", "ValidationException"):
            return False
        raise
    return True


def count_open_jobs(model_id: str) -> int | None:
    """How many jobs of this model the account has in flight; None where listing is not allowed or not possible."""
    wanted = parse_model(model_id).base_id or model_id
    count = 0
    paginator = aws.bedrock().get_paginator("list_model_invocation_jobs")
    try:
        with aws.translated("counting the jobs in flight"):
            for status in OPEN_STATUSES:
                for page in paginator.paginate(statusEquals=status):
                    for summary in page.get("invocationJobSummaries", []):
                        same = (parse_model(summary["modelId"]).base_id or summary["modelId"]) == wanted
                        count += same and summary.get("status") == status
    except (PipelineError, ValueError):
        return None
    return count


def job_tags(metadata: dict[str, str], batch: str) -> dict[str, str]:
    """Metadata as tags: other characters than AWS allows become '_', lengths are cut to 128 and 256."""
    tags = {_TAG.sub("_", key)[:128]: _TAG.sub("_", value)[:256] for key, value in metadata.items() if key}
    return {key: value for key, value in tags.items() if not key.lower().startswith("aws:")} | {
        "bedrock-batch-id": batch
    }
