"""Intervals and tests, all at 95 %: how sure a number is. None stands where no honest interval is known.

`python -m tests.bench_verdict` holds each to a truth that it knows; its figures are in deployments/docs/comparing.md.
scipy has what is standard. Neither it nor statsmodels has Tango's score interval of paired shares (Tango 1998,
Statistics in Medicine 17), the mid-p McNemar test (Fagerland, Lydersen and Laake 2013) and its extension to clusters.
Its parts are imported when they are first asked for: 0.7 s, for which a comparison that begins need not wait.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy

LEVEL = 0.95
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
_RESAMPLES = 2000
#: A mean of so many values or more, up to as many, is bootstrapped; of fewer, Student's t knows no less.
_BOOTSTRAP_FROM, _BOOTSTRAP_UP_TO = 30, 2000
#: Fewer errors than these, or fewer hits, tell too little for an interval of F1 or kappa, and fewer of a label.
LEAST_ERRORS, LEAST_OF_A_LABEL = 10, 5
#: Of fewer hits, or errors, a share's interval is an exact one.
_FEW = 10
#: Fewer independent clusters tell too little for an interval.
LEAST_CLUSTERS = 10
#: Beyond such a sum, the distribution of flipped signs is taken for normal.
_EXACT_SUM = 20_000
_POWER = 0.8
#: The same seed every time: a report that is made again is the same.
_SEED = 20_240_501

Interval = tuple[float, float]


def proportion(count: float, total: float) -> Interval | None:
    """Wilson's score interval of a share, or with few of either kind that of Clopper and Pearson.

    Wilson's covers 91 % where one of a hundred is wrong; theirs never less than it says. The numbers may be effective
    ones, which are not whole.
    """
    if not total:
        return None
    if min(count, total - count) < _FEW:
        low, high = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        return (
            float(scipy.stats.beta.ppf(low, count, total - count + 1)) if count > 0 else 0.0,
            float(scipy.stats.beta.ppf(high, count + 1, total - count)) if count < total else 1.0,
        )
    if float(count).is_integer() and float(total).is_integer():
        interval = scipy.stats.binomtest(int(count), int(total)).proportion_ci(LEVEL, method="wilson")
        return float(interval.low), float(interval.high)
    share, z2 = count / total, _Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean(values: Any) -> Interval | None:
    """The interval of a mean: Student's t, or of 30 to 2,000 values the bootstrapped t, which skewed ones need.

    None for fewer than two values, and for values that are all the same: how they vary is not known.
    """
    count = len(values)
    if count < 2 or float(np.min(values)) == float(np.max(values)):
        return None
    values = np.asarray(values, dtype=float)
    middle, error = float(values.mean()), float(np.std(values, ddof=1)) / math.sqrt(count)
    low = high = float(scipy.stats.t.ppf(0.5 + LEVEL / 2, count - 1))
    if _BOOTSTRAP_FROM <= count <= _BOOTSTRAP_UP_TO:
        drawn = _studentised(values)
        if len(drawn) > _RESAMPLES // 2:
            low, high = (-float(each) for each in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
            # Of the t's, the high quantile bounds the mean from below.
            return middle + high * error, middle + low * error
    return middle - low * error, middle + high * error


def _studentised(values: Any) -> Any:
    """Bootstrapped t statistics of a mean (Efron and Tibshirani 1993, chapter 12)."""
    rng = np.random.default_rng(_SEED)
    found = []
    for _ in range(0, _RESAMPLES, 200):
        drawn = values[rng.integers(0, len(values), (200, len(values)))]
        spread = drawn.std(axis=1, ddof=1)
        kept = spread > 0
        found.append((drawn.mean(axis=1) - values.mean())[kept] / (spread[kept] / math.sqrt(len(values))))
    return np.concatenate(found)


def clustered_share(scores: Any, clusters: Any) -> Interval | None:
    """The interval of a mean of scores from 0 to 1 that come in clusters: Wilson's, of the effective number of them."""
    count = len(scores)
    sums, sizes = by_cluster(scores, clusters), by_cluster(np.ones(count), clusters)
    if len(sums) == count and set(np.unique(scores)) <= {0.0, 1.0}:
        return proportion(int(scores.sum()), count)
    if len(sums) < LEAST_CLUSTERS:
        return None
    share = float(np.mean(scores))
    wrong = int((sums < sizes).sum())
    effective = _effective(sums, sizes, share * (1 - share), min(wrong, int((sums > 0).sum())))
    return proportion(share * effective, effective)


