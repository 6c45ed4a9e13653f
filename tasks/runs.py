"""Which batch a Prefect flow run works on: a small object in S3, for hooks that start with no memory of the run.

(Labels on the flow run would do as well, but Prefect's SQLite server answers their update with 503 while it records
task runs, which cost every run two seconds.)
"""

from uuid import UUID

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from prefect.context import FlowRunContext

from tasks.bedrock import aws
from tasks.settings import load_settings
from tasks.state import BatchRef
from tasks.storage.uris import S3Uri


class _Pointer(msgspec.Struct):
    batch_id: str


def _place(root: S3Uri, flow_run_id: UUID) -> S3Uri:
    return root.join("runs", f"{flow_run_id}.json")


def _current_run() -> UUID | None:
    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None


def remember_batch(ref: BatchRef) -> None:
    """Note the current flow run's batch; outside a flow run, nothing."""
    run = _current_run()
    if run is None:
        return
    uri = _place(ref.root, run)
    try:
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=msgspec.json.encode(_Pointer(ref.batch_id)))
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"writing {uri}") from error


def forget_batch(ref: BatchRef) -> None:
    """Remove the note of a run that came to its end."""
    run = _current_run()
    if run is None:
        return
    uri = _place(ref.root, run)
    try:
        aws.s3().delete_object(Bucket=uri.bucket, Key=uri.key)
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"deleting {uri}") from error


def batch_of_run(flow_run_id: UUID) -> BatchRef | None:
    """The batch of a flow run; None where it has none."""
    settings = load_settings()
    uri = _place(settings.root, flow_run_id)
    try:
        body = aws.s3().get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()
    except ClientError as error:
        if aws.code_of(error) in ("NoSuchKey", "404"):
            return None
        raise
    return BatchRef(settings.root, msgspec.json.decode(body, type=_Pointer).batch_id, settings.kms_key)
