"""What follows from the numbers of a comparison: claims, each from one test with a stated error rate.

The verdict's sentences say these and no others. Of comparisons of variants that are equally accurate, 5 % hold a claim
that one is more accurate; so do 5 % of those that a judge likes equally. Of variants that are worse by the margin,
2.5 % are called not worse.
"""

from typing import Literal

import msgspec

from tasks.comparison.intervals import Interval, holm, sign_test
from tasks.comparison.judge import Judged
from tasks.comparison.numbers import Numbers, Pair

#: Below this adjusted chance of so uneven a split, a difference is called one; one-sided, half of it.
SIGNIFICANT = 0.05

Claim = Literal["more_accurate", "not_worse", "worse", "preferred", "leans_to_place", "cheaper", "same_answers"]


class Conclusion(msgspec.Struct):
    """One claim about two variants, and whether it `holds`.

    `difference` is the first variant's value minus the second's: of accuracies, shares of 1; of costs, US dollars per
    thousand requests; of a judge's choices, wins minus losses of those decided. Of "same_answers", the share of them.
    "leans_to_place" is of a judge alone: its `variants` are the places.
    """

    claim: Claim
    variants: tuple[str, str]
    holds: bool
    difference: float | None
    interval: Interval | None
    p_value: float | None
    adjusted_p: float | None
    #: Requests, or a judge's decided comparisons, that it rests on.
    n: int
    #: Of them, how many are independent of one another.
    clusters: int | None
    test: str | None
    #: What the two values are: accuracies, costs, wins.
    values: tuple[float, float] | None = None
    #: Labelled requests in all that would show such a difference in four cases of five.
    needed: int | None = None
    margin: float | None = None
    #: A judge's comparisons without a winner.
    ties: int | None = None


def conclude(numbers: Numbers, judged: Judged | None) -> list[Conclusion]:
    """All claims, with those that do not hold."""
    found = [_accuracy(pair) for pair in numbers.pairs if pair.p_value is not None]
    if numbers.margin is not None and len(numbers.variants) > 1:
        found += _by_margin(numbers, numbers.margin, "not_worse")
        found += _by_margin(numbers, numbers.margin, "worse")
    if judged is not None:
        found += [*_judgements(judged), *_leaning(judged)]
    found += [_cost(pair) for pair in numbers.pairs if pair.cost_both]
    if not numbers.referenced:
        found += [_agreement(pair) for pair in numbers.pairs if pair.both]
    return found


def _test_of(pair: Pair) -> str:
    return "mid-p McNemar" if pair.clusters == pair.compared else "mid-p sign-flip"


def _accuracy(pair: Pair) -> Conclusion:
    """The more accurate first; of equals, as they were named."""
    forward = (pair.accuracy_difference or 0.0) >= 0
    sign = 1 if forward else -1
    low, high = pair.difference_interval or (None, None)
    interval = None if low is None or high is None else (low, high) if forward else (-high, -low)
    values = pair.first_accuracy or 0.0, pair.second_accuracy or 0.0
    significant = pair.adjusted_p is not None and pair.adjusted_p < SIGNIFICANT
    return Conclusion(
        "more_accurate",
        (pair.first, pair.second) if forward else (pair.second, pair.first),
        # Where the interval says otherwise, nothing is claimed.
        significant and (interval is None or interval[0] > 0),
        sign * (pair.accuracy_difference or 0.0),
        interval,
        pair.p_value,
        pair.adjusted_p,
        pair.compared,
        pair.clusters,
        _test_of(pair),
        values if forward else (values[1], values[0]),
        pair.needed,
    )


def _by_margin(numbers: Numbers, margin: float, claim: Literal["not_worse", "worse"]) -> list[Conclusion]:
    """Whether each variant is at most, or more than, the margin worse than the first one named: today's."""
    base = numbers.base or numbers.variants[0].label
    found = []
    for pair in numbers.pairs:
        if base not in (pair.first, pair.second) or pair.p_value is None:
            continue
        second = pair.first == base
        sign = -1 if second else 1
        low, high = pair.difference_interval or (None, None)
        interval = None if low is None or high is None else (-high, -low) if second else (low, high)
        values = pair.first_accuracy or 0.0, pair.second_accuracy or 0.0
        not_worse = pair.second_not_worse_p if second else pair.first_not_worse_p
        worse = pair.second_worse_p if second else pair.first_worse_p
        found.append(
            Conclusion(
                claim,
                (pair.second if second else pair.first, base),
                False,
                sign * (pair.accuracy_difference or 0.0),
                interval,
                not_worse if claim == "not_worse" else worse,
                None,
                pair.compared,
                pair.clusters,
                "Tango's score" if pair.clusters == pair.compared else "Tango's score of clusters",
                (values[1], values[0]) if second else values,
                margin=margin,
            )
        )
    adjusted = holm([1.0 if each.p_value is None else each.p_value for each in found])
    for each, value in zip(found, adjusted, strict=True):
        each.adjusted_p, each.holds = value, value < SIGNIFICANT / 2
    return found


def _judgements(judged: Judged) -> list[Conclusion]:
    found = []
    for pair in judged.pairs:
        decided = pair.first_wins + pair.second_wins
        if not decided + pair.ties:
            continue
        forward = pair.first_wins >= pair.second_wins
        wins, losses = sorted((pair.first_wins, pair.second_wins), reverse=True)
        found.append(
            Conclusion(
                "preferred",
                (pair.first, pair.second) if forward else (pair.second, pair.first),
                pair.adjusted_p is not None and pair.adjusted_p < SIGNIFICANT,
                (wins - losses) / decided if decided else None,
                None,
                pair.p_value,
                pair.adjusted_p,
                decided,
                None,
                "exact sign test" if decided else None,
                (wins, losses),
                ties=pair.ties,
            )
        )
    return found


def _leaning(judged: Judged) -> list[Conclusion]:
    """Whether the judge prefers a place: comparisons in which it chose the same one in both orders."""
    first, second = judged.both_first, judged.both_second
    if not first + second:
        return []
    names = ("answer shown first", "answer shown second")
    most, least = max(first, second), min(first, second)
    chance = sign_test(first, second)
    return [
        Conclusion(
            "leans_to_place",
            names if first >= second else (names[1], names[0]),
            chance < SIGNIFICANT,
            (most - least) / (most + least),
            None,
            chance,
            chance,
            most + least,
            None,
            "exact sign test",
            (most, least),
        )
    ]


def _cost(pair: Pair) -> Conclusion:
    """The cheaper first. What was paid is known, and no test is made of it."""
    first, second = pair.first_cost or 0.0, pair.second_cost or 0.0
    forward = first <= second
    low, high = (first, second) if forward else (second, first)
    return Conclusion(
        "cheaper",
        (pair.first, pair.second) if forward else (pair.second, pair.first),
        not same_cost(low, high),
        low - high,
        None,
        None,
        None,
        pair.cost_both,
        None,
        None,
        (low, high),
    )


def same_cost(low: float, high: float) -> bool:
    """Whether two costs are as good as the same."""
    return high - low <= 0.005 * high


def _agreement(pair: Pair) -> Conclusion:
    share = pair.agreement
    return Conclusion(
        "same_answers",
        (pair.first, pair.second),
        share.count == share.total,
        share.value,
        share.interval,
        None,
        None,
        pair.both,
        None,
        None,
    )
