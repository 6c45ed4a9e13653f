"""What may be asked again, and who asked it last."""

from tasks.batch.document import BatchDocument, Shard


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


def may_be_asked_again(shard: Shard, *, missing: bool) -> bool:
    """Whether what this shard's job did not answer may be answered by another."""
    if shard.retry:
        return True
    status = shard.job.status if shard.job else None
    if shard.route != "batch" or status in ("Stopped", "Failed"):
        # On demand, every record has had its tries; a stopped job was stopped by somebody.
        return False
    # A record of a job that never ran is missing because nobody asked it.
    return status is not None or not missing
