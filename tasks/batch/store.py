"""batch.json read, created and updated, by conditional writes only."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from tasks import aws
from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef, batches_folder
from tasks.errors import BatchNotFoundError, LostLeaseError, PipelineError, PreconditionError, StateConflictError
from tasks.storage.objects import find_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption


def load(ref: BatchRef) -> tuple[BatchDocument, str] | None:
    """batch.json and its ETag, or None. Raises PipelineError when it cannot be read or is not ours."""
    uri = ref.document
    found = find_object(uri)
    if found is None:
        return None
    body, etag = found
    try:
        return BatchDocument.model_validate_json(body), etag
    except ValidationError as error:
        raise PipelineError(
            f"{uri} is not a batch of this program ({error.error_count()} fields are off): move it away."
        ) from None


def read(ref: BatchRef) -> BatchDocument:
    """batch.json of a batch that must exist.

    Raises BatchNotFoundError; LostLeaseError where `ref` names a lease that another runner has taken over.
    """
    return _load_held(ref)[0]


def _load_held(ref: BatchRef) -> tuple[BatchDocument, str]:
    loaded = load(ref)
    if loaded is None:
        raise BatchNotFoundError(f"There is no batch {ref.batch_id} under {ref.root}.")
    if ref.holder is not None and loaded[0].bedrock.lease.holder != ref.holder:
        raise LostLeaseError(f"Another runner has taken batch {ref.batch_id} over; it carries on there.")
    return loaded


def create(ref: BatchRef, document: BatchDocument) -> BatchDocument:
    """Write a new batch.json; where another runner was faster, its document is returned instead."""
    try:
        _put(ref, document, IfNoneMatch="*")
        return document
    except StateConflictError:
        return read(ref)


def update(ref: BatchRef, change: Callable[[BatchDocument], None]) -> BatchDocument:
    """Apply `change` to the current document; repeated on the newer one whenever somebody else was faster.

    `change` must bear being applied again. Nothing is written where it changes nothing. Raises LostLeaseError, and
    writes nothing, where `ref` names a lease that another runner has taken over: the write is conditional on the very
    document that still named it.
    """
    for attempt in range(20):
        document, etag = _load_held(ref)
        before = document.model_dump_json()
        change(document)
        if document.model_dump_json() == before:
            return document
        try:
            _put(ref, document, IfMatch=etag)
            return document
        except StateConflictError:
            aws.back_off(min(attempt, 4))
    raise StateConflictError(f"{ref.document} is being changed by others all the time; try again.")


def _put(ref: BatchRef, document: BatchDocument, **condition: str) -> None:
    uri = ref.document
    options: Any = {**condition, **encryption(ref.kms_key)}
    try:
        with aws.translated(f"writing {uri}"):
            aws.s3().put_object(
                Bucket=uri.bucket,
                Key=uri.key,
                Body=document.model_dump_json(indent=1).encode(),
                ContentType="application/json",
                **options,
            )
    except PreconditionError:
        raise StateConflictError(f"{uri} was changed meanwhile.") from None


def batch_ids(root: S3Uri) -> Iterator[str]:
    """The ids of all batches under a root, in S3's order."""
    prefix = batches_folder(root).key + "/"
    with aws.translated(f"listing {root}"):
        for page in (
            aws.s3().get_paginator("list_objects_v2").paginate(Bucket=root.bucket, Prefix=prefix, Delimiter="/")
        ):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"][len(prefix) :].strip("/")
