"""Where a comparison lives, and what names it."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.comparison.result import Comparison, ComparisonRef, comparison_id
from tasks.storage.uris import S3Uri


def test_the_same_parts_name_the_same_comparison() -> None:
    first = comparison_id("digest", [{"a": 1, "b": None}], "judge")
    assert first == comparison_id("digest", [{"b": None, "a": 1}], "judge")
    assert first.startswith("cmp_")
    assert len(first) == 36


@pytest.mark.parametrize("parts", [("digest",), ("digest", [{"a": 2}]), ([{"a": 1}], "digest"), ()])
def test_others_name_another(parts: tuple[Any, ...]) -> None:
    assert comparison_id(*parts) != comparison_id("digest", [{"a": 1}])


def test_names_of_today_stay() -> None:
    """A comparison that was begun is found again by a later version."""
    assert comparison_id("digest", ["m"], None) == "cmp_af8d2d2fa9f5b84e2490b5f319e09467"


def test_where_it_lives() -> None:
    settings: Any = SimpleNamespace(root=S3Uri("bucket", "prefix"))
    ref = ComparisonRef(settings, "cmp_1")
    assert str(ref.uri("report.html")) == "s3://bucket/prefix/comparisons/cmp_1/report.html"
    assert str(ref.uri("inputs", "00-a.jsonl")) == "s3://bucket/prefix/comparisons/cmp_1/inputs/00-a.jsonl"


def test_what_is_not_there_is_empty() -> None:
    found = Comparison(id="cmp_1", input_file="in.jsonl")
    assert (found.batches, found.failed, found.cost_usd, found.verdict, found.conclusions) == ({}, {}, {}, [], [])
    assert (found.within_margin, found.judge_batch, found.table_file, found.report_file) == (None, None, None, None)
    assert Comparison.model_validate_json(found.model_dump_json()) == found
