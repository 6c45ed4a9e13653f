"""Stage 8: put the ranges' results together, prove that every request is there exactly once, and end the batch."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow.parquet as pq
from prefect import task

from tasks.batch import store
from tasks.batch.document import BatchDocument, Range
from tasks.batch.paths import BatchRef, result_piece
from tasks.bedrock.causes import said
from tasks.errors import AccountingError
from tasks.openai_format.batch import BatchError, BatchErrors, RequestCounts
from tasks.openai_format.requests import custom_id_of
from tasks.results.files import copy_groups, table_writer
from tasks.results.totals import RangeResult, add_up, cost_of
from tasks.shards.index import read_index
from tasks.storage.copying import copy_object
from tasks.storage.objects import local_copy
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import source_at
from tasks.storage.uris import S3Uri, parse_input_uri, parse_location
from tasks.storage.writer import S3Writer, abort_uploads
from tasks.support.progress import advance
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted, tally

OUTPUT, ERRORS, PARQUET = "output.jsonl", "errors.jsonl", "results.parquet"


def put_together(
    ref: BatchRef, document: BatchDocument, results: list[RangeResult], warnings: Sequence[str] = ()
) -> BatchDocument:
    """Write the batch's result files from their pieces and end the batch, with what was odd about its jobs' output.

    Raises AccountingError, and ends nothing, unless the index and the written lines agree request by request.
    """
    completed = sum(result.completed for result in results)
    failed = sum(result.failed for result in results)
    total = document.request_counts.total
    if completed + failed != total:
        came = f"{counted(completed, 'answer')} and {counted(failed, 'error')} came out"
        raise AccountingError(f"{counted(total, 'request')} went in, {came}.")
    ranges = document.bedrock.ranges
    with (
        S3Writer(ref.own(OUTPUT), ref.kms_key) as output,
        S3Writer(ref.own(ERRORS), ref.kms_key) as errors,
        S3Writer(ref.own(PARQUET), ref.kms_key, "application/vnd.apache.parquet") as parquet,
    ):
        written = 0
        for range_ in ranges:
            copied = _copy_proven(ref, range_, output, errors)
            written += copied
            advance(copied)
        if written != total:
            lines = counted(written, "result line was", "result lines were")
            raise AccountingError(f"{counted(total, 'request')} went in, {lines} written.")
        _join_tables(ref, ranges, parquet)
        if not completed:
            output.abort()
        if not failed:
            errors.abort()
    return store.update(ref, lambda current: _end(ref, current, results, completed, failed, warnings))


def _copy_proven(ref: BatchRef, range_: Range, output: S3Writer, errors: S3Writer) -> int:
    """Copy a range's lines, holding each against the index: every request next in one of the two files."""
    answers = _Lines(result_piece(ref, range_, OUTPUT))
    failures = _Lines(result_piece(ref, range_, ERRORS))
    count = 0
    previous = range_.first_request - 1
    for batch in read_index(ref, range_).iter_batches(columns=["request", "custom_id"]):
        for request, custom_id in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if request == previous:
                continue
            if request != previous + 1:
                raise AccountingError(f"The index of {range_.name} skips from request {previous:,} to {request:,}.")
            previous = request
            if answers.next_id_is(custom_id):
                output.write(answers.take())
            elif failures.next_id_is(custom_id):
                errors.write(failures.take())
            else:
                raise AccountingError(f"Request {request:,} of the input is in neither result file of {range_.name}.")
            count += 1
    if answers.more() or failures.more():
        raise AccountingError(f"The results of {range_.name} hold a request more than once.")
    return count


class _Lines:
    """The lines of a result piece, with the custom_id of the next one."""

    def __init__(self, uri: S3Uri) -> None:
        self._lines = self._read(uri)
        self._advance()

    @staticmethod
    def _read(uri: S3Uri) -> Iterator[bytes]:
        for block in read_lines(source_at(uri), limit=UNLIMITED):
            yield from block.lines

    def _advance(self) -> None:
        self._line = next(self._lines, None)
        self._id = custom_id_of(self._line) if self._line else None

    def more(self) -> bool:
        return bool(self._line)

    def next_id_is(self, custom_id: str | None) -> bool:
        return bool(self._line) and self._id == (custom_id or None)

    def take(self) -> bytes:
        line = self._line or b""
        self._advance()
        return line + b"\n"


