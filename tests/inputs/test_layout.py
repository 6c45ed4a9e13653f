"""What validation hands over to conversion: every line where it is, whatever the blocks and the cuts."""

import gzip
import json
import random
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tasks.batch.document import Segment
from tasks.bedrock.limits import Limits
from tasks.errors import InputFileError, PipelineError
from tasks.fast.line import FastEncoder
from tasks.fast.match import LineBlock
from tasks.inputs.layout import Layout, Stretch, read_layout, store_layout
from tasks.inputs.plan import plan_ranges
from tasks.inputs.summary import InputSummary
from tasks.storage.sources import find_sources
from tasks.validate import validate_input
from tests.builders import REF, range_of
from tests.conftest import chat, write_lines
from tests.fakes import Cloud

CHAT = frozenset({"/v1/chat/completions"})


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.storage.reader.BLOCK_BYTES", 4096)


def mixed_lines(count: int) -> list[str]:
    """Lines of two templates, odd ones, bad ones and blank ones."""
    rng = random.Random(5)
    lines = []
    for number in range(count):
        text = " ".join(rng.choices(["one", "two", "zwölf", "q\\uote", '"said"', "\n"], k=rng.randint(1, 9)))
        kind = rng.randint(0, 20)
        options = {"temperature": 0.5} if kind < 8 else {}
        line = json.dumps(chat(f"request-{number}", text or "x", **options), ensure_ascii=False)
        lines.append("{" if kind == 18 else "  " if kind == 19 else line + "\t" if number % 97 == 5 else line)
    return lines


def as_read(summary: InputSummary, layout: Layout, most: int) -> list[bytes]:
    """All lines of the ranges of so many requests, as the converter gets them; texts of those that fit are checked."""
    templates = layout.templates
    found: list[bytes] = []
    for range_ in plan_ranges(summary, Limits(max_records_per_job=most)):
        for segment in range_.segments:
            requests = 0
            for data, each in layout.read(summary.sources[segment.source], segment):
                if not isinstance(each, LineBlock):
                    lines = each
                else:
                    bounds = list(zip(each.starts.tolist(), each.ends.tolist(), strict=True))
                    lines = [data[start:end] for start, end in bounds]
                    check_bounds(data, each, lines, templates)
                requests += sum(bool(line.strip()) for line in lines)
                found += lines
            assert requests == segment.requests
    return found


def check_bounds(data: bytes, block: LineBlock, lines: list[bytes], templates: list) -> None:  # type: ignore[type-arg]
    ids = [data[start:end] for start, end in zip(*block.custom_ids(templates), strict=True)]
    for row, (line, shape, custom_id) in enumerate(zip(lines, block.shapes, ids, strict=True)):
        if not shape:
            assert custom_id == b""
            continue
        request, template = json.loads(line), templates[shape - 1]
        assert custom_id.decode() == request["custom_id"]
        slots = block.slots(np.array([row]), template)
        found = [data[int(start[0]) : int(end[0])] for start, end in (slots[slot] for slot in template.text_slots)]
        contents = [message["content"] for message in request["body"]["messages"]]
        assert [json.loads(b'"' + text + b'"') for text in found] == contents[-len(found) :]


@pytest.mark.parametrize("most", [7, 50, 10_000])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_line_arrives_once(tmp_path: Path, most: int, compressed: bool) -> None:
    lines = mixed_lines(600)
    data = ("\n".join(lines) + "\n").encode()
    folder = tmp_path / "in"
    folder.mkdir()
    name = folder / ("a.jsonl.gz" if compressed else "a.jsonl")
    name.write_bytes(gzip.compress(data) if compressed else data)
    (folder / "b.jsonl").write_bytes("\n".join(mixed_lines(90)[:80]).encode())
    summary = validate_input(str(folder), None, CHAT, tmp_path)
    assert len(summary.layout.templates) == 2
    found = as_read(summary, summary.layout, most)
    expected = [line.encode() for line in (*lines, *mixed_lines(90)[:80])]
    blank = [line for line in expected if not line.strip()]
    assert [line for line in found if line.strip()] == [line for line in expected if line not in blank]


