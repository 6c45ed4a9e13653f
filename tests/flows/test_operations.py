"""Listing, retrieving, cancelling and reading batches, as they stand in S3."""

import contextlib
import inspect
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from flows import operations
from flows.operations import (
    advance,
    batch_output,
    cancel_batch,
    collect_batches,
    list_batches,
    newest_batches,
    read_document,
    retrieve_batch,
)
from flows.runners import TASK_RUNNER
from tasks.batch.paths import BatchRef, shard_object
from tasks.batch.registry import mark_open, open_batches
from tasks.errors import BatchNotFoundError, PipelineError
from tasks.report import batch_markdown, batches_table
from tests.builders import REF, document, job, range_of, shard, store, stored
from tests.fakes import BUCKET, Cloud

pytestmark = pytest.mark.usefixtures("without_prefect")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", "prefix")


def of(number: int) -> BatchRef:
    return msgspec.structs.replace(REF, batch_id=f"batch_{number:032x}")


def put(cloud: Cloud, number: int, created_at: int = 1, **fields: Any) -> str:
    ref = of(number)
    store(cloud, document(fields.pop("shards", []), id=ref.batch_id, created_at=created_at, **fields), ref)
    return ref.batch_id


def test_the_newest_come_first_and_of_a_second_by_their_ids(cloud: Cloud) -> None:
    oldest, newest, second, first = put(cloud, 1, 10), put(cloud, 2, 12), put(cloud, 4, 11), put(cloud, 3, 11)
    assert [batch.id for batch in list_batches()] == [newest, first, second, oldest]
    assert [batch.id for batch in list_batches(limit=2)] == [newest, first]


