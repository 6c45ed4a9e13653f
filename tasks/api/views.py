"""OpenAI's Batch object of an order: its own id, times and metadata, and what has become of the batch beneath.

A status never goes backwards. The batch may be older than the order, and may be opened again for another one; so an
open order is told as `finalizing` when its batch is over, until its end is kept with it.
"""

import time
from typing import Any

from tasks.api.errors import NotFoundError
from tasks.api.ids import result_file_id
from tasks.api.orders import Order
from tasks.batch.document import BatchDocument
from tasks.openai_format.batch import FINAL_STATUSES, Batch, BatchError, BatchErrors, RequestCounts

_TIMES = ("in_progress_at", "finalizing_at")
_FIELDS = (
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "usage",
    "metadata",
)


def view(order: Order, document: BatchDocument | None) -> dict[str, Any]:
    """The object that callers get; `document` is the batch beneath, where the order is open and stands on one."""
    batch = order.final or _open(order, document)
    shown = batch.model_dump(include=set(_FIELDS))
    return {name: shown[name] for name in _FIELDS}


def _own(order: Order, **more: Any) -> Batch:
    """What is an order's own of its Batch."""
    return Batch(
        **{
            "id": order.id,
            "endpoint": order.endpoint,
            "model": order.model or None,
            "input_file_id": order.input_file_id,
            "completion_window": order.completion_window,
            "created_at": order.created_at,
            "expires_at": order.expires_at,
            "cancelling_at": order.cancelling_at,
            "metadata": order.metadata,
            "status": "validating",
            **more,
        }
    )


def _open(order: Order, document: BatchDocument | None) -> Batch:
    status = "validating"
    more: dict[str, Any] = {}
    if document is not None:
        status = document.status
        if status in ("cancelling", "cancelled"):
            # Somebody else's: this order is told of its end when it has one, or has the batch opened again.
            status = "in_progress"
        elif status in FINAL_STATUSES:
            status = "finalizing"
        more = {
            "endpoint": document.endpoint or order.endpoint,
            "request_counts": _progress(document),
            **_times(order, document, status),
        }
    if order.cancelling_at:
        status = "cancelling"
    return _own(order, **{**more, "status": status})


def _times(order: Order, batch: Batch, status: str) -> dict[str, int | None]:
    """When the order began and finalized: never before it was made, and each step not before the one before."""
    reached = ("in_progress", "finalizing", "completed").index(status) if status in ("finalizing", "completed") else 0
    since, times = order.created_at, {}
    for step, name in enumerate(_TIMES):
        at = getattr(batch, name)
        if at is None and (reached <= step or status not in ("completed", "finalizing")):
            continue
        since = max(since, at or since)
        times[name] = since
    return {name: times.get(name) for name in _TIMES}


def _progress(document: BatchDocument) -> RequestCounts:
    """The counts of a batch that runs: those of its jobs, as far as they have come."""
    total = document.request_counts.total
    shards = document.bedrock.shards or []
    followed = {origin.shard for shard in shards for origin in shard.origins}
    records = sum(shard.records - shard.padding for shard in shards if shard.round == 1) or 1
    done = failed = 0
    for shard in shards:
        job = shard.job
        if job is None:
            continue
        done += min(job.succeeded, shard.records - shard.padding)
        # What a later round asks again has not failed yet.
        failed += job.errored if shard.id not in followed and shard.round >= document.bedrock.last_round else 0
    completed = min(total, done * total // records)
    return RequestCounts(total=total, completed=completed, failed=min(total - completed, failed * total // records))


def ended(order: Order, batch: Batch) -> Batch:
    """The end of an order whose batch is over."""
    assert batch.finished
    now = int(time.time())
    status = batch.status
    end = max(getattr(batch, f"{status}_at") or now, order.created_at)
    times = _times(order, batch, status)
    end = max([end, *(at for at in times.values() if at)])
    return _own(
        order,
        **{
            "endpoint": batch.endpoint or order.endpoint,
            "model": batch.model,
            "status": status,
            **times,
            f"{status}_at": end,
            "errors": batch.errors,
            "output_file_id": result_file_id(order.id, "output") if batch.output_file else None,
            "error_file_id": result_file_id(order.id, "errors") if batch.error_file else None,
            "request_counts": batch.request_counts,
            "usage": batch.usage,
            "output_file": batch.output_file,
            "error_file": batch.error_file,
            "parquet_file": batch.parquet_file,
        },
    )


def cancelled(order: Order, end: Batch) -> Batch:
    """The end of an order whose cancel was accepted: `cancelling` is followed by nothing else.

    A batch that ended before it could be stopped keeps its files, counts and errors.
    """
    at = max([int(time.time()), order.cancelling_at or 0, *(getattr(end, name) or 0 for name in _TIMES)])
    mine = {"status": "cancelled", "cancelling_at": order.cancelling_at, "cancelled_at": at}
    return end.model_copy(update={"completed_at": None, "failed_at": None, "expired_at": None, **mine})


def ended_alone(order: Order) -> Batch:
    """The end of an order that was cancelled while its batch goes on for others, or before it had one."""
    return cancelled(order, _own(order))


def failed(order: Order, code: str, message: str) -> Batch:
    """The end of an order that no batch could be opened for."""
    return refused(order, [BatchError(code=code, message=message)])


def refused(order: Order, errors: list[BatchError]) -> Batch:
    """The same, for several reasons."""
    at = max(int(time.time()), order.created_at)
    return _own(order, status="failed", failed_at=at, errors=BatchErrors(data=errors))


def output_uri(order: Order) -> str | None:
    """Where an ended order's output is. Raises NotFoundError where it will never have one."""
    assert order.final is not None
    if order.final.output_file is None and order.final.status == "failed":
        raise NotFoundError(f"The batch {order.id} failed, and has no output.", param="id")
    return order.final.output_file
