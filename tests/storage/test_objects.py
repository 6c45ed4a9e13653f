"""Single objects, to a caller who may list one folder only, and to one who may not delete."""

import logging
import re
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody

from tasks import aws
from tasks.errors import AccessDeniedError, ConfigurationError, MissingObjectError, PipelineError, TransientError
from tasks.storage.objects import DOWNLOADS, delete_object, find_object, head_object, local_copy, read_object
from tasks.storage.uris import S3Uri
from tests.conftest import Sandbox
from tests.fakes import BUCKET, Cloud


@pytest.mark.parametrize("read", [read_object, head_object])
def test_what_is_not_there(sandbox: Sandbox, prefix: str, read: object) -> None:
    """S3 says 403 and no more; a listing of the folder tells that there is nothing."""
    place = S3Uri(sandbox.bucket, f"{prefix}/a")
    sandbox.s3.put_object(Bucket=place.bucket, Key=f"{prefix}/ab", Body=b"x")
    sandbox.faults(s3_list_prefix=prefix)
    for uri, kind in ((place, MissingObjectError), (S3Uri(sandbox.bucket, "elsewhere/a"), AccessDeniedError)):
        with pytest.raises(kind):
            read(uri)  # type: ignore[operator]
    sandbox.faults(s3_denied=["GetObject", "HeadObject"])
    with pytest.raises(AccessDeniedError):
        read(S3Uri(sandbox.bucket, f"{prefix}/ab"))  # type: ignore[operator]


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "ExpiredToken"])
def test_the_reason_that_a_head_request_is_not_given(sandbox: Sandbox, prefix: str, code: str) -> None:
    sandbox.faults(s3_refused=code)
    with pytest.raises(ConfigurationError) as caught:
        head_object(S3Uri(sandbox.bucket, f"{prefix}/a"))
    assert aws.code_of(caught.value) == code


def test_deleting_is_best_effort(
    sandbox: Sandbox, prefix: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is said once in a run, and all tests are outside of any.
    monkeypatch.setattr("tasks.storage.objects._said", set())
    uri = S3Uri(sandbox.bucket, f"{prefix}/a")
    sandbox.s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=b"x")
    sandbox.faults(s3_denied=["DeleteObject"])
    with caplog.at_level(logging.WARNING):
        assert [delete_object(uri) for _ in range(3)] == [False] * 3
    (said,) = [record.getMessage() for record in caplog.records if "could not be deleted" in record.getMessage()]
    assert "s3:DeleteObject" in said
    sandbox.faults(s3_denied=[])
    assert delete_object(uri)
    assert not sandbox.keys(prefix)


# Against the fakes

PLACE = S3Uri(BUCKET, "prefix/a")


@pytest.mark.parametrize("code", ["403", "400"])
def test_a_get_tells_the_reason_that_a_head_does_not(cloud: Cloud, code: str) -> None:
    cloud.s3.put(PLACE.key, b"x")
    cloud.s3.refuse("HeadObject", code, int(code))
    cloud.s3.refuse("GetObject", "ExpiredToken", 400)
    with pytest.raises(ConfigurationError) as caught:
        head_object(PLACE)
    assert aws.code_of(caught.value) == "ExpiredToken"
    cloud.s3.refuse("HeadObject", "500", 500)
    cloud.s3.calls.clear()
    with pytest.raises(TransientError):
        head_object(PLACE)
    assert [name for name, _ in cloud.s3.calls] == ["HeadObject"], "there is no more to learn"


@pytest.mark.parametrize("read", [read_object, head_object])
def test_what_is_not_there_is_told_from_what_is_denied(cloud: Cloud, read: Any) -> None:
    """Another object whose key begins so is not the one."""
    cloud.s3.put(f"{PLACE.key}b", b"x")
    for there, kind in ((False, MissingObjectError), (True, AccessDeniedError)):
        if there:
            cloud.s3.put(PLACE.key, b"x")
        cloud.s3.refuse("HeadObject", "403", 403)
        cloud.s3.refuse("GetObject", "AccessDenied", 403)
        with pytest.raises(kind):
            read(PLACE)
        cloud.s3._events.clear()


