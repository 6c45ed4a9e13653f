"""Small objects in S3 beside the batches: which batch a Prefect run works on, and which batches are open.

`runs/FLOW_RUN_ID.json` serves hooks that start with no memory of the run, and the collector, which acts in their place
where they never ran. (Labels on the flow run would do as well, but Prefect's SQLite server answers their update with
503 while it records task runs, which cost every run two seconds.) `open/BATCH_ID` lets the collector find the few open
batches among many finished ones.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from uuid import UUID

import msgspec

from tasks import aws
from tasks.batch.paths import BatchRef, open_folder, runs_folder
from tasks.errors import PipelineError
from tasks.settings import load_settings
from tasks.storage.listing import list_folder
from tasks.storage.objects import delete_object, find_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption
from tasks.support.run_context import current_run

_latest: BatchRef | None = None
#: Who wants to hear which batch a call works on, as soon as it does.
_listener: "ContextVar[Callable[[BatchRef], None] | None]" = ContextVar("listener", default=None)


class _Pointer(msgspec.Struct):
    batch_id: str


def _place(root: S3Uri, flow_run_id: UUID) -> S3Uri:
    return runs_folder(root).join(f"{flow_run_id}.json")


def latest_batch() -> BatchRef | None:
    """The batch that this process worked on last: for whoever interrupted it."""
    return _latest


@contextlib.contextmanager
def telling(listener: Callable[[BatchRef], None]) -> Iterator[None]:
    """Have a function told of the batches that calls herein begin to work on."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def run_noted(ref: BatchRef) -> Iterator[None]:
    """Note the current flow run's batch for the length of a block; outside a flow run, in this process only.

    A run that Prefect terminates leaves its note: the cancellation hook reads it afterwards, or the collector.
    """
    global _latest  # noqa: PLW0603
    _latest = ref
    listener = _listener.get()
    if listener is not None:
        listener(ref)
    run = current_run()
    if run is None:
        yield
        return
    _write(_place(ref.root, run), msgspec.json.encode(_Pointer(ref.batch_id)), ref.kms_key)
    try:
        yield
    except (Exception, KeyboardInterrupt):
        with contextlib.suppress(PipelineError):
            forget_run(ref.root, run)
        raise
    forget_run(ref.root, run)


def forget_run(root: S3Uri, flow_run_id: UUID) -> None:
    """Remove the note of a run that is over, or has nothing left to stop."""
    delete_object(_place(root, flow_run_id))


def batch_of_run(flow_run_id: UUID) -> BatchRef | None:
    """The batch of a flow run; None where it has none. Raises PipelineError."""
    settings = load_settings()
    batch_id = _batch_id(_place(settings.root, flow_run_id))
    return BatchRef(settings.root, batch_id, settings.kms_key) if batch_id else None


def list_notes(root: S3Uri) -> Iterator[tuple[UUID, str]]:
    """Every flow run that has a note, and its batch. What is no note of ours is passed over. Raises PipelineError."""
    folder = runs_folder(root)
    for entry in list_folder(folder):
        name = entry["Key"].rsplit("/", 1)[-1]
        try:
            run = UUID(name.removesuffix(".json"))
        except ValueError:
            continue
        batch_id = _batch_id(folder.join(name))
        if batch_id:
            yield run, batch_id


def _batch_id(uri: S3Uri) -> str | None:
    """What a note says; None where there is none, or none that can be read as one."""
    found = find_object(uri)
    if found is None:
        return None
    body, _ = found
    try:
        return msgspec.json.decode(body, type=_Pointer).batch_id
    except msgspec.MsgspecError:
        return None


def mark_open(ref: BatchRef) -> None:
    """Let collectors find the batch."""
    _write(open_folder(ref.root).join(ref.batch_id), b"", ref.kms_key)


def mark_closed(ref: BatchRef) -> None:
    """The batch has ended: collectors need not look at it any more."""
    delete_object(open_folder(ref.root).join(ref.batch_id))


def open_batches(root: S3Uri) -> Iterator[str]:
    """The ids of the batches that were open when last touched."""
    for entry in list_folder(open_folder(root)):
        yield entry["Key"].rsplit("/", 1)[-1]


def _write(uri: S3Uri, body: bytes, kms_key: str | None) -> None:
    with aws.translated(f"writing {uri}"):
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=body, **encryption(kms_key))
