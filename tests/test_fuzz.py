"""Fuzzing of the two readers: whatever a line holds, no exception escapes and no line is lost.

`make test` tries 400 files of input lines and 400 of Bedrock's output lines; FUZZ=20 multiplies that.
"""

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks import convert as convert_module
from tasks.batch.document import BatchDocument, BedrockSection, Range, Segment
from tasks.batch.paths import BatchRef, shard_object
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import job_name
from tasks.bedrock.records import decode_output_line
from tasks.codecs.base import InvocationType
from tasks.errors import ConfigurationError, InputFileError
from tasks.fast.line import FastEncoder
from tasks.fast.match import Templates
from tasks.openai_format.requests import CHAT
from tasks.results.answers import ANSWERED, Answers
from tasks.shards.index import INDEX_SCHEMA, Index, requests_of
from tasks.shards.writer import ShardWriter
from tasks.storage import reader, sources
from tasks.storage.reader import read_lines
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri, parse_location
from tasks.validate import Validator
from tests.conftest import CLAUDE, LLAMA, NOVA
from tests.occurring import happened, occurring

#: Tools go natively and plain chats by Converse, in shards of their own.
MISTRAL, CLAUDE_4_5 = "mistral.mistral-large-2407-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"
pytestmark = pytest.mark.timeout(600)
CASES = 400 * int(os.environ.get("FUZZ", "1"))
SLOW = {"suppress_health_check": list(HealthCheck)}

text = st.text(max_size=30) | st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\u00a0",
        "\u3000x",
        'say "hi"\\',
        "\\\\",
        "\x7f",
        "😀é",
        "\ufeff",
        'a", "b": "c',
        "custom_id",
        "content",
    ]
)
#: Longer than a byte counts: how long a text is, is handed from validation to conversion.
long_text = st.builds(lambda start, size: start + "x" * size, text, st.sampled_from([200, 254, 255, 256, 257, 300]))
value: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
content = text | st.builds(lambda inner: [{"type": "text", "text": inner}], text)
message = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "user", "assistant"]), "content": content})


@st.composite
def chat_line(draw: Any) -> bytes:
    """A chat, now well-formed, now with a field that is anything."""
    model = draw(st.sampled_from(["m"] * 5 + ["other", None]))
    body: dict[str, Any] = {
        "model": model,
        "messages": draw(st.lists(message, min_size=1, max_size=3)),
        "max_tokens": 5,
    }
    line: dict[str, Any] = {"custom_id": draw(text), "method": "POST", "url": CHAT, "body": body}
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.sampled_from([line, body, body["messages"][0]]))
        place[draw(text | st.sampled_from(["custom_id", "url", "body", "messages", "content", "n"]))] = draw(value)
    dumped = json.dumps(line, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([None, (",", ":")])))
    return dumped.encode("utf-8", "surrogatepass")


@st.composite
def spoiled(draw: Any, lines: Any) -> bytes:
    """Most lines as they are, some cut, some with bytes changed."""
    line: bytes = draw(lines)
    how = draw(st.integers(0, 9))
    if how == 0 and line:
        line = line[: draw(st.integers(0, len(line)))]
    elif how == 1 and line:
        place = draw(st.integers(0, len(line) - 1))
        line = line[:place] + draw(st.binary(min_size=1, max_size=3)) + line[place + 1 :]
    return line.replace(b"\n", b" ")


SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "content": {"type": "string"}}}
EXTRA: dict[str, Any] = {
    "tools": st.just([{"type": "function", "function": {"name": "f", "description": "content", "parameters": SCHEMA}}]),
    "response_format": st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        ]
    ),
    "seed": st.just(3),
    "stop": st.just(["END"]),
    "n": st.sampled_from([1, 2]),
    "logit_bias": st.just({"1": 2}),
    "reasoning_effort": st.just("low"),
}


@st.composite
def alike(draw: Any) -> list[bytes]:
    """A file as one program writes it: the same keys in the same order, other texts; a few of its lines spoiled."""
    roles = [
        *draw(st.sampled_from([[], ["system"], ["developer"]])),
        *["user", "assistant"] * draw(st.integers(0, 2)),
        "user",
    ]
    in_parts = draw(st.lists(st.booleans(), min_size=len(roles), max_size=len(roles)))
    constant = draw(st.lists(st.booleans(), min_size=len(roles), max_size=len(roles)))
    id_last, escape, user = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(["none", "one", "many"]))
    texts_of = draw(st.lists(st.sampled_from([text, text, text, long_text]), min_size=len(roles), max_size=len(roles)))
    first = [draw(each) for each in texts_of]
    extra = draw(st.fixed_dictionaries({}, optional=EXTRA))
    lines = []
    for number in range(draw(st.integers(1, 10))):
        texts = [kept if same else draw(each) for kept, same, each in zip(first, constant, texts_of, strict=True)]
        contents = [[{"type": "text", "text": t}] if part else t for t, part in zip(texts, in_parts, strict=True)]
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        body: dict[str, Any] = {"model": "m", "messages": messages, "max_tokens": 5}
        body |= extra
        if user != "none":
            body["user"] = draw(text) if user == "many" else "u"
        line: dict[str, Any] = {"method": "POST", "url": CHAT, "body": body}
        custom_id = f"id-{number}" if draw(st.integers(0, 9)) else draw(text)
        line = {**line, "custom_id": custom_id} if id_last else {"custom_id": custom_id, **line}
        lines.append(json.dumps(line, ensure_ascii=escape).encode("utf-8", "surrogatepass"))
    return [draw(spoiled(st.just(line))) if draw(st.integers(0, 4)) == 0 else line for line in lines]


