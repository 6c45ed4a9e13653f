"""The report: one HTML page that needs no network, and the same in short for the Prefect UI."""

import base64
import functools
import hashlib
import re
from collections import Counter, defaultdict
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from tasks.bedrock.models import parse_model
from tasks.comparison.charts import Point, multiples, scatter
from tasks.comparison.joined import ANSWERED, Example, Joined
from tasks.comparison.judge import Judged
from tasks.comparison.numbers import Measures, Numbers
from tasks.comparison.verdict import percent, verdict
from tasks.support.markdown import plain

_EXAMPLES = 20
#: Characters of a sentence or a note in the short form: it may name many variants.
SENTENCE = 4000
_DATE = re.compile(r"-\d{8}$")
_BASES = {
    "batch": "batch price",
    "half_of_on_demand": "half of the on-demand price",
    "on_demand": "on-demand price",
}
_DEFINITIONS = {
    "Answered": (
        "Requests with an answer, of all requests; the rest is in the error file. Interval: Wilson's, or Clopper "
        "and Pearson's with fewer than ten of either kind."
    ),
    "Accuracy": (
        "Answers equal to the reference, of all requests that have one, a request without an answer being wrong; "
        "and of those that were answered. Equal: the same text but for case, spacing, and quotes, fences, markdown "
        "or a full stop around it; JSON and numbers by value; two labels of the reference are never one. Interval: "
        "Wilson's, as above."
    ),
    "Macro-F1": (
        "The mean over the reference's labels of F1, the harmonic mean of precision and recall: every label counts "
        "the same, however rare. Interval: Wald's on the logit scale with a bootstrapped error; none below ten "
        "errors, five requests of each label, or where requests repeat: no honest one is known."
    ),
    "Difference in accuracy": (
        "On the same requests, so pairs are compared, not groups; requests that either lost to the run are left "
        "out. Interval: Tango's score interval. McNemar's mid-p test looks at the requests that only one of the two "
        "got right; p is corrected for all pairs with Holm's method, in the table as in the verdict. Where requests "
        "repeat, the signs of whole clusters are flipped, and the interval is of as many requests as they are worth."
    ),
    "Same answer, Cohen's κ": (
        "Of the requests that both answered, those with equal answers; κ takes off what would be equal by chance "
        "(0: no more than chance, 1: always). Interval of κ: as of macro-F1, on Fisher's scale."
    ),
    "Likeness": (
        "For long answers: 1 minus the normalised insert-delete distance of the first 2,000 characters, on up to "
        "2,000 requests spread over the file."
    ),
    "Cost": (
        "Tokens that Bedrock counted, of all choices, times the price of the model and of the way the request went, "
        "batch or on demand; cached tokens at theirs where it is known. Failed requests cost nothing. A total is "
        "given where the cost of every answered request is known; two variants are compared on the requests that "
        "both answered."
    ),
    "Cut off, refused, empty": (
        "Of the answered requests: finish_reason length; a refusal or content_filter; neither text nor a tool call."
    ),
    "Valid JSON, keeps schema": (
        "Of the answers to requests that asked for JSON by response_format. Answers whose schema cannot be used (it "
        "refers to another document, has a pattern beyond linear time, takes too long …) count for neither side, "
        "and are counted as not checkable."
    ),
    "Valid tool calls": (
        "Of the answers with tool calls: every call names a tool that was offered, with arguments that keep to its "
        "JSON Schema; those with a schema that cannot be used count for neither side."
    ),
    "Mean tokens and characters": (
        "Interval of a mean: Student's t; of 30 to 2,000 values bootstrapped t. Of few skewed values it covers less "
        "than 95 %."
    ),
    "Judge": (
        "Both orders of a pair are asked; a pair is won by what the two verdicts add up to, and is a tie where they "
        "contradict each other. Won: of the comparisons that one of the two won, against any rival; ties are left out. "
        "The exact sign test is of wins against losses, and corrected for several pairs with Holm's method."
    ),
}


