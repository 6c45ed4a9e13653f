"""What an answer cost, by the way that its record went."""

import math
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate, rate_for
from tasks.comparison.pricing import Pricing, pricing_of
from tests.builders import document, range_of, shard

BATCH = Rate(0.5, 2.5, "batch", "s", "d")
DIRECT = Rate(1.0, 5.0, "on_demand", "s", "d", cached=0.1)
HALF = Pricing(BATCH, DIRECT, (0, 100), (0.0, 0.5))


@pytest.mark.parametrize(
    ("number", "cost"), [(0, 0.5 * 1000 + 2.5 * 100), (99, 750), (100, (750 + 1500) / 2), (5000, (750 + 1500) / 2)]
)
def test_the_range_of_a_request_decides(number: int, cost: float) -> None:
    assert HALF.cost(number, 1000, 100) == pytest.approx(cost / 1e6)


def test_cached_tokens_cost_what_they_do_that_way() -> None:
    assert Pricing(BATCH, DIRECT, (0,), (1.0,)).cost(0, 1000, 0, 1000) == pytest.approx(100 / 1e6)


def test_an_unknown_price_is_no_number_where_it_is_needed() -> None:
    only = Pricing(BATCH, None, (0, 100), (0.0, 1.0))
    assert only.cost(0, 1000, 100) == pytest.approx(750 / 1e6)
    assert math.isnan(only.cost(100, 1000, 100))


@pytest.mark.parametrize(
    ("shares", "rate"),
    [
        ((0.0,), BATCH),
        ((1.0,), DIRECT),
        ((0.0, 0.5), msgspec.structs.replace(BATCH, input=0.625, output=3.125)),
        ((), BATCH),
    ],
)
def test_the_rate_of_the_whole_batch(shares: tuple[float, ...], rate: Rate) -> None:
    assert Pricing(BATCH, DIRECT, tuple(range(len(shares))), shares).rate == rate
    assert Pricing(None, DIRECT, (0,), (0.5,)).rate is None


def shares(*shards: Any, ranges: int = 1) -> tuple[float, ...]:
    section = document(list(shards), section={"ranges": [range_of(n, 100, 100 * n) for n in range(ranges)]}).bedrock
    found = pricing_of(section, parse_model("anthropic.claude-haiku-4-5-20251001-v1:0"))
    assert found.starts == tuple(100 * n for n in range(ranges))
    assert found.batch is not None
    assert found.on_demand is not None
    return found.shares


@pytest.mark.parametrize(
    ("shards", "share"),
    [
        ([shard()], 0.0),
        ([shard(route="on_demand")], 1.0),
        ([shard(records=60), shard("00000-1", records=40, route="on_demand")], 0.4),
        # What a later round asked on demand is a part of the first round's records.
        ([shard(), shard("00000-r2", round=2, records=10, route="on_demand")], 0.1),
        # Asked together with those of other ranges, by another shard.
        ([shard(route="none")], 0.0),
        ([], 0.0),
    ],
)
def test_the_share_on_demand(shards: list[Any], share: float) -> None:
    assert shares(*shards) == pytest.approx((share,))


def test_a_shard_of_several_ranges_counts_for_each() -> None:
    gathered = shard("gathered-r2", ranges=[0, 1], round=2, records=20, route="on_demand")
    assert shares(shard(), shard("00001", ranges=[1]), gathered, ranges=2) == (0.1, 0.1)


def test_ranges_are_looked_up_in_their_order() -> None:
    section = document([shard("00001", ranges=[1], route="on_demand"), shard("00000", ranges=[0])]).bedrock
    section.ranges = [range_of(1, 100, 100), range_of(0, 100, 0)]
    found = pricing_of(section, parse_model("anthropic.claude-haiku-4-5-20251001-v1:0"))
    assert (found.starts, found.shares) == ((0, 100), (0.0, 1.0))


def test_what_is_asked_on_demand_twice_is_no_more_than_all() -> None:
    twice = [shard(f"00000-r{n}", round=n, records=60, route="on_demand") for n in (2, 3)]
    assert shares(shard(), *twice) == (1.0,)


@pytest.mark.parametrize("tier", ["default", "flex", "priority"])
def test_calls_on_demand_are_at_the_price_of_their_tier(tier: Any) -> None:
    section = document([shard()]).bedrock
    section.options = section.options.model_copy(update={"service_tier": tier})
    model = parse_model("us.amazon.nova-lite-v1:0")
    assert pricing_of(section, model).on_demand == rate_for(model, batch=False, tier=tier)
    assert (rate_for(model, batch=False, tier=tier) == rate_for(model, batch=False)) is (tier != "priority")


def test_a_range_of_which_nothing_was_asked_at_first() -> None:
    """Nor of one without a request: there is nothing to share out."""
    assert shares(shard(round=2, records=10, route="on_demand")) == (1.0,)
    assert shares(shard(round=2, records=10)) == (0.0,)
    section = document([shard(ranges=[0, 1])]).bedrock
    section.ranges = [range_of(0, 0, 0), range_of(1, 0, 0)]
    assert pricing_of(section, parse_model("us.amazon.nova-lite-v1:0")).shares == (0.0, 0.0)


def test_a_shard_of_several_ranges_is_shared_out_by_their_requests() -> None:
    section = document([shard("00000", ranges=[0]), shard("00001", ranges=[1], records=300)]).bedrock
    section.shards = [*(section.shards or []), shard("r2", ranges=[0, 1], round=2, records=40, route="on_demand")]
    section.ranges = [range_of(0, 100, 0), range_of(1, 300, 100)]
    found = pricing_of(section, parse_model("us.amazon.nova-lite-v1:0"))
    assert found.shares == pytest.approx((0.1, 0.1))
