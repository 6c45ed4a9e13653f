"""Orders: one for equal calls, each tenant's own, listed at the cost of a page, ended once."""

import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tasks.api.calls import read_call
from tasks.api.errors import CallError, ConflictError, ForbiddenError, InvalidCallError, NotFoundError
from tasks.api.files import save_file
from tasks.api.ids import new_id, result_file_id
from tasks.api.orders import (
    Order,
    attach,
    cancel_order,
    claim,
    forget_stopped,
    get_order,
    list_orders,
    note_stopped,
    open_mark,
    open_orders,
    order_uri,
    place_order,
    retry_order,
    stale_marks,
    unclaim,
    update_order,
)
from tasks.api.uploads import PartUpload, begin_upload
from tasks.api.views import ended, ended_alone, view
from tasks.batch.paths import BatchRef
from tests.api.callers import LINE, create, tenant, upload
from tests.builders import REF, document
from tests.conftest import CLAUDE
from tests.fakes import BUCKET, Cloud


def test_an_order_says_what_its_caller_asked_for(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    order = create(owner, file.id, endpoint="/v1/chat/completions", completion_window="48h", metadata={"a": "b"})
    assert get_order(owner, order.id) == order
    assert [each.id for each in open_orders(owner)] == [order.id]
    shown = view(order, None)
    assert shown["status"] == "validating"
    assert shown["input_file_id"] == file.id
    assert shown["metadata"] == {"a": "b"}
    assert shown["expires_at"] == shown["created_at"] + 48 * 3600
    assert shown["model"] == CLAUDE
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert len(shown) == 22


def test_what_is_left_out_is_filled_in(cloud: Cloud) -> None:
    shown = view(create(tenant(), upload(tenant()).id), None)
    assert (shown["endpoint"], shown["completion_window"], shown["metadata"]) == ("/v1/chat/completions", "24h", {})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_file_id": "file-nothing"}, "input_file_id"),
        ({"input_file_id": "/etc/passwd"}, "input_file_id"),
        ({"input_file_id": "*.jsonl"}, "input_file_id"),
        ({"input_file_id": "s3://elsewhere/x.jsonl"}, "input_file_id"),
        ({"input_file_id": f"s3://{BUCKET}/in/nothing.jsonl"}, "input_file_id"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"input_file_id": "s3:///x.jsonl"}, "input_file_id"),
    ],
)
def test_what_is_wrong_is_told_by_its_parameter(cloud: Cloud, body: dict[str, object], param: str) -> None:
    owner = tenant()
    call = {"input_file_id": upload(owner).id, **body}
    with pytest.raises(CallError) as error:
        place_order(owner, read_call(owner, call, {}))
    assert error.value.param == param
    assert not list(open_orders(owner))


def test_result_files_and_files_of_others_are_no_input(cloud: Cloud) -> None:
    owner, other = tenant(), tenant("other")
    with pytest.raises(InvalidCallError):
        create(owner, upload(other).id)
    with pytest.raises(ForbiddenError):
        create(tenant(models=("us.*",)), upload(owner).id)


