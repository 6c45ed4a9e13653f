"""What the runner does with orders: begun once, shared, cancelled alone, tried again, ended and announced."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from flows import api
from flows.api import Runner
from tasks.api import endings
from tasks.api.calls import read_call
from tasks.api.errors import ConflictError
from tasks.api.files import delete_file, get_file, read_bytes
from tasks.api.ids import new_id
from tasks.api.orders import (
    Order,
    attach,
    cancel_order,
    claim,
    get_order,
    note_stopped,
    open_mark,
    open_orders,
    order_uri,
    place_order,
    update_order,
)
from tasks.api.tenants import Tenant, Tenants, Webhook
from tasks.api.views import ended_alone, failed, view
from tasks.api.webhooks import event_of, signature
from tasks.batch.paths import BatchRef
from tasks.batch.registry import run_noted
from tasks.errors import (
    BatchFailedError,
    ConfigurationError,
    InputFileError,
    LostLeaseError,
    StateConflictError,
    TransientError,
)
from tasks.openai_format.batch import Batch, BatchError, BatchErrors, RequestCounts
from tasks.settings import load_settings, settings_in_force
from tasks.storage.uris import parse_input_uri
from tests.api.callers import LINE, create, tenant, upload
from tests.builders import document, store
from tests.fakes import Cloud

ID = "batch_" + "a" * 32


class Pipeline:
    """Stands for `batch_inference` and `advance_order`: what a test wants of each call, in turn."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.calls: list[dict[str, Any]] = []
        self.turns: list[Callable[[], Batch]] = []

    def __call__(self, **given: Any) -> Batch:
        self.calls.append({**given, "root": load_settings().root, "kms_key": load_settings().kms_key})
        return self.turns.pop(0)() if len(self.turns) > 1 else self.turns[0]()

    def batch(self, status: str, *, work: bool = True, **fields: Any) -> Batch:
        """Have the batch stand so, after a call that has worked on it or not."""
        ref = BatchRef(load_settings().root, ID)
        made = document(**{"status": status, "id": ID, "request_counts": RequestCounts(total=1), **fields})
        store(self.cloud, made, ref)
        if work:
            with run_noted(ref):
                pass
        return made.public()


@pytest.fixture
def pipeline(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline(cloud)
    monkeypatch.setattr(api, "batch_inference", made)
    monkeypatch.setattr(api, "advance_order", lambda batch_id: made())
    return made


def raising(error: Exception) -> Callable[[], Batch]:
    def turn() -> Batch:
        raise error

    return turn


def runner(*owners: Tenant) -> Runner:
    return Runner(Tenants(owners or (tenant(),)))


def shown(order: Order) -> dict[str, Any]:
    return view(get_order(tenant(), order.id), None)


def due(each: Runner) -> Runner:
    each._due.clear()
    return each


def test_an_order_is_begun_and_ended(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id, unsupported="drop", metadata={"a": "b"})
    pipeline.cloud.s3.put("x/output.jsonl", b"{}\n")
    pipeline.turns = [
        lambda: pipeline.batch("in_progress"),
        lambda: pipeline.batch("completed", completed_at=9, output_file="s3://bucket/x/output.jsonl"),
    ]
    each = runner()
    assert each.look() == 1
    assert get_order(tenant(), order.id).batch_id == ID
    due(each).look()
    end = shown(order)
    assert end["status"] == "completed"
    assert end["error_file_id"] is None
    assert get_file(tenant(), end["output_file_id"]).bytes == 3
    assert not list(open_orders(tenant()))
    (call,) = [call for call in pipeline.calls if "model" in call]
    assert call["input_file"] == order.input_uri
    assert (call["unsupported"], call["wait"], call["metadata"]) == ("drop", False, {"a": "b"})
    assert call["root"] == tenant().settings.root


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("no such model"), "invalid_configuration"), (InputFileError("gone"), "invalid_input_file")],
)
def test_what_fails_before_there_is_a_batch_is_a_failed_one(pipeline: Pipeline, error: Exception, code: str) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [raising(error)]
    runner().look()
    assert shown(order)["status"] == "failed"
    assert shown(order)["errors"]["data"] == [{"code": code, "message": str(error), "param": None, "line": None}]


def test_bad_lines_are_told(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)

    def turn() -> Batch:
        errors = BatchErrors(data=[BatchError(code="invalid_json_line", message="m", line=2)])
        raise BatchFailedError("failed", pipeline.batch("failed", errors=errors, failed_at=5))

    pipeline.turns = [turn]
    runner().look()
    assert shown(order)["errors"]["data"][0]["line"] == 2


