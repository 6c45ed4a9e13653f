"""Which batch a Prefect flow run works on: kept as labels on the run, for hooks that start with no memory of it."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from tasks.settings import load_settings
from tasks.state import BatchRef
from tasks.storage.uris import S3Uri

_BATCH, _ROOT = "bedrock.batch_id", "bedrock.root"


def remember_batch(ref: BatchRef) -> None:
    """Label the current flow run with its batch; outside a flow run, nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(context.flow_run.id, {_BATCH: ref.batch_id, _ROOT: str(ref.root)})


def batch_of_run(flow_run_id: UUID) -> BatchRef | None:
    """The batch of a flow run; None where it got none."""
    with get_client(sync_client=True) as client:
        labels = client.read_flow_run(flow_run_id).labels
    if _BATCH not in labels:
        return None
    bucket, _, key = str(labels[_ROOT]).removeprefix("s3://").partition("/")
    return BatchRef(S3Uri(bucket, key), str(labels[_BATCH]), load_settings().kms_key)
