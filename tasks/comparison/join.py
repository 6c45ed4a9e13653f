"""The joined table: every request with every variant's answer, streamed; and, in arrays, what the measures need."""

import csv
import io
import re
import unicodedata
from array import array
from collections import Counter
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
from tasks.comparison.schemas import SchemaChecker
from tasks.comparison.texts import Asked, asked, keeps_form, normalise, valid_calls
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
    "ok",
    "status_code",
    "content",
    "refusal",
    "tool_calls",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
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
#: Similarity is measured on so many requests, and on the beginning of each answer.
SIMILARITY_REQUESTS, SIMILARITY_CHARACTERS = 2000, 2000
#: Disagreements kept as examples, by what the variants answered, and characters of each text.
_PATTERNS, _PER_PATTERN, EXAMPLE_CHARACTERS = 500, 3, 1500


class Side(msgspec.Struct):
    """One variant's answers in arrays, a value a request; 0 stands for no answer, -1 for an unknown number."""

    variant: Variant
    rate: Rate | None
    codes: Any = msgspec.field(default_factory=lambda: array("Q"))
    lengths: Any = msgspec.field(default_factory=lambda: array("q"))
    prompt_tokens: Any = msgspec.field(default_factory=lambda: array("q"))
    completion_tokens: Any = msgspec.field(default_factory=lambda: array("q"))
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    errors: Counter[str] = msgspec.field(default_factory=Counter)
    finish_reasons: Counter[str] = msgspec.field(default_factory=Counter)


class Example(msgspec.Struct):
    """A request on which the variants disagree."""

    custom_id: str
    request: str
    reference: str | None
    answers: list[str | None]
    pattern: tuple[int, ...]
    likeness: float = 0.0


class Joined(msgspec.Struct):
    """What the measures are computed from."""

    sides: list[Side]
    requests: int
    #: Whether answers are labels: short and few.
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


class Row(msgspec.Struct, gc=False):
    """A row of a variant's results, its fields in the order of `_COLUMNS`."""

    custom_id: str | None
    file: str | None
    line: int | None
    ok: bool
    status_code: int | None
    content: str | None
    refusal: str | None
    tool_calls: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    error_code: str | None
    error_message: str | None


def rows_of(uri: str, stack: ExitStack) -> Iterator[Row]:
    """The first row of every request of a result table, in the order of the input."""
    local = stack.enter_context(local_copy(parse_input_uri(uri)))
    previous = None
    for batch in pq.ParquetFile(local).iter_batches(_READ_ROWS, columns=list(_COLUMNS)):
        for values in zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True):
            row = Row(*values)
            if (row.file, row.line) != previous:
                previous = row.file, row.line
                yield row


