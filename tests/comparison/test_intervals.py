"""The statistics against known values, and the intervals against a truth that is known: they cover it as they say."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy

from deployments.sandbox import synthetic
from tasks.comparison import intervals


def mcnemar(only_first: int, only_second: int) -> float:
    """The mid-p McNemar test: twice the binomial tail, the observed split by half (Fagerland et al. 2013)."""
    fewer, all_ = min(only_first, only_second), only_first + only_second
    tail = float(scipy.stats.binom.cdf(fewer, all_, 0.5) - scipy.stats.binom.pmf(fewer, all_, 0.5) / 2)
    return 2 * tail


def test_known_values() -> None:
    # Cohen's kappa of the usual example: 50 proposals, two readers.
    assert intervals.kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert np.isnan(intervals.kappa([[10, 0], [0, 0]]))
    # As sklearn.metrics.f1_score(average="macro") gives for these answers.
    assert intervals.macro_f1([[2, 0, 0], [1, 1, 0]]) == pytest.approx((0.8 + 2 / 3) / 2)
    assert intervals.macro_f1([[1, 0, 1], [0, 2, 0]]) == pytest.approx((2 / 3 + 1) / 2), "another answer is a miss"
    assert mcnemar(6, 16) == pytest.approx(0.0346897, abs=1e-6)
    assert intervals.sign_flip([]) == 1.0
    # R: binom::binom.wilson(82, 100).
    assert intervals.proportion(82, 100) == pytest.approx((0.7333, 0.8830), abs=1e-3)
    assert intervals.proportion(0, 0) is None
    # Tango's interval of the airway study in Fagerland, Lydersen and Laake (2014).
    assert intervals.paired_difference(1, 7, 21) == pytest.approx((-0.5172, -0.0260), abs=1e-4)
    # One-sided and two-sided tests agree: at the interval's end, p is 2.5 %.
    assert intervals.above(1, 7, 21, -0.517232) == pytest.approx(0.025, abs=1e-5)
    # R: p.adjust(c(0.01, 0.04, 0.03), "holm").
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # R: binom.test(8, 30).
    assert intervals.sign_test(8, 22) == pytest.approx(0.01612, abs=1e-5)


def test_flipping_signs() -> None:
    """The test of clusters: of ones it is McNemar's, of equal sizes it does not see the size, else it counts all signs."""
    assert intervals.sign_flip([1] * 6 + [-1] * 16) == pytest.approx(mcnemar(16, 6))
    # Of an even split both tails are the same one.
    assert intervals.sign_flip([1] * 9 + [-1] * 9) == pytest.approx(1 - scipy.stats.binom.pmf(9, 18, 0.5) / 2)
    assert intervals.sign_flip([7] * 6 + [-7] * 16) == pytest.approx(mcnemar(6, 16))
    sizes = [3, 1, 4, 1, 5, -2, 6]
    sums = [sum(s * abs(size) for s, size in zip(signs, sizes, strict=True)) for signs in product((-1, 1), repeat=7)]
    seen = abs(sum(sizes))
    want = sum(abs(s) > seen for s in sums) + 0.5 * sum(abs(s) == seen for s in sums)
    assert intervals.sign_flip(sizes) == pytest.approx(want / len(sums))
    large = [3] * 4000 + [-3] * 3700
    assert intervals.sign_flip(large) == pytest.approx(mcnemar(4000, 3700), rel=0.01)
    assert intervals.mean(np.array([5])) is None
    assert intervals.mean(np.array([5, 5, 5])) is None, "no interval of no width"


MODELS = {"x.haiku": 0.08, "x.lite": 0.16, "x.micro": 0.24}
SYSTEM = "Answer with exactly one of: billing, delivery, account."
RIGHT = {"billing": "invoice", "delivery": "parcel", "account": "password"}


