"""The report's own choices: names, numbers, which sections and examples there are, and what its script is given."""

import json
from array import array
from collections import Counter
from typing import Any

import msgspec
import pytest

from tasks.comparison.charts import Point
from tasks.comparison.joined import ANSWERED, LOST, Example, Joined
from tasks.comparison.judge import Judged, JudgedPair
from tasks.comparison.numbers import Mean, Measures, Numbers, Pair, Share
from tasks.comparison.page import Page, _agreement, _contents, _data, _points, examples, html, markdown, number

NONE = Share(0, 0, None)
NOTHING = Mean(0, None, None, None, None, None)
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


def mean(value: float) -> Mean:
    return Mean(1, value, None, value, value, value)


def variant(label: str, **fields: Any) -> Measures:
    given: dict[str, Any] = {
        "label": label,
        "model": label,
        "requests": 4,
        "answered": Share(3, 4, None),
        **dict.fromkeys(("truncated", "refused", "empty"), NONE),
        **dict.fromkeys(("json_valid", "schema_valid", "tool_calls_valid", "cost_usd", "cost_per_thousand", "rate")),
        **dict.fromkeys(("characters", "output_tokens"), NOTHING),
        **dict.fromkeys(("input_tokens", "total_output_tokens"), 0),
        "errors": {},
        "finish_reasons": {},
        "length_histogram": [],
        "token_histogram": [],
    }
    return Measures(**(given | fields))


def numbers(*variants: Measures, **fields: Any) -> Numbers:
    given: dict[str, Any] = {
        "requests": 4,
        "labels": True,
        "variants": list(variants),
        "pairs": [],
        "length_edges": [0.0, 1.0],
        "token_edges": [0.0, 1.0],
        "label_names": [],
        **dict.fromkeys(("referenced", "missing_references", "extra_references"), 0),
    }
    return Numbers(**(given | fields))


def pair(first: str, second: str, **fields: Any) -> Pair:
    given: dict[str, Any] = {"both": 0, "agreement": NONE, "kappa": None, "kappa_interval": None, "similarity": None}
    return Pair(first, second, **(given | fields))


def page(of: Numbers, **fields: Any) -> Page:
    given: dict[str, Any] = {"note": None, "joined": None, "judged": None, "failed": {}, "parameters": []}
    return Page(id="cmp_1", title="a|b", made="today", numbers=of, **(given | fields))


