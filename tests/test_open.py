"""Opening: what a call would have to pay for, what a new batch holds, and what of one that is there is tried again."""

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, LeaseState
from tasks.batch.store import update
from tasks.bedrock.limits import Limits
from tasks.errors import BatchFailedError, ConfigurationError
from tasks.inputs.summary import InvalidLine
from tasks.open import (
    batch_ref,
    name_batch,
    open_or_resume,
    requests_to_pay,
    require_minimum,
    require_role,
    resume_batch,
    store_invalid_lines,
)
from tasks.openai_format.batch import BatchError, BatchErrors
from tests.builders import call, document, job, shard, store, stored, summary
from tests.fakes import Cloud


@pytest.mark.parametrize(
    ("asked", "read", "status", "section", "requests"),
    [
        ({}, {}, None, {}, 100),
        ({}, {"invalid": 3}, None, {}, 0),
        ({"on_invalid": "skip"}, {"invalid": 3}, None, {}, 97),
        ({}, {}, "validating", {"shards": None}, 100),
        ({}, {}, "in_progress", {}, 0),
        ({"retry_failed": True}, {}, "in_progress", {}, 0),
        ({}, {}, "completed", {"unanswered": 7}, 0),
        ({"retry_failed": True}, {}, "completed", {"unanswered": 7}, 7),
        ({"retry_failed": True}, {}, "completed", {"unanswered": 0}, 0),
        ({"retry_failed": True}, {}, "expired", {}, 100),
    ],
)
def test_what_a_call_may_have_to_pay_for(
    cloud: Cloud,
    asked: dict[str, Any],
    read: dict[str, Any],
    status: str | None,
    section: dict[str, Any],
    requests: int,
) -> None:
    wanted = call(**asked)
    found = summary(**read)
    if status:
        ref = batch_ref(wanted, found)
        stored = document([shard()], status=status, section=section, id=ref.batch_id)
        store(cloud, stored, msgspec.structs.replace(ref, holder="me"))
    assert requests_to_pay(wanted, found) == requests


# Opened for the first time


def held(ref: Any) -> Any:
    return msgspec.structs.replace(ref, holder="me")


def taken(ref: Any) -> None:
    """Somebody drives the batch: this test."""

    def take(current: BatchDocument) -> None:
        current.bedrock.lease = LeaseState(epoch=1, holder="me")

    update(ref, take)


def test_a_new_batch_has_all_that_the_call_and_the_input_say(cloud: Cloud) -> None:
    wanted = call(
        model="us.anthropic.claude-haiku-4-5-20251001-v1:0",
        completion_window="48h",
        metadata={"a": "b"},
        job_name="job",
        role_arn="arn:aws:iam::123456789012:role/other",
        on_invalid="skip",
    )
    wanted = msgspec.structs.replace(wanted, settings=msgspec.structs.replace(wanted.settings, kms_key="key"))
    began = int(time.time())
    ref = name_batch(wanted, summary(invalid=3))
    assert ref.kms_key == "key"
    assert cloud.s3.objects[ref.document.key].options["SSEKMSKeyId"] == "key"
    made = stored(ref)
    section = made.bedrock
    assert began <= made.created_at <= int(time.time())
    assert made.expires_at == made.created_at + 48 * 3600
    assert (made.status, made.model, made.endpoint, made.input_file_id, made.completion_window, made.metadata) == (
        "validating",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "/v1/chat/completions",
        "in.jsonl",
        "48h",
        {"a": "b"},
    )
    assert made.request_counts.total == 100
    assert (section.model, section.base_model, section.family) == (
        made.model,
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "anthropic",
    )
    assert (section.role_arn, section.kms_key, section.job_name, section.invalid_lines) == (
        "arn:aws:iam::123456789012:role/other",
        "key",
        "job",
        3,
    )
    assert (section.options.endpoint, section.options.on_invalid) == ("/v1/chat/completions", "skip")
    assert (section.limits, section.round, section.last_round) == (Limits(), 1, 2)
    assert section.sources == [msgspec.to_builtins(summary().sources[0])]
    assert [range_.requests for range_ in section.ranges] == [100]
    puts = cloud.s3.count("PutObject")
    assert name_batch(wanted, summary(invalid=3)) == ref
    assert cloud.s3.count("PutObject") == puts, "one that is there is not written again"


def test_an_endless_window_has_no_end(cloud: Cloud) -> None:
    assert stored(name_batch(call(completion_window="immediate"), summary())).expires_at is None


