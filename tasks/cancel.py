"""Stopping a batch, from any machine: mark it, then stop its jobs."""

import time

from tasks.batch import store
from tasks.batch.document import BatchDocument
from tasks.batch.jobs import adopt_unsure, stop_running
from tasks.batch.paths import BatchRef
from tasks.batch.result import BatchResult


def stop_batch(ref: BatchRef) -> BatchResult:
    """Stop a batch's Bedrock jobs and let no further one start; a finished batch stays as it is.

    The batch is `cancelling` until a run, the same call again for one, has collected what was answered.
    Raises BatchNotFoundError, or PipelineError where a job cannot be stopped.
    """

    def change(document: BatchDocument) -> None:
        if not document.finished:
            document.status = "cancelling"
            document.cancelling_at = document.cancelling_at or int(time.time())

    document = store.update(ref, change)
    if not document.finished:
        document = adopt_unsure(ref, document)
        stop_running(document)
    return document.public()
