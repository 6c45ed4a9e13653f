"""Validation at the level of one file: duplicates, offsets, and the first thousand errors."""

import contextlib
import gzip
import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bedrock.limits import Limits
from tasks.errors import ConfigurationError, InputFileError
from tasks.fast.match import Templates
from tasks.inputs.plan import plan_ranges
from tasks.inputs.summary import InputSummary
from tasks.openai_format.requests import MAX_LINE_BYTES, LineError, check_line
from tasks.validate import Validator, read_input, validate, validate_input
from tests.conftest import chat, write_lines
from tests.occurring import happened, occurring

CHAT = frozenset({"/v1/chat/completions"})


def test_duplicates_are_found_among_many(tmp_path: Path) -> None:
    ids = [f"id-{i}" for i in range(30_000)] + ["id-7", "id-29999", "id-7"]
    random.Random(3).shuffle(ids)
    path = write_lines(tmp_path / "in.jsonl", [chat(custom_id) for custom_id in ids])
    summary = validate_input(str(path), None, CHAT, tmp_path)
    seen: set[str] = set()
    expected = []
    for line, custom_id in enumerate(ids, 1):
        if custom_id in seen:
            expected.append((line, custom_id))
        seen.add(custom_id)
    assert [(bad.line, bad.custom_id) for bad in summary.first_invalid] == expected
    assert summary.codes == {"duplicate_custom_id": 3}


def test_all_bad_lines_are_in_the_file_in_order(tmp_path: Path) -> None:
    lines = [chat(f"id-{i % 1000}") if i % 3 else "{" for i in range(5000)]
    summary = validate_input(str(write_lines(tmp_path / "in.jsonl", lines)), None, CHAT, tmp_path)
    assert summary.invalid_file is not None
    numbers = [json.loads(line)["line"] for line in summary.invalid_file.read_text().splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) == summary.invalid == sum(summary.codes.values())
    assert len(summary.first_invalid) == 1000
    assert [bad.line for bad in summary.first_invalid] == numbers[:1000]


