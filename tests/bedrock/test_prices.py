"""The price list: what an id costs, and where it differs from another maintained map."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from tasks.bedrock.capabilities import all_models
from tasks.bedrock.models import PROFILE_PREFIXES, parse_model
from tasks.bedrock.prices import _OURS, Rate, rate_for
from tasks.errors import ConfigurationError

LIST = json.loads(_OURS.read_bytes())["models"]
#: Ids whose rates on demand differ from genai-prices'. It gives a bare id of Claude's and of gpt-6 the regional rate,
#: knows no dearer GovCloud, and no regional rate of Nova and of Llama 3.2 but one.
DIFFERENT = {
    *(f"anthropic.claude-{name}" for name in (
        "fable-5", "fable-5-1", "haiku-4-5-20251001-v1:0", "haiku-5-5", "opus-4-5-20251101-v1:0", "opus-4-6-v1",
        "opus-4-7", "opus-4-8", "opus-5", "opus-5-5", "sonnet-4-5-20250929-v1:0", "sonnet-4-6", "sonnet-5", "sonnet-5-5")),
    "openai.gpt-6-luna", "openai.gpt-6-sol",
    *(f"{region}.amazon.nova-{size}-v1:0" for region in ("apac", "eu") for size in ("micro", "lite", "pro")),
    "eu.amazon.nova-2-lite-v1:0", "jp.amazon.nova-2-lite-v1:0",
    "eu.meta.llama3-2-1b-instruct-v1:0", "eu.meta.llama3-2-3b-instruct-v1:0",
    *(f"us-gov.{name}" for name in (
        "anthropic.claude-haiku-5-5", "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-5",
        "anthropic.claude-sonnet-5-5", "nvidia.nemotron-nano-3-30b", "nvidia.nemotron-nano-9b-v2",
        "nvidia.nemotron-super-3-120b", "openai.gpt-oss-120b-1:0", "openai.gpt-oss-20b-1:0")),
}  # fmt: skip
#: Models of the table that have no price in the map.
UNPRICED = {
    "anthropic.claude-3-sonnet", "anthropic.claude-3-haiku", "cohere.command-r", "cohere.command-r-plus",
    "moonshotai.kimi-k2-thinking", "twelvelabs.marengo-embed-2-7", "twelvelabs.marengo-embed-3-0",
}  # fmt: skip


def rate(model: str, *, batch: bool = False) -> Rate | None:
    return rate_for(parse_model(model), batch=batch)


def test_rates_are_those_of_another_map_but_for_those_named() -> None:
    get_snapshot()
    agreed, different = 0, set()
    for entry in LIST:
        if "on_demand" not in entry:
            continue
        try:
            theirs = calc_price(Usage(input_tokens=1000, output_tokens=1000), model_ref=entry["id"], provider_id="aws")
        except LookupError:
            continue
        pair = [Decimal(1000) * theirs.input_price, Decimal(1000) * theirs.output_price]
        if [float(cost) for cost in pair] == pytest.approx(entry["on_demand"]):
            agreed += 1
        else:
            different.add(entry["id"])
    assert different == DIFFERENT
    assert agreed > 150


def test_every_entry_is_a_price() -> None:
    assert len(LIST) > 250
    assert len({entry["id"] for entry in LIST}) == len(LIST)
    for entry in LIST:
        assert set(entry) <= {"id", "on_demand", "batch", "flex", "priority", "cached", "written"}, (
            "ids, and no patterns"
        )
        if "batch" in entry and "on_demand" in entry:
            assert all(b <= d for b, d in zip(entry["batch"], entry["on_demand"], strict=True)), entry


#: Ids whose price in a batch, or flex, is rounded to cents, and no longer half of the one on demand.
ROUNDED = {
    "google.gemma-3-12b-it", "google.gemma-3-27b-it", "mistral.ministral-3-8b-instruct", "nvidia.nemotron-nano-9b-v2",
    "openai.gpt-oss-safeguard-120b", "openai.gpt-oss-safeguard-20b", "qwen.qwen3-next-80b-a3b", "qwen.qwen3-vl-235b-a22b",
}  # fmt: skip


@pytest.mark.parametrize("way", ["batch", "flex", "priority", "cached", "written"])
def test_other_ways_cost_what_is_usual_beside_on_demand(way: str) -> None:
    """Batches and flex the half, priority seven quarters, a write to a cache five quarters, a read a tenth or so."""
    shares: dict[str, list[float]] = {}
    for entry in LIST:
        given = entry.get(way, [])
        pairs = zip(given if isinstance(given, list) else [given], entry.get("on_demand", ()), strict=False)
        shares[entry["id"]] = [cost / usual for cost, usual in pairs if usual]
    found = {id: costs for id, costs in shares.items() if costs}
    assert len(found) > 40
    if way in ("batch", "flex"):
        assert {id for id, costs in found.items() if costs != pytest.approx([0.5] * 2)} <= ROUNDED
        assert all(0.42 < cost < 0.56 for costs in found.values() for cost in costs)
    elif way == "priority":
        assert all(1.69 < cost < 1.84 for costs in found.values() for cost in costs)
    elif way == "written":
        assert all(costs == pytest.approx([1.25]) for costs in found.values())
    else:
        assert {round(cost, 4) for costs in found.values() for cost in costs} == {0.025, 0.05, 0.1, 0.1857, 0.25}


def test_models_of_the_table_have_a_price_but_for_those_named() -> None:
    priced = {name for name in all_models() if any(_is_of(entry["id"], name) for entry in LIST)}
    assert all_models().keys() - priced == UNPRICED


def _is_of(id: str, name: str) -> bool:
    prefix, _, rest = id.partition(".")
    base = rest if prefix in PROFILE_PREFIXES else id
    return base == name or base.startswith((f"{name}-v", f"{name}:")) or base.startswith(f"{name}-20")


@pytest.mark.parametrize(
    ("model", "batch", "wanted"),
    [
        ("global.anthropic.claude-opus-5", True, (2.5, 12.5, "batch")),
        ("us.anthropic.claude-opus-5-5", False, (4.4, 22.0, "on_demand")),
        ("us.anthropic.claude-opus-5-5", True, (2.2, 11.0, "half_of_on_demand")),
        ("us-gov.anthropic.claude-opus-5", False, (6.0, 30.0, "on_demand")),
        ("eu.amazon.nova-lite-v1:0", False, (0.078, 0.312, "on_demand")),
        ("amazon.nova-lite-v1:0:300k", True, (0.03, 0.12, "batch")),
        ("ca.anthropic.claude-haiku-4-5-20251001-v1:0", False, (1.1, 5.5, "on_demand")),
        ("us.zai.glm-5.3", True, (0.924, 2.904, "batch")),
        ("in.anthropic.claude-opus-5", False, (6.0, 30.0, "on_demand")),
    ],
)
def test_a_rate(model: str, batch: bool, wanted: tuple[float, float, str]) -> None:
    found = rate(model, batch=batch)
    assert found is not None
    assert (found.input, found.output, found.basis) == wanted


@pytest.mark.parametrize(
    "model", ["us.anthropic.claude-opus-5-6", "anthropic.claude-opus-50", "deepseek.v3.3", "zai.glm-5.4"]
)
def test_no_entry_speaks_for_a_model_that_came_later(model: str) -> None:
    assert rate(model) is None


def test_what_tokens_cost() -> None:
    """A million of input, of which 400,000 are from a cache, and 100,000 of output."""
    assert Rate(1.0, 10.0, "batch", "", "", cached=0.1).cost(1e6, 1e5, 4e5) == pytest.approx(0.6 + 0.04 + 1.0)
    assert Rate(1.0, 10.0, "batch", "", "").cost(1e6, 1e5, 4e5) == pytest.approx(2.0), "like any other"


def test_cached_and_written_tokens_have_prices_on_demand() -> None:
    entry = next(each for each in LIST if "cached" in each and "written" in each and "batch" in each)
    at_once, in_a_job = rate(entry["id"]), rate(entry["id"], batch=True)
    assert at_once is not None
    assert in_a_job is not None
    assert (at_once.cached, at_once.written) == (entry["cached"], entry["written"])
    assert (in_a_job.cached, in_a_job.written) == (None, None)


def test_a_list_of_the_users_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = [
        {"model": r"x\.", "on_demand": [3, 4]},
        {"id": "x.a", "on_demand": [1, 2]},
        {"id": "x.b", "batch": [5, 6]},
        {"id": "amazon.nova-lite-v1:0", "on_demand": [9, 9]},
    ]
    (tmp_path / "prices.json").write_text(json.dumps({"models": models, "seen": "today"}))
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(tmp_path / "prices.json"))
    for model, wanted in {"x.a": (1, 2), "us.x.c": (3, 4), "amazon.nova-lite-v1:0": (9, 9)}.items():
        found = rate(model)
        assert found is not None
        assert (found.input, found.output, found.seen, found.source) == (*wanted, "today", "the user's file")
    assert rate("x.b") is None, "an id of its own speaks alone"
    assert rate("y.a") is None
    assert rate("us.x.a") is not None
    assert (rate("us.x.a") or Rate(0, 0, "batch", "", "")).input == 3, "a pattern goes before another's id"
    assert rate("amazon.nova-micro-v1:0") is not None, "what it leaves open is ours"
    (tmp_path / "wrong.json").write_text(json.dumps({"models": [{"id": "x", "on_demnd": [1, 2]}]}))
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(tmp_path / "wrong.json"))
    with pytest.raises(ConfigurationError, match="on_demnd"):
        rate("x")


@pytest.mark.parametrize(
    ("model", "tier", "cost"),
    [
        ("us.amazon.nova-2-lite-v1:0", "default", (0.33, 2.75)),
        ("us.amazon.nova-2-lite-v1:0", "flex", (0.165, 1.375)),
        ("us.amazon.nova-2-lite-v1:0", "priority", (0.5775, 4.8125)),
        ("us.amazon.nova-2-lite-v1:0", "reserved", None),
        # Flex costs no more than the default tier; what priority costs cannot be told.
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "flex", (1, 5)),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "priority", None),
    ],
)
def test_tiers_on_demand(model: str, tier: str, cost: tuple[float, float] | None) -> None:
    found = rate_for(parse_model(model), batch=False, tier=tier)
    assert (found and (found.input, found.output)) == cost
    assert rate_for(parse_model(model), batch=True, tier=tier) == rate_for(parse_model(model), batch=True), (
        "jobs have none"
    )
