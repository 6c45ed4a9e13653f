"""What a shard's jobs, or its calls on demand, left in S3."""

import msgspec

from tasks.storage.listing import list_folder
from tasks.storage.uris import S3Uri


class OutputObject(msgspec.Struct, frozen=True):
    uri: str
    etag: str
    bytes: int
    #: Which of the shard's jobs wrote it.
    attempt: int = 1


class Manifest(msgspec.Struct, rename="camel", frozen=True):
    """manifest.json.out: what the job counted."""

    total_record_count: int | None = None
    processed_record_count: int | None = None
    success_record_count: int | None = None
    error_record_count: int | None = None
    input_token_count: int | None = None
    output_token_count: int | None = None


class ShardOutput(msgspec.Struct):
    """All output objects of one shard, of every attempt at it, the oldest first."""

    shard: str
    objects: list[OutputObject]
    manifest: Manifest | None
    warnings: list[str]
    #: Where answers on demand lie, an object each: too many to be handed around.
    folder: S3Uri | None = None

    def found(self) -> list[OutputObject]:
        """The objects; those of answers on demand are listed now."""
        return list_outputs(self.folder) if self.folder else self.objects


def list_outputs(folder: S3Uri) -> list[OutputObject]:
    objects = [
        OutputObject(str(S3Uri(folder.bucket, entry["Key"])), entry["ETag"], entry["Size"])
        for entry in list_folder(folder)
    ]
    return sorted(objects, key=lambda o: o.uri)
