"""Single objects of S3: read to their end even where a connection breaks off, looked at, and deleted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig

from tasks import aws
from tasks.errors import AccessDeniedError, MissingObjectError, PipelineError, TransientError
from tasks.storage.uris import S3Uri
from tasks.support.run_context import current_run, run_log
from tasks.support.scratch import ScratchFile

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

#: s3transfer repeats a part that breaks off, five times if not told otherwise.
DOWNLOADS = TransferConfig(num_download_attempts=aws.READ_ATTEMPTS)


#: Of a flow run, or of None outside of one: the buckets in which something could not be deleted, as was said.
_said: set[tuple[object, str]] = set()


def read_object(uri: S3Uri, most: int | None = None, doing: str = "", **options: Any) -> tuple[bytes, str]:
    """An object, or its first `most` bytes, and its ETag.

    `doing` is what errors say instead of the URI. Raises MissingObjectError where there is no such object,
    PipelineError where it cannot be read.
    """
    doing = doing or f"reading {uri}"
    for attempt in range(aws.READ_ATTEMPTS):
        with _missing_or_denied(uri, doing):
            reply = aws.s3().get_object(Bucket=uri.bucket, Key=uri.key, **options)
        try:
            # botocore retries calls, not the reading of their bodies.
            with aws.translated(doing):
                return reply["Body"].read(most), reply["ETag"]
        except TransientError:
            if attempt == aws.READ_ATTEMPTS - 1:
                raise
            aws.back_off(attempt)
    raise AssertionError("unreachable")


def find_object(uri: S3Uri) -> tuple[bytes, str] | None:
    """An object and its ETag; None where there is none. Raises PipelineError."""
    try:
        return read_object(uri)
    except MissingObjectError:
        return None


def head_object(uri: S3Uri) -> "HeadObjectOutputTypeDef":
    """What S3 says of an object.

    Raises MissingObjectError where there is no such object, PipelineError where S3 does not say.
    """
    doing = f"reading {uri}"
    try:
        with aws.translated(doing):
            return aws.s3().head_object(Bucket=uri.bucket, Key=uri.key)
    except PipelineError as error:
        if aws.code_of(error) not in ("400", "403"):
            raise
        refused = error
    with _missing_or_denied(uri, doing):
        # S3 gives no reason to a HEAD request, and gives one to a GET.
        aws.s3().get_object(Bucket=uri.bucket, Key=uri.key, Range="bytes=0-0")
    raise refused


@contextmanager
def _missing_or_denied(uri: S3Uri, doing: str) -> Iterator[None]:
    """A read, whose error is MissingObjectError also where S3 denies access to what is not there.

    S3 does so where the caller may not list the whole bucket; the folder it may.
    """
    try:
        with aws.translated(doing):
            yield
        return
    except AccessDeniedError as error:
        denied = error
    raise denied if _is_there(uri) else aws.missing_object(doing)


def _is_there(uri: S3Uri) -> bool:
    """Whether an object is listed in its folder; True also where the folder may not be listed."""
    try:
        with aws.translated(f"listing {uri}"):
            page = aws.s3().list_objects_v2(Bucket=uri.bucket, Prefix=uri.key, MaxKeys=1)
    except PipelineError:
        return True
    return any(entry["Key"] == uri.key for entry in page.get("Contents", []))


def delete_object(uri: S3Uri) -> bool:
    """Delete an object where that is allowed; returns whether it is gone.

    No batch fails for what lies about: a warning says so, once in a run.
    """
    client = aws.s3()
    try:
        with aws.translated(f"deleting {uri}"):
            client.delete_object(Bucket=uri.bucket, Key=uri.key)
    except PipelineError as error:
        place = current_run(), uri.bucket
        if place not in _said:
            _said.add(place)
            run_log().warning(
                "%s could not be deleted (%s). It and others like it are needed no more: grant s3:DeleteObject, or let "
                "a lifecycle rule of the bucket delete them",
                uri,
                aws.name_of(error),
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
