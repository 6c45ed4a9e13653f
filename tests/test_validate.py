"""Validation at the level of one file: duplicates, offsets, and the first thousand errors."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bedrock.limits import Limits
from tasks.fast.match import Templates
from tasks.inputs.plan import plan_ranges
from tasks.inputs.summary import InputSummary
from tasks.openai_format.requests import MAX_LINE_BYTES, LineError, check_line
from tasks.validate import validate_input
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
