"""Stage 2: turn a range of the input into Bedrock records, streamed straight into S3, with the index beside them."""

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.bedrock import aws
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import PADDING_PREFIX, record_id
from tasks.codecs import codec_for
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoded, Encoder
from tasks.errors import InputFileError
from tasks.openai_format.requests import custom_id_of
from tasks.openai_format.results import HttpError, encode_error
from tasks.state import BatchDocument, BatchRef, Range, Segment, Shard
from tasks.storage.reader import Source, read_lines
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer, encryption
from tasks.validate import InvalidLine

INDEX_SCHEMA = pa.schema(
    [
        pa.field("request", pa.int64(), nullable=False),
        pa.field("custom_id", pa.string()),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("choice", pa.int16(), nullable=False),
        # Null where the request was never sent; then `error` says why.
        pa.field("record_id", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("context", pa.binary()),
        pa.field("error", pa.binary()),
    ]
)
_INDEX_ROWS = 8192


class Converted(msgspec.Struct):
    """What became of one range."""

    range: int
    requests: int
    rejected: int
    shards: list[Shard]
    dropped: dict[str, int]


class Index:
    """Collects index rows and writes them as one Parquet object, a few thousand rows at a time."""

    def __init__(self) -> None:
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, INDEX_SCHEMA, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in INDEX_SCHEMA]

    def add(self, *row: Any) -> None:
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        if len(self._columns[0]) >= _INDEX_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.table(self._columns, schema=INDEX_SCHEMA))
        self._columns = [[] for _ in INDEX_SCHEMA]

    def finish(self) -> bytes:
        if self._columns[0]:
            self._flush()
        self._writer.close()
        return self._sink.getvalue()


class ShardWriter:
    """Writes records into as many objects as the limits ask for, cutting between requests only."""

    def __init__(self, ref: BatchRef, range_: Range, document: BatchDocument, padding: bytes) -> None:
        section = document.bedrock
        self._ref, self._range, self._limits, self._padding = ref, range_, section.limits, padding
        self._pad = section.options.get("below_minimum") == "pad"
        self._immediate = document.completion_window == "immediate"
        self._writer: S3Writer | None = None
        self._records = 0
        self._bytes = 0
        self.shards: list[Shard] = []

    @property
    def next_id(self) -> str:
        number = f"{self._range.index:05d}"
        return number if not self.shards else f"{number}-{len(self.shards)}"

    def add(self, records: list[bytes]) -> str:
        """Write the records of one request; returns the id of the shard they went to."""
        size = sum(map(len, records))
        full = self._records + len(records) > self._limits["max_records_per_job"]
        if self._records and (full or self._bytes + size > self._limits["max_bytes_per_file"]):
            self.close()
        if self._writer is None:
            self._writer = S3Writer(shard_object(self._ref, self.next_id), self._ref.kms_key)
        for record in records:
            self._writer.write(record)
        self._records += len(records)
        self._bytes += size
        return self.next_id

    def close(self) -> None:
        """Finish the current object, padded to the job's minimum where the user chose that."""
        if self._writer is None:
            return
        minimum = self._limits["min_records_per_job"]
        below = self._records < minimum
        missing = minimum - self._records if below and self._pad and not self._immediate else 0
        for number in range(missing):
            self._writer.write(b'{"recordId":"%b%09d","modelInput":%b}\n'
                               % (PADDING_PREFIX.encode(), number, self._padding))  # fmt: skip
        self._writer.close()
        self.shards.append(
            Shard(
                id=self.next_id,
                range=self._range.index,
                records=self._records,
                padding=missing,
                bytes=self._writer.bytes_written,
                etag=self._writer.etag,
                crc32=self._writer.crc32,
                route="on_demand" if self._immediate or (below and not self._pad) else "batch",
            )
        )
        self._writer, self._records, self._bytes = None, 0, 0

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()


def shard_object(ref: BatchRef, shard_id: str) -> S3Uri:
    return ref.uri("input", f"part-{shard_id}.jsonl")


def index_object(ref: BatchRef, range_: Range) -> S3Uri:
    return ref.uri("index", f"{range_.name}.parquet")


