"""Stage 7: answers back into OpenAI's format, range by range, each in the order of the input."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task

from tasks.batch.document import BatchDocument, Range, Shard
from tasks.batch.paths import BatchRef
from tasks.batch.rounds import asks_again, current_shards, may_be_asked_again
from tasks.bedrock.causes import record_cause, said
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import record_id
from tasks.bedrock.records import RecordError
from tasks.codecs.base import UNFORESEEN, Answer, DecodeError, Usage, Vectors
from tasks.codecs.decoder import Decoder, Outcome, read_context
from tasks.codecs.endpoints import endpoint_at
from tasks.fast.answers import COUNTS, FINISH_REASONS, PlainAnswers, escape, fill
from tasks.openai_format.results import (
    Frame,
    HttpError,
    RunError,
    answered_frame,
    decode_http_error,
    error_line,
    http_error,
    output_line,
    unreadable_output,
)
from tasks.results.answers import ANSWERED, MISSING, RETRYABLE, Answers, decode_record_error
from tasks.results.costs import Costs
from tasks.results.files import Result, ResultBlock, ResultRow, Results
from tasks.results.outputs import ShardOutput
from tasks.results.totals import RangeResult
from tasks.settings import fast_enabled
from tasks.shards.gather import write_remainders
from tasks.shards.index import INDEX_ROWS, IndexRow, read_index, records_per_request, requests_of
from tasks.support.columns import Bytes
from tasks.support.memory import keep_freed_memory, release_memory
from tasks.support.progress import advance
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted, cut, tally


def left_undone(
    document: BatchDocument, range_: Range, index: pq.ParquetFile, answers: Answers
) -> dict[str, set[bytes]]:
    """The recordIds of a range that the next round asks again, by the shard that asked them last."""
    wanted: dict[str, set[bytes]] = defaultdict(set)
    rows = np.flatnonzero(np.frombuffer(answers.kinds, dtype=np.uint8) <= RETRYABLE)
    if not len(rows) or not asks_again(document):
        return wanted
    current = current_shards(document)
    table = index.read(columns=["record_id", "shard"]).take(rows)
    for row, record, shard_id in zip(
        rows.tolist(), table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True
    ):
        # Requests that were never sent have no recordId.
        if record is not None:
            last = current[range_.index, shard_id]
            if may_be_asked_again(last, missing=answers.kinds[row] == MISSING):
                wanted[last.id].add(record.encode())
    return wanted


_SHOWN_CAUSES = 50


_FINISHES = len(FINISH_REASONS) + 1


_MOST_WAYS = 255


def _usage(outcome: Outcome) -> Usage | None:
    if isinstance(outcome, Answer):
        return outcome.usage
    return None if outcome.tokens is None else Usage(outcome.tokens, 0)


class Normalizer:
    """Turns the outcomes of one range's requests into result lines."""

    def __init__(self, ref: BatchRef, document: BatchDocument, range_: Range) -> None:
        section = document.bedrock
        model = parse_model(section.base_model or section.model)
        self._endpoint = endpoint_at(document.endpoint)
        self._model = section.model
        self._range = range_.index
        self._last = current_shards(document)
        self._decoders = {
            shard.id: Decoder(model, document.endpoint, shard.invocation)
            for shard in section.shards or []
            if range_.index in shard.ranges
        }
        self._costs = Costs(document)
        self._key = ref.batch_id.removeprefix("batch_")[:16]
        # The same on every run, so that a repeated run writes the same bytes.
        self._created = document.created_at
        self._frame: Frame = ()
        if self._endpoint.plain_lines:
            body = self._endpoint.plain_frame(self._key.encode(), document.created_at, section.model)
            self._frame = answered_frame(self._key.encode(), body)
        self._files = [source["name"] for source in section.sources]
        self._cancelled = document.status in ("cancelling", "cancelled")
        self._causes: dict[str, list[Any]] = {}
        self._finish: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self.oddities: Counter[str] = Counter()
        self.result = RangeResult(range_.index)

    def plain_answers(self, index: pq.ParquetFile) -> PlainAnswers:
        """What takes the plain answers of a range whose requests are one record each."""
        ways = np.zeros(index.metadata.num_rows, dtype=np.uint8)
        decoders = [decoder.decode_plain for decoder in self._decoders.values() if decoder.decode_plain is not None]
        if len(decoders) < len(self._decoders):
            return PlainAnswers(ways, [])
        row = 0
        for batch in index.iter_batches(columns=["custom_id", "shard", "context"]):
            # More shards than a byte counts are answered in the general way.
            way = pc.index_in(batch["shard"], pa.array(list(self._decoders)[:_MOST_WAYS], pa.string())).cast(pa.int16())
            usual = pc.and_(pc.is_null(batch["context"]), pc.is_valid(batch["custom_id"]))
            way = pc.if_else(usual, pc.add(pc.fill_null(way, -1), 1), 0)
            ways[row : row + len(batch)] = way.to_numpy(zero_copy_only=False)
            row += len(batch)
        return PlainAnswers(ways, decoders)

    def results_of(self, batch: pa.RecordBatch, first: int, answers: Answers, results: Results) -> None:
        """Add the results of requests that are one record each; `first` is the row of the first one in the index."""
        plain = answers.plain
        assert plain is not None
        rows = np.arange(first, first + len(batch))
        is_plain = plain.finish[rows] > 0
        others = {}
        if not is_plain.all():
            places = np.flatnonzero(~is_plain).tolist()
            values = zip(*(column.to_pylist() for column in batch.take(pa.array(places)).columns), strict=True)
            for place, row in zip(places, values, strict=True):
                others[place] = self.result_of([IndexRow(*row)], first + place, answers)
            batch, rows = batch.filter(pa.array(is_plain)), rows[is_plain]
        if not len(rows):
            for result in others.values():
                results.add(result)
            return
        ids, texts, columns = batch["custom_id"], answers.texts(rows), plain.columns(rows)
        costs = self._costs.column(answers.shards, answers.sources(rows), columns)
        self._count_plain(columns, plain.finish[rows], costs)
        gaps = {**columns, "record": batch["record_id"], "custom_id": escape(ids), "content": escape(texts)}
        cells = {
            **columns,
            "custom_id": ids,
            "content": texts,
            "line": batch["line"],
            "choice": 0,
            "ok": True,
            "status_code": 200,
            "model": self._model,
            "file": pa.array(self._files).take(batch["file"]),
            "cost_usd": costs,
        }
        results.add_block(ResultBlock(rows - first, fill(self._frame, gaps), cells, others))

    def _count_plain(self, columns: dict[str, pa.Array], finish: Bytes, costs: pa.Array) -> None:
        result = self.result
        result.completed += len(finish)
        result.cost_usd += pc.sum(costs).as_py() or 0.0
        result.without_cost += costs.null_count
        for name in COUNTS:
            setattr(result, name, getattr(result, name) + pc.sum(columns[name]).as_py())
        for reason, count in zip(FINISH_REASONS, np.bincount(finish, minlength=_FINISHES)[1:].tolist(), strict=True):
            if count:
                self._finish[reason] += count

    def result_of(self, rows: list[IndexRow], first_row: int, answers: Answers) -> Result:
        """The result of one request, in the general way."""
        first = rows[0]
        if first.error is not None:
            return self._failed(first, decode_http_error(first.error), ours=True)
        decoded: list[Outcome] = []
        shards = [answers.shards[source] for source in answers.sources(np.arange(first_row, first_row + len(rows)))]
        for place, row in enumerate(rows, first_row):
            kind = answers.kinds[place]
            self.result.retryable += kind <= RETRYABLE
            if kind == MISSING:
                return self._failed(first, self._missing(self._last[self._range, row.shard or ""]), ours=True)
            if kind != ANSWERED:
                return self._failed(first, self._record_error(decode_record_error(answers.get(place))))
            decoder, output = self._decoders[row.shard or ""], answers.get(place)
            try:
                decoded.append(decoder.decode(output, row.context))
            except DecodeError as error:
                return self._failed(first, unreadable_output(f"The model's output cannot be read: {error}"))
            except UNFORESEEN as error:
                return self._unforeseen(first, error)
        try:
            return self._completed(rows, decoded, shards)
        except UNFORESEEN as error:
            return self._unforeseen(first, error)

    def _unforeseen(self, row: IndexRow, error: Exception) -> Result:
        """A fault of ours: it costs one answer, and is said, where it would cost the batch."""
        name = type(error).__name__
        self.oddities[f"answers that this program failed to read ({name}): please report it"] += 1
        return self._failed(row, unreadable_output(f"The model's output cannot be read ({name})."))

    def _completed(self, rows: list[IndexRow], outcomes: list[Outcome], shards: list[str]) -> Result:
        """`shards`: whose output each outcome is from."""
        row = rows[0]
        id = f"{self._key}{record_id(row.request)}"
        contexts = [read_context(each.context) for each in rows]
        body = self._endpoint.build(outcomes, contexts, id=id, created=self._created, model=self._model)
        line = output_line(id, row.custom_id, msgspec.json.encode(body))
        table_rows = self._rows(row, outcomes, shards)
        self._count_costs(outcomes, shards)
        usage = self._endpoint.usage(outcomes)
        result = self.result
        result.completed += 1
        if usage is None:
            result.without_usage += 1
        else:
            result.prompt_tokens += usage.prompt
            result.completion_tokens += usage.completion
            result.cached_tokens += usage.cached
            result.reasoning_tokens += usage.reasoning
        return Result(line, True, table_rows)

    def _count_costs(self, outcomes: list[Outcome], shards: list[str]) -> None:
        costs = [self._costs.of(shard, _usage(outcome)) for outcome, shard in zip(outcomes, shards, strict=True)]
        known = [cost for cost in costs if cost is not None]
        self.result.cost_usd += sum(known)
        self.result.without_cost += len(known) < len(costs)

    def _rows(self, row: IndexRow, outcomes: list[Outcome], shards: list[str]) -> list[ResultRow]:
        """A row of the table per choice, or per embedding."""
        rows: list[ResultRow] = []
        for outcome, shard in zip(outcomes, shards, strict=True):
            if isinstance(outcome, Answer):
                rows.append(self._answer_row(row, len(rows), outcome, shard))
            else:
                rows += self._vector_rows(row, len(rows), outcome, shard)
        return rows

    def _answer_row(self, row: IndexRow, choice: int, answer: Answer, shard: str) -> ResultRow:
        self._finish[answer.finish_reason] += 1
        usage, calls = answer.usage, None
        if answer.tool_calls:
            triples = [[call.id, call.name, call.arguments.decode()] for call in answer.tool_calls]
            calls = msgspec.json.encode(triples).decode()
        return ResultRow(
            custom_id=row.custom_id,
            line=row.line,
            choice=choice,
            ok=True,
            status_code=200,
            content=answer.content,
            reasoning_content=answer.reasoning,
            refusal=answer.refusal,
            tool_calls=calls,
            finish_reason=answer.finish_reason,
            prompt_tokens=usage.prompt if usage else None,
            completion_tokens=usage.completion if usage else None,
            total_tokens=usage.prompt + usage.completion if usage else None,
            cached_tokens=usage.cached if usage else None,
            reasoning_tokens=usage.reasoning if usage else None,
            model=self._model,
            file=self._files[row.file],
            cost_usd=self._costs.of(shard, usage),
        )

    def _vector_rows(self, row: IndexRow, first: int, found: Vectors, shard: str) -> Iterator[ResultRow]:
        # The tokens of several texts in one record cannot be told apart.
        tokens = found.tokens if len(found.vectors) == 1 else None
        for choice, vector in enumerate(found.vectors, first):
            yield ResultRow(
                custom_id=row.custom_id,
                line=row.line,
                choice=choice,
                ok=True,
                status_code=200,
                prompt_tokens=tokens,
                total_tokens=tokens,
                model=self._model,
                file=self._files[row.file],
                embedding=vector,
                cost_usd=self._costs.of(shard, Usage(tokens, 0)) if tokens is not None else None,
            )

    def _failed(self, row: IndexRow, error: HttpError | RunError, *, ours: bool = False) -> Result:
        """The result of a request without an answer. `ours`: the message is of our own words, not of Bedrock's."""
        self.result.failed += 1
        status, code = (error.status, error.code or error.type) if isinstance(error, HttpError) else (None, error.code)
        # Causes go into logs and artifacts; Bedrock's message, which may echo the prompt, into the error file only.
        if ours:
            cause = f"{code}: {cut(error.message, 120)}"
        elif code == "invalid_model_output":
            cause = f"{code}: {cut(said(error.message), 120)}"
        else:
            cause = record_cause(status, code, error.message)
        if cause in self._causes:
            self._causes[cause][0] += 1
        elif len(self._causes) < 1000:
            self._causes[cause] = [1, row.custom_id or "", row.line]
        else:
            self._causes.setdefault("other causes", [0, row.custom_id or "", row.line])[0] += 1
        id = f"{self._key}{record_id(row.request)}"
        table_row = ResultRow(
            custom_id=row.custom_id,
            line=row.line,
            choice=0,
            ok=False,
            status_code=status,
            error_code=code,
            error_message=error.message,
            model=self._model,
            file=self._files[row.file],
        )
        return Result(error_line(id, row.custom_id, error), False, [table_row])

    def _missing(self, shard: Shard) -> RunError:
        """Why a record has neither answer nor error, by what became of the job that asked it last."""
        status = shard.job.status if shard.job else None
        if self._cancelled or status == "Stopped":
            self._unanswered["cancelled"] += 1
            return RunError("batch_cancelled", "This request was not executed before the batch was cancelled.")
        if status in ("Expired", "PartiallyCompleted"):
            self._unanswered["expired"] += 1
            return RunError("batch_expired", "This request could not be executed before the completion window expired.")
        self._unanswered["failed"] += 1
        if status == "Failed":
            message = shard.job.message if shard.job else None
            return RunError("server_error", f"The Bedrock job failed: {said(message or '') or 'it gave no reason'}")
        return RunError("server_error", "Bedrock returned no result for this request.")

    def _record_error(self, error: RecordError) -> HttpError | RunError:
        if error.expired:
            self._unanswered["expired"] += 1
            return RunError("batch_expired", error.message)
        if error.unreadable:
            return unreadable_output(error.message)
        return http_error(error.status, error.message)

    def finish(self, oddities: Counter[str]) -> RangeResult:
        self.result.finish_reasons = dict(self._finish)
        most = sorted(self._causes.items(), key=lambda item: -item[1][0])[:_SHOWN_CAUSES]
        self.result.causes = {cause: (count, id, line) for cause, (count, id, line) in most}
        self.result.oddities = dict(oddities + self.oddities)
        self.result.unanswered = dict(self._unanswered)
        return self.result


