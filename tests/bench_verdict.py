"""How often each claim and interval of a comparison is wrong, on answers whose truth is known.

`python -m tests.bench_verdict [--quick]` simulates comparisons and prints, for every claim, its nominal rate and what it
came to. A bench and no test: minutes, and chance is in it. The seed is fixed, so the figures are the same every time.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tasks.comparison import intervals
from tasks.comparison.conclusions import SIGNIFICANT
from tasks.comparison.intervals import PairedScores

#: Within so much of the nominal rate, or on its safe side, a claim holds.
TOLERANCE = 0.015


class Table:
    """Rows of a claim, its nominal rate and the measured one."""

    def __init__(self) -> None:
        self.failed = 0

    def title(self, text: str) -> None:
        print(f"\n{text}")

    def covers(self, what: str, hits: int, given: int, cases: int, *, claimed: bool = True) -> None:
        """An interval: how often it was given, and how often it then covered the truth.

        Where it is given seldom, those are the unusual samples; what counts is how many cases show one that misses.
        """
        if not given:
            print(f"  {what:<62} none given")
            return
        rate, misses = hits / given, (given - hits) / cases
        seldom = given < 0.9 * cases
        good = misses <= 0.05 + TOLERANCE if seldom else rate >= 0.95 - TOLERANCE
        self._say(what, f"covers {rate:6.1%}, given in {given / cases:6.1%}, missing in {misses:5.1%}", good, claimed)

    def errs(self, what: str, wrong: int, cases: int, nominal: float = 0.05) -> None:
        """A claim: how often it was made and false."""
        self._say(
            what, f"false in {wrong / cases:5.1%} (at most {nominal:.1%})", wrong / cases <= nominal + TOLERANCE, True
        )

    def _say(self, what: str, figure: str, good: bool, claimed: bool) -> None:
        self.failed += claimed and not good
        mark = "ok" if good else "NOT CLAIMED" if not claimed else "BEYOND"
        print(f"  {what:<62} {figure:<58} {mark}")


def seeds(count: int) -> Iterator[Any]:
    for seed in range(count):
        yield np.random.default_rng([19, seed])


def correlated(rng: Any, shares: list[float], count: int) -> Any:
    """Right and wrong answers of variants that find the same requests hard, each right at its rate."""
    hard = rng.normal(size=(count, 1))
    own = rng.normal(size=(count, len(shares)))
    from scipy import stats

    return (hard * math.sqrt(0.5) + own * math.sqrt(0.5) < stats.norm.ppf(shares)).astype(float)


def claims_of(scores: Any, clusters: Any) -> list[tuple[int, int]]:
    """Pairs (better, worse) that a comparison claims, as `conclude` does."""
    places = [(one, other) for one in range(scores.shape[1]) for other in range(one)]
    tests = [PairedScores(scores[:, one], scores[:, other], clusters) for one, other in places]
    adjusted = intervals.holm([test.p_value for test in tests])
    found = []
    for (one, other), test, p_value in zip(places, tests, adjusted, strict=True):
        if p_value >= SIGNIFICANT or test.difference is None:
            continue
        interval = test.interval
        if interval is None or interval[0] > 0 or interval[1] < 0:
            found.append((one, other) if test.difference > 0 else (other, one))
    return found


def winners(table: Table, runs: int) -> None:
    table.title("“X is more accurate than Y” where all are equally accurate (any such claim in a comparison is false)")
    for variants in (2, 3, 5, 10):
        for share, count in ((0.9, 240), (0.7, 100)):
            cases = runs // (1 if variants < 5 else 2)
            wrong = sum(
                bool(claims_of(correlated(rng, [share] * variants, count), np.arange(count))) for rng in seeds(cases)
            )
            table.errs(f"{variants} variants, accuracy {share:.0%}, {count} requests", wrong, cases)
    for repeats, same in ((10, 1.0), (10, 0.5), (3, 1.0)):
        wrong = 0
        for rng in seeds(runs):
            wrong += bool(claims_of(*repeated(rng, [0.8, 0.8], 40, repeats, same)))
        table.errs(f"40 texts {repeats} times, {same:.0%} of repeats answered alike", wrong, runs)


def not_worse(table: Table, runs: int) -> None:
    table.title("“X is at most 2 points less accurate than Y” where it is worse by exactly these 2 points")
    for share, count in ((0.9, 500), (0.8, 1000), (0.95, 240)):
        wrong = 0
        for rng in seeds(runs):
            scores = correlated(rng, [share, share - 0.02], count)
            wrong += PairedScores(scores[:, 1], scores[:, 0], np.arange(count)).above(-0.02) < SIGNIFICANT / 2
        table.errs(f"accuracy {share:.0%}, {count} requests", wrong, runs, 0.025)
    wrong = 0
    for rng in seeds(runs):
        scores = correlated(rng, [0.9, 0.88, 0.88, 0.88], 500)
        tests = [PairedScores(scores[:, n], scores[:, 0], np.arange(500)).above(-0.02) for n in (1, 2, 3)]
        wrong += min(intervals.holm(tests)) < SIGNIFICANT / 2
    table.errs("three candidates at once, 500 requests", wrong, runs, 0.025)
    for share, margin, texts, repeats, same in NOT_WORSE_REPEATED:
        wrong = 0
        for rng in seeds(runs):
            scores, clusters = repeated(rng, [share, share - margin], texts, repeats, same)
            wrong += PairedScores(scores[:, 1], scores[:, 0], clusters).above(-margin) < SIGNIFICANT / 2
        what = f"margin {margin:.0%}, accuracy {share:.0%}, {texts} texts {repeats} times, {same:.0%} alike"
        table.errs(what, wrong, runs, 0.025)


#: Accuracy, margin, texts, repeats, and the share of repeats that are answered alike.
NOT_WORSE_REPEATED = (
    (0.9, 0.05, 40, 5, 1.0),
    (0.95, 0.02, 100, 3, 0.7),
    (0.99, 0.02, 40, 10, 0.5),
    (0.99, 0.02, 100, 3, 1.0),
    (0.7, 0.1, 15, 5, 0.9),
)


def repeated(rng: Any, shares: list[float], texts: int, repeats: int, same: float) -> tuple[Any, Any]:
    """Answers to texts that come several times, a share of them answered alike each time; and which text each is."""
    base = np.repeat(correlated(rng, shares, texts), repeats, axis=0)
    fresh = correlated(rng, shares, texts * repeats)
    return np.where(rng.random((len(base), 1)) < same, base, fresh), np.repeat(np.arange(texts), repeats)


def judges(table: Table, runs: int) -> None:
    table.title("“The judge prefers X over Y” where it likes both equally")
    for pairs, decided in ((1, 20), (1, 150), (3, 60), (10, 60)):
        wrong = 0
        for rng in seeds(runs):
            wins = rng.binomial(decided, 0.5, pairs)
            wrong += min(intervals.holm([intervals.sign_test(int(w), decided - int(w)) for w in wins])) < SIGNIFICANT
        table.errs(f"{pairs} pairs, {decided} decided requests each", wrong, runs)
    certain = sum(intervals.sign_test(1, 0) < SIGNIFICANT for _ in range(1))
    table.errs("one request", certain, 1, 0.0)


def shares(table: Table, runs: int) -> None:
    table.title("Interval of a share and of a difference of two (Wilson, Tango)")
    for share, count in ((0.5, 20), (0.9, 50), (0.9, 240), (0.99, 100), (0.99, 1000)):
        hits = 0
        for rng in seeds(runs):
            low, high = intervals.proportion(int(rng.binomial(count, share)), count) or (1, 0)
            hits += low <= share <= high
        table.covers(f"accuracy {share:.0%}, {count} requests", hits, runs, runs)
    for first, second, count in ((0.9, 0.9, 50), (0.9, 0.8, 100), (0.95, 0.9, 240), (0.99, 0.98, 1000)):
        hits = 0
        for rng in seeds(runs):
            scores = correlated(rng, [first, second], count)
            low, high = PairedScores(scores[:, 0], scores[:, 1], np.arange(count)).interval or (1, 0)
            hits += low <= first - second <= high
        table.covers(f"difference of {first:.0%} and {second:.0%}, {count} requests", hits, runs, runs)


#: Texts, repeats, accuracy, the difference, and the share of repeats that are answered alike.
CLUSTERED = (
    (40, 10, 0.8, 0.1, 0.9),
    (40, 10, 0.95, 0.02, 0.5),
    (40, 10, 0.99, 0.02, 0.8),
    (100, 3, 0.9, 0.1, 0.9),
    (100, 3, 0.99, 0.02, 0.7),
    (15, 5, 0.7, 0.1, 0.9),
)


def clustered(table: Table, runs: int) -> None:
    table.title("The same where requests repeat (clusters)")
    for texts, repeats, share, less, same in CLUSTERED:
        hits = difference = 0
        for rng in seeds(runs):
            scores, clusters = repeated(rng, [share, share - less], texts, repeats, same)
            low, high = intervals.clustered_share(scores[:, 0], clusters) or (1, 0)
            hits += low <= share <= high
            low, high = PairedScores(scores[:, 0], scores[:, 1], clusters).interval or (1, 0)
            difference += low <= less <= high
        what = f"{texts} texts {repeats} times, {same:.0%} alike"
        table.covers(f"accuracy {share:.0%}, {what}", hits, runs, runs)
        table.covers(f"difference of {less:.0%}, {what}", difference, runs, runs)


def means(table: Table, runs: int) -> None:
    table.title("Interval of a mean (Student's t below 30 values and above 2,000, bootstrapped t between)")
    draws: dict[str, tuple[Callable[[Any, int], Any], float]] = {
        "even": (lambda rng, count: rng.normal(10, 3, count), 10.0),
        "skewed (exponential)": (lambda rng, count: rng.exponential(2.0, count), 2.0),
        "very skewed (log-normal, σ 1)": (lambda rng, count: rng.lognormal(0, 1, count), math.exp(0.5)),
    }
    for name, (draw, truth) in draws.items():
        for count in (10, 40, 200, 3000):
            cases = runs
            hits = 0
            for rng in seeds(cases):
                low, high = intervals.mean(draw(rng, count)) or (1, 0)
                hits += low <= truth <= high
            claimed = name == "even" or (count >= 40 and "very" not in name) or count >= 3000
            table.covers(f"{name}, {count} values", hits, cases, cases, claimed=claimed)


def tables(table: Table, runs: int) -> None:
    links: dict[str, Any] = {
        "macro-F1": (intervals.macro_f1, intervals.logit, intervals.expit),
        "Cohen's κ": (intervals.kappa, np.arctanh, np.tanh),
    }
    cases = runs
    for name, (statistic, link, unlink) in links.items():
        table.title(f"Interval of {name} (none below {intervals.LEAST_ERRORS} errors)")
        for labels, share, count in (
            (2, 0.99, 20),
            (2, 0.99, 100),
            (3, 0.9, 60),
            (3, 0.9, 240),
            (6, 0.8, 240),
            (6, 0.6, 120),
            (3, 0.98, 1000),
        ):
            chances = np.full((labels, labels), (1 - share) / (labels - 1) / labels)
            np.fill_diagonal(chances, share / labels)
            truth, hits, given = float(statistic(chances * 1e6)), 0, 0
            for rng in seeds(cases):
                drawn = rng.multinomial(count, chances.ravel()).reshape(labels, labels)
                if drawn.sum(axis=1).min() < intervals.LEAST_OF_A_LABEL:
                    continue
                interval = intervals.of_table(drawn, statistic, link, unlink)
                if interval is not None:
                    given += 1
                    hits += interval[0] <= truth <= interval[1]
            table.covers(f"{labels} labels, accuracy {share:.0%}, {count} requests", hits, given, cases)


def needed(table: Table, runs: int) -> None:
    table.title("Requests needed: how often so many do show the difference (four cases of five are promised)")
    from scipy import stats

    for first, second in ((0.9, 0.85), (0.8, 0.7), (0.95, 0.93)):
        large = correlated(np.random.default_rng(1), [first, second], 200_000)
        count = PairedScores(large[:, 0], large[:, 1], np.arange(200_000))
        spread = float(np.std(large[:, 0] - large[:, 1]))
        z = float(stats.norm.isf(0.025) + stats.norm.ppf(0.8))
        enough = math.ceil((z * spread / abs(count.difference or 1.0)) ** 2)
        cases = max(200, min(runs, 400_000 // enough))
        shown = sum(
            bool(claims_of(correlated(rng, [first, second], enough), np.arange(enough))) for rng in seeds(cases)
        )
        good = abs(shown / cases - 0.8) < 0.05
        table._say(
            f"{first:.0%} against {second:.0%}: {enough:,} requests", f"shown in {shown / cases:.1%}", good, True
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a seventh of the cases: seconds")
    runs = 200 if parser.parse_args().quick else 1400
    table, began = Table(), time.perf_counter()
    for part in (winners, not_worse, judges, shares, clustered, means, tables, needed):
        part(table, runs)
    print(f"\n{table.failed} claims beyond their rate; {time.perf_counter() - began:.0f} s")
    return 1 if table.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
