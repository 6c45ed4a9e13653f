"""What every request passes: its id, the caller's key, limits, the access log, and an envelope for every error."""

import json
import logging
import secrets
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.metrics import Metrics
from deployments.api.wire import ClientDisconnect, answer_of, error_answer
from tasks.api.errors import TooManyError
from tasks.api.tenants import Tenant, Tenants

log = logging.getLogger("bedrock_batch.api.access")
audit_log = logging.getLogger("bedrock_batch.api.audit")
#: Paths that take no key.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
#: Where the key is, by precedence: Portkey's clients send a placeholder as the bearer.
_KEY_HEADERS = (b"x-portkey-api-key", b"api-key")
_MOST_KEY = 4096


def presented_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The key that a request presents."""
    found = {name.lower(): value for name, value in headers}
    for name in _KEY_HEADERS:
        if found.get(name):
            return found[name][:_MOST_KEY].decode("latin-1")
    kind, _, key = found.get(b"authorization", b"").partition(b" ")
    return key.strip()[:_MOST_KEY].decode("latin-1") if kind.lower() == b"bearer" and key.strip() else None


class Rates:
    """So many requests a minute for each tenant, on this replica; bursts of a quarter of that."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: Tenant, now: float) -> None:
        """Raise TooManyError where the tenant has no request left."""
        rate = tenant.requests_per_minute
        if not rate:
            return
        most = max(1.0, rate / 4)
        left, since = self._buckets.get(tenant.name, (most, now))
        left = min(most, left + (now - since) * rate / 60)
        if left < 1:
            raise TooManyError("Rate limit reached for this key; slow down.", code="rate_limit_exceeded")
        self._buckets[tenant.name] = (left - 1, now)


class Gate:
    """The outermost application."""

    def __init__(self, app: ASGIApp, tenants: Tenants, metrics: Metrics) -> None:
        self._app, self._tenants, self._metrics, self._rates = app, tenants, metrics, Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        finally:
            self._metrics.count(
                exchange.method, exchange.route, exchange.status, exchange.received, exchange.sent, exchange.seconds
            )
            log.info("%s", exchange.line())

    async def _serve(self, exchange: "_Exchange") -> None:
        scope = exchange.scope
        if scope["path"] not in OPEN_PATHS:
            tenant = self._tenants.of_key(presented_key(scope["headers"]))
            if tenant is None:
                # Before a byte of the body is read.
                answer = error_answer(401, "Incorrect API key provided.", code="invalid_api_key")
                await answer(scope, exchange.receive, exchange.send)
                return
            exchange.tenant = tenant.name
            scope["state"]["tenant"] = tenant
            try:
                self._rates.take(tenant, time.monotonic())
            except TooManyError as error:
                await answer_of(error)(scope, exchange.receive, exchange.send)
                return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except Exception as error:
            # Part of an answer is out: only a broken connection can tell that there is no more.
            exchange.cause = type(error).__name__
            say(error, exchange.id)
            raise RuntimeError("an answer broke off") from None


def say(error: Exception, request_id: str) -> None:
    """Say a fault of our own in the log: AWS's words of ours, of others the type and the place."""
    from tasks.errors import PipelineError

    if isinstance(error, PipelineError):
        logging.getLogger("bedrock_batch.api").error("Request %s: %s", request_id, error)
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    logging.getLogger("bedrock_batch.api").error("Request %s: %s at %s", request_id, type(error).__name__, place)


class _Exchange:
    """A request and its answer, as the log and the metrics have them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.id = f"req_{secrets.token_hex(16)}"
        self.method = str(scope["method"])[:16]
        self.tenant: str | None = None
        self.cause: str | None = None
        self.status = self.received = self.sent = 0
        self._began = time.perf_counter()
        scope.setdefault("state", {})
        scope["state"]["request_id"] = self.id

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def route(self) -> str:
        """The route that served it: of a closed set, unlike paths."""
        return str(self.scope["state"].get("route", "unknown"))

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", self.id.encode())]}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)

    def line(self) -> str:
        """A line of the access log. Of headers it has the client's name only; keys and credentials are never in it."""
        agent = dict(self.scope["headers"]).get(b"user-agent", b"").decode("latin-1")[:120]
        client = self.scope.get("client")
        entry: dict[str, Any] = {
            "request_id": self.id,
            "tenant": self.tenant,
            "client": client[0] if client else None,
            "method": self.method,
            "route": self.route,
            "path": self.scope["path"][:200],
            "status": self.status,
            "ms": round(self.seconds * 1000, 1),
            "bytes_in": self.received,
            "bytes_out": self.sent,
            "user_agent": agent,
        }
        if self.cause:
            entry["error"] = self.cause
        return json.dumps(entry, ensure_ascii=True)


def audit(tenant: Tenant, request_id: str, action: str, identifier: str) -> None:
    """A line for a change: who, what, and which id; nothing of what is in it."""
    entry = {"audit": action, "tenant": tenant.name, "id": identifier[:200], "request_id": request_id}
    audit_log.info("%s", json.dumps(entry, ensure_ascii=True))