def normalize_range(ref: BatchRef, document: BatchDocument, range_: Range, outputs: list[ShardOutput]) -> RangeResult:
    """Write the result files of one range, or, while there is another round to come, what it is to ask again.

    Raises AccountingError where index and input disagree.
    """
    keep_freed_memory()
    normalizer = Normalizer(ref, document, range_)
    index = read_index(ref, range_)
    per_request = records_per_request(index, range_)
    one_record_each = index.metadata.num_rows == range_.requests
    plain = normalizer.plain_answers(index) if one_record_each and fast_enabled() else None
    with Answers(range_.first_request, per_request, document.request_counts.total, plain) as answers:
        answers.load(outputs)
        wanted = left_undone(document, range_, index, answers)
        if wanted:
            return RangeResult(range_.index, again=write_remainders(ref, document, range_, wanted))
        row = 0
        with Results(ref, range_, document.bedrock.model) as results:
            if plain is None:
                for rows in requests_of(index):
                    results.add(normalizer.result_of(rows, row, answers))
                    row += len(rows)
                    advance()
            else:
                for batch in index.iter_batches(INDEX_ROWS):
                    for start, end in answers.pieces(row, row + len(batch)):
                        normalizer.results_of(batch.slice(start - row, end - start), start, answers, results)
                        advance(end - start)
                    row += len(batch)
        return normalizer.finish(answers.oddities)


