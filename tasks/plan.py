"""How an input is cut into ranges, one per worker and job, within Bedrock's limits. Pure."""

from bisect import bisect_right
from itertools import pairwise

from tasks.bedrock.limits import Limits
from tasks.state import Range, Segment
from tasks.summary import InputSummary

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
        source = bisect_right(summary.source_starts, first) - 1
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
