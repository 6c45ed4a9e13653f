"""The price list out of LiteLLM's map: which models, and which of their prices."""

import json
from pathlib import Path
from typing import Any

from deployments.price_table import PRICES, entries, render


def row(**fields: Any) -> dict[str, Any]:
    return {
        "litellm_provider": "bedrock_converse",
        "mode": "chat",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 5e-06,
        **fields,
    }


def test_every_price_of_a_model() -> None:
    found = entries(
        {
            "us.b.model": row(
                input_cost_per_token_batches=5e-07,
                output_cost_per_token_batches=2.5e-06,
                input_cost_per_token_flex=4e-07,
                output_cost_per_token_flex=2e-06,
                input_cost_per_token_priority=1.75e-06,
                output_cost_per_token_priority=8.75e-06,
                cache_read_input_token_cost=1e-07,
                cache_creation_input_token_cost=1.25e-06,
            ),
            "a.model": row(litellm_provider="bedrock", mode="embedding", output_cost_per_token=0.0),
        }
    )
    assert found == [
        {"id": "a.model", "on_demand": [1.0, 0.0]},
        {
            "id": "us.b.model",
            "on_demand": [1.0, 5.0],
            "batch": [0.5, 2.5],
            "flex": [0.4, 2.0],
            "priority": [1.75, 8.75],
            "cached": 0.1,
            "written": 1.25,
        },
    ]
    assert list(found[1]) == ["id", "on_demand", "batch", "flex", "priority", "cached", "written"]


def test_what_is_no_model_with_a_price_is_left_out() -> None:
    assert not entries(
        {
            "a.other": row(litellm_provider="anthropic"),
            "a.image": row(mode="image_generation"),
            "bedrock/us-east-1/a.model": row(),
            "a.model@x": row(),
            "model": row(),
            "model:1.0": row(),
            "a.free": row(input_cost_per_token=0, output_cost_per_token=0),
            "a.half": row(output_cost_per_token=None),
            "a.cached": row(input_cost_per_token=None, cache_read_input_token_cost=1e-07),
        }
    )


def test_the_list_says_of_when_and_where_it_is() -> None:
    text = render({"a.model": row(), "b.model": row()}, "1.2.3", "2026-11-20")
    found = json.loads(text)
    assert list(found) == ["seen", "source", "unit", "models"]
    assert found["seen"] == "2026-11-20"
    assert found["source"].startswith("litellm's model_prices_and_context_window.json 1.2.3 (")
    assert found["unit"] == "US dollars per million tokens: [input, output]"
    # A line each, so that a change can be read.
    assert text.endswith(
        '  "models": [\n    {"id": "a.model", "on_demand": [1.0, 5.0]},\n'
        '    {"id": "b.model", "on_demand": [1.0, 5.0]}\n  ]\n}\n'
    )


def test_the_list_is_the_one_that_prices_are_read_from() -> None:
    from tasks.bedrock.prices import _OURS

    assert Path(str(_OURS)) == PRICES
    shipped = json.loads(PRICES.read_text(encoding="utf-8"))
    ids = [entry["id"] for entry in shipped["models"]]
    assert list(shipped) == ["seen", "source", "unit", "models"]
    assert len(ids) == len(set(ids))