def judged(*ranking: tuple[str, float, None], pairs: list[JudgedPair] | None = None) -> Judged:
    return Judged("m", "r", "batch_1", 1, 2, 0, pairs or [], list(ranking), NONE, NONE)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 0, "–"),
        (0, 0, "0"),
        (0, 2, "0.00"),
        (1234.5, 1, "1,234.5"),
        (0.05, 1, "0.05"),
        (0.1, 1, "0.1"),
        (0.000123, 2, "0.00012"),
        (-0.004, 2, "-0.004"),
    ],
)
def test_numbers_for_people(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_models_without_a_label_have_short_names() -> None:
    of = numbers(variant(HAIKU), variant("mine", model=HAIKU), pairs=[pair(HAIKU, "mine")], base=HAIKU)
    by = judged((HAIKU, 0.5, None), pairs=[JudgedPair(HAIKU, "mine", 1, 1, 0, NONE, 0)])
    short = page(of, judged=by).with_short_names()
    assert [each.label for each in short.numbers.variants] == ["claude-haiku-4-5", "mine"]
    assert (short.numbers.pairs[0].first, short.numbers.pairs[0].second) == ("claude-haiku-4-5", "mine")
    assert short.numbers.base == "claude-haiku-4-5"
    assert short.judged is not None
    assert short.judged.ranking == [("claude-haiku-4-5", 0.5, None)]
    assert short.judged.pairs[0].first == "claude-haiku-4-5"
    # The page that it was made of stays as it was.
    assert (of.variants[0].label, of.base, by.ranking[0][0]) == (HAIKU, HAIKU, HAIKU)


def test_a_short_name_that_two_would_have_is_none() -> None:
    same = [HAIKU, f"us.{HAIKU}"]
    assert [v.label for v in page(numbers(*map(variant, same))).with_short_names().numbers.variants] == same
    taken = numbers(variant(HAIKU), variant("claude-haiku-4-5", model="x.y"))
    assert page(taken).with_short_names().numbers.variants[0].label == HAIKU


def test_points_have_a_cost_and_a_quality() -> None:
    cost = mean(0.5)
    of = numbers(
        variant("a", cost_per_thousand=cost, accuracy=Share(1, 4, None), accuracy_compared=Share(3, 4, (0.5, 0.9))),
        variant("b", cost_per_thousand=cost, accuracy=Share(1, 4, None)),
        variant("c", accuracy=Share(1, 4, None)),
        variant("d", cost_per_thousand=cost, accuracy=NONE),
        variant("e", cost_per_thousand=cost),
    )
    assert _points(of, None) == [Point("a", 0.5, 75.0, 50.0, 90.0), Point("b", 0.5, 25.0, 25.0, 25.0)]
    # Without a reference, it is what a judge says.
    assert _points(numbers(*of.variants[4:]), judged(("e", 0.25, None))) == [Point("e", 0.5, 25.0, 25.0, 25.0)]


def test_agreement_is_a_table_of_both_halves() -> None:
    both = pair("a", "b", agreement=Share(3, 4, None), similarity=mean(0.5))
    of = numbers(variant("a"), variant("b"), pairs=[both])
    assert _agreement(of) == {(0, 0): 1.0, (1, 1): 1.0, (0, 1): 0.75, (1, 0): 0.75}
    of.labels = False
    assert _agreement(of)[1, 0] == 0.5
    both.similarity = None
    assert _agreement(of)[0, 1] is None


def test_only_the_sections_that_there_are() -> None:
    bare = page(numbers())
    assert [anchor for anchor, _ in _contents(bare, False, True, False)] == ["meaning", "run"]
    full = page(numbers(variant("a", confusion=[[1]]), pairs=[pair("a", "b")], slices={"lang": []}), judged=judged())
    assert [anchor for anchor, _ in _contents(full, True, True, True)] == [
        "variants", "cost", "agreement", "pairs", "slices", "lengths", "confusions", "disagreements", "judge", "errors",
        "meaning", "run",
    ]  # fmt: skip


def example(name: str, right: list[bool], reference: str | None = "x", likeness: float = 0.0) -> Example:
    return Example(name, "q", reference, ["x", "y"], (), likeness, right, [ANSWERED, LOST])


def joined(given: dict[tuple[int, ...], tuple[int, list[Example]]], labels: bool = True) -> Joined:
    kept = {pattern: each for pattern, (_, each) in given.items()}
    counts = Counter({pattern: count for pattern, (count, _) in given.items()})
    return Joined([], 4, labels, {}, array("Q"), 0, {}, kept, counts)


def test_examples_come_in_turn_from_each_way_to_differ() -> None:
    one, other, none = [True, False], [False, True], [False, False]
    found = examples(
        joined(
            {
                (0, 1): (2, [example("other 1", other)]),
                (0, 2): (9, [example("none 1", none), example("none 2", none)]),
                (0, 3): (3, [example("one 3", one)]),
                (0, 4): (5, [example("one 1", one), example("one 2", one)]),
            }
        )
    )
    # Frequent kinds first; those on which nobody is right last.
    assert [each.custom_id for each in found] == ["one 1", "other 1", "none 1", "one 2", "none 2", "one 3"]


def test_without_a_reference_the_least_alike_come_first() -> None:
    texts = [example(str(n), [False, False], None, likeness=1 - n / 100) for n in range(30)]
    found = examples(joined({(0, 0, 1): (30, texts)}, labels=False))
    assert [each.custom_id for each in found] == [str(n) for n in range(29, 9, -1)]
    assert examples(joined({})) == []


def test_what_the_script_is_given_is_no_markup() -> None:
    evil = "</script><!-- & \u2028\u2029"
    of = joined({})
    of.listed = [example(evil, [True, False]), example("b", [False, True])]
    text = _data(of, [evil, "b"])
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {
        "variants": [evil, "b"],
        # Right, wrong, and without an answer.
        "rows": [[evil, "q", "x", ["x", "y"], [1, 2]], ["b", "q", "x", ["x", "y"], [0, 2]]],
    }


def test_the_report_in_short() -> None:
    of = numbers(
        variant("a|b", cost_per_thousand=mean(0.25), output_tokens=mean(12.34)),
        variant("c", answered=NONE),
    )
    text = markdown(page(of, note="*Synthetic*"), {"report": "s3://b/r"}).replace("\u00a0", " ")
    assert text.startswith("# a\\|b\n\n*\\*Synthetic\\**\n\n")
    assert text.endswith(
        "| variant | answered | cost per 1,000 | output tokens |\n"
        "|---|---:|---:|---:|\n"
        "| a\\|b | 75.0 % | $0.2500 | 12.3 |\n"
        "| c | – | no price | – |\n"
        "\n"
        "- report: s3://b/r\n"
    )


def test_the_report_in_short_has_accuracy_with_a_reference() -> None:
    right, compared = Share(1, 4, None), Share(1, 2, None)
    of = numbers(variant("a", accuracy=right, accuracy_compared=compared), variant("b", accuracy=right), referenced=4)
    lines = markdown(page(of), {}).replace("\u00a0", " ").splitlines()
    assert "| variant | accuracy | answered | cost per 1,000 | output tokens |" in lines
    assert "| a | 50.0 % | 75.0 % | no price | – |" in lines
    assert "| b | 25.0 % | 75.0 % | no price | – |" in lines


@pytest.mark.parametrize(("costs", "total"), [((0.25, 0.5), "In all $0.7500."), ((0.25, None), None)])
def test_a_total_is_of_all_or_there_is_none(costs: tuple[float | None, ...], total: str | None) -> None:
    """The sum of what is known would be read as the bill."""
    made = html(page(numbers(*(variant(label, cost_usd=cost) for label, cost in zip("ab", costs, strict=True)))))
    assert (total or "In all $") in made if total else "In all $" not in made


def test_why_a_variant_has_no_results_is_among_the_errors() -> None:
    of = numbers(variant("a", errors={"server_error: down": 3}))
    made = html(msgspec.structs.replace(page(of), failed={"b": "denied by AWS"}))
    assert made.count("server_error: down") == 1
    assert made.count("denied by AWS") == 2, "and in the verdict"


@pytest.mark.parametrize(("referenced", "name"), [(4, "Accuracy"), (0, "Won before the judge")])
def test_a_picture_needs_two_and_says_what_is_good(referenced: int, name: str) -> None:
    cost, share = mean(0.5), Share(1, 4, None) if referenced else None
    both = [variant(label, cost_per_thousand=cost, accuracy=share) for label in "ab"]
    by = judged(("a", 0.5, None), ("b", 0.5, None))
    made = html(page(numbers(*both, referenced=referenced), judged=by))
    assert f'aria-label="{name}, % against US dollars per 1,000 requests"' in made
    alone = html(page(numbers(*both[:1], referenced=referenced), judged=by))
    assert "against US dollars per 1,000 requests" not in alone
