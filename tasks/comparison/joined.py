"""What a comparison is computed from: every variant's answers, in arrays, and how they are compared."""

from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pyarrow.parquet as pq

from tasks.bedrock.prices import Rate
from tasks.comparison.extract import Extract, read_extract
from tasks.comparison.parameters import Choices
from tasks.comparison.pricing import Pricing
from tasks.comparison.reference import Reference
from tasks.comparison.variants import Variant
from tasks.storage.objects import local_copy
from tasks.storage.uris import parse_input_uri

_COLUMNS = (
    "custom_id",
    "file",
    "line",
    "choice",
    "ok",
    "status_code",
    "content",
    "refusal",
    "tool_calls",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "error_code",
    "error_message",
)
_READ_ROWS = 512
#: Errors of the run and not of the model: throttled, timed out, down, never asked.
_RUN_CODES = frozenset({"batch_expired", "batch_cancelled", "server_error", "rate_limit_exceeded", "request_timeout"})
_RUN_STATUSES = frozenset({408, 409, 424, 425, 429})


class Options(msgspec.Struct, frozen=True):
    """How answers are compared: the options of a comparison that change its numbers, but not its batches."""

    extract: Extract | None = None
    #: Of a request with several choices: the first, the most frequent, their mean score, or right if any of them is.
    choices: Choices = "first"
    cluster_by: str | None = None
    slice_by: tuple[str, ...] = ()
    #: The smallest difference in accuracy that matters, as a share.
    margin: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """What is looked for in the reference and in the requests' metadata."""
        return tuple(dict.fromkeys([*([self.cluster_by] if self.cluster_by else []), *self.slice_by]))


#: The whole of the first choice is compared.
STRICT = Options()


def read_options(
    extract: str | dict[str, Any] | None,
    choices: Choices,
    margin: float | None,
    cluster_by: str | None,
    slice_by: str | None,
) -> Options:
    """How answers are compared, as a call says it; `margin` in points. Raises ConfigurationError."""
    fields = [name.strip() for name in (slice_by or "").split(",")]
    return Options(
        extract=read_extract(extract),
        choices=choices,
        cluster_by=(cluster_by or "").strip() or None,
        slice_by=tuple(dict.fromkeys(name for name in fields if name)),
        margin=None if margin is None else margin / 100,
    )


#: What became of one variant's request.
ANSWERED, FAILED, LOST = 0, 1, 2


class Side(msgspec.Struct):
    """One variant's answers in arrays, a value a request; 0 stands for no answer, -1 for an unknown number."""

    variant: Variant
    rate: Rate | None
    pricing: Pricing | None = None
    codes: Any = msgspec.field(default_factory=lambda: array("Q"))
    #: ANSWERED, FAILED by the model's own fault (also: by the request's), or LOST to the run.
    fates: Any = msgspec.field(default_factory=lambda: array("b"))
    #: From 0 (wrong) to 1 (right); -1 without a reference.
    scores: Any = msgspec.field(default_factory=lambda: array("d"))
    lengths: Any = msgspec.field(default_factory=lambda: array("q"))
    #: Of all choices together.
    prompt_tokens: Any = msgspec.field(default_factory=lambda: array("q"))
    completion_tokens: Any = msgspec.field(default_factory=lambda: array("q"))
    #: US dollars; not a number where it is unknown.
    costs: Any = msgspec.field(default_factory=lambda: array("d"))
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    errors: Counter[str] = msgspec.field(default_factory=Counter)
    finish_reasons: Counter[str] = msgspec.field(default_factory=Counter)
    #: Answers that are none of the reference's labels.
    unknown: Counter[str] = msgspec.field(default_factory=Counter)

    def cost(self, number: int, row: "Row") -> float:
        """US dollars of one answer to the request of this number; not a number where it is unknown."""
        if row.prompt_tokens is None:
            return float("nan")
        tokens = row.prompt_tokens, row.completion_tokens or 0, row.cached_tokens or 0
        if self.pricing is not None:
            return self.pricing.cost(number, *tokens)
        return self.rate.cost(*tokens) if self.rate is not None else float("nan")


class Example(msgspec.Struct):
    """A request on which the variants disagree."""

    custom_id: str
    request: str
    reference: str | None
    answers: list[str | None]
    pattern: tuple[int, ...]
    likeness: float = 0.0
    right: list[bool] = []
    #: What lost each answer to the run, or made it fail.
    fates: list[int] = []


class Joined(msgspec.Struct):
    """What the measures are computed from."""

    sides: list[Side]
    requests: int
    #: Whether answers are labels: short and few, or those of the reference.
    labels: bool
    #: The text of each label, by its code.
    names: dict[int, str]
    #: By request, the code of the reference; 0 where it has none. Empty without a reference.
    references: Any
    extra_references: int
    similarities: dict[tuple[int, int], Any]
    examples: dict[tuple[int, ...], list[Example]]
    pattern_counts: Counter[tuple[int, ...]]
    #: Why answers could not be held to their requests' schemas, each with how many.
    unchecked: dict[str, int] = {}
    options: Options = Options()
    reference: Reference | None = None
    #: Whether the reference is a set of labels, and those of it that differ in case or marks only.
    closed: bool = False
    alike: list[str] = []
    #: By request, what repeats: requests of one cluster are not independent.
    clusters: Any = msgspec.field(default_factory=lambda: array("Q"))
    #: By field and request, the place of its value in `categories`; 0 where it has none.
    slices: dict[str, Any] = {}
    categories: dict[str, list[str]] = {}
    #: The most choices that any answer has.
    most_choices: int = 1
    #: Disagreements for the page, shortened, until the room for them is used up; and how many there are.
    listed: list[Example] = []
    listed_characters: int = 0
    listed_total: int = 0


class Row(msgspec.Struct, gc=False):
    """A row of a variant's results, its fields in the order of `_COLUMNS`."""

    custom_id: str | None
    file: str | None
    line: int | None
    choice: int | None
    ok: bool
    status_code: int | None
    content: str | None
    refusal: str | None
    tool_calls: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    error_code: str | None
    error_message: str | None

    @property
    def text(self) -> str:
        """The answer; a call without text is its answer."""
        return self.content or _calls_text(self.tool_calls)

    @property
    def fate(self) -> int:
        if self.ok:
            return ANSWERED
        lost = self.error_code in _RUN_CODES or self.status_code in _RUN_STATUSES
        server = (self.status_code or 0) >= 500 and self.error_code != "invalid_model_output"
        return LOST if lost or server else FAILED


def rows_of(uri: str, stack: ExitStack) -> Iterator[list[Row]]:
    """The rows of every request of a result table, one a choice, in the order of the input."""
    local = stack.enter_context(local_copy(parse_input_uri(uri)))
    rows: list[Row] = []
    for batch in pq.ParquetFile(local).iter_batches(_READ_ROWS, columns=list(_COLUMNS)):
        for values in zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True):
            row = Row(*values)
            if rows and (row.file, row.line) != (rows[0].file, rows[0].line):
                yield rows
                rows = []
            rows.append(row)
    if rows:
        yield rows


def _calls_text(calls: str | None) -> str:
    return ", ".join(f"{name}({arguments})" for _, name, arguments in msgspec.json.decode(calls or "[]"))
