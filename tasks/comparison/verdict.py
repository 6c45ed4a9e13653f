"""The verdict of a comparison: its conclusions in sentences that a person can act on, and what else to know.

No sentence has a text of a request, an answer or a label: they are logged.
"""

from tasks.comparison.conclusions import Conclusion, conclude
from tasks.comparison.judge import Judged
from tasks.comparison.numbers import Measures, Numbers
from tasks.support.words import counted

#: From these shares on, something is said of them.
_ANSWERED, _CUT_OFF, _UNKNOWN, _UNREAD = 0.95, 0.05, 0.2, 0.01
_CHOICES = {
    "first": "the first one is compared",
    "majority": "the most frequent one is compared",
    "mean": "their mean score is compared",
    "any": "one right answer is enough (pass@k)",
}


def percent(value: float | None) -> str:
    # The space does not break.
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def verdict(numbers: Numbers, judged: Judged | None, failed: dict[str, str]) -> list[str]:
    """Sentences: who is best and how sure that is, at what price; then what the reader must know besides."""
    variants, conclusions = numbers.variants, conclude(numbers, judged)
    sentences: list[str] = []
    if not variants:
        sentences.append("No model gave an answer: there is nothing to compare.")
    elif len(variants) == 1:
        sentences.append(_alone(variants[0]))
    else:
        if numbers.referenced:
            sentences += _by_accuracy(numbers, _of(conclusions, "more_accurate"))
        sentences += _by_margin(numbers, conclusions)
        if judged is not None:
            sentences += _by_judge(judged, conclusions)
        if not numbers.referenced and not _of(conclusions, "preferred"):
            sentences += _by_agreement(numbers, _of(conclusions, "same_answers"))
        sentences += _cost(variants, _of(conclusions, "cheaper"))
    sentences += _of_prices(variants)
    sentences += _of_answers(numbers)
    sentences += _of_references(numbers)
    sentences += _of_schemas(numbers)
    return sentences + [f"{label} has no results: {cause}" for label, cause in failed.items()]


def _of(conclusions: list[Conclusion], claim: str) -> list[Conclusion]:
    return [each for each in conclusions if each.claim == claim]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _p(value: float | None) -> str:
    return "unknown" if value is None else "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _points(each: Conclusion) -> str:
    text = f"{100 * abs(each.difference or 0.0):.1f} points"
    if each.interval is not None:
        text += f" (95\u00a0% interval {100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f})"
    return text


def _test(each: Conclusion, tests: int) -> str:
    corrected = f", corrected for {tests} pairs" if tests > 1 else ""
    return f"{each.test} test, p {_p(each.adjusted_p)}{corrected}"


def _alone(only: Measures) -> str:
    text = f"{only.label} answered {percent(only.answered.value)} of {counted(only.requests, 'request')}"
    if only.accuracy_answered is not None:
        text += f", {percent(only.accuracy_answered.value)} of those with a reference correctly"
    return text + "; there is no other model to compare it with."


def _value(variant: Measures) -> float:
    share = variant.accuracy_compared or variant.accuracy
    return (share.value if share else None) or 0.0


def _with_value(variants: list[Measures]) -> str:
    return _listed([f"{each.label} ({percent(_value(each))})" for each in variants])


def _by_accuracy(numbers: Numbers, pairs: list[Conclusion]) -> list[str]:
    if not pairs:
        return ["No labelled request was answered by two models: their accuracies cannot be compared."]
    labels = [variant.label for variant in numbers.variants]
    beats = {label: [each for each in pairs if each.holds and each.variants[0] == label] for label in labels}
    for label, won in beats.items():
        if len(won) == len(labels) - 1:
            return [_winner(label, won, len(pairs))]
    beaten = {each.variants[1] for each in pairs if each.holds}
    rest = [variant for variant in numbers.variants if variant.label not in beaten] or numbers.variants
    if len(rest) == 1:
        # Nobody beats it, and it does not beat all.
        under = {each.variants[1] for each in beats[rest[0].label]}
        rest = [variant for variant in numbers.variants if variant.label not in under]
    rest = sorted(rest, key=lambda variant: -_value(variant))
    sentences = [_undecided(numbers, rest, pairs), *_needed(rest, pairs)]
    sentences += [
        f"{label} is more accurate than {_listed([each.variants[1] for each in won])} "
        f"({_points(won[0]) if len(won) == 1 else 'each'}: {_test(max(won, key=_adjusted), len(pairs))})."
        for label, won in beats.items()
        if won
    ]
    return sentences


