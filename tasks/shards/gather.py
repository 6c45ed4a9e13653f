"""What is asked again: copied out of the shards that asked it, and put together into new ones."""

from collections.abc import Iterator

import msgspec

from tasks.batch.document import BatchDocument, Origin, Range, Shard
from tasks.batch.paths import BatchRef, shard_object
from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import PADDING_PREFIX
from tasks.codecs import codec_of
from tasks.codecs.base import InvocationType
from tasks.shards.writer import padding_record
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import Source
from tasks.storage.writer import S3Writer

_ID_STARTS = len('{"recordId":"')


class Remainder(msgspec.Struct):
    """What is to be asked again of one shard, of one range: an object of records, or the shard as a whole."""

    shard: str
    range: int
    records: int
    invocation: InvocationType
    uri: str | None = None
    bytes: int = 0
    etag: str = ""


def write_remainders(
    ref: BatchRef, document: BatchDocument, range_: Range, wanted: dict[str, set[bytes]]
) -> list[Remainder]:
    """Copy the records to ask again out of their shards."""
    shards = {shard.id: shard for shard in document.bedrock.shards or []}
    immediate = document.completion_window == "immediate"
    pieces = []
    for number, (shard_id, record_ids) in enumerate(wanted.items()):
        shard = shards[shard_id]
        piece = Remainder(shard_id, range_.index, len(record_ids), shard.invocation)
        pieces.append(piece)
        if (
            len(record_ids) == shard.records
            and shard.ranges == [range_.index]
            and shard.route == "batch"
            and not immediate
        ):
            # The whole of it: another job over the same object.
            continue
        small = len(record_ids) < document.bedrock.limits.min_records_per_job
        name = f"{range_.index:05d}-r{document.bedrock.round + 1}" + (f"-{number}" if number else "")
        # A piece that is no shard by itself stays out of the folder that jobs read.
        uri = ref.own("again", f"part-{name}.jsonl") if small else shard_object(ref, name)
        with S3Writer(uri, ref.kms_key) as out:
            for lines in _records(ref, shard):
                kept = [line for line in lines if line[_ID_STARTS : line.index(b'"', _ID_STARTS)] in record_ids]
                if kept:
                    out.write(b"\n".join(kept) + b"\n")
        piece.uri, piece.bytes, piece.etag = str(uri), out.bytes_written, out.etag
    return pieces


def _records(ref: BatchRef, shard: Shard) -> Iterator[list[bytes]]:
    uri = shard_object(ref, shard.id, shard.epoch)
    for block in read_lines(Source(uri.key, str(uri), shard.etag, shard.bytes), limit=UNLIMITED):
        yield [line for line in block.lines if line and not line.startswith(PADDING_PREFIX.encode(), _ID_STARTS)]


def gather(pieces: list[Remainder], limits: Limits) -> Iterator[list[Remainder]]:
    """Groups of pieces that fit one object each."""
    group: list[Remainder] = []
    for piece in pieces:
        records, size = sum(p.records for p in group), sum(p.bytes for p in group)
        full = records + piece.records > limits.max_records_per_job or size + piece.bytes > limits.max_bytes_per_file
        if group and full:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def merge(
    ref: BatchRef, document: BatchDocument, pieces: list[Remainder], invocation: InvocationType, name: str, number: int
) -> Shard:
    """One shard of the records of several pieces, for a job, or on demand where they are still too few for one."""
    section = document.bedrock
    records = sum(piece.records for piece in pieces)
    minimum = section.limits.min_records_per_job
    immediate = document.completion_window == "immediate"
    pad = section.options.below_minimum == "pad" and records < minimum and not immediate
    padding = minimum - records if pad else 0
    with S3Writer(shard_object(ref, name), ref.kms_key) as out:
        for piece in pieces:
            source = Source(piece.uri or "", piece.uri or "", piece.etag, piece.bytes)
            for block in read_lines(source, limit=UNLIMITED):
                out.write(b"".join(line + b"\n" for line in block.lines))
        model_input = (
            codec_of(parse_model(section.base_model or section.model), invocation).padding() if padding else b""
        )
        for place in range(padding):
            out.write(padding_record(place, model_input))
    return Shard(
        id=name,
        epoch=ref.epoch,
        ranges=sorted({piece.range for piece in pieces}),
        round=number,
        origins=[Origin(range=piece.range, shard=piece.shard) for piece in pieces],
        invocation=invocation,
        records=records,
        padding=padding,
        bytes=out.bytes_written,
        etag=out.etag,
        route="batch" if records + padding >= minimum and not immediate else "on_demand",
    )
