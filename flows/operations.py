"""List, retrieve, cancel, collect and read batches: from any machine with access to the bucket."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace
from prefect import flow

from flows.noted_runs import batches_to_stop, read_notes, tidy_notes
from flows.runners import TASK_RUNNER
from flows.stages import drive
from tasks.batches import tidy
from tasks.bedrock.events import batch_of_event
from tasks.context import run_log
from tasks.errors import PipelineError
from tasks.lease import trying_to_hold
from tasks.openai_format.batch import Batch
from tasks.runs import mark_closed, open_batches
from tasks.settings import load_settings
from tasks.state import BatchRef, batch_ids, load, read
from tasks.stop import stop_batch
from tasks.storage.reader import UNLIMITED, find_sources, read_lines
from tasks.words import counted


def _ref(batch_id: str) -> BatchRef:
    settings = load_settings()
    return BatchRef(settings.root, batch_id, settings.kms_key)


@flow(name="list-batches", persist_result=False)
def list_batches(limit: int = 100, after: str | None = None) -> list[Batch]:
    """The batches under the configured prefix, the newest first.

    Args:
        limit: The most batches to return.
        after: Return only batches that follow this batch id in the list.
    """
    settings = load_settings()
    loaded = (load(BatchRef(settings.root, batch_id)) for batch_id in batch_ids(settings.root))
    batches = sorted((found[0].public() for found in loaded if found), key=lambda b: (-b.created_at, b.id))
    if after is not None:
        position = next((i for i, batch in enumerate(batches) if batch.id == after), len(batches))
        batches = batches[position + 1 :]
    return list(islice(batches, limit))


@flow(name="retrieve-batch", persist_result=False)
def retrieve_batch(batch_id: str) -> Batch:
    """One batch as it stands in S3.

    Args:
        batch_id: The id, `batch_` and 32 hex digits.
    """
    return read(_ref(batch_id)).public()


@flow(name="cancel-batch", task_runner=TASK_RUNNER, persist_result=False)
def cancel_batch(batch_id: str, collect: bool = True) -> Batch:
    """Stop a batch's Bedrock jobs and collect what was answered; the rest is `batch_cancelled` in the error file.

    Where another run drives the batch, that run collects, and the batch is returned as `cancelling`.

    Args:
        batch_id: The id, `batch_` and 32 hex digits.
        collect: Wait for the jobs to stop (minutes, at AWS) and finish the batch; or only stop them.
    """
    return cancel(_ref(batch_id), collect=collect)


def cancel(ref: BatchRef, *, collect: bool = True) -> Batch:
    """`cancel_batch`, also outside of a flow."""
    batch = stop_batch(ref)
    if batch.finished or not collect:
        return batch
    with trying_to_hold(ref, patient=True) as lease:
        if lease and not read(ref).finished:
            drive(lease.ref)
    return read(ref).public()


@flow(name="collect-batches", task_runner=TASK_RUNNER, persist_result=False)
def collect_batches(batch_id: str | None = None, event: dict[str, Any] | None = None) -> list[Batch]:
    """Advance every open batch: submit what waits for a slot, look at the jobs, fetch and normalise what is done.

    Made for a schedule, so that no process need live as long as a batch: `batch_inference(..., wait=False)` submits
    and leaves. Batches that another run drives are left to it. Trouble with one batch leaves the others alone.
    Batches of runs that were cancelled in Prefect, by a worker that did not live to stop them, are stopped.

    Args:
        batch_id: Only this batch.
        event: Only the batch of an EventBridge event "Batch Inference Job State Change", as EventBridge delivers it.

    Returns:
        The batches that were looked at, as they stand.

    Raises:
        PipelineError: Some batches could not be advanced; the others were.
    """
    settings = load_settings()
    chosen = list(open_batches(settings.root))
    if batch_id is not None:
        chosen = [batch_id]
    if event is not None:
        try:
            prefix = batch_of_event(event)
        except ValueError as error:
            raise PipelineError(str(error)) from None
        chosen = [open_id for open_id in chosen if prefix and open_id.startswith(prefix)]
    notes = read_notes(settings)
    to_stop = batches_to_stop(notes)
    batches, troubles = [], []
    for each in chosen:
        ref = BatchRef(settings.root, each, settings.kms_key)
        try:
            if each in to_stop:
                run_log().info("Stopping batch %s: its run was cancelled in Prefect", each)
                stop_batch(ref)
            batch = advance(ref)
        except PipelineError as error:
            run_log().error("Batch %s could not be advanced: %s", each, error)
            troubles.append(f"{each}: {error}")
        else:
            if batch is not None:
                run_log().info("Batch %s is %s", each, batch.status)
                batches.append(batch)
    tidy_notes(settings, notes)
    if troubles:
        failed = f"{len(troubles)} of {counted(len(chosen), 'batch', 'batches')}"
        raise PipelineError(f"{failed} could not be advanced. {'; '.join(troubles)}")
    return batches


def advance(ref: BatchRef) -> Batch | None:
    """Take one batch as far as it goes now; None where there is no such batch."""
    loaded = load(ref)
    if loaded is None:
        mark_closed(ref)
        return None
    if loaded[0].finished:
        tidy(replace(ref, epoch=loaded[0].bedrock.lease.epoch - 1), loaded[0])
        return loaded[0].public()
    with trying_to_hold(ref) as lease:
        if lease:
            drive(lease.ref, wait=False)
        else:
            run_log().info("Batch %s is driven by another run", ref.batch_id)
    return read(ref).public()


def batch_output(batch_id: str, errors: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of a batch's output file, or of its error file, as dictionaries, streamed.

    Raises PipelineError while the batch is not finished.
    """
    batch = read(_ref(batch_id)).public()
    if not batch.finished:
        raise PipelineError(f"Batch {batch_id} is {batch.status}: it has no output yet.")
    uri = batch.error_file if errors else batch.output_file
    for source in find_sources(uri) if uri else ():
        for block in read_lines(source, limit=UNLIMITED):
            for line in block.lines:
                yield msgspec.json.decode(line)
