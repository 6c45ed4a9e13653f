"""The proof at the end: a batch ends only where index and results agree, request by request."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tasks.assemble import ERRORS, OUTPUT, PARQUET, outcome, publish, publish_results, put_together
from tasks.batch.document import BatchDocument, Origin
from tasks.batch.paths import index_object
from tasks.errors import AccountingError, LostLeaseError, PipelineError
from tasks.openai_format.batch import RequestCounts
from tasks.openai_format.results import RunError, error_line, output_line
from tasks.results.files import Result, ResultRow, Results
from tasks.results.totals import RangeResult
from tasks.shards.index import Index
from tests.builders import HELD, REF, document, job, put_index, put_piece, range_of, shard, store, stored
from tests.fakes import ACCOUNT, Cloud

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
#: Two ranges of three requests, of which the fifth failed.
RANGES = [range_of(0, 3), range_of(1, 3, 3)]
IDS = ["a", "b", "c", "d", "e", "f"]
FAILED = {"e"}


def row(custom_id: str, line: int, ok: bool) -> ResultRow:
    return ResultRow(custom_id, line, 0, ok, 200 if ok else None, model="model", file="in.jsonl")


def finished(cloud: Cloud, lost: str | None = None, **fields: Any) -> tuple[BatchDocument, list[RangeResult]]:
    """A batch whose ranges are normalised; of the request `lost`, the index of its range knows nothing."""
    results = []
    for range_ in RANGES:
        ids = IDS[range_.first_request : range_.first_request + 3]
        put_index(cloud, range_, [None if custom_id == lost else custom_id for custom_id in ids])
        with Results(HELD, range_, "model") as out:
            for place, custom_id in enumerate(ids):
                ok = custom_id not in FAILED
                line = output_line("i", custom_id, b"{}") if ok else error_line("i", custom_id, RunError("x", "y"))
                out.add(Result(line, ok, [row(custom_id, range_.first_request + place + 1, ok)]))
        failed = len(FAILED & set(ids))
        results.append(
            RangeResult(
                range_.index,
                completed=3 - failed,
                failed=failed,
                prompt_tokens=5,
                completion_tokens=2,
                retryable=failed,
            )
        )
    fields = {"status": "finalizing", "request_counts": RequestCounts(total=6), **fields}
    batch = document([shard(jobs=[job("Completed")])], holder="me", section={"ranges": RANGES}, **fields)
    return store(cloud, batch), results


def body(cloud: Cloud, *place: str) -> bytes:
    return cloud.s3.objects[REF.uri(*place).key].body


def test_a_batch_is_put_together(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    after = put_together(HELD, batch, results, ["odd", "odd"])
    assert after == stored()
    assert (after.status, after.completed_at is not None) == ("completed", True)
    assert after.request_counts == RequestCounts(total=6, completed=5, failed=1)
    assert (after.output_file, after.error_file, after.parquet_file) == tuple(
        str(REF.uri(name)) for name in (OUTPUT, ERRORS, PARQUET)
    )
    assert [msgspec.json.decode(line)["custom_id"] for line in body(cloud, OUTPUT).splitlines()] == [
        "a",
        "b",
        "c",
        "d",
        "f",
    ]
    assert [msgspec.json.decode(line)["custom_id"] for line in body(cloud, ERRORS).splitlines()] == ["e"]
    assert after.usage
    assert (after.usage.input_tokens, after.usage.output_tokens) == (10, 4)
    assert (after.bedrock.unanswered, after.bedrock.warnings) == (1, ["odd"])
    assert after.bedrock.lease.epoch == 2, "what was written under the first one is named from now on"


def drop_line(cloud: Cloud, name: str = OUTPUT) -> None:
    lines = body(cloud, "results", f"part-00000.{name}").splitlines(keepends=True)
    put_piece(cloud, RANGES[0], name, b"".join(lines[1:]))


def add_line(cloud: Cloud, line: bytes, name: str = OUTPUT) -> None:
    put_piece(cloud, RANGES[0], name, body(cloud, "results", f"part-00000.{name}") + line)


def swap_lines(cloud: Cloud) -> None:
    first, second, third = body(cloud, "results", f"part-00000.{OUTPUT}").splitlines(keepends=True)
    put_piece(cloud, RANGES[0], OUTPUT, second + first + third)


def forget_an_id(cloud: Cloud) -> None:
    lines = body(cloud, "results", f"part-00000.{OUTPUT}").splitlines(keepends=True)
    put_piece(cloud, RANGES[0], OUTPUT, b"".join([output_line("i", None, b"{}"), *lines[1:]]))


def lose_the_last(cloud: Cloud) -> None:
    """The last request of the first range, from its index and its results."""
    put_index(cloud, RANGES[0], ["a", "b", None])
    lines = body(cloud, "results", f"part-00000.{OUTPUT}").splitlines(keepends=True)
    put_piece(cloud, RANGES[0], OUTPUT, b"".join(lines[:2]))


WRONG: dict[str, tuple[Callable[[Cloud], object], str]] = {
    "a result line is missing": (drop_line, "in neither result file"),
    "a result line too many": (lambda c: add_line(c, output_line("i", "z", b"{}")), "more than once"),
    "a request in both files": (
        lambda c: add_line(c, error_line("i", "a", RunError("x", "y")), ERRORS),
        "more than once",
    ),
    "a request twice": (lambda c: add_line(c, output_line("i", "c", b"{}")), "more than once"),
    "a line that does not say whose it is": (forget_an_id, "in neither result file"),
    "in another order": (swap_lines, "in neither result file"),
    "missing in the middle of the index": (lambda c: put_index(c, RANGES[0], ["a", None, "c"]), "skips from request"),
    "missing at the end of the index": (lambda c: put_index(c, RANGES[0], ["a", "b", None]), "more than once"),
    "missing at the end of index and results": (
        lose_the_last,
        "5 result lines",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_add_up_ends_nothing(cloud: Cloud, kind: str) -> None:
    batch, results = finished(cloud)
    spoil, message = WRONG[kind]
    spoil(cloud)
    with pytest.raises(AccountingError, match=message):
        put_together(HELD, batch, results)
    assert stored() == batch
    assert not {REF.uri(name).key for name in (OUTPUT, ERRORS, PARQUET)} & set(cloud.s3.objects), (
        "no result file is left"
    )
    assert not cloud.s3.uploads


def test_counts_that_do_not_add_up(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    results[0].completed -= 1
    with pytest.raises(AccountingError, match="6 requests went in, 4 answers and 1 error came out"):
        put_together(HELD, batch, results)


def test_a_request_of_several_records_is_one_line(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    index = Index()
    index.start_file(0)
    for place, custom_id in enumerate("abc"):
        for choice in range(place + 1):
            index.add(place, custom_id, place + 1, shard="00000", choice=choice)
    cloud.s3.put(index_object(REF, RANGES[0]).key, index.finish())
    assert put_together(HELD, batch, results).request_counts == RequestCounts(total=6, completed=5, failed=1)


def test_what_a_batch_costs_is_the_sum_of_its_ranges(cloud: Cloud) -> None:
    for known, cost in ((True, 0.75), (False, None)):
        batch, results = finished(cloud)
        results[0].cost_usd, results[1].cost_usd = 0.5, 0.25
        results[1].without_cost = 0 if known else 1
        assert put_together(HELD, batch, results).cost_usd == cost


def test_an_empty_file_is_none(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for failed, output, errors in ((set(), True, False), (set(IDS), False, True)):
        monkeypatch.setattr("tests.test_assemble.FAILED", failed)
        batch, results = finished(cloud)
        after = put_together(HELD, batch, results)
        assert (after.output_file is not None, after.error_file is not None) == (output, errors)
        assert ("no request was answered: see the error file for the causes" in after.bedrock.warnings) is not output
        assert (REF.uri(OUTPUT).key in cloud.s3.objects, REF.uri(ERRORS).key in cloud.s3.objects) == (output, errors)
        for name in (OUTPUT, ERRORS):
            cloud.s3.objects.pop(REF.uri(name).key, None)


def test_who_lost_the_lease_ends_nothing(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    relieved = document(holder="other", epoch=2)
    store(cloud, relieved)
    with pytest.raises(LostLeaseError):
        put_together(HELD, batch, results)
    assert stored() == relieved


@pytest.mark.parametrize(
    ("jobs", "unanswered", "status", "ends"),
    [
        (["Completed", "Completed"], {}, "finalizing", "completed"),
        (["Failed", "Stopped"], {"cancelled": 1, "failed": 1}, "finalizing", "failed"),
        (["Failed", "Completed"], {"expired": 1}, "finalizing", "failed"),
        (["Failed", "Completed"], {}, "cancelling", "failed"),
        (["Stopped", "Completed"], {"cancelled": 1}, "finalizing", "cancelled"),
        (["Completed", "Completed"], {}, "cancelling", "cancelled"),
        (["Expired", "Stopped"], {"cancelled": 1, "expired": 1}, "finalizing", "cancelled"),
        (["PartiallyCompleted", "Completed"], {"expired": 1}, "finalizing", "expired"),
        (["PartiallyCompleted", "Completed"], {}, "finalizing", "completed"),
        (["Completed", None], {"failed": 1}, "finalizing", "completed"),
    ],
)
def test_how_a_batch_ends(jobs: list[str | None], unanswered: dict[str, int], status: str, ends: str) -> None:
    shards = [shard(f"{n:05d}", jobs=[job(each, n)] if each else []) for n, each in enumerate(jobs)]
    assert outcome(document(shards, status=status), [RangeResult(0, unanswered=unanswered)]) == ends


def test_a_job_that_failed_and_was_followed_by_another_round_fails_nothing() -> None:
    shards = [
        shard(jobs=[job("Failed")]),
        shard("r2", round=2, origins=[Origin(range=0, shard="00000")], jobs=[job("Completed")]),
    ]
    assert outcome(document(shards), []) == "completed"


def test_the_causes_of_a_failed_batch_are_its_jobs(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    batch.bedrock.shards = [
        shard(jobs=[job("Failed", message="no capacity")]),
        shard("00001", jobs=[job("Completed", 1)]),
    ]
    store(cloud, batch)
    after = put_together(HELD, batch, results)
    assert (after.status, after.completed_at) == ("failed", None)
    assert after.errors
    assert [(error.code, error.message) for error in after.errors.data] == [
        ("job_failed", "The Bedrock job job-0 failed: no capacity")
    ]


def test_the_cause_of_a_failed_job_holds_no_word_of_a_record(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    batch.bedrock.shards = [shard(jobs=[job("Failed", message="no capacity: 'Zanzibar'")])]
    store(cloud, batch)
    errors = put_together(HELD, batch, results).errors
    assert errors
    message = errors.data[0].message or ""
    assert "no capacity" in message
    assert "Zanzibar" not in message


# Copies


PLACE = "s3://bucket/copies"


def ended(cloud: Cloud) -> BatchDocument:
    batch, results = finished(cloud)
    return put_together(HELD, batch, results)


@pytest.mark.parametrize(
    ("own", "asked", "used"), [(None, None, None), (None, KEY, KEY), ("ours", None, "ours"), ("ours", KEY, KEY)]
)
def test_copies_are_encrypted_with_the_key_asked_for(
    cloud: Cloud, own: str | None, asked: str | None, used: str | None
) -> None:
    batch = ended(cloud)
    publish(msgspec.structs.replace(HELD, kms_key=own), batch, PLACE, asked, ACCOUNT)
    for name in (OUTPUT, ERRORS, PARQUET):
        copy = cloud.s3.objects[f"copies/{REF.batch_id}/{name}"]
        assert copy.body == body(cloud, name)
        assert copy.options.get("SSEKMSKeyId") == used
        assert (copy.options.get("ServerSideEncryption") == "aws:kms") == (used is not None)
    assert stored().bedrock.published == [f"{PLACE}/{REF.batch_id}"]


def test_copies_are_made_once_and_not_of_a_file_onto_itself(cloud: Cloud) -> None:
    batch = publish(HELD, ended(cloud), PLACE, None)
    writes = cloud.s3.count("PutObject")
    assert publish(HELD, batch, PLACE, None) == batch
    assert publish(HELD, batch, "s3://bucket/prefix/batches", None) == batch
    assert cloud.s3.count("PutObject") == writes


def test_a_bucket_of_another_account_is_refused(cloud: Cloud) -> None:
    batch = ended(cloud)
    with pytest.raises(PipelineError, match="denied access"):
        publish(HELD, batch, PLACE, None, "999999999999")
    assert not stored().bedrock.published


def test_uploads_that_a_killed_run_left_at_the_place_are_aborted(cloud: Cloud) -> None:
    batch = ended(cloud)
    for key in (f"copies/{REF.batch_id}/output.jsonl", "copies/batch_other/output.jsonl"):
        cloud.s3.client.create_multipart_upload(Bucket="bucket", Key=key)
    publish(HELD, batch, PLACE, None)
    assert [upload.key for upload in cloud.s3.uploads.values()] == ["copies/batch_other/output.jsonl"]


def test_the_stage_passes_on_key_and_owner(cloud: Cloud) -> None:
    batch = ended(cloud)
    with pytest.raises(PipelineError, match="denied access"):
        publish_results.fn(HELD, batch, PLACE, KEY, "999999999999")
    publish_results.fn(HELD, batch, PLACE, KEY, ACCOUNT)
    assert cloud.s3.objects[f"copies/{REF.batch_id}/{PARQUET}"].options["SSEKMSKeyId"] == KEY


def test_the_result_files_are_encrypted_with_the_batchs_key(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    put_together(msgspec.structs.replace(HELD, kms_key=KEY), batch, results)
    for name in (OUTPUT, ERRORS, PARQUET):
        assert cloud.s3.objects[REF.uri(name).key].options["SSEKMSKeyId"] == KEY, name


def test_what_was_odd_is_said_of_all_ranges_together(cloud: Cloud) -> None:
    batch, results = finished(cloud)
    for number, result in enumerate(results, 1):
        result.oddities = {"output records that were never asked for": number}
    after = put_together(HELD, batch, results)
    assert after.bedrock.warnings == ["3 output records that were never asked for"]
    assert (after.output_file_id, after.error_file_id) == (after.output_file, after.error_file)


def test_the_same_folder_of_another_bucket_is_another_place(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr("tasks.assemble.copy_object", lambda _, target, *__: copied.append(str(target)))
    monkeypatch.setattr("tasks.assemble.abort_uploads", lambda _: None)
    publish(HELD, ended(cloud), "s3://more/prefix/batches", None)
    place = f"s3://more/prefix/batches/{REF.batch_id}"
    assert stored().bedrock.published == [place]
    assert f"{place}/{OUTPUT}" in copied


def test_copies_at_several_places_are_all_known(cloud: Cloud) -> None:
    batch = publish(HELD, ended(cloud), PLACE, None)
    publish(HELD, batch, "s3://bucket/more", None)
    assert stored().bedrock.published == [f"{PLACE}/{REF.batch_id}", f"s3://bucket/more/{REF.batch_id}"]