@occurring(one=5, several=40, uneven=20)
@settings(max_examples=200)
@given(requests=st.integers(1, 3000), most=st.integers(1, 700))
def test_the_cut_is_even(requests: int, most: int) -> None:
    class Summary:
        records = requests
        record_bytes = requests * 100
        offsets = list(range(0, requests * 10, 10))
        lines = list(range(1, requests + 1))
        source_starts = [0, requests // 3, requests]
        source_bytes = [10 * (requests // 3), 10 * requests]
        source_of: Any = classmethod(InputSummary.source_of)  # type: ignore[arg-type]

    Summary.requests = requests  # type: ignore[attr-defined]
    ranges = plan_ranges(Summary, Limits(max_records_per_job=most))  # type: ignore[arg-type]
    sizes = [range_.requests for range_ in ranges]
    assert sum(sizes) == requests
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    happened("one" if len(sizes) == 1 else "several")
    happened("uneven", len(set(sizes)) > 1)
    assert [range_.first_request for range_ in ranges] == [sum(sizes[:i]) for i in range(len(sizes))]


@occurring(json=200, object=100, named=1)
@settings(max_examples=1000)
@given(
    line=st.binary(max_size=80)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["custom_id", "method", "url", "body", "model", "messages", "x"]), inner, max_size=5
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_line_raises_anything_else(line: bytes) -> None:
    with pytest.raises(LineError) as caught:
        check_line(line, None, CHAT, None)
    happened("json", caught.value.code != "invalid_json_line" or "not a JSON object" in str(caught.value))
    happened("object", line.startswith(b"{"))
    happened("named", caught.value.custom_id)


@pytest.mark.parametrize(
    ("line", "param", "message"),
    [
        ('{"custom_id": 3, "body": {"temperature": 1e999}}', "body.temperature", "number"),
        ("[1]", None, "not a JSON object"),
        ('{"custom_id": "a", "body": {"messages": [{"content": "\\ud83d"}]}}', "body.messages[0].content", "surrogate"),
        ('{"custom_id": "a", "body": {"n": NaN}}', "body.n", "number"),
        ('{"custom_id": "a", ', None, "not parseable"),
    ],
)
def test_what_is_no_json_is_named(line: str, param: str | None, message: str) -> None:
    with pytest.raises(LineError, match=message) as caught:
        check_line(line.encode(), None, CHAT, None)
    assert (caught.value.code, caught.value.param) == ("invalid_json_line", param)


def test_deep_nesting_is_a_bad_line() -> None:
    for line in (b"[" * 100_000, b'{"custom_id":"x","body":' + b'{"a":' * 5000 + b"1" + b"}" * 5001):
        with pytest.raises(LineError):
            check_line(line, None, CHAT, None)


def test_the_limit_of_a_line_holds_for_lines_that_fit_a_template_too(tmp_path: Path) -> None:
    """A line that ends within the block in which it passes the limit arrives whole."""
    around = len(json.dumps(chat("long", "", max_tokens=5)))
    for size, codes in ((MAX_LINE_BYTES, {}), (MAX_LINE_BYTES + 1, {"request_too_large": 1})):
        lines = [chat("long", "x" * (size - around), max_tokens=5)]
        lines += [chat(f"id-{n}", f"Question {n}", max_tokens=5) for n in range(40)]
        data = "\n".join(map(json.dumps, lines)).encode() + b"\n"
        (tmp_path / "in.jsonl").write_bytes(data)
        assert data.index(b"\n") == size
        summary = validate_input(str(tmp_path / "in.jsonl"), None, CHAT, tmp_path)
        assert summary.codes == codes
        assert [bad.custom_id for bad in summary.first_invalid] == ["long"] * len(codes)
        assert sum(shape > 0 for stretch in summary.layout.stretches for shape in stretch.shapes) >= 40


FIRST = [
    # No template is learned of it, and it is valid.
    {
        **chat("first", seed=1),
        "body": {"model": "other", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    },
    {"custom_id": "first", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "x"}},
    {"custom_id": "first", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}},
    {
        "custom_id": "first",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": [{"role": "assistant", "content": "x"}]},
    },
    # These say nothing, as they are not valid.
    {"custom_id": "", "method": "POST", "url": "/v1/completions", "body": {"model": "other", "prompt": "x"}},
    {"custom_id": "first", "method": "GET", "url": "/v1/chat/completions", "body": {"model": "other", "messages": [1]}},
]


@pytest.mark.parametrize("second", [None, *FIRST])
@pytest.mark.parametrize("first", FIRST)
def test_the_first_valid_line_settles_endpoint_and_model(
    first: Any, second: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [first, *([second] if second else []), *(chat(f"id-{n}", f"Question {n}") for n in range(50))]
    path = str(write_lines(tmp_path / "in.jsonl", lines))
    served = frozenset({"/v1/chat/completions", "/v1/completions"})

    def found() -> Any:
        summary = validate_input(path, None, served, tmp_path)
        return summary.endpoint, [(bad.line, bad.code) for bad in summary.first_invalid]

    fast = found()
    monkeypatch.setattr(Templates, "find", lambda *_: None)
    assert fast == found()


# What is counted, and of which lines


class Seen:
    """Stands for a sampler and a survey: which requests either was shown, and for how many each of these stands."""

    def __init__(self) -> None:
        self.sampled: list[str] = []
        self.surveyed: list[tuple[int, str, str, int]] = []

    def sample(self, line: bytes, endpoint: str) -> tuple[int, int]:
        assert endpoint == "/v1/chat/completions"
        self.sampled.append(json.loads(line)["custom_id"])
        return 3, 2 * len(line)

    def add(self, line: bytes, endpoint: str, number: int, file: str, weight: int) -> None:
        self.surveyed.append((int(json.loads(line)["custom_id"]), endpoint, file, weight))
        assert number == int(json.loads(line)["custom_id"]) + 2, "the first line of the file is a blank one"

    def clear(self) -> None:
        self.surveyed.clear()


def alike(count: int) -> list[Any]:
    return ["", *(chat(f"{n:04d}", f"Question {n:04d}") for n in range(count))]


def unlike(count: int) -> list[Any]:
    """No two lines fit one template."""
    return ["", *(chat(f"{n:04d}", "?", max_tokens=1000 + n) for n in range(count))]


@pytest.mark.parametrize("lines", [alike, unlike])
def test_the_first_requests_are_looked_at_and_of_the_others_one_in_so_many(
    tmp_path: Path, lines: Callable[[int], list[Any]]
) -> None:
    seen = Seen()
    seen.surveyed = [(7, "", "", 1)]
    path = write_lines(tmp_path / "in.jsonl", lines(800))
    surveys: Any = [seen]
    summary = validate_input(str(path), None, CHAT, tmp_path, seen.sample, surveys, 100)
    # What an earlier try of the stage saw is forgotten.
    looked_at = [*((n, 1) for n in range(500)), (500, 100), (600, 100), (700, 100)]
    assert seen.surveyed == [(n, "/v1/chat/completions", "in.jsonl", weight) for n, weight in looked_at]
    if lines is unlike:
        assert seen.sampled == [f"{n:04d}" for n in (*range(500), 512, 640, 768)]
    else:
        assert seen.sampled == ["0000"], "those of a template are told from its own line"
    assert summary.records == 2400
    size = len(json.dumps(lines(1)[1]))
    expected = 2 * 800 * size if lines is unlike else 800 * (2 * size - 3 * 13 + 3 * 13)
    assert summary.record_bytes == expected


def test_how_many_are_looked_at_where_nobody_says(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", alike(800))
    seen = Seen()
    surveys: Any = [seen]
    validate_input(str(path), None, CHAT, tmp_path, None, surveys)
    assert [entry[::3] for entry in seen.surveyed[500:]] == [(512, 128), (640, 128), (768, 128)]
    summary = read_input(str(path), None, CHAT, None, surveys)
    assert [entry[::3] for entry in seen.surveyed[500:]] == [(512, 128), (640, 128), (768, 128)]
    shutil.rmtree(summary.work)


def test_without_a_sample_a_request_is_a_record_of_its_size(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [*unlike(30), "{"])
    summary = validate_input(str(path), None, CHAT, tmp_path)
    assert (summary.requests, summary.valid, summary.records) == (31, 30, 30)
    assert summary.record_bytes == 30 * len(json.dumps(unlike(1)[1]))


def test_a_part_of_a_record_is_one_more(tmp_path: Path) -> None:
    """Of those that were looked at, one in two becomes two records."""
    path = write_lines(tmp_path / "in.jsonl", unlike(503))
    sizes = iter([2, 1] * 1000)
    summary = validate_input(str(path), None, CHAT, tmp_path, lambda line, _: (next(sizes), len(line)))
    assert summary.records == 755


def test_duplicates_never_make_it_fewer_records_than_requests(tmp_path: Path) -> None:
    """Those that fit a template are counted before they are known to be duplicates; the others become many records."""
    lines = [*(chat(f"{n % 7:04d}", f"Question {n}") for n in range(10)), chat("many", "?", n=50)]
    summary = validate_input(
        str(write_lines(tmp_path / "in.jsonl", lines)),
        None,
        CHAT,
        tmp_path,
        lambda line, _: (50 if b"many" in line else 1, 9),
    )
    assert summary.valid == 8
    assert summary.records >= 8


def test_files_side_by_side_are_counted_as_one_and_named_apart(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first, second = [chat("a"), "{", chat("b")], [chat("a"), "[]", chat("c", "x" * 500)]
    write_lines(folder / "a.jsonl", first)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in second) + "\n"
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    summary = validate_input(str(folder), None, CHAT, tmp_path)
    assert (summary.requests, summary.invalid) == (6, 3)
    assert [(bad.file, bad.line, bad.code) for bad in summary.first_invalid] == [
        ("a.jsonl", 2, "invalid_json_line"),
        ("b.jsonl.gz", 1, "duplicate_custom_id"),
        ("b.jsonl.gz", 2, "invalid_json_line"),
    ]
    assert {(cause.file, cause.first_line) for cause in summary.causes} == {
        ("a.jsonl", 2),
        ("b.jsonl.gz", 1),
        ("b.jsonl.gz", 2),
    }
    assert summary.source_starts == [0, 3, 6]
    assert summary.source_bytes == [(folder / "a.jsonl").stat().st_size, len(text)], "of what it holds, not of the file"


def test_where_one_file_ends_and_the_next_begins_is_part_of_the_content(tmp_path: Path) -> None:
    """The result table names the file of each request: the same lines cut otherwise are another batch."""
    digests = set()
    for cut in (1, 2, 3):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        lines = [chat(f"id-{n}") for n in range(4)]
        write_lines(folder / "a.jsonl", lines[:cut])
        write_lines(folder / "b.jsonl", lines[cut:])
        digests.add(validate_input(str(folder), None, CHAT, tmp_path).digest)
    assert len(digests) == 3


def test_a_bad_line_keeps_its_custom_id_and_is_nobodys_duplicate(tmp_path: Path) -> None:
    wrong = {**chat("twice"), "url": "/v1/nothing"}
    path = write_lines(tmp_path / "in.jsonl", [wrong, wrong, chat("x" * 300), chat("twice"), chat("x" * 300)])
    found = [
        (bad.line, bad.code, bad.custom_id) for bad in validate_input(str(path), None, CHAT, tmp_path).first_invalid
    ]
    assert found == [
        (1, "invalid_url", "twice"),
        (2, "invalid_url", "twice"),
        (5, "duplicate_custom_id", "x" * 300),
    ]


def test_a_byte_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(json.dumps(chat("a")).encode() + b'\n{"custom_id":"b\xff"}\n')
    (bad,) = validate_input(str(path), None, CHAT, tmp_path).first_invalid
    assert (bad.line, bad.code) == (2, "invalid_json_line")
    assert "not valid UTF-8 (byte 16)" in bad.message


def test_an_empty_file_and_a_healthy_one(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n \n")
    empty = validate_input(str(path), None, CHAT, tmp_path)
    assert (empty.codes, [error.code for error in empty.errors()]) == ({"empty_file": 1}, ["empty_file"])
    healthy = validate_input(str(write_lines(path, [chat("a")])), "/chat/completions/", CHAT, tmp_path)
    assert (healthy.codes, healthy.invalid_file, healthy.endpoint) == ({}, None, "/v1/chat/completions")


def test_a_file_is_mistaken_where_it_begins_so_however_few_lines_are_bad(tmp_path: Path) -> None:
    good = [chat(f"r{n}") for n in range(4)]
    joined = json.dumps(chat("x")) + json.dumps(chat("y"))
    summary = validate_input(str(write_lines(tmp_path / "in.jsonl", [joined, *good])), None, CHAT, tmp_path)
    assert "without line ends between them" in (summary.mistake or "")
    summary = validate_input(str(write_lines(tmp_path / "in.jsonl", [*good, "{"])), None, CHAT, tmp_path)
    assert summary.mistake is None


def test_the_file_that_is_mistaken_is_looked_at(tmp_path: Path) -> None:
    """Not the first of them, which is a good one."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_lines(folder / "a.jsonl", [chat("r")])
    write_lines(folder / "b.jsonl", [{"messages": [{"role": "user", "content": "x"}]}] * 3)
    summary = validate_input(str(folder), None, CHAT, tmp_path)
    assert "bare chat bodies" in (summary.mistake or "")
    assert "b.jsonl" in (summary.mistake or "")


def test_progress_is_in_bytes_of_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[Any, ...]] = []
    done: list[int] = []

    @contextlib.contextmanager
    def stage(*given: Any) -> Iterator[None]:
        stages.append(given)
        yield

    monkeypatch.setattr("tasks.validate.stage", stage)
    monkeypatch.setattr("tasks.validate.advance", done.append)
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}") for n in range(20)])
    validate_input(str(path), None, CHAT, tmp_path)
    size = path.stat().st_size
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    validate_input(str(tmp_path / "in.jsonl.gz"), None, CHAT, tmp_path)
    assert stages == [("checking", size, "bytes"), ("checking", None, "bytes")]
    assert sum(done) == 2 * size


@pytest.mark.parametrize("switch", ["0", "1"])
@pytest.mark.parametrize("size", [1, 8, 255, 256, 300])
def test_duplicates_of_any_length_are_found_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str, size: int
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", switch)
    lines = [chat(text * size) for text in "abcab"]
    found = validate_input(str(write_lines(tmp_path / "in.jsonl", lines)), None, CHAT, tmp_path)
    assert [(bad.line, bad.custom_id) for bad in found.first_invalid] == [(4, "a" * size), (5, "b" * size)]


@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_short_cuts_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", switch)
    path = write_lines(tmp_path / "in.jsonl", alike(50))
    assert len(validate_input(str(path), None, CHAT, tmp_path).layout.templates) == int(switch)


def test_memory_for_bad_lines_is_bounded_within_a_block_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spills: list[int] = []
    spill = Validator._spill

    def counted(self: Validator) -> None:
        spills.append(len(self.invalid))
        spill(self)

    monkeypatch.setattr(Validator, "_spill", counted)
    summary = validate_input(str(write_lines(tmp_path / "in.jsonl", ["{"] * 2500)), None, CHAT, tmp_path)
    assert (summary.invalid, spills) == (2500, [1000, 1000, 500])


# Where its files go, and what is said


def test_what_cannot_be_read_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    monkeypatch.setattr("tasks.validate.scratch_folder", lambda: work.mkdir() or work)  # type: ignore[func-returns-value]
    with pytest.raises(InputFileError):
        read_input(str(tmp_path / "none.jsonl"), None, CHAT)
    assert not work.exists()
    path = write_lines(tmp_path / "in.jsonl", [chat("a")])
    assert read_input(str(path), None, CHAT).work == work


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat("a")])
    with pytest.raises(ConfigurationError, match="Temporary files cannot be kept"):
        validate_input(str(path), None, CHAT, tmp_path / "gone")


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize(("on_invalid", "outcome"), [("fail", "the batch fails"), ("skip", "for the error file")])
def test_bad_lines_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, on_invalid: Any, outcome: str
) -> None:
    caplog.set_level(logging.INFO)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.validate.create_table_artifact", lambda **given: made.append(given))
    monkeypatch.setattr("tasks.validate.scratch_folder", lambda: tmp_path)
    # Seven mistakes, each made less often than the one before.
    wrong: list[dict[str, Any]] = [
        {"custom_id": ""},
        {"method": "GET"},
        {"url": "/v1/nothing"},
        {"url": 7},
        {"method": None},
        {"body": []},
        {"body": {}},
    ]
    lines: list[Any] = [chat("good")]
    for kind, fields in enumerate(wrong):
        lines += [{**chat(f"bad-{kind}-{n}"), **fields} for n in range(30 - kind)]
    summary = validate(str(write_lines(tmp_path / "a_b.jsonl", lines)), None, CHAT, None, on_invalid)
    assert summary.invalid == 189
    (artifact,) = made
    assert artifact["key"] == "invalid-lines"
    assert len(artifact["table"]) == 100
    assert artifact["table"][0] == {
        "file": "a\\_b.jsonl",
        "line": 2,
        "code": "missing\\_required\\_parameter",
        "param": "custom\\_id",
        "message": "'custom\\_id' must not be empty.",
    }
    assert artifact["description"].startswith(f"189 bad lines ({outcome}). 30 lines")
    assert "and 2 more causes" in artifact["description"]
    assert artifact["description"].endswith(". The first 100 are shown.")
    assert caplog.messages[0] == "Checked a_b.jsonl: 190 requests, 189 bad lines"
    assert [message.partition(":")[0] for message in caplog.messages[1:]] == [
        *(f"{30 - kind} lines" for kind in range(5)),
        "and 2 more causes",
    ]
    assert [record.levelname for record in caplog.records] == ["INFO", *["WARNING"] * 6]


@pytest.mark.usefixtures("without_prefect")
def test_a_mistake_is_said_first_and_a_healthy_input_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.validate.create_table_artifact", lambda **given: made.append(given))
    monkeypatch.setattr("tasks.validate.scratch_folder", lambda: tmp_path)
    seen = Seen()
    write_lines(tmp_path / "a.jsonl", alike(700))
    write_lines(tmp_path / "b.jsonl", [chat("other")])
    surveys: Any = [seen]
    found = validate(str(tmp_path / "a.jsonl"), None, CHAT, seen.sample, "fail", surveys, 350)
    assert (found.records, len(seen.surveyed)) == (2100, 500), "what the task is given, it hands on"
    validate(str(tmp_path / "?.jsonl"), None, CHAT, None, "fail")
    assert caplog.messages == [
        "Checked a.jsonl: 700 requests, 0 bad lines",
        "Checked 2 files: 701 requests, 0 bad lines",
    ]
    assert not made
    caplog.clear()
    bare = write_lines(tmp_path / "c.jsonl", [{"messages": [{"role": "user", "content": "x"}]}])
    mistake = validate(str(bare), None, CHAT, None, "fail").mistake
    assert mistake
    assert caplog.messages[1] == mistake
    (artifact,) = made
    assert "shown" not in artifact["description"], "of a single line"
