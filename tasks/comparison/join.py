"""The joined table: every request with every variant's answer, streamed; and, in arrays, what the measures need."""

import csv
import io
import math
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from rapidfuzz.distance import Indel

from tasks.bedrock.prices import Rate
from tasks.comparison.equality import normalise
from tasks.comparison.extract import Extract, Reader, as_text, read_extract, score
from tasks.comparison.labels import Matcher
from tasks.comparison.parameters import Choices
from tasks.comparison.pricing import Pricing
from tasks.comparison.reference import Reference
from tasks.comparison.schemas import SchemaChecker
from tasks.comparison.texts import Asked, asked, keeps_form, valid_calls
from tasks.comparison.variants import Variant, changer, lines_of
from tasks.errors import AccountingError
from tasks.storage.objects import local_copy
from tasks.storage.reader import Source
from tasks.storage.uris import S3Uri, parse_input_uri
from tasks.storage.writer import S3Writer
from tasks.support.words import cut

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
TABLE_SCHEMA = pa.schema(
    [
        pa.field("custom_id", pa.string()),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("request", pa.string()),
        pa.field("ok", pa.bool_(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("refusal", pa.string()),
        pa.field("tool_calls", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("status_code", pa.int32()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        # What was measured of the answer; null where it was not asked for.
        pa.field("characters", pa.int64()),
        pa.field("json_valid", pa.bool_()),
        pa.field("schema_valid", pa.bool_()),
        pa.field("tool_calls_valid", pa.bool_()),
        pa.field("label", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("correct", pa.bool_()),
        # From 0 (wrong) to 1 (right); how many choices there are; whether the run lost the answer, not the model.
        pa.field("score", pa.float64()),
        pa.field("choices", pa.int32()),
        pa.field("run_error", pa.bool_()),
    ]
)
#: Rows are written at so many of them, or characters.
_GROUP_ROWS, _GROUP_CHARACTERS = 8192, 8 << 20
_READ_ROWS = 512
_FORM_FIELDS = {"response_format", "text", "tools"}
#: A cell of a spreadsheet holds 32,767.
_CELL_CHARACTERS = 32_000
#: White space, control and format characters, and quotes at the beginning of a cell.
_UNSEEN = re.compile(
    r"^[\s\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\"'`´‘’“”„«»＂＇]+"
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?\s?%?", re.ASCII)
#: Answers are labels where the first requests' are short and few.
_LOOKED_AT, _LABEL_CHARACTERS, _MOST_LABELS = 500, 40, 50
#: A longer text has no name; what is around a label may make it so long.
_NAMED_CHARACTERS = 1000
#: Errors of the run and not of the model: throttled, timed out, down, never asked.
_RUN_CODES = frozenset({"batch_expired", "batch_cancelled", "server_error", "rate_limit_exceeded", "request_timeout"})
_RUN_STATUSES = frozenset({408, 409, 424, 425, 429})
#: The commonest answers that are no label are looked for among so many different ones, of so many characters each.
_UNKNOWN, UNKNOWN_CHARACTERS = 1000, 80
_MOST_CATEGORIES = 1000
#: Similarity is measured on so many requests, and on the beginning of each answer.
SIMILARITY_REQUESTS, SIMILARITY_CHARACTERS = 2000, 2000
#: Disagreements kept as examples, by what the variants answered, and characters of each text.
_PATTERNS, _PER_PATTERN, EXAMPLE_CHARACTERS = 500, 3, 1500
#: Of all disagreements: characters in the page, and of each text.
LISTED_CHARACTERS, _LISTED_EACH = 4_000_000, 300


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


class _Taken(msgspec.Struct, frozen=True):
    """Of one variant's answer: the choice that stands for it, its code and its score."""

    row: "Row"
    code: int
    score: float

    def scored(self, score: float) -> "_Taken":
        return msgspec.structs.replace(self, score=score)


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


class Join:
    """Joins the results of all variants, request by request."""

    def __init__(
        self,
        sides: list[Side],
        sources: list[Source],
        requests: int,
        reference: Reference | None,
        options: Options = STRICT,
    ) -> None:
        self._sides, self._sources = sides, sources
        self._reference, self._options = reference, options
        self._matcher = Matcher(reference, Reader(options.extract))
        # Of variants that ask for another form of answer than the input does.
        self._changers = [
            changer(form) if (form := {k: v for k, v in side.variant.overrides.items() if k in _FORM_FIELDS}) else None
            for side in sides
        ]
        self._pairs = list(combinations(range(len(sides)), 2))
        self._sample_every = max(1, requests // SIMILARITY_REQUESTS)
        self._columns: list[list[Any]] = [[] for _ in TABLE_SCHEMA]
        self._wide = io.StringIO()
        self._csv = csv.writer(self._wide)
        self._characters = 0
        #: Of the reference; the strings are those that it holds already.
        self._unseen: set[str] = set(reference.answers if reference else ())
        self._checker = SchemaChecker()
        self._places: dict[str, dict[str, int]] = {name: {} for name in options.slice_by}
        self.joined = Joined(
            sides,
            0,
            False,
            {},
            array("Q"),
            0,
            {pair: array("d") for pair in self._pairs},
            {},
            Counter(),
            options=options,
            reference=reference,
            closed=self._matcher.closed,
            alike=self._matcher.alike,
            slices={name: array("I") for name in options.slice_by},
        )

    def run(self, results: list[str], table: S3Uri, wide: S3Uri, kms_key: str | None) -> Joined:
        """Write the two tables; returns what the measures need. `results` are the variants' tables, in their order."""
        with ExitStack() as stack:
            stack.enter_context(self._checker)
            streams = [rows_of(uri, stack) for uri in results]
            out = stack.enter_context(S3Writer(table, kms_key, "application/vnd.apache.parquet"))
            sheet = stack.enter_context(S3Writer(wide, kms_key, "text/csv"))
            writer = stack.enter_context(
                pq.ParquetWriter(pa.PythonFile(out, mode="w"), TABLE_SCHEMA, compression="zstd", compression_level=1)
            )
            # Excel takes a file for UTF-8 by this mark only.
            sheet.write("\ufeff".encode())
            self._csv.writerow(self._heading())
            head: list[tuple[bytes, list[list[Row]]]] = []
            for number, line in enumerate(lines_of(self._sources)):
                rows = self._next(streams, number)
                if number < _LOOKED_AT:
                    head.append((line, rows))
                    continue
                self._begin(head, writer, sheet)
                self._request(line, rows, writer, sheet)
            self._begin(head, writer, sheet)
            if any(next(stream, None) is not None for stream in streams):
                raise AccountingError("A variant's results hold more requests than the input: did the input change?")
            self._flush(writer, sheet)
        self.joined.unchecked = dict(self._checker.unchecked.most_common())
        if self._reference is not None:
            self.joined.extra_references = len(self._unseen)
        self.joined.categories = {name: ["", *places] for name, places in self._places.items()}
        return self.joined

    def _heading(self) -> list[str]:
        labels = [side.variant.label for side in self._sides]
        names = ["custom_id", "request", "reference", *labels, *(f"{label}: error" for label in labels)]
        return [harmless(name) for name in names]

    def _next(self, streams: list[Iterator[list[Row]]], number: int) -> list[list[Row]]:
        found = [rows for stream in streams if (rows := next(stream, None)) is not None]
        if len(found) < len(streams) or len({rows[0].custom_id for rows in found}) > 1:
            raise AccountingError(
                f"Request {number + 1:,} of the input is not the same one in all variants' results: did the input "
                "change while the batches ran? Run the same call again."
            )
        return found

    def _begin(self, head: list[tuple[bytes, list[list[Row]]]], writer: pq.ParquetWriter, sheet: S3Writer) -> None:
        """Tell by the first requests whether answers are labels, and take them."""
        if not head:
            return
        answers = [
            self._matcher.read(rows[0].content) or ""
            for _, variants in head
            for rows in variants
            if rows[0].ok and rows[0].content
        ]
        lengths = sorted(map(len, answers))
        distinct = {normalise(answer) for answer in answers if len(answer) <= 4 * _LABEL_CHARACTERS}
        short = bool(lengths) and lengths[len(lengths) * 9 // 10] <= _LABEL_CHARACTERS
        few = short and len(distinct) <= min(_MOST_LABELS, max(2, len(answers) // 2))
        self.joined.labels = few or self._matcher.closed
        for line, rows in head:
            self._request(line, rows, writer, sheet)
        head.clear()

    def _request(self, line: bytes, variants: list[list[Row]], writer: pq.ParquetWriter, sheet: S3Writer) -> None:
        question = asked(line)
        custom_id = variants[0][0].custom_id
        joined = self.joined
        accepted: tuple[str, ...] = ()
        right = 0
        if self._reference is not None:
            accepted = self._reference.answers.get(custom_id or "", ())
            self._unseen.discard(custom_id or "")
            right = self._code(accepted[0]) if accepted else 0
            joined.references.append(right)
        self._place(custom_id or "", question)
        shown, codes, scores = [], [], []
        for side, rows, change in zip(self._sides, variants, self._changers, strict=True):
            form = asked(change(line)) if change is not None else question
            taken = self._take(side, rows, question, form, accepted)
            shown.append(taken.row)
            codes.append(taken.code)
            scores.append(taken.score)
        if len(set(codes)) > 1:
            self._disagreement(question, accepted, right, shown, codes, scores)
        if not joined.labels and joined.requests % self._sample_every == 0:
            self._compare(shown)
        joined.requests += 1
        self._csv.writerow(
            harmless(cell)
            for cell in (
                custom_id,
                question.text,
                accepted[0] if accepted else None,
                *(row.content for row in shown),
                *(row.error_message for row in shown),
            )
        )
        if len(self._columns[0]) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
            self._flush(writer, sheet)

    def _place(self, custom_id: str, question: Asked) -> None:
        """Note the cluster of a request, and its slices."""
        joined, by = self.joined, self._options.cluster_by
        # What cannot be told from others stands for itself.
        cluster = question.key or xxhash.xxh3_64_intdigest(f"# {joined.requests}".encode())
        if by is not None and (value := self._field(by, custom_id, question)) is not None:
            cluster = xxhash.xxh3_64_intdigest(f"{by}={value}".encode("utf-8", "surrogatepass"))
        joined.clusters.append(cluster)
        for name, places in self._places.items():
            value = self._field(name, custom_id, question)
            if value is not None and value not in places and len(places) >= _MOST_CATEGORIES:
                value = "(others)"
            joined.slices[name].append(0 if value is None else places.setdefault(value, len(places) + 1))

    def _field(self, name: str, custom_id: str, question: Asked) -> str | None:
        """A field of the reference, or else of the request's metadata."""
        known = self._reference.fields.get(name) if self._reference is not None else None
        if known is not None:
            return known.get(custom_id)
        value = question.metadata.get(name)
        return None if value is None else as_text(value)

    def _code(self, text: str) -> int:
        """A number for a text that is the same for texts that are the same in all that matters."""
        code = self._matcher.code(text)
        names = self.joined.names
        if code not in names and len(names) < 4 * _MOST_LABELS and len(text) <= _NAMED_CHARACTERS:
            name = self._matcher.name(text)
            if len(name) <= _LABEL_CHARACTERS or self._matcher.label(text) is not None:
                names[code] = name
        return code

    def _take(self, side: Side, rows: list[Row], question: Asked, form: Asked, accepted: tuple[str, ...]) -> "_Taken":
        """Take one variant's answer to one request, with all its choices."""
        number, fate = self.joined.requests, rows[0].fate
        taken = _Taken(rows[0], 0, 0.0)
        self.joined.most_choices = max(self.joined.most_choices, len(rows))
        json_valid = schema_valid = calls_valid = None
        if fate == ANSWERED:
            taken = self._compared(rows, question, accepted)
            json_valid, schema_valid, calls_valid = self._form(side, taken.row, form)
            if accepted and self._matcher.closed and not taken.score:
                self._note_unknown(side, taken.row.text)
        else:
            side.errors[f"{rows[0].error_code}: {cut(rows[0].error_message or '', 160)}"] += 1
            side.counts["lost"] += fate == LOST
        row = taken.row
        prompts, completions = [each.prompt_tokens for each in rows], [each.completion_tokens for each in rows]
        prompt = sum(prompts) if None not in prompts else None  # type: ignore[arg-type]
        completion = sum(filter(None, completions)) if any(each is not None for each in completions) else None
        cost = sum(side.cost(number, each) for each in rows) if fate == ANSWERED else 0.0
        side.codes.append(taken.code)
        side.fates.append(fate)
        side.scores.append(taken.score if accepted else -1.0)
        side.lengths.append(len(row.content or "") if row.ok else -1)
        side.prompt_tokens.append(-1 if prompt is None else prompt)
        side.completion_tokens.append(-1 if completion is None else completion)
        side.costs.append(cost)
        self._add(
            row.custom_id,
            side.variant.label,
            side.variant.model,
            row.line,
            question.text,
            row.ok,
            row.content,
            row.refusal,
            row.tool_calls,
            row.finish_reason,
            prompt,
            completion,
            cost if fate == ANSWERED and math.isfinite(cost) else None,
            row.status_code,
            row.error_code,
            row.error_message,
            len(row.content or "") if row.ok else None,
            json_valid,
            schema_valid,
            calls_valid,
            self.joined.names.get(taken.code) if self.joined.labels else None,
            accepted[0] if accepted else None,
            taken.score >= 1 if accepted else None,
            taken.score if accepted else None,
            len(rows) if row.ok else None,
            fate == LOST,
        )
        self._characters += len(question.text) + len(row.content or "")
        return taken

    def _add(self, *values: Any) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def _compared(self, rows: list[Row], question: Asked, accepted: tuple[str, ...]) -> "_Taken":
        """Which choice is compared, its code, and the score of the answer."""
        each = [self._read(row, question, accepted) for row in rows] if self._options.choices != "first" else []
        if len(each) < 2:
            return self._read(rows[0], question, accepted)
        scores = [one.score for one in each]
        if self._options.choices == "majority":
            counts: dict[int, list[_Taken]] = defaultdict(list)
            for one in each:
                counts[one.code].append(one)
            # The first of equals, as Python's max has it.
            return max(counts.values(), key=len)[0]
        score_ = max(scores) if self._options.choices == "any" else sum(scores) / len(scores)
        return each[0].scored(score_)

    def _read(self, row: Row, question: Asked, accepted: tuple[str, ...]) -> "_Taken":
        text = row.text
        found = self._matcher.read(text)
        scorer = self._matcher.reader.scorer
        value = 0.0
        if accepted and scorer is not None:
            one: str | tuple[str, ...] = accepted[0] if len(accepted) == 1 else accepted
            value = score(scorer, text, one, question.text, row.custom_id or "")
        elif accepted and found is not None:
            value = float(self._matcher.right(found, accepted))
        return _Taken(row, self._code(text if found is None else found), value)

    def _note_unknown(self, side: Side, text: str) -> None:
        """Count an answer that is no label, and whether one stands in it."""
        found = self._matcher.read(text)
        if found is not None and self._matcher.label(found) is not None:
            return
        side.counts["unknown"] += 1
        side.counts["inside"] += self._matcher.inside(text) is not None
        shown = cut(text, UNKNOWN_CHARACTERS)
        if shown in side.unknown or len(side.unknown) < _UNKNOWN:
            side.unknown[shown] += 1

    def _form(self, side: Side, row: Row, form: Asked) -> tuple[bool | None, bool | None, bool | None]:
        """Count how an answer ended and whether it keeps the form that was asked for: JSON, its schema, tool calls."""
        counts = side.counts
        json_valid = schema_valid = calls_valid = None
        counts["answered"] += 1
        side.finish_reasons[row.finish_reason or "unknown"] += 1
        counts["truncated"] += row.finish_reason == "length"
        counts["refused"] += row.refusal is not None or row.finish_reason == "content_filter"
        counts["empty"] += not (row.content or "").strip() and not row.tool_calls and row.refusal is None
        if row.tool_calls:
            calls_valid = valid_calls(form.wanted, row.tool_calls, self._checker)
            counts["calls_unchecked"] += calls_valid is None
        else:
            json_valid, schema_valid = keeps_form(form.wanted, row.content, self._checker)
            counts["schema_unchecked"] += bool(json_valid and form.wanted.schema) and schema_valid is None
        for name, kept in (("json", json_valid), ("schema", schema_valid), ("calls", calls_valid)):
            if kept is not None:
                counts[f"{name}_asked"] += 1
                counts[f"{name}_kept"] += kept
        return json_valid, schema_valid, calls_valid

    def _disagreement(
        self,
        question: Asked,
        accepted: tuple[str, ...],
        right: int,
        rows: list[Row],
        codes: list[int],
        scores: list[float],
    ) -> None:
        joined = self.joined
        reference = accepted[0] if accepted else None
        texts = [row.content if row.content is not None or not row.ok else row.text for row in rows]
        example = Example(
            rows[0].custom_id or "",
            question.text[:EXAMPLE_CHARACTERS],
            reference,
            [None if text is None else text[:EXAMPLE_CHARACTERS] for text in texts],
            (),
            right=[bool(accepted) and each >= 1 for each in scores],
            fates=[row.fate for row in rows],
        )
        self._list(example)
        if not all(codes):
            return
        # Labels tell which disagreements are alike; of longer texts, only who agrees with whom.
        pattern = tuple(codes) if joined.labels else tuple(codes.index(code) for code in codes)
        pattern = (right if joined.labels else int(any(example.right)), *pattern)
        joined.pattern_counts[pattern] += 1
        kept = joined.examples.get(pattern)
        if kept is None:
            if len(joined.examples) >= _PATTERNS:
                return
            kept = joined.examples[pattern] = []
        example.pattern = pattern
        if not joined.labels:
            example.likeness = Indel.normalized_similarity(example.answers[0] or "", example.answers[-1] or "")
        if len(kept) >= (_PER_PATTERN if joined.labels else 8 * _PER_PATTERN):
            if joined.labels or example.likeness >= kept[-1].likeness:
                return
            kept.pop()
        kept.append(example)
        if not joined.labels:
            kept.sort(key=lambda each: each.likeness)

    def _list(self, example: Example) -> None:
        """Keep a disagreement for the page, shortened, while there is room."""
        joined = self.joined
        joined.listed_total += 1
        if joined.listed_characters >= LISTED_CHARACTERS:
            return
        short = msgspec.structs.replace(
            example,
            custom_id=example.custom_id[:_LISTED_EACH],
            request=example.request[:_LISTED_EACH],
            reference=None if example.reference is None else example.reference[:_LISTED_EACH],
            answers=[None if text is None else text[:_LISTED_EACH] for text in example.answers],
        )
        joined.listed_characters += len(short.request) + sum(len(text or "") for text in short.answers) + 60
        joined.listed.append(short)

    def _compare(self, rows: list[Row]) -> None:
        beginnings = [(row.content or "")[:SIMILARITY_CHARACTERS] if row.ok else None for row in rows]
        for first, second in self._pairs:
            one, other = beginnings[first], beginnings[second]
            if one is not None and other is not None:
                self.joined.similarities[first, second].append(Indel.normalized_similarity(one, other))

    def _flush(self, writer: pq.ParquetWriter, sheet: S3Writer) -> None:
        if self._columns[0]:
            arrays = [pa.array(column, field.type) for column, field in zip(self._columns, TABLE_SCHEMA, strict=True)]
            writer.write_table(pa.table(arrays, schema=TABLE_SCHEMA))
        sheet.write(self._wide.getvalue().encode("utf-8", "replace"))
        self._wide.seek(0)
        self._wide.truncate()
        self._columns = [[] for _ in TABLE_SCHEMA]
        self._characters = 0


def _calls_text(calls: str | None) -> str:
    return ", ".join(f"{name}({arguments})" for _, name, arguments in msgspec.json.decode(calls or "[]"))


def harmless(cell: str | None) -> str:
    """A cell that spreadsheets can hold, and that none takes for a formula; the table has the whole text."""
    text = cell or ""
    if len(text) > _CELL_CHARACTERS:
        text = f"{text[:_CELL_CHARACTERS]}… ({len(text):,} characters)"
    # Spreadsheets skip what cannot be seen, and take the wide forms of East Asian keyboards for the plain ones.
    seen = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)[:1])
    formula = text[:1] in ("\t", "\r", "\n") or seen in ("=", "+", "-", "@")
    return f"'{text}" if formula and not _NUMBER.fullmatch(text) else text