def answers(model: str, seed: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether a synthetic model is right on tickets that name their label: wrong at its rate, and only then."""
    labels = list(RIGHT)
    found = []
    for number in range(count):
        label = labels[number % 3]
        found.append(synthetic.reply(model, SYSTEM, f"My {RIGHT[label]} {seed}-{number}") == label)
    return np.array(found)


def test_intervals_cover_the_sandbox_truth_at_their_rate() -> None:
    seeds, count = 300, 150
    covered = {"accuracy": 0, "difference": 0, "macro_f1": 0}
    truth = MODELS["x.lite"] - MODELS["x.haiku"]
    for seed in range(seeds):
        first, second = answers("x.haiku", seed, count), answers("x.lite", seed, count)
        low, high = intervals.proportion(int(first.sum()), count) or (1, 0)
        covered["accuracy"] += low <= 1 - MODELS["x.haiku"] <= high
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        low, high = intervals.paired_difference(only_first, only_second, count) or (1, 0)
        covered["difference"] += low <= truth <= high
        # Two labels, each as often wrong as the other: F1 is then the accuracy.
        half = np.array([second[: count // 2].sum(), second[count // 2 :].sum()])
        table = np.diag(half) + np.fliplr(np.diag(count // 2 - half))
        low, high = intervals.of_table(table, intervals.macro_f1, intervals.logit, intervals.expit) or (1, 0)
        covered["macro_f1"] += low <= 1 - MODELS["x.lite"] <= high
    # 95 % of 300 are 285, give or take four standard deviations; a percentile bootstrap is a little short.
    for name, least in (("accuracy", 270), ("difference", 270), ("macro_f1", 260)):
        assert least <= covered[name] <= 299, covered


@pytest.mark.parametrize("count", [40, 5000])
def test_means_cover_theirs(count: int) -> None:
    rng = np.random.default_rng(3)
    seeds = 100 if count < 100 else 200
    covered = sum(
        low <= 2.0 <= high
        for low, high in (intervals.mean(rng.exponential(2.0, count)) or (1, 0) for _ in range(seeds))
    )
    assert 0.85 * seeds <= covered < seeds


def test_few_clusters_that_differ_do_not_show_that_one_is_not_worse() -> None:
    """40 texts ten times each, and all but one text answered alike: the ten requests of that text are one."""
    clusters = np.repeat(np.arange(40), 10)
    first, second = np.ones(400), np.ones(400)
    first[:3] = 0
    paired = intervals.PairedScores(first, second, clusters)
    assert paired.difference == pytest.approx(-0.0075)
    assert paired.above(-0.02) > 0.1
    low, high = paired.interval or (0, 0)
    assert low < -0.05 < 0 < high
    assert intervals.PairedScores(first, second, np.arange(400)).above(-0.02) < 0.05


@pytest.mark.parametrize("value", [1.0, 0.5, 0.0, -1.0])
def test_clusters_without_any_variation_have_an_interval(value: float) -> None:
    clusters = np.repeat(np.arange(20), 3)
    low, high = intervals.PairedScores(np.full(60, max(value, 0)), np.full(60, max(-value, 0)), clusters).interval or (
        1,
        0,
    )
    assert low < high
    assert low <= value <= high
    balanced = np.tile([1.0, 0.0], 30)
    low, high = intervals.clustered_share(balanced, np.repeat(np.arange(30), 2)) or (1, 0)
    assert 0.3 < low < 0.5 < high < 0.7


def test_published_and_exact_values() -> None:
    """R: t.test(c(1, 2, 3, 4, 10))$conf.int; binom.test(3, 20)$conf.int; prop.test without continuity (Wilson)."""
    assert intervals.mean([1, 2, 3, 4, 10]) == pytest.approx((-0.3900, 8.3900), abs=1e-3)
    assert intervals.mean([7]) is None
    assert intervals.mean([7, 7, 7]) is None, "how they vary is not known"
    assert intervals.proportion(3, 20) == pytest.approx((0.03207094, 0.3789268), abs=1e-6)
    assert intervals.proportion(0, 20) == pytest.approx((0.0, 0.1684335), abs=1e-6)
    assert intervals.proportion(40, 100) == pytest.approx((0.3094013, 0.4979974), abs=1e-6)
    assert intervals.proportion(40.5, 101.25) == pytest.approx((0.3098956, 0.4973844), abs=1e-4)
    assert intervals.proportion(0, 0) is None
    assert intervals.above(3, 1, 0, 0.0) == 1.0, "nothing is known"


def test_holm_and_the_tests() -> None:
    """R: p.adjust(c(0.01, 0.04, 0.03), "holm"); binom.test(8, 30)."""
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert intervals.holm([]) == []
    assert intervals.sign_test(8, 22) == pytest.approx(0.01612, abs=1e-5)
    assert intervals.sign_test(0, 0) == 1.0
    # Mid-p of 1 against 9 of ten discordant: 2 * P(X <= 0) + P(X = 1), of Binomial(10, 1/2).
    assert intervals.sign_flip([1] + [-1] * 9) == pytest.approx(2 / 1024 + 10 / 1024)
    assert intervals.sign_flip([1, -1] * 5) == pytest.approx(1 - 252 / 1024 / 2)


def test_how_many_requests_would_show_a_difference() -> None:
    """Connor 1987: (1.959964 * s + 0.841621 * s)² / d², s² = share discordant - d²; more for several tests."""
    first, second = np.r_[np.ones(12), np.zeros(88)], np.r_[np.zeros(12), np.ones(6), np.zeros(82)]
    paired = intervals.PairedScores(first, second, np.arange(100))
    assert paired.difference == pytest.approx(0.06)
    assert paired.needed() == 385
    assert paired.needed(3) == 513
    shown = intervals.PairedScores(np.ones(100), np.r_[np.zeros(60), np.ones(40)], np.arange(100))
    assert shown.needed() == 100, "no fewer than there are"
    assert intervals.PairedScores(first, first, np.arange(100)).needed() is None


def test_clusters_count_for_as_many_as_they_are_worth() -> None:
    """20 clusters of 5, all of one alike: as 20 requests, and Student's t for their few; never more than the requests."""
    clusters = np.repeat(np.arange(20), 5)
    alike = np.repeat(np.tile([1.0, 0.0], 10), 5)
    low, high = intervals.clustered_share(alike, clusters) or (1, 0)
    twenty = intervals.proportion(10, 20) or (1, 0)
    assert (low, high) != pytest.approx(twenty, abs=1e-3)
    assert low < twenty[0] < 0.5 < twenty[1] < high
    opposed = np.tile([1.0, 0.0, 1.0, 0.0], 25)
    low, high = intervals.clustered_share(opposed, np.repeat(np.arange(25), 4)) or (1, 0)
    single = intervals.proportion(50, 100) or (1, 0)
    assert low <= single[0]
    assert high >= single[1]
    assert intervals.clustered_share(alike[:45], clusters[:45]) is None, "nine clusters tell too little"
    sums, sizes = np.array([3.0, 1.0]), np.array([4.0, 4.0])
    # Of two clusters: 2 / (2 - 1) * (1² + 1²) / 8².
    assert intervals._cluster_variance(sums, sizes) == pytest.approx(2 * 2 / 64)


def test_the_constants_of_the_statistics() -> None:
    """The report, its page of documentation and the figures of `tests.bench_verdict` stand on these."""
    i = intervals
    assert (i.LEVEL, i._POWER, i._RESAMPLES, i._SEED, i._EXACT_SUM) == (0.95, 0.8, 2000, 20_240_501, 20_000)
    assert (i._BOOTSTRAP_FROM, i._BOOTSTRAP_UP_TO, i._FEW) == (30, 2000, 10)
    assert (i.LEAST_ERRORS, i.LEAST_OF_A_LABEL, i.LEAST_CLUSTERS) == (10, 5, 10)


def test_few_of_either_kind_have_an_exact_interval() -> None:
    """R: binom.test(9, 100) and, of ten, prop.test(10, 100, correct=FALSE)."""
    assert intervals.proportion(9, 100) == pytest.approx((0.0419836, 0.1639823), abs=1e-6)
    assert intervals.proportion(10, 100) == pytest.approx((0.0552291, 0.1743657), abs=1e-6)
    assert intervals.proportion(90, 100) == pytest.approx((0.8256343, 0.9447709), abs=1e-6)


@pytest.mark.parametrize(("count", "bootstrapped"), [(29, False), (30, True), (2000, True), (2001, False)])
def test_which_means_are_bootstrapped(count: int, bootstrapped: bool) -> None:
    """Of skewed values, the mean may lie farther up than down: Student's t does not know that."""
    values = scipy.stats.expon.ppf((np.arange(count) + 0.5) / count)
    low, high = intervals.mean(values) or (1, 0)
    up, down = high - float(values.mean()), float(values.mean()) - low
    if bootstrapped:
        assert up > 1.01 * down
        return
    assert up == pytest.approx(down)
    assert up == pytest.approx(scipy.stats.t.ppf(0.975, count - 1) * scipy.stats.sem(values))


def worth(requests: float, clusters: int) -> float:
    """So many requests, less what Student's t takes for the number of clusters."""
    return requests * float(scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, clusters - 1)) ** 2


