"""Small objects of S3 as bytes, read to their end even where a connection breaks off."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, ResponseStreamingError

from tasks.bedrock import aws
from tasks.storage.uris import S3Uri

#: What a download that breaks off raises; botocore retries calls, not the reading of their bodies.
_BROKEN_OFF = (ResponseStreamingError, IncompleteReadError, HTTPClientError)
#: s3transfer repeats a part that breaks off, five times if not told otherwise.
DOWNLOADS = TransferConfig(num_download_attempts=aws.READ_ATTEMPTS)


def read_object(uri: S3Uri, most: int | None = None, **options: Any) -> tuple[bytes, str]:
    """An object, or its first `most` bytes, and its ETag. Raises ClientError or BotoCoreError."""
    for attempt in range(aws.READ_ATTEMPTS):
        reply = aws.s3().get_object(Bucket=uri.bucket, Key=uri.key, **options)
        try:
            return reply["Body"].read(most), reply["ETag"]
        except _BROKEN_OFF:
            if attempt == aws.READ_ATTEMPTS - 1:
                raise
            aws.back_off(attempt)
    raise AssertionError("unreachable")


@contextmanager
def local_copy(uri: S3Uri) -> Iterator[IO[bytes]]:
    """An object as a temporary file, at its beginning. Raises PipelineError."""
    with tempfile.TemporaryFile(prefix="bedrock-batch-") as local:
        try:
            aws.s3().download_fileobj(uri.bucket, uri.key, local, Config=DOWNLOADS)
        except (ClientError, BotoCoreError) as error:
            raise aws.explain(error, f"reading {uri}") from error
        local.seek(0)
        yield local