def test_the_key_of_the_output_goes_before_that_of_the_settings(cloud: Cloud) -> None:
    place = {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out", "s3EncryptionKeyId": "of-output"}}
    wanted = call(output_data_config=place)
    wanted = msgspec.structs.replace(wanted, settings=msgspec.structs.replace(wanted.settings, kms_key="key"))
    assert stored(name_batch(wanted, summary())).bedrock.kms_key == "of-output"


# Taken up again


def resumed(cloud: Cloud, wanted: Any, found: Any, epoch: int = 1, **fields: Any) -> BatchDocument:
    ref = held(batch_ref(wanted, found))
    store(cloud, document(**{"holder": "me", "id": ref.batch_id, **fields}), ref)
    return resume_batch(msgspec.structs.replace(ref, epoch=epoch), wanted, found)


def test_a_later_call_brings_an_open_batch_up_to_date(cloud: Cloud) -> None:
    wanted = call(
        input_file="moved.jsonl",
        completion_window="72h",
        metadata={"new": "x"},
        job_name="later",
        role_arn="arn:aws:iam::123456789012:role/other",
    )
    limits = Limits(max_rounds=5)
    wanted = msgspec.structs.replace(wanted, limits=limits)
    after = resumed(
        cloud,
        wanted,
        summary(invalid=4),
        created_at=1000,
        shards=None,
        status="validating",
        epoch=3,
        options={"of_tomorrow": 1},
        section={"ranges": [], "sources": []},
    )
    section = after.bedrock
    assert (after.input_file_id, after.completion_window, after.metadata) == ("moved.jsonl", "72h", {"new": "x"})
    assert after.expires_at == 1000 + 72 * 3600, "from its creation on"
    assert (section.job_name, section.role_arn, section.invalid_lines) == (
        "later",
        "arn:aws:iam::123456789012:role/other",
        4,
    )
    assert (section.last_round, section.limits) == (5, limits)
    assert getattr(section.options, "of_tomorrow", None) == 1, "what a newer version wrote"
    assert section.options.endpoint == "/v1/chat/completions"
    assert [(range_.epoch, range_.requests) for range_ in section.ranges] == [(3, 100)]
    assert [source["name"] for source in section.sources] == ["in.jsonl"]
    assert [key.rsplit("/", 1)[-1] for key in cloud.s3.objects if "/layout/" in key] == ["part-00000.msgpack"]


def test_what_is_settled_is_not_planned_anew(cloud: Cloud) -> None:
    wanted = msgspec.structs.replace(call(), limits=Limits(max_rounds=5, max_records_per_job=10))
    settled = resumed(cloud, wanted, summary(), shards=[shard()], section={"round": 2, "last_round": 2})
    assert (settled.bedrock.limits, len(settled.bedrock.ranges)) == (Limits(), 1)
    assert settled.bedrock.last_round == 2, "of a batch in its first round only"
    assert not [key for key in cloud.s3.objects if "/layout/" in key]


@pytest.mark.parametrize("status", ["failed", "completed"])
@pytest.mark.parametrize("shards", [None, [shard(done=True)]])
def test_one_that_is_opened_again_is_as_new(cloud: Cloud, status: str, shards: Any) -> None:
    ends = ("finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    times = {f"{end}_at": 5 for end in ends}
    began = int(time.time())
    after = resumed(
        cloud,
        call(retry_failed=True),
        summary(),
        shards=shards,
        status=status,
        created_at=1000,
        errors=BatchErrors(data=[BatchError(code="c", message="m")]),
        output_file="s3://b/output.jsonl",
        section={"warnings": ["old"], "published": ["s3://out/x"], "unanswered": 3, "round": 4, "last_round": 4},
        **times,
    )
    assert after.status == ("validating" if shards is None else "in_progress")
    assert {name: getattr(after, name) for name in times} == dict.fromkeys(times)
    assert (after.errors, after.created_at, after.output_file) == (None, 1000, "s3://b/output.jsonl")
    assert after.expires_at is not None
    assert after.expires_at >= began + 24 * 3600
    assert (after.bedrock.warnings, after.bedrock.published) == ([], [])
    # What was asked, a further round asks again; what never was, this one does.
    assert after.bedrock.last_round == (5 if shards is None else 6)


@pytest.mark.parametrize("retry_failed", [False, True])
def test_what_is_asked_again_of_a_failed_batch(cloud: Cloud, retry_failed: bool) -> None:
    """What Bedrock never answered; with `retry_failed` also what it threw back. No job that answered is run again."""
    shards = [
        shard("00000", done=True, jobs=[job("Completed", 0, processed=100)]),
        shard("00001", done=True, jobs=[job("Failed", 1, processed=0)]),
        shard("00002", done=True, jobs=[job("Failed", 2, processed=1)]),
        shard("00003", done=True, route="on_demand"),
        shard("00004", done=False),
    ]
    after = resumed(cloud, call(retry_failed=retry_failed), summary(), shards=shards, status="failed")
    assert [(each.done, each.retry) for each in after.bedrock.shards or []] == [
        (True, retry_failed),
        (False, True),
        (True, True),
        (True, retry_failed),
        (False, retry_failed),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_one_job_that_answered_something_is_reason_for_a_further_round(cloud: Cloud, order: int) -> None:
    """Wherever it stands among those that answered nothing."""
    shards = [
        shard("00000", done=True, jobs=[job("Failed", 0, processed=1)]),
        shard("00001", done=True, jobs=[job("Failed", 1, processed=0)]),
    ]
    after = resumed(cloud, call(), summary(), shards=shards[::order], status="failed", section={"round": 1})
    assert after.bedrock.last_round == 1 + Limits().max_rounds


def test_a_batch_whose_unanswered_requests_were_never_counted_is_retried(cloud: Cloud) -> None:
    """Nobody has counted them is another thing than that there are none."""
    for unanswered, status in ((None, "in_progress"), (0, "completed")):
        shards = [shard(done=True, jobs=[job("Completed")])]
        section = {"unanswered": unanswered}
        after = resumed(cloud, call(retry_failed=True), summary(), shards=shards, status="completed", section=section)
        assert after.status == status


def test_a_failed_job_alone_needs_no_further_round(cloud: Cloud) -> None:
    shards = [shard("00000", done=True, jobs=[job("Failed", 1, processed=0)])]
    after = resumed(cloud, call(), summary(), shards=shards, status="failed", section={"round": 1})
    assert after.bedrock.last_round == Limits().max_rounds


# The stage


def opened(wanted: Any, found: Any, followed: bool = False) -> BatchDocument:
    ref = name_batch(wanted, found)
    taken(ref)
    return open_or_resume(held(ref), wanted, found, followed)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("without_prefect")
def test_opening_says_where_and_tells_collectors(cloud: Cloud, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wanted, found = call(), summary(work=work)
    document = opened(wanted, found)
    assert document.status == "validating"
    folder = f"s3://bucket/prefix/batches/{document.id}"
    assert caplog.messages == [f"Batch {document.id} is opened in {folder}"]
    assert f"prefix/open/{document.id}" in cloud.s3.objects
    assert not work.exists()
    caplog.clear()
    update(batch_ref(wanted, found), lambda current: setattr(current.bedrock, "shards", [shard()]))
    open_or_resume(held(batch_ref(wanted, found)), wanted, found)
    assert caplog.messages == [f"Batch {document.id} goes on in {folder}"]


@pytest.mark.usefixtures("without_prefect")
def test_bad_lines_are_stored_whole_and_encrypted(cloud: Cloud, work: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = work / "invalid-lines"
    bad.write_bytes(b"x" * (3 << 20))
    wanted = call(on_invalid="skip")
    wanted = msgspec.structs.replace(wanted, settings=msgspec.structs.replace(wanted.settings, kms_key="key"))
    document = opened(wanted, summary(work=work, invalid=1, invalid_file=bad))
    place = cloud.s3.objects[f"prefix/batches/{document.id}/invalid.jsonl"]
    assert (len(place.body), place.options["SSEKMSKeyId"]) == (3 << 20, "key")
    assert caplog.messages == [f"1 bad line is listed in s3://bucket/prefix/batches/{document.id}/invalid.jsonl"]
    assert cloud.s3.objects[f"prefix/open/{document.id}"].options["SSEKMSKeyId"] == "key"


def test_bad_lines_lie_where_their_epoch_wrote_them(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    ref = msgspec.structs.replace(batch_ref(call(), summary()), epoch=2)
    uri = store_invalid_lines(ref, summary(invalid=1, invalid_file=tmp_path / "bad"))
    assert str(uri).endswith("/epoch-2/invalid.jsonl")


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize(
    ("found", "code"), [({"requests": 0, "codes": {"empty_file": 1}}, "empty_file"), ({"invalid": 1}, "x")]
)
def test_what_fails_at_once(cloud: Cloud, work: Path, found: dict[str, Any], code: str) -> None:
    bad = work / "invalid-lines"
    bad.write_bytes(b"{}\n")
    first = [InvalidLine(3, 4, "in.jsonl", "x", "It is wrong.", "body", "id")]
    with pytest.raises(BatchFailedError) as caught:
        opened(call(), summary(work=work, first_invalid=first if "invalid" in found else [], invalid_file=bad, **found))
    assert caught.value.batch.status == "failed"
    assert caught.value.batch.errors is not None
    assert [error.code for error in caught.value.batch.errors.data] == [code]
    assert not work.exists()
    assert f"prefix/open/{caught.value.batch.id}" not in cloud.s3.objects, "there is nothing to collect"


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize(
    ("retry_failed", "unanswered", "followed", "hinted"),
    [(False, 7, False, True), (False, 0, False, False), (True, 7, True, False), (True, 0, False, False)],
)
def test_a_finished_batch_is_returned_and_tidied(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, retry_failed: bool, unanswered: int, followed: bool, hinted: bool
) -> None:
    caplog.set_level(logging.INFO)
    wanted, found = call(retry_failed=retry_failed), summary()
    ref = held(batch_ref(wanted, found))
    section = {"unanswered": unanswered}
    store(cloud, document([shard()], holder="me", status="completed", id=ref.batch_id, section=section), ref)
    left = ref.uri("again", "part-x.jsonl").key
    cloud.s3.put(left, b"x")
    assert open_or_resume(ref, wanted, found, followed).status == "completed"
    assert left not in cloud.s3.objects
    hint = "Without an answer, of its requests: 7; retry_failed asks them, and only them, again"
    assert caplog.messages == [
        f"Batch {ref.batch_id} is completed already: nothing is run again",
        *[hint] * hinted,
    ]


@pytest.mark.usefixtures("without_prefect")
def test_whoever_followed_another_runner_returns_its_failure_but_goes_on_with_an_open_batch(cloud: Cloud) -> None:
    wanted, found = call(), summary()
    ref = held(batch_ref(wanted, found))
    store(cloud, document([shard()], holder="me", status="failed", id=ref.batch_id), ref)
    assert open_or_resume(ref, wanted, found, followed=True).status == "failed"
    store(cloud, document([shard()], holder="me", id=ref.batch_id, created_at=1000), ref)
    assert open_or_resume(ref, wanted, found, followed=True).expires_at == 1000 + 24 * 3600, "brought up to date"
    store(cloud, document([shard()], holder="me", status="failed", id=ref.batch_id), ref)
    assert open_or_resume(ref, wanted, found).status == "in_progress"


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize(("window", "doubted"), [("24h", True), ("immediate", False)])
def test_a_model_that_takes_no_jobs_is_doubted(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, window: str, doubted: bool
) -> None:
    opened(call(model="amazon.titan-text-express-v1", completion_window=window), summary())
    assert [message.startswith("No batch inference for") for message in caplog.messages] == [True] * doubted


# What is asked for before that


@pytest.mark.parametrize(
    ("asked", "records", "role", "needed"),
    [
        ({}, 100, None, True),
        ({}, 99, None, False),
        ({"below_minimum": "pad"}, 1, None, True),
        ({"below_minimum": "pad"}, 0, None, False),
        ({"completion_window": "immediate"}, 100, None, False),
        ({}, 100, "arn:aws:iam::123456789012:role/r", False),
    ],
)
def test_a_role_is_asked_for_where_there_will_be_a_job(
    cloud: Cloud, asked: dict[str, Any], records: int, role: str | None, needed: bool
) -> None:
    wanted = call(**asked)
    wanted = msgspec.structs.replace(wanted, settings=msgspec.structs.replace(wanted.settings, role_arn=role))
    with contextlib.ExitStack() as stack:
        if needed:
            stack.enter_context(pytest.raises(ConfigurationError, match="pass role_arn, or set BEDROCK_BATCH_ROLE_ARN"))
        require_role(wanted, summary(records=records))


@pytest.mark.parametrize(
    ("asked", "records", "refused"),
    [
        ({"below_minimum": "fail"}, 99, True),
        ({"below_minimum": "fail"}, 1, True),
        ({"below_minimum": "fail"}, 100, False),
        ({"below_minimum": "fail"}, 0, False),
        ({"below_minimum": "fail", "completion_window": "immediate"}, 99, False),
        ({"below_minimum": "pad"}, 99, False),
        ({}, 99, False),
    ],
)
def test_a_batch_below_the_minimum(cloud: Cloud, asked: dict[str, Any], records: int, refused: bool) -> None:
    error = require_minimum(call(**asked), summary(records=records))
    assert (error is not None) is refused
    if error is not None:
        assert (error.code, error.line, error.param) == ("below_minimum", None, None)
        assert error.message == (
            f"The batch has {records} record{'s' * (records != 1)} to send; a job of this model takes at least 100. "
            'Add requests, or choose below_minimum="on_demand" or "pad".'
        )
