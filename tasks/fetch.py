"""Stage 6: find what each job left in S3, and hold it against what the job says of itself."""

import time
from collections.abc import Iterator

import msgspec
from prefect import task

from tasks.batch.document import BatchDocument, Job, Shard
from tasks.batch.paths import BatchRef, answers_folder, jobs_folder
from tasks.results.outputs import Manifest, OutputObject, ShardOutput, list_outputs
from tasks.storage.objects import read_object
from tasks.storage.uris import S3Uri
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

_MANIFEST = "manifest.json.out"


_OUTPUT_SUFFIX = ".jsonl.out"


#: A job may say Completed before its output can be listed: so many looks, about a minute in all.
_LISTING_ATTEMPTS = 11


def find_output(ref: BatchRef, shard: Shard) -> ShardOutput:
    """List what a shard's jobs, or its on-demand calls, left behind."""
    if shard.route == "on_demand":
        return ShardOutput(shard.id, [], None, [], answers_folder(ref, shard))
    objects: list[OutputObject] = []
    warnings: list[str] = []
    manifest = None
    for job in shard.jobs:
        if job.arn is None:
            continue
        folder = jobs_folder(ref).join(job.id)
        listed = _list_when_there(folder, job)
        written = [o for o in listed if o.uri.endswith(_OUTPUT_SUFFIX)]
        objects += [msgspec.structs.replace(o, attempt=job.attempt) for o in written]
        if job.status in ("Completed", "PartiallyCompleted") and not written:
            warnings.append(f"Job {job.name} is {job.status} but left no output under {folder}.")
        manifest = _read_manifest(folder, listed)
        if manifest is not None:
            warnings += _disagreements(manifest, job, shard.records + shard.padding)
    return ShardOutput(shard.id, objects, manifest, warnings)


def _disagreements(manifest: Manifest, job: Job, records: int) -> Iterator[str]:
    """What a job's manifest says that cannot be: the lines of its output are what counts."""
    total, processed = manifest.total_record_count, manifest.processed_record_count
    succeeded, errored = manifest.success_record_count, manifest.error_record_count
    if total is not None and total != records:
        yield f"The manifest of job {job.name} counts {counted(total, 'record')}; {records:,} were sent."
    if job.status == "Completed" and processed is not None and processed != records:
        yield f"The manifest of job {job.name} counts {counted(processed, 'processed record')} of {records:,}."
    if None not in (processed, succeeded, errored) and processed != (succeeded or 0) + (errored or 0):
        yield (
            f"The manifest of job {job.name} counts {counted(processed or 0, 'processed record')}, but "
            f"{counted(succeeded or 0, 'answer')} and {counted(errored or 0, 'error')}."
        )


def _list_when_there(folder: S3Uri, job: Job) -> list[OutputObject]:
    for attempt in range(_LISTING_ATTEMPTS):
        listed = list_outputs(folder)
        if job.status not in ("Completed", "PartiallyCompleted") or any(o.uri.endswith(_OUTPUT_SUFFIX) for o in listed):
            return listed
        if attempt < _LISTING_ATTEMPTS - 1:
            time.sleep(min(2**attempt / 8, 10))
    return listed


def _read_manifest(folder: S3Uri, listed: list[OutputObject]) -> Manifest | None:
    """The job's manifest; None where it wrote none, as failed and expired jobs do, or none that can be read."""
    uri = folder.join(_MANIFEST)
    if not any(o.uri == str(uri) for o in listed):
        return None
    try:
        body, _ = read_object(uri)
        return msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@task(name="fetch", task_run_name="fetch", **STAGE_OPTIONS)
def fetch(ref: BatchRef, document: BatchDocument) -> dict[str, ShardOutput]:
    """Find the output of every shard; by shard id."""
    log = run_log()
    outputs = {shard.id: find_output(ref, shard) for shard in document.bedrock.shards or []}
    for output in outputs.values():
        for warning in output.warnings:
            log.warning("%s", warning)
    found = sum(len(output.objects) for output in outputs.values())
    on_demand = sum(s.records for s in document.bedrock.shards or [] if s.route == "on_demand")
    size = sum(o.bytes for output in outputs.values() for o in output.objects)
    beside = f"; {counted(on_demand, 'record was', 'records were')} asked on demand" if on_demand else ""
    log.info("Found %s of %s%s", counted(found, "output object"), counted(size, "byte"), beside)
    return outputs
