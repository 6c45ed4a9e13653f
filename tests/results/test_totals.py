"""The batch's counts are the sums of its ranges'. What answers cost: `test_costs.py`."""

import pytest

from tasks.openai_format.batch import BatchUsage, InputTokensDetails, OutputTokensDetails
from tasks.results.totals import RangeResult, add_up, cost_of


def test_tokens_add_up_each_to_its_own() -> None:
    results = [
        RangeResult(0, prompt_tokens=1000, completion_tokens=200, cached_tokens=30, reasoning_tokens=4),
        RangeResult(1, prompt_tokens=5000, completion_tokens=600, cached_tokens=70, reasoning_tokens=8),
    ]
    assert add_up(results) == BatchUsage(
        input_tokens=6000,
        input_tokens_details=InputTokensDetails(cached_tokens=100),
        output_tokens=800,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=12),
        total_tokens=6800,
    )


def test_no_results_are_no_tokens() -> None:
    assert add_up([]) == BatchUsage()


@pytest.mark.parametrize(
    ("costs", "cost"), [([0.1, 0.2], 0.3), ([0.0000004], 0.0), ([0.0000006], 0.000001), ([1234.5678901], 1234.56789)]
)
def test_dollars_are_told_to_a_millionth(costs: list[float], cost: float) -> None:
    assert cost_of([RangeResult(place, cost_usd=each) for place, each in enumerate(costs)]) == cost


def test_ranges_share_nothing() -> None:
    one, other = RangeResult(0), RangeResult(1)
    one.oddities["odd"] = 1
    assert (other.oddities, other.causes, other.finish_reasons, other.unanswered, other.again) == ({}, {}, {}, {}, [])