def _adjusted(each: Conclusion) -> float:
    return each.adjusted_p or 0.0


def _winner(label: str, won: list[Conclusion], tests: int) -> str:
    closest = min(won, key=lambda each: each.difference or 0.0)
    first, second = closest.values or (0.0, 0.0)
    next_best = f" of {closest.variants[1]}" if len(won) == 1 else f" of {closest.variants[1]}, which comes closest"
    return (
        f"{label} is the most accurate: {percent(first)} against {percent(second)}{next_best}, on the same "
        f"{counted(closest.n, 'labelled request')}. The difference of {_points(closest)} is more than chance explains "
        f"({_test(closest, tests)})."
    )


def _undecided(numbers: Numbers, rest: list[Measures], pairs: list[Conclusion]) -> str:
    within = _within(rest, pairs)
    n = min((each.n for each in within), default=numbers.referenced)
    requests = counted(n, "labelled request")
    if all(_value(variant) == 0 for variant in rest):
        return (
            f"None of {_listed([variant.label for variant in rest])} gave one right answer to the {requests}: is it "
            'the right column of the reference, and do the answers stand alone? extract="includes" finds labels within.'
        )
    if within and all(each.difference == 0 for each in within):
        return (
            f"{_listed([variant.label for variant in rest])} are equally accurate on the {requests}: "
            f"{percent(_value(rest[0]))}."
        )
    verb = "does" if n == 1 else "do"
    return f"There is no clear winner: {requests} {verb} not tell {_with_value(rest)} apart."


def _within(rest: list[Measures], pairs: list[Conclusion]) -> list[Conclusion]:
    names = {variant.label for variant in rest}
    return [each for each in pairs if set(each.variants) <= names]


def _needed(rest: list[Measures], pairs: list[Conclusion]) -> list[str]:
    """How many labelled requests would tell the two best apart."""
    if len(rest) < 2:
        return []
    names = {rest[0].label, rest[1].label}
    each = next((each for each in pairs if set(each.variants) == names), None)
    if each is None or each.holds or not each.needed or not each.difference:
        return []
    more = max(0, each.needed - each.n)
    return [
        f"If {each.variants[0]} is really better than {each.variants[1]} by these {100 * each.difference:.1f} points, "
        f"about {more:,} more labelled requests ({each.needed:,} in all) would show it in four cases of five."
    ]


def _by_margin(numbers: Numbers, conclusions: list[Conclusion]) -> list[str]:
    claims = _of(conclusions, "not_worse")
    if numbers.margin is not None and not claims:
        base = numbers.base or numbers.variants[0].label
        return [f"Of the margin nothing is known: no labelled request was answered by {base} and by another one."]
    pairs = zip(claims, _of(conclusions, "worse"), strict=True)
    return [_not_worse(each, worse, len(claims)) for each, worse in pairs]


def _not_worse(each: Conclusion, worse: Conclusion, tests: int) -> str:
    variant, base = each.variants
    margin, interval = each.margin or 0.0, each.interval
    points = f"{100 * margin:g} {'point' if 100 * margin == 1 else 'points'}"
    said = f"difference {100 * (each.difference or 0.0):+.1f} points"
    if interval is not None:
        said += f", 95\u00a0% interval {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    said += f", one-sided p {_p((worse if worse.holds else each).adjusted_p)}"
    if tests > 1:
        said += f", corrected for {tests} variants"
    if each.holds:
        return f"{variant} is at most {points} less accurate than {base} ({said})."
    if worse.holds:
        return f"{variant} is more than {points} less accurate than {base} ({said})."
    return f"It is not shown that {variant} is at most {points} less accurate than {base} ({said})."


