"""Metrics: requests of a closed set of labels, and the open orders of all tenants by what they wait for."""

import pytest

from deployments.api.metrics import Metrics
from tasks.api.endings import close_order
from tasks.api.orders import attach, cancel_order
from tasks.api.tenants import Tenants, Webhook
from tasks.api.views import failed
from tests.api.callers import create, tenant, upload
from tests.fakes import Cloud


def values(metrics: Metrics, tenants: Tenants) -> dict[str, float]:
    lines = metrics.text(tenants).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_requests_are_counted_by_route_and_not_by_whatever_clients_make_up(cloud: Cloud) -> None:
    metrics = Metrics()
    for method in ("GET", "GET", "BREW", "x" * 1000):
        metrics.count(method, "/files", 200, 10, 20, 0.1)
    found = values(metrics, Tenants((tenant(),)))
    start = "bedrock_batch_api_"
    assert found[f'{start}requests_total{{method="GET",route="/files",status="200"}}'] == 2
    assert found[f'{start}requests_total{{method="other",route="/files",status="200"}}'] == 2
    assert (found[f"{start}received_bytes_total"], found[f"{start}sent_bytes_total"]) == (40, 80)
    assert found[f'{start}request_seconds_count{{method="GET",route="/files"}}'] == 2


def test_open_orders_by_what_they_wait_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.endings.deliver", lambda *_: "HTTP 500")
    hook = Webhook(url="http://x.example", secret="whsec_c2VjcmV0", events=("batch.failed",))
    owner, other = tenant(webhooks=(hook,)), tenant("other")
    orders = [create(owner, upload(owner).id, completion_window=f"{24 + n}h") for n in range(4)]
    create(other, upload(other).id)
    attach(owner, orders[1].id, "batch_" + "a" * 32)
    cancel_order(owner, orders[2].id)
    close_order(owner, orders[3], failed(orders[3], "internal_error", "x"))
    metrics, tenants = Metrics(), Tenants((owner, other))
    monkeypatch.setattr("deployments.api.metrics.time.time", lambda: orders[0].created_at + 100.0)
    found = values(metrics, tenants)
    states = {
        state: found[f'bedrock_batch_api_open_batches{{state="{state}"}}']
        for state in ("validating", "in_progress", "cancelling", "ended")
    }
    assert states == {"validating": 2, "in_progress": 1, "cancelling": 1, "ended": 1}
    assert 90 < found["bedrock_batch_api_queue_age_seconds"] <= 101
    close_order(other, create(other, upload(other).id), failed(orders[0], "internal_error", "x"))
    assert values(metrics, Tenants((other,)))['bedrock_batch_api_open_batches{state="cancelling"}'] == 0
