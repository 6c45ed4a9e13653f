"""What one answer of a batch cost: at the price of the way that its record went, batch job or on demand."""

from bisect import bisect_right

import msgspec

from tasks.batch.document import BedrockSection
from tasks.bedrock.models import Model
from tasks.bedrock.prices import Rate, rate_for


class Pricing(msgspec.Struct, frozen=True):
    """Prices of a batch's requests by their number.

    Within a range, of the records that went on demand in a later round nothing tells which ones they are: there, the
    price is a blend of the two by their shares.
    """

    batch: Rate | None
    on_demand: Rate | None
    #: First request of each range, ascending, and the share of its records that were answered on demand.
    starts: tuple[int, ...] = (0,)
    shares: tuple[float, ...] = (0.0,)

    def cost(self, number: int, prompt: int, completion: int, cached: int = 0) -> float:
        """US dollars of an answer to a request; not a number where a price is unknown."""
        share = self.shares[max(0, bisect_right(self.starts, number) - 1)]
        total = 0.0
        for part, rate in ((1 - share, self.batch), (share, self.on_demand)):
            if part:
                total += part * rate.cost(prompt, completion, cached) if rate is not None else float("nan")
        return total

    @property
    def rate(self) -> Rate | None:
        """The rate as a reader is told it: of the whole batch, at its shares."""
        share = sum(self.shares) / len(self.shares) if self.shares else 0.0
        if share in (0, 1):
            return self.on_demand if share else self.batch
        if self.batch is None or self.on_demand is None:
            return None
        return msgspec.structs.replace(
            self.batch,
            input=self.batch.input * (1 - share) + self.on_demand.input * share,
            output=self.batch.output * (1 - share) + self.on_demand.output * share,
        )


def pricing_of(document: BedrockSection, model: Model) -> Pricing:
    """The prices of a batch, by where its records went."""
    records = {range_.index: 0.0 for range_ in document.ranges}
    direct = dict.fromkeys(records, 0.0)
    requests = {range_.index: max(1, range_.requests) for range_ in document.ranges}
    for shard in document.shards or []:
        if shard.route == "none":
            continue
        held = [index for index in shard.ranges if index in records]
        all_ = sum(requests[index] for index in held)
        for index in held:
            part = shard.records * requests[index] / all_
            if shard.round == 1:
                records[index] += part
            if shard.route == "on_demand":
                direct[index] += part
    ranges = sorted(document.ranges, key=lambda each: each.first_request)
    return Pricing(
        rate_for(model, batch=True),
        rate_for(model, batch=False, tier=document.options.service_tier),
        tuple(each.first_request for each in ranges) or (0,),
        tuple(_share(direct[each.index], records[each.index]) for each in ranges) or (0.0,),
    )


def _share(direct: float, records: float) -> float:
    return min(1.0, direct / records) if records else float(direct > 0)