def _by_judge(judged: Judged, conclusions: list[Conclusion]) -> list[str]:
    pairs = _of(conclusions, "preferred")
    if not pairs:
        return [f"The judge ({judged.model}) compared no two answers in both orders: nothing follows from it."]
    sentences = []
    for number, each in enumerate(sorted(pairs, key=lambda each: (not each.holds, _adjusted(each)))):
        sentences.append(_preference(each, f"The judge ({judged.model})" if number == 0 else "It", len(pairs)))
    sentences += _against_reference(judged, conclusions)
    lost = judged.unreadable + judged.failed
    if judged.asked and lost / judged.asked > _UNREAD:
        sentences.append(
            f"Of the judge's {counted(judged.asked, 'request')}, {judged.failed:,} had no answer and "
            f"{judged.unreadable:,} answers named no choice{_cut_off(judged)}; comparisons without both orders count "
            "for nothing."
        )
    for each in _of(conclusions, "leans_to_place"):
        most, least = (int(value) for value in each.values or (0, 0))
        if each.holds:
            sentences.append(
                f"The judge leans to the {each.variants[0]} (it chose it in both orders {most:,} times, the other "
                f"{least:,} times); both orders were asked, so this blurs the result and does not tilt it."
            )
    return sentences


def _cut_off(judged: Judged) -> str:
    return f" ({judged.cut_off:,} of them were cut off: give the judge more max_tokens)" if judged.cut_off else ""


def _preference(each: Conclusion, judge: str, tests: int) -> str:
    first, second = each.variants
    wins, losses = (int(value) for value in each.values or (0, 0))
    ties = counted(each.ties or 0, "tie")
    if not each.n:
        compared = "the one comparison" if each.ties == 1 else f"all {each.ties:,} comparisons"
        return f"{judge} called {compared} of {first} and {second} a tie."
    score = f"{wins:,} wins to {losses:,}, {ties} ({_test(each, tests).replace('test test', 'test')})"
    if each.holds:
        return f"{judge} prefers {first} over {second}: {score}."
    return f"{judge} does not tell {first} and {second} apart: {score}."


def _against_reference(judged: Judged, conclusions: list[Conclusion]) -> list[str]:
    sentences = []
    told, against = sum(p.with_reference for p in judged.pairs), sum(p.against_reference for p in judged.pairs)
    if told + against:
        sentences.append(
            f"Where the reference says that one of two answers is better and the judge chose, it chose that one in "
            f"{told:,} of {counted(told + against, 'case')}."
        )
    better = {each.variants for each in _of(conclusions, "more_accurate") if each.holds}
    for each in _of(conclusions, "preferred"):
        first, second = each.variants
        if each.holds and (second, first) in better:
            sentences.append(
                f"The judge contradicts the reference: it prefers {first}, and {second} is the more accurate one."
            )
    return sentences


def _by_agreement(numbers: Numbers, pairs: list[Conclusion]) -> list[str]:
    if not pairs:
        return ["No request was answered by two models: their answers cannot be compared."]
    least = min(pairs, key=lambda each: each.difference or 0.0)
    first, second = least.variants
    if all(each.holds for each in pairs):
        labels = _listed([variant.label for variant in numbers.variants])
        text = f"{labels} gave the same answers wherever two of them answered."
    elif not numbers.labels:
        text = f"Of the answers, word for word the same are {percent(least.difference)} ({first} and {second})."
    else:
        text = (
            f"{first} and {second} agree{' least,' if len(pairs) > 1 else ''} on {percent(least.difference)} of "
            f"{counted(least.n, 'request')} that both answered."
        )
    return [f"{text} Which is better cannot be told without a reference or a judge."]


def _cost(variants: list[Measures], pairs: list[Conclusion]) -> list[str]:
    """The dearest against the cheapest, on the requests that both answered."""
    if not pairs:
        return []
    if all(not each.holds for each in pairs):
        names = {name for each in pairs for name in each.variants}
        compared = [variant.label for variant in variants if variant.label in names]
        who = _listed(compared) if len(compared) < len(variants) else "both" if len(variants) == 2 else "they all"
        exact = all(not each.difference for each in pairs)
        return [f"At these prices, {who} cost the same{'' if exact else ' within half a percent'}."]
    widest = max((each for each in pairs if each.holds), key=_ratio)
    low, high = widest.values or (0.0, 0.0)
    first, second = widest.variants
    times = f", {high / low:,.{1 if high / low >= 1.1 else 3}f} times as much" if low else ""
    nothing = "nothing" if not low else f"${low:,.3g}"
    return [f"Per thousand requests that both answered, {first} costs {nothing} and {second} ${high:,.3g}{times}."]


def _ratio(each: Conclusion) -> float:
    low, high = each.values or (0.0, 0.0)
    return high / low if low else float("inf")


