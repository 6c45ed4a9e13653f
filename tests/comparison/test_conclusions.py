"""Claims out of numbers: whom each is of, its sign, its test, and whether it holds."""

from typing import Any

import msgspec
import pytest

from tasks.comparison.conclusions import Conclusion, conclude, same_cost
from tasks.comparison.judge import Judged, JudgedPair
from tasks.comparison.numbers import Measures, Numbers, Pair, Share

NO_SHARE = Share(0, 0, None)


def pair(first: str = "a", second: str = "b", **fields: Any) -> Pair:
    given: dict[str, Any] = {"both": 0, "agreement": NO_SHARE, "kappa": None, "kappa_interval": None}
    return Pair(first, second, **(given | {"similarity": None} | fields))


#: The first is ten points better on a hundred requests.
BETTER: dict[str, Any] = {
    "accuracy_difference": 0.1,
    "difference_interval": (0.02, 0.18),
    "p_value": 0.01,
    "adjusted_p": 0.03,
    "compared": 100,
    "clusters": 100,
    "first_accuracy": 0.9,
    "second_accuracy": 0.8,
    "needed": 200,
}
#: The same from the other side.
WORSE = BETTER | {
    "accuracy_difference": -0.1,
    "difference_interval": (-0.18, -0.02),
    "first_accuracy": 0.8,
    "second_accuracy": 0.9,
}


def numbers(*pairs: Pair, **fields: Any) -> Numbers:
    given: dict[str, Any] = {
        "requests": 100,
        "labels": True,
        "variants": [],
        "pairs": list(pairs),
        "length_edges": [],
        "token_edges": [],
        "label_names": [],
        "referenced": 100,
        "missing_references": 0,
        "extra_references": 0,
    }
    return Numbers(**(given | fields))


def the(claim: str, found: list[Conclusion]) -> list[Conclusion]:
    return [each for each in found if each.claim == claim]


@pytest.mark.parametrize(("given", "names"), [(BETTER, ("a", "b")), (WORSE, ("b", "a"))])
def test_the_more_accurate_is_first(given: dict[str, Any], names: tuple[str, str]) -> None:
    assert conclude(numbers(pair(**given)), None) == [
        Conclusion(
            "more_accurate",
            names,
            holds=True,
            difference=0.1,
            interval=(0.02, 0.18),
            p_value=0.01,
            adjusted_p=0.03,
            n=100,
            clusters=100,
            test="mid-p McNemar",
            values=(0.9, 0.8),
            needed=200,
        )
    ]


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"adjusted_p": 0.0499}, True),
        ({"adjusted_p": 0.05}, False),
        ({"adjusted_p": None}, False),
        # Where the interval says otherwise, nothing is claimed.
        ({"difference_interval": (0.0, 0.2)}, False),
        ({"difference_interval": None}, True),
    ],
)
def test_when_a_difference_is_one(changes: dict[str, Any], holds: bool) -> None:
    (found,) = conclude(numbers(pair(**BETTER | changes)), None)
    assert found.holds is holds


def test_clusters_have_a_test_of_their_own() -> None:
    (found,) = conclude(numbers(pair(**BETTER | {"clusters": 40})), None)
    assert (found.test, found.clusters) == ("mid-p sign-flip", 40)


def test_equals_stay_as_they_were_named() -> None:
    (found,) = conclude(numbers(pair(**BETTER | {"accuracy_difference": 0.0, "difference_interval": None})), None)
    assert (found.variants, found.difference, found.interval) == (("a", "b"), 0.0, None)


def test_without_a_reference_there_is_no_accuracy() -> None:
    assert conclude(numbers(pair(), referenced=0), None) == []


def margin(*pairs: Pair) -> list[Conclusion]:
    # Only how many there are, and the first one's name, count.
    variants: Any = [None] * 3
    found = conclude(numbers(*pairs, margin=0.02, base="b", variants=variants), None)
    return [each for each in found if each.claim in ("not_worse", "worse")]


def test_a_margin_is_to_the_first_one_named() -> None:
    chances = {
        "first_not_worse_p": 0.01,
        "second_not_worse_p": 0.2,
        "first_worse_p": 0.9,
        "second_worse_p": 0.012,
    }
    found = margin(pair("a", "b", **BETTER, **chances), pair("b", "c", **BETTER, **chances), pair("a", "c", **BETTER))
    said = [(each.claim, each.variants, each.p_value, each.adjusted_p, each.holds) for each in found]
    # Two tests in each family: twice the smallest chance; one-sided, half of 5 %.
    assert said == [
        ("not_worse", ("a", "b"), 0.01, 0.02, True),
        ("not_worse", ("c", "b"), 0.2, 0.2, False),
        ("worse", ("a", "b"), 0.9, 0.9, False),
        ("worse", ("c", "b"), 0.012, 0.024, True),
    ]
    assert {each.margin for each in found} == {0.02}
    of_a, of_c = the("not_worse", found)
    assert (of_a.difference, of_a.interval, of_a.values) == (0.1, (0.02, 0.18), (0.9, 0.8))
    # From c's side.
    assert (of_c.difference, of_c.interval, of_c.values) == (-0.1, (-0.18, -0.02), (0.8, 0.9))


