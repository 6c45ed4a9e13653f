"""Batches by time: `newest/` has an empty object for each, whose name sorts the newest first. A page costs a page.

Ids of batches are digests and say nothing of time; without these names, a list would read every batch.json. A name is a
hint: it counts where batch.json says the same, and a name without a batch is passed over. `newest/all` says that there
is one for every batch: what a prefix held before is noted by the first list of it.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks import aws
from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef
from tasks.storage.objects import find_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption

_LAST = 10**10 - 1
_ALL = "all"
_WRITERS = 16
#: The most names that S3 lists at once.
_MOST_LISTED = 1000


def name_of(document: BatchDocument) -> str:
    """The name of a batch: of the newest first, and of one second by their ids."""
    return f"{_LAST - (document.created_at or 0):010d}-{document.id}"


def id_of(name: str) -> str:
    return name.partition("-")[2]


def note_made(ref: BatchRef, document: BatchDocument) -> None:
    """Have a batch be found by its time. Raises PipelineError."""
    _put(ref.root.join("newest", name_of(document)), ref.kms_key)


def note_all(root: S3Uri, kms_key: str | None, documents: Iterable[BatchDocument]) -> None:
    """The same for all batches of a prefix, once. Raises PipelineError."""
    places = [root.join("newest", name_of(document)) for document in documents]
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(lambda place: _put(place, kms_key), places))
    _put(root.join("newest", _ALL), kms_key)


def all_noted(root: S3Uri) -> bool:
    """Whether every batch of a prefix has a name. Raises PipelineError."""
    return find_object(root.join("newest", _ALL)) is not None


def names_after(root: S3Uri, after: str, limit: int) -> list[str]:
    """So many names that follow one, which need not exist; fewer where there are no more. Raises PipelineError."""
    folder = root.join("newest").key + "/"
    names: list[str] = []
    while len(names) < limit:
        wanted = min(_MOST_LISTED, limit - len(names))
        with aws.translated(f"listing {root}"):
            page = aws.s3().list_objects_v2(
                Bucket=root.bucket, Prefix=folder, StartAfter=folder + (names[-1] if names else after), MaxKeys=wanted
            )
        found = [entry["Key"][len(folder) :] for entry in page.get("Contents", [])]
        names += [name for name in found if name != _ALL]
        if len(found) < wanted:
            break
    return names


def _put(uri: S3Uri, kms_key: str | None) -> None:
    options: Any = encryption(kms_key)
    with aws.translated(f"writing {uri}"):
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=b"", **options)
