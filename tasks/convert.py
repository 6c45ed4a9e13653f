"""Stage 2: turn a range of the input into Bedrock records, streamed straight into S3, with the index beside them."""

import traceback
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import numpy as np
from prefect import task

from tasks.batch.document import BatchDocument, Range, Segment
from tasks.batch.paths import BatchRef, index_object
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import record_id
from tasks.codecs import codec_of
from tasks.codecs.base import InvocationType, RequestError
from tasks.codecs.encoder import MAX_RECORDS, Encoder
from tasks.errors import InputFileError
from tasks.fast.line import FastEncoder, encoder_for
from tasks.fast.match import LineBlock
from tasks.fast.records import PlainRecords, form_of
from tasks.inputs.layout import Layout, read_layout
from tasks.inputs.media import Media, buckets_of
from tasks.inputs.summary import BadLines, InvalidLine
from tasks.openai_format.requests import custom_id_of
from tasks.openai_format.results import HttpError, encode_error, error_type
from tasks.shards.index import Index
from tasks.shards.writer import Converted, ShardWriter
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import Source, source_at
from tasks.storage.uris import S3Uri, parse_input_uri
from tasks.storage.writer import S3Writer
from tasks.support.columns import Offsets
from tasks.support.memory import keep_freed_memory, release_memory
from tasks.support.progress import advance
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

_SPACE = 0x20


#: Lines that are converted at a time, where they are converted one by one.
_LINES = 4096


#: Places where this program failed that are logged of one range.
_MOST_FAULTS = 20


def _lines_of(data: bytes, block: LineBlock) -> list[bytes]:
    return data[block.starts[0] : block.ends[-1]].split(b"\n") if len(block.starts) else []


def _alike(values: Offsets) -> Iterator[tuple[int, int]]:
    """Runs of the same value, as first and last + 1."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from ((first, last) for first, last in pairwise(cuts) if first < last)


class _Faults:
    """Logs where this program failed to convert a line: once for each place, and without what was converted."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    def log(self, error: BaseException, file: str, number: int) -> None:
        cause = error.__cause__ or error
        # Not the exception's own text, nor a frame's variables: they may quote the prompt.
        frames = traceback.extract_tb(cause.__traceback__).format()
        place = (type(cause).__name__, *frames[-1:])
        if place in self._seen or len(self._seen) >= _MOST_FAULTS:
            return
        self._seen.add(place)
        run_log().error(
            "Line %s of %s could not be converted, by a fault of this program; please report it. Further lines that "
            "fail at this place are not logged.\nTraceback (most recent call last):\n%s%s",
            f"{number:,}",
            file,
            "".join(frames),
            type(cause).__qualname__,
        )


