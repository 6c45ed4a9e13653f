"""The numbers of a comparison: of each variant, of each pair, and against the reference, with 95 % intervals."""

from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from tasks.comparison import intervals
from tasks.comparison.intervals import Interval
from tasks.comparison.join import Joined, Side

#: A confusion matrix shows so many labels; the rest is one column.
_SHOWN_LABELS = 20
#: Of more labels than these, neither a matrix nor F1 says much.
_MOST_LABELS = 200


class Share(msgspec.Struct, frozen=True):
    """How many of how many."""

    count: int
    total: int
    interval: Interval | None

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None


class Mean(msgspec.Struct, frozen=True):
    """A mean, its interval, and quantiles of the values."""

    count: int
    value: float | None
    interval: Interval | None
    median: float | None
    p90: float | None
    maximum: float | None


class Measures(msgspec.Struct):
    """One variant's numbers. Costs are in US dollars; of requests that failed nothing is billed."""

    label: str
    model: str
    requests: int
    answered: Share
    truncated: Share
    refused: Share
    empty: Share
    json_valid: Share | None
    schema_valid: Share | None
    tool_calls_valid: Share | None
    characters: Mean
    output_tokens: Mean
    input_tokens: int
    total_output_tokens: int
    cost_usd: float | None
    cost_per_thousand: Mean | None
    rate: dict[str, Any] | None
    errors: dict[str, int]
    finish_reasons: dict[str, int]
    #: Counts of answers by length, for a picture: edges are shared by all variants.
    length_histogram: list[int]
    token_histogram: list[int]
    accuracy: Share | None = None
    macro_f1: float | None = None
    macro_f1_interval: Interval | None = None
    confusion: list[list[int]] | None = None
    #: Answers and tool calls whose schema could not be used; the shares above are of the others.
    schema_unchecked: int = 0
    tool_calls_unchecked: int = 0


class Pair(msgspec.Struct):
    """Two variants side by side, on the requests that both answered."""

    first: str
    second: str
    both: int
    agreement: Share
    kappa: float | None
    kappa_interval: Interval | None
    similarity: Mean | None
    #: With a reference: the difference of the accuracies, first minus second, and McNemar's test of it.
    accuracy_difference: float | None = None
    difference_interval: Interval | None = None
    only_first_right: int = 0
    only_second_right: int = 0
    p_value: float | None = None


class Numbers(msgspec.Struct):
    """All numbers of a comparison."""

    requests: int
    labels: bool
    variants: list[Measures]
    pairs: list[Pair]
    length_edges: list[float]
    token_edges: list[float]
    #: The labels of the confusion matrices' rows; their columns end with "other" and "no answer".
    label_names: list[str]
    referenced: int
    missing_references: int
    extra_references: int
    #: Why answers could not be held to their requests' schemas, each with how many.
    unchecked: dict[str, int] = {}


def measure(joined: Joined) -> Numbers:
    """Compute everything from the joined arrays."""
    lengths = [_array(side.lengths) for side in joined.sides]
    tokens = [_array(side.completion_tokens) for side in joined.sides]
    length_edges, token_edges = _edges(lengths), _edges(tokens)
    variants = [_variant(joined, side, length_edges, token_edges) for side in joined.sides]
    references = np.frombuffer(joined.references, dtype=np.uint64)
    known = references != 0 if len(references) else np.zeros(joined.requests, dtype=bool)
    codes = [np.frombuffer(side.codes, dtype=np.uint64) for side in joined.sides]
    names: list[str] = []
    if known.any():
        values, counts = np.unique(references[known], return_counts=True)
        # The most frequent first, and by name among equals.
        named = [joined.names.get(int(code), "…") for code in values]
        ranked = values[np.lexsort((np.array(named), -counts))][:_MOST_LABELS]
        names = [joined.names.get(int(code), "…") for code in ranked[:_SHOWN_LABELS]]
        for measures, answers in zip(variants, codes, strict=True):
            right = known & (answers == references)
            count, total = int(right.sum()), int(known.sum())
            measures.accuracy = share(count, total)
            if len(values) <= (_MOST_LABELS if joined.labels else _SHOWN_LABELS):
                _confuse(measures, answers[known], references[known], ranked)
    pairs = [
        _pair(joined, (one, other), codes[one], codes[other], references, known)
        for one, other in combinations(range(len(codes)), 2)
    ]
    return Numbers(
        requests=joined.requests,
        labels=joined.labels,
        variants=variants,
        pairs=pairs,
        length_edges=length_edges.tolist(),
        token_edges=token_edges.tolist(),
        label_names=names,
        referenced=int(known.sum()),
        extra_references=joined.extra_references,
        missing_references=joined.requests - int(known.sum()) if len(references) else 0,
        unchecked=joined.unchecked,
    )


def _array(values: Any) -> Any:
    return np.frombuffer(values, dtype=np.int64)


def _edges(columns: list[Any]) -> Any:
    """Edges of a histogram with room for the middle 98 % of all variants' values."""
    known = np.concatenate([column[column >= 0] for column in columns] or [np.zeros(1)])
    if not len(known):
        return np.array([0.0, 1.0])
    low, high = np.quantile(known, [0.0, 0.99])
    if high - low < 24:
        # A bar for each number.
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    return np.linspace(low, max(high, low + 1), 25)


def share(count: int, total: int) -> Share:
    """So many of so many, with its interval."""
    return Share(count, total, intervals.proportion(count, total))


