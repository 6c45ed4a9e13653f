"""Stage 5: watch all jobs of a batch from one place until something is to be done."""

import time
from collections import Counter
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks import aws
from tasks.batch import store
from tasks.batch.document import BatchDocument, Job, Shard
from tasks.batch.jobs import Progress, running_shards, stop_running, waiting_shards
from tasks.batch.paths import BatchRef
from tasks.bedrock.jobs import FINAL_STATUSES, JobStatus, get_job
from tasks.errors import PipelineError, TransientError
from tasks.support.progress import current, spent
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

#: The adaptive interval: a tenth of the time waited so far, within these bounds, in seconds.
_SHORTEST, _LONGEST, _SHARE = 1.0, 60.0, 0.1


_NEW_SECONDS = 120.0


def interval(waited_seconds: float, poll_seconds: float | None) -> float:
    """Seconds until the next look: short while jobs are young, a minute when they take hours."""
    if poll_seconds is not None:
        return poll_seconds
    return min(_LONGEST, max(_SHORTEST, waited_seconds * _SHARE))


def look(ref: BatchRef, document: BatchDocument, *, every_count: bool = False) -> BatchDocument:
    """Ask for the state of every running job once, and note in batch.json which ones changed.

    How far they have come is noted with that; with `every_count`, by itself as well.

    A job whose state cannot be had now (throttling, network) keeps the one it had.
    """
    seen: dict[str, JobStatus] = {}
    for shard in running_shards(document):
        assert shard.job is not None
        try:
            seen[shard.job.arn or ""] = get_job(shard.job.arn or "")
        except TransientError:
            continue
        except PipelineError as error:
            if not _is_new(shard.job, error):
                raise
    if not any(status.status != job.status for job in _jobs(document) if (status := seen.get(job.arn or ""))):
        before = describe(document)[1]
        for job in _jobs(document):
            _take_counts(job, seen.get(job.arn or ""))
        after = describe(document)[1]
        if not every_count or after == before:
            return document

    def change(current: BatchDocument) -> None:
        for shard in current.bedrock.shards or []:
            job = shard.job
            status = seen.get(job.arn or "") if job else None
            if job is None or status is None or job.status in FINAL_STATUSES:
                continue
            _take_counts(job, status)
            job.status, job.message = status.status, status.message
            if status.status in FINAL_STATUSES:
                job.ended_at = int(time.time())
                shard.done = True

    return store.update(ref, change)


def _is_new(job: Job, error: PipelineError) -> bool:
    """Whether a job is not found because it was created a moment ago: AWS's replies are consistent in the end only."""
    age = time.time() - (job.submitted_at or 0)
    return aws.code_of(error) == "ResourceNotFoundException" and age < _NEW_SECONDS


def _jobs(document: BatchDocument) -> list[Job]:
    return [shard.job for shard in document.bedrock.shards or [] if shard.job is not None]


def _take_counts(job: Job, status: JobStatus | None) -> None:
    if status is not None:
        job.total, job.processed = max(job.total, status.total), max(job.processed, status.processed)
        job.succeeded, job.errored = max(job.succeeded, status.succeeded), max(job.errored, status.errored)


def _processed(shard: Shard) -> int:
    if shard.job is None:
        return 0
    # The counters lag by up to a minute; a completed job has processed all.
    return shard.records + shard.padding if shard.job.status == "Completed" else shard.job.processed


def processed_of(document: BatchDocument) -> tuple[int, int]:
    """How many records the jobs have processed, of how many."""
    shards = [shard for shard in document.bedrock.shards or [] if shard.route == "batch"]
    return sum(_processed(shard) for shard in shards), sum(shard.records + shard.padding for shard in shards)


def describe(document: BatchDocument) -> tuple[str, float]:
    """Progress in words and in percent."""
    shards = [shard for shard in document.bedrock.shards or [] if shard.route == "batch"]
    processed, total = processed_of(document)
    states = Counter(shard.job.status or "Submitting" if shard.job else "Waiting" for shard in shards)
    parts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{processed:,} of {counted(total, 'record')}; jobs: {parts}", 100.0 * processed / total if total else 100.0


@task(name="poll", task_run_name="poll", **STAGE_OPTIONS)
def poll(ref: BatchRef, poll_seconds: float | None = None) -> Progress:
    """Wait until all jobs are over, or until one is and another waits for its slot.

    Throttling and network errors never end the wait. Raises PipelineError for what waiting does not mend.
    """
    log = run_log()
    started = time.monotonic()
    document = store.read(ref)
    waiting = len(waiting_shards(document))
    in_flight = len(running_shards(document))
    artifact = None
    shown, logged = "", ""
    while True:
        try:
            document = look(ref, document)
            if document.status == "cancelling":
                # Also what was on its way to Bedrock when the batch was cancelled.
                stop_running(document)
        except TransientError as error:
            log.warning("%s Waiting goes on.", error)
        text, percent = describe(document)
        processed, total = processed_of(document)
        current().to(processed, total, spent(percent / 100))
        if text != shown:
            # A line for every change of a job's state and every tenth of the way; the artifact has the rest.
            step = f"{text.partition(';')[2]} {percent // 10}"
            if step != logged:
                log.info("%s", text)
                logged = step
            artifact = _show(artifact, ref, text, percent)
            shown = text
        running = len(running_shards(document))
        if not running and not waiting:
            # Over, though some jobs may have left records out.
            artifact = _show(artifact, ref, text, 100.0)
        if not running or (waiting and running < in_flight):
            break
        time.sleep(interval(time.monotonic() - started, poll_seconds))
        document = _refresh(ref, document)
    if waiting and not in_flight:
        # No slot, and no job of ours that could free one: others hold them all.
        time.sleep(interval(_LONGEST / _SHARE, poll_seconds))
    return Progress(len(waiting_shards(document)), running)


@task(name="look", task_run_name="look", **STAGE_OPTIONS)
def look_once(ref: BatchRef) -> None:
    """Look at the running jobs once, for a run that does not wait."""
    document = store.read(ref)
    if running_shards(document):
        run_log().info("%s", describe(look(ref, document, every_count=True))[0])


def _show(artifact: UUID | None, ref: BatchRef, text: str, percent: float) -> UUID | None:
    """Show progress in the Prefect UI. A Prefect server that is away must not end a wait of hours."""
    try:
        if artifact is None:
            created = create_progress_artifact(
                progress=percent, key="bedrock-jobs", description=f"{ref.batch_id}: {text}"
            )
            return created if isinstance(created, UUID) else None
        update_progress_artifact(artifact, progress=percent, description=f"{ref.batch_id}: {text}")
    except Exception as error:
        run_log().debug("The progress could not be shown (%s)", type(error).__name__)
    return artifact


def _refresh(ref: BatchRef, document: BatchDocument) -> BatchDocument:
    """batch.json as it is now: it may have been cancelled from elsewhere. Counters live in memory only."""
    try:
        current = store.read(ref)
    except TransientError:
        return document
    for job, known in zip(_jobs(current), _jobs(document), strict=False):
        if job.arn == known.arn:
            _take_counts(
                job,
                JobStatus(
                    job.arn or "", job.status or "", None, known.total, known.processed, known.succeeded, known.errored
                ),
            )
    return current
