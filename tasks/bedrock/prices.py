"""What tokens cost, by model and way of asking; replaceable by a file of the user's.

No maintained library covers Bedrock's batch prices: genai-prices has none of them, litellm's map has most but comes
with all of litellm. `prices.json` is a dated extract of that map (`deployments/price_table.py`), an entry for each
model id, regional profiles included, so that none speaks for a model that came later. `BEDROCK_BATCH_PRICES` names a
file of the same form, or with patterns, whose entries go before it. Prices differ by region and contract: the bill is
AWS's.
"""

import functools
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

from tasks.bedrock.models import Model
from tasks.errors import ConfigurationError

#: A JSON file of prices that go before ours.
PRICES_VARIABLE = "BEDROCK_BATCH_PRICES"
_OURS = Path(__file__).with_name("prices.json")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    #: A model or profile id; or `model`, a pattern at the start of one, which a profile's prefix may stand before.
    id: str | None = None
    model: str | None = None
    on_demand: tuple[float, float] | None = None
    batch: tuple[float, float] | None = None
    #: On demand, in the service's other tiers.
    flex: tuple[float, float] | None = None
    priority: tuple[float, float] | None = None
    #: Of a token that is read from a cache, and of one that is written to it, on demand.
    cached: float | None = None
    written: float | None = None


class _PriceList(msgspec.Struct, frozen=True):
    models: list[_Entry]
    seen: str = "undated"
    source: str = "the user's file"


class Rate(msgspec.Struct, frozen=True):
    """US dollars per million tokens, and where that is from.

    `basis`: "batch" and "on_demand" are known prices; "half_of_on_demand" is what batches cost as a rule.
    """

    input: float
    output: float
    basis: Literal["batch", "half_of_on_demand", "on_demand"]
    source: str
    seen: str
    #: Of a token that was read from a cache; None where it is not known, and counts like any other.
    cached: float | None = None
    #: Of a token that is written to a cache; None where it is not known.
    written: float | None = None

    def cost(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """US dollars; the cached tokens are among those of the input."""
        cached = self.input if self.cached is None else self.cached
        fresh = input_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6


def rate_for(model: Model, *, batch: bool, tier: str = "default") -> Rate | None:
    """The rate of a model in a batch job or, in a tier, on demand; None where no price list has it.

    What flex costs is at most what the default tier does, and counted so where it is not known. Raises
    ConfigurationError for a price file that cannot be read.
    """
    for prices in _lists(os.environ.get(PRICES_VARIABLE, "").strip()):
        rates = (_rate(entry, prices, batch=batch, tier=tier) for entry in _entries(prices, model))
        found = next((rate for rate in rates if rate is not None), None)
        if found is not None:
            return found
    return None


def _rate(entry: _Entry, prices: _PriceList, *, batch: bool, tier: str) -> Rate | None:
    if batch and entry.batch:
        return Rate(*entry.batch, "batch", prices.source, prices.seen)
    if batch and entry.on_demand:
        input_, output = entry.on_demand
        return Rate(input_ / 2, output / 2, "half_of_on_demand", prices.source, prices.seen)
    if not batch and tier == "flex" and entry.flex:
        return Rate(*entry.flex, "on_demand", prices.source, prices.seen)
    if not batch and tier == "priority":
        return Rate(*entry.priority, "on_demand", prices.source, prices.seen) if entry.priority else None
    if not batch and tier != "reserved" and entry.on_demand:
        return Rate(*entry.on_demand, "on_demand", prices.source, prices.seen, entry.cached, entry.written)
    return None


#: The size of a context, which an id may end with: amazon.nova-lite-v1:0:300k.
_CONTEXT = re.compile(r"(?<=:\d):\w+$")


def _entries(prices: _PriceList, model: Model) -> list[_Entry]:
    """The entries of a list that speak for a model, the best first.

    Its own id goes first, then patterns in their order. A profile without an entry costs what the dearest of the same
    model does: regional ones are dearer than the bare id, and too much is estimated rather than too little.
    """
    name = _CONTEXT.sub("", model.id.rsplit("/", 1)[-1] if model.base_id else model.id)
    base = _CONTEXT.sub("", model.base_id)
    own = [entry for entry in prices.models if entry.id == name]
    # At the start of a name: a profile's prefix before it is no part of the model.
    fitting = [entry for entry in prices.models if entry.model and re.match(rf"(?:[\w-]+\.)?(?:{entry.model})", name)]
    others = [entry for entry in prices.models if base and entry.id and f".{entry.id}".endswith(f".{base}")]
    others.sort(key=lambda entry: entry.on_demand or entry.batch or (0, 0), reverse=True)
    return own or [*fitting, *others]


@functools.lru_cache(maxsize=4)
def _lists(path: str) -> tuple[_PriceList, ...]:
    ours = msgspec.json.decode(_OURS.read_bytes(), type=_PriceList)
    if not path:
        return (ours,)
    try:
        theirs = msgspec.json.decode(Path(path).expanduser().read_bytes(), type=_PriceList)
        for entry in theirs.models:
            re.compile(entry.model or "")
    except (OSError, msgspec.DecodeError, re.error) as error:
        raise ConfigurationError(
            f"{PRICES_VARIABLE} names {path!r}, which is no price list ({error}): it must be JSON of the form of "
            "tasks/bedrock/prices.json."
        ) from None
    return theirs, ours
