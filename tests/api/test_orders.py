"""Orders: one for equal calls, each tenant's own, listed at the cost of a page, ended once."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from tasks.api.calls import read_call
from tasks.api.errors import CallError, ConflictError, ForbiddenError, InvalidCallError, NotFoundError
from tasks.api.ids import new_id
from tasks.api.orders import (
    Order,
    attach,
    cancel_order,
    claim,
    get_order,
    list_orders,
    open_mark,
    open_orders,
    order_uri,
    place_order,
    retry_order,
    stale_marks,
    update_order,
)
from tasks.api.views import ended, ended_alone, view
from tasks.openai_format.batch import RequestCounts
from tests.api.callers import LINE, create, tenant, upload
from tests.builders import REF, ROLE, document, job, shard
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


def test_the_model_of_a_call_goes_before_that_of_the_lines(cloud: Cloud) -> None:
    owner = tenant(model_names={"short": "us.amazon.nova-lite-v1:0", CLAUDE: "another"})
    file = upload(owner)
    assert create(owner, file.id, model="short").model == "us.amazon.nova-lite-v1:0"
    assert create(owner, file.id).model == "another"
    body = {"input_file_id": file.id}
    call = read_call(owner, body, {"x-portkey-aws-bedrock-model": "p", "x-amzn-bedrock-modelid": "a"})
    assert call.model == "p"
    assert read_call(owner, body, {"x-amzn-bedrock-modelid": "a", "x-amzn-bedrock-tags": "k=v"}).metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("team=search, stage = prod", {"team": "search", "stage": "prod"}),
        ("team=a%2Cb%3D,empty=", {"team": "a,b=", "empty": ""}),
        ('{"team": "search"}', {"team": "search"}),
        ("", {}),
        ("team", None),
        ("=search", None),
        ('{"team": 5}', None),
        ('{"team"', None),
        ("team=" + "x" * 257, None),
        (",".join(f"t{number}=" for number in range(17)), None),
    ],
)
def test_tags_in_awss_header(cloud: Cloud, header: str, tags: dict[str, str] | None) -> None:
    """They go onto the jobs, beside the metadata: neither takes the other's place."""
    body = {"input_file_id": "x", "metadata": {"own": "note"}}
    if tags is None:
        with pytest.raises(InvalidCallError) as error:
            read_call(tenant(), body, {"x-amzn-bedrock-tags": header})
        assert error.value.param == "x-amzn-bedrock-tags"
        return
    call = read_call(tenant(), body, {"x-amzn-bedrock-tags": header})
    assert (call.tags, call.metadata) == (tags, {"own": "note"})


@pytest.mark.parametrize(
    "header", ["x-amzn-bedrock-outputencryptionkeyid", "x-portkey-amz-server-side-encryption-aws-kms-key-id"]
)
def test_a_key_of_kms_in_a_header_is_kept_or_refused(cloud: Cloud, header: str) -> None:
    owner = tenant(kms_keys=("arn:aws:kms:us-east-1:1:key/mine",))
    body = {"input_file_id": upload(owner).id}
    order = place_order(owner, read_call(owner, body, {header: owner.kms_keys[0]}))
    assert order.kms_key == owner.kms_keys[0]
    assert place_order(owner, read_call(owner, body, {})).id != order.id
    with pytest.raises(ForbiddenError) as error:
        read_call(owner, body, {header: "arn:aws:kms:us-east-1:1:key/anothers"})
    assert error.value.param == header