def _effective(sums: Any, sizes: Any, variance: float, telling: int) -> float:
    """So many independent values say as much of a mean as these, which come in clusters.

    `variance` is that of one value were all independent; `telling`, how many clusters differ from the rest. Of fewer
    than ten, how much values of a cluster have in common cannot be told, and they count as one.
    """
    count = float(sizes.sum())
    alike = float((sizes**2).sum()) / count
    effect = _cluster_variance(sums, sizes) * count / variance if variance > 0 else 0.0
    # What is left of equal scores is rounding.
    if telling < _FEW or effect < 1e-9:
        effect = max(effect, alike)
    elif alike > 1:
        # What is in one cluster is not more telling than what is not.
        effect = max(effect, 1.0)
    # With few clusters, their variance is not well known: Student's t.
    return count / effect * (_Z / float(scipy.stats.t.ppf(0.5 + LEVEL / 2, len(sums) - 1))) ** 2


def by_cluster(values: Any, clusters: Any) -> Any:
    """The sum of the values of each cluster."""
    _, places = np.unique(clusters, return_inverse=True)
    return np.bincount(places, weights=values) if len(values) else np.zeros(0)


def _cluster_variance(sums: Any, sizes: Any) -> float:
    """The variance of a mean whose values come in clusters (the linearised ratio estimator)."""
    groups, total = len(sums), float(sizes.sum())
    if groups < 2:
        return 0.0
    residues = sums - sizes * (float(sums.sum()) / total)
    return groups / (groups - 1) * float((residues**2).sum()) / total**2


def of_table(
    table: Any, statistic: Callable[[Any], Any], link: Callable[[Any], Any], unlink: Callable[[Any], Any]
) -> Interval | None:
    """The interval of a statistic of a table of counts, whose diagonal are the hits.

    `statistic` takes a stack of tables; `link` maps its range onto all numbers, and `unlink` back. Its standard error
    is bootstrapped. None where errors or hits are too few: at an accuracy of 99 %, a bootstrap interval covers the
    truth in 15 % (20 answers) or 62 % (100) of cases.
    """
    counts = np.asarray(table, dtype=np.int64)
    total, hits = int(counts.sum()), int(np.trace(counts))
    if hits < LEAST_ERRORS or total - hits < LEAST_ERRORS:
        return None
    value = float(statistic(counts))
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(total, (counts / total).ravel(), _RESAMPLES // 2).reshape(-1, *counts.shape)
    found = np.asarray(statistic(drawn), dtype=float)
    found = found[np.isfinite(found)]
    if len(found) < _RESAMPLES // 4 or not math.isfinite(value):
        return None
    # The slope of the link: the delta method.
    step = 1e-6
    slope = float(link(value + step) - link(value - step)) / (2 * step)
    half = _Z * float(np.std(found)) * slope
    middle = float(link(value))
    if not math.isfinite(middle) or not math.isfinite(half) or half <= 0:
        return None
    return float(unlink(middle - half)), float(unlink(middle + half))


def logit(share: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(share / (1 - np.asarray(share)))


def expit(value: Any) -> Any:
    return 1 / (1 + np.exp(-value))


def kappa(tables: Any) -> Any:
    """Cohen's kappa of each square table of a stack (Cohen 1960); not a number where all answers are one label."""
    tables = np.asarray(tables, dtype=float)
    total = tables.sum(axis=(-2, -1))
    observed = np.trace(tables, axis1=-2, axis2=-1) / total
    expected = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / total**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (observed - expected) / (1 - expected)


def macro_f1(tables: Any) -> Any:
    """The mean over the reference's labels of F1; rows are the reference's labels, columns answers, in like order.

    There may be more columns than rows: answers that are no label.
    """
    tables = np.asarray(tables, dtype=float)
    labels = tables.shape[-2]
    hits = np.diagonal(tables[..., :labels], axis1=-2, axis2=-1)
    actual, answered = tables.sum(axis=-1), tables[..., :labels].sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(actual + answered > 0, 2 * hits / (actual + answered), np.nan)
    # A label that a resample never drew counts for nothing.
    present = actual > 0
    return np.where(present, np.nan_to_num(f1), 0).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)


def sign_flip(differences: Sequence[int]) -> float:
    """The two-sided mid-p value of whole differences that would be as likely the other way round.

    Of differences of 1 it is the mid-p McNemar test. Exact: the distribution of the sum over all signs.
    """
    sizes = Counter(abs(int(each)) for each in differences if each)
    total, seen = sum(size * count for size, count in sizes.items()), abs(sum(int(each) for each in differences))
    if not total:
        return 1.0
    if total > _EXACT_SUM:
        deviation = math.sqrt(sum(size**2 * count for size, count in sizes.items()))
        return float(2 * scipy.stats.norm.sf(seen / deviation))
    chances = np.ones(1)
    for size, count in sizes.items():
        # The sum of `count` signs, in steps of 2 * size.
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = _convolved(chances, steps)
    beyond, at = float(chances[total + seen + 1 :].sum()), float(chances[total + seen])
    return min(1.0, 2 * beyond + at if seen else 1 - at / 2)


def _convolved(one: Any, other: Any) -> Any:
    if len(one) == 1 or len(other) == 1:
        return one[0] * other if len(one) == 1 else other[0] * one
    return np.maximum(scipy.signal.fftconvolve(one, other), 0.0)


def sign_test(wins: int, losses: int) -> float:
    """The exact sign test: the chance of so uneven a split if both are as likely to win."""
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: of families that call 0.05 of them significant, 5 % hold a false claim (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted


def _tango(only_first: float, only_second: float, total: float, difference: float) -> float:
    """Tango's score statistic of a difference of two shares of the same requests."""
    b, c, n, d = only_first, only_second, total, difference
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1 - d)
    nuisance = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * nuisance + d * (1 - d))
    distance = b - c - n * d
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def paired_difference(only_first: float, only_second: float, total: float) -> Interval | None:
    """Tango's score interval of a difference of two shares of the same requests, first minus second."""
    if not total:
        return None
    middle = (only_first - only_second) / total

    def bound(edge: float, z: float) -> float:
        def excess(difference: float) -> float:
            return max(-1e6, min(1e6, _tango(only_first, only_second, total, difference))) - z

        if excess(middle) * excess(edge) >= 0:
            return float(round(edge))
        return float(scipy.optimize.brentq(excess, middle, edge, xtol=1e-10))

    return bound(-1 + 1e-9, _Z), bound(1 - 1e-9, -_Z)


