"""OpenAI's Batch object of an order: its own times and id, the progress of the batch beneath, and its end."""

import time
from typing import Any

import pytest

from tasks.api.errors import NotFoundError
from tasks.api.ids import new_id
from tasks.api.orders import Order
from tasks.api.views import cancelled, ended, ended_alone, failed, output_uri, refused, view
from tasks.batch.document import Origin, Shard
from tasks.openai_format.batch import BatchError, BatchUsage, RequestCounts
from tests.builders import document, job, shard
from tests.conftest import CLAUDE


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
    mine = view(_order(cancelling_at=5), document(status="cancelling"))
    assert (mine["status"], mine["cancelling_at"]) == ("cancelling", 5)


def test_an_order_without_a_batch_is_validating() -> None:
    order = _order(metadata={"a": "b"})
    assert view(order, None) == {
        "id": order.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": CLAUDE,
        "errors": None,
        "input_file_id": "file",
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1000,
        "in_progress_at": None,
        "expires_at": 90_000,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": {"a": "b"},
    }
    assert view(_order(model=""), None)["model"] is None
    assert view(_order(cancelling_at=1500), None)["status"] == "cancelling"


def test_an_endpoint_that_only_the_lines_name_is_told_once_they_are_read() -> None:
    assert view(_order(endpoint=""), document(endpoint="/v1/embeddings"))["endpoint"] == "/v1/embeddings"
    assert view(_order(), document(endpoint=""))["endpoint"] == "/v1/chat/completions"


def _counts(*shards: Shard, total: int = 100, **section: Any) -> dict[str, int]:
    running = document(list(shards), request_counts=RequestCounts(total=total), section=section)
    counts: dict[str, int] = view(_order(), running)["request_counts"]
    return counts


def test_records_are_counted_as_requests() -> None:
    """A request may be several records, and those that fill up a job are nobody's."""
    assert _counts() == {"total": 100, "completed": 0, "failed": 0}
    assert _counts(shard()) == {"total": 100, "completed": 0, "failed": 0}
    two_each = shard(records=200, jobs=[job(succeeded=75)])
    assert _counts(two_each) == {"total": 100, "completed": 37, "failed": 0}
    padded = shard(records=100, padding=60, jobs=[job(succeeded=90)])
    assert _counts(padded, total=40) == {"total": 40, "completed": 40, "failed": 0}
    assert _counts(padded, shard("00001", records=40), total=80)["completed"] == 40


def test_the_latest_job_of_a_shard_counts() -> None:
    assert _counts(shard(jobs=[job(succeeded=50), job(number=1, succeeded=10)]))["completed"] == 10


def test_what_a_later_round_asks_again_has_not_failed() -> None:
    first = shard("00000", jobs=[job(succeeded=90, errored=10)])
    again = shard("00001", round=2, records=10, origins=[Origin(range=0, shard="00000")], jobs=[job(number=1)])
    assert _counts(first, again, round=2) == {"total": 100, "completed": 90, "failed": 0}
    assert _counts(first, again, last_round=1)["failed"] == 0
    again.jobs[0].succeeded, again.jobs[0].errored = 6, 4
    assert _counts(first, again, round=2) == {"total": 100, "completed": 96, "failed": 4}


def test_no_more_is_counted_than_there_are() -> None:
    every = shard(jobs=[job(succeeded=100, errored=100)])
    assert _counts(every, last_round=1) == {"total": 100, "completed": 100, "failed": 0}
    again = shard("00001", jobs=[job(succeeded=50)], round=2)
    assert _counts(every, again, last_round=2) == {"total": 100, "completed": 100, "failed": 0}


def test_each_time_is_told_when_its_step_was_reached() -> None:
    def times(**fields: Any) -> list[int | None]:
        shown = view(_order(), document(**fields))
        return [shown["in_progress_at"], shown["finalizing_at"]]

    assert times(status="in_progress") == [None, None]
    assert times(status="in_progress", in_progress_at=5) == [1000, None]
    assert times(status="finalizing", in_progress_at=2000) == [2000, None]
    assert times(status="finalizing", in_progress_at=2000, finalizing_at=1500) == [2000, 2000]
    assert times(status="completed", in_progress_at=2000, finalizing_at=3000) == [2000, 3000]
    assert times(status="finalizing", finalizing_at=3000) == [1000, 3000], "each step was taken"


