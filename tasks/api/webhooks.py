"""Webhooks: the ends of batches, announced in OpenAI's shape and signed as Standard Webhooks has it.

https://platform.openai.com/docs/api-reference/webhook-events and https://www.standardwebhooks.com:
`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, by a secret `whsec_` + base64. The
same event may come twice, under the same `webhook-id`.
"""

import base64
import binascii
import hashlib
import hmac

import httpx
import msgspec

from tasks.api.orders import Order
from tasks.api.tenants import Webhook

#: Seconds before each further try; after the last one an event is given up.
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 14_400.0, 43_200.0)
_TIMEOUT_SECONDS = 10.0


def event_of(order: Order, event_id: str) -> bytes:
    """The body that tells of an order's end."""
    assert order.final is not None
    status = order.final.status
    event = {
        "object": "event",
        "id": event_id,
        "type": f"batch.{status}",
        "created_at": getattr(order.final, f"{status}_at") or order.created_at,
        "data": {"id": order.id},
    }
    return msgspec.json.encode(event)


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = text.encode()
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def deliver(hook: Webhook, event_id: str, body: bytes, now: int) -> str | None:
    """Send an event to where the configuration says, and nowhere else; what went wrong, or None."""
    headers = {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(hook.key(), event_id, now, body),
        "user-agent": "bedrock-batch-pipeline",
    }
    try:
        # No redirect and no proxy of the environment: the address is the configuration's.
        with httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as client:
            reply = client.post(hook.url, content=body, headers=headers)
    except httpx.HTTPError as error:
        return type(error).__name__
    return None if reply.is_success else f"HTTP {reply.status_code}"
