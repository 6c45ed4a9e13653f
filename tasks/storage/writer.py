"""Streamed uploads to S3: multipart in the background, every part verified by S3, aborted on failure."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tasks import aws
from tasks.errors import PipelineError
from tasks.storage.uris import S3Uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

#: S3's minimum for a part; 10,000 of them hold 50 GB. A writer holds up to three at a time.
PART_BYTES = 5 << 20


def encryption(kms_key: str | None) -> dict[str, Any]:
    """The upload parameters that make S3 encrypt with `kms_key`, or none to keep the bucket's default."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}


def abort_uploads(folder: S3Uri, chosen: Callable[[str], bool] = lambda _key: True) -> None:
    """Abort the uploads under a folder that nobody will complete, all or those of the chosen keys.

    A process that was killed aborts none of its own, and S3 bills their parts until somebody does. No batch fails for
    it: what cannot be listed or aborted is left to the bucket's lifecycle rule.
    """
    client = aws.s3()
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=folder.bucket, Prefix=folder.key + "/")
    try:
        with aws.translated(f"aborting uploads under {folder}"):
            for upload in [upload for page in pages for upload in page.get("Uploads", []) if chosen(upload["Key"])]:
                client.abort_multipart_upload(Bucket=folder.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except PipelineError as error:
        log.warning("Uploads under %s could not be cleaned up (%s)", folder, aws.name_of(error))


class S3Writer:
    """A write-only binary stream into one S3 object.

    Up to one part it is a single PutObject; beyond that a multipart upload whose parts go out on a background
    thread while the caller goes on. botocore sends a CRC32 with each part and S3 refuses what does not match.
    The object appears on a clean exit only: an exception inside the `with` block aborts the upload.
    """

    def __init__(
        self, uri: S3Uri, kms_key: str | None = None, content_type: str = "application/jsonl", owner: str | None = None
    ) -> None:
        self.uri = uri
        self.bytes_written = 0
        self.etag = ""
        self._client: S3Client = aws.s3()
        #: S3 refuses to write into a bucket that is not the named account's.
        self._place: Any = {"Bucket": uri.bucket, "Key": uri.key, **({"ExpectedBucketOwner": owner} if owner else {})}
        self._options = {**encryption(kms_key), "ContentType": content_type}
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._parts: list[Future[CompletedPartTypeDef]] = []
        self.closed = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:
        self._buffer += data
        if len(self._buffer) >= PART_BYTES:
            self._flush_part()
        return len(data)

    def flush(self) -> None:
        """Nothing to do: parts go out when they are full, the rest on close."""

    def __enter__(self) -> "S3Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Finish the object. Raises PipelineError, with the upload aborted, when S3 refuses it."""
        if self.closed:
            return
        try:
            with aws.translated(f"uploading {self.uri}"):
                self.etag = self._complete()
        except BaseException:
            self.abort()
            raise
        self._finish()

    def _complete(self) -> str:
        if self._upload_id is None:
            self.bytes_written += len(self._buffer)
            body = bytes(self._buffer)
            return self._client.put_object(Body=body, ChecksumAlgorithm="CRC32", **self._place, **self._options)["ETag"]
        if self._buffer:
            self._flush_part()
        parts: Any = {"Parts": [part.result() for part in self._parts]}
        done = self._client.complete_multipart_upload(UploadId=self._upload_id, MultipartUpload=parts, **self._place)
        return done["ETag"]

    def abort(self) -> None:
        """Leave nothing behind: S3 bills the parts of an upload that is never completed."""
        if self.closed:
            return
        self._finish(cancel=True)
        if self._upload_id is not None:
            try:
                with aws.translated(f"aborting the upload of {self.uri}"):
                    self._client.abort_multipart_upload(UploadId=self._upload_id, **self._place)
            except PipelineError as error:
                log.warning("The upload of %s could not be aborted (%s)", self.uri, aws.name_of(error))

    def _finish(self, cancel: bool = False) -> None:
        self.closed = True
        self._buffer = bytearray()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=cancel)

    def _flush_part(self) -> None:
        if self._upload_id is None:
            with aws.translated(f"uploading {self.uri}"):
                self._upload_id = self._client.create_multipart_upload(
                    ChecksumAlgorithm="CRC32", **self._place, **self._options
                )["UploadId"]
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="s3-upload")
        assert self._executor is not None
        data, self._buffer = self._buffer, bytearray()
        self.bytes_written += len(data)
        if self._parts:
            # One part on its way while the next one fills: the caller may not run further ahead of the network.
            with aws.translated(f"uploading {self.uri}"):
                self._parts[-1].result()
        self._parts.append(self._executor.submit(self._upload_part, len(self._parts) + 1, data))

    def _upload_part(self, number: int, data: bytearray) -> "CompletedPartTypeDef":
        assert self._upload_id is not None
        reply = self._client.upload_part(
            UploadId=self._upload_id,
            PartNumber=number,
            # The stubs know no bytearray; a copy would cost its size again.
            Body=data,  # type: ignore[arg-type]
            ChecksumAlgorithm="CRC32",
            **self._place,
        )
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": reply["ETag"]}
        if "ChecksumCRC32" in reply:
            part["ChecksumCRC32"] = reply["ChecksumCRC32"]
        return part
