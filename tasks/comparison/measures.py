"""What a comparison measures: of each variant, of each pair, and against the reference, with 95 % intervals."""

import math
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from tasks.comparison import intervals
from tasks.comparison.intervals import Interval, PairedScores
from tasks.comparison.joined import ANSWERED, LOST, Joined, Side
from tasks.comparison.numbers import Mean, Measures, Numbers, Pair, Share, Slice

#: A confusion matrix shows so many labels; the rest is one column.
_SHOWN_LABELS = 20
#: Of more labels than these, neither a matrix nor F1 says much.
_MOST_LABELS = 200
#: The commonest answers that are no label, as the report names them; and how many values of a field it shows.
_NAMED_UNKNOWN, _SHOWN_SLICES = 5, 30


def measure(joined: Joined) -> Numbers:
    """Compute everything from the joined arrays."""
    lengths = [_array(side.lengths) for side in joined.sides]
    tokens = [_array(side.completion_tokens) for side in joined.sides]
    length_edges, token_edges = _edges(lengths), _edges(tokens)
    variants = [_variant(joined, side, length_edges, token_edges) for side in joined.sides]
    references = np.frombuffer(joined.references, dtype=np.uint64)
    known = references != 0 if len(references) else np.zeros(joined.requests, dtype=bool)
    codes = [np.frombuffer(side.codes, dtype=np.uint64) for side in joined.sides]
    clusters = np.frombuffer(joined.clusters, dtype=np.uint64)
    names = _against_reference(joined, variants, codes, references, known) if known.any() else []
    pairs = [
        _pair(joined, (one, other), codes[one], codes[other], known)
        for one, other in combinations(range(len(codes)), 2)
    ]
    tested = [pair for pair in pairs if pair.p_value is not None]
    adjusted = intervals.holm([pair.p_value or 0.0 for pair in tested])
    for pair, value in zip(tested, adjusted, strict=True):
        pair.adjusted_p = value
    options = joined.options
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
        choices=options.choices,
        most_choices=joined.most_choices,
        margin=options.margin,
        closed=joined.closed,
        alike=joined.alike,
        blank_references=joined.reference.missing if joined.reference else 0,
        clusters=len(np.unique(clusters)),
        cluster_by=options.cluster_by,
        slices={name: found for name in options.slice_by if (found := _slices(joined, name, known))},
        missing_fields=[name for name in options.slice_by if len(joined.categories.get(name, ())) < 2],
    )


def _against_reference(
    joined: Joined, variants: list[Measures], codes: list[Any], references: Any, known: Any
) -> list[str]:
    """Each variant's accuracy and confusion matrix; returns the labels that the matrices show."""
    values, counts = np.unique(references[known], return_counts=True)
    # The most frequent first, and by name among equals.
    named = [joined.names.get(int(code), "…") for code in values]
    ranked = values[np.lexsort((np.array(named), -counts))][:_MOST_LABELS]
    clusters = np.frombuffer(joined.clusters, dtype=np.uint64)
    for measures, side, answers in zip(variants, joined.sides, codes, strict=True):
        scores, fates = np.frombuffer(side.scores), np.frombuffer(side.fates, dtype=np.int8)
        measures.accuracy = _accuracy(scores, clusters, known)
        measures.accuracy_answered = _accuracy(scores, clusters, known & (fates == ANSWERED))
        measures.accuracy_compared = _accuracy(scores, clusters, known & (fates != LOST))
        if joined.closed and (joined.options.extract is None or joined.options.extract.scorer is None):
            answered = measures.accuracy_answered.total
            measures.unknown = share(side.counts["unknown"], answered)
            measures.label_inside = side.counts["inside"]
            measures.unknown_answers = dict(side.unknown.most_common(_NAMED_UNKNOWN))
        if len(values) <= (_MOST_LABELS if joined.labels else _SHOWN_LABELS):
            # A right answer is the reference's label, whichever of those that are accepted it is.
            told = np.where(known & (scores >= 1), references, answers)
            _confuse(measures, told[known], references[known], ranked, _single(clusters[known]))
    return [joined.names.get(int(code), "…") for code in ranked[:_SHOWN_LABELS]]


def _single(clusters: Any) -> bool:
    """Whether requests hardly repeat: intervals of tables, which know no clusters, are then as good as any."""
    return len(np.unique(clusters)) >= 0.95 * len(clusters)


def _accuracy(scores: Any, clusters: Any, chosen: Any) -> Share:
    """The mean score; the count is whole but where several choices are averaged."""
    found = scores[chosen]
    total = len(found)
    count = float(found.sum())
    interval = intervals.clustered_share(found, clusters[chosen]) if total else None
    return Share(int(count) if count.is_integer() else round(count, 6), total, interval)


def _slices(joined: Joined, name: str, known: Any) -> list[Slice]:
    """The accuracy of every variant by a field's values, the most frequent first. No test is made of them."""
    places = np.frombuffer(joined.slices[name], dtype=np.uint32)
    clusters = np.frombuffer(joined.clusters, dtype=np.uint64)
    found = []
    for place, value in enumerate(joined.categories[name]):
        chosen = known & (places == place)
        if not chosen.any():
            continue
        each = []
        for side in joined.sides:
            fates = np.frombuffer(side.fates, dtype=np.int8)
            each.append(_accuracy(np.frombuffer(side.scores), clusters, chosen & (fates != LOST)))
        found.append(Slice(value or "(none)", int(chosen.sum()), each))
    return sorted(found, key=lambda each: -each.requests)[:_SHOWN_SLICES]


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
    costs = _costs(side)
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
        cost_usd=float(costs.sum()) if len(costs) == answered and _priced(side) else None,
        cost_per_thousand=_mean(costs, 1000.0) if len(costs) else None,
        rate=msgspec.to_builtins(side.rate),
        errors=dict(side.errors.most_common(20)),
        finish_reasons=dict(side.finish_reasons.most_common()),
        length_histogram=_histogram(lengths, length_edges),
        token_histogram=_histogram(completion[completion >= 0], token_edges),
        schema_unchecked=counts["schema_unchecked"],
        tool_calls_unchecked=counts["calls_unchecked"],
        lost=counts["lost"],
        cost_known=len(costs),
    )


