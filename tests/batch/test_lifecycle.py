"""Opening a batch again, ending it, and tidying up: what batch.json names stays, and so does what later runners write."""

import logging
import time
from typing import Any

import msgspec
import pytest

from tasks.batch.document import Job
from tasks.batch.lifecycle import batch_failed, begin_finalizing, discard, fail_batch, first_causes, tidy
from tasks.batch.paths import BatchRef
from tasks.batch.registry import mark_open, open_batches
from tasks.bedrock.limits import Limits
from tasks.errors import LostLeaseError
from tasks.open import resume_batch
from tasks.openai_format.batch import FINAL_STATUSES, BatchError
from tests.builders import HELD, REF, call, document, job, range_of, shard, store, stored, summary
from tests.fakes import BUCKET, Cloud

# Opening it again


def resumed(
    cloud: Cloud, *shards: Any, status: str = "failed", asked: dict[str, Any] | None = None, **section: Any
) -> Any:
    store(cloud, document(list(shards), holder="me", status=status, failed_at=5, section={"unanswered": 3, **section}))
    return resume_batch(HELD, call(**(asked or {})), summary())


def test_of_a_failed_batch_jobs_that_did_nothing_are_tried_anew(cloud: Cloud) -> None:
    nothing = shard("00000", done=True, jobs=[job("Failed")])
    something = shard("00001", done=True, jobs=[job("Failed", 1, processed=60)])
    good = shard("00002", done=True, jobs=[job("Completed", 2, processed=100)])
    after = resumed(cloud, nothing, something, good)
    assert [(each.done, each.retry) for each in after.bedrock.shards] == [(False, True), (True, True), (True, False)]
    # With the same number, another attempt would have the failed one's token, and be that job.
    assert [each.jobs for each in after.bedrock.shards] == [nothing.jobs, something.jobs, good.jobs]
    assert (after.status, after.failed_at, after.errors) == ("in_progress", None, None)
    assert after.bedrock.last_round == 1 + Limits().max_rounds, "of the second, a further round asks the rest"


def test_a_finished_batch_is_opened_only_where_that_was_asked_for(cloud: Cloud) -> None:
    for status in sorted(FINAL_STATUSES - {"failed"}):
        after = resumed(cloud, shard(done=True, jobs=[job("Expired")]), status=status)
        assert after.status == status
        after = resumed(cloud, shard(done=True, jobs=[job("Expired")]), status=status, asked={"retry_failed": True})
        assert after.status == "in_progress"
        assert [each.retry for each in after.bedrock.shards] == [True]
        after = resumed(cloud, shard(done=True), status=status, asked={"retry_failed": True}, unanswered=0)
        assert after.status == status, "all are answered, or refused for good"


def test_who_lost_the_lease_opens_nothing(cloud: Cloud) -> None:
    store(cloud, document([], holder="other", status="failed"))
    with pytest.raises(LostLeaseError):
        resume_batch(HELD, call(), summary())
    assert stored().status == "failed"


# Ending it


@pytest.mark.parametrize("forget", [True, False])
def test_a_batch_is_failed(cloud: Cloud, forget: bool) -> None:
    store(cloud, document([shard(jobs=[Job(attempt=1, name="n", token="t")])], holder="me"))
    key = REF.uri("input", "part-00000.jsonl").key
    cloud.s3.put(key, b"x")
    cloud.s3.put(f"prefix/open/{REF.batch_id}", b"")
    errors = [BatchError(code="c", message=f"m{number}", line=number or None) for number in range(5)]
    error = fail_batch(HELD, errors, forget=forget)
    assert str(error) == f"Batch {REF.batch_id} failed: c: m0; line 1: c: m1; line 2: c: m2; and 2 more"
    now = stored()
    assert (now.status, now.failed_at is not None, now.errors and now.errors.data) == ("failed", True, errors)
    assert now.bedrock.lease.epoch == 2
    assert (now.bedrock.shards is None, key in cloud.s3.objects) == (forget, not forget)
    assert f"prefix/open/{REF.batch_id}" not in cloud.s3.objects, "collectors need not look at it"


@pytest.mark.parametrize("status", ["validating", "in_progress"])
def test_results_are_being_written(cloud: Cloud, status: str) -> None:
    store(cloud, document([], holder="me", status=status))
    began = int(time.time())
    noted = begin_finalizing(HELD)
    assert noted == stored()
    assert noted.status == "finalizing"
    assert began <= (noted.finalizing_at or 0) <= int(time.time())


@pytest.mark.parametrize("status", ["cancelling", "finalizing", "completed"])
def test_what_is_not_under_way_stays_as_it_is(cloud: Cloud, status: str) -> None:
    store(cloud, document([], holder="me", status=status))
    noted = begin_finalizing(HELD)
    assert (noted.status, noted.finalizing_at) == (status, None)


def test_a_failure_without_causes() -> None:
    assert str(batch_failed(document(status="failed").public())).endswith("failed: no cause was given")


# Tidying up


