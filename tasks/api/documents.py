"""Small JSON documents in S3, changed by conditional writes only."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import aws
from tasks.errors import MissingObjectError, PipelineError, PreconditionError, StateConflictError
from tasks.storage.objects import find_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption

#: Reads of a page that are on their way at once.
_READERS = 32
_ATTEMPTS = 20


class Document(BaseModel):
    # Unknown fields are kept: an older replica must not erase what a newer one wrote.
    model_config = ConfigDict(extra="allow")


D = TypeVar("D", bound=Document)


def read_document(uri: S3Uri, kind: type[D]) -> tuple[D, str] | None:
    """A document and its ETag; None where there is none. Raises PipelineError."""
    found = find_object(uri)
    if found is None:
        return None
    body, etag = found
    try:
        return kind.model_validate_json(body), etag
    except ValidationError as error:
        raise PipelineError(f"{uri} is none of this program's ({error.error_count()} fields are off).") from None


def read_documents(uris: Iterable[S3Uri], kind: type[D]) -> Iterator[D | None]:
    """Several documents, side by side; None for each that is not there."""
    wanted = list(uris)
    if not wanted:
        return
    with ThreadPoolExecutor(min(_READERS, len(wanted))) as pool:
        for found in pool.map(lambda uri: read_document(uri, kind), wanted):
            yield found[0] if found else None


def write_document(uri: S3Uri, document: Document, kms_key: str | None, **condition: str) -> bool:
    """Write a document; False where the condition (`IfMatch`, `IfNoneMatch`) does not hold. Raises PipelineError."""
    options: Any = {**condition, **encryption(kms_key)}
    body = document.model_dump_json(exclude_none=True).encode()
    try:
        with aws.translated(f"writing {uri}"):
            aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=body, ContentType="application/json", **options)
    except PreconditionError:
        return False
    except MissingObjectError:
        if "IfMatch" not in condition:
            raise
        return False
    return True


def update_document(uri: S3Uri, kind: type[D], change: Callable[[D], None], kms_key: str | None) -> D | None:
    """Apply `change` to a document, again on the newer one where somebody else was faster; None where there is none.

    `change` must bear being applied again. Nothing is written where it changes nothing.
    """
    for attempt in range(_ATTEMPTS):
        found = read_document(uri, kind)
        if found is None:
            return None
        document, etag = found
        before = document.model_dump_json()
        change(document)
        if document.model_dump_json() == before or write_document(uri, document, kms_key, IfMatch=etag):
            return document
        aws.back_off(min(attempt, 4))
    raise StateConflictError(f"{uri} is being changed by others all the time; try again.")


def list_names(folder: S3Uri, after: str = "", limit: int = 1000, prefix: str = "") -> tuple[list[str], bool]:
    """The names of a page of objects directly in a folder, in the order of keys, and whether there are more.

    One call of S3 for each 1,000 names. `after` is a name that need not exist; names start with `prefix`.
    """
    path = folder.key + "/"
    names: list[str] = []
    start = path + after if after else ""
    while len(names) <= limit:
        where: Any = {"StartAfter": start} if start else {}
        with aws.translated(f"listing {folder}"):
            page = aws.s3().list_objects_v2(
                Bucket=folder.bucket, Prefix=path + prefix, MaxKeys=min(1000, limit + 1 - len(names)), **where
            )
        keys = [entry["Key"] for entry in page.get("Contents", [])]
        names += [key[len(path) :] for key in keys]
        if not page.get("IsTruncated") or not keys:
            break
        start = keys[-1]
    return names[:limit], len(names) > limit


def exists(uri: S3Uri, kms_key: str | None) -> None:
    """Put an empty object. Raises PipelineError."""
    options: Any = encryption(kms_key)
    with aws.translated(f"writing {uri}"):
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=b"", **options)
