"""Single objects of S3: read to their end even where a connection breaks off, looked at, and deleted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, ResponseStreamingError

from tasks import aws
from tasks.storage.uris import S3Uri
from tasks.support.run_context import current_run, run_log
from tasks.support.scratch import ScratchFile

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

#: What a download that breaks off raises; botocore retries calls, not the reading of their bodies.
_BROKEN_OFF = (ResponseStreamingError, IncompleteReadError, HTTPClientError)
#: s3transfer repeats a part that breaks off, five times if not told otherwise.
DOWNLOADS = TransferConfig(num_download_attempts=aws.READ_ATTEMPTS)


#: Of a flow run, or of None outside of one: the buckets in which something could not be deleted, as was said.
_said: set[tuple[object, str]] = set()


def read_object(uri: S3Uri, most: int | None = None, **options: Any) -> tuple[bytes, str]:
    """An object, or its first `most` bytes, and its ETag.

    Raises ClientError, with NoSuchKey where there is no such object, or BotoCoreError.
    """
    for attempt in range(aws.READ_ATTEMPTS):
        try:
            reply = aws.s3().get_object(Bucket=uri.bucket, Key=uri.key, **options)
        except ClientError as error:
            raise _missing(uri, error) from error
        try:
            return reply["Body"].read(most), reply["ETag"]
        except _BROKEN_OFF:
            if attempt == aws.READ_ATTEMPTS - 1:
                raise
            aws.back_off(attempt)
    raise AssertionError("unreachable")


def find_object(uri: S3Uri) -> tuple[bytes, str] | None:
    """An object and its ETag; None where there is none. Raises PipelineError."""
    with aws.translated(f"reading {uri}"):
        try:
            return read_object(uri)
        except ClientError as error:
            if aws.code_of(error) not in ("NoSuchKey", "404"):
                raise
    return None


def head_object(uri: S3Uri) -> "HeadObjectOutputTypeDef":
    """What S3 says of an object. Raises ClientError, with NoSuchKey where there is no such object, or BotoCoreError."""
    try:
        return aws.s3().head_object(Bucket=uri.bucket, Key=uri.key)
    except ClientError as error:
        if aws.code_of(error) not in ("400", "403"):
            raise
        refused = error
    try:
        # S3 gives no reason to a HEAD request, and gives one to a GET.
        aws.s3().get_object(Bucket=uri.bucket, Key=uri.key, Range="bytes=0-0")
    except ClientError as error:
        raise _missing(uri, error) from error
    raise refused


def _missing(uri: S3Uri, error: ClientError) -> ClientError:
    """The error of a read, or NoSuchKey where S3 denies access to what is not there.

    S3 does so where the caller may not list the whole bucket; the folder it may.
    """
    if not aws.is_denied(error):
        return error
    try:
        page = aws.s3().list_objects_v2(Bucket=uri.bucket, Prefix=uri.key, MaxKeys=1)
    except (ClientError, BotoCoreError):
        return error
    if any(entry["Key"] == uri.key for entry in page.get("Contents", [])):
        return error
    reply: Any = {**error.response, "Error": {"Code": "NoSuchKey", "Message": "The specified key does not exist."}}
    return ClientError(reply, error.operation_name)


def delete_object(uri: S3Uri) -> bool:
    """Delete an object where that is allowed; returns whether it is gone.

    No batch fails for what lies about: a warning says so, once in a run.
    """
    try:
        aws.s3().delete_object(Bucket=uri.bucket, Key=uri.key)
    except (ClientError, BotoCoreError) as error:
        place = current_run(), uri.bucket
        if place not in _said:
            _said.add(place)
            run_log().warning(
                "%s could not be deleted (%s). It and others like it are needed no more: grant s3:DeleteObject, or let "
                "a lifecycle rule of the bucket delete them",
                uri,
                aws.code_of(error) or type(error).__name__,
            )
        return False
    return True


@contextmanager
def local_copy(uri: S3Uri) -> Iterator[IO[bytes]]:
    """An object as a temporary file, at its beginning. Raises PipelineError."""
    with ScratchFile() as local:
        with aws.translated(f"reading {uri}"):
            aws.s3().download_fileobj(uri.bucket, uri.key, local, Config=DOWNLOADS)
        local.seek(0)
        yield local
