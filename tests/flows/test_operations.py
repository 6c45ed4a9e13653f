"""Listing, retrieving, cancelling and reading batches, as they stand in S3."""

import json
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
from tasks.batch.paths import BatchRef
from tasks.batch.registry import mark_open, open_batches
from tasks.errors import BatchNotFoundError, PipelineError
from tests.builders import REF, document, job, shard, store, stored
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


@pytest.mark.parametrize("id", ["../other", "batch_" + "0" * 31, "batch_" + "0" * 33, "batch_" + "G" * 32, ""])
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
