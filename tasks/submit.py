"""Stage 4: submit the shards that wait for a job, never more than the model's quota of jobs in flight."""

import re

import msgspec
from prefect import task

from tasks import aws
from tasks.batch import store
from tasks.batch.document import BatchDocument, Job, Shard
from tasks.batch.jobs import Progress, adopt_unsure, is_running, note_jobs, running_shards, waiting_shards
from tasks.batch.lease import require_lease
from tasks.batch.lifecycle import fail_batch
from tasks.batch.options import parse_window
from tasks.batch.paths import BatchRef, jobs_folder, shard_object
from tasks.bedrock.jobs import (
    JobRequest,
    NoFreeSlot,
    count_open_jobs,
    create_job,
    find_job,
    job_tags,
    stop_job,
)
from tasks.bedrock.names import client_request_token, job_name
from tasks.errors import AccessDeniedError, LostLeaseError, PipelineError, TransientError
from tasks.openai_format.batch import BatchError
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

#: Errors of a create call that no waiting mends.
_PERMANENT = frozenset(
    {
        "ValidationException",
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "ConflictException",
    }
)


#: What Bedrock says of a model that is not there, not for batches, or not for this account.
_NO_MODEL = re.compile(
    r"\bmodel (?:identifier|id)\b.*\b(?:invalid|not)\b|\b(?:invalid|unsupported) model\b|'modelId' failed to satisfy"
    r"|\bresolve the (?:foundation )?model\b|\baccess to the (?:requested |specified )?model\b"
    r"|\bmodel\b(?! invocation).*\b(?:not exist|not (?:be )?(?:found|available)|end of (?:its )?life|legacy)\b"
    r"|\bbatch inference\b.*\bnot (?:supported|available)\b.*\bmodel|\bmodel\b.*\bnot support(?:ed)?\b.*\bbatch\b",
    re.IGNORECASE,
)


#: What makes a message that has a model in it one about something else.
_NOT_THE_MODEL = re.compile(
    r"\b(?:role|bucket|kms|key|principal|job name|(?:model)?invocation ?type|not authorized to perform)\b",
    re.IGNORECASE,
)


def submit_jobs(ref: BatchRef) -> Progress:
    """Submit what fits. Every job's name and token are in batch.json before Bedrock hears of it.

    Raises BatchFailedError where Bedrock refuses the batch for good and none of its jobs ever ran.
    """
    document = store.read(ref)
    if document.status == "cancelling":
        document = adopt_unsure(ref, document)
    waiting = waiting_shards(document)
    running = len(running_shards(document))
    limit = document.bedrock.limits.max_jobs
    if not waiting:
        return Progress(0, running)
    in_account = count_open_jobs(document.bedrock.model)
    chosen = [shard.id for shard in waiting[: max(0, limit - max(running, in_account or 0))]]
    # A shard that has a job without an ARN was about to be submitted when the run was cut off.
    unsure = {shard.id for shard in waiting if shard.job and not shard.job.arn}
    if not chosen:
        return Progress(len(waiting), running)
    document = store.update(ref, lambda current: _intend(ref, current, set(chosen)))
    arns: dict[str, str] = {}
    for shard in document.bedrock.shards or []:
        if shard.id in chosen and shard.job is not None and shard.job.arn is None:
            require_lease(ref)
            arn = _submit(ref, document, shard, shard.job, look_first=shard.id in unsure)
            if arn is None:
                break
            arns[shard.id] = arn
            _note_or_stop(ref, shard, arn)
    return Progress(len(waiting) - len(arns), running + len(arns), len(arns))


def _intend(ref: BatchRef, document: BatchDocument, chosen: set[str]) -> None:
    if document.status == "cancelling":
        return
    for number, shard in enumerate(document.bedrock.shards or []):
        if shard.id not in chosen or is_running(shard) or (shard.job and not shard.job.arn):
            continue
        attempt = len(shard.jobs) + 1
        name = job_name(ref.batch_id, number, attempt, document.bedrock.job_name)
        shard.jobs.append(Job(attempt=attempt, name=name, token=client_request_token(str(ref.folder), number, attempt)))


def _submit(ref: BatchRef, document: BatchDocument, shard: Shard, job: Job, look_first: bool) -> str | None:
    """The ARN of a shard's job; None where Bedrock takes none now, or does not answer."""
    try:
        return (_look(job) if look_first else None) or create_job(_request(ref, document, shard, job))
    except (NoFreeSlot, TransientError):
        return None
    except PipelineError as error:
        _fail_if_for_good(ref, error)
        raise


def _request(ref: BatchRef, document: BatchDocument, shard: Shard, job: Job) -> JobRequest:
    section = document.bedrock
    vpc = section.options.vpc_config
    return JobRequest(
        name=job.name,
        token=job.token,
        model_id=section.model,
        role_arn=section.role_arn or "",
        input_uri=str(shard_object(ref, shard.id, shard.epoch)),
        output_uri=str(jobs_folder(ref)) + "/",
        invocation=shard.invocation,
        timeout_hours=parse_window(document.completion_window) or 24,
        kms_key=section.kms_key,
        bucket_owner=section.options.bucket_owner,
        subnets=vpc.subnetIds if vpc else (),
        security_groups=vpc.securityGroupIds if vpc else (),
        tags=job_tags(document.metadata or {}, ref.batch_id),
    )


def _look(job: Job) -> str | None:
    """The job, if Bedrock has it already; None also where the caller may not list jobs: the token makes it safe."""
    try:
        return find_job(job.name, job.token)
    except AccessDeniedError:
        return None


def _note_or_stop(ref: BatchRef, shard: Shard, arn: str) -> None:
    """Note a new job; stop it where another runner has taken over meanwhile, and asks those records some other way."""
    try:
        note_jobs(ref, {shard.id: arn})
    except LostLeaseError:
        token = shard.job.token if shard.job else ""
        document = store.read(msgspec.structs.replace(ref, holder=None))
        others = [job for each in document.bedrock.shards or [] for job in each.jobs]
        if document.finished or document.status == "cancelling" or token not in [job.token for job in others]:
            stop_job(arn)
        raise


def _fail_if_for_good(ref: BatchRef, error: PipelineError) -> None:
    """Fail the batch where no waiting mends what Bedrock refused, and none of its jobs ever ran."""
    document = store.read(ref)
    shards = document.bedrock.shards or []
    never_ran = not any(job.arn for shard in shards for job in shard.jobs)
    if aws.code_of(error) in _PERMANENT and never_ran:
        raise fail_batch(ref, [BatchError(code=_error_code(error), message=str(error))], forget=True) from error


def _error_code(error: PipelineError) -> str:
    """OpenAI's word for a refusal; for a model that cannot be had in a batch it is `model_not_found`, as for none."""
    message = aws.message_of(error).replace("n't ", " not ")
    if _NO_MODEL.search(message) and not _NOT_THE_MODEL.search(message):
        return "model_not_found"
    return "permission_denied" if isinstance(error, AccessDeniedError) else "invalid_request"


@task(name="submit", task_run_name="submit", **STAGE_OPTIONS)
def submit(ref: BatchRef) -> Progress:
    """Submit as many waiting shards as Bedrock takes now."""
    progress = submit_jobs(ref)
    log = run_log()
    if progress.submitted:
        submitted = counted(progress.submitted, "job")
        log.info("Submitted %s; %d in flight, %d waiting for a slot", submitted, progress.in_flight, progress.waiting)
    elif progress.waiting:
        waiting = counted(progress.waiting, "job waits", "jobs wait")
        log.info("No slot is free: %s, %d in flight", waiting, progress.in_flight)
    return progress
