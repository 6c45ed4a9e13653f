"""What a comparison will cost: samples, jobs, the judge, the budget, and how it is said."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate, rate_for
from tasks.comparison import estimate
from tasks.comparison.estimate import (
    Estimate,
    estimate_all,
    estimate_cost,
    estimate_judge,
    estimate_variants,
    estimates_table,
    require_budget,
    summary,
)
from tasks.comparison.judge import Judge
from tasks.comparison.variants import Variant
from tasks.errors import ConfigurationError
from tasks.storage.sources import Source, find_sources
from tests.conftest import NOVA, chat, write_lines

UNKNOWN = "x.unheard-of-v1"


def of(**fields: Any) -> Estimate:
    given: dict[str, Any] = {
        "label": "a",
        "model": NOVA,
        "requests": 1000,
        "jobs": 1,
        "input_tokens": 100_000,
        "max_output_tokens": 50_000,
        "input_cost_usd": 1.0,
        "max_cost_usd": 3.0,
        "rate": None,
    }
    return Estimate(**given | fields)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """Requests of 25 tokens ("user" is one of them, and a text of 96 bytes is 24) with answers of up to ten."""
    lines = [chat(f"r{n}", "x" * 96, max_tokens=10) for n in range(200)]
    return find_sources(str(write_lines(tmp_path / "in.jsonl", lines)))


def test_a_batch_is_at_its_price(sources: list[Source]) -> None:
    (found,) = estimate_variants([Variant(NOVA, "a")], sources, 200, "24h")
    assert found == of(
        requests=200,
        input_tokens=200 * 25,
        max_output_tokens=2000,
        input_cost_usd=pytest.approx(5000 * 0.03e-6),
        max_cost_usd=pytest.approx(5000 * 0.03e-6 + 2000 * 0.12e-6),
        rate=found.rate,
    )
    assert found.rate is not None
    assert (found.rate.input, found.rate.output, found.rate.basis) == (0.03, 0.12, "batch")


@pytest.mark.parametrize(
    ("requests", "options", "window", "jobs", "basis"),
    [
        (200, {}, "24h", 1, "batch"),
        (200, {}, "immediate", 0, "on_demand"),
        (200, {"completion_window": "24h"}, "immediate", 1, "batch"),
        (200, {"completion_window": "immediate"}, "24h", 0, "on_demand"),
        # Fewer than a job takes.
        (99, {}, "24h", 0, "on_demand"),
        (99, {"below_minimum": "pad"}, "24h", 1, "batch"),
        (100, {}, "24h", 1, "batch"),
        # As many as one takes, and one more.
        (50_000, {}, "24h", 1, "batch"),
        (50_001, {}, "24h", 2, "batch"),
    ],
)
def test_how_it_goes(
    sources: list[Source], requests: int, options: dict[str, Any], window: str, jobs: int, basis: str
) -> None:
    (found,) = estimate_variants([Variant(NOVA, "a", options=options)], sources, requests, window)
    assert found.rate is not None
    assert (found.requests, found.jobs, found.rate.basis) == (requests, jobs, basis)


def test_several_choices_are_as_many_records(sources: list[Source]) -> None:
    (found,) = estimate_variants([Variant(NOVA, "a", {"n": 2})], sources, 50, "24h")
    assert (found.requests, found.jobs, found.input_tokens, found.max_output_tokens) == (50, 1, 2500, 1000)


def test_a_sample_stands_for_all(sources: list[Source], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_SAMPLE", 20)
    seen: list[int] = []
    real = estimate._estimate

    def counting(variant: Variant, sample: list[bytes], *rest: Any) -> Estimate:
        seen.append(len(sample))
        assert [msgspec.json.decode(line)["custom_id"] for line in sample[:3]] == ["r0", "r10", "r20"]
        return real(variant, sample, *rest)

    monkeypatch.setattr(estimate, "_estimate", counting)
    (found,) = estimate_variants([Variant(NOVA, "a")], sources, 200, "24h")
    assert seen == [20]
    assert (found.input_tokens, found.max_output_tokens) == (5000, 2000)


def test_nothing_to_measure_costs_nothing(tmp_path: Path) -> None:
    odd = find_sources(str(write_lines(tmp_path / "odd.jsonl", ["{", "[]"])))
    for requests in (2, 0):
        (found,) = estimate_variants([Variant(NOVA, "a")], odd, requests, "24h")
        assert (found.jobs, found.input_tokens, found.max_output_tokens, found.max_cost_usd) == (0, 0, 0, 0.0)


def test_no_price_is_no_cost(sources: list[Source]) -> None:
    (found,) = estimate_variants([Variant(UNKNOWN, "a")], sources, 200, "24h")
    assert (found.rate, found.input_cost_usd, found.max_cost_usd) == (None, None, None)
    assert found.input_tokens == 5000


def test_a_judge_reads_each_pair_twice() -> None:
    judge = Judge(NOVA, "x" * 40, requests=100, max_tokens=16)
    two, own = [Variant(NOVA, "a"), Variant(NOVA, "b")], [of(), of(label="b", max_output_tokens=20_000)]
    found = estimate_judge(judge, two, own, 1000, "24h", "on_demand")
    # 200 questions: a request of 100 tokens, answers of 50 and 20, a rubric of 10, a frame of 60.
    assert (found.label, found.requests, found.jobs) == (f"judge {NOVA}", 200, 1)
    assert (found.input_tokens, found.max_output_tokens) == (200 * (100 + 50 + 20 + 10 + 60), 200 * 16)
    assert found.max_cost_usd == pytest.approx((48_000 * 0.03 + 3200 * 0.12) / 1e6)
    assert found.input_cost_usd == pytest.approx(48_000 * 0.03 / 1e6)


def test_with_two_rivals_each_answer_is_read_four_times() -> None:
    three = [Variant(NOVA, label) for label in "abc"]
    own = [of(), of(max_output_tokens=20_000), of(max_output_tokens=30_000)]
    found = estimate_judge(Judge(NOVA, "x" * 40, requests=100), three, own, 1000, "24h", "on_demand")
    assert (found.requests, found.input_tokens) == (600, 100 * 4 * (50 + 20 + 30) + 600 * (100 + 10 + 60))


def test_a_judge_reads_no_more_than_it_is_shown() -> None:
    judge = Judge(NOVA, "x" * 40, requests=1)
    long = [of(requests=1, input_tokens=10**6, max_output_tokens=10**6)] * 2
    found = estimate_judge(judge, [Variant(NOVA, "a"), Variant(NOVA, "b")], long, 1, "24h", "on_demand")
    # Three texts of 12,000 characters, 3,000 tokens each.
    assert found.input_tokens == 2 * (3 * 3000 + 10 + 60)


@pytest.mark.parametrize(
    ("requests", "window", "below", "jobs"),
    [(50, "24h", "on_demand", 1), (49, "24h", "on_demand", 0), (49, "24h", "pad", 1), (50, "immediate", "pad", 0)],
)
def test_how_a_judge_goes(requests: int, window: str, below: str, jobs: int) -> None:
    two = [Variant(NOVA, "a"), Variant(NOVA, "b")]
    found = estimate_judge(Judge(NOVA, requests=1000), two, [of(), of()], requests, window, below)
    assert found.rate is not None
    assert (found.requests, found.jobs, found.rate.basis) == (2 * requests, jobs, "batch" if jobs else "on_demand")


def test_one_variant_needs_no_judge(sources: list[Source]) -> None:
    one, judge = Variant(NOVA, "a"), Judge(NOVA)
    assert [each.label for each in estimate_all([one], sources, 200, "24h", judge=judge)] == ["a"]
    two = estimate_all([one, Variant(NOVA, "b")], sources, 200, "24h", judge=judge)
    assert [each.label for each in two] == ["a", "b", f"judge {NOVA}"]


def test_a_budget_is_of_all_together() -> None:
    require_budget([of(), of()], 6.0)
    require_budget([of(max_cost_usd=None)], None)
    with pytest.raises(ConfigurationError) as two:
        require_budget([of(), of()], 5.99)
    assert str(two.value) == (
        "This may cost up to $6.00 ($2.00 for the input alone), more than max_cost_usd=5.99; nothing was submitted. "
        "Raise it, lower max_tokens in the requests, or take fewer models."
    )
    with pytest.raises(ConfigurationError, match=r"or take fewer requests\.$"):
        require_budget([of()], 0.0)


def test_a_budget_without_a_price_cannot_be_held() -> None:
    with pytest.raises(ConfigurationError, match=rf"no price is known of {UNKNOWN}\. Name a price list"):
        require_budget([of(), of(model=UNKNOWN, max_cost_usd=None)], 1000.0)


def test_what_people_and_programs_are_told() -> None:
    rate = Rate(1.0, 2.0, "batch", "s", "today")
    said = [of(label="a|b", requests=1234, rate=rate), of(input_cost_usd=None, max_cost_usd=None)]
    first, second = estimates_table(said)
    assert first == {
        "variant": r"a\|b",
        "requests": "1,234",
        "jobs": "1",
        "tokens in": "100,000",
        "tokens out, at most": "50,000",
        "input": "$1.00",
        "at most": "$3.00",
    }
    assert (second["input"], second["at most"]) == ("unknown", "unknown")
    plain = summary(said)
    assert (plain[0]["label"], plain[0]["rate"]["basis"], plain[1]["rate"]) == ("a|b", "batch", None)


@pytest.mark.parametrize(("below", "jobs"), [("pad", 1), ("on_demand", 0)])
def test_the_judges_few_requests_go_as_the_call_says(sources: list[Source], below: str, jobs: int) -> None:
    two, judge = [Variant(NOVA, "a"), Variant(NOVA, "b")], Judge(NOVA, requests=10)
    *_, judging = estimate_cost.fn(two, sources, 200, "24h", judge=judge, below_minimum=below)
    assert (judging.requests, judging.jobs) == (20, jobs)


def test_a_variant_is_at_the_price_of_its_tier(sources: list[Source]) -> None:
    options = {"completion_window": "immediate", "service_tier": "priority"}
    (found,) = estimate_variants([Variant(NOVA, "a", options=options)], sources, 200, "24h")
    assert found.rate == rate_for(parse_model(NOVA), batch=False, tier="priority")
    assert found.rate != rate_for(parse_model(NOVA), batch=False)


def test_two_thousand_requests_are_measured() -> None:
    assert estimate._SAMPLE == 2000