def test_most_lines_fit(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", f"Question {n} of many") for n in range(2000)])
    layout = validate_input(str(path), None, CHAT, tmp_path).layout
    shapes = b"".join(stretch.shapes for stretch in layout.stretches)
    assert len(layout.stretches) > 10
    assert shapes == b"\x01" * 2000


@pytest.mark.parametrize("change", ["byte", "shorter"])
def test_a_changed_input_is_refused(tmp_path: Path, change: str) -> None:
    """Also where as many lines of the same length are left."""
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", f"Question {n}") for n in range(300)])
    summary = validate_input(str(path), None, CHAT, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Question 200", b'Q"estion 200') if change == "byte" else data[: len(data) // 2])
    with pytest.raises(InputFileError, match=r"in\.jsonl has changed since it was validated"):
        as_read(summary, summary.layout, 50)


def test_the_records_are_foreseen_exactly(tmp_path: Path) -> None:
    """The plan's sizes of lines that fit a template are the converter's own, to the byte."""
    from tasks.bedrock.models import parse_model

    encoder = FastEncoder(parse_model("anthropic.claude-haiku-4-5-20251001-v1:0"), "/v1/chat/completions", "error")
    lines = [json.dumps(chat(f"id-{n}", f"Question {n}" * (1 + n % 50))) for n in range(1500)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    total = sum(len(encoder.encode(line.encode()).model_inputs[0]) for line in lines)

    def sample(line: bytes, endpoint: str) -> tuple[int, int]:
        return 1, len(encoder.encode(line).model_inputs[0])

    summary = validate_input(str(path), None, CHAT, tmp_path, sample)
    assert find_sources(str(path)) == summary.sources
    assert (summary.records, summary.record_bytes) == (1500, total)


def test_cuts_lie_between_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", mixed_lines(400))
    summary = validate_input(str(path), None, CHAT, tmp_path)
    segments = [
        segment for range_ in plan_ranges(summary, Limits(max_records_per_job=30)) for segment in range_.segments
    ]
    assert len(segments) > 10
    assert all(left.end == right.start for left, right in pairwise(segments))


def test_stretches_of_a_segment_are_those_it_has_bytes_of() -> None:
    stretches = [Stretch(0, 0, 10, 0), Stretch(0, 10, 10, 1), Stretch(0, 20, 10, 2), Stretch(1, 10, 10, 3)]

    def digests(source: int, start: int, end: int) -> list[int]:
        segment = Segment(source=source, start=start, end=end, first_request=0, first_line=1, requests=1)
        return [each.digest for each in Layout([], stretches).within(segment)]

    assert digests(0, 10, 20) == [1]
    assert digests(0, 9, 21) == [0, 1, 2]
    assert digests(0, 0, 10) == [0]
    assert digests(1, 0, 100) == [3]


@pytest.mark.parametrize("most", [255, 256])
def test_sizes_of_slots_are_kept_whatever_they_are(most: int) -> None:
    starts, ends = np.array([0, 400]), np.array([399, 799])
    block = LineBlock(starts, ends, np.array([1, 1], dtype=np.uint8), np.array([[3, most], [0, 1]]))
    layout = Layout([], [])
    layout.add(0, 0, b"x" * 800, block)
    found = layout.stretches[0].block()
    assert found is not None
    assert found.sizes.tolist() == [[3, most], [0, 1]]
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 400], [399, 799])


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_lines_of_a_block_that_was_held_against_nothing(tmp_path: Path, end: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"a\n\nb" + end.encode())
    (source,) = find_sources(str(tmp_path / "in.jsonl"))
    layout, size = Layout([], []), 4 + len(end)
    layout.add(0, 0, (tmp_path / "in.jsonl").read_bytes(), None)
    segment = Segment(source=0, start=0, end=size, first_request=0, first_line=1, requests=2)
    ((_, lines),) = layout.read(source, segment)
    assert lines == [b"a", b"", b"b", *([b""] if end == "\n\n" else [])]


def test_a_range_has_its_own_layout_encrypted_as_the_batch_is(cloud: Cloud) -> None:
    keyed, range_ = msgspec.structs.replace(REF, kms_key="key"), range_of()
    store_layout(keyed, [range_], Layout([], [Stretch(0, 0, 1, 5), Stretch(0, 1, 9, 6), Stretch(1, 0, 1, 7)]))
    ((key, stored),) = cloud.s3.objects.items()
    assert stored.options["SSEKMSKeyId"] == "key"
    assert read_layout(keyed, range_).stretches == [Stretch(0, 0, 1, 5)]
    cloud.s3.put(key, b"\x90")
    with pytest.raises(PipelineError, match="another version wrote it"):
        read_layout(keyed, range_)


def test_a_range_over_two_files_has_the_stretches_of_both(cloud: Cloud) -> None:
    first, second = (Segment(source=n, start=0, end=9, first_request=n, first_line=1, requests=1) for n in (0, 1))
    range_ = range_of().model_copy(update={"segments": [first, second]})
    stretches = [Stretch(0, 0, 9, 5), Stretch(1, 0, 9, 6), Stretch(2, 0, 9, 7)]
    store_layout(REF, [range_], Layout([], stretches))
    assert read_layout(REF, range_).stretches == stretches[:2]
