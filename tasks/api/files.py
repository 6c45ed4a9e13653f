"""Files as callers have them: uploaded ones, and the result files of their batches.

A file is there when its document is: that is written last, and removed first. Bytes lie under `data/`, by their id;
a caller's name for a file is never part of a key.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from tasks import aws
from tasks.api.documents import (
    Document,
    exists,
    list_names,
    read_document,
    read_documents,
    write_document,
)
from tasks.api.errors import InvalidCallError, NotFoundError, TooLargeError
from tasks.api.ids import RESULTS, id_of, is_id, key_of, new_id, seconds_of
from tasks.api.tenants import Tenant
from tasks.errors import MissingObjectError, PipelineError, PreconditionError
from tasks.openai_format.requests import canonical_endpoint
from tasks.storage.objects import delete_object
from tasks.storage.reader import BLOCK_BYTES, S3Stream, read_head
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri, parse_input_uri
from tasks.storage.writer import S3Writer

Purpose = Literal["batch", "batch_output"]
PURPOSES: tuple[Purpose, ...] = ("batch", "batch_output")
#: OpenAI's bounds of expires_after.seconds: an hour and thirty days.
EXPIRY_SECONDS = (3600, 2_592_000)
#: So much of a file is looked at for its first line's model and endpoint.
_HEAD_BYTES = 256 << 10
#: So many of its lines at the most.
_HEAD_LINES = 100
_NAME_CHARACTERS = 512
#: The most files of a page; a client asks for the next one by itself.
MOST_LISTED = 1000


class StoredFile(Document):
    """A file. `uri` is where its bytes lie; `model` and `endpoint` are those of its first line."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    uri: str
    etag: str = ""
    expires_at: int | None = None
    model: str | None = None
    endpoint: str | None = None

    def public(self) -> dict[str, Any]:
        """OpenAI's File object (https://platform.openai.com/docs/api-reference/files/object)."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class FirstLine(msgspec.Struct, frozen=True):
    model: str | None = None
    endpoint: str | None = None


class _Body(msgspec.Struct):
    model: str | None = None


class _Line(msgspec.Struct):
    url: str | None = None
    body: _Body | None = None


def first_line(head: bytes) -> FirstLine:
    """Model and endpoint of the first line of a file that can be read: bad ones before it may be skipped."""
    for text in head.removeprefix(b"\xef\xbb\xbf").split(b"\n", _HEAD_LINES):
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        found = FirstLine(
            (line.body.model if line.body else None) or None, canonical_endpoint(line.url) if line.url else None
        )
        if found.model or found.endpoint:
            return found
    return FirstLine()


def first_line_of(uri: S3Uri) -> FirstLine:
    """The same of an object, decompressed. Raises InvalidCallError where there is none."""
    try:
        sources = find_sources(str(uri))
        if len(sources) != 1 or sources[0].uri != str(uri):
            # A folder or a glob: only single objects are anybody's to name.
            raise InvalidCallError(f"There is no object {uri}.", param="input_file_id")
        return first_line(read_head(sources[0], 32 * _HEAD_BYTES))
    except InvalidCallError:
        raise
    except PipelineError as error:
        raise InvalidCallError(str(error), param="input_file_id") from None


def expiry(value: Any, param: str = "expires_after") -> int | None:
    """Seconds of an `{"anchor": "created_at", "seconds": …}`; None without one. Raises InvalidCallError."""
    if value is None:
        return None
    seconds = value.get("seconds") if isinstance(value, dict) else None
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    least, most = EXPIRY_SECONDS
    if not isinstance(seconds, int) or not least <= seconds <= most or value.get("anchor") != "created_at":
        raise InvalidCallError(
            f'{param} must be {{"anchor": "created_at", "seconds": {least} to {most}}}.', param=param
        )
    return seconds


def file_name(text: str | None) -> str:
    """A caller's name of a file: the last part of a path, as it is shown again."""
    name = (text or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in name if character.isprintable())
    return printable[:_NAME_CHARACTERS] or "upload"


class FileUpload:
    """A file on its way into S3: streamed, counted, and there only when it is complete.

    What is written to it goes out in parts; `abort` leaves nothing behind.
    """

    def __init__(self, tenant: Tenant, kms_key: str | None = None) -> None:
        """`kms_key`: what its bytes are encrypted with, instead of the tenant's default."""
        self.id = new_id("file")
        self._tenant = tenant
        self._uri = data_uri(tenant, self.id)
        self._writer = S3Writer(self._uri, kms_key or tenant.settings.kms_key, "application/octet-stream")
        self._head = bytearray()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLargeError, PipelineError."""
        self._bytes += len(data)
        if self._bytes > self._tenant.max_file_bytes:
            raise TooLargeError(
                f"The file is larger than the {self._tenant.max_file_bytes:,} bytes that this key may upload.",
                param="file",
                code="file_too_large",
            )
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self._writer.write(data)

    def finish(self, filename: str | None, expires_after: int | None) -> StoredFile:
        """Complete the file. Raises PipelineError."""
        self._writer.close()
        head = bytes(self._head)
        found = first_line(head)
        created = seconds_of(self.id)
        stored = StoredFile(
            id=self.id,
            bytes=self._bytes,
            created_at=created,
            filename=file_name(filename),
            purpose="batch",
            uri=str(self._uri),
            etag=self._writer.etag,
            expires_at=created + expires_after if expires_after else None,
            model=found.model,
            endpoint=found.endpoint,
        )
        save_file(self._tenant, stored)
        return stored

    def abort(self) -> None:
        self._writer.abort()


def data_uri(tenant: Tenant, file_id: str) -> S3Uri:
    return tenant.home.join("data", file_id)


def results_uri(tenant: Tenant, file_id: str) -> S3Uri:
    """Where an order's own copy of a result file lies, if it has one."""
    return tenant.home.join("results", file_id)