@pytest.mark.parametrize(
    ("each", "effect"),
    [
        # By cluster, how many of five are right. Three clusters tell too little of what theirs have in common: as one.
        ([1] * 3 + [0] * 17, 5.0),
        ([4] * 3 + [5] * 17, 5.0),
        # Where even so more is seen, that counts: 20 / 19 * (3 * 4.25² + 17 * 0.75²) / 100² * 100 / (0.15 * 0.85).
        ([5] * 3 + [0] * 17, 5.2631579),
        # What is in one cluster is not more telling than what is not.
        ([2] * 10 + [3] * 10, 1.0),
        # 20 / 19 * 20 * 2.5² / 100² * 100 / 0.25.
        ([5] * 10 + [0] * 10, 5.2631579),
    ],
)
def test_what_clusters_of_five_are_worth(each: list[int], effect: float) -> None:
    scores = np.array([float(place < right) for right in each for place in range(5)])
    found = intervals.clustered_share(scores, np.repeat(np.arange(20), 5))
    effective = worth(100 / effect, 20)
    assert found == pytest.approx(intervals.proportion(sum(each) / 100 * effective, effective), abs=1e-6)


def test_scores_between_0_and_1_vary_less() -> None:
    scores = np.tile([0.5, 1.0], 50)
    low, high = intervals.clustered_share(scores, np.arange(100)) or (1, 0)
    wide = intervals.proportion(75, 100) or (1, 0)
    assert wide[0] < low < 0.75 < high < wide[1]


