"""Renews tasks/bedrock/prices.json: `python -m deployments.price_table MAP VERSION DAY`.

MAP is LiteLLM's model_prices_and_context_window.json, which is maintained and has Bedrock's batch prices and regional
profiles; its package, of VERSION, ships it under MIT licence. DAY is when it was read: 2026-11-20. The package itself
is no dependency: it brings a proxy, and forty megabytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

PRICES = Path(__file__).resolve().parents[1] / "tasks" / "bedrock" / "prices.json"


def entries(prices: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each model id of Bedrock that has a price for tokens, in the order of their names."""
    found = []
    for name, row in sorted(prices.items()):
        if not str(row.get("litellm_provider", "")).startswith("bedrock") or row.get("mode") not in (
            "chat",
            "embedding",
        ):
            continue
        # Regions, commitments and ids of other services stand in the map beside the models' own.
        if "/" in name or "@" in name or "." not in name.partition(":")[0]:
            continue
        entry: dict[str, Any] = {"id": name}
        for field, suffix in (("on_demand", ""), ("batch", "_batches"), ("flex", "_flex"), ("priority", "_priority")):
            pair = [row.get(f"{side}_cost_per_token{suffix}") for side in ("input", "output")]
            costs = [cost for cost in pair if isinstance(cost, int | float)]
            if len(costs) == 2 and any(costs):
                entry[field] = [round(cost * 1e6, 6) for cost in costs]
        for field, of in (("cached", "cache_read_input_token_cost"), ("written", "cache_creation_input_token_cost")):
            cost = row.get(of)
            if "on_demand" in entry and isinstance(cost, int | float):
                entry[field] = round(cost * 1e6, 6)
        if len(entry) > 1:
            found.append(entry)
    return found


def render(prices: dict[str, dict[str, Any]], version: str, day: str) -> str:
    """The price list, an entry a line."""
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in entries(prices))
    source = (
        f"litellm's model_prices_and_context_window.json {version} (https://github.com/BerriAI/litellm, MIT), made "
        "into this list by deployments/price_table.py; AWS's own list is https://aws.amazon.com/bedrock/pricing/"
    )
    return (
        f'{{\n  "seen": {json.dumps(day)},\n  "source": {json.dumps(source)},\n'
        f'  "unit": "US dollars per million tokens: [input, output]",\n  "models": [\n{lines}\n  ]\n}}\n'
    )


if __name__ == "__main__":
    path, version, day = sys.argv[1:]
    PRICES.write_text(render(json.loads(Path(path).read_text(encoding="utf-8")), version, day), encoding="utf-8")
    sys.stdout.write(f"{PRICES.name} is of {version}.\n")