class Converter:
    """Converts the lines of one range."""

    def __init__(
        self,
        document: BatchDocument,
        encoder: Encoder,
        writers: Callable[[InvocationType], ShardWriter],
        index: Index,
        layout: Layout,
    ) -> None:
        self._encoder, self._writers, self._index = encoder, writers, index
        self._largest = document.bedrock.limits.max_bytes_per_file
        self._layout = layout
        fast = encoder if isinstance(encoder, FastEncoder) else None
        self._encode_plain = fast.encode_plain_record if fast else None
        self._forms = [form_of(template, fast) if fast else None for template in layout.templates]
        self._has_form = np.array([False, *(form is not None for form in self._forms)])
        # Records of a kind go to the same shard, and are indexed alike.
        kinds = [form and (form.invocation, form.context, form.dropped) for form in self._forms]
        self._kinds = np.array([0, *(kinds.index(kind) for kind in kinds)])
        self.requests = 0
        self.rejected = 0
        self._faults = _Faults()

    def segment(self, source: Source, segment: Segment, bad_lines: BadLines | None) -> None:
        """Convert the lines of one segment."""
        request, number = segment.first_request, segment.first_line
        bad_lines = bad_lines or BadLines(())
        self._file = source.name
        self._index.start_file(segment.source)
        for data, found in self._layout.read(source, segment):
            before = request
            if isinstance(found, LineBlock):
                request, number = self._block(data, found, request, number, bad_lines)
            else:
                request, number = self._one_by_one(found, request, number, bad_lines)
            advance(request - before)
        self.requests += request - segment.first_request

    def _one_by_one(self, lines: list[bytes], request: int, number: int, bad_lines: BadLines) -> tuple[int, int]:
        """Convert lines one by one, some thousands at a time: of tiny ones, a block holds a million."""
        for first in range(0, len(lines), _LINES):
            some = lines[first : first + _LINES]
            request, number = self._lines(some, request, number, bad_lines.within(request, request + len(some)))
        return request, number

    def _block(self, data: bytes, found: LineBlock, request: int, number: int, bad_lines: BadLines) -> tuple[int, int]:
        """Convert a block of lines of which many fit a template: those in whole runs, the others one by one."""
        shapes = np.where(self._has_form[found.shapes], found.shapes, 0)
        if 2 * np.count_nonzero(shapes) <= len(shapes):
            return self._one_by_one(_lines_of(data, found), request, number, bad_lines)
        invalid = bad_lines.within(request, request + len(shapes))
        requests = request + np.arange(len(shapes))
        others = np.flatnonzero(shapes == 0).tolist()
        blank = [row for row in others if not data[found.starts[row] : found.ends[row]].strip()]
        for row in blank:
            requests[row:] -= 1
        bad = np.array([each for each in sorted(invalid) if each < request + len(shapes) - len(blank)], dtype=np.int64)
        # A blank line has the number of the request before it.
        shapes[np.searchsorted(requests, bad)] = 0
        if 2 * np.count_nonzero(shapes) <= len(shapes):
            return self._one_by_one(_lines_of(data, found), request, number, bad_lines)
        block = LineBlock(found.starts, found.ends, shapes, found.sizes)
        records = PlainRecords(data, block, requests, self._layout.templates, self._forms)
        for first, last in block.runs():
            for begin, end in _alike(self._kinds[shapes[first:last]]):
                self._run(records, int(shapes[first + begin]), first + begin, first + end, number)
            if last < len(shapes):
                line = data[block.starts[last] : block.ends[last]]
                self._lines([line], int(requests[last]), number + last, invalid)
        return request + len(shapes) - len(blank), number + len(shapes)

    def _run(self, records: PlainRecords, shape: int, first: int, last: int, number: int) -> None:
        """Write a run of records at once, or as many of them at a time as the shard has room for."""
        form = self._forms[shape - 1]
        assert form is not None
        if form.dropped:
            self._encoder.dropped.add(form.dropped, times=last - first)
        while first < last:
            writer = self._writers(form.invocation)
            count = writer.room(records.sizes[first:last])
            if not count:
                if records.sizes[first] > self._largest:
                    self._reject(
                        int(records.requests[first]),
                        records.custom_ids[first].as_py(),
                        number + first,
                        _request_error(self._too_large()),
                    )
                    first += 1
                else:
                    writer.close()
                continue
            upto = first + count
            writer.add(count, records.between(first, upto))
            self._index.extend(
                records.requests[first:upto],
                records.custom_ids[first:upto],
                np.arange(number + first, number + upto),
                writer.current,
                form.context,
            )
            first = upto

    def _lines(self, lines: list[bytes], request: int, number: int, invalid: dict[int, InvalidLine]) -> tuple[int, int]:
        """Convert lines one by one, of which the first is line `number`; returns what the next one starts with."""
        encode_plain = self._encode_plain
        for line in lines:
            if not line or (line[0] <= _SPACE and line.isspace()):
                number += 1
                continue
            bad = invalid.get(request) if invalid else None
            plain = None
            if bad is None and encode_plain is not None:
                plain = encode_plain(line, b'{"recordId":"r%09d","modelInput":' % request)
            if plain is None:
                self._one(request, number, line, bad)
            else:
                custom_id, parts = plain
                record = b"".join(parts)
                if len(record) > self._largest:
                    self._reject(request, custom_id, number, _request_error(self._too_large()))
                else:
                    writer = self._writers(self._encoder.plain_invocation)
                    writer.add(1, record)
                    self._index.add(request, custom_id, number, shard=writer.current)
            request += 1
            number += 1
        return request, number

    def _too_large(self) -> RequestError:
        return RequestError(
            f"The request is larger than the {self._largest:,} bytes that a job's input file may have.",
            "body",
            "request_too_large",
        )

    def _one(self, request: int, number: int, line: bytes, bad: InvalidLine | None) -> None:
        """Convert one request the general way, or record why it is not sent."""
        if bad is not None:
            self._reject(request, bad.custom_id, number, _invalid_error(bad))
            return
        try:
            # The short cut has declined it already.
            encoded = self._encoder.encode_general(line)
            if len(encoded.model_inputs) > MAX_RECORDS:
                raise RequestError(f"The request would become more than {MAX_RECORDS:,} records.", "body")
            data = b"".join(
                b'{"recordId":"%b","modelInput":%b}\n' % (record_id(request, choice).encode(), model_input)
                for choice, model_input in enumerate(encoded.model_inputs)
            )
            if len(data) > self._largest:
                raise self._too_large()
        except RequestError as error:
            if error.status >= 500:
                self._faults.log(error, self._file, number)
            self._reject(request, custom_id_of(line), number, _request_error(error))
            return
        writer = self._writers(encoded.invocation)
        writer.add(len(encoded.model_inputs), data)
        for choice, context in enumerate(encoded.contexts):
            self._index.add(request, encoded.custom_id, number, shard=writer.current, choice=choice, context=context)

    def _reject(self, request: int, custom_id: str | None, number: int, error: bytes) -> None:
        self._index.add(request, custom_id, number, error=error)
        self.rejected += 1