def test_tables_of_few_hits_have_no_interval() -> None:
    def interval(hits: int, errors: int) -> object:
        table = [[hits, errors], [0, 0]]
        return intervals.of_table(table, intervals.macro_f1, intervals.logit, intervals.expit)

    assert interval(9, 50) is None
    assert interval(50, 9) is None
    assert interval(10, 50) is not None
    assert interval(50, 10) is not None


def test_a_label_that_was_not_drawn_counts_for_nothing() -> None:
    assert intervals.macro_f1([[2, 0, 0], [1, 1, 0], [0, 0, 0]]) == pytest.approx((0.8 + 2 / 3) / 2)


def test_pairs_in_clusters() -> None:
    first = np.repeat(np.tile([1.0, 0.0], 10), 2)
    paired = intervals.PairedScores(first, np.zeros(40), np.repeat(np.arange(20), 2))
    # Ten clusters of two alike: 20 / 19 * 20 * 1² / 40² * 40 / (0.5 - 0.5²).
    effective = worth(40 / 2.1052632, 20)
    assert paired.interval == pytest.approx(intervals.paired_difference(effective / 2, 0, effective), abs=1e-6)
    assert paired.above(0.2) == pytest.approx(intervals.above(effective / 2, 0, effective, 0.2), abs=1e-6)


@pytest.mark.parametrize(("clusters", "known"), [(9, False), (10, True)])
def test_few_clusters_tell_too_little(clusters: int, known: bool) -> None:
    places = np.repeat(np.arange(clusters), 2)
    paired = intervals.PairedScores(np.ones(2 * clusters), np.zeros(2 * clusters), places)
    assert (paired.interval is not None, paired.above(0.1) < 1) == (known, known)
    share = intervals.clustered_share(np.tile([1.0, 0.0], clusters), places)
    assert (share is not None) is known


def test_scores_are_counted_in_steps() -> None:
    """Six halves, all the same way: half of 2 / 2**6, by mid-p."""
    first, second = np.ones(6), np.full(6, 0.5)
    assert intervals.PairedScores(first, second, np.arange(6), 2).p_value == pytest.approx(1 / 64)


def test_how_many_would_show_a_difference_without_any_spread() -> None:
    """(1.959964 + 0.841621)² = 7.85."""
    assert intervals.PairedScores(np.ones(5), np.zeros(5), np.arange(5)).needed() == 8


@pytest.mark.parametrize("score", [0.6, 0.59, 1 / 3, 0.1])
def test_equal_scores_between_0_and_1_are_as_many_as_they_are(score: float) -> None:
    """What is left of their variance is rounding: not that they are worth endless many."""
    found = intervals.clustered_share(np.full(12, score), np.arange(12))
    assert found == pytest.approx(intervals.proportion(score * worth(12, 12), worth(12, 12)), abs=1e-9)
    paired = intervals.PairedScores(np.full(12, score), np.zeros(12), np.arange(12))
    assert paired.interval == pytest.approx(intervals.paired_difference(score * worth(12, 12), 0, worth(12, 12)))


def test_resampled_intervals_are_as_wide_as_95_percent_are() -> None:
    """Of a share and of the mean of a bell curve it is known: 1.96 standard errors. Those of 90 % have 1.64."""

    def share(tables: Any) -> Any:
        return np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))

    low, high = intervals.of_table([[80, 20], [20, 80]], share, intervals.logit, intervals.expit) or (0, 0)
    width = float(intervals.logit(high) - intervals.logit(low))
    assert width / 2 * np.sqrt(200 * 0.8 * 0.2) == pytest.approx(1.96, rel=0.08)
    values = np.random.default_rng(5).normal(size=1000)
    low, high = intervals.mean(values) or (0, 0)
    assert (high - low) / 2 / (values.std(ddof=1) / np.sqrt(1000)) == pytest.approx(1.96, rel=0.08)