def _mean(values: Any, scale: float = 1.0) -> Mean:
    if not len(values):
        return Mean(0, None, None, None, None, None)
    interval = intervals.mean(values)
    median, p90 = np.quantile(values, [0.5, 0.9])
    return Mean(
        len(values),
        float(np.mean(values)) * scale,
        (interval[0] * scale, interval[1] * scale) if interval else None,
        float(median) * scale,
        float(p90) * scale,
        float(np.max(values)) * scale,
    )


def _variant(joined: Joined, side: Side, length_edges: Any, token_edges: Any) -> Measures:
    counts, answered = side.counts, side.counts["answered"]
    lengths, prompt, completion = map(_array, (side.lengths, side.prompt_tokens, side.completion_tokens))
    lengths = lengths[lengths >= 0]
    known = prompt >= 0
    input_tokens, output_tokens = prompt[known], np.maximum(completion[known], 0)
    costs: Any = None
    if side.rate is not None and known.any():
        costs = side.rate.cost(input_tokens, output_tokens)
    return Measures(
        label=side.variant.label,
        model=side.variant.model,
        requests=joined.requests,
        answered=share(answered, joined.requests),
        truncated=share(counts["truncated"], answered),
        refused=share(counts["refused"], answered),
        empty=share(counts["empty"], answered),
        json_valid=_asked(side, "json"),
        schema_valid=_asked(side, "schema"),
        tool_calls_valid=_asked(side, "calls"),
        characters=_mean(lengths),
        output_tokens=_mean(completion[completion >= 0]),
        input_tokens=int(input_tokens.sum()),
        total_output_tokens=int(output_tokens.sum()),
        cost_usd=float(costs.sum()) if costs is not None else None,
        cost_per_thousand=_mean(costs, 1000.0) if costs is not None else None,
        rate=msgspec.to_builtins(side.rate),
        errors=dict(side.errors.most_common(20)),
        finish_reasons=dict(side.finish_reasons.most_common()),
        length_histogram=_histogram(lengths, length_edges),
        token_histogram=_histogram(completion[completion >= 0], token_edges),
        schema_unchecked=counts["schema_unchecked"],
        tool_calls_unchecked=counts["calls_unchecked"],
    )


def _histogram(values: Any, edges: Any) -> list[int]:
    # The few beyond the last edge count with the last bar.
    counts: list[int] = np.histogram(np.minimum(values, edges[-1]), bins=edges)[0].tolist()
    return counts


def _asked(side: Side, name: str) -> Share | None:
    total = side.counts[f"{name}_asked"]
    return share(side.counts[f"{name}_kept"], total) if total else None


def _confuse(measures: Measures, answers: Any, references: Any, labels: Any) -> None:
    """The confusion matrix and what follows from it; columns behind the labels: another answer, and none."""
    count = len(labels)
    rows = _places(references, labels)
    kept = rows < count
    columns = _places(answers, labels)
    columns[answers == 0] = count + 1
    table = np.zeros((count, count + 2), dtype=np.int64)
    np.add.at(table, (rows[kept], columns[kept]), 1)
    shown = min(count, _SHOWN_LABELS)
    rest = table[:shown, shown:-1].sum(axis=1, keepdims=True)
    measures.confusion = np.hstack([table[:shown, :shown], rest, table[:shown, -1:]]).tolist()
    measures.macro_f1 = float(intervals.macro_f1(table))
    measures.macro_f1_interval = intervals.of_table(table, intervals.macro_f1)


def _places(codes: Any, labels: Any) -> Any:
    """The place of each code among the labels; behind them where it is none of them."""
    order = np.argsort(labels)
    found = np.searchsorted(labels[order], codes).clip(max=len(labels) - 1)
    return np.where(labels[order][found] == codes, order[found], len(labels))


def _pair(joined: Joined, key: tuple[int, int], first: Any, second: Any, references: Any, known: Any) -> Pair:
    both = (first != 0) & (second != 0)
    same = int((both & (first == second)).sum())
    kappa, kappa_interval = None, None
    if joined.labels and both.any():
        labels = np.unique(np.concatenate([first[both], second[both]]))
        # Beyond so many labels a table of them all would be large, and mean little.
        if 1 < len(labels) <= 200:
            table = np.zeros((len(labels), len(labels)), dtype=np.int64)
            np.add.at(table, (np.searchsorted(labels, first[both]), np.searchsorted(labels, second[both])), 1)
            value = float(intervals.kappa(table))
            kappa = value if np.isfinite(value) else None
            kappa_interval = intervals.of_table(table, intervals.kappa) if len(labels) <= 50 else None
    likeness = joined.similarities[key]
    pair = Pair(
        first=joined.sides[key[0]].variant.label,
        second=joined.sides[key[1]].variant.label,
        both=int(both.sum()),
        agreement=share(same, int(both.sum())),
        kappa=kappa,
        kappa_interval=kappa_interval,
        similarity=_mean(np.frombuffer(likeness)) if len(likeness) else None,
    )
    if known.any():
        one, other = known & (first == references), known & (second == references)
        total = int(known.sum())
        pair.only_first_right, pair.only_second_right = int((one & ~other).sum()), int((other & ~one).sum())
        pair.accuracy_difference = (pair.only_first_right - pair.only_second_right) / total
        pair.difference_interval = intervals.paired_difference(pair.only_first_right, pair.only_second_right, total)
        pair.p_value = intervals.mcnemar(pair.only_first_right, pair.only_second_right)
    return pair
