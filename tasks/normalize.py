"""Stage 7: answers back into OpenAI's format, range by range, each in the order of the input."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import get_run_logger, task

from tasks.answers import Answers
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import record_id
from tasks.bedrock.records import RecordError
from tasks.codecs.base import DecodeError, Vectors
from tasks.codecs.decoder import Decoder, Outcome, build, usage_of
from tasks.fetch import ShardOutput
from tasks.index import IndexRow, read_index, records_per_request, requests_of
from tasks.openai_format.batch import BatchUsage, InputTokensDetails, OutputTokensDetails
from tasks.openai_format.results import HttpError, RunError, decode_error, error_line, http_error, output_line
from tasks.patience import STAGE
from tasks.state import BatchDocument, BatchRef, Range, Shard
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer

RESULT_SCHEMA = pa.schema(
    [
        pa.field("custom_id", pa.string()),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("choice", pa.int16(), nullable=False),
        pa.field("ok", pa.bool_(), nullable=False),
        pa.field("status_code", pa.int16()),
        pa.field("content", pa.string()),
        pa.field("reasoning_content", pa.string()),
        pa.field("refusal", pa.string()),
        pa.field("tool_calls", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("total_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("model", pa.string()),
        pa.field("file", pa.string()),
        pa.field("embedding", pa.list_(pa.float32())),
    ]
)
_ROW_GROUP = 4096
_SHOWN_CAUSES = 5


class RangeResult(msgspec.Struct):
    """What became of the requests of one range; adds up to the batch's counts."""

    range: int
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    without_usage: int = 0
    finish_reasons: dict[str, int] = {}
    #: Errors by cause, each with the custom_id and line of its first request.
    causes: dict[str, tuple[int, str, int]] = {}
    oddities: dict[str, int] = {}


