"""Numbers of answers that a test makes up: shares of the right total, and quantiles."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.comparison import intervals, join, labels, measures, page, replies, schemas, verdict
from tasks.comparison.extract import Extract
from tasks.comparison.measures import _mean
from tasks.comparison.numbers import Mean
from tasks.comparison.reference import Reference
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


def test_a_mean_is_scaled_with_all_that_is_told_of_it() -> None:
    plain, scaled = _mean(np.arange(1, 101)), _mean(np.arange(1, 101), 1000.0)
    assert (scaled.count, scaled.value, scaled.median, scaled.maximum) == (100, 50_500, 50_500, 100_000)
    assert scaled.p90 == pytest.approx(90_100)
    assert scaled.interval == pytest.approx([1000 * each for each in plain.interval or ()])
    assert _mean(np.arange(0)) == Mean(0, None, None, None, None, None)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([], [0, 1]),
        ([5, 5], [4.5, 5.5]),
        ([0, 23], [n - 0.5 for n in range(25)]),
        ([0, 24], [n - 0.5 for n in range(25)]),
        ([0, *[50] * 99], [*(n * 50 / 24 for n in range(25))]),
        # The few beyond 99 % are with the last bar.
        ([*range(101), 10**6], [*(n * 100 / 24 for n in range(25))]),
        ([-1, -1, 3], [2.5, 3.5]),
    ],
)
def test_edges_of_the_pictures(values: list[int], edges: list[float]) -> None:
    found = measures._edges([np.array(values, dtype=np.int64)])
    if len(values) > 100:
        assert (len(found), found[0]) == (25, 0)
        assert 99 <= found[-1] <= 102
        assert measures._histogram(np.array(values), found)[-1] >= 2
        return
    assert found.tolist()[: len(edges)] == pytest.approx(edges)


@pytest.mark.parametrize(("clusters", "single"), [(100, True), (95, True), (94, False), (1, False)])
def test_where_requests_hardly_repeat(clusters: int, single: bool) -> None:
    assert measures._single(np.arange(100) % clusters) is single


def test_p_values_are_corrected_for_all_pairs(cloud: Cloud, tmp_path: Path) -> None:
    labels_: list[Any] = ["x", "y"] * 20
    answers = {name: [("y" if n < wrong else each) for n, each in enumerate(labels_)] for name, wrong in WRONG.items()}
    pairs = Compared(cloud, tmp_path, answers, labels_).numbers.pairs
    assert [pair.adjusted_p for pair in pairs] == intervals.holm([pair.p_value or 0.0 for pair in pairs])
    assert pairs[0].adjusted_p != pairs[0].p_value
    assert {pair.needed for pair in pairs if pair.accuracy_difference} == {
        intervals.PairedScores(one, other, np.arange(40)).needed(3)
        for one, other in combinations([_right(wrong) for wrong in WRONG.values()], 2)
    }


WRONG = {"a": 0, "b": 12, "c": 24}


def _right(wrong: int) -> Any:
    """Of the first answers, those with an odd number are right by chance."""
    return np.array([float(n >= wrong or n % 2 == 1) for n in range(40)])


def test_what_is_told_of_a_reference(cloud: Cloud, tmp_path: Path) -> None:
    reference = Reference({**{f"r{n}": ("x" if n < 3 else "y",) for n in range(10)}, "other": ("y",)}, missing=3)
    found = Compared(cloud, tmp_path, {"a": ["x"] * 11 + ["z"]}, reference).numbers
    assert (found.referenced, found.missing_references, found.extra_references) == (10, 2, 1)
    assert (found.blank_references, found.label_names) == (3, ["y", "x"]), "the most frequent first"
    assert Compared(cloud, tmp_path, {"a": ["x"]}, ["x"]).numbers.blank_references == 0


def test_labels_as_frequent_as_others_come_by_name(cloud: Cloud, tmp_path: Path) -> None:
    found = Compared(cloud, tmp_path, {"a": ["x"] * 8}, ["d", "b", "c", "a"] * 2)
    assert found.numbers.label_names == ["a", "b", "c", "d"]


def test_answers_that_are_no_label_are_a_share_of_the_answered(cloud: Cloud, tmp_path: Path) -> None:
    answers: list[Any] = ["odd", "odd", "strange", "I say x", "x", "y", None, REFUSED, "odd", "odd"]
    (side,) = Compared(cloud, tmp_path, {"a": answers}, [*["x", "y"] * 4, None, None]).numbers.variants
    assert side.unknown is not None
    assert (side.unknown.count, side.unknown.total, side.label_inside) == (4, 6, 1)
    assert side.unknown_answers == {"odd": 2, "strange": 1, "I say x": 1}
    many = [f"odd {n}" for n in range(7) for _ in range(9 - n)]
    (side,) = Compared(cloud, tmp_path, {"a": many}, ["x", "y"] * 21).numbers.variants
    assert side.unknown_answers == {f"odd {n}": 9 - n for n in range(5)}


def test_slices_leave_out_what_the_run_lost(cloud: Cloud, tmp_path: Path) -> None:
    fields = {"lang": {f"r{n}": "fr" if n < 6 else "de" for n in range(9)}}
    reference = Reference({f"r{n}": ("x",) for n in range(10)}, fields=fields)
    found = Compared(cloud, tmp_path, {"a": [None, REFUSED, *["x"] * 8]}, reference, slice_by=("lang",)).numbers
    assert [(each.value, each.requests) for each in found.slices["lang"]] == [("fr", 6), ("de", 3), ("(none)", 1)]
    assert [(each.accuracy[0].count, each.accuracy[0].total) for each in found.slices["lang"]] == [
        (4, 5),
        (3, 3),
        (1, 1),
    ]


def test_a_right_answer_is_the_references_label_whichever_is_accepted(cloud: Cloud, tmp_path: Path) -> None:
    """And an answer that is none, or is missing, has a column of its own."""
    labels_: list[Any] = [("car", "auto"), ("bike",)] * 20
    answers: list[Any] = [["auto", "bike"][n % 2] for n in range(36)] + ["van", None, REFUSED, "car"]
    found = Compared(cloud, tmp_path, {"a": answers}, labels_).numbers
    # Of bike: 18, one car, none missing but one; of car: 18 as auto, a van, one that failed.
    assert found.label_names == ["bike", "car"]
    assert found.variants[0].confusion == [[18, 1, 0, 1], [0, 18, 1, 1]]


def test_kappa_needs_two_labels_and_few_repeats(cloud: Cloud, tmp_path: Path) -> None:
    def kappa(first: list[Any], second: list[Any], texts: list[str] | None = None) -> Any:
        (pair,) = Compared(cloud, tmp_path, {"a": first, "b": second}, texts=texts).numbers.pairs
        return pair.kappa, pair.kappa_interval is not None

    two = ["x", "y"] * 50
    turned = [("y" if each == "x" else "x") if n < 20 else each for n, each in enumerate(two)]
    assert kappa(two, turned) == (pytest.approx(0.6), True)
    assert kappa(two, turned, [f"text {n // 2}" for n in range(100)]) == (pytest.approx(0.6), False)
    assert kappa(["x"] * 50, ["x"] * 50) == (None, False)
    assert kappa(two, [*two[:99], None]) == (1.0, False)


def test_what_a_run_of_both_cost(cloud: Cloud, tmp_path: Path) -> None:
    dear = {"content": "x", "prompt_tokens": 10_000}
    found = Compared(cloud, tmp_path, {"a": ["x", dear, None], "b": ["x", None, dear]}).numbers
    (pair,) = found.pairs
    assert pair.cost_both == 1
    assert [pair.first_cost, pair.second_cost] == pytest.approx([0.2, 0.2])
    first, second = found.variants
    assert [first.cost_usd, second.cost_usd] == pytest.approx([10_300e-6] * 2)
    assert (first.lost, first.cost_known, first.empty.total) == (1, 2, 2)


@pytest.mark.parametrize(("margin", "holds"), [(0.02, False), (0.5, True)])
def test_margins_are_held_to_from_both_sides(cloud: Cloud, tmp_path: Path, margin: float, holds: bool) -> None:
    labels_: list[Any] = ["x", "y"] * 50
    worse = ["y" if n < 40 else each for n, each in enumerate(labels_)]
    (pair,) = Compared(cloud, tmp_path, {"a": labels_, "b": worse}, labels_, margin=margin).numbers.pairs
    one, other = np.ones(100), np.array([float(n >= 40 or n % 2 == 1) for n in range(100)])
    paired = intervals.PairedScores(one, other, np.arange(100))
    turned = intervals.PairedScores(other, one, np.arange(100))
    assert (pair.first_not_worse_p, pair.first_worse_p) == (paired.above(-margin), turned.above(margin))
    assert (pair.second_not_worse_p, pair.second_worse_p) == (turned.above(-margin), paired.above(margin))
    assert ((pair.second_not_worse_p or 0.0) < 0.025) is holds
    assert (pair.only_first_right, pair.only_second_right) == (20, 0)


def test_a_scorers_scores_are_told_apart_to_the_thousandth(cloud: Cloud, tmp_path: Path) -> None:
    extract = Extract(scorer=f"{__name__}:length")
    answers = {"a": ["x" * 60] * 12, "b": ["x" * 59] * 12}
    (pair,) = Compared(cloud, tmp_path, answers, ["y"] * 12, extract=extract).numbers.pairs
    assert pair.p_value == pytest.approx(0.5**12)
    assert pair.accuracy_difference == pytest.approx(0.01)


def length(answer: str, reference: str) -> float:
    return len(answer) / 100


@pytest.mark.parametrize(("rare", "known"), [(4, False), (5, True)])
def test_f1_of_a_rare_label_has_no_interval(cloud: Cloud, tmp_path: Path, rare: int, known: bool) -> None:
    labels_: list[Any] = ["y"] * rare + ["x"] * (100 - rare)
    answers = ["y" if n < rare or n >= 88 else "x" for n in range(100)]
    (side,) = Compared(cloud, tmp_path, {"a": answers}, labels_).numbers.variants
    assert (side.macro_f1_interval is not None) is known


@pytest.mark.parametrize(("count", "known"), [(50, True), (51, False)])
def test_kappa_of_many_labels_has_no_interval(cloud: Cloud, tmp_path: Path, count: int, known: bool) -> None:
    labels_: list[Any] = [f"l{n % count}" for n in range(2 * count)]
    other = [labels_[n - 1] if n < 12 else each for n, each in enumerate(labels_)]
    (pair,) = Compared(cloud, tmp_path, {"a": labels_, "b": other}, labels_).numbers.pairs
    assert pair.kappa == pytest.approx(1 - 12 / (2 * count), abs=0.01)
    assert (pair.kappa_interval is not None) is known
