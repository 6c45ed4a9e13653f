"""What a comparison takes beyond what a batch takes: defaults, bounds, and how Prefect's form asks for it."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.batch.parameters import BatchParameters, SharedParameters
from tasks.comparison.parameters import ComparisonParameters

GIVEN: dict[str, Any] = {"input_file": "in.jsonl", "models": ["m"]}
OWN = ComparisonParameters.model_fields.keys() - SharedParameters.model_fields.keys()


def test_what_is_not_said() -> None:
    found = ComparisonParameters(**GIVEN)
    assert {name: getattr(found, name) for name in OWN} == dict.fromkeys(OWN) | {
        "models": ["m"],
        "choices": "first",
        "variants": [],
    }


def test_only_input_and_models_must_be_said() -> None:
    described = list(ComparisonParameters.described())
    assert [name for name, info, _ in described if info.is_required()] == ["input_file", "models"]
    assert {name for name, _, _ in described} == set(ComparisonParameters.model_fields)
    for name, _, each in described:
        assert each.title, name
        assert each.text.endswith("."), name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("margin", [0, 2.5, 100, None]),
        ("max_cost_usd", [0.5, None]),
        ("choices", ["first", "majority", "mean", "any"]),
        ("models", [["m", {"model": "n", "overrides": {"temperature": 0}}], []]),
        ("variants", [[{"model": "n"}]]),
        ("judge", ["m", {"model": "m"}, None]),
        ("extract", ["includes", {"regex": "x"}, None]),
    ],
)
def test_what_may_be_said(name: str, values: list[Any]) -> None:
    for value in values:
        assert getattr(ComparisonParameters(**(GIVEN | {name: value})), name) == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("margin", -0.1, "greater than or equal to 0"),
        ("margin", 100.1, "less than or equal to 100"),
        ("margin", float("nan"), "finite"),
        ("margin", float("inf"), "finite"),
        ("max_cost_usd", float("inf"), "finite"),
        ("choices", "all", "'first', 'majority', 'mean' or 'any'"),
        ("models", "m", "valid list"),
        ("variants", ["m"], "valid dictionary"),
        ("cluster_by", 3, "valid string"),
        ("odd", 1, "Extra inputs are not permitted"),
    ],
)
def test_what_may_not_be_said(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ComparisonParameters(**(GIVEN | {name: value}))


def test_the_form_asks_for_models_in_lines_or_as_json() -> None:
    models = ComparisonParameters.model_json_schema()["properties"]["models"]
    ids, as_json = models["anyOf"]
    assert (ids["title"], ids["items"]) == ("ids", {"type": "string"})
    assert as_json["items"] == {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": True}]}


def test_the_form_asks_for_a_variant_field_by_field() -> None:
    variant = ComparisonParameters.model_json_schema()["properties"]["variants"]["items"]
    assert (variant["type"], variant["required"]) == ("object", ["model"])
    fields = variant["properties"]
    assert list(fields) == ["model", "label", "overrides", *BatchParameters.names("variant")]
    assert [each["position"] for each in fields.values()] == list(range(len(fields)))
    for name, each in fields.items():
        assert each["title"], name
        assert each["description"], name
    assert fields["overrides"]["additionalProperties"] is True