class Results:
    """Writes the three result files of a range, each streamed to S3."""

    def __init__(self, ref: BatchRef, range_: Range) -> None:
        self._output = S3Writer(piece(ref, range_, "output.jsonl"), ref.kms_key)
        self._errors = S3Writer(piece(ref, range_, "errors.jsonl"), ref.kms_key)
        self._parquet = S3Writer(piece(ref, range_, "results.parquet"), ref.kms_key, "application/vnd.apache.parquet")
        self._table = pq.ParquetWriter(pa.PythonFile(self._parquet, mode="w"), RESULT_SCHEMA, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        writers = (self._output, self._errors, self._parquet)
        if error is not None:
            for writer in writers:
                writer.abort()
            return
        self._flush()
        self._table.close()
        for writer in writers:
            writer.close()

    def add(self, line: bytes, ok: bool, rows: list[tuple[Any, ...]]) -> None:
        (self._output if ok else self._errors).write(line)
        self._rows += rows
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._table.write_table(pa.table([list(c) for c in zip(*self._rows, strict=True)], schema=RESULT_SCHEMA))
            self._rows = []


def piece(ref: BatchRef, range_: Range, name: str) -> S3Uri:
    """The part of a result file that one range makes; gone once the file is put together."""
    return ref.uri("results", f"{range_.name}.{name}")


class Normalizer:
    """Turns the outcomes of one range's requests into result lines."""

    def __init__(self, ref: BatchRef, document: BatchDocument, range_: Range) -> None:
        section = document.bedrock
        model = parse_model(section.base_model or section.model)
        self._endpoint = document.endpoint
        self._model = section.model
        self._shards = {shard.id: shard for shard in section.shards or [] if shard.range == range_.index}
        self._decoders = {
            shard.id: Decoder(model, document.endpoint, shard.invocation) for shard in self._shards.values()
        }
        self._key = ref.batch_id.removeprefix("batch_")[:16]
        # The same on every run, so that a repeated run writes the same bytes.
        self._created = document.created_at
        self._files = [source["name"] for source in section.sources]
        self._cancelled = document.status in ("cancelling", "cancelled")
        self._causes: dict[str, list[Any]] = {}
        self._finish: Counter[str] = Counter()
        self.result = RangeResult(range_.index)

    def line(self, rows: list[IndexRow], answers: Answers) -> tuple[bytes, bool, list[tuple[Any, ...]]]:
        """The result line of one request, whether it is an answer, and its Parquet rows."""
        first = rows[0]
        if first.error is not None:
            return self._failed(first, decode_error(first.error))
        decoded: list[Outcome] = []
        for row in rows:
            outcome = answers.get(row.request, row.choice)
            if outcome is None:
                return self._failed(first, self._missing(self._shards[row.shard or ""]))
            if isinstance(outcome, RecordError):
                return self._failed(first, _record_error(outcome))
            try:
                decoded.append(self._decoders[row.shard or ""].decode(outcome, row.context))
            except DecodeError as error:
                unreadable = HttpError(502, f"The model's output cannot be read: {error}", "server_error",
                                       "invalid_model_output")  # fmt: skip
                return self._failed(first, unreadable)
        return self._completed(rows, decoded)

    def _completed(self, rows: list[IndexRow], outcomes: list[Outcome]) -> tuple[bytes, bool, list[tuple[Any, ...]]]:
        row = rows[0]
        id = f"{self._key}{record_id(row.request)}"
        contexts = [each.context for each in rows]
        body = build(self._endpoint, outcomes, contexts, id=id, created=self._created, model=self._model)
        usage = usage_of(outcomes)
        result = self.result
        result.completed += 1
        if usage is None:
            result.without_usage += 1
        else:
            result.prompt_tokens += usage.prompt
            result.completion_tokens += usage.completion
            result.cached_tokens += usage.cached
            result.reasoning_tokens += usage.reasoning
        return output_line(id, row.custom_id, body), True, list(self._table_rows(row, outcomes))

    def _table_rows(self, row: IndexRow, outcomes: list[Outcome]) -> Iterator[tuple[Any, ...]]:
        """A Parquet row per choice, or per embedding."""
        file = self._files[row.file]
        choice = 0
        counts: tuple[Any, ...]
        for outcome in outcomes:
            if isinstance(outcome, Vectors):
                for place, vector in enumerate(outcome.vectors):
                    # The tokens of several texts in one record cannot be told apart.
                    tokens = outcome.tokens if place == 0 and len(outcome.vectors) == 1 else None
                    counts = (tokens, None, tokens, None, None)
                    yield (row.custom_id, row.line, choice, True, 200, *(None,) * 5, *counts, None, None, self._model,
                           file, vector)  # fmt: skip
                    choice += 1
                continue
            self._finish[outcome.finish_reason] += 1
            calls = None
            if outcome.tool_calls:
                triples = [[call.id, call.name, call.arguments.decode()] for call in outcome.tool_calls]
                calls = msgspec.json.encode(triples).decode()
            usage = outcome.usage
            counts = (None,) * 5
            if usage is not None:
                total = usage.prompt + usage.completion
                counts = (usage.prompt, usage.completion, total, usage.cached, usage.reasoning)
            yield (row.custom_id, row.line, choice, True, 200, outcome.content, outcome.reasoning, outcome.refusal,
                   calls, outcome.finish_reason, *counts, None, None, self._model, file, None)  # fmt: skip
            choice += 1

    def _failed(self, row: IndexRow, error: HttpError | RunError) -> tuple[bytes, bool, list[tuple[Any, ...]]]:
        self.result.failed += 1
        status, code = (error.status, error.code or error.type) if isinstance(error, HttpError) else (None, error.code)
        # Bedrock's messages differ by record in their numbers and quotes; the code and the start name the cause.
        cause = f"{code}: {error.message[:120]}"
        if cause in self._causes:
            self._causes[cause][0] += 1
        elif len(self._causes) < 1000:
            self._causes[cause] = [1, row.custom_id or "", row.line]
        else:
            self._causes.setdefault("other causes", [0, row.custom_id or "", row.line])[0] += 1
        id = f"{self._key}{record_id(row.request)}"
        table_row = (row.custom_id, row.line, 0, False, status, *(None,) * 10, code, error.message, self._model,
                     self._files[row.file], None)  # fmt: skip
        return error_line(id, row.custom_id, error), False, [table_row]

    def _missing(self, shard: Shard) -> RunError:
        """Why a record has neither answer nor error, by what became of its job."""
        status = shard.job.status if shard.job else None
        if self._cancelled or status == "Stopped":
            return RunError("batch_cancelled", "This request was not executed before the batch was cancelled.")
        if status in ("Expired", "PartiallyCompleted"):
            return RunError("batch_expired", "This request could not be executed before the completion window expired.")
        if status == "Failed":
            message = shard.job.message if shard.job else None
            return RunError("server_error", f"The Bedrock job failed: {message or 'it gave no reason'}")
        return RunError("server_error", "Bedrock returned no result for this request.")

    def finish(self, oddities: Counter[str]) -> RangeResult:
        self.result.finish_reasons = dict(self._finish)
        most = sorted(self._causes.items(), key=lambda item: -item[1][0])[:50]
        self.result.causes = {cause: (count, id, line) for cause, (count, id, line) in most}
        self.result.oddities = dict(oddities)
        return self.result


def _record_error(error: RecordError) -> HttpError | RunError:
    if error.expired:
        return RunError("batch_expired", error.message)
    return http_error(error.status, error.message)


def normalize_range(ref: BatchRef, document: BatchDocument, range_: Range, outputs: list[ShardOutput]) -> RangeResult:
    """Write the result files of one range. Raises AccountingError where index and input disagree."""
    normalizer = Normalizer(ref, document, range_)
    index = read_index(ref, range_)
    per_request = records_per_request(index, range_)
    with Answers(range_.first_request, per_request) as answers:
        answers.load(outputs)
        with Results(ref, range_) as results:
            for rows in requests_of(index):
                results.add(*normalizer.line(rows, answers))
        return normalizer.finish(answers.oddities)


def add_up(results: list[RangeResult]) -> BatchUsage:
    """The batch's usage object."""
    prompt = sum(result.prompt_tokens for result in results)
    completion = sum(result.completion_tokens for result in results)
    return BatchUsage(
        input_tokens=prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=sum(result.cached_tokens for result in results)),
        output_tokens=completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=sum(result.reasoning_tokens for result in results)),
        total_tokens=prompt + completion,
    )


@task(name="normalize", task_run_name="normalize-{range_.name}", **STAGE)
def normalize(ref: BatchRef, document: BatchDocument, range_: Range, outputs: dict[str, ShardOutput]) -> RangeResult:
    """Join, decode and write one range's answers in OpenAI's format."""
    shards = [shard.id for shard in document.bedrock.shards or [] if shard.range == range_.index]
    result = normalize_range(ref, document, range_, [outputs[shard] for shard in shards])
    log = get_run_logger()
    log.info("Normalised %s: %s answers, %s errors", range_.name, f"{result.completed:,}", f"{result.failed:,}")
    for oddity, count in result.oddities.items():
        log.warning("%s: %s %s", range_.name, f"{count:,}", oddity)
    return result
