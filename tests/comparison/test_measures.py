"""Numbers of answers that a test makes up: shares of the right total, and quantiles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.comparison import join, labels, measures, page, replies, schemas, verdict
from tasks.comparison.extract import Extract
from tasks.comparison.measures import _mean
from tests.comparison.compared import REFUSED, Compared
from tests.fakes import Cloud


def test_the_quantiles_of_a_hundred_numbers() -> None:
    mean = _mean(np.arange(1, 101))
    assert (mean.value, mean.median, mean.maximum) == (50.5, 50.5, 100.0)
    assert mean.p90 == pytest.approx(90.1)


def test_what_was_cut_off_is_a_share_of_the_answered(cloud: Cloud, tmp_path: Path) -> None:
    cut = {"content": "Once upon", "finish_reason": "length"}
    (side,) = Compared(cloud, tmp_path, {"a": [cut, cut, cut, "x", "y", None, None]}).numbers.variants
    assert (side.truncated.count, side.truncated.total) == (3, 5)
    assert (side.answered.count, side.answered.total) == (5, 7)


def test_the_twenty_most_frequent_errors_are_named(cloud: Cloud, tmp_path: Path) -> None:
    answers = [{**REFUSED, "error_code": f"e{n}"} for n in range(21) for _ in range(2 if n < 20 else 1)]
    (side,) = Compared(cloud, tmp_path, {"a": [*answers, "x"]}).numbers.variants
    assert side.errors == {f"e{n}: too long": 2 for n in range(20)}


def test_the_constants_of_the_tables() -> None:
    """What is a label, what is looked at, and how much is shown."""
    assert (join._LOOKED_AT, join._LABEL_CHARACTERS, join._MOST_LABELS, join._MOST_CATEGORIES) == (500, 40, 50, 1000)
    assert (join._NAMED_CHARACTERS, join._UNKNOWN, join.UNKNOWN_CHARACTERS) == (1000, 1000, 80)
    assert (join.SIMILARITY_REQUESTS, join.SIMILARITY_CHARACTERS) == (2000, 2000)
    assert (join._GROUP_ROWS, join._GROUP_CHARACTERS) == (8192, 8 << 20)
    assert (labels._MOST_LABELS, labels._REMEMBERED, labels._SEARCHED) == (200, 200, 20_000)
    assert (measures._SHOWN_LABELS, measures._MOST_LABELS) == (20, 200)
    assert (measures._NAMED_UNKNOWN, measures._SHOWN_SLICES) == (5, 30)
    assert (page._EXAMPLES, page.SENTENCE, verdict._ANSWERED, verdict._CUT_OFF) == (20, 4000, 0.95, 0.05)
    assert (verdict._UNKNOWN, verdict._UNREAD) == (0.2, 0.01)
    assert (replies._REPLY_CHARACTERS, schemas._SECONDS, schemas._CLOCK_SECONDS) == (4000, 1.0, 30.0)
    assert (schemas._SECONDS_IN_ALL, schemas._SECONDS_EACH) == (10.0, 0.005)
    assert (schemas._MEMORY_BYTES, schemas._PATTERN_BYTES) == (2 << 30, 1 << 20)


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"required": ["n"]}}}


@pytest.mark.parametrize("overrides", [{"tools": [TOOL]}, {"tools": None}])
def test_a_variants_own_tools_are_what_its_calls_are_held_to(
    cloud: Cloud, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    calls = [{"content": None, "tool_calls": f'[["1","f",{arguments}]]'} for arguments in ('"{\\"n\\":1}"', '"{}"')]
    body = {} if overrides["tools"] else {"tools": [TOOL]}
    (side,) = Compared(cloud, tmp_path, {"a": calls}, overrides=overrides, body=body).numbers.variants
    assert side.tool_calls_valid is not None
    assert (side.tool_calls_valid.count, side.tool_calls_valid.total) == (1 if overrides["tools"] else 0, 2)


@pytest.mark.parametrize(
    ("answers", "are"),
    [
        (["x", "y"] * 45 + ["z" * 41] * 9, True),
        (["x", "y"] * 45 + ["z" * 41] * 10, False),
        (["z" * 40, "x"] * 10, True),
        (["x", "y"], True),
        (["x", "y", "z"], False),
        ([f"label {n % 50}" for n in range(100)], True),
        ([f"label {n % 51}" for n in range(102)], False),
    ],
)
def test_answers_are_labels_where_nine_of_ten_are_short_and_few(
    cloud: Cloud, tmp_path: Path, answers: list[Any], are: bool
) -> None:
    assert Compared(cloud, tmp_path, {"a": answers}).numbers.labels is are


def test_a_set_of_labels_makes_labels_of_whatever_is_answered(cloud: Cloud, tmp_path: Path) -> None:
    answers: list[Any] = [f"I would say that it is number {n}, all in all" for n in range(20)]
    assert Compared(cloud, tmp_path, {"a": answers}, ["x", "y"] * 10).numbers.labels
    assert not Compared(cloud, tmp_path, {"a": answers}).numbers.labels


def test_only_where_answers_differ_there_is_a_disagreement(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": ["x", "y", None], "b": ["X.", "z", "x"]})
    assert [each.custom_id for each in found.joined.listed] == ["r1", "r2"]


def test_likeness_is_measured_on_requests_spread_over_the_file(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "SIMILARITY_REQUESTS", 2)
    texts = [f"{n} and many more words than any label has in it: {n}" for n in range(10)]
    found = Compared(cloud, tmp_path, {"a": [*texts], "b": [*texts[:5], *["other"] * 5]})
    assert found.joined.similarities[0, 1][0] == 1.0
    assert len(found.joined.similarities[0, 1]) == 2, "the first and the sixth"
    assert found.joined.similarities[0, 1][1] < 0.5


def test_a_field_of_too_many_values_has_others(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_MOST_CATEGORIES", 2)
    bodies: list[Any] = [{"metadata": {"lang": lang}} for lang in ("fr", "de", "en", "it", "fr")] + [{}]
    found = Compared(cloud, tmp_path, {"a": ["x"] * 6}, bodies=bodies, slice_by=("lang",))
    assert found.joined.categories == {"lang": ["", "fr", "de", "(others)"]}
    assert found.joined.slices["lang"].tolist() == [1, 2, 3, 3, 1, 0]


def test_what_failed_costs_nothing(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": ["x", REFUSED, None]})
    assert found.joined.sides[0].costs.tolist() == pytest.approx([200e-6, 0, 0])
    assert found.joined.sides[0].lengths.tolist() == [1, -1, -1]
    assert [row["run_error"] for row in found.rows] == [False, False, True]


def test_the_majority_is_of_answers_not_of_scores(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": [["u", "v", "V."]] * 4}, ["x", "y"] * 2, choices="majority")
    assert {row["answer"] for row in found.rows} == {"v"}


def listed(answer: str, reference: str | tuple[str, ...]) -> bool:
    return answer in reference if isinstance(reference, tuple) else answer == reference


def test_a_scorer_gets_all_that_is_accepted(cloud: Cloud, tmp_path: Path) -> None:
    labels: list[Any] = [("xx", "yy"), "xx"] * 4
    extract = Extract(scorer=f"{__name__}:listed")
    (side,) = Compared(cloud, tmp_path, {"a": ["yy"] * 8}, labels, extract=extract).numbers.variants
    assert side.accuracy is not None
    assert side.accuracy.count == 4


def test_answers_that_cannot_be_read_are_not_all_the_same(cloud: Cloud, tmp_path: Path) -> None:
    extract = Extract(regex="Answer: (.*)")
    answers = {"a": ["no", "Answer: x"], "b": ["nothing", "So. Answer: x"]}
    (pair,) = Compared(cloud, tmp_path, answers, extract=extract).numbers.pairs
    assert (pair.agreement.count, pair.both) == (1, 2)
