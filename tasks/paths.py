"""Where the objects of a batch lie, beside batch.json (`tasks.state` draws the layout)."""

from tasks.state import BatchRef, Range, Shard
from tasks.storage.uris import S3Uri


def shard_object(ref: BatchRef, shard_id: str, epoch: int | None = None) -> S3Uri:
    """The records of a shard: as this runner writes them, or as the runner of another epoch wrote them."""
    return ref.of_epoch(epoch or ref.epoch, "input", f"part-{shard_id}.jsonl")


def index_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.of_epoch(range_.epoch, "index", f"{range_.name}.parquet")


def layout_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.of_epoch(range_.epoch, "layout", f"{range_.name}.msgpack")


def piece(ref: BatchRef, range_: Range, name: str) -> S3Uri:
    """The part of a result file that one range makes; gone once the file is put together."""
    return ref.own("results", f"{range_.name}.{name}")


def answers_folder(ref: BatchRef, shard: Shard) -> S3Uri:
    """Answers on demand, an object each, whoever got them: the first one counts."""
    return ref.uri("bedrock", "on-demand", f"part-{shard.id}")


def lost_folder(ref: BatchRef) -> S3Uri:
    """Notes of calls on demand whose reply was lost."""
    return ref.uri("bedrock", "on-demand-lost")