class Join:
    """Joins the results of all variants, request by request."""

    def __init__(
        self, sides: list[Side], sources: list[Source], requests: int, reference: dict[str, str] | None
    ) -> None:
        self._sides, self._sources = sides, sources
        self._reference = reference
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
        self._unseen: set[str] = set(reference or ())
        self._checker = SchemaChecker()
        self.joined = Joined(
            sides, 0, False, {}, array("Q"), 0, {pair: array("d") for pair in self._pairs}, {}, Counter()
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
            head: list[tuple[bytes, list[Row]]] = []
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
        return self.joined

    def _heading(self) -> list[str]:
        labels = [side.variant.label for side in self._sides]
        names = ["custom_id", "request", "reference", *labels, *(f"{label}: error" for label in labels)]
        return [harmless(name) for name in names]

    def _next(self, streams: list[Iterator[Row]], number: int) -> list[Row]:
        rows = [next(stream, None) for stream in streams]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows) or len({row.custom_id for row in found}) > 1:
            raise AccountingError(
                f"Request {number + 1:,} of the input is not the same one in all variants' results: did the input "
                "change while the batches ran? Run the same call again."
            )
        return found

    def _begin(self, head: list[tuple[bytes, list[Row]]], writer: pq.ParquetWriter, sheet: S3Writer) -> None:
        """Tell by the first requests whether answers are labels, and take them."""
        if not head:
            return
        answers = [row.content for _, rows in head for row in rows if row.ok and row.content]
        lengths = sorted(map(len, answers))
        distinct = {normalise(answer) for answer in answers if len(answer) <= 4 * _LABEL_CHARACTERS}
        short = bool(lengths) and lengths[len(lengths) * 9 // 10] <= _LABEL_CHARACTERS
        self.joined.labels = short and len(distinct) <= min(_MOST_LABELS, max(2, len(answers) // 2))
        for line, rows in head:
            self._request(line, rows, writer, sheet)
        head.clear()

    def _request(self, line: bytes, rows: list[Row], writer: pq.ParquetWriter, sheet: S3Writer) -> None:
        question = asked(line)
        custom_id = rows[0].custom_id
        joined = self.joined
        reference, right = None, 0
        if self._reference is not None:
            reference = self._reference.get(custom_id or "")
            self._unseen.discard(custom_id or "")
            right = self._code(reference) if reference is not None else 0
            joined.references.append(right)
        codes = []
        for side, row, change in zip(self._sides, rows, self._changers, strict=True):
            form = asked(change(line)) if change is not None else question
            codes.append(self._take(side, row, question, form, reference, right))
        if len(set(codes)) > 1 and all(codes):
            self._disagreement(question, reference, right, rows, codes)
        if not joined.labels and joined.requests % self._sample_every == 0:
            self._compare(rows)
        joined.requests += 1
        self._csv.writerow(
            harmless(cell)
            for cell in (
                custom_id,
                question.text,
                reference,
                *(row.content for row in rows),
                *(row.error_message for row in rows),
            )
        )
        if len(self._columns[0]) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
            self._flush(writer, sheet)

    def _code(self, text: str) -> int:
        """A number for a text that is the same for texts that are the same in all that matters."""
        label = normalise(text)
        code = xxhash.xxh3_64_intdigest(label.encode("utf-8", "surrogatepass")) or 1
        if len(label) <= _LABEL_CHARACTERS and (code in self.joined.names or len(self.joined.names) < 4 * _MOST_LABELS):
            self.joined.names.setdefault(code, label)
        return code

    def _take(self, side: Side, row: Row, question: Asked, form: Asked, reference: str | None, right: int) -> int:
        """Take one variant's answer to one request; returns its code. `right` is the reference's."""
        counts = side.counts
        answer = row.content
        code, label, correct = 0, None, None
        json_valid = schema_valid = calls_valid = None
        if row.ok:
            counts["answered"] += 1
            side.finish_reasons[row.finish_reason or "unknown"] += 1
            counts["truncated"] += row.finish_reason == "length"
            counts["refused"] += row.refusal is not None or row.finish_reason == "content_filter"
            counts["empty"] += not (answer or "").strip() and not row.tool_calls and row.refusal is None
            if row.tool_calls:
                calls_valid = valid_calls(form.wanted, row.tool_calls, self._checker)
                counts["calls_unchecked"] += calls_valid is None
            else:
                json_valid, schema_valid = keeps_form(form.wanted, answer, self._checker)
                counts["schema_unchecked"] += bool(json_valid and form.wanted.schema) and schema_valid is None
            for name, kept in (("json", json_valid), ("schema", schema_valid), ("calls", calls_valid)):
                if kept is not None:
                    counts[f"{name}_asked"] += 1
                    counts[f"{name}_kept"] += kept
            # A call without text is its answer.
            code = self._code(answer or _calls_text(row.tool_calls))
            label = self.joined.names.get(code) if self.joined.labels else None
        else:
            side.errors[f"{row.error_code}: {cut(row.error_message or '', 160)}"] += 1
        if reference is not None:
            correct = code == right
        side.codes.append(code)
        side.lengths.append(len(answer or "") if row.ok else -1)
        side.prompt_tokens.append(-1 if row.prompt_tokens is None else row.prompt_tokens)
        side.completion_tokens.append(-1 if row.completion_tokens is None else row.completion_tokens)
        cost = None
        if side.rate is not None and row.prompt_tokens is not None:
            cost = side.rate.cost(row.prompt_tokens, row.completion_tokens or 0)
        values = (
            row.custom_id,
            side.variant.label,
            side.variant.model,
            row.line,
            question.text,
            row.ok,
            answer,
            row.refusal,
            row.tool_calls,
            row.finish_reason,
            row.prompt_tokens,
            row.completion_tokens,
            cost,
            row.status_code,
            row.error_code,
            row.error_message,
            len(answer or "") if row.ok else None,
            json_valid,
            schema_valid,
            calls_valid,
            label,
            reference,
            correct,
        )
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._characters += len(question.text) + len(answer or "")
        return code

    def _disagreement(
        self, question: Asked, reference: str | None, right: int, rows: list[Row], codes: list[int]
    ) -> None:
        joined = self.joined
        # Labels tell which disagreements are alike; of longer texts, only who agrees with whom.
        pattern = tuple(codes) if joined.labels else tuple(codes.index(code) for code in codes)
        pattern = (right if joined.labels else int(right in codes), *pattern)
        joined.pattern_counts[pattern] += 1
        kept = joined.examples.get(pattern)
        if kept is None:
            if len(joined.examples) >= _PATTERNS:
                return
            kept = joined.examples[pattern] = []
        most = _PER_PATTERN if joined.labels else 8 * _PER_PATTERN
        texts = [None if row.content is None else row.content[:EXAMPLE_CHARACTERS] for row in rows]
        likeness = 0.0
        if not joined.labels:
            likeness = Indel.normalized_similarity(texts[0] or "", texts[-1] or "")
        if len(kept) >= most:
            if joined.labels or likeness >= kept[-1].likeness:
                return
            kept.pop()
        kept.append(
            Example(rows[0].custom_id or "", question.text[:EXAMPLE_CHARACTERS], reference, texts, pattern, likeness)
        )
        if not joined.labels:
            kept.sort(key=lambda example: example.likeness)

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