files = st.lists(spoiled(chat_line()) | spoiled(st.binary(max_size=60)) | st.just(b""), max_size=12) | alike()


class _Memory:
    """Takes the place of S3Writer."""

    def __init__(self, uri: object, kms_key: str | None = None) -> None:
        self.uri, self.data = uri, bytearray()
        self.etag = ""
        WRITTEN.append(self)

    @property
    def bytes_written(self) -> int:
        return len(self.data)

    def write(self, data: bytes | memoryview) -> int:
        self.data += data
        return len(data)

    def close(self) -> None:
        pass

    abort = close


WRITTEN: list[_Memory] = []


def check(data: bytes, folder: Path) -> tuple[Any, list[Any]]:
    path = folder / "in.jsonl"
    path.write_bytes(data)
    summary = Validator(None, frozenset({CHAT})).run(find_sources(str(path)), folder)
    bad = [json.loads(line) for line in summary.invalid_file.read_bytes().splitlines()] if summary.invalid_file else []
    return summary, bad


def as_converted(data: bytes, model: str, folder: Path) -> tuple[list[Any], list[Any], dict[str, int], int]:
    """The records and index rows that the converter makes of a file, what it drops, and how many requests it saw.

    Texts may be escaped in one way or another, so that records differ in length, and with it the shards that they go
    to: these are held against the index here.
    """
    path = folder / "in.jsonl"
    path.write_bytes(data)
    (source,) = find_sources(str(path))
    segment = Segment(source=0, start=0, end=len(data), first_request=0, first_line=1, requests=1)
    range_ = Range(index=0, segments=[segment])
    limits = {"max_records_per_job": 50, "max_bytes_per_file": 4000, "min_records_per_job": 0, "max_jobs": 1}
    section = BedrockSection(model=model, family="x", options={}, limits=limits)
    document = BatchDocument(
        id="b",
        endpoint=CHAT,
        input_file_id="i",
        completion_window="24h",
        status="validating",
        created_at=1,
        bedrock=section,
    )
    ref = BatchRef(S3Uri("bucket", "prefix"), "b")
    WRITTEN.clear()
    index, encoder = Index(), FastEncoder(parse_model(model), CHAT, "error" if model == CLAUDE else "drop")
    writers = {
        kind: ShardWriter(ref, range_, document, b"{}", kind, kind[:1].lower(), _Memory)  # type: ignore[arg-type]
        for kind in get_args(InvocationType)
    }
    layout = Validator(None, frozenset({CHAT})).run([source], folder).layout
    converter = convert_module.Converter(document, encoder, writers.__getitem__, index, layout)
    converter.segment(source, segment, None)
    for writer in writers.values():
        writer.close()
    import pyarrow.parquet as pq

    table = pq.ParquetFile(io.BytesIO(index.finish()))
    rows = [[getattr(row, field) for field in row.__struct_fields__] for group in requests_of(table) for row in group]
    # Lines that validation would keep from conversion are converted here as well: what is no UTF-8 stays as it is.
    texts = {str(each.uri): bytes(each.data).decode("utf-8", "surrogateescape") for each in WRITTEN}
    records = {uri: [json.loads(line) for line in text.split("\n")[:-1]] for uri, text in texts.items()}
    shard = INDEX_SCHEMA.names.index("shard")
    made = []
    for row in rows:
        name = row[shard]
        if name is not None:
            record = records[str(shard_object(ref, name))].pop(0)
            assert record["recordId"] == row[INDEX_SCHEMA.names.index("record_id")]
            # Unlike ==, text tells 1 from 1.0 and from true.
            made.append((name[5], json.dumps(record, sort_keys=True)))
        del row[shard]
    assert not any(records.values())
    assert all(len(each.data) <= 4000 for each in WRITTEN)
    return made, rows, encoder.dropped.as_dict(), converter.requests


