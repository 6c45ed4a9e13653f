"""What answers cost: by their tokens, by the way they were asked, cached tokens as cached."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.codecs.base import Usage
from tasks.results.costs import Costs
from tasks.results.totals import RangeResult, cost_of
from tests.builders import document, shard

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


def costs(model: str = HAIKU, base: str = "") -> Costs:
    stored = document()
    stored.bedrock.model, stored.bedrock.base_model = model, base
    stored.bedrock.shards = [shard("00000"), shard("00001", route="on_demand"), shard("00002", route="none")]
    return Costs(stored)


def test_a_batch_is_half_of_on_demand() -> None:
    usage = Usage(1_000_000, 100_000)
    assert costs().of("00000", usage) == pytest.approx(0.5 + 0.25)
    assert costs().of("00001", usage) == pytest.approx(1.0 + 0.5)
    assert costs().of("00000", None) is None
    assert costs("x.unheard-of-v1").of("00000", usage) is None
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
    assert costs(arn, HAIKU).of("00000", usage) == pytest.approx(0.75)


def test_a_column_is_the_same_as_one_by_one() -> None:
    tokens = {
        "prompt_tokens": pa.array([10, 200, 3000, 5]),
        "completion_tokens": pa.array([1, 2, 3, 4]),
        "cached_tokens": pa.array([0, 100, 0, 0]),
    }
    shards, places = ["", "00001", "00000"], np.array([1, 1, 2, 0], dtype=np.uint8)
    found = costs().column(shards, places, tokens).to_pylist()
    each = zip(*(column.to_pylist() for column in tokens.values()), strict=True)
    for place, cost, (prompt, completion, cached) in zip(places.tolist(), found, each, strict=True):
        assert cost == pytest.approx(costs().of(shards[place], Usage(prompt, completion, cached)))


def test_the_sum_is_known_where_every_cost_is() -> None:
    assert cost_of([RangeResult(0, cost_usd=0.25), RangeResult(1, cost_usd=0.5)]) == 0.75
    assert cost_of([RangeResult(0, cost_usd=0.25), RangeResult(1, without_cost=1)]) is None
    assert cost_of([]) == 0


PRICES = {
    "models": [
        {"model": "anthropic", "on_demand": [8, 40], "batch": [2, 10], "flex": [4, 20], "cached": 1},
        {"model": "meta", "on_demand": [8, 40]},
    ]
}


@pytest.mark.parametrize(
    ("model", "tier", "batch", "on_demand"),
    [
        # Of a million tokens, half of which were read from a cache, and a hundred thousand of answer.
        (HAIKU, "default", 2 + 1, 4 + 0.5 + 4),
        # A price of cached tokens is known of the default tier alone; without one they cost what any token does.
        (HAIKU, "flex", 2 + 1, 4 + 2),
        ("meta.llama3-3-70b-instruct-v1:0", "default", 4 + 2, 8 + 4),
        # Nobody knows what this tier costs, and jobs have none.
        (HAIKU, "reserved", 2 + 1, None),
    ],
)
def test_each_way_of_asking_has_its_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, tier: str, batch: float, on_demand: float | None
) -> None:
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(tmp_path / "prices.json"))
    stored = document(options={"service_tier": tier}, section={"model": model, "base_model": model})
    stored.bedrock.shards = [shard("00000"), shard("00001", route="on_demand"), shard("00002", route="none")]
    found = Costs(stored)
    usage = Usage(1_000_000, 100_000, 500_000)
    expected = {"00000": batch, "00001": on_demand, "00002": None, "": None}
    assert {name: found.of(name, usage) for name in expected} == pytest.approx(expected)
    names = [*expected]
    places = np.array([3, 2, 1, 0, 0], dtype=np.uint8)
    counts = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "cached_tokens": usage.cached}
    column = found.column(names, places, {name: pa.array([count] * 5) for name, count in counts.items()})
    assert column.type == pa.float64()
    assert column.to_pylist() == pytest.approx([expected[names[place]] for place in places.tolist()])
