"""What answers cost by their tokens: each by the way in which it was asked, in a batch job or on demand."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.batch.document import BatchDocument
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate, rate_for
from tasks.codecs.base import Usage


class Costs:
    """The prices of a batch's shards. Without a known price, and for answers without tokens, the cost is unknown."""

    def __init__(self, document: BatchDocument) -> None:
        section = document.bedrock
        model = parse_model(section.model)
        if not model.base_id and section.base_model:
            # An application profile, of which no price list has the name.
            model = parse_model(section.base_model)
        tier = section.options.service_tier
        rates = {route: rate_for(model, batch=route == "batch", tier=tier) for route in ("batch", "on_demand")}
        self._rates: dict[str, Rate | None] = {
            shard.id: rates.get(shard.route) for shard in section.shards or [] if shard.route != "none"
        }

    def of(self, shard: str, usage: Usage | None) -> float | None:
        """US dollars of an answer out of a shard's output."""
        rate = self._rates.get(shard)
        if rate is None or usage is None:
            return None
        return rate.cost(usage.prompt, usage.completion, usage.cached)

    def column(self, shards: list[str], places: npt.NDArray[np.uint8], tokens: dict[str, pa.Array]) -> pa.Array:
        """The same of many answers: each out of the shard at its place in `shards`."""
        rates = [self._rates.get(shard) for shard in shards]
        unknown = float("nan")
        fresh = np.array([rate.input if rate else unknown for rate in rates])[places]
        cached = np.array([_cached(rate) if rate else unknown for rate in rates])[places]
        written = np.array([rate.output if rate else unknown for rate in rates])[places]
        prompt, completion, read = (
            tokens[name].to_numpy(zero_copy_only=False).astype(np.float64)
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
        )
        dollars = ((prompt - read) * fresh + read * cached + completion * written) / 1e6
        return pc.if_else(pa.array(np.isnan(dollars)), pa.scalar(None, pa.float64()), pa.array(dollars))


def _cached(rate: Rate) -> float:
    return rate.input if rate.cached is None else rate.cached