def test_a_region_that_is_not_the_servers_is_refused(cloud: Cloud) -> None:
    assert read_call(tenant(), {"input_file_id": "x"}, {"x-portkey-aws-region": "us-east-1"})
    with pytest.raises(InvalidCallError, match="us-east-1"):
        read_call(tenant(), {"input_file_id": "x"}, {"x-portkey-aws-region": "eu-west-1"})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": 5}, "input_file_id"),
        ({"input_file_id": "file-nothing"}, "input_file_id"),
        ({"input_file_id": "/etc/passwd"}, "input_file_id"),
        ({"input_file_id": "*.jsonl"}, "input_file_id"),
        ({"input_file_id": "s3://elsewhere/x.jsonl"}, "input_file_id"),
        ({"input_file_id": f"s3://{BUCKET}/in/nothing.jsonl"}, "input_file_id"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"endpoint": ["x"]}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"completion_window": "9" * 5000 + "h"}, "completion_window"),
        ({"completion_window": "٢٤h"}, "completion_window"),
        ({"input_file_id": "s3:///x.jsonl"}, "input_file_id"),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"model": {}}, "model"),
        ({"role_arn": "arn:aws:iam::123456789012:role/Admin"}, "role_arn"),
        ({"on_invalid": "maybe"}, "on_invalid"),
        ({"reuse": "no"}, "reuse"),
        ({"max_cost_usd": "1"}, "max_cost_usd"),
        ({"max_cost_usd": -1}, "max_cost_usd"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://other/"}}}, "output_data_config"),
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


def test_options_and_unknown_fields(cloud: Cloud) -> None:
    owner = tenant()
    call = read_call(
        owner,
        {
            "input_file_id": "x",
            "job_name": "j",
            "role_arn": ROLE,
            "unsupported": "drop",
            "custom_llm_provider": "openai",
        },
        {},
    )
    assert call.options == {"job_name": "j", "role_arn": ROLE, "unsupported": "drop"}
    assert call.ignored == ("custom_llm_provider",)


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


def test_after_must_be_an_id(cloud: Cloud) -> None:
    with pytest.raises(InvalidCallError):
        list_orders(tenant(), limit=5, after="../x")
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
    order = create(owner, upload(owner).id, metadata={"a": "b"})
    with pytest.raises(ConflictError):
        retry_order(owner, order.id)
    _finish(order)
    again = retry_order(owner, order.id)
    assert again.id == retry_order(owner, order.id).id != order.id
    assert again.options["retry_failed"] is True
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


def _order(**fields: object) -> Order:
    given = {
        "id": new_id("batch", 1000),
        "tenant": "acme",
        "created_at": 1000,
        "expires_at": 90_000,
        "input_file_id": "file",
        "input_uri": "s3://b/k",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "model": CLAUDE,
        **fields,
    }
    return Order(**given)


def test_counts_move_while_jobs_run() -> None:
    shards = [shard("00000", jobs=[job(succeeded=30, errored=5)]), shard("00001", jobs=[job(succeeded=0)], padding=50)]
    running = document(shards, request_counts=RequestCounts(total=150), in_progress_at=2000)
    shown = view(_order(), running)
    assert (shown["status"], shown["in_progress_at"]) == ("in_progress", 2000)
    assert shown["request_counts"] == {"total": 150, "completed": 30, "failed": 0}
    last = document(shards, request_counts=RequestCounts(total=150), section={"round": 2, "last_round": 1})
    assert view(_order(), last)["request_counts"]["failed"] == 5


def test_times_are_the_orders_own() -> None:
    old = document(status="completed", in_progress_at=10, finalizing_at=20, completed_at=30, created_at=1)
    shown = view(_order(final=ended(_order(), old.public())), None)
    assert [shown[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")] == [1000] * 4
    assert shown["expires_at"] == 90_000


def test_a_batch_that_is_over_is_finalizing_until_its_end_is_kept() -> None:
    assert view(_order(), document(status="completed", completed_at=5))["status"] == "finalizing"
    assert view(_order(), document(status="cancelled", cancelled_at=5))["status"] == "in_progress"
    assert view(_order(), document(status="cancelling"))["status"] == "in_progress"
    assert view(_order(cancelling_at=5), document(status="cancelling"))["status"] == "cancelling"


def test_line_is_a_good_one() -> None:
    assert msgspec.json.decode(LINE)["body"]["model"] == CLAUDE