class Page(msgspec.Struct):
    """What the report shows."""

    id: str
    title: str
    made: str
    #: Shown at the top: what a reader must know before anything else.
    note: str | None
    numbers: Numbers
    joined: Joined | None
    judged: Judged | None
    failed: dict[str, str]
    parameters: list[tuple[str, str]]
    #: Files that lie beside the page, and their names.
    files: list[tuple[str, str]] = []

    @property
    def verdict(self) -> list[str]:
        return verdict(self.numbers, self.judged, self.failed)

    def with_short_names(self) -> "Page":
        """The same page, with models that have no label of their own under the short names that people use."""
        models = [variant.model for variant in self.numbers.variants if variant.label == variant.model]
        names = {model: _DATE.sub("", parse_model(model).name) or model for model in models}
        taken = Counter([*names.values(), *(v.label for v in self.numbers.variants if v.label not in names)])
        names = {model: name for model, name in names.items() if taken[name] == 1}
        if self.judged is not None:
            judged = msgspec.structs.replace(
                self.judged,
                ranking=[(names.get(label, label), *rest) for label, *rest in self.judged.ranking],
                pairs=[_renamed(pair, names, "first", "second") for pair in self.judged.pairs],
            )
        else:
            judged = None
        numbers = msgspec.structs.replace(
            self.numbers,
            variants=[_renamed(variant, names, "label") for variant in self.numbers.variants],
            pairs=[_renamed(pair, names, "first", "second") for pair in self.numbers.pairs],
        )
        if numbers.base is not None:
            numbers.base = names.get(numbers.base, numbers.base)
        return msgspec.structs.replace(self, numbers=numbers, judged=judged)


def _renamed(each: Any, names: dict[str, str], *fields: str) -> Any:
    return msgspec.structs.replace(each, **{f: names.get(getattr(each, f), getattr(each, f)) for f in fields})


class _Shown(msgspec.Struct):
    custom_id: str
    request: str
    reference: str | None
    answers: list[str | None]
    right: list[bool]


def number(value: float | None, digits: int = 0) -> str:
    """A number for people; small ones keep two significant digits."""
    if value is None:
        return "–"
    if value and abs(value) < 10**-digits:
        return f"{value:.2g}"
    return f"{value:,.{digits}f}"


@functools.cache
def _template() -> jinja2.Template:
    # Every text of a model or a user goes through the escaping.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals.update(pct=percent, num=number)
    return environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))


def html(page: Page) -> str:
    """The whole page."""
    numbers, variants = page.numbers, page.numbers.variants
    causes = [(v.label, cause, count) for v in variants for cause, count in v.errors.items()]
    causes += [(label, cause, numbers.requests) for label, cause in page.failed.items()]
    points = _points(numbers, page.judged)
    script = _script()
    shown = examples(page.joined) if page.joined else []
    listed = len(page.joined.listed) if page.joined else 0
    costs = [v.cost_usd for v in variants]
    lengths = multiples([(v.label, v.length_histogram) for v in variants], numbers.length_edges, "characters")
    tokens = multiples([(v.label, v.token_histogram) for v in variants], numbers.token_edges, "output tokens")
    return _template().render(
        id=page.id,
        title=page.title,
        made=page.made,
        note=page.note,
        n=numbers,
        judged=page.judged,
        verdict=page.verdict,
        bases=_BASES,
        agreement=_agreement(numbers),
        errors=causes,
        f1=any(v.macro_f1 is not None for v in variants),
        confusions=any(v.confusion for v in variants),
        has_json=any(v.json_valid for v in variants),
        has_calls=any(v.tool_calls_valid or v.tool_calls_unchecked for v in variants),
        scatter=scatter(points, "US dollars per 1,000 requests", f"{_quality(numbers)}, %") if len(points) > 1 else "",
        quality_name=_quality(numbers).lower(),
        lengths=lengths,
        tokens=tokens,
        examples=shown,
        listed=listed,
        listed_total=page.joined.listed_total if page.joined else 0,
        data=_data(page.joined, [v.label for v in variants]) if page.joined and listed else "",
        script=Markup(script),  # noqa: S704 (our own)
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        contents=_contents(page, bool(shown or listed), bool(causes), len(points) > 1),
        files=page.files,
        total=sum(cost for cost in costs if cost is not None) if None not in costs else None,
        disagreements=page.joined.pattern_counts.total() if page.joined else 0,
        definitions=list(_DEFINITIONS.items()),
        parameters=page.parameters,
    )


@functools.cache
def _script() -> str:
    return Path(__file__).with_name("report.js").read_text(encoding="utf-8")


def _data(joined: Joined, labels: list[str]) -> Markup:
    """The disagreements as JSON that is no markup: the script puts them in as texts."""
    rows = [
        [
            each.custom_id,
            each.request,
            each.reference,
            each.answers,
            [2 if fate != ANSWERED else int(right) for right, fate in zip(each.right, each.fates, strict=True)],
        ]
        for each in joined.listed
    ]
    text = msgspec.json.encode({"variants": labels, "rows": rows}).decode("utf-8", "replace")
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # noqa: S704 (no mark of markup is left)


