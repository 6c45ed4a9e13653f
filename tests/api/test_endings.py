"""How orders end: files first, once, as their callers asked, and announced to who wants to hear of it."""

import itertools
import re
from typing import Any

import pytest

from tasks.api.endings import announce, close_order
from tasks.api.files import get_file, read_bytes
from tasks.api.orders import Order, cancel_order, get_order, open_orders, order_uri, update_order
from tasks.api.tenants import Webhook
from tasks.api.views import ended, failed
from tasks.api.webhooks import RETRY_SECONDS
from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch, RequestCounts
from tests.api.callers import create, tenant, upload
from tests.builders import document
from tests.fakes import Cloud

BATCH = "batch_" + "a" * 32
HOOKS = (
    Webhook(url="http://x.example/ends", secret="whsec_c2VjcmV0", events=("batch.completed", "batch.failed")),
    Webhook(url="http://x.example/cancels", secret="whsec_c2VjcmV0", events=("batch.cancelled",)),
)


def end_of(order: Order, **fields: Any) -> Batch:
    made = document(id=BATCH, status="completed", completed_at=9, request_counts=RequestCounts(total=1), **fields)
    return ended(order, made.public())


def test_who_sees_the_end_finds_the_files(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    cloud.s3.put("x/output.jsonl", b"{}\n")
    end = end_of(order, output_file="s3://bucket/x/output.jsonl")
    uri = order_uri(owner, order.id)
    cloud.s3.refuse("PutObject", "AccessDenied", 403, on=uri.key)
    with pytest.raises(PipelineError):
        close_order(owner, order, end)
    file_id = end.output_file_id
    assert file_id
    assert b"".join(read_bytes(get_file(owner, file_id))) == b"{}\n"
    assert not get_order(owner, order.id).finished
    close_order(owner, order, end)
    final = get_order(owner, order.id).final
    assert final
    assert (final.status, final.output_file_id) == ("completed", file_id)
    assert get_file(owner, file_id).filename == f"{order.id}_output.jsonl"


def test_an_order_ends_once(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    close_order(owner, order, failed(order, "internal_error", "first"))
    close_order(owner, order, failed(order, "internal_error", "second"))
    final = get_order(owner, order.id).final
    assert final
    assert final.errors
    assert [error.message for error in final.errors.data] == ["first"]


def test_a_cancel_that_was_accepted_is_the_end_that_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the batch was complete before it could be stopped; and only who asked for such ends hears of it."""
    told: list[str] = []
    monkeypatch.setattr("tasks.api.endings.deliver", lambda hook, *_: told.append(hook.url))
    owner = tenant(webhooks=HOOKS)
    order = create(owner, upload(owner).id)
    cancel_order(owner, order.id)
    close_order(owner, order, end_of(order))
    final = get_order(owner, order.id).final
    assert final
    assert (final.status, final.completed_at) == ("cancelled", None)
    assert told == ["http://x.example/cancels"]
    assert not list(open_orders(owner))


def test_a_notice_that_nobody_takes_is_given_up(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each later than the one before; an order is open until then, and nobody's business after it."""
    clock = {"now": 4_000_000_000.0}
    times: list[float] = []
    monkeypatch.setattr("tasks.api.endings.time.time", lambda: clock["now"])

    def deliver(*_: object) -> str:
        times.append(clock["now"])
        return "HTTP 500"

    monkeypatch.setattr("tasks.api.endings.deliver", deliver)
    owner = tenant(webhooks=HOOKS)
    order = create(owner, upload(owner).id)
    close_order(owner, order, end_of(order))
    for _ in range(2 * len(RETRY_SECONDS)):
        assert [each.id for each in open_orders(owner)] == [order.id]
        announce(owner, get_order(owner, order.id))
        due = get_order(owner, order.id).notices[0]
        if due.failed:
            break
        clock["now"] = due.due
    assert [after - before for before, after in itertools.pairwise(times)] == list(RETRY_SECONDS)
    assert not list(open_orders(owner))


def test_each_notice_is_delivered_by_itself(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was taken is not sent again with another that was not, of which the log says why."""
    told: list[str] = []

    def deliver(hook: Webhook, *_: object) -> str | None:
        told.append(hook.url)
        return "HTTP 500" if hook.url.endswith("/down") else None

    monkeypatch.setattr("tasks.api.endings.deliver", deliver)
    urls = [f"http://x.example/{name}" for name in ("up", "down", "other")]
    owner = tenant(webhooks=tuple(Webhook(url=url, secret="whsec_c2VjcmV0") for url in urls))
    order = create(owner, upload(owner).id)
    close_order(owner, order, end_of(order))
    assert told == urls
    notices = get_order(owner, order.id).notices
    assert [(each.hook, each.tries, each.done, each.failed) for each in notices] == [
        (0, 1, True, False),
        (1, 1, False, False),
        (2, 1, True, False),
    ]
    assert len({each.event_id for each in notices}) == 3
    assert all(re.fullmatch("evt_[0-9a-f]{32}", each.event_id) for each in notices)
    assert f"The end of order {order.id} was not announced (HTTP 500)" in caplog.text
    assert [each.id for each in open_orders(owner)] == [order.id]

    def hurry(current: Order) -> None:
        for each in current.notices:
            each.due = 0.0

    announce(owner, update_order(owner, order.id, hurry))
    assert told == [*urls, urls[1]]


def test_a_batch_that_was_cancelled_keeps_the_time_of_its_cancel(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    cancel_order(owner, order.id)
    at = order.created_at + 5
    close_order(owner, order, ended(order, document(id=BATCH, status="cancelled", cancelled_at=at).public()))
    final = get_order(owner, order.id).final
    assert final
    assert (final.status, final.cancelled_at) == ("cancelled", at)


def test_a_result_file_is_as_old_as_its_batchs_end(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time begins there, too: what ran for days may be kept for an hour."""
    owner = tenant()
    seconds = {"anchor": "created_at", "seconds": 3600}
    order = create(owner, upload(owner).id, output_expires_after=seconds)
    later = order.created_at + 90_000
    cloud.s3.put("x/errors.jsonl", b"{}\n{}\n")
    monkeypatch.setattr("tasks.api.endings.time.time", lambda: later + 0.7)
    end = end_of(order, error_file="s3://bucket/x/errors.jsonl")
    close_order(owner, order, end)
    assert end.error_file_id == f"file-{order.id[6:]}-errors"
    stored = get_file(owner, end.error_file_id, later)
    assert stored.public() == {
        "id": end.error_file_id,
        "object": "file",
        "bytes": 6,
        "created_at": later,
        "expires_at": later + 3600,
        "filename": f"{order.id}_error.jsonl",
        "purpose": "batch_output",
        "status": "processed",
        "status_details": None,
    }
    assert stored.etag == cloud.s3.objects["x/errors.jsonl"].etag


@pytest.mark.parametrize(("written_with", "copied"), [("arn:key/own", False), ("arn:key/other", True), (None, True)])
def test_a_call_with_a_key_of_its_own_has_files_that_are_encrypted_with_it(
    cloud: Cloud, written_with: str | None, copied: bool
) -> None:
    """Also where the batch was written for an equal call with another key: keys may be named by their last part."""
    owner = tenant()
    order = create(owner, upload(owner).id)
    order = update_order(owner, order.id, lambda current: setattr(current, "kms_key", "own"))
    written = cloud.s3.put("x/output.jsonl", b"{}\n", **({"SSEKMSKeyId": written_with} if written_with else {}))
    written.etag = '"of the original"'
    end = end_of(order, output_file="s3://bucket/x/output.jsonl")
    close_order(owner, order, end)
    assert end.output_file_id
    stored = get_file(owner, end.output_file_id)
    mine = f"prefix/acme/api/results/{end.output_file_id}"
    assert stored.uri == f"s3://bucket/{mine if copied else 'x/output.jsonl'}"
    assert b"".join(read_bytes(stored)) == b"{}\n"
    if copied:
        assert cloud.s3.objects[mine].options["SSEKMSKeyId"] == "own"


def test_a_hook_that_its_tenant_has_no_more_is_not_waited_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.endings.deliver", lambda *_: "HTTP 500")
    owner = tenant(webhooks=HOOKS)
    order = create(owner, upload(owner).id)
    close_order(owner, order, end_of(order))
    assert list(open_orders(owner))
    order = update_order(owner, order.id, lambda current: setattr(current.notices[0], "due", 0.0))
    announce(tenant(), order)
    assert not list(open_orders(owner))


def test_a_notice_that_is_taken_at_its_last_try_is_delivered(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the time of each try, which a receiver holds against its clock; the log says how the order ended."""
    caplog.set_level("INFO")
    replies: list[str | None] = ["HTTP 500"] * len(RETRY_SECONDS)
    times: list[int] = []

    def deliver(hook: object, event_id: str, event: bytes, now: int) -> str | None:
        times.append(now)
        return replies.pop() if replies else None

    monkeypatch.setattr("tasks.api.endings.deliver", deliver)
    clock = {"now": 4_000_000_000.7}
    monkeypatch.setattr("tasks.api.endings.time.time", lambda: clock["now"])
    owner = tenant(webhooks=HOOKS)
    order = create(owner, upload(owner).id)
    close_order(owner, order, end_of(order))
    assert times == [4_000_000_000]
    assert f"Order {order.id} is completed" in caplog.messages
    for _ in RETRY_SECONDS:
        clock["now"] = get_order(owner, order.id).notices[0].due
        announce(owner, get_order(owner, order.id))
    (notice,) = get_order(owner, order.id).notices
    assert (notice.tries, notice.done, notice.failed) == (len(RETRY_SECONDS) + 1, True, False)
    assert not list(open_orders(owner))