def convert_range(ref: BatchRef, document: BatchDocument, range_: Range) -> Converted:
    """Convert one range of the input and upload its records and index.

    A request that cannot be converted is recorded in the index with its error and is never sent.
    Raises InputFileError when the input is not the one that was validated, PipelineError when S3 refuses.
    """
    section = document.bedrock
    # The family was settled when the batch was opened; what an application profile stands for is in base_model.
    model = parse_model(section.base_model or section.model)
    codec = codec_for(model)
    encoder = Encoder(codec, model, document.endpoint, section.options["unsupported"])
    writer = ShardWriter(ref, range_, document, codec.padding())
    index = Index()
    largest = section.limits["max_bytes_per_file"]
    invalid = _invalid_lines(ref, range_) if section.invalid_lines else {}
    requests = rejected = 0
    try:
        for request, file, line_number, line in _requests_of(document, range_):
            requests += 1
            bad = invalid.get(request)
            if bad is not None:
                index.add(request, bad.custom_id, file, line_number, 0, None, None, None, _invalid_error(bad))
                rejected += 1
                continue
            try:
                encoded = encoder.encode(line)
                records = _records(request, encoded, largest)
            except RequestError as error:
                index.add(request, custom_id_of(line), file, line_number, 0, None, None, None, _request_error(error))
                rejected += 1
                continue
            shard = writer.add(records)
            for choice in range(len(records)):
                index.add(request, encoded.custom_id, file, line_number, choice, record_id(request, choice), shard,
                          encoded.context, None)  # fmt: skip
        if requests != range_.requests:
            raise InputFileError(
                f"The input has changed since it was validated: {range_.name} should hold {range_.requests:,} requests "
                f"and holds {requests:,}. Run the same call again."
            )
        writer.close()
    except BaseException:
        writer.abort()
        raise
    _put(ref, index_object(ref, range_), index.finish())
    return Converted(range_.index, requests, rejected, writer.shards, dict(encoder.policy.dropped))


def _records(request: int, encoded: Encoded, largest: int) -> list[bytes]:
    records = [
        b'{"recordId":"%b","modelInput":%b}\n' % (record_id(request, choice).encode(), model_input)
        for choice, model_input in enumerate(encoded.model_inputs)
    ]
    if sum(map(len, records)) > largest:
        raise RequestError(f"The request is larger than the {largest:,} bytes that a job's input file may have.",
                           "body", "request_too_large")  # fmt: skip
    return records


def _requests_of(document: BatchDocument, range_: Range) -> Iterator[tuple[int, int, int, bytes]]:
    """(request, source, line number, line) of every request in the range."""
    sources = [msgspec.convert(source, Source) for source in document.bedrock.sources]
    for segment in range_.segments:
        for request, line_number, line in _requests_in(sources[segment.source], segment):
            yield request, segment.source, line_number, line


def _requests_in(source: Source, segment: Segment) -> Iterator[tuple[int, int, bytes]]:
    request, number = segment.first_request, segment.first_line
    for block in read_lines(source, segment.start, segment.end):
        for line in block.lines:
            if line and not line.isspace():
                yield request, number, line
                request += 1
            number += 1


def _invalid_lines(ref: BatchRef, range_: Range) -> dict[int, InvalidLine]:
    """The bad lines within the range, by request."""
    uri = ref.uri("invalid.jsonl")
    first, last = range_.first_request, range_.first_request + range_.requests
    found = {}
    try:
        body = aws.s3().get_object(Bucket=uri.bucket, Key=uri.key)["Body"]
        for line in body.iter_lines(1 << 16):
            bad = msgspec.json.decode(line, type=InvalidLine)
            if first <= bad.request < last:
                found[bad.request] = bad
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"reading {uri}") from error
    return found


def _invalid_error(bad: InvalidLine) -> bytes:
    return encode_error(HttpError(400, bad.message, "invalid_request_error", bad.code, bad.param))


def _request_error(error: RequestError) -> bytes:
    return encode_error(HttpError(400, error.message, "invalid_request_error", error.code, error.param))


def _put(ref: BatchRef, uri: S3Uri, body: bytes) -> None:
    try:
        aws.s3().put_object(
            Bucket=uri.bucket, Key=uri.key, Body=body, ChecksumAlgorithm="CRC32", **encryption(ref.kms_key)
        )
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"uploading {uri}") from error


@task(name="convert", task_run_name="convert-{range_.name}", cache_policy=NO_CACHE, persist_result=False)
def convert(ref: BatchRef, document: BatchDocument, range_: Range) -> Converted:
    """Convert one range of the input into records, and upload them with their index."""
    done = convert_range(ref, document, range_)
    get_run_logger().info(
        "Converted %s: %s requests into %s records, %s rejected",
        range_.name, f"{done.requests:,}", f"{sum(shard.records for shard in done.shards):,}", f"{done.rejected:,}",
    )  # fmt: skip
    return done
