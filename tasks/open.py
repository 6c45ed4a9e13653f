"""Stage: open the batch that a call names, or take it up where it was left."""

import shutil
import time

import msgspec
from prefect import task

from tasks.batch import store
from tasks.batch.document import BatchDocument, BedrockSection
from tasks.batch.lifecycle import fail_batch, tidy
from tasks.batch.options import BatchOptions, ResolvedCall
from tasks.batch.paths import BatchRef
from tasks.batch.registry import mark_open
from tasks.bedrock.limits import availability_warning
from tasks.bedrock.names import batch_id
from tasks.errors import ConfigurationError
from tasks.inputs.layout import store_layout
from tasks.inputs.plan import plan_ranges
from tasks.inputs.summary import InputSummary
from tasks.openai_format.batch import BatchError, RequestCounts
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.scratch import scratch_space
from tasks.support.words import counted


def batch_ref(call: ResolvedCall, summary: InputSummary) -> BatchRef:
    """The batch that this input, model and options name."""
    name = batch_id(summary.digest, call.model.id, _options(call, summary).naming)
    return BatchRef(call.settings.root, name, call.settings.kms_key)


def _options(call: ResolvedCall, summary: InputSummary) -> BatchOptions:
    return call.options.model_copy(update={"endpoint": summary.endpoint})


def name_batch(call: ResolvedCall, summary: InputSummary) -> BatchRef:
    """Find the batch that this input, model and options name, or make it."""
    ref = batch_ref(call, summary)
    if store.load(ref) is None:
        store.create(ref, _new_document(ref, call, summary, int(time.time())))
    return ref


def resume_batch(ref: BatchRef, call: ResolvedCall, summary: InputSummary) -> BatchDocument:
    """Bring an unfinished batch up to date with this call. For the runner that holds its lease only.

    A batch that ended as `failed` is opened again: what Bedrock never answered is tried once more, nothing else. With
    `retry_failed` any finished one is, for all requests that have no answer, as long as there are such.
    """
    document = store.read(ref)
    again = document.status == "failed" or (call.parameters.retry_failed and document.bedrock.unanswered != 0)
    if document.finished and not again:
        return document
    now = int(time.time())
    document = store.update(ref, lambda old: _reopen(old, call, summary, now, ref.epoch))
    if document.bedrock.shards is None:
        store_layout(ref, document.bedrock.ranges, summary.layout)
    return document


def _new_document(ref: BatchRef, call: ResolvedCall, summary: InputSummary, now: int) -> BatchDocument:
    section = BedrockSection(
        model=call.model.id,
        base_model=call.model.base_id,
        family=call.codec.family,
    )
    document = BatchDocument(
        id=ref.batch_id,
        endpoint=summary.endpoint or "",
        model=call.model.id,
        input_file_id=call.parameters.input_file,
        completion_window=call.parameters.completion_window,
        status="validating",
        created_at=now,
        bedrock=section,
    )
    _reopen(document, call, summary, now, ref.epoch)
    return document


def _reopen(document: BatchDocument, call: ResolvedCall, summary: InputSummary, now: int, epoch: int) -> None:
    section = document.bedrock
    document.input_file_id = call.parameters.input_file
    document.completion_window = call.parameters.completion_window
    document.metadata = call.metadata
    document.request_counts = RequestCounts(total=summary.requests)
    if call.window_hours:
        since = now if document.finished else document.created_at or now
        document.expires_at = since + call.window_hours * 3600
    if document.finished:
        _open_again(section, call)
        document.status = "validating" if section.shards is None else "in_progress"
        document.errors = None
        for end in ("finalizing", "completed", "failed", "expired", "cancelling", "cancelled"):
            setattr(document, f"{end}_at", None)
    elif section.round == 1:
        section.last_round = call.limits.max_rounds
    section.role_arn = call.settings.role_arn
    section.kms_key = call.options.output_kms_key or call.settings.kms_key
    section.job_name = call.parameters.job_name
    section.options = section.options.renewed(_options(call, summary))
    section.invalid_lines = summary.invalid
    if section.shards is None:
        # Until the shards are settled, a changed limit or a moved file may still change the plan.
        section.limits = call.limits
        section.sources = [msgspec.to_builtins(source) for source in summary.sources]
        section.ranges = plan_ranges(summary, call.limits, epoch)