def lying(cloud: Cloud) -> tuple[BatchRef, Any, list[str], list[str]]:
    """A batch of the third epoch with objects of all epochs: those that stay, and those that are needed no more."""
    ref = msgspec.structs.replace(HELD, epoch=3)
    batch = document(
        [shard("00000"), shard("00001", epoch=2)],
        holder="me",
        epoch=3,
        status="completed",
        section={"ranges": [range_of(0), range_of(1, epoch=2)]},
    )
    stay = [
        "input/part-00000.jsonl",
        "input/epoch-2/part-00001.jsonl",
        "index/part-00000.parquet",
        "index/epoch-2/part-00001.parquet",
        "output.jsonl",
        "epoch-2/output.jsonl",
        "bedrock/j/part-00000.jsonl.out",
        "input/epoch-4/part-00000.jsonl",
        "results/epoch-4/part-00000.output.jsonl",
        "again/epoch-10/part-x.jsonl",
        "batch.json",
    ]
    go = [
        "input/part-00001.jsonl",
        "input/part-00007.jsonl",
        "input/epoch-2/part-00000.jsonl",
        "input/epoch-3/part-00000.jsonl",
        "index/part-00001.parquet",
        "index/epoch-3/part-00000.parquet",
        "results/part-00000.output.jsonl",
        "again/part-x.jsonl",
        "results/epoch-3/part-00000.errors.jsonl",
        "layout/epoch-2/part-00000.msgpack",
    ]
    stay, go = ([REF.uri(*name.split("/")).key for name in names] for names in (stay, go))
    for key in (*stay, *go):
        cloud.s3.put(key, b"x")
    store(cloud, batch)
    return ref, batch, stay, go


def test_what_is_named_stays_and_what_later_runners_write(cloud: Cloud) -> None:
    ref, batch, stay, _ = lying(cloud)
    tidy(ref, batch)
    assert cloud.s3.keys() == sorted(stay)


def test_only_the_folders_that_were_given(cloud: Cloud) -> None:
    ref, batch, stay, go = lying(cloud)
    discard(ref, batch, "again")
    assert cloud.s3.keys() == sorted([*stay, *(key for key in go if "/again/" not in key)])


@pytest.mark.parametrize("operation", ["DeleteObject", "ListObjectsV2"])
def test_what_may_not_be_deleted_is_a_warning(cloud: Cloud, caplog: pytest.LogCaptureFixture, operation: str) -> None:
    ref, batch, stay, go = lying(cloud)
    cloud.s3.refuse(operation, "AccessDenied", 403, times=None)
    with caplog.at_level(logging.WARNING):
        tidy(ref, batch)
    assert cloud.s3.keys() == sorted([*stay, *go])
    assert "could not be deleted" in caplog.text


def test_uploads_of_this_epoch_and_before_are_aborted(cloud: Cloud) -> None:
    ref, batch, _, _ = lying(cloud)
    for name in ("input/part-9.jsonl", "epoch-3/output.jsonl", "epoch-4/output.jsonl"):
        cloud.s3.client.create_multipart_upload(Bucket=BUCKET, Key=REF.uri(*name.split("/")).key)
    tidy(ref, batch)
    assert [upload.key for upload in cloud.s3.uploads.values()] == [REF.uri("epoch-4", "output.jsonl").key]


@pytest.mark.parametrize("status", ["completed", "in_progress"])
def test_a_batch_that_was_opened_again_meanwhile_stays_open(cloud: Cloud, status: str) -> None:
    ref, batch, _, _ = lying(cloud)
    cloud.s3.put(f"prefix/open/{REF.batch_id}", b"")
    store(cloud, batch.model_copy(update={"status": status}))
    tidy(ref, batch)
    assert (f"prefix/open/{REF.batch_id}" in cloud.s3.objects) is (status == "in_progress")


@pytest.mark.parametrize("status", ["cancelling", "completed", "failed", "expired", "cancelled"])
def test_what_is_ending_or_over_is_not_finalizing(cloud: Cloud, status: str) -> None:
    store(cloud, document(holder="me", status=status))
    found = begin_finalizing(HELD)
    assert (found.status, found.finalizing_at) == (status, None)


def test_a_batch_that_failed_before_keeps_the_time(cloud: Cloud) -> None:
    store(cloud, document(holder="me", status="failed", failed_at=5))
    fail_batch(HELD, [BatchError(code="x", message="m")])
    assert stored().failed_at == 5


def test_batch_json_is_json_under_its_key(cloud: Cloud) -> None:
    ref = msgspec.structs.replace(HELD, kms_key="arn:key/1")
    store(cloud, document(holder="me"))
    begin_finalizing(ref)
    options = cloud.s3.objects[REF.document.key].options
    assert (options["SSEKMSKeyId"], options["ContentType"]) == ("arn:key/1", "application/json")


def test_what_is_forgotten_is_planned_anew(cloud: Cloud) -> None:
    store(cloud, document([shard()], holder="me", section={"ranges": [range_of(0)]}))
    fail_batch(HELD, [BatchError(code="x", message="m")], forget=True)
    assert (stored().bedrock.ranges, stored().bedrock.shards) == ([], None)


def test_who_may_not_read_whether_it_is_over_leaves_it_open_with_a_warning(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    batch = store(cloud, document([], status="completed"))
    mark_open(REF)
    cloud.s3.refuse("GetObject", "AccessDenied", 403, on=REF.document.key)
    tidy(HELD, batch)
    assert f"Collectors will look at batch {REF.batch_id} again" in caplog.text
    assert list(open_batches(REF.root)) == [REF.batch_id]


def test_three_causes_are_all_of_three() -> None:
    errors = [BatchError(code=code, message="m") for code in "abcd"]
    assert first_causes(errors[:3]) == "a: m; b: m; c: m"
    assert first_causes(errors) == "a: m; b: m; c: m; and 1 more"