def test_what_passes_by_itself_is_tried_again(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [
        raising(TransientError("throttled")),
        raising(RuntimeError("Prefect is away")),
        raising(LostLeaseError("another runner has it")),
        raising(StateConflictError("somebody was faster")),
        lambda: pipeline.batch("in_progress"),
    ]
    each = runner()
    for _ in range(5):
        due(each).look()
    assert get_order(tenant(), order.id).batch_id == ID
    assert get_order(tenant(), order.id).tries == 4


def test_what_never_passes_fails_in_the_end(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [raising(TransientError("throttled"))]
    each = runner()
    for _ in range(20):
        due(each).look()
    assert shown(order)["errors"]["data"][0]["code"] == "service_unavailable"


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        (LINE.replace(b'"model"', b'"other"'), "invalid_configuration", None),
        (b"", "empty_file", None),
        (b"\n \n", "empty_file", None),
        (b"{broken\n", "invalid_json_line", 1),
        (LINE.replace(b'"model"', b'"other"') + b"{broken\n", "invalid_json_line", 2),
    ],
)
def test_orders_without_a_model_are_told_why(pipeline: Pipeline, body: bytes, code: str, line: int | None) -> None:
    """A file that is none of requests names no model either: that is not what is wrong with it."""
    order = create(tenant(), upload(tenant(), body).id)
    runner().look()
    end = shown(order)
    assert end["status"] == "failed"
    assert (code, line) in [(each["code"], each["line"]) for each in end["errors"]["data"]]
    assert not pipeline.calls


def test_cancelling_before_the_input_was_read(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)
    cancel_order(tenant(), order.id)
    runner().look()
    assert shown(order)["status"] == "cancelled"
    assert shown(order)["cancelled_at"] >= shown(order)["cancelling_at"]
    assert not pipeline.calls


