"""Which way of asking a file is the cheapest, told from it alone: a batch, on demand, on demand with a cached prefix.

What a token costs that is read from a cache or written to it, the price list says, by model (LiteLLM's map, which
follows AWS's). Where it has no such price, and for the fewest tokens that a model caches, what AWS's and the vendors'
pages say counts (Anthropic: reads at a tenth, writes at five quarters; Nova: reads at a quarter, writes as any token).
It is advice and decides nothing. Batch jobs take no cache points.
"""

import re
from typing import Final

import msgspec

from tasks.bedrock.prices import Rate, rate_for
from tasks.inputs.estimate import Estimate
from tasks.inputs.survey import Prefix, Survey
from tasks.support.words import counted, dollars


class _Cache(msgspec.Struct, frozen=True):
    """The fewest tokens that a model caches; and, in prices of its input, what it charges where no list says."""

    models: str
    read: float
    write: float
    least: int


#: The first pattern that fits a base model id counts.
_CACHES: Final = (
    _Cache(r"anthropic\.claude-(haiku-4-5|opus-4-[5-9]|opus-[5-9])", 0.1, 1.25, 4096),
    _Cache(r"anthropic\.claude-(3-7|sonnet|opus|haiku)", 0.1, 1.25, 1024),
    _Cache(r"amazon\.nova-(micro|lite|pro|premier|2-lite)", 0.25, 1.0, 1024),
)


class Routes(msgspec.Struct, frozen=True):
    """Dollars of each way, were every answer empty (`input`) and as long as allowed (`most`); None where unknown.

    `cached` stands for on demand with the shared beginnings cached; None where there is none that the model caches.
    """

    batch_input: float | None
    batch_most: float | None
    on_demand_input: float | None
    on_demand_most: float | None
    cached_input: float | None = None
    cached_most: float | None = None
    #: Tokens of the largest shared beginning, and the requests that share one.
    shared_tokens: int = 0
    shared_requests: int = 0
    #: Where answers are shorter than so many tokens on the average, the cached way is cheaper than a batch.
    break_even_tokens: int | None = None

    @property
    def advice(self) -> str | None:
        """A sentence on what the prompts share; None where caching it would not be cheaper than a batch."""
        if self.batch_most is None or self.cached_most is None or not self.break_even_tokens:
            return None
        shared = (
            f"{counted(self.shared_requests, 'request')} begin alike (up to {counted(self.shared_tokens, 'token')}), "
            "which can be cached on demand, and in a batch job cannot"
        )
        prices = f"at most {dollars(self.cached_most)} with cache points, {dollars(self.batch_most)} in a batch"
        if self.cached_most < self.batch_most:
            return f"{shared}: {prices}; {_HOW}"
        return (
            f"{shared}: {prices}, but less than a batch where answers have fewer than "
            f"{counted(self.break_even_tokens, 'token')} on the average; {_HOW}"
        )


#: What a reader has to know who would follow the advice.
_HOW: Final = "this pipeline sets no cache points, and reroutes nothing by itself"


def routes_of(survey: Survey, estimate: Estimate) -> Routes:
    """What each way of asking would cost."""
    batch, on_demand = (rate_for(survey.model, batch=way) for way in (True, False))
    tokens = estimate.input_tokens, estimate.max_output_tokens
    plain = Routes(
        batch.cost(tokens[0], 0) if batch else None,
        batch.cost(*tokens) if batch else None,
        on_demand.cost(tokens[0], 0) if on_demand else None,
        on_demand.cost(*tokens) if on_demand else None,
    )
    cache = next((each for each in _CACHES if re.match(each.models, survey.model.base_id)), None)
    kept = [prefix for prefix in survey.prefixes if cache and prefix.tokens >= cache.least]
    if not cache or not kept or batch is None or on_demand is None:
        return plain
    scale = estimate.requests / max(1, survey.lines - survey.refused)
    saved = scale * sum(_saved(prefix, *_factors(on_demand, cache)) for prefix in kept)
    read = tokens[0] - saved
    # Per token of all answers, the cached way costs so much more.
    dearer = (on_demand.output - batch.output) / 1e6 * max(1, estimate.records)
    gained = batch.cost(tokens[0], 0) - on_demand.cost(read, 0)
    return msgspec.structs.replace(
        plain,
        cached_input=on_demand.cost(read, 0),
        cached_most=on_demand.cost(read, tokens[1]),
        shared_tokens=max(prefix.tokens for prefix in kept),
        shared_requests=round(scale * sum(prefix.requests for prefix in kept)),
        break_even_tokens=int(gained / dearer) if gained > 0 and dearer > 0 else None,
    )


def _factors(rate: Rate, cache: _Cache) -> tuple[float, float]:
    """What reading a cached token costs, and writing one, in prices of the input."""
    read = cache.read if rate.cached is None or not rate.input else rate.cached / rate.input
    write = cache.write if rate.written is None or not rate.input else rate.written / rate.input
    return read, write


def _saved(prefix: Prefix, read: float, write: float) -> float:
    """Input tokens, at full price, that caching a beginning saves: written once, then read."""
    return prefix.tokens * (prefix.requests - write - read * (prefix.requests - 1))