def test_an_end_has_all_of_the_batch_and_ids_of_the_order() -> None:
    usage = BatchUsage(input_tokens=1, output_tokens=2, total_tokens=3)
    batch = document(
        status="completed",
        in_progress_at=2000,
        finalizing_at=3000,
        completed_at=4000,
        request_counts=RequestCounts(total=3, completed=2, failed=1),
        usage=usage,
        model="another",
        output_file="s3://b/output.jsonl",
        parquet_file="s3://b/results.parquet",
    )
    order = _order()
    end = ended(order, batch)
    assert (end.id, end.model, end.status) == (order.id, "another", "completed")
    assert (end.in_progress_at, end.finalizing_at, end.completed_at) == (2000, 3000, 4000)
    assert (end.output_file_id, end.error_file_id) == (f"file-{order.id.removeprefix('batch_')}-output", None)
    assert (end.output_file, end.error_file, end.parquet_file) == (
        "s3://b/output.jsonl",
        None,
        "s3://b/results.parquet",
    )
    assert (end.usage, end.request_counts.failed) == (usage, 1)
    assert "output_file" not in view(_order(final=end), None), "where it lies is not the caller's to know"
    errors = ended(order, batch.model_copy(update={"output_file": None, "error_file": "s3://b/errors.jsonl"}))
    assert (errors.output_file_id, errors.error_file_id) == (None, f"file-{order.id.removeprefix('batch_')}-errors")


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_an_end_is_not_before_what_it_follows(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at: dict[str, Any] = {"status": status, f"{status}_at": 7000}
    assert getattr(ended(_order(), document(**at)), f"{status}_at") == 7000
    early = ended(_order(created_at=9000), document(**at, in_progress_at=9500))
    assert getattr(early, f"{status}_at") == 9500
    assert getattr(ended(_order(created_at=9000), document(**at)), f"{status}_at") == 9000
    monkeypatch.setattr(time, "time", lambda: 8000.5)
    assert getattr(ended(_order(), document(status=status)), f"{status}_at") == 8000


def test_an_order_that_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 2000.9)
    end = ended_alone(_order(cancelling_at=1500))
    assert (end.status, end.cancelling_at, end.cancelled_at) == ("cancelled", 1500, 2000)
    assert ended_alone(_order(cancelling_at=2500)).cancelled_at == 2500
    before = ended(_order(), document(status="completed", completed_at=1200))
    assert cancelled(_order(cancelling_at=1500), before).cancelling_at == 1500
    assert (end.output_file_id, end.request_counts.total) == (None, 0)


def test_an_order_that_no_batch_could_be_opened_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 2000.9)
    shown = view(_order(final=failed(_order(), "bad", "It is bad.")), None)
    assert (shown["status"], shown["failed_at"]) == ("failed", 2000)
    assert shown["errors"] == {
        "object": "list",
        "data": [{"code": "bad", "message": "It is bad.", "param": None, "line": None}],
    }
    errors = [BatchError(code="a", line=1), BatchError(code="b", line=2)]
    end = refused(_order(created_at=3000), errors)
    assert end.failed_at == 3000
    assert end.errors is not None
    assert end.errors.data == errors


def test_where_an_output_is_and_that_there_will_never_be_one() -> None:
    there = ended(_order(), document(status="completed", output_file="s3://b/output.jsonl"))
    assert output_uri(_order(final=there)) == "s3://b/output.jsonl"
    assert output_uri(_order(final=ended(_order(), document(status="expired")))) is None
    half = ended(_order(), document(status="failed", output_file="s3://b/output.jsonl"))
    assert output_uri(_order(final=half)) == "s3://b/output.jsonl", "what was answered is there"
    order = _order()
    order.final = failed(order, "bad", "It is bad.")
    with pytest.raises(NotFoundError, match=f"{order.id} failed") as error:
        output_uri(order)
    assert error.value.param == "id"