def _of_prices(variants: list[Measures]) -> list[str]:
    sentences = []
    unknown = [v.label for v in variants if v.answered.count and v.cost_per_thousand is None and v.rate is None]
    if unknown:
        sentences.append(
            f"No price is known of {_listed(unknown)}: costs leave {'it' if len(unknown) == 1 else 'them'} out "
            "(BEDROCK_BATCH_PRICES names a price list of your own)."
        )
    for each in variants:
        if each.label not in unknown and each.cost_known < each.answered.count:
            sentences.append(
                f"The cost of {each.label} is known for {each.cost_known:,} of {each.answered.count:,} answered "
                "requests only: it has no total."
            )
    return sentences


def _of_answers(numbers: Numbers) -> list[str]:
    sentences = []
    for each in numbers.variants:
        if each.answered.value is not None and each.answered.value < _ANSWERED:
            sentences.append(_unanswered(each))
        elif each.lost and numbers.referenced:
            sentences.append(_lost(each))
        if each.truncated.value is not None and each.truncated.value > _CUT_OFF:
            sentences.append(f"{percent(each.truncated.value)} of {each.label}'s answers were cut off at their limit.")
        if each.unknown is not None and (each.unknown.value or 0.0) >= _UNKNOWN:
            sentences.append(_unlabelled(each))
    if numbers.most_choices > 1:
        how = _CHOICES[numbers.choices]
        sentences.append(f"Of requests with several answers (n up to {numbers.most_choices}), {how}.")
    return sentences


def _unanswered(each: Measures) -> str:
    text = f"{each.label} answered only {percent(each.answered.value)} of the requests"
    return f"{text}. {_lost(each)}" if each.lost else f"{text}; the others failed for their own sake."


def _lost(each: Measures) -> str:
    text = f"Of {each.label}, {counted(each.lost, 'request')} {'was' if each.lost == 1 else 'were'} lost to the run "
    text += "(throttled, expired or a fault of the service)"
    if each.accuracy is not None:
        text += f" and left out of comparisons; counted as wrong, its accuracy would be {percent(each.accuracy.value)}"
    return f"{text}. retry_failed asks them again."


def _unlabelled(each: Measures) -> str:
    assert each.unknown is not None
    text = (
        f"{percent(each.unknown.value)} of {each.label}'s answers are none of the reference's labels, and count as "
        "wrong (the report names the commonest)"
    )
    inside = each.label_inside / each.unknown.total if each.unknown.total else 0.0
    if inside < 0.01:
        return text + "."
    return text + f'; {percent(inside)} hold one label in a longer text, which extract="includes" would read.'


def _of_references(numbers: Numbers) -> list[str]:
    sentences = []
    if numbers.referenced and (numbers.missing_references or numbers.extra_references):
        blank = (
            f" ({counted(numbers.blank_references, 'cell is', 'cells are')} blank)" if numbers.blank_references else ""
        )
        sentences.append(
            f"The reference has no label for {numbers.missing_references:,} of {counted(numbers.requests, 'request')}"
            f"{blank}, and {counted(numbers.extra_references, 'label')} of no request."
        )
    if numbers.alike:
        sentences.append(
            f"{len(numbers.alike)} labels of the reference differ from others in case or marks only, and count as "
            "different ones: write them alike if they are the same."
        )
    if numbers.referenced and numbers.clusters and numbers.clusters < numbers.requests:
        if numbers.cluster_by:
            sentences.append(
                f"The requests have {numbers.clusters:,} different values of {numbers.cluster_by}; those of one value "
                "are not taken for independent."
            )
        else:
            verb = "is" if numbers.clusters == 1 else "are"
            sentences.append(
                f"Of {counted(numbers.requests, 'request')}, {numbers.clusters:,} {verb} different; repeats are not "
                "taken for independent."
            )
    sentences += [f"No request has the field {name} to slice by." for name in numbers.missing_fields]
    return sentences


def _of_schemas(numbers: Numbers) -> list[str]:
    if not numbers.unchecked:
        return []
    causes = "; ".join(f"{count:,} where it {why}" for why, count in numbers.unchecked.items())
    return [
        f"{sum(numbers.unchecked.values()):,} answers or tool calls could not be held to the JSON Schema of their "
        f"request, and are left out of the shares of those that keep to it: {causes}."
    ]
