"""The verdict of a comparison, in a sentence or two that a person can act on."""

from tasks.comparison.judge import Judged
from tasks.comparison.measures import Measures, Numbers, Pair
from tasks.words import counted

#: Below this chance of so uneven a split, a difference is called one.
_SIGNIFICANT = 0.05


def percent(value: float | None) -> str:
    # The space does not break.
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def verdict(numbers: Numbers, judged: Judged | None, failed: dict[str, str]) -> list[str]:
    """Sentences: who is best and how sure that is, at what price; then what the reader must know besides."""
    variants = numbers.variants
    sentences = []
    if not variants:
        sentences.append("No model gave an answer: there is nothing to compare.")
    elif len(variants) == 1:
        sentences.append(_alone(variants[0]))
    elif numbers.referenced:
        sentences += _by_accuracy(numbers)
    elif judged is not None and judged.ranking:
        sentences += _by_judge(judged)
    else:
        sentences += _by_agreement(numbers)
    if len(variants) > 1 and (cost := _cost(variants)):
        sentences.append(cost)
    for each in variants:
        if each.answered.value is not None and each.answered.value < 0.95:
            sentences.append(f"{each.label} answered only {percent(each.answered.value)} of the requests.")
        if each.truncated.value is not None and each.truncated.value > 0.05:
            sentences.append(f"{percent(each.truncated.value)} of {each.label}'s answers were cut off at their limit.")
    if numbers.referenced and (numbers.missing_references or numbers.extra_references):
        sentences.append(
            f"The reference has no label for {numbers.missing_references:,} of {counted(numbers.requests, 'request')}, "
            f"and {counted(numbers.extra_references, 'label')} of no request."
        )
    if numbers.unchecked:
        causes = "; ".join(f"{count:,} where it {why}" for why, count in numbers.unchecked.items())
        sentences.append(
            f"{sum(numbers.unchecked.values()):,} answers or tool calls could not be held to the JSON Schema of their "
            f"request, and are left out of the shares of those that keep to it: {causes}."
        )
    sentences += [f"{label} has no results: {cause}" for label, cause in failed.items()]
    return sentences


def _alone(only: Measures) -> str:
    text = f"{only.label} answered {percent(only.answered.value)} of {counted(only.requests, 'request')}"
    if only.accuracy is not None:
        text += f", {percent(only.accuracy.value)} of those with a reference correctly"
    return text + "; there is no other model to compare it with."


def _accuracy(variant: Measures) -> str:
    assert variant.accuracy is not None
    text = percent(variant.accuracy.value)
    if variant.accuracy.interval:
        low, high = variant.accuracy.interval
        text += f" (95 % interval {100 * low:.1f}–{100 * high:.1f})"
    return text


def _by_accuracy(numbers: Numbers) -> list[str]:
    ranked = sorted(numbers.variants, key=lambda v: -(v.accuracy.value or 0.0 if v.accuracy else 0.0))
    best = ranked[0]
    rivals = [(rival, pair) for rival in ranked[1:] if (pair := _between(numbers, best.label, rival.label)) is not None]
    # Holm's correction: the smaller the p-value, the more tests it has to stand up to.
    order = sorted(rivals, key=lambda each: each[1].p_value or 0.0)
    beaten: list[str] = []
    for rank, (rival, pair) in enumerate(order):
        if (1.0 if pair.p_value is None else pair.p_value) * (len(order) - rank) >= _SIGNIFICANT:
            break
        beaten.append(rival.label)
    equal = [rival for rival, _ in rivals if rival.label not in beaten]
    if not equal:
        second, pair = rivals[0]
        difference = abs(pair.accuracy_difference or 0.0)
        return [
            f"{best.label} is the most accurate: {_accuracy(best)} against {_accuracy(second)} of {second.label}. "
            f"The difference of {100 * difference:.1f} points is more than chance explains "
            f"(McNemar's test, p {_p(pair.p_value)})."
        ]
    others = ", ".join(
        f"{rival.label} ({percent(rival.accuracy.value if rival.accuracy else None)})" for rival in equal
    )
    sentences = [
        f"There is no clear winner: {best.label} is ahead with {_accuracy(best)}, but {others} may be as good: "
        f"{counted(numbers.referenced, 'labelled request does', 'labelled requests do')} not tell them apart."
    ]
    priced = [each for each in (best, *equal) if each.cost_per_thousand and each.cost_per_thousand.value is not None]
    if len(priced) == len(equal) + 1:
        cheapest = min(priced, key=_price)
        sentences.append(f"Of these, {cheapest.label} is the cheapest.")
    if beaten:
        sentences.append(f"{best.label} is better than {', '.join(beaten)}.")
    return sentences


def _p(value: float | None) -> str:
    return "unknown" if value is None else "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _between(numbers: Numbers, one: str, other: str) -> Pair | None:
    return next((pair for pair in numbers.pairs if {pair.first, pair.second} == {one, other}), None)


def _by_judge(judged: Judged) -> list[str]:
    (best, strength, interval), (second, _, rival) = judged.ranking[0], judged.ranking[1]
    sure = interval is not None and rival is not None and interval[0] > rival[1]
    how = "clearly" if sure else "but not clearly: the intervals of the two overlap"
    sentences = [
        f"The judge ({judged.model}) prefers {best} over {second}, {how}; {best} wins against an average rival in "
        f"{percent(strength)} of cases."
    ]
    low, high = judged.first_position.interval or (0.0, 1.0)
    if low > 0.5 or high < 0.5:
        sentences.append(
            f"The judge leans to the answer shown {'first' if low > 0.5 else 'second'} "
            f"({percent(judged.first_position.value)} of its choices were the first); both orders were asked, so this "
            "blurs the result and does not tilt it."
        )
    return sentences


def _by_agreement(numbers: Numbers) -> list[str]:
    shares = [(pair, pair.agreement.value) for pair in numbers.pairs if pair.agreement.value is not None]
    if not shares:
        return ["No request was answered by two models: their answers cannot be compared."]
    pair, least = min(shares, key=lambda each: each[1])
    if numbers.labels:
        text = f"{pair.first} and {pair.second} agree least, on {percent(least)} of the requests both answered."
    else:
        text = f"Of the answers, word for word the same are {percent(least)} ({pair.first} and {pair.second})."
    return [f"{text} Which is better cannot be told without a reference or a judge."]


def _price(variant: Measures) -> float:
    return (variant.cost_per_thousand.value if variant.cost_per_thousand else None) or 0.0


def _cost(variants: list[Measures]) -> str | None:
    priced = sorted((v for v in variants if v.cost_per_thousand), key=_price)
    if len(priced) < 2 or _price(priced[0]) == 0:
        return None
    low, high = priced[0], priced[-1]
    return (
        f"Per thousand requests, {low.label} costs ${_price(low):,.3g} and {high.label} ${_price(high):,.3g}, "
        f"{_price(high) / _price(low):,.1f} times as much."
    )