def _folder(tenant: Tenant, purpose: Purpose) -> S3Uri:
    return tenant.home.join("files", purpose)


def _document(tenant: Tenant, file_id: str) -> S3Uri:
    purpose: Purpose = "batch_output" if file_id.endswith(RESULTS) else "batch"
    return _folder(tenant, purpose).join(f"{key_of('file', file_id)}.json")


def save_file(tenant: Tenant, stored: StoredFile) -> None:
    """Have a file be there; again changes nothing."""
    if stored.expires_at is not None:
        exists(tenant.home.join("expiring", f"{stored.expires_at:012x}-{stored.id}"), tenant.settings.kms_key)
    write_document(_document(tenant, stored.id), stored, tenant.settings.kms_key)


def get_file(tenant: Tenant, file_id: str, now: float | None = None) -> StoredFile:
    """A file of the tenant. Raises NotFoundError: also of what has expired, and of ids that are none."""
    found = read_document(_document(tenant, file_id), StoredFile) if is_id("file", file_id) else None
    if found is None or _expired(found[0], now):
        raise NotFoundError(f"No such File object: {file_id[:80]}", param="id")
    return found[0]


def _expired(stored: StoredFile, now: float | None) -> bool:
    return stored.expires_at is not None and stored.expires_at <= (time.time() if now is None else now)


def list_files(
    tenant: Tenant, *, purpose: str | None, limit: int, after: str | None, ascending: bool
) -> tuple[list[StoredFile], bool]:
    """A page of files, the newest first or the oldest, and whether there are more.

    One listing for each purpose, and a read for each file. The oldest first costs a listing of all names. Clients take
    an empty page for the end: where all of a page have expired, it is the next one.
    """
    while True:
        found, more, last = _page(tenant, purpose, limit, after, ascending)
        if found or not more:
            return found, more
        after = last


def _page(
    tenant: Tenant, purpose: str | None, limit: int, after: str | None, ascending: bool
) -> tuple[list[StoredFile], bool, str | None]:
    """Those of a page that have not expired, whether there are more, and the id that the page ends with."""
    purposes = [each for each in PURPOSES if purpose in (None, each)]
    start = key_of("file", after) if after else ""
    limit = min(limit, MOST_LISTED)
    keys: list[tuple[str, Purpose]] = []
    more = False
    for each in purposes:
        folder = _folder(tenant, each)
        names, rest = list_names(
            folder, "" if ascending or not start else f"{start}.json", 10**9 if ascending else limit
        )
        keys += [(name.removesuffix(".json"), each) for name in names]
        more = more or rest
    keys.sort(reverse=ascending)
    if ascending and start:
        keys = [entry for entry in keys if entry[0] < start]
    more = more or len(keys) > limit
    chosen = [entry for entry in keys[:limit] if id_of("file", entry[0])]
    found = read_documents((_folder(tenant, each).join(f"{key}.json") for key, each in chosen), StoredFile)
    last = id_of("file", chosen[-1][0]) if chosen else None
    there = [stored for stored in found if stored is not None and not _expired(stored, None)]
    return there, more and last is not None, last


def delete_file(tenant: Tenant, file_id: str) -> None:
    """Remove a file: at once for callers, its bytes as well where they are its own. Raises NotFoundError."""
    stored = get_file(tenant, file_id)
    _remove(tenant, stored.id, stored.purpose)


def _remove(tenant: Tenant, file_id: str, purpose: Purpose) -> None:
    uri = _document(tenant, file_id)
    with aws.translated(f"deleting {uri}"):
        aws.s3().delete_object(Bucket=uri.bucket, Key=uri.key)
    delete_object(data_uri(tenant, file_id) if purpose == "batch" else results_uri(tenant, file_id))


def delete_expired(tenant: Tenant, now: float, needed: frozenset[str] = frozenset()) -> int:
    """Remove the files whose time is over, but for those that open orders need; returns how many."""
    folder, removed = tenant.home.join("expiring"), 0
    names, _ = list_names(folder)
    for name in names:
        when, _, file_id = name.partition("-")
        with contextlib.suppress(ValueError):
            if int(when, 16) > now:
                break
            if file_id in needed or not is_id("file", file_id):
                continue
            _remove(tenant, file_id, "batch_output" if file_id.endswith(RESULTS) else "batch")
            delete_object(folder.join(name))
            removed += 1
    return removed


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of a `Range` header; None for the whole file. Raises ValueError where none can be served."""
    if not header or not header.startswith("bytes="):
        return None
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if not dash or not (first.isdecimal() or (not first and last.isdecimal())) or (last and not last.isdecimal()):
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= size or end <= start:
        raise ValueError(header)
    return start, end


def read_bytes(stored: StoredFile, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file in blocks, reopened where a connection breaks off. Raises PipelineError, NotFoundError."""
    uri = parse_input_uri(stored.uri)
    stream = S3Stream(aws.s3(), uri, stored.etag, stored.bytes if end is None else end, start)
    try:
        while block := stream.read(BLOCK_BYTES):
            yield block
    except (MissingObjectError, PreconditionError) as error:
        raise NotFoundError(f"The content of {stored.id} is gone.", param="id") from error