def test_cancelling_stops_the_batch_and_collects(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [
        lambda: pipeline.batch("in_progress"),
        lambda: pipeline.batch("cancelled", cancelled_at=5, request_counts=RequestCounts(total=1, failed=1)),
    ]
    each = runner()
    each.look()
    cancel_order(tenant(), order.id)
    each.look()
    assert shown(order)["status"] == "cancelled"


def test_a_stop_that_is_under_way_is_not_begun_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one could reach a batch that is open again by then, for an order that still wants it."""
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    runner().look()
    cancel_order(tenant(), order.id)
    each = Runner(Tenants((tenant(),)), threads=2)
    begun, go_on, stops = threading.Event(), threading.Event(), []

    def stop(ref: BatchRef) -> None:
        stops.append(ref)
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(api, "stop_batch", stop)
    each.look()
    assert begun.wait(60)
    each.look()
    go_on.set()
    each.close(60)
    assert len(stops) == 1


def test_a_stop_that_fails_is_tried_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    cancel_order(tenant(), order.id)
    stops: list[BatchRef] = []

    def stop(ref: BatchRef) -> None:
        stops.append(ref)
        if len(stops) == 1:
            raise TransientError("AWS is not answering")

    monkeypatch.setattr(api, "stop_batch", stop)
    each.look()
    due(each).look()
    due(each).look()
    assert len(stops) == 2


def test_one_callers_cancel_leaves_anothers_batch_alone(pipeline: Pipeline) -> None:
    one = create(tenant(), upload(tenant()).id)
    other = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    cancel_order(tenant(), one.id)
    each.look()
    assert shown(one)["status"] == "cancelled"
    assert get_order(tenant(), other.id).finished is False
    assert pipeline.cloud.bedrock.calls == []
    due(each)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    each.look()
    assert shown(other)["status"] == "completed"


@pytest.mark.timeout(120)
def test_a_cancelled_order_does_not_wait_for_the_others_on_its_batch(pipeline: Pipeline) -> None:
    """It is the one that drives the batch: that goes on, and what it comes to is not this order's end."""
    one = create(tenant(), upload(tenant()).id)
    begun, go_on = threading.Event(), threading.Event()

    def turn() -> Batch:
        pipeline.batch("in_progress")
        begun.set()
        assert go_on.wait(60)
        return pipeline.batch("completed", completed_at=5)

    pipeline.turns = [turn]
    each = Runner(Tenants((tenant(),)), threads=2)
    each.look()
    assert begun.wait(60)
    other = create(tenant(), upload(tenant()).id)
    attach(tenant(), other.id, ID)
    cancel_order(tenant(), one.id)
    each._due[other.id] = time.time() + 600
    each.look()
    assert shown(one)["status"] == "cancelled"
    go_on.set()
    each.close(60)
    assert shown(one)["status"] == "cancelled"
    assert not get_order(tenant(), other.id).finished
    due(each).look()
    each.close(60)
    assert shown(other)["status"] == "completed"


@pytest.mark.parametrize("status", ["completed", "expired"])
def test_a_cancel_that_was_accepted_ends_as_cancelled(pipeline: Pipeline, status: str) -> None:
    """Clients wait for that word; what the batch came to before it could be stopped is there to be read."""
    order = create(tenant(), upload(tenant()).id)
    pipeline.cloud.s3.put("x/output.jsonl", b"{}\n")

    def turn() -> Batch:
        cancel_order(tenant(), order.id)
        counts = RequestCounts(total=1, completed=1)
        at: dict[str, Any] = {f"{status}_at": 5, "output_file": "s3://bucket/x/output.jsonl", "request_counts": counts}
        return pipeline.batch(status, **at)

    pipeline.turns = [turn]
    runner().look()
    end = shown(order)
    assert (end["status"], end[f"{status}_at"], end["request_counts"]["completed"]) == ("cancelled", None, 1)
    assert end["cancelled_at"] >= end["cancelling_at"] >= end["created_at"]
    assert get_file(tenant(), end["output_file_id"]).bytes == 3
    with pytest.raises(ConflictError, match="status 'cancelled'"):
        cancel_order(tenant(), order.id)


@pytest.mark.parametrize("operator", [False, True])
def test_a_batch_that_was_stopped_for_another_order_is_opened_again(pipeline: Pipeline, operator: bool) -> None:
    """Two orders stand on one batch, and nobody knows when one of them is cancelled: the other was not begun yet."""
    one = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    other = create(tenant(), upload(tenant()).id)
    cancelled = lambda: pipeline.batch("cancelled", cancelled_at=5)  # noqa: E731
    pipeline.turns = [cancelled, cancelled, lambda: pipeline.batch("completed", completed_at=9)]
    if operator:
        # Nobody's order asked for that: it is the end of all that stand on it.
        due(each)
    else:
        cancel_order(tenant(), one.id)
    each.look()
    assert shown(one)["status"] == "cancelled"
    assert shown(other)["status"] == ("cancelled" if operator else "completed")
    assert [call.get("retry_failed", False) for call in pipeline.calls if "model" in call][-1] is not operator


def test_a_stop_that_came_after_the_last_answer_ends_only_the_order_that_asked(pipeline: Pipeline) -> None:
    """Nothing is left to be asked again: the other order has all of its answers."""
    one = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    other = create(tenant(), upload(tenant()).id)
    counts = RequestCounts(total=1, completed=1)
    pipeline.turns = [
        lambda: pipeline.batch("cancelled", cancelled_at=5, request_counts=counts, section={"unanswered": 0})
    ]
    cancel_order(tenant(), one.id)
    each.look()
    assert shown(one)["status"] == "cancelled"
    end = shown(other)
    assert (end["status"], end["cancelled_at"], end["cancelling_at"]) == ("completed", None, None)
    assert end["completed_at"] >= end["created_at"]
    assert end["request_counts"]["completed"] == 1


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_a_batch_that_was_cancelled_before_is_opened_again(pipeline: Pipeline, status: str) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [
        lambda: pipeline.batch(status, work=False, **{f"{status}_at": 5}),
        lambda: pipeline.batch("in_progress"),
    ]
    runner().look()
    assert [call.get("retry_failed", False) for call in pipeline.calls] == [False, True]
    assert get_order(tenant(), order.id).batch_id == ID


def test_a_fresh_sample_has_a_folder_of_its_own(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id, reuse=False)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    runner().look()
    assert pipeline.calls[0]["root"] == tenant().settings.root.join("samples", order.id)
    assert shown(order)["status"] == "completed"


def test_tags_and_the_key_of_kms_go_on_to_the_batch(pipeline: Pipeline) -> None:
    """And an order whose batch an equal one had written under another key has result files under its own."""
    owner = tenant(kms_keys=("arn:key/default", "arn:key/own"))
    body = {"input_file_id": upload(owner).id, "metadata": {"a": "b"}}
    headers = {"x-amzn-bedrock-outputencryptionkeyid": "arn:key/own", "x-amzn-bedrock-tags": "a=c,team=x"}
    order = place_order(owner, read_call(owner, body, headers))
    pipeline.cloud.s3.put("x/output.jsonl", b"{}\n", SSEKMSKeyId="arn:key/default")
    pipeline.turns = [
        lambda: pipeline.batch("completed", completed_at=9, output_file="s3://bucket/x/output.jsonl"),
    ]
    runner(owner).look()
    assert pipeline.calls[0]["metadata"] == {"a": "b", "team": "x"}
    assert pipeline.calls[0]["kms_key"] == "arn:key/own"
    end = view(get_order(owner, order.id), None)
    assert (end["status"], end["metadata"]) == ("completed", {"a": "b"})
    stored = get_file(owner, end["output_file_id"])
    assert b"".join(read_bytes(stored)) == b"{}\n"
    place = parse_input_uri(stored.uri)
    assert pipeline.cloud.s3.objects[place.key].options["SSEKMSKeyId"] == "arn:key/own"
    delete_file(owner, stored.id)
    assert place.key not in pipeline.cloud.s3.objects
    assert "x/output.jsonl" in pipeline.cloud.s3.objects


def test_a_runner_that_died_is_followed_by_another(pipeline: Pipeline) -> None:
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [raising(KeyboardInterrupt())]  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        runner().look()
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    runner().look()
    assert get_order(tenant(), order.id).finished is False, "its claim still holds"
    assert get_order(tenant(), order.id).claim is not None


def test_one_trouble_leaves_the_others_alone(pipeline: Pipeline) -> None:
    orders = [create(tenant(), upload(tenant()).id, metadata={"n": str(n)}) for n in range(3)]
    pipeline.cloud.s3.refuse("PutObject", "SlowDown", 503, on=order_uri(tenant(), orders[0].id).key, times=None)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    runner().look()
    assert [get_order(tenant(), order.id).finished for order in orders] == [False, True, True]


def test_ends_are_announced_until_they_are_heard(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tenant(
        webhooks=(Webhook(url="http://x.example/hook", secret="whsec_c2VjcmV0", events=("batch.completed",)),)
    )
    order = create(owner, upload(owner).id)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    told: list[tuple[str, bytes]] = []
    replies = ["HTTP 500", "ConnectError", None]

    def deliver(hook: Webhook, event_id: str, body: bytes, now: int) -> str | None:
        told.append((event_id, body))
        return replies.pop(0)

    monkeypatch.setattr(endings, "deliver", deliver)
    each = runner(owner)
    each.look()
    assert [each.id for each in open_orders(owner)] == [order.id]
    each.look()
    assert len(told) == 1, "the next try is not due"
    clock = {"now": 4_000_000_000.0}
    monkeypatch.setattr("tasks.api.endings.time.time", lambda: clock["now"])
    each.look()
    clock["now"] += 1000
    each.look()
    assert not list(open_orders(owner))
    assert len(told) == 3
    assert len(set(told)) == 1


def test_the_openai_package_reads_what_is_sent(pipeline: Pipeline) -> None:

    openai = pytest.importorskip("openai")
    order = create(tenant(), upload(tenant()).id)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    runner().look()
    order = get_order(tenant(), order.id)
    secret, now = "whsec_" + "c2VjcmV0LXNlY3JldA==", int(time.time())
    body = event_of(order, "evt_1")
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, "evt_1", now, body),
    }
    client = openai.OpenAI(api_key="x", webhook_secret=secret)
    event = client.webhooks.unwrap(body, headers)
    assert (event.type, event.data.id) == ("batch.completed", order.id)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.replace(b"completed", b"cancelled"), headers)


