"""The joined table: every request with every variant's answer, streamed; and, in arrays, what the measures need."""

import csv
import io
import math
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

from tasks.comparison.cells import harmless
from tasks.comparison.disagreements import add_disagreement
from tasks.comparison.equality import normalise
from tasks.comparison.extract import Reader, as_text, score
from tasks.comparison.joined import ANSWERED, LOST, STRICT, Joined, Options, Row, Side, rows_of
from tasks.comparison.labels import Matcher
from tasks.comparison.reference import Reference
from tasks.comparison.schemas import SchemaChecker
from tasks.comparison.texts import Asked, asked, keeps_form, valid_calls
from tasks.comparison.variants import changer, lines_of
from tasks.errors import AccountingError
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer
from tasks.support.words import cut

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
_FORM_FIELDS = {"response_format", "text", "tools"}
#: Answers are labels where the first requests' are short and few.
_LOOKED_AT, _LABEL_CHARACTERS, _MOST_LABELS = 500, 40, 50
#: A longer text has no name; what is around a label may make it so long.
_NAMED_CHARACTERS = 1000
#: The commonest answers that are no label are looked for among so many different ones, of so many characters each.
_UNKNOWN, UNKNOWN_CHARACTERS = 1000, 80
_MOST_CATEGORIES = 1000
#: Similarity is measured on so many requests, and on the beginning of each answer.
SIMILARITY_REQUESTS, SIMILARITY_CHARACTERS = 2000, 2000


class _Taken(msgspec.Struct, frozen=True):
    """Of one variant's answer: the choice that stands for it, its code and its score."""

    row: "Row"
    code: int
    score: float

    def scored(self, score: float) -> "_Taken":
        return msgspec.structs.replace(self, score=score)


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
            add_disagreement(joined, question, accepted, right, shown, codes, scores)
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
