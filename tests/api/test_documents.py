"""Small documents in S3, changed by conditional writes only."""

import threading

import pytest

from tasks import aws
from tasks.api.documents import (
    Document,
    exists,
    list_names,
    read_document,
    read_documents,
    update_document,
    write_document,
)
from tasks.errors import MissingObjectError, PipelineError, StateConflictError
from tasks.storage.uris import S3Uri
from tests.fakes import BUCKET, Cloud

URI = S3Uri(BUCKET, "tenants/t/orders/1.json")


class Count(Document):
    count: int = 0
    note: str | None = None


def put(document: Count, **condition: str) -> bool:
    return write_document(URI, document, None, **condition)


def test_what_was_written_is_read(cloud: Cloud) -> None:
    assert read_document(URI, Count) is None
    assert write_document(URI, Count(count=1), "key")
    stored = cloud.s3.objects[URI.key]
    assert (stored.body, stored.options["SSEKMSKeyId"]) == (b'{"count":1}', "key")
    assert stored.options["ContentType"] == "application/json"
    assert read_document(URI, Count) == (Count(count=1), stored.etag)


def test_unknown_fields_are_kept(cloud: Cloud) -> None:
    """An older replica must not erase what a newer one wrote."""
    cloud.s3.put(URI.key, b'{"count":1,"newer":true}')

    def change(document: Count) -> None:
        document.count += 1

    update_document(URI, Count, change, None)
    assert cloud.s3.objects[URI.key].body == b'{"count":2,"newer":true}'


def test_a_condition_that_does_not_hold(cloud: Cloud) -> None:
    assert put(Count(), IfNoneMatch="*")
    assert not put(Count(count=1), IfNoneMatch="*")
    assert not put(Count(count=1), IfMatch='"other"')
    del cloud.s3.objects[URI.key]
    assert not put(Count(count=1), IfMatch='"other"')


def test_a_change_is_made_again_on_the_newer_one(cloud: Cloud) -> None:
    put(Count(count=1))
    cloud.s3.before("PutObject", lambda: cloud.s3.put(URI.key, b'{"count":10}'))

    def change(document: Count) -> None:
        document.count += 1

    assert update_document(URI, Count, change, "key") == Count(count=11)
    stored = cloud.s3.objects[URI.key]
    assert (stored.body, stored.options["SSEKMSKeyId"]) == (b'{"count":11}', "key")


def test_nothing_is_written_where_nothing_changes_or_there_is_nothing(cloud: Cloud) -> None:
    put(Count(count=1))
    writes = cloud.s3.count("PutObject")
    assert update_document(URI, Count, lambda document: None, None) == Count(count=1)
    assert update_document(S3Uri(BUCKET, "none"), Count, lambda document: None, None) is None
    assert cloud.s3.count("PutObject") == writes


def test_a_document_that_others_change_all_the_time(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are given time, more and more of it up to a bound."""
    waits: list[int] = []
    monkeypatch.setattr(aws, "back_off", waits.append)
    put(Count(count=1))
    cloud.s3.refuse("PutObject", "PreconditionFailed", 412, times=None)

    def change(document: Count) -> None:
        document.count += 1

    with pytest.raises(StateConflictError, match="being changed by others all the time"):
        update_document(URI, Count, change, None)
    assert cloud.s3.count("PutObject") == 21
    assert waits == [0, 1, 2, 3] + 16 * [4]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"count":"many"}'])
def test_what_is_none_of_ours_is_said_without_quoting_it(cloud: Cloud, body: bytes) -> None:
    cloud.s3.put(URI.key, body)
    with pytest.raises(PipelineError, match=r"is none of this program's \(1 fields are off\)") as caught:
        read_document(URI, Count)
    assert "many" not in str(caught.value)


def test_trouble_names_the_document(cloud: Cloud) -> None:
    cloud.s3.refuse("PutObject", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=f"writing {URI}"):
        put(Count())
    cloud.s3.refuse("PutObject", "NoSuchKey", 404)
    with pytest.raises(MissingObjectError):
        put(Count(), IfNoneMatch="*")


def test_several_are_read_in_their_order(cloud: Cloud) -> None:
    put(Count(count=1))
    assert list(read_documents([S3Uri(BUCKET, "none"), URI], Count)) == [None, Count(count=1)]
    assert list(read_documents([], Count)) == []


def test_those_of_a_page_are_read_at_once(cloud: Cloud) -> None:
    put(Count(count=1))
    all_there = threading.Barrier(32, timeout=20)
    cloud.s3.before("GetObject", all_there.wait, times=None)
    assert len(list(read_documents([URI] * 32, Count))) == 32


def test_names_come_in_pages(cloud: Cloud) -> None:
    folder = S3Uri(BUCKET, "f")
    for number in range(1, 2402):
        cloud.s3.put(f"f/{number:05d}", b"")
    cloud.s3.put("fx/other", b"")
    names, more = list_names(folder, limit=2400)
    assert (names[0], names[-1], more) == ("00001", "02400", True)
    names, more = list_names(folder, limit=1000)
    assert (names[-1], more) == ("01000", True)
    cloud.s3.calls.clear()
    assert list_names(folder, after="02400") == (["02401"], False)
    assert list_names(folder, after="00002", limit=2) == (["00003", "00004"], True)
    assert list_names(folder, prefix="0240") == (["02400", "02401"], False)
    assert list_names(S3Uri(BUCKET, "none")) == ([], False)
    asked = [given["MaxKeys"] for _, given in cloud.s3.calls]
    assert asked == [1000, 3, 1000, 1000], "one more than is wanted, no more of S3's time"


def test_an_empty_object(cloud: Cloud) -> None:
    exists(URI, "key")
    assert (cloud.s3.objects[URI.key].body, cloud.s3.objects[URI.key].options["SSEKMSKeyId"]) == (b"", "key")
