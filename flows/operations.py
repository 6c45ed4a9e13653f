"""List, retrieve, cancel, collect and read batches: from any machine with access to the bucket."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec.structs import replace
from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.forms import titled
from flows.noted_runs import batches_to_stop, read_notes, tidy_notes
from flows.pipeline import drive
from flows.runners import TASK_RUNNER
from tasks.batch import store
from tasks.batch.document import BatchDocument
from tasks.batch.lease import trying_to_hold
from tasks.batch.lifecycle import tidy
from tasks.batch.paths import BatchRef
from tasks.batch.registry import mark_closed, open_batches
from tasks.batch.result import BatchResult
from tasks.bedrock.events import batch_of_event
from tasks.cancel import stop_batch
from tasks.errors import BatchNotFoundError, PipelineError
from tasks.fetch import find_output
from tasks.normalize import answered_so_far
from tasks.report import batch_markdown, batches_table
from tasks.settings import load_settings
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import find_sources
from tasks.support.run_context import current_run, run_log
from tasks.support.words import counted

_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}")
#: Reads of a list that are on their way at once.
_READERS = 16


def _ref(batch_id: str) -> BatchRef:
    """The batch of an id. Raises PipelineError for what is none: it would lead to other places of the bucket."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise BatchNotFoundError(f"{batch_id[:80]!r} is no batch id: `batch_` and 32 hex digits.")
    settings = load_settings()
    return BatchRef(settings.root, batch_id, settings.kms_key)


@flow(name="list-batches", persist_result=False)
@titled
def list_batches(limit: int = 100, after: str | None = None) -> list[BatchResult]:
    """The batches under the configured prefix, the newest first.

    Args:
        limit: The most batches to return.
        after: Return only batches that follow this batch id in the list.

    Raises:
        PipelineError: There is no batch `after`, or `limit` is less than 1.
    """
    shown = newest_batches(limit, after)
    if current_run() is not None:
        create_table_artifact(
            key="batches", table=batches_table(shown), description=counted(len(shown), "batch", "batches")
        )
    return shown


def newest_batches(limit: int, after: str | None = None) -> list[BatchResult]:
    """`list_batches`, also outside of a flow."""
    if limit < 1:
        raise PipelineError(f"limit must be 1 or more, not {limit}.")
    settings = load_settings()
    refs = (BatchRef(settings.root, batch_id) for batch_id in store.batch_ids(settings.root))
    with ThreadPoolExecutor(_READERS) as pool:
        loaded = list(pool.map(store.load, refs))
    batches = sorted((found[0].public() for found in loaded if found), key=lambda b: (-b.created_at, b.id))
    if after is not None:
        position = next((i for i, batch in enumerate(batches) if batch.id == after), None)
        if position is None:
            raise BatchNotFoundError(f"There is no batch {after[:80]!r} under {settings.root} to list from.")
        batches = batches[position + 1 :]
    return batches[:limit]


@flow(name="retrieve-batch", persist_result=False)
@titled
def retrieve_batch(batch_id: str) -> BatchResult:
    """One batch as it stands in S3.

    Args:
        batch_id: The id, `batch_` and 32 hex digits.
    """
    batch = store.read(_ref(batch_id)).public()
    if current_run() is not None:
        create_markdown_artifact(key="batch", markdown=batch_markdown(batch), description=f"Batch {batch.id}")
    return batch


@flow(name="cancel-batch", task_runner=TASK_RUNNER, persist_result=False)
@titled
def cancel_batch(batch_id: str, collect: bool = True) -> BatchResult:
    """Stop a batch's Bedrock jobs and collect what was answered; the rest is `batch_cancelled` in the error file.

    Where another run drives the batch, that run collects, and the batch is returned as `cancelling`.

    Args:
        batch_id: The id, `batch_` and 32 hex digits.
        collect: Wait for the jobs to stop (minutes, at AWS) and finish the batch; or only stop them.
    """
    return cancel(_ref(batch_id), collect=collect)


def cancel(ref: BatchRef, *, collect: bool = True) -> BatchResult:
    """`cancel_batch`, also outside of a flow."""
    batch = stop_batch(ref)
    if batch.finished or not collect:
        return batch
    with trying_to_hold(ref, patient=True) as lease:
        if lease and not store.read(ref).finished:
            drive(lease.ref)
    return store.read(ref).public()


@flow(name="collect-batches", task_runner=TASK_RUNNER, persist_result=False)
@titled
def collect_batches(batch_id: str | None = None, event: dict[str, Any] | None = None) -> list[BatchResult]:
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


def advance(ref: BatchRef) -> BatchResult | None:
    """Take one batch as far as it goes now; None where there is no such batch."""
    loaded = store.load(ref)
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
    return store.read(ref).public()


def read_document(batch_id: str) -> BatchDocument:
    """A batch with its jobs and all that batch.json has besides, outside of a flow."""
    return store.read(_ref(batch_id))


def batch_output(batch_id: str, errors: bool = False, incomplete: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of a batch's output file, or of its error file, as dictionaries, streamed.

    `incomplete`: of a batch that runs, what its finished jobs have answered, in the order of the input.
    Raises PipelineError while the batch is not finished, and that was not asked for.
    """
    return map(msgspec.json.decode, output_lines(batch_id, errors, incomplete))


def output_lines(batch_id: str, errors: bool = False, incomplete: bool = False) -> Iterator[bytes]:
    """`batch_output`, as the bytes of each line, without its end."""
    ref = _ref(batch_id)
    batch = store.read(ref).public()
    if not batch.finished and incomplete:
        yield from (line.removesuffix(b"\n") for line in results_so_far(ref, errors=errors))
        return
    if not batch.finished:
        raise PipelineError(
            f"Batch {batch_id} is {batch.status}: it has no output yet; incomplete=True gives what is finished."
        )
    uri = batch.error_file if errors else batch.output_file
    for source in find_sources(uri) if uri else ():
        for block in read_lines(source, limit=UNLIMITED):
            yield from block.lines


def results_so_far(ref: BatchRef, *, errors: bool = False) -> Iterator[bytes]:
    """The result lines of a batch that runs, with their ends, as far as its jobs are over, in the input's order.

    Those of the first ranges of the input, up to one whose jobs still run. What may be asked again is left out.
    """
    document = store.read(ref)
    for range_ in document.bedrock.ranges:
        shards = [shard for shard in document.bedrock.shards or [] if range_.index in shard.ranges]
        if not shards or any(not shard.done for shard in shards if shard.round == 1 and shard.route != "none"):
            return
        outputs = [find_output(ref, shard) for shard in shards if shard.done]
        for result in answered_so_far(ref, document, range_, outputs):
            if result.ok is not errors:
                yield result.line