def convert_range(
    ref: BatchRef,
    document: BatchDocument,
    range_: Range,
    open_object: Callable[[S3Uri, str | None], S3Writer] = S3Writer,
) -> Converted:
    """Convert one range of the input and upload its records and index.

    A request that cannot be converted is recorded in the index with its error and is never sent.
    Raises InputFileError when the input is not the one that was validated, PipelineError when S3 refuses.
    """
    keep_freed_memory()
    section = document.bedrock
    options = section.options
    # The family was settled when the batch was opened; what an application profile stands for is in base_model.
    model = parse_model(section.base_model or section.model)
    sources = [msgspec.convert(source, Source) for source in section.sources]
    media = Media(
        allow_http=options.fetch_images,
        buckets=_image_buckets(ref, document, sources),
        folders=None if options.image_folders is None else tuple(map(parse_input_uri, options.image_folders)),
        closed=tuple(map(parse_input_uri, options.closed_folders)),
    )
    fetch = media.fetch
    encoder = encoder_for(model, document.endpoint, options.unsupported, options.invocation, fetch)
    writers: dict[InvocationType, ShardWriter] = {}

    def writer_for(invocation: InvocationType) -> ShardWriter:
        if invocation not in writers:
            padding = codec_of(model, invocation).padding()
            # Requests that need the other type of job go to shards of their own.
            suffix = "" if invocation == encoder.plain_invocation else "-other"
            writers[invocation] = ShardWriter(ref, range_, document, padding, invocation, suffix, open_object)
        return writers[invocation]

    index = Index()
    layout = read_layout(ref, range_)
    converter = Converter(document, encoder, writer_for, index, layout)
    bad_lines = BadLines(_invalid_lines(ref, range_) if section.invalid_lines else ())
    try:
        for segment in range_.segments:
            converter.segment(sources[segment.source], segment, bad_lines)
        if converter.requests != range_.requests:
            raise InputFileError(
                f"The input has changed since it was validated: {range_.name} should hold "
                f"{counted(range_.requests, 'request')} and holds {converter.requests:,}. Run the same call again."
            )
        for writer in writers.values():
            writer.close()
    except BaseException:
        for writer in writers.values():
            writer.abort()
        raise
    with open_object(index_object(ref, range_), ref.kms_key) as out:
        out.write(index.finish())
    shards = [shard for writer in writers.values() for shard in writer.shards]
    return Converted(range_.index, converter.requests, converter.rejected, shards, encoder.dropped.as_dict())


def _image_buckets(ref: BatchRef, document: BatchDocument, sources: list[Source]) -> set[str]:
    """The buckets of which requests may refer to objects: the worker may read others that their writer may not."""
    return {ref.root.bucket, *buckets_of(sources), *document.bedrock.options.image_buckets}


def _invalid_lines(ref: BatchRef, range_: Range) -> Iterator[InvalidLine]:
    """The bad lines within the range, in their order."""
    uri = ref.own("invalid.jsonl")
    first, last = range_.first_request, range_.first_request + range_.requests
    for block in read_lines(source_at(uri), limit=UNLIMITED):
        for line in block.lines:
            bad = msgspec.json.decode(line, type=InvalidLine)
            if bad.request >= last:
                return
            if bad.request >= first:
                yield bad


def _invalid_error(bad: InvalidLine) -> bytes:
    return encode_error(HttpError(400, bad.message, "invalid_request_error", bad.code, bad.param))


def _request_error(error: RequestError) -> bytes:
    return encode_error(HttpError(error.status, error.message, error_type(error.status), error.code, error.param))


@task(name="convert", task_run_name="convert-{range_.name}", **STAGE_OPTIONS)
def convert(ref: BatchRef, document: BatchDocument, range_: Range) -> Converted:
    """Convert one range of the input into records, and upload them with their index."""
    done = convert_range(ref, document, range_)
    release_memory()
    run_log().info(
        "Converted %s: %s into %s, %s rejected",
        range_.name,
        counted(done.requests, "request"),
        counted(sum(shard.records for shard in done.shards), "record"),
        f"{done.rejected:,}",
    )
    return done