def _open_again(section: BedrockSection, call: ResolvedCall) -> None:
    """Let what a finished batch left undone be asked once more. Its files stay named until there are new ones."""
    shards = section.shards or []
    further = False
    for shard in shards:
        failed = shard.job is not None and shard.job.status == "Failed"
        if failed and shard.job and not shard.job.processed:
            # A job that processed nothing was not paid for: all of its records are tried in another one.
            shard.done = False
        if failed or call.parameters.retry_failed:
            shard.retry = True
            further = further or shard.done
    # Of jobs that answered something, a further round asks the rest.
    section.last_round = section.round + call.limits.max_rounds - (0 if further else 1)
    section.warnings, section.published = [], []


def requests_to_pay(call: ResolvedCall, summary: InputSummary) -> int:
    """How many requests this call may send, as far as no call before it has."""
    if summary.invalid and call.options.on_invalid == "fail":
        return 0
    loaded = store.load(batch_ref(call, summary))
    if loaded is None or loaded[0].bedrock.shards is None:
        return summary.valid
    document = loaded[0]
    if not document.finished or not call.parameters.retry_failed:
        # Its records are with Bedrock, or answered.
        return 0
    unanswered = document.bedrock.unanswered
    return summary.valid if unanswered is None else unanswered


def store_invalid_lines(ref: BatchRef, summary: InputSummary) -> S3Uri:
    """Upload the list of all bad lines: what is wrong with each, never its text."""
    assert summary.invalid_file is not None
    uri = ref.own("invalid.jsonl")
    with scratch_space(), S3Writer(uri, ref.kms_key) as out, summary.invalid_file.open("rb") as lines:
        while block := lines.read(1 << 20):
            out.write(block)
    return uri


@task(name="open batch", task_run_name="open-batch", **STAGE_OPTIONS)
def open_or_resume(ref: BatchRef, call: ResolvedCall, summary: InputSummary, followed: bool = False) -> BatchDocument:
    """Open the batch, or take it up where it was left. Raises BatchFailedError.

    Under on_invalid="fail" a bad line ends the batch here, before any record is uploaded. `followed`: another runner
    drove it a moment ago, and its result, a failed one as well, is this call's.
    """
    try:
        return _open(ref, call, summary, followed)
    finally:
        shutil.rmtree(summary.work, ignore_errors=True)


def _open(ref: BatchRef, call: ResolvedCall, summary: InputSummary, followed: bool) -> BatchDocument:
    log = run_log()
    document = store.read(ref)
    if not (followed and document.finished):
        document = resume_batch(ref, call, summary)
    if document.finished:
        log.info("Batch %s is %s already: nothing is run again", ref.batch_id, document.status)
        if document.bedrock.unanswered and not call.parameters.retry_failed:
            log.info(
                "Without an answer, of its requests: %s; retry_failed asks them, and only them, again",
                f"{document.bedrock.unanswered:,}",
            )
        tidy(ref, document)
        return document
    mark_open(ref)
    if summary.invalid_file is not None:
        stored = store_invalid_lines(ref, summary)
        log.warning("%s listed in %s", counted(summary.invalid, "bad line is", "bad lines are"), stored)
    if not summary.requests or (summary.invalid and call.options.on_invalid == "fail"):
        raise fail_batch(ref, summary.errors())
    doubt = None if call.immediate else availability_warning(call.model)
    if doubt:
        log.warning("%s", doubt)
    resumed = document.bedrock.shards is not None
    log.info("Batch %s %s in %s", ref.batch_id, "goes on" if resumed else "is opened", ref.folder)
    return document


def require_role(call: ResolvedCall, summary: InputSummary) -> None:
    """Raise ConfigurationError early where jobs will be submitted and no role is set."""
    needs_job = summary.records >= call.limits.min_records_per_job or call.options.below_minimum == "pad"
    if not call.immediate and needs_job and summary.records and not call.settings.role_arn:
        raise ConfigurationError(
            "No service role is set: pass role_arn, or set BEDROCK_BATCH_ROLE_ARN to a role that Bedrock may assume "
            "and that may read and write the bucket (deployments/iam holds its policies)."
        )


def require_minimum(call: ResolvedCall, summary: InputSummary) -> BatchError | None:
    """Why a batch below the minimum is refused under below_minimum="fail"; None where it is not."""
    minimum = call.limits.min_records_per_job
    if call.immediate or call.options.below_minimum != "fail" or not summary.records or summary.records >= minimum:
        return None
    return BatchError(
        code="below_minimum",
        message=f"The batch has {counted(summary.records, 'record')} to send; a job of this model takes at least "
        f"{minimum:,}. "
        'Add requests, or choose below_minimum="on_demand" or "pad".',
    )