def test_a_runner_looks_again_when_something_is_due(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tenant(), upload(tenant()).id)
    each = runner()
    assert each.pause() == 10.0
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each.look()
    assert 0.5 <= each.pause() <= 1.0
    each._due = dict.fromkeys(each._due, 0.0)
    assert each.pause() == 0.5, "not one look after another without a pause"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3000)
    each.look()
    assert each.pause() == 10.0


def order_of(pipeline: Pipeline, **body: Any) -> Order:
    return create(tenant(), upload(tenant()).id, **body)


def test_only_the_order_that_was_named_is_looked_at(pipeline: Pipeline) -> None:
    one, other = order_of(pipeline), order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each._swept = time.time()
    assert each.look(only=one.id) == 1
    assert (get_order(tenant(), one.id).batch_id, get_order(tenant(), other.id).batch_id) == (ID, None)


def test_orders_that_are_over_are_not_counted(pipeline: Pipeline) -> None:
    order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    each = runner(tenant(webhooks=(Webhook(url="http://nowhere.invalid", secret="s"),)))
    each.look()
    assert len(list(open_orders(tenant()))) == 1, "its end is not announced"
    assert due(each).look() == 0


def test_the_sweep_removes_what_nobody_needs(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    needed, old = upload(tenant(), expires_after=3600), upload(tenant(), expires_after=3600)
    order = create(tenant(), needed.id)
    lost = new_id("batch", 1_000_000)
    pipeline.cloud.s3.put(open_mark(tenant(), lost).key, b"")
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    now = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: now)
    each = runner()
    each.look(only=order.id)
    assert pipeline.cloud.s3.keys(f"prefix/acme/api/data/{old.id}"), "a run of one order sweeps nothing"
    each.look()
    assert not pipeline.cloud.s3.keys(f"prefix/acme/api/data/{old.id}")
    assert pipeline.cloud.s3.keys(f"prefix/acme/api/data/{needed.id}"), "an open order needs it"
    assert not pipeline.cloud.s3.keys(open_mark(tenant(), lost).key)
    assert pipeline.cloud.s3.keys(open_mark(tenant(), order.id).key)
    later = upload(tenant(), expires_after=3600)
    now += 4000
    each._swept = now - 600
    each.look()
    assert pipeline.cloud.s3.keys(f"prefix/acme/api/data/{later.id}"), "every ten minutes only"
    each._swept = now - 601
    each.look()
    assert not pipeline.cloud.s3.keys(f"prefix/acme/api/data/{later.id}")


def test_an_order_that_is_begun_elsewhere_is_not_ended_by_a_cancel(pipeline: Pipeline) -> None:
    """Its runner learns of it; only where that one is gone, another ends it."""
    order = order_of(pipeline)
    claim(tenant(), order.id, "another", time.time())
    cancel_order(tenant(), order.id)
    each = runner()
    each.look()
    assert not get_order(tenant(), order.id).finished
    update_order(tenant(), order.id, lambda current: setattr(current.claim, "until", time.time() - 1))
    each.look()
    assert shown(order)["status"] == "cancelled"


