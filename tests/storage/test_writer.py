"""Uploads: parts when they are many, verified, and nothing left after a failure."""

import os

import pytest

from tasks.errors import PipelineError
from tasks.storage.uris import S3Uri
from tasks.storage.writer import PART_BYTES, S3Writer, abort_uploads
from tests.conftest import Sandbox


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