def test_equal_calls_at_once_are_one_order(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    with ThreadPoolExecutor(8) as pool:
        orders = list(pool.map(lambda _: create(owner, file.id, metadata={"a": "b"}), range(8)))
    assert len({order.id for order in orders}) == 1
    assert len(list(open_orders(owner))) == 1
    assert create(owner, file.id, metadata={"a": "c"}).id != orders[0].id


def test_an_equal_call_after_the_end_is_a_new_order(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    first = create(owner, file.id)
    _finish(first)
    second = create(owner, file.id)
    assert second.id != first.id
    assert create(owner, file.id).id == second.id
    assert create(tenant("other"), upload(tenant("other")).id).id not in (first.id, second.id)


def _finish(order: Order) -> None:
    def change(current: Order) -> None:
        current.final = ended(current, document(status="completed", completed_at=5).public())

    update_order(tenant(), order.id, change)


def test_an_idempotency_key_names_one_call_for_ever(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    first = create(owner, file.id, key="k")
    _finish(first)
    assert create(owner, file.id, key="k").id == first.id
    with pytest.raises(ConflictError):
        create(owner, file.id, key="k", metadata={"other": "call"})


def test_an_order_whose_writer_died_is_made_by_the_next_equal_call(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    first = create(owner, file.id)
    del cloud.s3.objects[order_uri(owner, first.id).key]
    again = create(owner, file.id)
    assert (again.id, again.created_at, again.expires_at) == (first.id, first.created_at, first.expires_at)


def test_marks_without_an_order_are_stale_after_an_hour(cloud: Cloud) -> None:
    owner, lost = tenant(), new_id("batch", 1_000_000)
    order = create(owner, upload(owner).id)
    for name in (lost, "rubbish"):
        cloud.s3.put(open_mark(owner, name).key, b"")
    assert stale_marks(owner, 1_000_000 + 3599) == []
    assert stale_marks(owner, 4_000_000_000) == [lost]
    assert [each.id for each in open_orders(owner)] == [order.id]


@pytest.mark.parametrize("count", [200, 10_000])
def test_a_page_costs_one_listing_and_its_orders(cloud: Cloud, count: int) -> None:
    """However many there are, also of others."""
    owner, other = tenant(), tenant("other")
    order = create(owner, upload(owner).id)
    body = order.model_dump_json()
    for number in range(count):
        identifier = new_id("batch", 1_700_000_000 + number)
        cloud.s3.put(order_uri(owner, identifier).key, body.replace(order.id, identifier).encode())
        cloud.s3.put(order_uri(other, identifier).key, b"{}")
    cloud.s3.calls.clear()
    page, more = list_orders(owner, limit=100, after=None)
    assert (len(page), more) == (100, True)
    assert page[0].id == order.id
    assert [each.id for each in page] == sorted((each.id for each in page), reverse=True)
    assert len(cloud.s3.calls) == 101
    following, _ = list_orders(owner, limit=100, after=page[-1].id)
    assert len(cloud.s3.calls) == 202
    assert not {each.id for each in following} & {each.id for each in page}
    assert max(each.id for each in following) < min(each.id for each in page)


def test_what_is_no_order_of_ours_is_in_no_list(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    folder = order_key(order).rpartition("/")[0]
    for name in (" rubbish.json", "rubbish.json", f"{order.id}.json"):
        cloud.s3.put(f"{folder}/{name}", b"{}")
    assert list_orders(owner, limit=5, after=None) == ([order], False)


def test_after_must_be_an_id(cloud: Cloud) -> None:
    with pytest.raises(InvalidCallError) as error:
        list_orders(tenant(), limit=5, after="../x")
    assert error.value.param == "after"
    assert list_orders(tenant(), limit=5, after=new_id("batch")) == ([], False)


def test_cancelling_is_idempotent_until_the_end(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    first = cancel_order(owner, order.id)
    assert view(first, None)["status"] == "cancelling"
    assert cancel_order(owner, order.id).cancelling_at == first.cancelling_at
    update_order(owner, order.id, lambda current: setattr(current, "final", ended_alone(current)))
    assert view(get_order(owner, order.id), None)["status"] == "cancelled"
    with pytest.raises(ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        cancel_order(owner, order.id)
    with pytest.raises(NotFoundError):
        cancel_order(tenant("other"), order.id)


def test_one_runner_reads_an_input_at_a_time(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    assert claim(owner, order.id, "one", 1000.0)
    assert claim(owner, order.id, "two", 1030.0) is None
    assert claim(owner, order.id, "one", 1030.0)
    assert claim(owner, order.id, "two", 1091.0)
    attach(owner, order.id, REF.batch_id)
    assert claim(owner, order.id, "two", 1091.0) is None


def test_a_retry_is_a_new_order_for_what_has_no_answer(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner).id
    order = create(owner, file, metadata={"a": "b"}, unsupported="drop")
    with pytest.raises(ConflictError):
        retry_order(owner, order.id)
    _finish(order)
    again = retry_order(owner, order.id)
    assert again.id == retry_order(owner, order.id).id != order.id
    assert again.options == {"unsupported": "drop", "retry_failed": True}
    another = create(owner, file)
    _finish(another)
    assert retry_order(owner, another.id).id != again.id
    assert (again.retry_of, again.metadata) == (order.id, {"a": "b"})


def test_a_retry_of_a_fresh_sample_completes_that_very_sample(cloud: Cloud) -> None:
    """In a folder of its own it would find no answer, and pay for all of them again."""
    owner = tenant()
    order = create(owner, upload(owner).id, reuse=False)
    _finish(order)
    again = retry_order(owner, order.id)
    assert again.root(owner) == order.root(owner) == owner.settings.root.join("samples", order.id)
    _finish(again)
    assert retry_order(owner, again.id).root(owner) == order.root(owner)


def test_an_order_keeps_what_a_newer_replica_wrote(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    stored = msgspec.json.decode(cloud.s3.objects[order_uri(owner, order.id).key].body)
    cloud.s3.put(order_uri(owner, order.id).key, msgspec.json.encode({**stored, "of_tomorrow": 1}))
    attach(owner, order.id, REF.batch_id)
    assert msgspec.json.decode(cloud.s3.objects[order_uri(owner, order.id).key].body)["of_tomorrow"] == 1


def test_line_is_a_good_one() -> None:
    assert msgspec.json.decode(LINE)["body"]["model"] == CLAUDE


def test_an_order_carries_all_that_was_asked_for(cloud: Cloud) -> None:
    owner = tenant(kms_keys=("arn:key/own",))
    file = upload(owner)
    expiry = {"anchor": "created_at", "seconds": 7200}
    body = {"input_file_id": file.id, "output_expires_after": expiry, "metadata": {"a": "b"}, "unsupported": "drop"}
    headers = {"x-amzn-bedrock-outputencryptionkeyid": "arn:key/own", "x-amzn-bedrock-tags": "team=x"}
    order = place_order(owner, read_call(owner, body, headers))
    assert get_order(owner, order.id) == order
    assert (order.kms_key, order.tags, order.output_expires_after) == ("arn:key/own", {"team": "x"}, 7200)
    assert (order.metadata, order.options, order.tenant) == ({"a": "b"}, {"unsupported": "drop"}, "acme")
    update_order(owner, order.id, lambda current: setattr(current, "batch_id", REF.batch_id))
    ref = get_order(owner, order.id).ref(owner)
    assert ref is not None
    assert (ref.batch_id, ref.root, ref.kms_key) == (REF.batch_id, owner.settings.root, "arn:key/own")
    _finish(order)
    again = retry_order(owner, order.id)
    for name in ("kms_key", "tags", "output_expires_after", "metadata", "model", "endpoint", "input_uri"):
        assert getattr(again, name) == getattr(order, name), name
    assert again.expires_at - again.created_at == order.expires_at - order.created_at
    assert again.created_at >= order.created_at


def test_a_retry_has_a_window_of_its_own(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id, completion_window="48h")
    _finish(order)
    update_order(owner, order.id, lambda current: setattr(current, "created_at", 1000))
    update_order(owner, order.id, lambda current: setattr(current, "expires_at", 1000 + 48 * 3600))
    again = retry_order(owner, order.id)
    assert again.expires_at == again.created_at + 48 * 3600


def test_the_call_goes_before_the_line_and_names_stand_for_models(cloud: Cloud) -> None:
    owner = tenant(model_names={CLAUDE: "us.amazon.nova-lite-v1:0", "mine": "us.amazon.nova-pro-v1:0"})
    file = upload(owner).id
    assert create(owner, file).model == "us.amazon.nova-lite-v1:0"
    assert create(owner, file, model="mine").model == "us.amazon.nova-pro-v1:0"
    assert create(owner, file, model="mine", endpoint="/v1/responses").endpoint == "/v1/responses"
    assert create(owner, file).endpoint == "/v1/chat/completions"


def test_what_the_document_of_a_file_says_is_not_read_again(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    cloud.s3.calls.clear()
    order = create(owner, file.id)
    assert (order.model, order.endpoint) == (CLAUDE, "/v1/chat/completions")
    assert not [given for _, given in cloud.s3.calls if given.get("Key") == file.uri.partition(f"{BUCKET}/")[2]]


def test_what_neither_the_call_nor_the_document_says_is_read(cloud: Cloud) -> None:
    """Of a compressed file nothing is known when it comes."""
    owner = tenant()
    file = upload(owner, gzip.compress(LINE)).id
    for given in ({}, {"model": CLAUDE}, {"endpoint": "/v1/chat/completions"}):
        order = create(owner, file, **given)
        assert (order.model, order.endpoint) == (CLAUDE, "/v1/chat/completions"), given


def test_an_object_that_has_changed_is_another_call(cloud: Cloud) -> None:
    """As far as its first line says so: what it is run on, and as what, is part of the call."""
    owner, ids = tenant(), set[str]()
    for line in (LINE, LINE.replace(CLAUDE.encode(), b"us.amazon.nova-lite-v1:0"), LINE.replace(b"chat/c", b"c")):
        cloud.s3.put("in/a.jsonl", line)
        for _ in range(2):
            ids.add(create(owner, f"s3://{BUCKET}/in/a.jsonl").id)
    assert len(ids) == 3


def test_a_result_file_is_no_input(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner)
    result = file.model_copy(update={"id": result_file_id(new_id("batch"), "output"), "purpose": "batch_output"})
    save_file(owner, result)
    with pytest.raises(InvalidCallError, match="it must be 'batch'") as error:
        create(owner, result.id)
    assert error.value.param == "input_file_id"


def test_calls_that_differ_in_anything_are_different_orders(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner).id
    calls: list[dict[str, Any]] = [
        {},
        {"completion_window": "48h"},
        {"unsupported": "drop"},
        {"max_cost_usd": 1},
        {"reuse": False},
        {"metadata": {"a": "b"}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
    ]
    assert len({create(owner, file, **call).id for call in calls}) == len(calls)
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert create(owner, file, metadata=one).id == create(owner, file, metadata=other).id, "in whatever order"


def test_another_call_under_a_key_is_told_so(cloud: Cloud) -> None:
    owner = tenant()
    file = upload(owner).id
    create(owner, file, key="k")
    with pytest.raises(ConflictError, match="used for another call") as error:
        create(owner, file, key="k", metadata={"other": "call"})
    assert error.value.code == "idempotency_key_in_use"


def test_an_order_made_under_a_dead_ones_name_has_that_ones_times(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tenant()
    file = upload(owner).id
    first = create(owner, file, completion_window="48h")
    del cloud.s3.objects[order_uri(owner, first.id).key]
    now = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: now)
    again = create(owner, file, completion_window="48h")
    assert (again.id, again.created_at, again.expires_at) == (first.id, first.created_at, first.expires_at)


def test_of_two_new_orders_after_an_end_one_counts(cloud: Cloud) -> None:
    """The name is exchanged on the condition that it still names the one that is over."""
    owner = tenant()
    file = upload(owner).id
    _finish(create(owner, file))
    others: list[str] = []
    cloud.s3.before("PutObject", lambda: others.append(create(owner, file).id), on="/api/same/")
    mine = create(owner, file)
    assert [mine.id] == others
    assert [order.id for order in open_orders(owner) if not order.finished] == others


def test_an_order_that_stands_is_not_written_over(cloud: Cloud) -> None:
    """Two calls make it under the same name, since its first writer died: the one that came second finds it begun."""
    owner = tenant()
    file = upload(owner).id
    first = create(owner, file)
    document_ = cloud.s3.objects.pop(order_uri(owner, first.id).key)

    def other() -> None:
        cloud.s3.put(order_uri(owner, first.id).key, document_.body)
        attach(owner, first.id, REF.batch_id)

    cloud.s3.before("PutObject", other, on="/api/open/")
    assert create(owner, file).batch_id == REF.batch_id
    assert get_order(owner, first.id).batch_id == REF.batch_id


@pytest.mark.parametrize("identifier", ["", "nothing", "batch_x", "file-" + "0" * 32, "x" * 10_000])
def test_what_is_no_id_is_not_found(cloud: Cloud, identifier: str) -> None:
    with pytest.raises(NotFoundError) as error:
        get_order(tenant(), identifier)
    assert (str(error.value), error.value.param) == (f"No batch found with id '{identifier[:80]}'.", "id")
    assert not cloud.s3.calls


def test_a_cancel_keeps_the_time_of_the_first(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    for now in (1000.0, 2000.0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert cancel_order(owner, order.id).cancelling_at == 1000
    over = create(owner, upload(owner).id)
    _finish(over)
    with pytest.raises(ConflictError):
        cancel_order(owner, over.id)
    assert get_order(owner, over.id).cancelling_at is None


def test_a_stop_is_forgotten_once_and_only_where_it_was_noted(cloud: Cloud) -> None:
    owner = tenant()
    assert forget_stopped(owner, REF) is False
    note_stopped(owner, REF)
    sample = BatchRef(REF.root.join("samples", "batch_x"), REF.batch_id)
    assert forget_stopped(owner, sample) is False, "the same requests, asked by themselves"
    assert forget_stopped(owner, REF) is True
    assert forget_stopped(owner, REF) is False, "from now on it was not"
    note_stopped(owner, REF)
    cloud.s3.refuse("DeleteObject", "AccessDenied", 403)
    assert forget_stopped(owner, REF) is False, "what cannot be forgotten would be opened again for ever"
    assert forget_stopped(tenant("other"), REF) is False


def test_a_mark_is_stale_after_just_an_hour(cloud: Cloud) -> None:
    owner, lost = tenant(), new_id("batch", 1_000_000)
    cloud.s3.put(open_mark(owner, lost).key, b"")
    assert stale_marks(owner, 1_000_000 + 3600) == []
    assert stale_marks(owner, 1_000_000 + 3601) == [lost]


def test_a_claim_is_renewed_by_who_has_it_and_given_back_by_nobody_else(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    for now in (1000.0, 1059.0, 1118.0):
        mine = claim(owner, order.id, "one", now)
        assert mine is not None
        assert mine.claim is not None
        assert mine.claim.until == now + 60
    assert unclaim(owner, order.id, "two", tried=True).claim is not None
    assert get_order(owner, order.id).tries == 0
    assert unclaim(owner, order.id, "one", tried=False).claim is None
    assert get_order(owner, order.id).tries == 0
    assert claim(owner, order.id, "two", 1119.0)
    assert unclaim(owner, order.id, "two", tried=True).tries == 1
    _finish(order)
    assert claim(owner, order.id, "one", 9999.0) is None, "it is over"


def test_an_order_stands_on_the_batch_that_was_noted_first(cloud: Cloud) -> None:
    owner = tenant()
    order = create(owner, upload(owner).id)
    claim(owner, order.id, "one", 1000.0)
    attached = attach(owner, order.id, REF.batch_id)
    assert (attached.batch_id, attached.claim) == (REF.batch_id, None)
    assert attach(owner, order.id, "batch_" + "1" * 32).batch_id == REF.batch_id
    over = create(owner, upload(owner).id)
    _finish(over)
    assert attach(owner, over.id, REF.batch_id).batch_id is None


def test_a_name_that_was_exchanged_meanwhile_is_not_written_over(cloud: Cloud) -> None:
    """Two make the call again at once, and both have read the name of the order that is over."""
    owner = tenant()
    file = upload(owner).id
    over = create(owner, file)
    _finish(over)
    others: list[str] = []
    cloud.s3.after("GetObject", lambda: others.append(create(owner, file).id), on=order_key(over))
    mine = create(owner, file)
    assert others
    assert over.id not in others
    assert [mine.id] == others
    assert [order.id for order in open_orders(owner) if not order.finished] == others


def test_all_that_is_written_is_encrypted_with_the_tenants_key(cloud: Cloud) -> None:
    """Marks as well: their names tell of a customer's batches, and buckets may refuse what is not encrypted so."""
    settings = msgspec.structs.replace(tenant().settings, kms_key="arn:key/tenant")
    owner = tenant(settings=settings)
    file = upload(owner, expires_after=3600)
    order = create(owner, file.id, key="k")
    cancel_order(owner, order.id)
    note_stopped(owner, REF)
    _finish(order)
    retry_order(owner, order.id)
    assert begin_upload(owner, {"bytes": 3, "filename": "x", "purpose": "batch"})
    part = PartUpload(owner, begin_upload(owner, {"bytes": 1, "filename": "x", "purpose": "batch"}).id)
    part.write(b"x")
    part.finish()
    kinds = {key.split("/")[3] for key in cloud.s3.keys("prefix/acme/api/")}
    assert kinds == {"data", "files", "expiring", "same", "open", "batches", "stopped", "uploads"}
    written = [given for name, given in cloud.s3.calls if name in ("PutObject", "CreateMultipartUpload")]
    plain = {given["Key"] for given in written if given.get("SSEKMSKeyId") != "arn:key/tenant"}
    assert plain == {order_key(order)}, "_finish writes as another tenant"


def order_key(order: Order) -> str:
    return order_uri(tenant(), order.id).key
