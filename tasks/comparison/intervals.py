"""Intervals and tests, all at 95 %: how sure a number is."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
_Z = float(stats.norm.ppf(0.5 + LEVEL / 2))
_RESAMPLES = 2000
#: Up to so many values the bootstrap is used for a mean; above, Student's t gives the same.
_BOOTSTRAP_UP_TO = 2000
#: The same seed every time: a report that is made again is the same.
_SEED = 20_240_501

Interval = tuple[float, float]


def proportion(count: int, total: int) -> Interval | None:
    """Wilson's score interval of a share."""
    if not total:
        return None
    interval = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mean(values: Any) -> Interval | None:
    """The interval of a mean: BCa bootstrap for few values, Student's t for many."""
    count = len(values)
    if count < 2:
        return None
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return low, high
    if count <= _BOOTSTRAP_UP_TO:
        result = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=LEVEL,
            n_resamples=_RESAMPLES,
            method="BCa",
            rng=np.random.default_rng(_SEED),
            vectorized=True,
            batch=200,
        )
        interval = result.confidence_interval
        if np.isfinite(interval.low) and np.isfinite(interval.high):
            return float(interval.low), float(interval.high)
    error = float(np.std(values, ddof=1)) / count**0.5
    half = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    middle = float(np.mean(values))
    return middle - half, middle + half


def of_table(table: Any, statistic: Callable[[Any], Any]) -> Interval | None:
    """Percentile bootstrap of a statistic of a table of counts; `statistic` takes a stack of tables."""
    counts = np.asarray(table, dtype=np.int64)
    total = int(counts.sum())
    if total < 2:
        return None
    rng = np.random.default_rng(_SEED)
    # A bootstrap over rows that fall into cells is a multinomial over the cells.
    drawn = rng.multinomial(total, counts.ravel() / total, size=_RESAMPLES).reshape(_RESAMPLES, *counts.shape)
    found = np.asarray(statistic(drawn), dtype=float)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


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


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact McNemar test: the chance of so uneven a split if both were equally good."""
    total = only_first + only_second
    return float(stats.binomtest(only_first, total).pvalue) if total else 1.0


def paired_difference(only_first: int, only_second: int, total: int) -> Interval | None:
    """The interval of a difference of two shares of the same requests (Agresti and Min 2005, adjusted Wald)."""
    if not total:
        return None
    first, second, count = only_first + 0.5, only_second + 0.5, total + 2
    middle = (first - second) / count
    half = _Z * ((first + second) - (first - second) ** 2 / count) ** 0.5 / count
    return max(-1.0, middle - half), min(1.0, middle + half)
