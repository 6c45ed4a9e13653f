"""How an order ends: its result files, its end as the API tells it, and the notices to webhooks."""

import logging
import time
import uuid

from tasks.api.files import StoredFile, results_uri, save_file
from tasks.api.orders import Notice, Order, forget_open, update_order
from tasks.api.tenants import Tenant
from tasks.api.views import cancelled
from tasks.api.webhooks import RETRY_SECONDS, deliver, event_of
from tasks.openai_format.batch import Batch
from tasks.storage.copying import copy_object
from tasks.storage.objects import head_object
from tasks.storage.uris import parse_input_uri

log = logging.getLogger("bedrock_batch.api.runner")


def close_order(tenant: Tenant, order: Order, end: Batch) -> None:
    """Keep an order's end: its files first, so that who sees the end finds them."""
    for uri, file_id in ((end.output_file, end.output_file_id), (end.error_file, end.error_file_id)):
        if uri is not None and file_id is not None:
            save_file(tenant, _result_file(tenant, order, uri, file_id))

    def change(current: Order) -> None:
        if current.finished:
            return
        final = cancelled(current, end) if current.cancelling_at and end.status != "cancelled" else end
        notices = [
            Notice(hook=place, event_id=f"evt_{uuid.uuid4().hex}")
            for place, hook in enumerate(tenant.webhooks)
            if f"batch.{final.status}" in hook.events
        ]
        current.final, current.notices, current.claim = final, notices, None

    order = update_order(tenant, order.id, change)
    assert order.final is not None
    log.info("Order %s is %s", order.id, order.final.status)
    announce(tenant, order)


def _result_file(tenant: Tenant, order: Order, uri: str, file_id: str) -> StoredFile:
    place = parse_input_uri(uri)
    head = head_object(place)
    if order.kms_key and not head.get("SSEKMSKeyId", "").endswith(order.kms_key):
        # The batch was written for an equal order, under another key: this one has copies of its own.
        source, place = place, results_uri(tenant, file_id)
        copy_object(source, place, order.kms_key)
        head = head_object(place)
    now = int(time.time())
    name = f"{order.id}_{'output' if file_id.endswith('output') else 'error'}.jsonl"
    expires = now + order.output_expires_after if order.output_expires_after else None
    return StoredFile(
        id=file_id,
        bytes=head["ContentLength"],
        created_at=now,
        filename=name,
        purpose="batch_output",
        uri=str(place),
        etag=head["ETag"],
        expires_at=expires,
    )


def announce(tenant: Tenant, order: Order) -> None:
    """Deliver what is due of an order's notices; once all are delivered or given up, the order is nobody's business."""
    now = time.time()
    for notice in order.notices:
        if notice.done or notice.failed or notice.due > now or notice.hook >= len(tenant.webhooks):
            continue
        trouble = deliver(tenant.webhooks[notice.hook], notice.event_id, event_of(order, notice.event_id), int(now))
        tried = notice.tries + 1
        given_up = trouble is not None and tried > len(RETRY_SECONDS)
        due = now + RETRY_SECONDS[min(tried, len(RETRY_SECONDS)) - 1]
        if trouble:
            log.warning("The end of order %s was not announced (%s)%s", order.id, trouble, ": given up" * given_up)

        def change(
            current: Order, event: str = notice.event_id, done: bool = not trouble, up: bool = given_up, at: float = due
        ) -> None:
            for each in current.notices:
                if each.event_id == event:
                    each.tries, each.done, each.failed, each.due = each.tries + 1, done, up, at

        order = update_order(tenant, order.id, change)
    if all(n.done or n.failed or n.hook >= len(tenant.webhooks) for n in order.notices):
        forget_open(tenant, order.id)