@occurring(templates=20, bad=50, good=50, long=5)
@settings(max_examples=CASES, **SLOW)  # type: ignore[arg-type]
@given(files, st.sampled_from([CLAUDE, CLAUDE_4_5, NOVA, LLAMA, MISTRAL]))
@example([b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":' + b"[" * 5000], CLAUDE)
@example([b"\x1f\x8b"], CLAUDE)
@example([b"\x28\xb5\x2f\xfd{}"], CLAUDE)
@example(
    [b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":' + b'[{"a":' * 900 + b"1"],
    CLAUDE,
)
def test_input_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], model: str) -> None:
    """Every line that is not blank is a request, valid or named as bad; block by block or line by line is the same."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    data = b"\n".join(lines) + b"\n"
    if data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        # It says that it is compressed, and is not: the file as a whole is refused, and named.
        with pytest.raises(InputFileError, match=r"in\.jsonl cannot be read to its end"):
            check(data, folder)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.validate._SAMPLE_ALL", 0)
        summary, bad = check(data, folder)
        assert summary.requests == sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
        assert summary.invalid == len(bad) == len({each["request"] for each in bad})
        happened("templates", summary.layout.templates)
        happened("bad", bad)
        happened("good", summary.requests > len(bad))
        happened("long", any(len(line) > 1000 for line in lines))
        fast = as_converted(data, model, folder)
        patch.setattr(Templates, "find", lambda *_: None)
        again, bad_again = check(data, folder)
        assert (summary.requests, summary.offsets, summary.lines, summary.endpoint) == (
            again.requests,
            again.offsets,
            again.lines,
            again.endpoint,
        )
        assert bad == bad_again
        assert fast == as_converted(data, model, folder)
        assert fast[-1] == summary.requests


some_id = st.sampled_from(["r000000000", "r000000003", "r000000009c0001", "r999999999", "pad000000001", "r", ""])
output_parts: dict[str, Any] = {
    "modelOutput": value | st.just({"content": [{"type": "text", "text": "hi"}]}),
    "modelInput": value,
    "error": value | st.fixed_dictionaries({"errorCode": value, "errorMessage": value}, optional={"expired": value}),
}
output_line = st.builds(
    lambda parts, order: json.dumps({key: parts[key] for key in order if key in parts}).encode(),
    st.fixed_dictionaries({"recordId": some_id}, optional=output_parts)
    | st.fixed_dictionaries({"recordId": some_id}, optional=output_parts)
    | st.fixed_dictionaries({}, optional={"recordId": value, **output_parts}),
    st.permutations(["recordId", "modelOutput", "modelInput", "error"]),
)


@occurring(outcomes=20, odd=20)
@settings(max_examples=CASES, **SLOW)  # type: ignore[arg-type]
@given(st.lists(spoiled(output_line) | st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=12))
def test_output_lines(lines: list[bytes]) -> None:
    """Every line is somebody's outcome, padding, or counted as odd; also one that cannot be read but says whose it is."""
    with Answers(0, np.ones(10, dtype=np.int64)) as answers:
        answers._add(b"\n".join(lines), 1)
        outcomes = sum(kind != 0 for kind in answers.kinds)
        known = padding = 0
        for line in lines:
            try:
                record = decode_output_line(line)
            except ValueError:
                continue
            padding += record.record_id.startswith("pad")
            known += bool(record.record_id)
        said = sum(answers.oddities.values())
        happened("outcomes", outcomes)
        happened("odd", said)
        blank = sum(not line.strip() for line in lines)
        assert outcomes + said + padding + blank == len(lines)
        assert all(answers.lengths[row] > 0 for row in range(10) if answers.kinds[row] == ANSWERED)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    one = gzip.compress(bytes(100 << 20))
    for name, data in (
        ("a.jsonl.gz", one),
        ("b.jsonl.zst", zstandard.compress(bytes(100 << 20))),
        ("c.jsonl.gz", gzip.compress(b"\n" * (100 << 20))),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputFileError, match="zip bombs"):
            for _ in read_lines(find_sources(str(tmp_path / name))[0]):
                pass


def test_a_compressed_file_of_similar_lines_is_no_bomb(tmp_path: Path) -> None:
    system = "Classify the ticket. " * 200
    lines = "".join(
        json.dumps({"custom_id": f"r{i}", "body": {"messages": [{"role": "system", "content": system}]}}) + "\n"
        for i in range(30_000)
    )
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode(), 9))
    (source,) = find_sources(str(tmp_path / "a.jsonl.gz"))
    assert sum(len(block.lines) for block in read_lines(source)) == 30_000
    assert len(lines) > reader._ANY_GROWTH_BYTES


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_text("{}\n")
    with pytest.raises(InputFileError, match="4 files"):
        find_sources(str(tmp_path))


@occurring(long=10, accepted=5)
@given(
    st.text(max_size=200) | st.text("ab-. ", min_size=64, max_size=200),
    st.text(max_size=100) | st.text("ab/-.", max_size=20),
)
def test_names_of_jobs_stay_within_the_pattern(wanted: str, prefix: str) -> None:
    import re

    name = job_name("batch_" + "0f" * 16, 3, 1, wanted)
    assert re.fullmatch(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}", name)
    assert len(name) <= 63
    happened("long", len(wanted) > 63)
    try:
        place = parse_location(f"s3://bucket/{prefix}", "x")
    except ConfigurationError:
        return
    happened("accepted")
    assert re.fullmatch(
        r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/[-!_*'().a-z0-9A-Z]+(/[-!_*'().a-z0-9A-Z]+)*)?/?", str(place)
    )
