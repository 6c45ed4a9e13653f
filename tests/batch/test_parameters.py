"""What is said of a parameter, and what is no value of it. How flows have them: `test_options.py`."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from tasks.batch.parameters import BatchParameters, Help, Parameters, SharedParameters
from tests.conftest import CLAUDE


class _Two(Parameters):
    optional: Annotated[int, Help("Optional", "May be left out.", naming=True)] = 1
    needed: Annotated[str, Help("Needed", "Must be given.", {"a": "it is a", "b": "it is b"}, variant=True)]


def test_those_that_must_be_given_come_first() -> None:
    assert [(name, each.title) for name, _, each in _Two.described()] == [
        ("needed", "Needed"),
        ("optional", "Optional"),
    ]
    assert (_Two.names("naming"), _Two.names("variant")) == (("optional",), ("needed",))


def test_a_description_has_its_choices() -> None:
    needed, optional = (each for _, _, each in _Two.described())
    assert needed.description == 'Must be given. "a": it is a. "b": it is b.'
    assert optional.description == "May be left out."


def test_every_parameter_of_a_batch_is_told() -> None:
    described = list(BatchParameters.described())
    assert [name for name, info, _ in described if info.is_required()] == ["input_file", "model"]
    assert {name for name, _, _ in described} == set(BatchParameters.model_fields)
    for name, info, each in described:
        assert each.title, name
        assert each.text.endswith("."), name
        # What a None stands for is said.
        assert info.default is not None or each.default or name in ("metadata", "job_name", "output_data_config"), name


def test_what_names_a_batch_and_what_a_variant_sets() -> None:
    """Batches of today's calls keep their ids: what names them is not changed."""
    assert set(BatchParameters.names("naming")) == {
        "endpoint", "on_invalid", "unsupported", "invocation", "fetch_images",
    }  # fmt: skip
    assert set(BatchParameters.names("variant")) == {
        "completion_window", "job_name", "role_arn", "unsupported", "below_minimum", "invocation",
    }  # fmt: skip


def test_what_each_batch_of_a_comparison_is_given() -> None:
    given = SharedParameters(input_file="in.jsonl", on_invalid="skip").shared()
    assert "input_file" not in given
    assert (given["on_invalid"], given["completion_window"]) == ("skip", "24h")
    assert given.keys() | {"input_file"} == SharedParameters.model_fields.keys()


def test_a_path_is_its_text() -> None:
    assert SharedParameters(input_file=Path("a/in.jsonl")).input_file == "a/in.jsonl"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_invalid", "ignore"),
        ("unsupported", "keep"),
        ("below_minimum", ""),
        ("invocation", "converse"),
        ("poll_seconds", 0),
        ("poll_seconds", float("nan")),
        ("poll_seconds", float("inf")),
        ("max_cost_usd", -0.01),
        ("max_cost_usd", float("nan")),
        ("metadata", "a=b"),
        ("input_file", 7),
    ],
)
def test_what_is_no_value_of_a_parameter(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: .*, not ") as caught:
        BatchParameters.require_valid(name, value)
    assert repr(value) in str(caught.value)
    with pytest.raises(ValidationError, match=name):
        BatchParameters(**{"input_file": "in.jsonl", "model": CLAUDE, name: value})


@pytest.mark.parametrize(("name", "value"), [("max_cost_usd", 0), ("poll_seconds", 0.1), ("metadata", None)])
def test_what_is_one(name: str, value: Any) -> None:
    BatchParameters.require_valid(name, value)
    assert getattr(BatchParameters(**{"input_file": "in.jsonl", "model": CLAUDE, name: value}), name) == value


def test_a_parameter_that_there_is_not() -> None:
    with pytest.raises(ValidationError, match="modle"):
        BatchParameters(input_file="in.jsonl", model=CLAUDE, modle=CLAUDE)  # type: ignore[call-arg]
