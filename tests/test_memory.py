"""Memory per request stays a few dozen bytes, also where every line is bad or every custom_id is there twice.

Two inputs of the same kind are compared, one twice as long: what the longer one takes more at its peak is what
its requests take. Blocks are small here, so that what belongs to one block is the same for both.
"""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.batch.document import BatchDocument, BedrockSection, Range, Segment
from tasks.batch.paths import BatchRef
from tasks.bedrock.models import parse_model
from tasks.convert import Converter, _invalid_lines
from tasks.fast.line import FastEncoder
from tasks.inputs.summary import BadLines, InputSummary
from tasks.openai_format.requests import CHAT
from tasks.shards.index import Index
from tasks.storage import reader
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri
from tasks.validate import Validator
from tests.conftest import CLAUDE, chat

FEW, MANY = 12_000, 24_000
MOST_BYTES = 100


def line(kind: str, number: int, count: int) -> str:
    same = {"pairs": number // 2, "far": number % (count // 2), "one": 0, "three": number % (count // 3)}
    request = chat(f"request-{same.get(kind, number):09d}", f"What is {number}?")
    if kind == "bad method":
        request["method"] = "GET"
    if kind == "long id":
        request |= {"custom_id": "x" * 300 + str(number), "method": "GET"}
    if kind == "no JSON":
        return f'{{"custom_id": "request-{number}"'
    return "{}" if kind == "tiny" else json.dumps(request)


def write(path: Path, kind: str, count: int) -> Path:
    path.write_text("".join(line(kind, number, count) + "\n" for number in range(count)))
    return path


def peak(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1 << 16)


def validated(path: Path, folder: Path) -> InputSummary:
    return Validator(CHAT, frozenset({CHAT})).run(find_sources(str(path)), folder)


@pytest.mark.parametrize("kind", ["good", "pairs", "far", "three", "one", "bad method", "long id", "no JSON", "tiny"])
def test_validation(kind: str, tmp_path: Path) -> None:
    few, many = write(tmp_path / "few", kind, FEW), write(tmp_path / "many", kind, MANY)
    # What is imported and cached on the way is nobody's.
    validated(write(tmp_path / "first", kind, 100), tmp_path)
    each = (peak(lambda: validated(many, tmp_path)) - peak(lambda: validated(few, tmp_path))) / (MANY - FEW)
    assert each < MOST_BYTES, f"{each:.0f} bytes a request"


@pytest.mark.parametrize("kind", ["pairs", "one", "bad method", "long id", "no JSON", "tiny"])
def test_conversion_of_bad_lines(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = []
    for count in (100, FEW, MANY):
        path = write(tmp_path / "in", kind, count)
        summary = validated(path, tmp_path)
        assert summary.invalid_file is not None
        rejected = peak(lambda path=path, summary=summary: _convert(path, summary, monkeypatch))  # type: ignore[misc]
        peaks.append(rejected)
    # The index, with each request's error, is compressed in memory: it is what stays of a request.
    each = (peaks[2] - peaks[1]) / (MANY - FEW)
    assert each < MOST_BYTES, f"{each:.0f} bytes a request"


def _convert(path: Path, summary: InputSummary, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = summary.sources
    segment = Segment(
        source=0, start=0, end=path.stat().st_size, first_request=0, first_line=1, requests=summary.requests
    )
    range_ = Range(index=0, segments=[segment])
    limits = {"max_records_per_job": 50_000, "max_bytes_per_file": 1 << 30, "min_records_per_job": 0, "max_jobs": 1}
    document = BatchDocument(
        id="b",
        endpoint=CHAT,
        input_file_id="i",
        completion_window="24h",
        status="validating",
        created_at=1,
        bedrock=BedrockSection(model=CLAUDE, family="x", options={}, limits=limits),
    )
    index, encoder = Index(), FastEncoder(parse_model(CLAUDE), CHAT, "error")
    ref = BatchRef(S3Uri("bucket", "prefix"), "b")
    monkeypatch.setattr("tasks.convert.source_at", lambda _: find_sources(str(summary.invalid_file))[0])
    shard = _Nowhere()
    converter = Converter(document, encoder, lambda _: shard, index, summary.layout)  # type: ignore[arg-type,return-value]
    converter.segment(source, segment, BadLines(_invalid_lines(ref, range_)))
    assert converter.rejected == summary.invalid
    index.finish()


class _Nowhere:
    """A shard that keeps nothing."""

    current = "00000"

    def add(self, records: int, data: bytes) -> None:
        pass

    def room(self, sizes: Any) -> int:
        return len(sizes)

    def close(self) -> None:
        pass


def test_bad_lines_are_held_as_long_as_they_are_needed() -> None:
    from tasks.inputs.summary import InvalidLine

    taken = []

    def lines() -> Iterator[InvalidLine]:
        for request in (2, 3, 5, 8, 13, 21):
            taken.append(request)
            yield InvalidLine(request, request + 1, "f", "c", "m", None, None)

    bad = BadLines(lines())
    assert list(bad.within(0, 3)) == [2]
    assert taken == [2, 3], "one ahead"
    assert list(bad.within(2, 6)) == [2, 3, 5], "those that were asked for before, too"
    assert list(bad.within(9, 14)) == [13], "a range may begin anywhere"
    assert list(bad.within(14, 100)) == [21]
    assert list(BadLines(()).within(0, 10)) == []
