"""Everything that can be told of a file before anything is uploaded or paid for: in plain words, without Prefect.

`examine` puts together what validation and the surveys of the models saw (`tasks.inputs.survey`); it sends nothing.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

import msgspec

from tasks.bedrock.limits import availability_warning, limits_for
from tasks.bedrock.nearest import is_known, is_of_bedrock, nearest
from tasks.inputs.estimate import Estimate, estimate
from tasks.inputs.routes import Routes, routes_of
from tasks.inputs.summary import InputSummary
from tasks.inputs.survey import Survey
from tasks.openai_format.requests import custom_id_of
from tasks.storage.reader import read_lines
from tasks.support.causes import Cause, listed
from tasks.support.markdown import plain
from tasks.support.words import counted

_SHOWN: Final = 10
_EXAMPLE: Final = "us.anthropic.claude-haiku-4-5-20251001-v1:0"

#: What the command ends with: all well; the batch would fail; some requests would not be sent; not a single one would.
FINE, FAILS, SOME_REFUSED, ALL_REFUSED = 0, 1, 3, 4


class ModelCheck(msgspec.Struct):
    """What one model would make of the file."""

    label: str
    model: str
    family: str
    #: The id that was probably meant, of one that is not in the list of models; that it is not in the list.
    nearest: str | None
    unknown: bool
    #: That it does not even begin as Bedrock's ids do.
    foreign: bool
    #: What is known of the model's batch inference, where it stands in the way.
    availability: str | None
    #: Valid requests, those of them that would get an error instead of being sent, and why.
    requests: int
    refused: int
    causes: list[Cause]
    #: Requests by field: left out (or, under unsupported="error", refused for it), and sent as something else.
    dropped: dict[str, int]
    mapped: dict[str, int]
    estimate: Estimate
    routes: Routes
    #: Whether every request was looked at, or some that stand for all.
    exact: bool
    #: What is to be said of requests that are longer than the model holds.
    window: str | None = None

    @property
    def all_refused(self) -> bool:
        return bool(self.requests) and self.refused >= self.requests


class ReferenceFit(msgspec.Struct):
    """How a file of right answers fits the requests."""

    labels: int
    #: Requests that have a label, and labels that belong to no request.
    matched: int
    strangers: int
    requests: int

    @property
    def fits(self) -> bool:
        return self.matched > 0

    def __str__(self) -> str:
        if not self.matched:
            return (
                f"none of its {counted(self.labels, 'label')} belongs to a request: its custom_id must be those of the "
                "input"
            )
        sentence = f"{self.matched:,} of {counted(self.requests, 'request')} have a label"
        return sentence + (f"; {counted(self.strangers, 'label')} of no request" if self.strangers else "")


class Check(msgspec.Struct):
    """What a check found. Its text is for people; `to_dict` for programs."""

    files: list[str]
    requests: int
    invalid: int
    #: What the file is as a whole, where it is no batch file.
    mistake: str | None
    #: What is wrong with the bad lines, equal mistakes told once.
    causes: list[Cause]
    endpoint: str | None
    on_invalid: str
    models: list[ModelCheck]
    reference: ReferenceFit | None = None

    @property
    def exit_code(self) -> int:
        """0: all would be sent. 1: the batch would fail. 3: some requests would be refused. 4: every one would be."""
        if not self.requests or self.mistake or (self.invalid and self.on_invalid == "fail"):
            return FAILS
        if any(model.all_refused for model in self.models):
            return ALL_REFUSED
        if self.invalid or any(model.refused for model in self.models):
            return SOME_REFUSED
        return FINE

    @property
    def ok(self) -> bool:
        return self.exit_code == FINE

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain_data: dict[str, Any] = msgspec.to_builtins(self)
        return {**plain_data, "exit_code": self.exit_code}

    def lines(self) -> Iterator[str]:
        """The check for people, line by line; what belongs to a line above is indented."""
        files = self.files[0] if len(self.files) == 1 else counted(len(self.files), "file")
        yield f"{files}: {counted(self.requests, 'request')}" + (f" for {self.endpoint}" if self.endpoint else "")
        if not self.requests:
            yield "  The input is empty: it holds no request."
        if self.mistake:
            yield f"  {self.mistake}"
        if self.invalid:
            outcome = "the batch would fail" if self.on_invalid == "fail" else "they would go to the error file"
            yield f"  {counted(self.invalid, 'bad line')}: {outcome}"
            yield from (f"    {cause}" for cause in listed(self.causes, _SHOWN))
        if self.reference is not None:
            yield f"  Reference: {self.reference}"
        for model in self.models:
            yield from _of_model(model)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def markdown(self) -> str:
        """The same as an artifact: nothing in it is markup but what is meant to be."""
        found = []
        for line in self.lines():
            text = line.lstrip()
            found.append(f"{' ' * (len(line) - len(text))}- {plain(text, 2000)}")
        return "\n".join(["# Check", "", *found]) + "\n"


def _of_model(model: ModelCheck) -> Iterator[str]:
    name = model.label if model.label == model.model else f"{model.label} ({model.model})"
    yield f"{name}, {model.family}"
    if model.nearest:
        yield f"  {model.model} is not a model id that is known; did you mean {model.nearest}?"
    elif model.foreign:
        yield (
            f"  {model.model} is not in the list of known models, and does not begin as Bedrock's ids do, with who "
            f"made the model, such as {_EXAMPLE}: Bedrock decides whether there is one."
        )
    elif model.unknown:
        yield f"  {model.model} is not in the list of known models: Bedrock decides whether there is one."
    yield from map("  {}".format, filter(None, (model.availability, model.window)))
    about = "" if model.exact else "about "
    if model.all_refused:
        yield "  Not one request would be sent: every one of them is refused."
    elif model.refused:
        yield f"  {about}{model.refused:,} of {counted(model.requests, 'request')} would be refused, the others sent"
    yield from (f"    {cause}" for cause in listed(model.causes, _SHOWN))
    sent_without = {field: count for field, count in model.dropped.items() if not model.refused}
    if sent_without:
        fields = ", ".join(f"{field} ({about}{counted(count, 'request')})" for field, count in sent_without.items())
        yield f"  Would be left out, and counted: {fields}"
    for what, count in model.mapped.items():
        yield f"  {what} ({about}{counted(count, 'request')})"
    if model.estimate.requests:
        yield f"  {model.estimate}"
        if model.estimate.below_minimum and model.estimate.batch_cost_usd is not None:
            yield "  Fewer than a job takes: they would be asked on demand, at the full price."
        if model.routes.advice:
            yield f"  Advice: {model.routes.advice}"


def examine(
    summary: InputSummary,
    surveys: dict[str, Survey],
    *,
    on_invalid: str = "fail",
    immediate: bool = False,
    below_minimum: str = "on_demand",
    labels: Collection[str] | None = None,
) -> Check:
    """Put a check together from what was seen while the input was validated; `surveys` are by label.

    `labels` are the custom_ids that a reference has an answer for. Raises ValueError for a limit that is no number.
    """
    models = [
        _model_check(label, survey, summary, immediate=immediate, below_minimum=below_minimum)
        for label, survey in surveys.items()
    ]
    return Check(
        files=[source.name for source in summary.sources],
        requests=summary.requests,
        invalid=summary.invalid,
        mistake=summary.mistake,
        causes=summary.causes,
        endpoint=summary.endpoint,
        on_invalid=on_invalid,
        models=models,
        reference=_fit(summary, labels) if labels is not None else None,
    )


def _model_check(
    label: str, survey: Survey, summary: InputSummary, *, immediate: bool, below_minimum: str
) -> ModelCheck:
    model = survey.model
    guess = estimate(survey, summary.valid, limits_for(model), immediate=immediate, below_minimum=below_minimum)
    return ModelCheck(
        label=label,
        model=model.id,
        family=survey.family,
        nearest=nearest(model),
        unknown=not is_known(model),
        foreign=not is_of_bedrock(model),
        availability=None if immediate else availability_warning(model),
        requests=summary.valid,
        refused=survey.refused,
        causes=survey.causes.ranked(),
        dropped=survey.dropped,
        mapped=dict(survey.mapped.most_common()),
        estimate=guess,
        routes=routes_of(survey, guess),
        exact=survey.exact,
        window=survey.window_warning,
    )


def _fit(summary: InputSummary, labels: Collection[str]) -> ReferenceFit:
    """Hold the labels against the input's custom_ids: it is read once more, and nothing of it is kept."""
    matched = 0
    for source in summary.sources:
        for block in read_lines(source):
            for line in block.lines:
                matched += bool(line) and custom_id_of(line) in labels
    matched = min(matched, len(labels))
    return ReferenceFit(len(labels), matched, len(labels) - matched, summary.requests)
