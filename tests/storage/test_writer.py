"""Uploads: parts when they are many, verified, and nothing left after a failure."""

import contextlib
import os
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.errors import PipelineError
from tasks.storage.uris import S3Uri
from tasks.storage.writer import PART_BYTES, S3Writer, abort_uploads
from tests.conftest import Sandbox
from tests.fakes import BUCKET, Cloud


@pytest.mark.parametrize("size", [0, 10, PART_BYTES - 1, PART_BYTES, 3 * PART_BYTES + 5])
def test_what_is_written_is_there(sandbox: Sandbox, prefix: str, size: int) -> None:
    data = os.urandom(1 << 20) * (size // (1 << 20) + 1)
    data = data[:size]
    uri = S3Uri(sandbox.bucket, f"{prefix}/object")
    with S3Writer(uri) as out:
        for start in range(0, size, 700_001):
            out.write(data[start : start + 700_001])
    assert sandbox.read(str(uri)) == data
    head = sandbox.s3.head_object(Bucket=uri.bucket, Key=uri.key)
    assert (head["ETag"], head["ContentLength"]) == (out.etag, out.bytes_written)


def test_a_failure_leaves_nothing(sandbox: Sandbox, prefix: str) -> None:
    uri = S3Uri(sandbox.bucket, f"{prefix}/object")
    with pytest.raises(ZeroDivisionError), S3Writer(uri) as out:
        out.write(b"x" * (2 * PART_BYTES))
        raise ZeroDivisionError
    assert not sandbox.keys(prefix)
    assert not sandbox.uploads()


def test_a_missing_bucket_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(PipelineError, match="bucket does not exist"), S3Writer(S3Uri("no-such-bucket", "x")) as out:
        out.write(b"x")


def test_what_cannot_be_cleaned_up_fails_nobody(sandbox: Sandbox) -> None:
    """A store that does not list uploads, or a caller who may not: here the bucket is not even there."""
    abort_uploads(S3Uri("no-such-bucket-anywhere", "folder"))


def test_uploads_of_one_folder_are_aborted(sandbox: Sandbox, prefix: str) -> None:
    for key in (f"{prefix}/a/x", f"{prefix}/ab/x"):
        sandbox.s3.create_multipart_upload(Bucket=sandbox.bucket, Key=key)
    abort_uploads(S3Uri(sandbox.bucket, f"{prefix}/a"))
    assert [upload["Key"] for upload in sandbox.uploads() if prefix in upload["Key"]] == [f"{prefix}/ab/x"]
    abort_uploads(S3Uri(sandbox.bucket, f"{prefix}/ab"))


# Against the fakes


PLACE = S3Uri(BUCKET, "folder/object")
PART = b"x" * PART_BYTES


def given(cloud: Cloud, operation: str) -> list[dict[str, object]]:
    return [parameters for name, parameters in cloud.s3.calls if name == operation]


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_every_write_is_verified_by_s3_and_carries_what_was_asked_for(cloud: Cloud, parts: int) -> None:
    """A CRC32 with each body; the key, the type and the owner with each object."""
    with S3Writer(PLACE, "key", "text/x", owner=cloud.s3.owner) as out:
        for _ in range(parts):
            out.write(PART)
        out.write(b"end")
    bodies = [*given(cloud, "UploadPart"), *given(cloud, "PutObject")]
    assert len(bodies) == (parts + 1 if parts else 1)
    assert {each["ChecksumAlgorithm"] for each in bodies} == {"CRC32"}
    assert {each["ChecksumAlgorithm"] for each in given(cloud, "CreateMultipartUpload")} == (
        {"CRC32"} if parts else set()
    )
    assert all(each["ExpectedBucketOwner"] == cloud.s3.owner for _, each in cloud.s3.calls)
    stored = cloud.s3.objects[PLACE.key]
    assert stored.body == PART * parts + b"end"
    assert (stored.options["SSEKMSKeyId"], stored.options["ServerSideEncryption"]) == ("key", "aws:kms")
    assert stored.options["ContentType"] == "text/x"
    assert (out.etag, out.bytes_written) == (stored.etag, len(stored.body))
    assert not cloud.s3.uploads


def test_without_a_key_the_bucket_decides(cloud: Cloud) -> None:
    with S3Writer(PLACE) as out:
        out.write(b"x")
    options = cloud.s3.objects[PLACE.key].options
    assert options["ContentType"] == "application/jsonl"
    assert not options.keys() & {"SSEKMSKeyId", "ServerSideEncryption", "ExpectedBucketOwner"}


def test_the_checksums_that_s3_counted_are_handed_on(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_part = cloud.s3.UploadPart
    monkeypatch.setattr(cloud.s3, "UploadPart", lambda **given: {**upload_part(**given), "ChecksumCRC32": "sum="})
    with S3Writer(PLACE) as out:
        out.write(PART)
        out.write(PART)
    (done,) = given(cloud, "CompleteMultipartUpload")
    parts = done["MultipartUpload"]["Parts"]  # type: ignore[index]
    assert [(part["PartNumber"], part["ChecksumCRC32"]) for part in parts] == [(1, "sum="), (2, "sum=")]


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload", "PutObject"])
def test_an_upload_that_s3_refuses_leaves_nothing(cloud: Cloud, operation: str) -> None:
    """At any of its steps, also the last one: the parts would be billed until somebody aborts them."""
    cloud.s3.refuse(operation, "AccessDenied", 403, times=None)
    with pytest.raises(PipelineError, match="uploading s3://bucket/folder/object"), S3Writer(PLACE) as out:
        for _ in range(1 if operation == "PutObject" else 3):
            out.write(b"x" if operation == "PutObject" else PART)
    assert out.closed
    assert not cloud.s3.uploads
    assert not cloud.s3.objects


def test_a_failure_of_the_writer_itself_leaves_nothing(cloud: Cloud) -> None:
    cloud.s3.before("CompleteMultipartUpload", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), S3Writer(PLACE) as out:
        out.write(PART)
    assert not cloud.s3.uploads


def test_an_upload_that_cannot_be_aborted_is_said_and_hides_no_cause(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.s3.refuse("AbortMultipartUpload", "AccessDenied", 403, times=None)
    with pytest.raises(ZeroDivisionError), S3Writer(PLACE) as out:
        out.write(PART)
        raise ZeroDivisionError
    assert "The upload of s3://bucket/folder/object could not be aborted (AccessDenied)" in caplog.text


def test_what_was_aborted_is_written_no_more(cloud: Cloud) -> None:
    with S3Writer(PLACE) as out:
        out.write(b"x")
        out.abort()
    assert not cloud.s3.objects
    out.close()
    assert not cloud.s3.calls


def test_uploads_of_the_chosen_keys_are_aborted(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("folder/a", "folder/b", "folder", "folders/a"):
        cloud.s3.client.create_multipart_upload(Bucket=BUCKET, Key=key)
    abort_uploads(S3Uri(BUCKET, "folder"), lambda key: key.endswith("a"))
    assert sorted(upload.key for upload in cloud.s3.uploads.values()) == ["folder", "folder/b", "folders/a"]
    abort_uploads(S3Uri(BUCKET, "folder"))
    assert sorted(upload.key for upload in cloud.s3.uploads.values()) == ["folder", "folders/a"]
    assert not caplog.text
    cloud.s3.refuse("ListMultipartUploads", "AccessDenied", 403)
    abort_uploads(S3Uri(BUCKET, "folder"))
    assert "Uploads under s3://bucket/folder could not be cleaned up (AccessDenied)" in caplog.text


def test_no_part_but_the_last_is_smaller_than_s3_takes() -> None:
    """5 MiB: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""
    assert PART_BYTES == 5 * 1024 * 1024


class Executor:
    """Runs each part where its result is asked for; notes the order."""

    def __init__(self, order: list[Any], workers: int, **_: Any) -> None:
        self.order = order
        order.append(f"{workers} at a time")

    def submit(self, call: Any, number: int, data: Any) -> Any:
        self.order.append(f"part {number} goes out")

        def result() -> Any:
            self.order.append(f"part {number} is waited for")
            return call(number, data)

        return SimpleNamespace(result=result)

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        self.order.append((wait, cancel_futures))


@pytest.mark.parametrize("fails", [False, True])
def test_whoever_writes_runs_no_further_ahead_than_one_part(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A network slower than the conversion would otherwise fill the memory."""
    order: list[Any] = []
    monkeypatch.setattr("tasks.storage.writer.ThreadPoolExecutor", lambda n, **named: Executor(order, n, **named))
    with contextlib.suppress(KeyError), S3Writer(PLACE) as out:
        for _ in range(3):
            out.write(PART)
        if fails:
            raise KeyError
    assert order[:6] == [
        "1 at a time",
        "part 1 goes out",
        "part 1 is waited for",
        "part 2 goes out",
        "part 2 is waited for",
        "part 3 goes out",
    ]
    # What has not begun is not begun any more.
    assert order[-1] == (True, fails)


def test_what_is_closed_is_not_aborted(cloud: Cloud) -> None:
    with S3Writer(PLACE) as out:
        out.write(PART)
    out.abort()
    assert cloud.s3.objects[PLACE.key].body == PART
    assert not given(cloud, "AbortMultipartUpload")
