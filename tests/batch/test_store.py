"""batch.json: who was first wins, nobody's change is lost, and who lost the lease writes nothing."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tasks import aws
from tasks.batch.document import BatchDocument, LeaseState
from tasks.batch.paths import epoch_of
from tasks.batch.store import batch_ids, create, load, read, update
from tasks.errors import BatchNotFoundError, LostLeaseError, PipelineError, StateConflictError
from tests.builders import HELD, REF, document, job, shard, store, stored
from tests.fakes import BUCKET, Cloud, raising, refusal


def test_the_first_document_stays(cloud: Cloud) -> None:
    first = create(REF, document())
    body = cloud.s3.objects[REF.document.key].body
    assert create(REF, document(created_at=2)) == first
    assert cloud.s3.objects[REF.document.key].body == body


@pytest.mark.parametrize(("code", "status"), [("ConditionalRequestConflict", 409), ("PreconditionFailed", 412)])
def test_a_conflict_is_a_race_that_somebody_else_won(cloud: Cloud, code: str, status: int) -> None:
    cloud.s3.before("PutObject", lambda: store(cloud, document(created_at=7)))
    cloud.s3.refuse("PutObject", code, status)
    assert create(REF, document()).created_at == 7


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "PreconditionFailed"])
def test_a_change_is_made_again_on_what_somebody_else_wrote(cloud: Cloud, code: str) -> None:
    store(cloud, document())

    def other() -> None:
        store(cloud, document(metadata={"by": "other"}))

    cloud.s3.before("PutObject", other)
    if code == "ConditionalRequestConflict":
        cloud.s3.refuse("PutObject", code, 409)

    def change(current: BatchDocument) -> None:
        current.input_file_id = "changed"

    changed = update(REF, change)
    assert changed == stored()
    assert (changed.metadata, changed.input_file_id) == ({"by": "other"}, "changed")
    assert cloud.s3.count("PutObject") == 2


def test_other_refusals_are_no_conflicts(cloud: Cloud) -> None:
    store(cloud, document())
    cloud.s3.refuse("PutObject", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=r"denied access while writing s3://bucket/prefix/batches/.*batch\.json"):
        update(REF, lambda current: setattr(current, "model", "x"))
    assert cloud.s3.count("PutObject") == 1


def test_a_race_that_never_ends_is_given_up(cloud: Cloud) -> None:
    store(cloud, document())
    cloud.s3.refuse("PutObject", "ConditionalRequestConflict", 409, times=None)
    with pytest.raises(StateConflictError, match="changed by others all the time"):
        update(REF, lambda current: setattr(current, "model", "x"))
    assert cloud.s3.count("PutObject") == 20


def test_a_lost_reply_is_found_to_have_been_a_success(cloud: Cloud) -> None:
    """botocore sends a put again whose reply was lost, and S3 refuses its condition: it was met by the first one."""
    store(cloud, document())
    cloud.s3.after("PutObject", raising(refusal("PreconditionFailed", 412)))
    assert update(REF, lambda current: setattr(current, "model", "x")).model == "x"
    assert cloud.s3.count("PutObject") == 1, "there is nothing left to change"


def test_nothing_is_written_where_nothing_changes(cloud: Cloud) -> None:
    store(cloud, document())
    assert update(REF, lambda current: None) == stored()
    assert cloud.s3.count("PutObject") == 0


def test_what_a_newer_version_wrote_is_kept(cloud: Cloud) -> None:
    written = document([shard(jobs=[job()])]).model_dump(mode="json")
    places = [
        written["bedrock"],
        written["bedrock"]["shards"][0],
        written["bedrock"]["shards"][0]["jobs"][0],
        written["bedrock"]["lease"],
        written["bedrock"]["ranges"][0],
        written["bedrock"]["ranges"][0]["segments"][0],
    ]
    for number, place in enumerate(places):
        place["newer"] = {"number": number}
    cloud.s3.put(REF.document.key, json.dumps(written).encode())
    update(REF, lambda current: setattr(current, "model", "x"))
    now = json.loads(cloud.s3.objects[REF.document.key].body)
    assert now == {**written, "model": "x"}


def test_who_lost_the_lease_reads_and_writes_nothing(cloud: Cloud) -> None:
    store(cloud, document(holder="other"))
    changed: list[Any] = []
    actions: list[Callable[[], object]] = [lambda: read(HELD), lambda: update(HELD, changed.append)]
    for action in actions:
        with pytest.raises(LostLeaseError, match="carries on there"):
            action()
    assert not changed
    assert read(REF).bedrock.lease.holder == "other", "who holds none may look"


def test_a_lease_that_is_lost_between_read_and_write_changes_nothing(cloud: Cloud) -> None:
    store(cloud, document(holder="me"))
    relieved = document(holder="other", epoch=2)
    cloud.s3.before("PutObject", lambda: store(cloud, relieved))
    with pytest.raises(LostLeaseError):
        update(HELD, lambda current: setattr(current, "model", "x"))
    assert stored() == relieved


def test_what_is_no_batch_is_named(cloud: Cloud) -> None:
    assert load(REF) is None
    with pytest.raises(BatchNotFoundError, match=f"There is no batch {REF.batch_id} under s3://bucket/prefix"):
        read(REF)
    cloud.s3.put(REF.document.key, b'{"id": 7}')
    with pytest.raises(PipelineError, match="is not a batch of this program"):
        read(REF)


def test_ids_of_batches(cloud: Cloud) -> None:
    for number in range(3):
        store(cloud, document(), msgspec.structs.replace(REF, batch_id=f"batch_{number}"))
    cloud.s3.put("prefix/open/batch_9", b"")
    assert list(batch_ids(REF.root)) == ["batch_0", "batch_1", "batch_2"]


@pytest.mark.parametrize("key", ["input/part-00000.jsonl", "again/part-x.jsonl", "output.jsonl"])
def test_names_tell_the_epoch(key: str) -> None:
    *folders, name = key.split("/")
    for epoch in (1, 2, 17):
        uri = msgspec.structs.replace(REF, epoch=epoch).own(*folders, name)
        assert epoch_of(uri.key) == epoch
        assert uri.bucket == BUCKET
        assert (uri == REF.uri(*folders, name)) == (epoch == 1)


def test_an_epoch_is_closed_once(cloud: Cloud) -> None:
    ended = document(epoch=4)
    ended.close_epoch()
    ended.status = "completed"
    ended.close_epoch()
    assert ended.bedrock.lease == LeaseState(epoch=5)


def test_it_waits_longer_each_time_that_somebody_was_faster(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(aws, "back_off", waits.append)
    store(cloud, document())
    cloud.s3.refuse("PutObject", "ConditionalRequestConflict", 409, times=7)
    update(REF, lambda current: setattr(current, "model", "x"))
    assert waits == [0, 1, 2, 3, 4, 4, 4]


def test_it_is_written_for_people_and_with_the_key(cloud: Cloud) -> None:
    keyed = msgspec.structs.replace(REF, kms_key="key")
    create(keyed, document())
    update(keyed, lambda current: setattr(current, "model", "x"))
    written = cloud.s3.objects[REF.document.key]
    assert (written.options["ContentType"], written.options["SSEKMSKeyId"]) == ("application/json", "key")
    assert written.body.startswith(b'{\n "id": ')
    first, second = (given for name, given in cloud.s3.calls if name == "PutObject")
    assert (first.get("IfNoneMatch"), first.get("IfMatch"), second.get("IfNoneMatch")) == ("*", None, None)
    assert second["IfMatch"]


def test_batches_that_may_not_be_listed_are_an_error_of_ours(cloud: Cloud) -> None:
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=r"listing s3://bucket/prefix"):
        list(batch_ids(REF.root))


def test_whoever_creates_second_and_holds_a_lease_is_told_of_it(cloud: Cloud) -> None:
    store(cloud, document(holder="other"))
    with pytest.raises(LostLeaseError):
        create(HELD, document(created_at=2))