def answered_so_far(
    ref: BatchRef, document: BatchDocument, range_: Range, outputs: list[ShardOutput]
) -> Iterator[Result]:
    """The results of a range whose jobs may not all be over, in the order of the input; nothing is written.

    What has no answer yet, or may be asked again, is left out.
    """
    normalizer = Normalizer(ref, document, range_)
    index = read_index(ref, range_)
    with Answers(range_.first_request, records_per_request(index, range_), document.request_counts.total) as answers:
        answers.load(outputs)
        row = 0
        for rows in requests_of(index):
            kinds = answers.kinds[row : row + len(rows)]
            if rows[0].error is not None or min(kinds, default=MISSING) > RETRYABLE:
                yield normalizer.result_of(rows, row, answers)
            row += len(rows)


@task(name="normalize", task_run_name="normalize-{range_.name}", **STAGE_OPTIONS)
def normalize(ref: BatchRef, document: BatchDocument, range_: Range, outputs: dict[str, ShardOutput]) -> RangeResult:
    """Join, decode and write one range's answers in OpenAI's format."""
    shards = [shard.id for shard in document.bedrock.shards or [] if range_.index in shard.ranges]
    result = normalize_range(ref, document, range_, [outputs[shard] for shard in shards])
    release_memory()
    log = run_log()
    if result.again:
        again = counted(sum(remainder.records for remainder in result.again), "record is", "records are")
        log.info("%s: %s asked again", range_.name, again)
        return result
    answers, errors = counted(result.completed, "answer"), counted(result.failed, "error")
    log.info("Normalised %s: %s, %s", range_.name, answers, errors)
    for oddity, number in result.oddities.items():
        log.warning("%s: %s", range_.name, tally(number, oddity))
    return result