def test_pages_have_every_batch_once(cloud: Cloud) -> None:
    every = [put(cloud, number, 100 - number // 2) for number in range(7)]
    seen: list[str] = []
    while page := list_batches(limit=3, after=seen[-1] if seen else None):
        seen += [batch.id for batch in page]
    assert seen == every


def test_what_is_no_page_is_refused(cloud: Cloud) -> None:
    put(cloud, 1)
    with pytest.raises(PipelineError, match="limit must be 1 or more, not 0"):
        newest_batches(0)
    with pytest.raises(BatchNotFoundError, match="no batch 'batch_x' under s3://bucket/prefix to list from"):
        newest_batches(1, "batch_x")


def test_a_batch_that_was_never_written_is_not_listed(cloud: Cloud) -> None:
    cloud.s3.put(of(1).uri("input", "part-00000.jsonl").key, b"")
    id = put(cloud, 2)
    assert [batch.id for batch in list_batches()] == [id]


def test_one_is_retrieved_as_it_stands(cloud: Cloud) -> None:
    id = put(cloud, 1, status="cancelling")
    assert retrieve_batch(id) == stored(of(1)).public()
    assert read_document(id) == stored(of(1))
    with pytest.raises(BatchNotFoundError, match=of(2).batch_id):
        retrieve_batch(of(2).batch_id)


@pytest.mark.parametrize(
    "id",
    [
        "../other",
        "batch_" + "0" * 31,
        "batch_" + "0" * 33,
        "batch_" + "G" * 32,
        "batch_" + "A" * 32,
        "x" + "batch_" + "0" * 32,
        "batch_" + "../" * 10 + "aa",
        "",
    ],
)
@pytest.mark.parametrize("use", [retrieve_batch, cancel_batch, read_document, lambda id: list(batch_output(id))])
def test_what_is_no_id_leads_nowhere(cloud: Cloud, id: str, use: Any) -> None:
    with pytest.raises(BatchNotFoundError, match="is no batch id"):
        use(id)
    assert not cloud.s3.calls


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling"])
def test_an_unfinished_batch_has_no_output(cloud: Cloud, status: str) -> None:
    id = put(cloud, 1, status=status)
    with pytest.raises(PipelineError, match=f"Batch {id} is {status}: it has no output yet"):
        list(batch_output(id))
    assert list(batch_output(id, incomplete=True)) == []


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_the_lines_of_either_file(cloud: Cloud, status: str) -> None:
    uris: dict[str, Any] = {}
    for name in ("output", "error"):
        uri = of(1).uri(f"{name}.jsonl")
        cloud.s3.put(uri.key, "".join(json.dumps({"of": name, "n": n}) + "\n" for n in range(2)).encode())
        uris[f"{name}_file"] = str(uri)
    id = put(cloud, 1, status=status, **uris)
    assert list(batch_output(id)) == [{"of": "output", "n": 0}, {"of": "output", "n": 1}]
    assert list(batch_output(id, incomplete=True)) == list(batch_output(id)), "nothing is missing"
    assert list(batch_output(id, errors=True)) == [{"of": "error", "n": 0}, {"of": "error", "n": 1}]
    assert list(batch_output(put(cloud, 2, status=status), errors=True)) == [], "there is no such file"


def test_cancelling_without_collecting_only_stops(cloud: Cloud) -> None:
    arn = cloud.bedrock.put(status="InProgress")
    id = put(cloud, 1, shards=[shard(jobs=[job(arn=arn)])])
    assert cancel_batch(id, collect=False).status == "cancelling"
    assert cloud.bedrock.jobs[arn]["status"] == "Stopping"
    assert stored(of(1)).bedrock.lease.holder is None


def test_a_finished_batch_is_not_cancelled(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "drive", lambda *_, **__: pytest.fail("it is driven"))
    assert cancel_batch(put(cloud, 1, status="completed")).status == "completed"


def test_a_batch_that_is_gone_is_not_open_any_more(cloud: Cloud) -> None:
    mark_open(of(1))
    mark_open(of(2))
    put(cloud, 2, status="completed")
    assert advance(of(1)) is None
    assert list(open_batches(REF.root)) == [of(2).batch_id]
    found = advance(of(2))
    assert found is not None
    assert found.status == "completed"
    assert list(open_batches(REF.root)) == []


def test_trouble_with_one_batch_leaves_the_others_alone(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    driven: list[str] = []

    def drive(ref: BatchRef, *, wait: bool) -> None:
        assert not wait
        driven.append(ref.batch_id)
        if ref.batch_id == of(1).batch_id:
            raise PipelineError("no")

    monkeypatch.setattr(operations, "drive", drive)
    for number in (1, 2):
        mark_open(of(number))
        put(cloud, number)
    with pytest.raises(PipelineError, match=f"^1 of 2 batches could not be advanced. {of(1).batch_id}: no$"):
        collect_batches()
    assert driven == [of(1).batch_id, of(2).batch_id]
    assert [batch.id for batch in collect_batches(of(2).batch_id)] == [of(2).batch_id]


def test_a_reference_has_the_key_of_the_settings(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes from anywhere is encrypted as the run's own is."""
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", "arn:key/1")
    id = put(cloud, 1, shards=[])
    cancel_batch(id, collect=False)
    assert cloud.s3.objects[of(1).document.key].options["SSEKMSKeyId"] == "arn:key/1"


def test_another_runners_batch_is_collected_once_it_is_silent(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    @contextlib.contextmanager
    def trying(ref: BatchRef, *, patient: bool = False) -> Iterator[Any]:
        asked.append(patient)
        yield None

    monkeypatch.setattr(operations, "trying_to_hold", trying)
    assert cancel_batch(put(cloud, 1)).status == "cancelling", "that run collects"
    assert advance(of(1)) is not None
    assert asked == [True, False]


def test_a_batch_that_ends_while_its_lease_is_taken_is_not_driven(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = put(cloud, 1)

    @contextlib.contextmanager
    def trying(ref: BatchRef, *, patient: bool = False) -> Iterator[Any]:
        put(cloud, 1, status="cancelled", cancelled_at=5)
        yield SimpleNamespace(ref=ref)

    monkeypatch.setattr(operations, "trying_to_hold", trying)
    monkeypatch.setattr(operations, "drive", lambda *_, **__: pytest.fail("it is driven"))
    assert cancel_batch(id).status == "cancelled"


@pytest.fixture
def advanced(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a pass of the collector does, in order; no run has a note."""
    acts: list[str] = []
    monkeypatch.setattr(operations, "advance", lambda ref: acts.append(f"advance {ref.batch_id}"))
    monkeypatch.setattr(operations, "stop_batch", lambda ref: acts.append(f"stop {ref.batch_id}"))
    monkeypatch.setattr(operations, "read_notes", lambda settings: [])
    monkeypatch.setattr(operations, "batches_to_stop", lambda notes: set())
    monkeypatch.setattr(operations, "tidy_notes", lambda settings, notes: acts.append("tidy"))
    return acts


def test_a_batch_that_is_named_is_advanced_whether_it_is_marked_or_not(cloud: Cloud, advanced: list[str]) -> None:
    mark_open(of(1))
    collect_batches(of(2).batch_id)
    assert advanced == [f"advance {of(2).batch_id}", "tidy"]


def test_batches_of_cancelled_runs_are_stopped_before_they_are_advanced(
    cloud: Cloud, advanced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        mark_open(of(number))
    monkeypatch.setattr(operations, "batches_to_stop", lambda notes: {of(2).batch_id})
    collect_batches()
    assert advanced == [
        f"advance {of(1).batch_id}",
        f"stop {of(2).batch_id}",
        f"advance {of(2).batch_id}",
        "tidy",
    ]


def test_notes_are_tidied_also_where_a_batch_made_trouble(
    cloud: Cloud, advanced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance_(ref: BatchRef) -> None:
        raise PipelineError("no")

    mark_open(of(1))
    monkeypatch.setattr(operations, "advance", advance_)
    with pytest.raises(PipelineError, match=r"^1 of 1 batch could not be advanced\."):
        collect_batches()
    assert advanced == ["tidy"]


def test_an_event_is_about_its_own_batch_or_about_none(cloud: Cloud, advanced: list[str]) -> None:
    ids = ["batch_" + digit * 32 for digit in "ab"]
    for id in ids:
        mark_open(BatchRef(REF.root, id))

    def event(name: str) -> dict[str, Any]:
        detail = {"batchJobName": name}
        return {"source": "aws.bedrock", "detail-type": "Batch Inference Job State Change", "detail": detail}

    collect_batches(event=event(f"bedrock-batch-{'b' * 16}-00000-1"))
    assert advanced == [f"advance {ids[1]}", "tidy"]
    advanced.clear()
    collect_batches(event=event("somebody-elses-job"))
    assert advanced == ["tidy"]
    with pytest.raises(PipelineError, match="Not an EventBridge event"):
        collect_batches(event={})


def test_a_finished_batch_is_tidied_of_older_runners_only(cloud: Cloud) -> None:
    """What a runner writes that opens it again just now is named by the lease's epoch, and stays."""
    batch = document([], id=of(1).batch_id, status="completed", epoch=3)
    store(cloud, batch, of(1))
    names = {epoch: shard_object(of(1), "00000", epoch).key for epoch in (2, 3)}
    for key in names.values():
        cloud.s3.put(key, b"x")
    assert advance(of(1)) is not None
    assert names[2] not in cloud.s3.objects
    assert names[3] in cloud.s3.objects


def test_results_so_far_end_at_the_first_range_whose_jobs_run(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [SimpleNamespace(ok=True, line=b"ok"), SimpleNamespace(ok=False, line=b"bad")]
    seen: list[tuple[int, list[str]]] = []

    def answered(ref: Any, document: Any, range_: Any, outputs: list[str]) -> Any:
        seen.append((range_.index, outputs))
        return results

    monkeypatch.setattr(operations, "answered_so_far", answered)
    monkeypatch.setattr(operations, "find_output", lambda ref, shard: shard.id)
    shards = [
        shard("00000", done=True),
        shard("00001", ranges=[1], done=True),
        shard("00002", ranges=[1], round=2),
        shard("00003", ranges=[2], route="none"),
        shard("00004", ranges=[3]),
        shard("00005", ranges=[4], done=True),
    ]
    put(cloud, 1, shards=shards, section={"ranges": [range_of(n, first=100 * n) for n in range(5)]})
    assert list(operations.results_so_far(of(1))) == [b"ok"] * 3
    assert list(operations.results_so_far(of(1), errors=True)) == [b"bad"] * 3
    assert seen[:3] == [(0, ["00000"]), (1, ["00001"]), (2, [])]


def test_a_line_of_any_length_is_given_back_whole(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.storage.reader.MAX_LINE_BYTES", 10)
    uri = of(1).uri("output.jsonl")
    cloud.s3.put(uri.key, json.dumps({"long": "x" * (9 << 20)}).encode() + b"\n")
    (line,) = batch_output(put(cloud, 1, status="completed", output_file=str(uri)))
    assert len(line["long"]) == 9 << 20


def test_who_drives_does_so_as_the_holder_of_the_lease(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes is named by its epoch, and encrypted with the settings' key."""
    driven: list[BatchRef] = []
    monkeypatch.setattr(operations, "drive", lambda ref, **_: driven.append(ref))
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", "arn:key/1")
    mark_open(of(1))
    collect_batches(put(cloud, 1))
    cancel_batch(put(cloud, 2))
    epochs = [stored(of(number)).bedrock.lease.epoch for number in (1, 2)]
    assert [(ref.batch_id, ref.epoch, ref.kms_key) for ref in driven] == [
        (of(1).batch_id, epochs[0], "arn:key/1"),
        (of(2).batch_id, epochs[1], "arn:key/1"),
    ]
    assert min(epochs) >= 1


def test_what_is_gone_or_over_is_told_and_held_by_nobody(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "trying_to_hold", lambda *_, **__: pytest.fail("its lease is taken"))
    mark_open(of(1))
    mark_open(of(2))
    id = put(cloud, 2, status="completed")
    assert cancel_batch(id).status == "completed"
    assert [batch.id for batch in collect_batches()] == [id]


# What Prefect is to know


@pytest.mark.parametrize(
    ("flow", "name", "runs_stages", "defaults"),
    [
        (operations.list_batches, "list-batches", False, {"limit": 100, "after": None}),
        (operations.retrieve_batch, "retrieve-batch", False, {}),
        (operations.cancel_batch, "cancel-batch", True, {"collect": True}),
        (operations.collect_batches, "collect-batches", True, {"batch_id": None, "event": None}),
    ],
)
def test_the_flows(flow: Any, name: str, runs_stages: bool, defaults: dict[str, Any]) -> None:
    """Deployments, automations and the API server call them by name; their results are for nobody's disk."""
    assert (flow.name, flow.persist_result) == (name, False)
    assert (flow.task_runner is TASK_RUNNER) is runs_stages
    given = inspect.signature(flow.fn).parameters.values()
    assert {each.name: each.default for each in given if each.default is not inspect.Parameter.empty} == defaults


def test_what_the_ui_shows_of_them(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    for kind in ("table", "markdown"):
        monkeypatch.setattr(operations, f"create_{kind}_artifact", lambda **given: shown.append(given))
    for number in range(3):
        put(cloud, number, created_at=10 - number)
    ids = [each.id for each in operations.newest_batches(3)]
    operations.list_batches.fn()
    operations.retrieve_batch.fn(ids[0])
    assert shown == [], "outside of a run there is no UI"
    monkeypatch.setattr(operations, "current_run", lambda: "run")
    assert [each.id for each in operations.list_batches.fn(limit=2)] == ids[:2]
    assert [each.id for each in operations.list_batches.fn(after=ids[1])] == ids[2:]
    found = operations.retrieve_batch.fn(ids[0])
    first, second, one = shown
    assert (first["key"], first["description"]) == ("batches", "2 batches")
    assert first["table"] == batches_table(operations.newest_batches(2))
    assert (second["key"], second["description"]) == ("batches", "1 batch")
    assert one == {"key": "batch", "markdown": batch_markdown(found), "description": f"Batch {ids[0]}"}


def test_many_batches_are_read_at_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix of thousands would take minutes one after another."""
    made: list[int] = []
    plain = ThreadPoolExecutor

    def pool(workers: int) -> Any:
        made.append(workers)
        return plain(workers)

    monkeypatch.setattr(operations, "ThreadPoolExecutor", pool)
    assert operations.newest_batches(5) == []
    assert made == [16]
