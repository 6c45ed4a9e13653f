"""Metrics for Prometheus: requests and bytes of this replica, and the open orders of all, read when they are asked."""

import time
from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tasks.api.orders import open_orders
from tasks.api.tenants import Tenants


class Metrics:
    """One replica's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("bedrock_batch_api_requests_total", "Requests.", names, registry=self.registry)
        self._seconds = Histogram(
            "bedrock_batch_api_request_seconds", "Time of a request.", ["method", "route"], registry=self.registry
        )
        self._received = Counter("bedrock_batch_api_received_bytes_total", "Bytes of bodies.", registry=self.registry)
        self._sent = Counter("bedrock_batch_api_sent_bytes_total", "Bytes of answers.", registry=self.registry)
        self.uploads = Gauge("bedrock_batch_api_uploads", "Uploads that are coming in.", registry=self.registry)
        self._orders = Gauge(
            "bedrock_batch_api_open_batches", "Open batches of all replicas.", ["state"], registry=self.registry
        )
        self._age = Gauge(
            "bedrock_batch_api_queue_age_seconds",
            "Age of the oldest batch that was not begun.",
            registry=self.registry,
        )

    def count(self, method: str, route: str, status: int, received: int, sent: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)

    def text(self, tenants: Tenants) -> bytes:
        """Everything, in Prometheus's text format. Raises PipelineError."""
        states: Tally[str] = Tally()
        oldest, now = 0.0, time.time()
        for tenant in tenants.all:
            for order in open_orders(tenant):
                if order.finished:
                    states["ended"] += 1
                elif order.cancelling_at:
                    states["cancelling"] += 1
                elif order.batch_id:
                    states["in_progress"] += 1
                else:
                    states["validating"] += 1
                    oldest = max(oldest, now - order.created_at)
        for state in ("validating", "in_progress", "cancelling", "ended"):
            self._orders.labels(state).set(states[state])
        self._age.set(oldest)
        return generate_latest(self.registry)
