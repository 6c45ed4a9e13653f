"""Rounds: what a job left undone for a cause that passes is asked again, and nothing that has an answer.

A record is asked again where it was throttled, expired, hit a fault of the service or is missing from the output of a
job that ended by itself. What is left of each range is written by the worker that normalises it; here the pieces
become shards: large ones as they are, small ones gathered into one job, and too few for a job on demand.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import msgspec
import numpy as np
import pyarrow.parquet as pq
from prefect import get_run_logger, task

from tasks.answers import MISSING, PASSING, Answers
from tasks.batches import discard, parse_window
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import PADDING_PREFIX
from tasks.codecs.base import InvocationType
from tasks.codecs.encoder import codec_of
from tasks.convert import padding_record
from tasks.paths import shard_object
from tasks.patience import STAGE
from tasks.state import BatchDocument, BatchRef, Origin, Range, Shard, read, update
from tasks.storage.reader import UNLIMITED, Source, read_lines
from tasks.storage.writer import S3Writer
from tasks.words import counted

_ID_STARTS = len('{"recordId":"')


class Piece(msgspec.Struct):
    """What is to be asked again of one shard, of one range: an object of records, or the shard as a whole."""

    shard: str
    range: int
    records: int
    invocation: InvocationType
    uri: str | None = None
    bytes: int = 0
    etag: str = ""


def current_shards(document: BatchDocument) -> dict[tuple[int, str], Shard]:
    """By range and shard of the first round: the shard that asked those records last."""
    shards = {shard.id: shard for shard in document.bedrock.shards or []}
    follows = {(origin.range, origin.shard): shard for shard in shards.values() for origin in shard.origins}
    current = {}
    for shard in shards.values():
        for range_ in shard.ranges if shard.round == 1 or not shard.origins else ():
            last = shard
            while (range_, last.id) in follows:
                last = follows[range_, last.id]
            current[range_, shard.id] = last
    return current


def asks_again(document: BatchDocument) -> bool:
    """Whether another round may begin."""
    section = document.bedrock
    return section.round < section.last_round and document.status not in ("cancelling", "cancelled")


def left_undone(
    document: BatchDocument, range_: Range, index: pq.ParquetFile, answers: Answers
) -> dict[str, set[bytes]]:
    """The recordIds of a range that the next round asks again, by the shard that asked them last."""
    wanted: dict[str, set[bytes]] = defaultdict(set)
    rows = np.flatnonzero(np.frombuffer(answers.kinds, dtype=np.uint8) <= PASSING)
    if not len(rows) or not asks_again(document):
        return wanted
    current = current_shards(document)
    table = index.read(columns=["record_id", "shard"]).take(rows)
    for row, record_id, shard_id in zip(
        rows.tolist(), table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True
    ):
        # Requests that were never sent have no recordId.
        if record_id is not None and _passes(current[range_.index, shard_id], missing=answers.kinds[row] == MISSING):
            wanted[current[range_.index, shard_id].id].add(record_id.encode())
    return wanted


def _passes(shard: Shard, *, missing: bool) -> bool:
    """Whether what this shard's job did not answer may be answered by another."""
    if shard.retry:
        return True
    status = shard.job.status if shard.job else None
    if shard.route != "batch" or status in ("Stopped", "Failed"):
        # On demand, every record has had its tries; a stopped job was stopped by somebody.
        return False
    # A record of a job that never ran is missing because nobody asked it.
    return status is not None or not missing


def write_pieces(ref: BatchRef, document: BatchDocument, range_: Range, wanted: dict[str, set[bytes]]) -> list[Piece]:
    """Copy the records to ask again out of their shards."""
    shards = {shard.id: shard for shard in document.bedrock.shards or []}
    immediate = document.completion_window == "immediate"
    pieces = []
    for number, (shard_id, record_ids) in enumerate(wanted.items()):
        shard = shards[shard_id]
        piece = Piece(shard_id, range_.index, len(record_ids), shard.invocation)
        pieces.append(piece)
        if (
            len(record_ids) == shard.records
            and shard.ranges == [range_.index]
            and shard.route == "batch"
            and not immediate
        ):
            # The whole of it: another job over the same object.
            continue
        small = len(record_ids) < document.bedrock.limits["min_records_per_job"]
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