def _join_tables(ref: BatchRef, ranges: list[Range], out: S3Writer) -> None:
    with table_writer(out) as writer:
        for range_ in ranges:
            uri = result_piece(ref, range_, PARQUET)
            with local_copy(uri) as local:
                for table in copy_groups(pq.ParquetFile(local)):
                    writer.write_table(table)


def outcome(
    document: BatchDocument, results: list[RangeResult]
) -> Literal["completed", "failed", "expired", "cancelled"]:
    """The batch's final status, by what became of its jobs and requests; what went into a later round is left out."""
    shards = document.bedrock.shards or []
    followed = {origin.shard for shard in shards for origin in shard.origins}
    statuses = {shard.job.status for shard in shards if shard.job and shard.id not in followed}
    if "Failed" in statuses:
        return "failed"
    if document.status in ("cancelling", "cancelled") or any(result.unanswered.get("cancelled") for result in results):
        return "cancelled"
    if any(result.unanswered.get("expired") for result in results):
        return "expired"
    return "completed"


def _end(
    ref: BatchRef,
    document: BatchDocument,
    results: list[RangeResult],
    completed: int,
    failed: int,
    warnings: Sequence[str],
) -> None:
    now = int(time.time())
    status = outcome(document, results)
    document.request_counts = RequestCounts(total=document.request_counts.total, completed=completed, failed=failed)
    document.usage = add_up(results)
    document.cost_usd = cost_of(results)
    document.bedrock.unanswered = sum(result.retryable for result in results)
    document.output_file = str(ref.own(OUTPUT)) if completed else None
    document.error_file = str(ref.own(ERRORS)) if failed else None
    document.output_file_id, document.error_file_id = document.output_file, document.error_file
    document.parquet_file = str(ref.own(PARQUET))
    document.close_epoch()
    document.status = status
    setattr(document, f"{status}_at", now)
    if status == "failed":
        document.errors = BatchErrors(data=_job_errors(document))
    for warning in warnings:
        warn(document, warning)
    oddities: Counter[str] = Counter()
    for result in results:
        oddities.update(result.oddities)
    for oddity, number in oddities.items():
        warn(document, tally(number, oddity))
    if completed == 0 and failed:
        what = "no request was answered" if document.bedrock.shards else "nothing was sent, and nothing is paid for"
        warn(document, f"{what}: see the error file for the causes")


def _job_errors(document: BatchDocument) -> list[BatchError]:
    return [
        BatchError(
            code="job_failed",
            message=f"The Bedrock job {shard.job.name} failed: {said(shard.job.message or '') or 'it gave no reason'}",
        )
        for shard in document.bedrock.shards or []
        if shard.job and shard.job.status == "Failed"
    ]


def warn(document: BatchDocument, text: str) -> None:
    if text not in document.bedrock.warnings:
        document.bedrock.warnings.append(text)


def publish(
    ref: BatchRef, document: BatchDocument, location: str, kms_key: str | None, owner: str | None = None
) -> BatchDocument:
    """Copy the result files to the place of `output_data_config`, under BATCH_ID/; once for each place."""
    target = parse_location(location, "output_data_config").join(ref.batch_id)
    if target.join("").key.rstrip("/") == ref.folder.key and target.bucket == ref.folder.bucket:
        return document
    if str(target) in document.bedrock.published:
        return document
    for name, uri in ((OUTPUT, document.output_file), (ERRORS, document.error_file), (PARQUET, document.parquet_file)):
        if uri is not None:
            copy_object(parse_input_uri(uri), target.join(name), kms_key or ref.kms_key, owner)
    abort_uploads(target)

    def change(current: BatchDocument) -> None:
        if str(target) not in current.bedrock.published:
            current.bedrock.published.append(str(target))

    return store.update(ref, change)


@task(name="assemble", task_run_name="assemble", **STAGE_OPTIONS)
def assemble(
    ref: BatchRef, document: BatchDocument, results: list[RangeResult], warnings: Sequence[str] = ()
) -> BatchDocument:
    """Put the result files together, prove the account, and end the batch."""
    document = put_together(ref, document, results, warnings)
    counts = document.request_counts
    run_log().info(
        "Every request is there exactly once: %s = %s + %s",
        f"{counts.total:,}",
        counted(counts.completed, "answer"),
        counted(counts.failed, "error"),
    )
    return document


@task(name="publish", task_run_name="publish", **STAGE_OPTIONS)
def publish_results(
    ref: BatchRef, document: BatchDocument, location: str, kms_key: str | None, owner: str | None = None
) -> BatchDocument:
    """Copy the result files to where output_data_config wants them."""
    return publish(ref, document, location, kms_key, owner)
