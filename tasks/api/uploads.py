"""Uploads in parts (https://platform.openai.com/docs/api-reference/uploads): parts are objects, joined in the end."""

import hashlib
import time
from typing import Any, Literal

from tasks.api.documents import Document, read_document, update_document, write_document
from tasks.api.errors import ConflictError, InvalidCallError, NotFoundError, TooLargeError
from tasks.api.files import FileUpload, StoredFile, delete_file, expiry, file_name
from tasks.api.ids import is_id, new_id, seconds_of
from tasks.api.tenants import Tenant
from tasks.storage.listing import list_folder
from tasks.storage.objects import delete_object
from tasks.storage.reader import BLOCK_BYTES, open_source
from tasks.storage.sources import source_at
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer

#: OpenAI's: an upload that is not complete by then is given up.
_UPLOAD_SECONDS = 3600
#: OpenAI's bound of a part.
MOST_PART = 64 << 20
_MOST_PARTS = 10_000


class Upload(Document):
    """An upload, and in the end its file."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled"] = "pending"
    file_expires_after: int | None = None
    #: What the file is encrypted with, where that is not the tenant's default.
    kms_key: str | None = None
    file: StoredFile | None = None

    def public(self) -> dict[str, Any]:
        """OpenAI's Upload object."""
        over = self.status == "pending" and self.expires_at <= time.time()
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "expired" if over else self.status,
            "file": self.file.public() if self.file else None,
        }


def _folder(tenant: Tenant, upload_id: str) -> S3Uri:
    return tenant.home.join("uploads", upload_id)


def _document(tenant: Tenant, upload_id: str) -> S3Uri:
    return _folder(tenant, upload_id).join("upload.json")


def begin_upload(tenant: Tenant, body: dict[str, Any], kms_key: str | None = None) -> Upload:
    """A new upload. Raises InvalidCallError, TooLargeError."""
    size, purpose, name = body.get("bytes"), body.get("purpose"), body.get("filename")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidCallError("bytes must be the size of the file, a whole number.", param="bytes")
    if size > tenant.max_file_bytes:
        raise TooLargeError(f"This key may upload files of {tenant.max_file_bytes:,} bytes.", param="bytes")
    if purpose != "batch":
        raise InvalidCallError("purpose must be 'batch'.", param="purpose")
    if not isinstance(name, str) or not name:
        raise InvalidCallError("filename must be text.", param="filename")
    identifier = new_id("upload")
    created = seconds_of(identifier)
    upload = Upload(
        id=identifier,
        bytes=size,
        created_at=created,
        expires_at=created + _UPLOAD_SECONDS,
        filename=file_name(name),
        purpose="batch",
        file_expires_after=expiry(body.get("expires_after")),
        kms_key=kms_key,
    )
    write_document(_document(tenant, identifier), upload, tenant.settings.kms_key)
    return upload


def get_upload(tenant: Tenant, upload_id: str) -> Upload:
    """An upload of the tenant. Raises NotFoundError."""
    found = read_document(_document(tenant, upload_id), Upload) if is_id("upload", upload_id) else None
    if found is None:
        raise NotFoundError(f"No such Upload object: {upload_id[:80]}", param="id")
    return found[0]


def _pending(upload: Upload) -> Upload:
    if upload.public()["status"] != "pending":
        raise ConflictError(f"The upload is {upload.public()['status']}.")
    return upload


class PartUpload:
    """A part on its way."""

    def __init__(self, tenant: Tenant, upload_id: str) -> None:
        kms_key = _pending(get_upload(tenant, upload_id)).kms_key
        self.id = new_id("part")
        self._upload_id, self._bytes = upload_id, 0
        uri = _folder(tenant, upload_id).join("parts", self.id)
        self._writer = S3Writer(uri, kms_key or tenant.settings.kms_key, "application/octet-stream")

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLargeError, PipelineError."""
        self._bytes += len(data)
        if self._bytes > MOST_PART:
            raise TooLargeError(f"A part may have {MOST_PART:,} bytes.", param="data")
        self._writer.write(data)

    def finish(self) -> dict[str, Any]:
        """Complete it: OpenAI's part object. Raises PipelineError."""
        self._writer.close()
        return {
            "id": self.id,
            "object": "upload.part",
            "created_at": seconds_of(self.id),
            "upload_id": self._upload_id,
        }

    def abort(self) -> None:
        self._writer.abort()


def complete_upload(tenant: Tenant, upload_id: str, body: dict[str, Any]) -> Upload:
    """Join the parts, in the order they are named, to a file. Again gives the same file. Raises CallError."""
    upload = get_upload(tenant, upload_id)
    if upload.status == "completed":
        return upload
    _pending(upload)
    parts, digest = body.get("part_ids"), body.get("md5")
    named = isinstance(parts, list) and all(isinstance(part, str) and is_id("part", part) for part in parts)
    if not named or not 0 < len(parts or []) <= _MOST_PARTS:
        raise InvalidCallError("part_ids must be the ids of the parts, in their order.", param="part_ids")
    if digest is not None and not isinstance(digest, str):
        raise InvalidCallError("md5 must be text.", param="md5")
    file = FileUpload(tenant, upload.kms_key)
    try:
        written, found = _join(tenant, upload_id, parts or [], file)
        if written != upload.bytes:
            raise InvalidCallError(
                f"The parts hold {written:,} bytes; the upload was to have {upload.bytes:,}.", param="part_ids"
            )
        if digest and digest.lower() != found:
            raise InvalidCallError(
                "The file's MD5 is another one: a part was damaged, or is in the wrong place.", param="md5"
            )
        stored = file.finish(upload.filename, upload.file_expires_after)
    except BaseException:
        file.abort()
        raise

    def change(current: Upload) -> None:
        if current.status == "pending":
            current.status, current.file = "completed", stored

    done = update_document(_document(tenant, upload_id), Upload, change, tenant.settings.kms_key)
    assert done is not None
    if done.file is None or done.file.id != stored.id:
        # Cancelled, or completed by another call, while the parts were joined.
        delete_file(tenant, stored.id)
    _discard(tenant, upload_id)
    return done


def _join(tenant: Tenant, upload_id: str, parts: list[str], file: FileUpload) -> tuple[int, str]:
    """Write the parts to a file; returns how many bytes that were, and their MD5. Raises InvalidCallError."""
    folder = _folder(tenant, upload_id).join("parts")
    there = {entry["Key"].rsplit("/", 1)[-1] for entry in list_folder(folder)}
    missing = [part for part in parts if part not in there]
    if missing:
        raise InvalidCallError(f"There is no part {missing[0]} of this upload.", param="part_ids")
    written, digest = 0, hashlib.md5(usedforsecurity=False)
    for part in parts:
        uri = folder.join(part)
        with open_source(source_at(uri)) as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
                file.write(block)
                written += len(block)
    return written, digest.hexdigest()


def cancel_upload(tenant: Tenant, upload_id: str) -> Upload:
    """Give an upload up. Raises NotFoundError, ConflictError where it is complete."""
    get_upload(tenant, upload_id)

    def change(current: Upload) -> None:
        if current.status == "pending":
            current.status = "cancelled"

    done = update_document(_document(tenant, upload_id), Upload, change, tenant.settings.kms_key)
    assert done is not None
    if done.status != "cancelled":
        raise ConflictError(f"The upload is {done.status}.")
    _discard(tenant, upload_id)
    return done


def _discard(tenant: Tenant, upload_id: str) -> None:
    for entry in list_folder(_folder(tenant, upload_id).join("parts")):
        delete_object(S3Uri(tenant.home.bucket, entry["Key"]))