def test_an_order_that_could_not_be_begun_within_its_window_has_expired(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(pipeline, completion_window="24h")
    now = order.expires_at + 1.0
    monkeypatch.setattr(time, "time", lambda: now)
    runner().look()
    end = shown(order)
    assert (end["status"], end["errors"]["data"][0]["code"]) == ("failed", "expired")
    assert "could not be begun within its completion window" in end["errors"]["data"][0]["message"]
    assert not pipeline.calls


def test_what_is_not_ours_is_said_by_its_type_only(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    order = order_of(pipeline)
    pipeline.turns = [raising(RuntimeError("TEXT OF A REQUEST"))]
    each = runner()
    for _ in range(20):
        due(each).look()
    (error,) = shown(order)["errors"]["data"]
    assert (error["code"], error["message"]) == (
        "internal_error",
        "The batch could not be begun after 20 tries: RuntimeError",
    )
    assert "was not begun: RuntimeError" in caplog.text
    assert "TEXT OF A REQUEST" not in caplog.text
    assert "Traceback" not in caplog.text


def test_what_fails_while_a_batch_runs_is_said_by_its_type_and_tried_again(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    order = order_of(pipeline)
    pipeline.turns = [
        lambda: pipeline.batch("in_progress"),
        raising(RuntimeError("TEXT OF A REQUEST")),
        raising(TransientError("AWS is throttling")),
        lambda: pipeline.batch("completed", completed_at=5),
    ]
    each = runner()
    for _ in range(4):
        due(each).look()
    assert shown(order)["status"] == "completed"
    assert f"Order {order.id} will be tried again (RuntimeError)" in caplog.text
    assert f"Order {order.id} will be tried again: AWS is throttling" in caplog.text
    assert "TEXT OF A REQUEST" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("age", "wait"), [(0, 1.0), (20, 1.0), (100, 5.0), (1200, 60.0), (90_000, 60.0)])
def test_looks_at_a_batch_become_rarer(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, age: float, wait: float
) -> None:
    order = order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    attached = get_order(tenant(), order.id).attached_at
    assert attached is not None
    monkeypatch.setattr(time, "time", lambda: attached + age)
    due(each).look()
    assert each._due[order.id] == attached + age + wait


@pytest.mark.parametrize(("tries", "wait"), [(1, 2.0), (5, 32.0), (10, 60.0)])
def test_tries_to_begin_become_rarer(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tries: int, wait: float
) -> None:
    order = order_of(pipeline)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    pipeline.turns = [raising(TransientError("throttled"))]
    each = runner()
    for _ in range(tries):
        due(each).look()
    assert each._due[order.id] == now + wait


def test_a_stop_is_noted_before_it_takes_effect(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that dies in between leaves a note too many, and not one too few."""
    order = order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    cancel_order(tenant(), order.id)
    noted: list[bool] = []
    monkeypatch.setattr(
        api, "stop_batch", lambda ref: noted.append(bool(pipeline.cloud.s3.keys("prefix/acme/api/stopped")))
    )
    each.look()
    assert noted == [True]


def test_a_batch_that_was_removed_is_a_failed_order(pipeline: Pipeline) -> None:
    order = order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    for key in pipeline.cloud.s3.keys("prefix/acme/batches/"):
        del pipeline.cloud.s3.objects[key]
    due(each).look()
    end = shown(order)
    assert (end["status"], end["errors"]["data"][0]["code"]) == ("failed", "batch_not_found")


def test_a_stop_that_left_requests_unanswered_ends_the_other_order_as_cancelled(pipeline: Pipeline) -> None:
    """Nobody opens it again, since it was stopped twice over: what is missing is not said to be complete."""
    order = order_of(pipeline)
    pipeline.turns = [lambda: pipeline.batch("cancelled", cancelled_at=5, section={"unanswered": 3})]
    runner().look()
    assert shown(order)["status"] == "cancelled"


def test_a_whole_batch_ends_with_the_time_of_its_stop(pipeline: Pipeline) -> None:
    order = order_of(pipeline)
    late = 4_000_000_000
    pipeline.turns = [
        lambda: pipeline.batch("cancelled", cancelled_at=late, cancelling_at=5, section={"unanswered": 0})
    ]
    runner().look()
    end = shown(order)
    assert (end["status"], end["completed_at"], end["cancelling_at"], end["cancelled_at"]) == (
        "completed",
        late,
        None,
        None,
    )


def test_a_call_says_what_the_order_says(pipeline: Pipeline) -> None:
    body = LINE.replace(b"/v1/chat/completions", b"")
    order = create(tenant(), upload(tenant(), body).id, completion_window="72h", model="us.amazon.nova-lite-v1:0")
    assert order.endpoint == ""
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    runner().look()
    (call,) = pipeline.calls
    assert {name: call[name] for name in ("input_file", "model", "endpoint", "completion_window", "wait")} == {
        "input_file": order.input_uri,
        "model": "us.amazon.nova-lite-v1:0",
        "endpoint": None,
        "completion_window": "72h",
        "wait": False,
    }


def test_result_files_have_names_ends_and_times(pipeline: Pipeline) -> None:
    order = order_of(pipeline, output_expires_after={"anchor": "created_at", "seconds": 3600})
    for name in ("output", "errors"):
        pipeline.cloud.s3.put(f"x/{name}.jsonl", b"{}\n")
    places: dict[str, Any] = {"output_file": "s3://bucket/x/output.jsonl", "error_file": "s3://bucket/x/errors.jsonl"}
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5, **places)]
    runner().look()
    end = shown(order)
    for name, field in (("output", "output_file_id"), ("error", "error_file_id")):
        stored = get_file(tenant(), end[field])
        assert stored.filename == f"{order.id}_{name}.jsonl"
        assert (stored.purpose, stored.bytes) == ("batch_output", 3)
        assert stored.expires_at == stored.created_at + 3600
        assert stored.etag == pipeline.cloud.s3.objects[f"x/{name if name == 'output' else 'errors'}.jsonl"].etag


def test_an_end_is_kept_once(pipeline: Pipeline) -> None:
    """Two runners come to it: the second one finds an end, and announces no other."""
    order = order_of(pipeline)
    first = ended_alone(order)
    endings.close_order(tenant(), order, first)
    endings.close_order(tenant(), order, failed(order, "internal_error", "later"))
    assert shown(order)["status"] == "cancelled"


def test_an_order_that_is_over_is_nobodys_claim(pipeline: Pipeline) -> None:
    order = order_of(pipeline)
    pipeline.turns = [raising(ConfigurationError("no such model"))]
    runner().look()
    assert get_order(tenant(), order.id).claim is None


def hooked(*events: tuple[str, ...]) -> Tenant:
    return tenant(
        webhooks=tuple(Webhook(url=f"http://x{n}.example", secret="s", events=each) for n, each in enumerate(events))
    )


def test_only_the_ends_that_a_hook_wants_are_announced(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = hooked(("batch.failed",), ("batch.completed", "batch.failed"), ("batch.completed",))
    order = create(owner, upload(owner).id)
    told: list[str] = []
    monkeypatch.setattr(endings, "deliver", lambda hook, *_: told.append(hook.url))
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    runner(owner).look()
    assert told == ["http://x1.example", "http://x2.example"]
    assert len({notice.event_id for notice in get_order(owner, order.id).notices}) == 2


def test_an_announcement_is_given_up_after_eight_tries(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = hooked(("batch.completed",))
    order = create(owner, upload(owner).id)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    tried: list[float] = []
    clock = [float(int(time.time()))]
    monkeypatch.setattr("tasks.api.endings.time.time", lambda: clock[0])

    def deliver(*_: Any) -> str:
        tried.append(clock[0])
        return "HTTP 500"

    monkeypatch.setattr(endings, "deliver", deliver)
    each = runner(owner)
    each.look()
    for _ in range(20):
        (notice,) = get_order(owner, order.id).notices
        clock[0] = max(clock[0], notice.due)
        each.look()
    waits = [later - earlier for earlier, later in pairwise(tried)]
    assert waits == [5.0, 30.0, 120.0, 600.0, 3600.0, 14_400.0, 43_200.0]
    (notice,) = get_order(owner, order.id).notices
    assert (notice.tries, notice.done, notice.failed) == (8, False, True)
    assert not list(open_orders(owner)), "it is nobody's business any more"


def test_one_hook_that_gives_up_leaves_another_to_be_told(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = hooked(("batch.completed",), ("batch.completed",))
    order = create(owner, upload(owner).id)
    pipeline.turns = [lambda: pipeline.batch("completed", completed_at=5)]
    told: list[str] = []

    def deliver(hook: Webhook, *_: Any) -> str:
        told.append(hook.url)
        return "HTTP 500"

    monkeypatch.setattr(endings, "deliver", deliver)
    each = runner(owner)
    each.look()

    def change(current: Order) -> None:
        current.notices[0].failed, current.notices[1].due = True, 0.0
        current.notices[0].due = 0.0

    update_order(owner, order.id, change)
    told.clear()
    each.look()
    assert told == ["http://x1.example"]
    assert [each.id for each in open_orders(owner)] == [order.id]


def test_a_batch_is_advanced_under_its_own_key(monkeypatch: pytest.MonkeyPatch, cloud: Cloud) -> None:
    seen: list[BatchRef] = []
    monkeypatch.setattr(api, "advance", seen.append)
    with settings_in_force(msgspec.structs.replace(tenant().settings, kms_key="arn:key/own")):
        api.advance_order.fn(ID)
    (ref,) = seen
    assert (ref.batch_id, ref.root, ref.kms_key) == (ID, tenant().settings.root, "arn:key/own")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seconds", "renewed"), [(20, False), (21, True)])
def test_a_claim_is_renewed_after_a_third_of_its_time(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, seconds: int, renewed: bool
) -> None:
    """An input of many minutes is read once: whoever reads it has it for 60 seconds, and says so every 20."""
    begun, go_on = threading.Event(), threading.Event()

    def turn() -> Batch:
        begun.set()
        assert go_on.wait(60)
        return pipeline.batch("in_progress")

    order = order_of(pipeline)
    pipeline.turns = [turn]
    start = int(time.time())
    monkeypatch.setattr(time, "time", lambda: float(start))
    each = Runner(Tenants((tenant(),)), threads=2)
    each.look()
    assert begun.wait(60)
    monkeypatch.setattr(time, "time", lambda: float(start + seconds))
    each.look()
    held = get_order(tenant(), order.id).claim
    go_on.set()
    each.close(60)
    assert held is not None
    assert held.until == start + 60 + (seconds if renewed else 0)


def test_a_batch_that_all_of_its_orders_cancelled_is_stopped(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them stands on it, and none wants it: left to the others, it would be paid for to its end."""
    orders = [create(tenant(), upload(tenant()).id) for _ in range(2)]
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    for order in orders:
        cancel_order(tenant(), order.id)
    stops: list[BatchRef] = []
    monkeypatch.setattr(api, "stop_batch", stops.append)
    pipeline.turns = [lambda: pipeline.batch("cancelled", cancelled_at=5)]
    each.look()
    assert {ref.batch_id for ref in stops} == {ID}
    assert [shown(order)["status"] for order in orders] == ["cancelled"] * 2


def test_nothing_is_kept_of_orders_that_are_over(pipeline: Pipeline) -> None:
    """A runner lives for months."""
    order = order_of(pipeline)
    pipeline.turns = [
        lambda: pipeline.batch("in_progress"),
        lambda: pipeline.batch("cancelled", cancelled_at=5),
    ]
    each = runner()
    each.look()
    assert each._claimed
    cancel_order(tenant(), order.id)
    for _ in range(3):
        due(each).look()
    assert not list(open_orders(tenant()))
    assert (each._stopped, each._claimed, each._due, each._open) == (set(), {}, {}, set())


def test_a_run_of_one_order_looks_at_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str | None] = []

    def look(_: Runner, only: str | None = None) -> int:
        looks.append(only)
        return 3

    monkeypatch.setattr(api, "load_tenants", lambda keyless: Tenants((tenant(),)))
    monkeypatch.setattr(Runner, "look", look)
    assert (api.run_orders.fn(ID), api.run_orders.fn()) == (3, 3)
    assert looks == [ID, None]


def test_an_order_of_a_fresh_sample_keeps_no_other_batch_alive(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch has the same id, and is another one, in a folder of its own."""
    one, fresh = order_of(pipeline), order_of(pipeline, reuse=False)
    pipeline.turns = [lambda: pipeline.batch("in_progress")]
    each = runner()
    each.look()
    assert get_order(tenant(), one.id).batch_id == get_order(tenant(), fresh.id).batch_id
    cancel_order(tenant(), one.id)
    stops: list[BatchRef] = []
    monkeypatch.setattr(api, "stop_batch", stops.append)
    each.look()
    assert [ref.root for ref in stops] == [tenant().settings.root]


def test_what_is_worked_on_is_not_waited_for(pipeline: Pipeline) -> None:
    each = runner()
    each._open, each._due = {"one", "other"}, {"one": 0.0, "other": time.time() + 5}
    assert each.pause() == 0.5
    running: Any = {"one": None}
    each._running = running
    assert 4 < each.pause() <= 5


def test_a_sweep_that_fails_leaves_the_orders_of_others_alone(pipeline: Pipeline) -> None:
    other = tenant("other")
    old = upload(other, expires_after=3600)
    pipeline.cloud.s3.put(f"prefix/other/api/expiring/{1:012x}-{old.id}", b"")
    pipeline.cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403, on="prefix/acme/api/expiring")
    assert runner(tenant(), other).look() == 0
    assert not pipeline.cloud.s3.keys(f"prefix/other/api/data/{old.id}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("error", [TransientError("throttled"), RuntimeError("TEXT OF A REQUEST")])
def test_what_fails_on_a_thread_is_said_and_tried_later(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    order = order_of(pipeline)
    attach(tenant(), order.id, ID)

    def load(_: BatchRef) -> None:
        raise error

    monkeypatch.setattr(api, "load", load)
    each = Runner(Tenants((tenant(),)), threads=1)
    each.look()
    assert each._pool is not None
    each._pool.shutdown(wait=True)
    assert each._due[order.id] > time.time()
    assert (each._running, each.wake.is_set()) == ({}, True), "it is looked at again"
    assert f"Order {order.id} will be tried again" in caplog.text
    assert "TEXT" not in caplog.text


def test_a_batch_is_as_old_as_the_orders_stand_on_it(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that waited for hours is looked at often, once it runs."""
    order = order_of(pipeline)
    monkeypatch.setattr(time, "time", lambda: 5_000_000.0)
    each = runner()
    each._wait(order.model_copy(update={"created_at": 4_000_000, "attached_at": 4_999_900}))
    assert each._due[order.id] == 5_000_005
    each._wait(order.model_copy(update={"created_at": 4_999_000}))
    assert each._due[order.id] == 5_000_050


def test_a_batch_that_fails_while_it_runs_is_a_failed_order(pipeline: Pipeline) -> None:
    order = order_of(pipeline)

    def turn() -> Batch:
        errors = BatchErrors(data=[BatchError(code="job_failed", message="m")])
        raise BatchFailedError("failed", pipeline.batch("failed", errors=errors, failed_at=5))

    pipeline.turns = [lambda: pipeline.batch("in_progress"), turn]
    each = runner()
    each.look()
    due(each).look()
    end = shown(order)
    assert (end["status"], [each["code"] for each in end["errors"]["data"]]) == ("failed", ["job_failed"])


def test_a_cancel_that_comes_while_a_batch_is_stopped_opens_nothing_again(pipeline: Pipeline) -> None:
    order = order_of(pipeline)
    ref = BatchRef(tenant().settings.root, ID)

    def turn() -> Batch:
        cancel_order(tenant(), order.id)
        note_stopped(tenant(), ref)
        return pipeline.batch("cancelled", cancelled_at=5)

    pipeline.turns = [turn]
    runner().look()
    assert len(pipeline.calls) == 1
    assert shown(order)["status"] == "cancelled"


def test_an_order_that_ended_elsewhere_opens_no_batch_again(pipeline: Pipeline) -> None:
    order = order_of(pipeline)
    over = order.model_copy(update={"batch_id": ID, "final": failed(order, "internal_error", "x")})
    note_stopped(tenant(), BatchRef(tenant().settings.root, ID))
    each = runner()
    each._settle(tenant(), over, document(id=ID, status="cancelled", cancelled_at=5).public())
    assert (pipeline.calls, each._due) == ([], {})


def test_how_often_and_how_long() -> None:
    assert (api._LEAST_WAIT, api._MOST_WAIT, api._LEAST_PAUSE, api._MOST_PAUSE) == (1, 60, 0.5, 10)
    assert (api._MOST_TRIES, api._SWEEP_SECONDS) == (20, 600)


def test_a_traceback_of_what_is_meant_for_users_is_left_out() -> None:
    def logged(error: Exception) -> logging.LogRecord:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "x", None, (type(error), error, None))
        assert api._NoTraces().filter(record)
        return record

    assert logged(TransientError("x")).exc_info is None
    assert logged(RuntimeError("x")).exc_info


def test_the_end_of_standard_input_is_that_of_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    each, over, said = runner(), threading.Event(), [b"\n", b"\n\n", b""]
    woken: list[bool] = []

    def read(_: int, __: int) -> bytes:
        woken.append(each.wake.is_set())
        each.wake.clear()
        return said.pop(0)

    monkeypatch.setattr("flows.api.os.read", read)
    api._listen(each, over)
    assert (woken, over.is_set(), each.wake.is_set()) == ([False, True, True], True, True)


class _Ended(BaseException):
    pass


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `python -m flows.api` does, up to its end, which comes at its second look."""
    did: list[Any] = []
    made: list[Runner] = []

    class Driven(Runner):
        def __init__(self, tenants: Tenants, threads: int = 0) -> None:
            super().__init__(tenants)
            did.append(threads)
            made.append(self)

        def look(self, only: str | None = None) -> int:
            did.append("look")
            if did.count("look") == 1:
                self.wake.set()
                raise TransientError("S3 is away")
            handlers[signal.SIGTERM]()
            return 0

        def close(self, seconds: float) -> None:
            did.append(seconds)

    def exit_(status: int) -> None:
        did.append(("exit", status))
        raise _Ended

    handlers: dict[int, Callable[[], None]] = {}
    monkeypatch.setattr(api, "Runner", Driven)
    monkeypatch.setattr(api, "load_tenants", lambda keyless: Tenants((tenant(),)))
    monkeypatch.setattr(api, "spare_memory", lambda: did.append("memory"))
    monkeypatch.setattr(api, "_listen", lambda *_: None)
    monkeypatch.setattr("flows.api.signal.signal", lambda number, handler: handlers.update({number: handler}))
    monkeypatch.setattr("flows.api.logging.shutdown", lambda: None)
    monkeypatch.setattr("flows.api.logging.basicConfig", lambda **_: None)
    monkeypatch.setattr("flows.api.os._exit", exit_)
    for name in ("THREADS", "LOG_LEVEL"):
        monkeypatch.delenv(f"BEDROCK_BATCH_API_{name}", raising=False)
    return did


@pytest.mark.parametrize(("given", "threads"), [(None, 4), ("9", 9)])
def test_the_runner_goes_on_until_a_signal_comes(
    driven: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    given: str | None,
    threads: int,
) -> None:
    if given:
        monkeypatch.setenv("BEDROCK_BATCH_API_THREADS", given)
    with pytest.raises(_Ended):
        api.main()
    assert driven == ["memory", threads, "look", "look", 10.0, ("exit", 0)]
    assert "The orders could not be looked at: S3 is away" in caplog.text
