"""Small objects in S3 beside the batches: which batch a Prefect run works on, and which batches are open.

`runs/FLOW_RUN_ID.json` serves hooks that start with no memory of the run. (Labels on the flow run would do as well, but
Prefect's SQLite server answers their update with 503 while it records task runs, which cost every run two seconds.)
`open/BATCH_ID` lets the collector find the few open batches among many finished ones.
"""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from tasks.bedrock import aws
from tasks.context import current_run
from tasks.settings import load_settings
from tasks.state import BatchRef
from tasks.storage.listing import list_folder
from tasks.storage.objects import delete_object, read_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption

_latest: BatchRef | None = None


class _Pointer(msgspec.Struct):
    batch_id: str


def _place(root: S3Uri, flow_run_id: UUID) -> S3Uri:
    return root.join("runs", f"{flow_run_id}.json")


def latest_batch() -> BatchRef | None:
    """The batch that this process worked on last: for whoever interrupted it."""
    return _latest


def remember_batch(ref: BatchRef) -> None:
    """Note the current flow run's batch; outside a flow run, in this process only."""
    global _latest  # noqa: PLW0603
    _latest = ref
    run = current_run()
    if run is None:
        return
    _write(_place(ref.root, run), msgspec.json.encode(_Pointer(ref.batch_id)), ref.kms_key)


def forget_batch(ref: BatchRef) -> None:
    """Remove the note of a run that came to its end."""
    run = current_run()
    if run is None:
        return
    delete_object(_place(ref.root, run))


def batch_of_run(flow_run_id: UUID) -> BatchRef | None:
    """The batch of a flow run; None where it has none."""
    settings = load_settings()
    uri = _place(settings.root, flow_run_id)
    try:
        body, _ = read_object(uri)
    except ClientError as error:
        if aws.code_of(error) in ("NoSuchKey", "404"):
            return None
        raise
    return BatchRef(settings.root, msgspec.json.decode(body, type=_Pointer).batch_id, settings.kms_key)


def mark_open(ref: BatchRef) -> None:
    """Let collectors find the batch."""
    _write(ref.root.join("open", ref.batch_id), b"", ref.kms_key)


def mark_closed(ref: BatchRef) -> None:
    """The batch has ended: collectors need not look at it any more."""
    delete_object(ref.root.join("open", ref.batch_id))


def open_batches(root: S3Uri) -> Iterator[str]:
    """The ids of the batches that were open when last touched."""
    for entry in list_folder(root.join("open")):
        yield entry["Key"].rsplit("/", 1)[-1]


def _write(uri: S3Uri, body: bytes, kms_key: str | None) -> None:
    try:
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=body, **encryption(kms_key))
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"writing {uri}") from error