def test_what_is_not_deleted_is_said_once(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.storage.objects._said", set())
    cloud.s3.put(PLACE.key, b"x")
    cloud.s3.refuse("DeleteObject", "AccessDenied", 403, times=2)
    assert [delete_object(PLACE) for _ in range(3)] == [False, False, True]
    (said,) = [message for message in caplog.messages if "could not be deleted" in message]
    assert said.startswith(f"{PLACE} could not be deleted (AccessDenied).")
    assert "s3:DeleteObject" in said
    assert not cloud.s3.objects


def test_reads_that_break_off_are_begun_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DOWNLOADS.num_download_attempts == aws.READ_ATTEMPTS
    cloud.s3.put(PLACE.key, b"content")
    times = [aws.READ_ATTEMPTS - 1]
    read = StreamingBody.read

    def broken(self: StreamingBody, amt: int | None = None) -> bytes:
        if times[0]:
            times[0] -= 1
            raise ResponseStreamingError(error="x")
        return read(self, amt)

    monkeypatch.setattr(StreamingBody, "read", broken)
    assert read_object(PLACE)[0] == b"content"
    times[0] = aws.READ_ATTEMPTS
    with pytest.raises(TransientError):
        read_object(PLACE)
    assert cloud.s3.count("GetObject") == 2 * aws.READ_ATTEMPTS


def test_the_beginning_of_an_object_and_what_else_is_asked_for(cloud: Cloud) -> None:
    cloud.s3.put(PLACE.key, b"content")
    etag = cloud.s3.objects[PLACE.key].etag
    assert read_object(PLACE) == (b"content", etag)
    assert read_object(PLACE, 3)[0] == b"con"
    assert read_object(PLACE, Range="bytes=2-4")[0] == b"nte"
    assert cloud.s3.calls[-1] == ("GetObject", {"Bucket": BUCKET, "Key": PLACE.key, "Range": "bytes=2-4"})


def test_what_is_not_found_is_none_and_what_is_not_told_is_an_error(cloud: Cloud) -> None:
    assert find_object(PLACE) is None
    cloud.s3.put(PLACE.key, b"x")
    assert find_object(PLACE) == (b"x", cloud.s3.objects[PLACE.key].etag)
    cloud.s3.refuse("GetObject", "AccessDenied", 403)
    with pytest.raises(AccessDeniedError):
        find_object(PLACE)


def test_an_error_says_the_uri_or_what_it_was_told_to(cloud: Cloud) -> None:
    for doing, said in (("", f"reading {PLACE}"), ("reading an image of line 3", "reading an image of line 3")):
        with pytest.raises(MissingObjectError, match=re.escape(said)) as caught:
            read_object(PLACE, doing=doing)
        assert doing == "" or str(PLACE) not in str(caught.value)


@pytest.mark.parametrize("listing", ["AccessDenied", "SlowDown"])
def test_where_the_folder_may_not_be_listed_it_is_the_permission(cloud: Cloud, listing: str) -> None:
    """Nobody knows that it is not there: to call it missing would begin a batch anew."""
    cloud.s3.refuse("GetObject", "AccessDenied", 403)
    cloud.s3.refuse("ListObjectsV2", listing, 403 if listing == "AccessDenied" else 503, times=None)
    with pytest.raises(AccessDeniedError):
        read_object(PLACE)


def test_one_listing_tells_whether_it_is_there(cloud: Cloud) -> None:
    cloud.s3.refuse("GetObject", "AccessDenied", 403)
    with pytest.raises(MissingObjectError):
        read_object(PLACE)
    assert cloud.s3.calls[-1] == ("ListObjectsV2", {"Bucket": BUCKET, "Prefix": PLACE.key, "MaxKeys": 1})


def test_a_head_that_was_refused_for_once_says_so(cloud: Cloud) -> None:
    """The GET that asks for the reason reads one byte, and may go well."""
    cloud.s3.put(PLACE.key, b"content")
    cloud.s3.refuse("HeadObject", "403", 403)
    with pytest.raises(AccessDeniedError):
        head_object(PLACE)
    assert cloud.s3.calls[-1] == ("GetObject", {"Bucket": BUCKET, "Key": PLACE.key, "Range": "bytes=0-0"})


def test_each_run_and_each_bucket_is_told_once(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.storage.objects._said", set())
    cloud.s3.refuse("DeleteObject", "AccessDenied", 403, times=None)
    for run, bucket in ((1, BUCKET), (1, BUCKET), (2, BUCKET), (2, "other"), (2, "other")):
        monkeypatch.setattr("tasks.storage.objects.current_run", lambda run=run: run)
        assert not delete_object(S3Uri(bucket, "x"))
    told = [message.partition(" ")[0] for message in caplog.messages]
    assert told == [f"s3://{BUCKET}/x", f"s3://{BUCKET}/x", "s3://other/x"]


def test_a_local_copy_is_read_from_its_beginning_and_is_gone_afterwards(cloud: Cloud) -> None:
    cloud.s3.put(PLACE.key, b"content")
    with local_copy(PLACE) as body:
        assert body.read() == b"content"
    assert body.closed
    with pytest.raises(PipelineError, match=re.escape(f"reading {PLACE}b")), local_copy(S3Uri(BUCKET, f"{PLACE.key}b")):
        pass


def test_a_read_that_breaks_off_is_begun_again_later_and_later(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    monkeypatch.setattr("tasks.aws.back_off", waited.append)
    cloud.s3.put(PLACE.key, b"content")
    read = StreamingBody.read

    def broken(self: StreamingBody, amt: int | None = None) -> bytes:
        if len(waited) < 3:
            raise ResponseStreamingError(error="x")
        return read(self, amt)

    monkeypatch.setattr(StreamingBody, "read", broken)
    assert read_object(PLACE)[0] == b"content"
    assert waited == [0, 1, 2]
