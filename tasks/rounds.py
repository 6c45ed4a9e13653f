"""Rounds: what a job left undone for a transient cause is asked again, and nothing that has an answer.

A record is asked again where it was throttled, expired, hit a fault of the service or is missing from the output of a
job that ended by itself. What is left of each range is written by the worker that normalises it; here the pieces
become shards: large ones as they are, small ones gathered into one job, and too few for a job on demand.
"""

import time
from itertools import groupby
from typing import Literal

from prefect import task

from tasks.batch import store
from tasks.batch.document import BatchDocument, Origin, Shard
from tasks.batch.lifecycle import discard
from tasks.batch.options import parse_window
from tasks.batch.paths import BatchRef, shard_object
from tasks.shards.gather import Remainder, gather, merge
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted


def start_round(ref: BatchRef, document: BatchDocument, pieces: list[Remainder]) -> BatchDocument:
    """Make shards of the pieces and note them in batch.json: from then on the round is under way."""
    section = document.bedrock
    number = section.round + 1
    noted = store.read(ref)
    if noted.bedrock.round >= number:
        # The task is repeated: what it gathers from may be gone.
        discard(ref, noted, "again")
        return noted
    minimum = section.limits.min_records_per_job
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

    document = store.update(ref, change)
    discard(ref, document, "again")
    return document


def _as_shard(ref: BatchRef, piece: Remainder, number: int, route: Literal["batch", "on_demand"]) -> Shard:
    name = (piece.uri or "").rsplit("/", 1)[-1].removeprefix("part-").removesuffix(".jsonl")
    assert str(shard_object(ref, name)) == piece.uri
    return Shard(
        id=name,
        epoch=ref.epoch,
        ranges=[piece.range],
        round=number,
        origins=[Origin(range=piece.range, shard=piece.shard)],
        invocation=piece.invocation,
        records=piece.records,
        bytes=piece.bytes,
        etag=piece.etag,
        route=route,
    )


@task(name="begin round", task_run_name="begin-round", **STAGE_OPTIONS)
def begin_round(ref: BatchRef, document: BatchDocument, pieces: list[Remainder]) -> BatchDocument:
    """Begin another round over what failed for a transient cause."""
    document = start_round(ref, document, pieces)
    section = document.bedrock
    new = [shard for shard in section.shards or [] if shard.round == section.round]
    run_log().warning(
        "%s throttled, expired, missing or hit a fault of the service; round %d of %d asks again: %s, %s on demand",
        counted(sum(piece.records for piece in pieces), "record was", "records were"),
        section.round,
        section.last_round,
        counted(sum(shard.route == "batch" for shard in new), "job"),
        counted(sum(shard.records for shard in new if shard.route == "on_demand"), "call"),
    )
    return document