def start_round(ref: BatchRef, document: BatchDocument, pieces: list[Piece]) -> BatchDocument:
    """Make shards of the pieces and note them in batch.json: from then on the round is under way."""
    section = document.bedrock
    number = section.round + 1
    noted = read(ref)
    if noted.bedrock.round >= number:
        # The task is repeated: what it gathers from may be gone.
        discard(ref, noted, "again")
        return noted
    minimum = section.limits["min_records_per_job"]
    whole = {piece.shard for piece in pieces if piece.uri is None}
    large = [piece for piece in pieces if piece.uri and piece.records >= minimum]
    small = sorted((p for p in pieces if p.uri and p.records < minimum), key=lambda p: (p.invocation, p.range))
    immediate = document.completion_window == "immediate"
    shards = [_as_shard(ref, piece, number, "on_demand" if immediate else "batch") for piece in large]
    for invocation, group in groupby(small, key=lambda piece: piece.invocation):
        for gathered in gather(list(group), section.limits):
            shards.append(merge(ref, document, gathered, invocation, f"r{number}-{len(shards):05d}", number))

    def change(current: BatchDocument) -> None:
        if current.bedrock.round >= number:
            return
        current.bedrock.round = number
        current.bedrock.shards = [*(current.bedrock.shards or []), *shards]
        for shard in current.bedrock.shards:
            if shard.id in whole:
                shard.done, shard.round, shard.retry = False, number, False
        hours = parse_window(current.completion_window)
        if hours:
            current.expires_at = int(time.time()) + hours * 3600

    document = update(ref, change)
    discard(ref, document, "again")
    return document


def _as_shard(ref: BatchRef, piece: Piece, number: int, route: Literal["batch", "on_demand"]) -> Shard:
    name = (piece.uri or "").rsplit("/", 1)[-1].removeprefix("part-").removesuffix(".jsonl")
    assert str(shard_object(ref, name)) == piece.uri
    return Shard(
        id=name, epoch=ref.epoch, ranges=[piece.range], round=number,
        origins=[Origin(range=piece.range, shard=piece.shard)],
        invocation=piece.invocation, records=piece.records,
        bytes=piece.bytes, etag=piece.etag, route=route,
    )  # fmt: skip


def gather(pieces: list[Piece], limits: dict[str, int]) -> Iterator[list[Piece]]:
    """Groups of pieces that fit one object each."""
    group: list[Piece] = []
    for piece in pieces:
        records, size = sum(p.records for p in group), sum(p.bytes for p in group)
        full = (
            records + piece.records > limits["max_records_per_job"] or size + piece.bytes > limits["max_bytes_per_file"]
        )
        if group and full:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def merge(
    ref: BatchRef, document: BatchDocument, pieces: list[Piece], invocation: InvocationType, name: str, number: int
) -> Shard:
    """One shard of the records of several pieces, for a job, or on demand where they are still too few for one."""
    section = document.bedrock
    records = sum(piece.records for piece in pieces)
    minimum = section.limits["min_records_per_job"]
    immediate = document.completion_window == "immediate"
    pad = section.options.get("below_minimum") == "pad" and records < minimum and not immediate
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
        id=name, epoch=ref.epoch, ranges=sorted({piece.range for piece in pieces}), round=number,
        origins=[Origin(range=piece.range, shard=piece.shard) for piece in pieces], invocation=invocation,
        records=records,
        padding=padding, bytes=out.bytes_written, etag=out.etag,
        route="batch" if records + padding >= minimum and not immediate else "on_demand",
    )  # fmt: skip


@task(name="begin round", task_run_name="begin-round", **STAGE)
def begin_round(ref: BatchRef, document: BatchDocument, pieces: list[Piece]) -> BatchDocument:
    """Begin another round over what failed for a passing cause."""
    document = start_round(ref, document, pieces)
    section = document.bedrock
    new = [shard for shard in section.shards or [] if shard.round == section.round]
    get_run_logger().warning(
        "%s throttled, expired, missing or hit a fault of the service; round %d of %d asks again: %s, %s on demand",
        counted(sum(piece.records for piece in pieces), "record was", "records were"),
        section.round,
        section.last_round,
        counted(sum(shard.route == "batch" for shard in new), "job"),
        counted(sum(shard.records for shard in new if shard.route == "on_demand"), "call"),
    )
    return document
