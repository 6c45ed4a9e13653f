"""List, retrieve, cancel and read batches: from any machine with access to the bucket."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from prefect import flow

from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tasks.settings import load_settings
from tasks.state import BatchRef, batch_ids, load, read
from tasks.stop import stop_batch
from tasks.storage.reader import UNLIMITED, find_sources, read_lines


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


@flow(name="cancel-batch", persist_result=False)
def cancel_batch(batch_id: str) -> Batch:
    """Stop a batch's Bedrock jobs; what was answered is collected by the run that waits, or by the same call again.

    Args:
        batch_id: The id, `batch_` and 32 hex digits.
    """
    return stop_batch(_ref(batch_id))


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