def _priced(side: Side) -> bool:
    return side.rate is not None or side.pricing is not None


def _costs(side: Side) -> Any:
    """The known costs of the answered requests."""
    costs = np.frombuffer(side.costs)
    answered = np.frombuffer(side.fates, dtype=np.int8) == ANSWERED
    return costs[answered & np.isfinite(costs)]


def _histogram(values: Any, edges: Any) -> list[int]:
    # The few beyond the last edge count with the last bar.
    counts: list[int] = np.histogram(np.minimum(values, edges[-1]), bins=edges)[0].tolist()
    return counts


def _asked(side: Side, name: str) -> Share | None:
    total = side.counts[f"{name}_asked"]
    return share(side.counts[f"{name}_kept"], total) if total else None


def _confuse(measures: Measures, answers: Any, references: Any, labels: Any, single: bool) -> None:
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
    # Where requests repeat one another, or a label is rare, no honest interval is known.
    if single and table.sum(axis=1).min() >= intervals.LEAST_OF_A_LABEL:
        measures.macro_f1_interval = intervals.of_table(table, intervals.macro_f1, intervals.logit, intervals.expit)


def _places(codes: Any, labels: Any) -> Any:
    """The place of each code among the labels; behind them where it is none of them."""
    order = np.argsort(labels)
    found = np.searchsorted(labels[order], codes).clip(max=len(labels) - 1)
    return np.where(labels[order][found] == codes, order[found], len(labels))


def _pair(joined: Joined, key: tuple[int, int], first: Any, second: Any, known: Any) -> Pair:
    both = (first != 0) & (second != 0)
    same = both & (first == second)
    clusters = np.frombuffer(joined.clusters, dtype=np.uint64)
    kappa, kappa_interval = _kappa(joined, first[both], second[both], _single(clusters[both]))
    likeness = joined.similarities[key]
    interval = intervals.clustered_share(same[both].astype(float), clusters[both]) if both.any() else None
    pair = Pair(
        first=joined.sides[key[0]].variant.label,
        second=joined.sides[key[1]].variant.label,
        both=int(both.sum()),
        agreement=Share(int(same.sum()), int(both.sum()), interval),
        kappa=kappa,
        kappa_interval=kappa_interval,
        similarity=_mean(np.frombuffer(likeness)) if len(likeness) else None,
    )
    one, other = joined.sides[key[0]], joined.sides[key[1]]
    fates = [np.frombuffer(side.fates, dtype=np.int8) for side in (one, other)]
    _compare_costs(pair, one, other, (fates[0] == ANSWERED) & (fates[1] == ANSWERED))
    compared = known & (fates[0] != LOST) & (fates[1] != LOST)
    if compared.any():
        scores = [np.frombuffer(side.scores)[compared] for side in (one, other)]
        _compare_scores(pair, scores[0], scores[1], clusters[compared], joined)
    return pair


def _kappa(joined: Joined, first: Any, second: Any, single: bool) -> tuple[float | None, Interval | None]:
    labels = np.unique(np.concatenate([first, second]))
    # Beyond so many labels a table of them all would be large, and mean little.
    if not joined.labels or not 1 < len(labels) <= _MOST_LABELS:
        return None, None
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, (np.searchsorted(labels, first), np.searchsorted(labels, second)), 1)
    value = float(intervals.kappa(table))
    interval = None
    if single and len(labels) <= 50:
        interval = intervals.of_table(table, intervals.kappa, np.arctanh, np.tanh)
    return (value if math.isfinite(value) else None), interval


def _compare_costs(pair: Pair, one: Side, other: Side, both: Any) -> None:
    """What a thousand of the requests cost that both answered."""
    first, second = np.frombuffer(one.costs), np.frombuffer(other.costs)
    both = both & np.isfinite(first) & np.isfinite(second)
    pair.cost_both = int(both.sum())
    if pair.cost_both:
        pair.first_cost, pair.second_cost = (float(costs[both].mean()) * 1000 for costs in (first, second))


def _compare_scores(pair: Pair, first: Any, second: Any, clusters: Any, joined: Joined) -> None:
    # Whole numbers where choices are averaged; a scorer's are rounded to thousandths.
    averaged = joined.options.choices == "mean" and joined.reference is not None
    scorer = joined.options.extract is not None and joined.options.extract.scorer is not None
    scale = 1000 if scorer else math.lcm(*range(1, min(joined.most_choices, 10) + 1)) if averaged else 1
    test = PairedScores(first, second, clusters, scale)
    pair.compared, pair.clusters = test.total, test.clusters
    pair.only_first_right, pair.only_second_right = int((first > second).sum()), int((first < second).sum())
    pair.first_accuracy, pair.second_accuracy = float(first.mean()), float(second.mean())
    pair.accuracy_difference, pair.difference_interval = test.difference, test.interval
    pair.p_value = test.p_value
    pair.needed = test.needed(math.comb(len(joined.sides), 2))
    margin = joined.options.margin
    if margin is not None:
        other = PairedScores(second, first, clusters, scale)
        pair.first_not_worse_p, pair.second_worse_p = test.above(-margin), test.above(margin)
        pair.second_not_worse_p, pair.first_worse_p = other.above(-margin), other.above(margin)
