"""How an input is cut into ranges, one per worker and job, within Bedrock's limits. Pure."""

import base64
from collections.abc import Callable
from itertools import pairwise

from tasks.batch.document import Range, Segment
from tasks.batch.options import ResolvedCall
from tasks.bedrock.limits import Limits
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tasks.fast.line import encoder_for
from tasks.inputs.summary import InputSummary

#: Stands for an image that is not read yet: one pixel.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


#: What a record adds around its modelInput: recordId, keys, braces and the line end.
_RECORD_OVERHEAD = len(b'{"recordId":"r000000000","modelInput":}\n')


def size_sampler(call: ResolvedCall) -> Callable[[bytes, str], tuple[int, int]]:
    """A function that tells how many records, and of how many bytes, a line becomes: for planning the shards.

    It fetches nothing: a record is counted without the images that conversion will put into it.
    """
    options, encoders = call.options, dict[str, Encoder]()

    def fetch(url: str) -> bytes:
        if url.startswith("s3://") or options.fetch_images:
            return _PIXEL
        raise RequestError("a batch job fetches nothing.")

    def size(line: bytes, endpoint: str) -> tuple[int, int]:
        if endpoint not in encoders:
            encoders[endpoint] = encoder_for(call.model, endpoint, options.unsupported, options.invocation, fetch)
        try:
            model_inputs = encoders[endpoint].encode(line).model_inputs
            size = sum(len(model_input) + _RECORD_OVERHEAD for model_input in model_inputs)
            return len(model_inputs), size
        except RequestError:
            return 0, 0

    return size


#: Room for the estimate of converted bytes to be wrong; a shard that overflows all the same is split.
_BYTES_MARGIN = 1.02


def plan_ranges(summary: InputSummary, limits: Limits, epoch: int = 1) -> list[Range]:
    """Cut the input into as few ranges as the limits allow, all of nearly the same number of requests.

    An even cut leaves no tail below a job's minimum, unless the whole input is.
    """
    # A request may become many records, or none; a range of more records than a job takes is cut again.
    by_records = -(-summary.records // limits.max_records_per_job)
    by_bytes = -(-int(summary.record_bytes * _BYTES_MARGIN) // limits.max_bytes_per_file)
    count = max(1, min(max(by_records, by_bytes), summary.requests))
    cuts = [summary.requests * part // count for part in range(count + 1)]
    return [
        Range(index=index, segments=_segments(summary, first, last), epoch=epoch)
        for index, (first, last) in enumerate(pairwise(cuts))
    ]


def _segments(summary: InputSummary, first: int, last: int) -> list[Segment]:
    """Requests `first` to `last` (exclusive), source by source."""
    segments = []
    while first < last:
        source = summary.source_of(first)
        end = min(last, summary.source_starts[source + 1])
        at_source_end = end == summary.source_starts[source + 1]
        segments.append(
            Segment(
                source=source,
                start=summary.offsets[first],
                end=summary.source_bytes[source] if at_source_end else summary.offsets[end],
                first_request=first,
                first_line=summary.lines[first],
                requests=end - first,
            )
        )
        first = end
    return segments
