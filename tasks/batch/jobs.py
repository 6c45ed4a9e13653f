"""Which shards wait for a job, which jobs run, and which may exist without our knowing."""

import time

import msgspec

from tasks.batch import store
from tasks.batch.document import BatchDocument, Shard
from tasks.batch.paths import BatchRef
from tasks.bedrock.jobs import (
    FINAL_STATUSES,
    find_job,
    stop_job,
)


class Progress(msgspec.Struct):
    """Where the jobs of a batch stand after a pass."""

    waiting: int
    in_flight: int
    submitted: int = 0

    @property
    def open(self) -> bool:
        return self.waiting > 0 or self.in_flight > 0


def waiting_shards(document: BatchDocument) -> list[Shard]:
    """Shards that need a job and have none: never submitted, submitted without a known reply, or failed before."""
    if document.status in ("cancelling", "cancelled"):
        return []
    return [s for s in document.bedrock.shards or [] if s.route == "batch" and not s.done and not is_running(s)]


def running_shards(document: BatchDocument) -> list[Shard]:
    return [s for s in document.bedrock.shards or [] if s.route == "batch" and not s.done and is_running(s)]


def is_running(shard: Shard) -> bool:
    job = shard.job
    return job is not None and job.arn is not None and job.status not in FINAL_STATUSES


def adopt_unsure(ref: BatchRef, document: BatchDocument) -> BatchDocument:
    """Find the jobs that were about to be submitted when a run was cut off, and note those that Bedrock has."""
    found = {}
    for shard in document.bedrock.shards or []:
        if shard.job is not None and shard.job.arn is None:
            arn = find_job(shard.job.name, shard.job.token)
            if arn:
                found[shard.id] = arn
    return note_jobs(ref, found) if found else document


def note_jobs(ref: BatchRef, arns: dict[str, str]) -> BatchDocument:
    def change(document: BatchDocument) -> None:
        for shard in document.bedrock.shards or []:
            if shard.id in arns and shard.job is not None:
                shard.job.arn = arns[shard.id]
                shard.job.status = shard.job.status or "Submitted"
                shard.job.submitted_at = shard.job.submitted_at or int(time.time())

    return store.update(ref, change)


def stop_running(document: BatchDocument) -> int:
    """Stop every job of the batch that runs; returns how many were. Raises PipelineError."""
    stopped: int = 0
    for shard in running_shards(document):
        if shard.job is not None and shard.job.arn is not None and shard.job.status != "Stopping":
            stopped += stop_job(shard.job.arn)
    return stopped
