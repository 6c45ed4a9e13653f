"""Failing, finishing and tidying up a batch: the changes of its state that belong to no single stage."""

import time

from tasks import aws
from tasks.batch import store
from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef, epoch_of, index_object, shard_object
from tasks.batch.registry import mark_closed
from tasks.errors import BatchFailedError, PipelineError
from tasks.openai_format.batch import Batch, BatchError, BatchErrors
from tasks.storage.listing import list_folder
from tasks.storage.writer import abort_uploads
from tasks.support.run_context import run_log

_SHOWN_CAUSES = 3


def begin_finalizing(ref: BatchRef) -> BatchDocument:
    """Note that all jobs are over and the results are being written."""

    def change(document: BatchDocument) -> None:
        if document.status in ("validating", "in_progress"):
            document.status, document.finalizing_at = "finalizing", int(time.time())

    return store.update(ref, change)


def discard(ref: BatchRef, document: BatchDocument, *folders: str) -> None:
    """Delete what lies in some folders of a batch, but for what batch.json names and what later runners write.

    `document` is batch.json as this runner has written it. What cannot be deleted is a warning, and costs some cents.
    """
    named = {index_object(ref, range_).key for range_ in document.bedrock.ranges}
    named |= {shard_object(ref, shard.id, shard.epoch).key for shard in document.bedrock.shards or []}
    try:
        for folder in folders:
            for entry in list_folder(ref.uri(folder)):
                if entry["Key"] not in named and epoch_of(entry["Key"]) <= ref.epoch:
                    with aws.translated(f"deleting {entry['Key']}"):
                        aws.s3().delete_object(Bucket=ref.root.bucket, Key=entry["Key"])
    except PipelineError as error:
        cause = aws.name_of(error)
        run_log().warning("Some of what batch %s needs no more could not be deleted (%s)", ref.batch_id, cause)


def tidy(ref: BatchRef, document: BatchDocument) -> None:
    """Remove what a finished batch needs no more: also what runners that were killed left behind.

    No batch fails for it. What runners of later epochs write, of a batch that is opened again, is left alone.
    """
    discard(ref, document, "input", "index", "results", "again", "layout")
    abort_uploads(ref.folder, lambda key: epoch_of(key) <= ref.epoch)
    try:
        if store.read(ref).finished:
            mark_closed(ref)
    except PipelineError as error:
        run_log().warning("Collectors will look at batch %s again: %s", ref.batch_id, error)


def fail_batch(ref: BatchRef, errors: list[BatchError], *, forget: bool = False) -> BatchFailedError:
    """Note in batch.json that the batch failed, and return the error to raise.

    `forget`: nothing was paid for and nothing will run, so that no records are left lying in the bucket.
    """

    def change(document: BatchDocument) -> None:
        document.close_epoch()
        document.status = "failed"
        document.failed_at = document.failed_at or int(time.time())
        document.errors = BatchErrors(data=errors)
        if forget:
            document.bedrock.shards = None
            document.bedrock.ranges = []

    document = store.update(ref, change)
    tidy(ref, document)
    return batch_failed(document.public())


def first_causes(errors: list[BatchError]) -> str:
    """The first of a batch's errors, in a line."""
    causes = [
        (f"line {error.line}: " if error.line else "") + f"{error.code}: {error.message}"
        for error in errors[:_SHOWN_CAUSES]
    ]
    more = f"; and {len(errors) - _SHOWN_CAUSES:,} more" if len(errors) > _SHOWN_CAUSES else ""
    return f"{'; '.join(causes) or 'no cause was given'}{more}"


def batch_failed(batch: Batch) -> BatchFailedError:
    """The error that a failed batch raises; its message names the first causes."""
    causes = first_causes(batch.errors.data if batch.errors else [])
    return BatchFailedError(f"Batch {batch.id} failed: {causes}", batch)
