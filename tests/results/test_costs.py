"""What answers cost: by their tokens, by the way they were asked, cached tokens as cached."""

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
