"""The price of a batch before it is sent, and the limit that is held."""

import json
from typing import Any

import msgspec
import pytest

from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate
from tasks.errors import ConfigurationError
from tasks.inputs.estimate import Estimate, estimate, require_within
from tasks.inputs.survey import Survey
from tests.conftest import chat

#: 1 and 5 dollars a million on demand, half of it in a batch.
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
LIMITS = Limits(min_records_per_job=100, max_records_per_job=1000)


def survey(*lines: dict[str, Any], model: str = HAIKU, weight: int = 1) -> Survey:
    found = Survey(parse_model(model), "error")
    for number, line in enumerate(lines, 1):
        found.add(json.dumps(line).encode(), "/v1/chat/completions", number, "in.jsonl", weight)
    return found


#: 100 tokens, and at most 50 for the answer.
LINE = chat("a", "x" * 396, max_tokens=50)


def test_a_batch() -> None:
    found = estimate(survey(LINE, weight=2500), 2500, LIMITS)
    assert (found.requests, found.records, found.jobs, found.route) == (2500, 2500, 3, "batch")
    assert (found.input_tokens, found.max_output_tokens) == (250_000, 125_000)
    assert (found.input_cost_usd, found.max_cost_usd) == (0.125, 0.4375)
    assert (found.batch_cost_usd, found.on_demand_cost_usd) == (0.4375, 0.875)
    assert found.rate is not None
    assert str(found) == (
        "2,500 requests in 3 jobs, about 250,000 tokens in, at most 125,000 out: at most $0.4375, $0.1250 of it for "
        "the input, $0.8750 on demand (tokens to within about a third; batch prices of " + found.rate.seen + ")"
    )


@pytest.mark.parametrize(("records", "jobs"), [(100, 1), (1000, 1), (1001, 2)])
def test_as_many_jobs_as_it_takes(records: int, jobs: int) -> None:
    assert estimate(survey(LINE), records, LIMITS).jobs == jobs
    assert estimate(survey(LINE), 1, LIMITS, records=records).jobs == jobs


def test_what_is_too_little_for_a_job() -> None:
    found = estimate(survey(LINE), 99, LIMITS)
    assert (found.route, found.jobs, found.below_minimum) == ("on_demand", 0, True)
    assert found.max_cost_usd == found.on_demand_cost_usd
    assert str(found).startswith("99 requests on demand, about 9,900 tokens in, at most 4,950 out: at most $0.0")
    assert "$0.0173 in a batch job (" in str(found)
    assert "on demand prices of" in str(found)
    padded = estimate(survey(LINE), 99, LIMITS, below_minimum="pad")
    assert (padded.route, padded.jobs, padded.below_minimum) == ("batch", 1, False)


@pytest.mark.parametrize("requests", [5000, 5])
def test_immediately(requests: int) -> None:
    """On demand because that is what was asked for, however few they are."""
    found = estimate(survey(LINE), requests, LIMITS, immediate=True)
    assert (found.route, found.jobs, found.max_cost_usd) == ("on_demand", 0, found.on_demand_cost_usd)
    assert not found.below_minimum


@pytest.mark.parametrize(("tier", "cost"), [("default", (0.8, 3.2)), ("flex", (0.4, 1.6)), ("priority", (1.4, 5.6))])
def test_on_demand_a_tier_has_its_own_price(tier: str, cost: tuple[float, float]) -> None:
    found = estimate(survey(LINE, model="amazon.nova-pro-v1:0"), 10_000, LIMITS, immediate=True, tier=tier)
    assert found.rate is not None
    assert (found.rate.input, found.rate.output) == cost
    assert found.max_cost_usd == found.on_demand_cost_usd == pytest.approx(cost[0] + cost[1] / 2)
    # A job has no tier.
    assert found.batch_cost_usd == pytest.approx(0.4 + 1.6 / 2)


def test_what_is_refused_is_not_sent() -> None:
    found = estimate(survey(LINE, LINE, LINE, chat("b", seed=1)), 400, LIMITS)
    assert (found.requests, found.records, found.input_tokens) == (300, 300, 30_000)


def test_nothing() -> None:
    found = estimate(survey(), 0, LIMITS)
    assert (found.requests, found.records, found.jobs, found.max_cost_usd) == (0, 0, 0, 0.0)
    assert not found.below_minimum
    require_within(found, 0.0)
    # Nor does it matter that nobody knows the price.
    require_within(estimate(survey(model="x.unheard-of-v1"), 0, LIMITS), 0.0)


def test_a_model_without_a_price() -> None:
    found = estimate(survey(LINE, model="x.unheard-of-v1"), 200, LIMITS)
    assert (found.rate, found.max_cost_usd, found.input_cost_usd, found.batch_cost_usd) == (None, None, None, None)
    assert str(found).endswith("; no price is known of x.unheard-of-v1 (BEDROCK_BATCH_PRICES may name one)")
    require_within(found, None)
    with pytest.raises(ConfigurationError, match=r"max_cost_usd cannot be held: no price is known of x\.unheard-of-v1"):
        require_within(found, 1000.0)


def test_the_limit() -> None:
    found = estimate(survey(LINE, weight=2500), 2500, LIMITS)
    require_within(found, 0.4375)
    require_within(found, None)
    with pytest.raises(ConfigurationError, match=r"more than max_cost_usd=0\.00"):
        require_within(found, 0.0)
    with pytest.raises(ConfigurationError) as caught:
        require_within(found, 0.43)
    assert str(caught.value) == (
        "This may cost up to $0.4375 ($0.1250 for the input alone), more than max_cost_usd=0.43; nothing was "
        "submitted. Raise it, or lower max_tokens in the requests."
    )


def test_a_price_that_is_known_only_one_way() -> None:
    rate = Rate(1.0, 5.0, "on_demand", "the user's file", "2026-11-01")
    found = Estimate("m", 1, 1, 1, "batch", 1, 1, 0.5, 2.0, 2.0, None, rate)
    assert "$2.00, $0.5000 of it for the input (" in str(found)
    beside = msgspec.structs.replace(found, route="on_demand", on_demand_cost_usd=2.0, batch_cost_usd=None)
    assert "$2.00, $0.5000 of it for the input (" in str(beside)


def test_what_a_part_stands_for_is_rounded_up() -> None:
    found = estimate(survey(LINE, LINE, LINE, chat("b", "x" * 400, n=2, max_tokens=52)), 101, LIMITS)
    assert (found.records, found.input_tokens, found.max_output_tokens) == (127, 12_676, 6414)