def _contents(page: Page, disagreements: bool, errors: bool, costs: bool) -> list[tuple[str, str]]:
    """The sections that there are, by their anchors."""
    numbers = page.numbers
    sections = [
        ("variants", "Variants", bool(numbers.variants)),
        ("cost", "Cost", costs),
        ("agreement", "Agreement", bool(numbers.pairs)),
        ("pairs", "Two by two", bool(numbers.pairs)),
        ("slices", "By part", bool(numbers.slices)),
        ("lengths", "Lengths", bool(numbers.variants)),
        ("confusions", "Confusion", any(v.confusion for v in numbers.variants)),
        ("disagreements", "Disagreements", disagreements),
        ("judge", "Judge", page.judged is not None and bool(numbers.variants)),
        ("errors", "Errors", errors and bool(numbers.variants)),
        ("meaning", "What the numbers mean", True),
        ("run", "How it was run", True),
    ]
    return [(anchor, name) for anchor, name, there in sections if there]


def _quality(numbers: Numbers) -> str:
    return "Accuracy" if numbers.referenced else "Won before the judge"


def _points(numbers: Numbers, judged: Judged | None) -> list[Point]:
    strengths = {label: (value, interval) for label, value, interval in judged.ranking} if judged else {}
    points = []
    for variant in numbers.variants:
        quality = None
        # What the run lost is no wrong answer.
        share = variant.accuracy_compared or variant.accuracy
        if share is not None:
            quality = (share.value, share.interval)
        elif variant.label in strengths:
            quality = strengths[variant.label]
        cost = variant.cost_per_thousand.value if variant.cost_per_thousand else None
        if quality is None or quality[0] is None or cost is None:
            continue
        low, high = quality[1] or (quality[0], quality[0])
        points.append(Point(variant.label, cost, 100 * quality[0], 100 * low, 100 * high))
    return points


def _agreement(numbers: Numbers) -> dict[tuple[int, int], float | None]:
    places = {variant.label: place for place, variant in enumerate(numbers.variants)}
    cells: dict[tuple[int, int], float | None] = {(place, place): 1.0 for place in places.values()}
    for pair in numbers.pairs:
        value = pair.agreement.value
        if not numbers.labels:
            value = pair.similarity.value if pair.similarity else None
        one, other = places[pair.first], places[pair.second]
        cells[one, other] = cells[other, one] = value
    return cells


def examples(joined: Joined) -> list[_Shown]:
    """The most instructive disagreements: in turn from each way to be right and wrong, frequent kinds first."""
    kinds: dict[tuple[bool, ...], list[Example]] = defaultdict(list)
    frequency: Counter[tuple[bool, ...]] = Counter()
    for pattern in sorted(joined.examples, key=lambda pattern: -joined.pattern_counts[pattern]):
        kept = joined.examples[pattern]
        # Without a reference there is one way: to differ. With one, who is right.
        kind = tuple(kept[0].right) if kept[0].reference is not None else ()
        kinds[kind] += kept
        frequency[kind] += joined.pattern_counts[pattern]
    if not joined.labels:
        for kept in kinds.values():
            kept.sort(key=lambda example: example.likeness)
    # Requests on which some are right tell more than those on which nobody is.
    ranked = sorted(kinds, key=lambda kind: (bool(kind) and not any(kind), -frequency[kind]))
    in_turn = chain.from_iterable(zip_longest(*(kinds[kind] for kind in ranked)))
    chosen = islice((example for example in in_turn if example is not None), _EXAMPLES)
    return [_Shown(each.custom_id, each.request, each.reference, each.answers, each.right) for each in chosen]


def markdown(page: Page, files: dict[str, str]) -> str:
    """The report in short, for the Prefect UI."""
    lines = [f"# {plain(page.title)}", ""]
    if page.note:
        lines += [f"*{plain(page.note, SENTENCE)}*", ""]
    lines += [f"{plain(sentence, SENTENCE)}\n" for sentence in page.verdict]
    referenced = bool(page.numbers.referenced)
    lines += [
        f"| variant |{' accuracy |' if referenced else ''} answered | cost per 1,000 | output tokens |",
        f"|---|{'---:|' if referenced else ''}---:|---:|---:|",
    ]
    for variant in page.numbers.variants:
        share = variant.accuracy_compared or variant.accuracy
        accuracy = f" {percent(share.value if share else None)} |" if referenced else ""
        lines.append(
            f"| {plain(variant.label)} |{accuracy} {percent(variant.answered.value)} | {_dollars(variant)} | "
            f"{number(variant.output_tokens.value, 1)} |"
        )
    lines += ["", *(f"- {name}: {text}" for name, text in files.items())]
    return "\n".join(lines) + "\n"


def _dollars(variant: Measures) -> str:
    cost = variant.cost_per_thousand
    return "no price" if cost is None or cost.value is None else f"${number(cost.value, 4)}"
