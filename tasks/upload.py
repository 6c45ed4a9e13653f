"""Stage 3: check that S3 holds every shard as it was written, and settle them in batch.json."""

import time
from itertools import groupby

from prefect import task

from tasks.batch import store
from tasks.batch.document import BatchDocument, Shard
from tasks.batch.lifecycle import discard, fail_batch
from tasks.batch.paths import BatchRef, shard_object
from tasks.errors import PipelineError
from tasks.openai_format.batch import BatchError
from tasks.shards.gather import Remainder, gather, merge
from tasks.shards.writer import Converted
from tasks.storage.objects import head_object
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted


def commit_shards(ref: BatchRef, document: BatchDocument, converted: list[Converted]) -> BatchDocument:
    """Verify the uploaded shards and make them part of the batch: from here on they are never made again.

    Raises PipelineError where an object is not what was uploaded, BatchFailedError where a shard is below the
    minimum and below_minimum="fail".
    """
    noted = store.read(ref)
    if noted.bedrock.shards is not None:
        # The task is repeated, and what was gathered is settled: it must not be written again.
        return noted
    shards = [shard for part in converted for shard in part.shards]
    for shard in shards:
        _verify(ref, shard)
    shards = _gathered(ref, document, shards)
    below = [shard for shard in shards if shard.route == "on_demand"]
    if below and document.bedrock.options.below_minimum == "fail" and document.completion_window != "immediate":
        minimum = document.bedrock.limits.min_records_per_job
        message = (
            f"The {below[0].invocation} job would have {counted(below[0].records, 'record')}; it takes at least "
            f'{minimum:,}. Add requests, or choose below_minimum="on_demand" or "pad".'
        )
        raise fail_batch(ref, [BatchError(code="below_minimum", message=message)], forget=True)
    dropped: dict[str, int] = {}
    for part in converted:
        for field, requests in part.dropped.items():
            dropped[field] = dropped.get(field, 0) + requests

    def change(current: BatchDocument) -> None:
        if current.bedrock.shards is None:
            current.bedrock.shards = shards
            current.bedrock.dropped_fields = dropped
        if current.status == "validating":
            current.status, current.in_progress_at = "in_progress", int(time.time())

    document = store.update(ref, change)
    # An earlier, interrupted run may have cut the input differently.
    discard(ref, document, "input", "index")
    return document


def _gathered(ref: BatchRef, document: BatchDocument, shards: list[Shard]) -> list[Shard]:
    """The shards, and with them those that put together what several ranges have too little of for a job.

    The given ones stay as they are: the task may be repeated with them.
    """
    if document.completion_window == "immediate":
        return shards
    limits, made = document.bedrock.limits, list[Shard]()
    small = sorted((s for s in shards if s.route == "on_demand"), key=lambda shard: shard.invocation)
    for invocation, group in groupby(small, key=lambda shard: shard.invocation):
        pieces = [_as_piece(ref, shard) for shard in group]
        for together in gather(pieces, limits):
            if sum(piece.records for piece in together) >= limits.min_records_per_job:
                made.append(merge(ref, document, together, invocation, f"gathered-{len(made):05d}", 1))
    left = {origin.shard for shard in made for origin in shard.origins}
    asked_by_others = {"route": "none", "done": True}
    return [*(shard.model_copy(update=asked_by_others) if shard.id in left else shard for shard in shards), *made]


def _as_piece(ref: BatchRef, shard: Shard) -> Remainder:
    uri = shard_object(ref, shard.id, shard.epoch)
    return Remainder(shard.id, shard.ranges[0], shard.records, shard.invocation, str(uri), shard.bytes, shard.etag)


def _verify(ref: BatchRef, shard: Shard) -> None:
    uri = shard_object(ref, shard.id, shard.epoch)
    head = head_object(uri)
    if head["ContentLength"] != shard.bytes or head["ETag"] != shard.etag:
        raise PipelineError(
            f"{uri} is not what was uploaded ({head['ContentLength']:,} bytes for {shard.bytes:,}): "
            "somebody else writes there. Run the same call again."
        )


@task(name="upload", task_run_name="upload", **STAGE_OPTIONS)
def upload(ref: BatchRef, document: BatchDocument, converted: list[Converted]) -> BatchDocument:
    """Check the uploaded shards against what was written, and settle them in batch.json."""
    log = run_log()
    document = commit_shards(ref, document, converted)
    shards = [shard for shard in document.bedrock.shards or [] if shard.route != "none"]
    records, size = counted(sum(s.records for s in shards), "record"), counted(sum(s.bytes for s in shards), "byte")
    log.info("Uploaded %s in %s, %s", records, counted(len(shards), "shard"), size)
    for field, requests in document.bedrock.dropped_fields.items():
        log.warning("Dropped from %s: %s", counted(requests, "request"), field)
    return document
