"""The cuts: as few ranges as the limits allow, even ones, and none that the estimate makes overflow."""

from array import array
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from tasks.bedrock.limits import Limits
from tasks.codecs.encoder import Encoder
from tasks.inputs.plan import plan_ranges, size_sampler
from tests.builders import call, summary
from tests.fakes import Cloud


def planned(
    requests: int, *, files: int = 1, limits: Limits, **fields: Any
) -> list[list[tuple[int, int, int, int, int]]]:
    """The segments of each range: source, bytes, first request, and how many; a line is a byte."""
    each = requests // files
    starts = [*range(0, each * files, each), requests] if requests else [0, 0]
    sizes = [b - a for a, b in pairwise(starts)]
    offsets = array("q", [place for size in sizes for place in range(size)])
    read = summary(
        requests=requests,
        offsets=offsets,
        lines=array("q", [o + 1 for o in offsets]),
        source_starts=starts,
        source_bytes=sizes,
        **{"records": requests, "record_bytes": requests, **fields},
    )
    ranges = plan_ranges(read, limits, 3)
    assert [range_.index for range_ in ranges] == list(range(len(ranges)))
    assert {range_.epoch for range_ in ranges} == {3}
    return [[(s.source, s.start, s.end, s.first_request, s.requests) for s in range_.segments] for range_ in ranges]


def sizes(ranges: list[list[tuple[int, int, int, int, int]]]) -> list[int]:
    return [sum(segment[4] for segment in segments) for segments in ranges]


@pytest.mark.parametrize(
    ("requests", "records", "most", "expected"),
    [
        (100, 100, 100, [100]),
        (101, 101, 100, [50, 51]),
        (1000, 1000, 300, [250] * 4),
        (100, 300, 100, [33, 33, 34]),
        (3, 900, 100, [1] * 3),
        (1, 500, 100, [1]),
        (100, 0, 100, [100]),
    ],
)
def test_even_cuts_by_records(requests: int, records: int, most: int, expected: list[int]) -> None:
    assert sizes(planned(requests, records=records, limits=Limits(max_records_per_job=most))) == expected


@pytest.mark.parametrize(
    ("record_bytes", "ranges"), [(980, 1), (982, 2), (1000, 2), (2000, 3), (3000, 4), (1960, 2), (0, 1)]
)
def test_there_is_room_for_the_estimate_to_be_wrong(record_bytes: int, ranges: int) -> None:
    """Of an estimate that is exactly k times the limit, k files would have a tail each."""
    assert len(planned(100, record_bytes=record_bytes, limits=Limits(max_bytes_per_file=1000))) == ranges


def test_ranges_go_over_files_and_files_over_ranges() -> None:
    assert planned(90, files=3, limits=Limits(min_records_per_job=1, max_records_per_job=45)) == [
        [(0, 0, 30, 0, 30), (1, 0, 15, 30, 15)],
        [(1, 15, 30, 45, 15), (2, 0, 30, 60, 30)],
    ]
    assert planned(10, limits=Limits(min_records_per_job=1, max_records_per_job=4)) == [
        [(0, 0, 3, 0, 3)],
        [(0, 3, 6, 3, 3)],
        [(0, 6, 10, 6, 4)],
    ]


@pytest.mark.parametrize(
    ("url", "fetch_images", "records"),
    [
        (None, False, 1),
        ("s3://bucket/a.png", False, 1),
        ("https://example.com/a.png", True, 1),
        # What conversion refuses is not planned for.
        ("https://example.com/a.png", False, 0),
    ],
)
def test_what_a_line_becomes_without_its_images(
    cloud: Cloud, url: str | None, fetch_images: bool, records: int
) -> None:
    parts: list[Any] = [{"type": "text", "text": "What is this?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}}] if url else []
    line = msgspec.json.encode({"custom_id": "a", "body": {"messages": [{"role": "user", "content": parts}]}})
    found, size = size_sampler(call(fetch_images=fetch_images))(line, "/v1/chat/completions")
    assert found == records
    assert 0 < size < 1000 if records else size == 0


def test_a_segment_begins_at_its_own_line() -> None:
    """Blank lines count as lines, and as no requests."""
    read = summary(requests=4, offsets=array("q", [0, 5, 20, 30]), lines=array("q", [1, 3, 8, 9]), records=4,
                   source_starts=[0, 4], source_bytes=[40])  # fmt: skip
    ranges = plan_ranges(read, Limits(min_records_per_job=1, max_records_per_job=2))
    assert [(s.first_line, s.start, s.end) for range_ in ranges for s in range_.segments] == [(1, 0, 20), (8, 20, 40)]


@pytest.mark.parametrize("invocation", ["InvokeModel", "Converse"])
def test_what_a_line_becomes_is_measured_as_it_is_sent(cloud: Cloud, invocation: str) -> None:
    """The record with its id, for the type of job that was asked for; each of several."""
    line = msgspec.json.encode({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "Hi"}], "n": 3}})
    resolved = call(invocation=invocation)
    model_inputs = Encoder(resolved.model, "/v1/chat/completions", "error", invocation).encode(line).model_inputs  # type: ignore[arg-type]
    written = sum(len(b'{"recordId":"r000000000","modelInput":%b}\n' % each) for each in model_inputs)
    assert size_sampler(resolved)(line, "/v1/chat/completions") == (3, written)


def test_what_is_refused_is_not_planned_for_unless_it_is_left_out(cloud: Cloud) -> None:
    line = msgspec.json.encode({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}], "seed": 1}})
    assert size_sampler(call())(line, "/v1/chat/completions") == (0, 0)
    assert size_sampler(call(unsupported="drop"))(line, "/v1/chat/completions")[0] == 1
