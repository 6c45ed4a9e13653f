"""Opening a batch again, ending it, and tidying up: what batch.json names stays, and so does what later runners write."""

import logging
from array import array
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.batch.document import Job
from tasks.batch.lifecycle import batch_failed, discard, fail_batch, tidy
from tasks.batch.options import Order, parse_window
from tasks.batch.paths import BatchRef
from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.errors import LostLeaseError
from tasks.inputs.layout import Layout
from tasks.inputs.summary import InputSummary
from tasks.open import name_batch, resume_batch
from tasks.openai_format.batch import FINAL_STATUSES, BatchError
from tasks.settings import Settings
from tasks.storage.reader import Source
from tests.builders import HELD, REF, ROLE, document, job, range_of, shard, store, stored
from tests.conftest import CLAUDE, NOVA
from tests.fakes import BUCKET, Cloud


def order(**fields: Any) -> Order:
    model = parse_model(fields.pop("model", CLAUDE))
    return Order(
        **{
            "input_file": "in.jsonl",
            "model": model,
            "codec": codec_for(model),
            "completion_window": "24h",
            "window_hours": 24,
            "metadata": {},
            "job_name": None,
            "on_invalid": "fail",
            "unsupported": "error",
            "below_minimum": "on_demand",
            "invocation": "auto",
            "fetch_images": False,
            "retry_failed": False,
            "limits": Limits(),
            "settings": Settings(REF.root, ROLE, None),
            "output_location": None,
            "output_kms_key": None,
            "output_owner": None,
            **fields,
        }
    )


def summary(**fields: Any) -> InputSummary:
    return InputSummary(
        **{
            "sources": [Source("in.jsonl", "/in.jsonl", "1", 100)],
            "digest": "00",
            "endpoint": "/v1/chat/completions",
            "requests": 100,
            "invalid": 0,
            "codes": {},
            "first_invalid": [],
            "invalid_file": None,
            "work": Path("/nowhere"),
            "offsets": array("q", range(101)),
            "lines": array("q", range(1, 102)),
            "layout": Layout([], []),
            "source_starts": [0, 100],
            "source_bytes": [100],
            "records": 100,
            "record_bytes": 1000,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("window", "hours"),
    [
        ("24h", 24),
        ("168h", 168),
        ("36h", 36),
        ("1d", 24),
        ("7d", 168),
        (" 2D ", 48),
        ("immediate", None),
        ("Immediate", None),
        *(
            (bad, ValueError)
            for bad in ("23h", "169h", "8d", "10d", "0h", "0d", "h", "d", "", "24", "24 h", "-24h", "1.5d", "1w", "²4h")
        ),
    ],
)
def test_completion_windows(window: str, hours: Any) -> None:
    if hours is not ValueError:
        assert parse_window(window) == hours
        return
    with pytest.raises(ValueError, match="24h to 168h"):
        parse_window(window)


def test_what_changes_the_result_makes_another_batch(cloud: Cloud) -> None:
    refs = [
        name_batch(order(**changed), summary(**read))
        for changed, read in (
            ({}, {}),
            ({"unsupported": "drop"}, {}),
            ({"on_invalid": "skip"}, {}),
            ({"invocation": "Converse"}, {}),
            ({"fetch_images": True}, {}),
            ({"model": NOVA}, {}),
            ({}, {"digest": "01"}),
            ({}, {"endpoint": "/v1/responses"}),
        )
    ]
    assert len({ref.batch_id for ref in refs}) == len(refs)


def test_what_does_not_change_the_result_names_the_same_batch(cloud: Cloud) -> None:
    ref = name_batch(order(), summary())
    before = stored(ref)
    for changed in (
        {"below_minimum": "pad"},
        {"completion_window": "2d", "window_hours": 48},
        {"metadata": {"a": "b"}},
        {"job_name": "x"},
        {"retry_failed": True},
        {"input_file": "moved.jsonl"},
        {"output_location": "s3://b/c"},
        {"limits": Limits(max_jobs=1)},
    ):
        assert name_batch(order(**changed), summary()) == ref
    assert stored(ref) == before, "naming it changes nothing"


# Opening it again


def resumed(
    cloud: Cloud, *shards: Any, status: str = "failed", asked: dict[str, Any] | None = None, **section: Any
) -> Any:
    store(cloud, document(list(shards), holder="me", status=status, failed_at=5, section={"unanswered": 3, **section}))
    return resume_batch(HELD, order(**(asked or {})), summary())


def test_of_a_failed_batch_jobs_that_did_nothing_are_tried_anew(cloud: Cloud) -> None:
    nothing = shard("00000", done=True, jobs=[job("Failed")])
    something = shard("00001", done=True, jobs=[job("Failed", 1, processed=60)])
    good = shard("00002", done=True, jobs=[job("Completed", 2, processed=100)])
    after = resumed(cloud, nothing, something, good)
    assert [(each.done, each.retry) for each in after.bedrock.shards] == [(False, True), (True, True), (True, False)]
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
        resume_batch(HELD, order(), summary())
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