def above(only_first: float, only_second: float, total: float, least: float) -> float:
    """One-sided p-value: how likely such a difference, or a larger one, is if the true one is `least`."""
    return float(scipy.stats.norm.sf(_tango(only_first, only_second, total, least))) if total else 1.0


class PairedScores:
    """Two variants' scores of the same requests, in clusters: a test and an interval of their mean difference.

    Interval and one-sided test are Tango's. Where requests repeat, or scores are no whole ones, he is given the number
    of independent requests that say as much: Student's t, of clusters, calls 12 % of the variants that are worse by the
    margin not worse where 40 texts are repeated ten times at 99 % accuracy.
    """

    def __init__(self, first: Any, second: Any, clusters: Any, scale: int = 1) -> None:
        self.total = len(first)
        differences = first - second
        self.difference = float(differences.mean()) if self.total else None
        sums, sizes = by_cluster(differences, clusters), by_cluster(np.ones(self.total), clusters)
        self.clusters = len(sums)
        self._scaled = np.rint(sums * scale).astype(np.int64)
        self._error = math.sqrt(_cluster_variance(sums, sizes))
        #: Requests that only the first, or the second, got right, of how many; None where too little is known.
        self._counts: tuple[float, float, float] | None = None
        better, worse = float(np.maximum(differences, 0).sum()), float(np.maximum(-differences, 0).sum())
        self._single = self.clusters == self.total and set(np.unique(differences)) <= {-1.0, 0.0, 1.0}
        if self._single:
            self._counts = better, worse, self.total
        elif self.clusters >= LEAST_CLUSTERS:
            variance = (better + worse) / self.total - float(differences.mean()) ** 2
            telling = int((by_cluster(np.abs(differences), clusters) > 0).sum())
            effective = _effective(sums, sizes, variance, telling)
            self._counts = better * effective / self.total, worse * effective / self.total, effective

    @property
    def p_value(self) -> float:
        return sign_flip(self._scaled.tolist())

    @property
    def interval(self) -> Interval | None:
        return None if self._counts is None else paired_difference(*self._counts)

    def above(self, least: float) -> float:
        """One-sided p-value of the difference being no more than `least`; 1 where nothing is known."""
        return 1.0 if self._counts is None else above(*self._counts, least)

    def needed(self, tests: int = 1) -> int | None:
        """How many requests would show this difference in four cases of five (Connor 1987); None if it is nil."""
        if not self.difference:
            return None
        z = float(scipy.stats.norm.isf(0.05 / (2 * max(1, tests)))) + float(scipy.stats.norm.ppf(_POWER))
        spread = self._error * math.sqrt(self.total) if not self._single else self._spread
        return max(self.total, math.ceil((z * spread / abs(self.difference)) ** 2)) if spread else None

    @property
    def _spread(self) -> float:
        better, worse, total = self._counts or (0.0, 0.0, 1.0)
        share = (better + worse) / total
        return math.sqrt(max(share - (self.difference or 0.0) ** 2, 0.0)) or math.sqrt(share)
