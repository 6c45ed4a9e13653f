"""Single objects, to a caller who may list one folder only, and to one who may not delete."""

import logging
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody

from tasks import aws
from tasks.errors import AccessDeniedError, ConfigurationError, MissingObjectError, TransientError
from tasks.storage.objects import DOWNLOADS, delete_object, head_object, read_object
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
    with pytest.raises(ConfigurationError, match="ExpiredToken"):
        head_object(PLACE)
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
