"""Where the objects of a batch lie, beside batch.json (`tasks.batch.document` draws the layout)."""

import re

import msgspec

from tasks.batch.document import Range, Shard
from tasks.storage.uris import S3Uri

_EPOCH = re.compile(r"/epoch-(\d+)/")


class BatchRef(msgspec.Struct, frozen=True):
    """Where a batch lives; small enough to hand to every task. That of a runner that drives it names its lease."""

    root: S3Uri
    batch_id: str
    kms_key: str | None = None
    #: The lease under which this runner changes the batch; None for one that only looks, or cancels.
    holder: str | None = None
    epoch: int = 1

    @property
    def folder(self) -> S3Uri:
        return batches_folder(self.root).join(self.batch_id)

    def uri(self, *parts: str) -> S3Uri:
        return self.folder.join(*parts)

    def own(self, *parts: str) -> S3Uri:
        """Where this runner writes: named by the epoch of its lease."""
        return self.of_epoch(self.epoch, *parts)

    def of_epoch(self, epoch: int, *parts: str) -> S3Uri:
        """What the runner of some epoch wrote."""
        *folders, name = parts
        return self.uri(*folders, f"epoch-{epoch}", name) if epoch > 1 else self.uri(*parts)

    @property
    def document(self) -> S3Uri:
        return self.uri("batch.json")


def batches_folder(root: S3Uri) -> S3Uri:
    return root.join("batches")


def open_folder(root: S3Uri) -> S3Uri:
    """An empty object for each batch that is open, for the collector."""
    return root.join("open")


def runs_folder(root: S3Uri) -> S3Uri:
    """Which batch a Prefect run works on, while it lasts."""
    return root.join("runs")


def heartbeat(ref: BatchRef) -> S3Uri:
    """The sign of life of whoever drives the batch."""
    return ref.uri("heartbeat.json")


def jobs_folder(ref: BatchRef) -> S3Uri:
    """Where Bedrock writes: a folder for each job, by its id."""
    return ref.uri("bedrock")


def epoch_of(key: str) -> int:
    """The epoch that a key is named by."""
    found = _EPOCH.search(key)
    return int(found[1]) if found else 1


def shard_object(ref: BatchRef, shard_id: str, epoch: int | None = None) -> S3Uri:
    """The records of a shard: as this runner writes them, or as the runner of another epoch wrote them."""
    return ref.of_epoch(epoch or ref.epoch, "input", f"part-{shard_id}.jsonl")


def index_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.of_epoch(range_.epoch, "index", f"{range_.name}.parquet")


def layout_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.of_epoch(range_.epoch, "layout", f"{range_.name}.msgpack")


def result_piece(ref: BatchRef, range_: Range, name: str) -> S3Uri:
    """The part of a result file that one range makes; gone once the file is put together."""
    return ref.own("results", f"{range_.name}.{name}")


def answers_folder(ref: BatchRef, shard: Shard) -> S3Uri:
    """Answers on demand, an object each, whoever got them: the first one counts."""
    return jobs_folder(ref).join("on-demand", f"part-{shard.id}")


def lost_folder(ref: BatchRef) -> S3Uri:
    """Notes of calls on demand whose reply was lost."""
    return jobs_folder(ref).join("on-demand-lost")