def test_one_sided_is_half_of_five_percent() -> None:
    for chance, holds in ((0.0249, True), (0.025, False), (None, False)):
        (found,) = the("not_worse", margin(pair("a", "b", **BETTER, first_not_worse_p=chance)))
        assert found.holds is holds
        assert found.test == "Tango's score"
    (found,) = the("worse", margin(pair("a", "b", **BETTER | {"clusters": 40})))
    assert (found.test, found.adjusted_p) == ("Tango's score of clusters", 1.0)


def test_a_margin_of_nothing_is_one_as_well() -> None:
    variants: Any = [None] * 2
    found = conclude(numbers(pair(**BETTER, second_not_worse_p=0.9), margin=0.0, base="a", variants=variants), None)
    assert [(each.claim, each.margin, each.holds) for each in found[1:]] == [
        ("not_worse", 0.0, False),
        ("worse", 0.0, False),
    ]


def test_a_variant_alone_has_no_margin() -> None:
    variants: list[Measures] = []
    assert conclude(numbers(margin=0.02, variants=variants), None) == []


def judged(*pairs: JudgedPair, first: int = 0, second: int = 0) -> Judged:
    return Judged(
        "m", "r", "batch_1", 10, 20, 0, list(pairs), [], NO_SHARE, NO_SHARE, both_first=first, both_second=second
    )


@pytest.mark.parametrize(("won", "lost", "names"), [(30, 10, ("a", "b")), (10, 30, ("b", "a")), (10, 10, ("a", "b"))])
def test_whom_a_judge_prefers(won: int, lost: int, names: tuple[str, str]) -> None:
    given = JudgedPair("a", "b", won, lost, 5, NO_SHARE, 0, p_value=0.01, adjusted_p=0.04)
    (found,) = conclude(numbers(), judged(given))
    assert (found.claim, found.variants, found.holds) == ("preferred", names, True)
    assert (found.values, found.n, found.ties) == ((max(won, lost), min(won, lost)), won + lost, 5)
    assert found.difference == abs(won - lost) / (won + lost)
    assert found.test == "exact sign test"
    (found,) = conclude(numbers(), judged(msgspec.structs.replace(given, adjusted_p=0.05)))
    assert not found.holds, "what is corrected for all pairs counts"


def test_a_judge_of_ties_only_prefers_none() -> None:
    (found,) = conclude(numbers(), judged(JudgedPair("a", "b", 0, 0, 5, NO_SHARE, 0)))
    assert (found.holds, found.difference, found.test, found.n, found.ties) == (False, None, None, 0, 5)
    assert conclude(numbers(), judged(JudgedPair("a", "b", 0, 0, 0, NO_SHARE, 0))) == []


@pytest.mark.parametrize(
    ("first", "second", "place", "chance", "holds"),
    [
        # 2 / 2**6, and 2 / 2**5.
        (6, 0, "answer shown first", 0.03125, True),
        (0, 6, "answer shown second", 0.03125, True),
        (5, 0, "answer shown first", 0.0625, False),
        (3, 3, "answer shown first", 1.0, False),
    ],
)
def test_a_judge_that_leans_to_a_place(first: int, second: int, place: str, chance: float, holds: bool) -> None:
    (found,) = conclude(numbers(), judged(first=first, second=second))
    assert (found.claim, found.variants[0], found.holds) == ("leans_to_place", place, holds)
    assert found.p_value == found.adjusted_p == pytest.approx(chance)
    assert (found.n, found.difference) == (6 if holds or first == second else 5, abs(first - second) / (first + second))


@pytest.mark.parametrize(("first", "second", "names"), [(1.0, 2.0, ("a", "b")), (2.0, 1.0, ("b", "a"))])
def test_the_cheaper_is_first(first: float, second: float, names: tuple[str, str]) -> None:
    (found,) = conclude(numbers(pair(cost_both=7, first_cost=first, second_cost=second)), None)
    assert (found.claim, found.variants, found.holds) == ("cheaper", names, True)
    assert (found.difference, found.values, found.n, found.p_value) == (-1.0, (1.0, 2.0), 7, None)


def test_costs_within_half_a_percent_are_the_same() -> None:
    assert same_cost(0.0, 0.0)
    assert same_cost(199.0, 200.0)
    assert not same_cost(198.9, 200.0)


def test_agreement_is_claimed_only_without_a_reference() -> None:
    both = pair(both=4, agreement=Share(3, 4, (0.2, 0.9)))
    assert the("same_answers", conclude(numbers(both), None)) == []
    (found,) = conclude(numbers(both, referenced=0), None)
    assert (found.holds, found.difference, found.interval, found.n) == (False, 0.75, (0.2, 0.9), 4)
    for same in (999, 1000):
        (found,) = conclude(numbers(pair(both=1000, agreement=Share(same, 1000, None)), referenced=0), None)
        assert found.holds is (same == 1000)
