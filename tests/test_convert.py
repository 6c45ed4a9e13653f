"""Converting a line never costs another line: what is wrong with it, or with this program, is an error line of its own."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, Range
from tasks.batch.options import BatchOptions
from tasks.batch.paths import BatchRef, shard_object
from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import record_id
from tasks.codecs.base import Policy, RequestError
from tasks.codecs.dropped import DroppedFields
from tasks.codecs.encoder import MAX_RECORDS
from tasks.codecs.families.anthropic import AnthropicCodec
from tasks.convert import convert, convert_range
from tasks.errors import ConfigurationError, InputFileError, PipelineError
from tasks.fast.line import FastEncoder
from tasks.fast.records import RecordForm, form_of
from tasks.fast.template import Template
from tasks.inputs.layout import read_layout
from tasks.inputs.media import Media
from tasks.inputs.plan import size_sampler
from tasks.open import name_batch, resume_batch, store_invalid_lines
from tasks.openai_format.faults import HALF_PAIR, MAX_DEPTH, NO_NUMBER, fault_of, first_custom_id, nests_too_deeply
from tasks.openai_format.requests import CHAT
from tasks.openai_format.results import decode_http_error, error_line
from tasks.shards.index import read_index, requests_of
from tasks.storage.uris import S3Uri
from tasks.validate import validate_input
from tests.builders import call
from tests.codecs.helpers import CALL, PNG, RESULTS, TOOL, user
from tests.conftest import CLAUDE, NOVA, chat, write_lines
from tests.fakes import Cloud
from tests.test_fuzz_encode import converted

SECRET = "my account is 4711"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


def lines(*bodies: dict[str, Any]) -> list[bytes]:
    return [json.dumps(chat(f"id-{number}", **body)).encode() for number, body in enumerate(bodies)]


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A codec that fails where it reads a certain text."""
    own = AnthropicCodec.encode

    def encode(self: Any, chat: Any, model: Any, policy: Any) -> Any:
        if SECRET in str(chat):
            raise error
        return own(self, chat, model, policy)

    monkeypatch.setattr(AnthropicCodec, "encode", encode)


FAULTS = [
    KeyError(SECRET),
    ValueError(SECRET),
    AssertionError(SECRET),
    UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET),
    OSError(SECRET),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("alike", [True, False])
def test_our_fault_is_an_error_line_and_a_traceback_without_the_prompt(
    error: Exception, alike: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Also where lines fit a template, whose own line is the one that fails."""
    broken(monkeypatch, error)
    texts = [SECRET if place in (0, 7, 30) else f"Say {place}" for place in range(60)]
    given = lines(*({"text": text, "seed": 1, **({} if alike else {"stop": [str(n)]})} for n, text in enumerate(texts)))
    with caplog.at_level(logging.ERROR):
        outcomes = converted(given, CLAUDE, CHAT, "drop", "auto", tmp_path)
    for number, (custom_id, outcome) in enumerate(outcomes):
        assert custom_id == f"id-{number}"
        if texts[number] != SECRET:
            assert outcome["messages"][0]["content"] == texts[number]
            continue
        written = json.loads(error_line("r", custom_id, outcome))["response"]
        assert written["status_code"] == 500
        assert written["body"]["error"]["type"] == "server_error"
        assert written["body"]["error"]["code"] == "conversion_failed"
        assert "fault of this program" in written["body"]["error"]["message"]
        assert SECRET not in json.dumps(written)
    (record,) = caplog.records
    said = record.getMessage()
    assert "Line 1 of in.jsonl" in said
    assert f'{Path(__file__).name}", line ' in said
    assert ", in encode\n" in said
    assert type(error).__name__ in said
    assert SECRET not in said
    assert record.exc_info is None


def test_few_places_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    names = iter(range(1000))

    def encode(*_: Any) -> Any:
        raise type(f"Error{next(names)}", (Exception,), {})(SECRET)

    monkeypatch.setattr(AnthropicCodec, "encode", encode)
    outcomes = converted(
        lines(*({"text": f"{n}", "seed": n} for n in range(60))), CLAUDE, CHAT, "drop", "auto", tmp_path
    )
    assert [outcome.status for _, outcome in outcomes] == [500] * 60
    assert len(caplog.records) == 20


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyboardInterrupt(), ConfigurationError("the credentials have expired")]
)
def test_what_would_befall_any_line_ends_the_run(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken(monkeypatch, error)
    with pytest.raises(type(error)):
        converted(lines({"text": SECRET, "seed": 1}), CLAUDE, CHAT, "drop", "auto", tmp_path)


def test_what_fails_while_shards_are_planned_is_counted_as_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, KeyError(SECRET))
    options = BatchOptions(unsupported="drop")
    call: Any = SimpleNamespace(model=parse_model(CLAUDE), options=options)
    size = size_sampler(call)
    bad, good = lines({"text": SECRET, "seed": 1}, {"text": "x", "seed": 1})
    assert size(bad, CHAT) == (0, 0)
    assert size(good, CHAT)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"a": "\\ud83d"}', HALF_PAIR),
        ('{"a": {"\\ude00": 1}}', HALF_PAIR),
        ('{"a": NaN}', NO_NUMBER),
        ('{"a": [1e999]}', NO_NUMBER),
        ('{"a": -Infinity}', NO_NUMBER),
        ('{"a": ' + "1" * 5000 + "}", NO_NUMBER),
        ("{", "not parseable"),
        ("[1]", "in a string."),
        ('"x"', "in a string."),
        ({"a": 1}, "in a string."),
        ("null", "in a string."),
        ('{"a": "\x00"}', "not parseable"),
        ('{"a":' * 300 + "1" + "}" * 300, "levels deep"),
        ('{"a":' * 3000, "nests"),
    ],
)
@pytest.mark.parametrize("model", [CLAUDE, NOVA, "openai.gpt-oss-20b-1:0", "mistral.mistral-large-2407-v1:0"])
def test_odd_arguments_are_refused_by_name(model: str, arguments: Any, why: str, tmp_path: Path) -> None:
    called = json.loads(json.dumps({**CALL, "tool_calls": CALL["tool_calls"][:1]}))  # type: ignore[index]
    called["tool_calls"][0]["function"]["arguments"] = arguments
    given = lines({"text": "a"}, {"messages": [user(), called, RESULTS[0]], "tools": [TOOL]}, {"text": "b"})
    first, (custom_id, error), last = converted(given, model, CHAT, "error", "InvokeModel", tmp_path)
    assert isinstance(first[1], dict)
    assert isinstance(last[1], dict)
    assert (custom_id, error.status, error.param) == ("id-1", 400, "messages[1].tool_calls[0].function.arguments")
    assert why in error.message


@pytest.mark.parametrize("token", ["1e999", "-1e999", "1" * 5000])
@pytest.mark.parametrize("field", ["temperature", "max_tokens", "n", "seed", "top_p", "logit_bias", "stop"])
def test_numbers_beyond_a_float_are_refused_by_name(field: str, token: str, tmp_path: Path) -> None:
    (line,) = lines({field: "NUMBER", "tools": [TOOL]})
    ((_, error),) = converted([line.replace(b'"NUMBER"', token.encode())], CLAUDE, CHAT, "drop", "auto", tmp_path)
    assert (error.status, error.param) == (400, field)
    assert NO_NUMBER in error.message


def test_what_is_no_json_is_named_and_keeps_its_custom_id(tmp_path: Path) -> None:
    bad = json.dumps(chat("a", messages=[user("x\ud83d")])).encode()
    nan = json.dumps(chat("b", temperature=float("nan"))).encode()
    deep = json.dumps(chat("c", seed="DEEP")).replace('"DEEP"', "[" * 5000 + "]" * 5000).encode()
    first, second, third = converted([bad, nan, deep], CLAUDE, CHAT, "drop", "auto", tmp_path)
    assert (first[0], first[1].code, first[1].param) == ("a", "invalid_json_line", "body.messages[0].content")
    assert (second[0], second[1].code, second[1].param) == ("b", "invalid_json_line", "body.temperature")
    assert (third[0], third[1].code) == ("c", "invalid_json_line")


def test_places_name_no_words_of_the_user() -> None:
    """They are shown in the Prefect UI."""
    for text, place in (
        (
            '{"body": {"tools": [{"parameters": {"properties": {"ssn_of_smith": "\\ud83d"}}}]}}',
            "body.tools[0].parameters",
        ),
        ('{"body": {"my secret": "\\ud83d"}}', "body"),
        ('{"body": {"metadata": {"smith": NaN}}}', "body.metadata"),
        ('{"body": {"\\ud83d": 1}}', "body"),
        ('{"a": "\\ud83d", "a": 1}', None),
        ('{"a": "\\ud83d\\ude00", "b": 1e308}', None),
    ):
        assert fault_of(text)[0] == place


def test_custom_ids_of_lines_that_cannot_be_read() -> None:
    assert first_custom_id(b' {"custom_id" : "a\\"b" , x') == 'a"b'
    for line in (
        b'{"custom_id":"a"',
        b'{"custom_id":3,',
        b'{"a":1,"custom_id":"a",',
        b'{"custom_id":"\\ud83d",',
        b'{"custom_id":"\xff",',
        b"",
    ):
        assert first_custom_id(line) is None


def test_depth_is_counted_outside_of_strings() -> None:
    assert not nests_too_deeply(b'{"a":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}')
    assert not nests_too_deeply(b"[" + b"[]," * 1000 + b"[]]")
    assert not nests_too_deeply(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert nests_too_deeply(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_references_that_multiply_are_refused(tmp_path: Path) -> None:
    """A schema of a few hundred bytes that would be one of a billion."""
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {}}
    for number in range(30):
        inner = {"$ref": f"#/$defs/d{number + 1}"}
        schema["$defs"][f"d{number}"] = {"type": "object", "properties": {"x": inner, "y": inner}}
    schema["$defs"]["d30"] = {"type": "string"}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    given = lines(
        {"tools": [tool]}, {"response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}}
    )
    for _, error in converted(given, NOVA, CHAT, "error", "auto", tmp_path):
        assert error.status == 400
        assert "by its references" in error.message


def test_names_of_dropped_fields_are_bounded() -> None:
    """They are the users' own words, and go into batch.json, the log and the report."""
    dropped = DroppedFields()
    for name in [*(f"field_{number}" for number in range(1000)), "What is the password of Mr Smith?", "x" * 5000]:
        policy = Policy("drop", "x")
        policy.refuse(name, "")
        dropped.add(policy.dropped)
    counts = dropped.as_dict()
    assert len(counts) == 201
    assert counts["other fields"] == 802
    with pytest.raises(RequestError) as caught:
        Policy("error", "x").refuse("x" * 5000, "y" * 5000)
    assert len(caught.value.message) < 1000
    assert len(caught.value.param or "") < 300


# A whole range, against the fakes


def opened(path: Path, **parameters: Any) -> tuple[BatchRef, BatchDocument]:
    """A batch whose input is validated and planned."""
    resolved = call(input_file=str(path), **{"model": CLAUDE, **parameters})
    summary = validate_input(str(path), None, resolved.codec.endpoints, path.parent, size_sampler(resolved))
    ref = name_batch(resolved, summary)
    document = resume_batch(ref, resolved, summary)
    if summary.invalid_file:
        store_invalid_lines(ref, summary)
    return ref, document


def refused(ref: BatchRef, range_: Range) -> dict[str, Any]:
    """By custom_id, the errors of the requests that are not sent."""
    rows = [row for rows in requests_of(read_index(ref, range_)) for row in rows]
    return {str(row.custom_id): decode_http_error(row.error) for row in rows if row.error is not None}


@pytest.mark.parametrize(
    "change", ["a byte of its last block", "nothing, but 7,001 were counted", "nothing, but 6,999 were counted"]
)
def test_an_input_that_is_another_one_by_now_leaves_no_upload(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """After more than a part of it went out: its parts would be billed until somebody aborts them."""
    monkeypatch.setattr("tasks.storage.reader.BLOCK_BYTES", 1 << 20)
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", "x" * 1000 + str(n)) for n in range(7000)])
    ref, document = opened(path)
    (range_,) = document.bedrock.ranges
    if change.startswith("a byte"):
        data = path.read_bytes()
        end = data.rindex(b"6999")
        path.write_bytes(data[:end] + b"6998" + data[end + 4 :])
        wanted = "has changed since it was validated"
    else:
        range_ = range_.model_copy(deep=True)
        counted = change.split()[2]
        range_.segments[0].requests = int(counted.replace(",", ""))
        wanted = f"part-00000 should hold {counted} requests and holds 7,000"
    with pytest.raises(InputFileError, match=wanted):
        convert_range(ref, document, range_)
    assert cloud.s3.count("UploadPart") >= 1, "this is about a conversion that is well under way"
    assert not cloud.s3.uploads
    assert not cloud.s3.keys(ref.uri("input").key)


#: How a line is converted: by the general way, by the short one, and in a run of lines that fit a template. Parameters that
#: differ from line to line fit none.
WAYS: dict[str, Callable[[int], dict[str, Any]]] = {
    "general": lambda number: {"stop": [f"END {number:02d}"]},
    "plain": lambda number: {"max_tokens": 10 + number},
    "template": lambda number: {},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_no_object_has_room_for_is_refused_and_what_just_fits_is_sent(
    cloud: Cloud, tmp_path: Path, way: str
) -> None:
    """Behind smaller ones, which leave it no room in theirs, too."""
    texts = ["x" * 3000] * 40 + ["y" * 5000, "z" * 5001, "x" * 3000]
    lines = [chat(f"id-{n:02d}", text, **WAYS[way](n)) for n, text in enumerate(texts)]
    ref, document = opened(write_lines(tmp_path / "in.jsonl", lines))
    (range_,) = document.bedrock.ranges
    templates = read_layout(ref, range_).stretches[0].shapes
    assert any(templates) == (way == "template")
    (whole,) = convert_range(ref, document, range_).shards
    most = len(cloud.s3.objects[shard_object(ref, whole.id).key].body.splitlines(keepends=True)[40])
    document.bedrock.limits = Limits(min_records_per_job=1, max_bytes_per_file=most)
    done = convert_range(ref, document, range_)
    assert (done.requests, done.rejected, len(done.shards)) == (43, 1, 42)
    assert [shard.records for shard in done.shards] == [1] * 42
    sizes = [len(cloud.s3.objects[shard_object(ref, shard.id).key].body) for shard in done.shards]
    assert sizes == [shard.bytes for shard in done.shards]
    assert max(sizes) == sizes[40] == most
    errors = refused(ref, range_)
    assert errors.keys() == {"id-41"}
    lines_of = {row.custom_id: row.line for rows in requests_of(read_index(ref, range_)) for row in rows}
    assert lines_of == {f"id-{n:02d}": n + 1 for n in range(43)}
    assert (errors["id-41"].status, errors["id-41"].code, errors["id-41"].param) == (400, "request_too_large", "body")
    assert f"larger than the {most:,} bytes" in errors["id-41"].message


def test_a_request_of_more_records_than_an_id_has_room_for_is_refused(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_RECORDS == 9999, "an id has four digits for the choice"
    monkeypatch.setattr("tasks.convert.MAX_RECORDS", 3)
    path = write_lines(tmp_path / "in.jsonl", [chat("three", n=3), chat("four", n=4), chat("one")])
    ref, document = opened(path)
    (range_,) = document.bedrock.ranges
    done = convert_range(ref, document, range_)
    assert (done.requests, done.rejected, [shard.records for shard in done.shards]) == (3, 1, [4])
    (error,) = refused(ref, range_).values()
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", "body")
    assert "more than 3 records" in error.message


def test_what_is_converted_is_encrypted_and_so_is_its_index(cloud: Cloud, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat("a"), "no JSON"])
    ref, document = opened(path, on_invalid="skip")
    keyed = msgspec.structs.replace(ref, kms_key=KEY)
    before = set(cloud.s3.objects)
    (range_,) = document.bedrock.ranges
    convert_range(keyed, document, range_)
    made = set(cloud.s3.objects) - before
    assert {key.partition(ref.batch_id)[2] for key in made} == {"/input/part-00000.jsonl", "/index/part-00000.parquet"}
    assert {cloud.s3.objects[key].options.get("SSEKMSKeyId") for key in made} == {KEY}
    (error,) = refused(ref, range_).values()
    assert (error.status, error.code, error.type) == (400, "invalid_json_line", "invalid_request_error")


@pytest.mark.parametrize("longest", [254, 255, 256, 257, 65_535, 65_536])
@pytest.mark.parametrize("place", range(4))
def test_texts_of_any_length_are_the_lines_own(cloud: Cloud, tmp_path: Path, longest: int, place: int) -> None:
    """How long a text is, is handed over in a byte where that is enough: also of the texts before the last one."""

    def texts(number: int) -> list[str]:
        sizes = [10 + number % 7, 20, 30 + number, 12]
        sizes[place] = longest - number % 3
        return [f"{number:03d}".ljust(size, "abcd"[each]) for each, size in enumerate(sizes)]

    roles = ("system", "user", "assistant", "user")
    lines = [
        chat(f"id-{n}", messages=[{"role": role, "content": t} for role, t in zip(roles, texts(n), strict=True)])
        for n in range(40)
    ]
    ref, document = opened(write_lines(tmp_path / "in.jsonl", lines))
    (range_,) = document.bedrock.ranges
    assert any(read_layout(ref, range_).stretches[0].shapes), "this is about lines that fit a template"
    (shard,) = convert_range(ref, document, range_).shards
    for number, line in enumerate(cloud.s3.objects[shard_object(ref, shard.id).key].body.splitlines()):
        sent = json.loads(line)["modelInput"]
        assert [sent["system"], *(turn["content"] for turn in sent["messages"])] == texts(number)


def test_who_is_interrupted_leaves_no_upload(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        if cloud.s3.uploads:
            raise KeyboardInterrupt

    monkeypatch.setattr("tasks.storage.reader.BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("tasks.convert.advance", interrupt)
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", "x" * 1000 + str(n)) for n in range(7000)])
    ref, document = opened(path)
    with pytest.raises(KeyboardInterrupt):
        convert_range(ref, document, document.bedrock.ranges[0])
    assert not cloud.s3.uploads


def test_fields_that_are_dropped_are_counted_line_by_line(cloud: Cloud, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", f"text {n}", seed=7) for n in range(50)])
    ref, document = opened(path, unsupported="drop")
    done = convert_range(ref, document, document.bedrock.ranges[0])
    assert (done.requests, done.rejected, done.dropped) == (50, 0, {"seed": 50})


def test_a_bad_line_keeps_what_is_wrong_with_it(cloud: Cloud, tmp_path: Path) -> None:
    bad = json.dumps({"custom_id": "b", "method": "POST", "url": CHAT, "body": {}})
    ref, document = opened(write_lines(tmp_path / "in.jsonl", [chat("a"), bad]), on_invalid="skip")
    (range_,) = document.bedrock.ranges
    done = convert_range(ref, document, range_)
    assert (done.requests, done.rejected) == (2, 1)
    (error,) = refused(ref, range_).values()
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.code, error.param) == ("missing_required_parameter", "body.messages")


def test_what_requests_may_refer_to(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def media(**given: Any) -> Media:
        made.append(given)
        return Media(**given)

    monkeypatch.setattr("tasks.convert.Media", media)
    ref, document = opened(write_lines(tmp_path / "in.jsonl", [chat("a")]))
    more = {
        "image_buckets": ("pictures",),
        "image_folders": ("s3://bucket/own",),
        "closed_folders": ("s3://bucket/own/x",),
    }
    document.bedrock.options = document.bedrock.options.model_copy(update=more)
    convert_range(ref, document, document.bedrock.ranges[0])
    assert made == [
        {
            "allow_http": False,
            "buckets": {ref.root.bucket, "pictures"},
            "folders": (S3Uri("bucket", "own"),),
            "closed": (S3Uri("bucket", "own/x"),),
        }
    ]


def test_requests_of_the_other_type_of_job_have_an_object_of_their_own(cloud: Cloud, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat("a"), chat("b", tools=[TOOL])])
    ref, document = opened(path, model="mistral.mistral-large-2407-v1:0")
    done = convert_range(ref, document, document.bedrock.ranges[0])
    assert [(each.id, each.invocation, each.records) for each in done.shards] == [
        ("00000", "Converse", 1),
        ("00000-other", "InvokeModel", 1),
    ]


#: Its plain chats go by Converse, and its tools by its own body.
COHERE = "cohere.command-r-v1:0"
ASKS = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
    }
]


@pytest.mark.parametrize("switch", ["0", "1"])
def test_every_request_of_every_file_has_its_row_and_its_records(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    """Over two files, with blank and bad lines between those that are alike, and jobs of both types."""
    monkeypatch.setenv("BEDROCK_BATCH_FAST", switch)
    folder = tmp_path / "in"
    folder.mkdir()
    plain: list[Any] = [chat(f"a{n:02d}", f"Question {n:02d}", max_tokens=10, logit_bias={"1": 1}) for n in range(40)]
    plain[7] = ""
    plain[9] = "{"
    plain[20] = chat("a20", "Question", n=3, max_tokens=10)
    plain[30] = {**chat("a30"), "method": "GET"}
    asking: list[Any] = [chat(f"b{n:02d}", f"Question {n:02d}", tools=ASKS, max_tokens=10) for n in range(40)]
    asking[11] = "  "
    asking[12] = chat("b12", "Question 12", logit_bias={"1": 1})
    write_lines(folder / "a.jsonl", plain)
    write_lines(folder / "b.jsonl", asking)
    ref, document = opened(folder, model=COHERE, unsupported="drop", on_invalid="skip", below_minimum="pad")
    (range_,) = document.bedrock.ranges
    done = convert_range(ref, document, range_)
    rows = [row for rows in requests_of(read_index(ref, range_)) for row in rows]
    expected = []
    for file, lines in enumerate((plain, asking)):
        for line, given in enumerate(lines, 1):
            if str(given).strip():
                custom_id = given["custom_id"] if isinstance(given, dict) else None
                shard_id = None if custom_id in (None, "a30") else "00000-other" if file and line != 13 else "00000"
                expected += [
                    (custom_id, file, line, choice, shard_id) for choice in range(3 if custom_id == "a20" else 1)
                ]
    assert [(row.custom_id, row.file, row.line, row.choice, row.shard) for row in rows] == expected
    assert [row.request for row in rows if row.choice == 0] == list(range(78))
    assert (done.requests, done.rejected) == (78, 2)
    assert done.dropped == {"logit_bias": 37}
    errors = {row.line: decode_http_error(row.error) for row in rows if row.error is not None}
    assert {line: (error.status, error.code, error.param) for line, error in errors.items()} == {
        10: (400, "invalid_json_line", None),
        31: (400, "invalid_method", "method"),
    }
    assert [(shard.id, shard.invocation, shard.records, shard.padding) for shard in done.shards] == [
        ("00000", "Converse", 40, 60),
        ("00000-other", "InvokeModel", 38, 62),
    ]
    for shard in done.shards:
        records = [json.loads(line) for line in cloud.s3.objects[shard_object(ref, shard.id).key].body.splitlines()]
        sent = records[: shard.records]
        assert [record["recordId"] for record in sent] == [row.record_id for row in rows if row.shard == shard.id]
        by_id = {row.record_id: row.custom_id for row in rows}
        for record in sent:
            number = (by_id[record["recordId"]] or "")[1:]
            assert number in ("20", "12") or f"Question {number}" in json.dumps(record["modelInput"])
        assert all(record["recordId"].startswith("pad") for record in records[shard.records :])
        # Padding is of the shard's own type of job.
        assert ("messages" in records[-1]["modelInput"]) == (shard.invocation == "Converse")


def test_bad_lines_are_those_that_this_epoch_listed(cloud: Cloud, tmp_path: Path) -> None:
    """And the conversion reads them where they were written."""
    ref, document = opened(write_lines(tmp_path / "in.jsonl", [chat("a"), "{", chat("b")]), on_invalid="skip")
    first = cloud.s3.objects[ref.own("invalid.jsonl").key].body
    second = msgspec.structs.replace(ref, epoch=2)
    cloud.s3.put(second.own("invalid.jsonl").key, first.replace(b'"param":null', b'"param":"of the second"'))
    (range_,) = document.bedrock.ranges
    convert_range(second, document, range_)
    (error,) = refused(second, range_).values()
    assert error.param == "of the second"


def test_whoever_interrupts_it_leaves_no_upload(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"id-{n}", "x" * 1000, max_tokens=n + 1) for n in range(12_000)])
    ref, document = opened(path)
    (range_,) = document.bedrock.ranges

    def interrupt(amount: int) -> None:
        if cloud.s3.count("UploadPart"):
            raise KeyboardInterrupt

    monkeypatch.setattr("tasks.convert.advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert_range(ref, document, range_)
    assert cloud.s3.count("CreateMultipartUpload") == 1
    assert not cloud.s3.uploads


def test_what_a_request_may_refer_to_is_handed_on(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Recorded(Media):
        def __init__(self, **given: Any) -> None:
            made.append(given)
            super().__init__(**given)

    monkeypatch.setattr("tasks.convert.Media", Recorded)
    cloud.s3.put("in/in.jsonl", json.dumps(chat("a")).encode() + b"\n")
    ref, document = opened(write_lines(tmp_path / "in.jsonl", [chat("a")]))
    document.bedrock.sources[0]["uri"] = "s3://input-bucket/in.jsonl"
    options = {
        "fetch_images": True,
        "image_buckets": ("images",),
        "image_folders": ("s3://mine/a",),
        "closed_folders": ("s3://mine/a/b",),
    }
    document.bedrock.options = document.bedrock.options.model_copy(update=options)
    with pytest.raises(PipelineError):
        convert_range(ref, document, document.bedrock.ranges[0])
    document.bedrock.options = BatchOptions()
    with pytest.raises(PipelineError):
        convert_range(ref, document, document.bedrock.ranges[0])
    assert made == [
        {
            "allow_http": True,
            "buckets": {"bucket", "input-bucket", "images"},
            "folders": (S3Uri("mine", "a"),),
            "closed": (S3Uri("mine", "a/b"),),
        },
        {"allow_http": False, "buckets": {"bucket", "input-bucket"}, "folders": None, "closed": ()},
    ]


@pytest.mark.usefixtures("without_prefect")
def test_the_type_of_job_and_the_mode_that_were_chosen_are_kept(
    cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write_lines(tmp_path / "in.jsonl", [chat("a", seed=1), *(chat(f"b{n}", n=2) for n in range(600))])
    ref, document = opened(path, invocation="Converse", model=NOVA)
    (range_,) = document.bedrock.ranges
    done = convert(ref, document, range_)
    assert [(shard.invocation, shard.records) for shard in done.shards] == [("Converse", 1200)]
    assert [error.param for error in refused(ref, range_).values()] == ["seed"]
    assert caplog.messages == ["Converted part-00000: 601 requests into 1,200 records, 1 rejected"]


def test_a_profile_is_converted_as_what_it_stands_for(cloud: Cloud, tmp_path: Path) -> None:
    ref, document = opened(write_lines(tmp_path / "in.jsonl", [chat("a", "Hi")]))
    document.bedrock.model = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    (shard,) = convert_range(ref, document, document.bedrock.ranges[0]).shards
    body = json.loads(cloud.s3.objects[shard_object(ref, shard.id).key].body)["modelInput"]
    assert "anthropic_version" in body


def test_progress_is_counted_in_requests(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr("tasks.convert.advance", done.append)
    ref, document = opened(write_lines(tmp_path / "in.jsonl", ["", *(chat(f"id-{n}") for n in range(30)), "", "{"]))
    convert_range(ref, document, document.bedrock.ranges[0])
    assert sum(done) == 31


#: Two kinds of lines, each of which fits a template: what the even and what the odd ones ask for besides; then by kind
#: what is to remember of each, and which fields all of them drop.
KINDS: dict[str, tuple[list[dict[str, Any]], list[bytes | None], dict[str, int]]] = {
    "remembered otherwise": (
        [{"tools": ASKS}, {"functions": [ASKS[0]["function"]]}],
        [None, b'{"function_call":true}'],
        {},
    ),
    "dropping other fields": ([{"seed": 7}, {"logit_bias": {"1": 1}}], [None, None], {"seed": 15, "logit_bias": 15}),
}


def in_turn(path: Path, bodies: list[dict[str, Any]]) -> tuple[BatchRef, BatchDocument]:
    """A batch of lines of two kinds in turn, all of which fit a template and stand in one run."""
    lines = [chat(f"id-{n:02d}", f"Question {n:02d}", **bodies[n % 2]) for n in range(30)]
    ref, document = opened(write_lines(path, lines), unsupported="drop", below_minimum="on_demand")
    assert set(read_layout(ref, document.bedrock.ranges[0]).stretches[0].shapes) == {1, 2}
    return ref, document


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_two_kinds_in_turn_are_told_apart(cloud: Cloud, tmp_path: Path, kind: str) -> None:
    bodies, contexts, dropped = KINDS[kind]
    ref, document = in_turn(tmp_path / "in.jsonl", bodies)
    (range_,) = document.bedrock.ranges
    done = convert_range(ref, document, range_)
    rows = [row for rows in requests_of(read_index(ref, range_)) for row in rows]
    assert [(row.custom_id, row.context) for row in rows] == [(f"id-{n:02d}", contexts[n % 2]) for n in range(30)]
    assert done.dropped == dropped


def test_lines_of_two_types_of_job_in_turn_go_to_the_object_of_their_own(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no model both are written by templates so far: one of them only says so here."""

    def other_form(template: Template, encoder: FastEncoder) -> RecordForm | None:
        form = form_of(template, encoder)
        return form and msgspec.structs.replace(
            form, invocation="Converse" if b"temp" in template.line else "InvokeModel"
        )

    ref, document = in_turn(tmp_path / "in.jsonl", [{}, {"temperature": 0.5}])
    monkeypatch.setattr("tasks.convert.form_of", other_form)
    done = convert_range(ref, document, document.bedrock.ranges[0])
    assert [(shard.id, shard.invocation, shard.records) for shard in done.shards] == [
        ("00000", "InvokeModel", 15),
        ("00000-other", "Converse", 15),
    ]
    for first, shard in enumerate(done.shards):
        records = [json.loads(line) for line in cloud.s3.objects[shard_object(ref, shard.id).key].body.splitlines()]
        assert [record["recordId"] for record in records] == [record_id(n) for n in range(first, 30, 2)]


def test_a_bad_line_that_fits_a_template_is_found_behind_a_blank_one(cloud: Cloud, tmp_path: Path) -> None:
    """A blank line is no request: those behind it keep the numbers that validation gave them."""
    given: list[Any] = [chat(f"id-{n:02d}", f"Question {n:02d}") for n in range(30)]
    given[12] = chat("id-03", "The same custom_id again")
    given.insert(12, "")
    ref, document = opened(write_lines(tmp_path / "in.jsonl", given), on_invalid="skip")
    (range_,) = document.bedrock.ranges
    assert read_layout(ref, range_).stretches[0].shapes[13], "this is about a bad line that fits a template"
    done = convert_range(ref, document, range_)
    assert (done.requests, done.rejected, [shard.records for shard in done.shards]) == (30, 1, [29])
    rows = [row for rows in requests_of(read_index(ref, range_)) for row in rows]
    assert [(row.request, row.line) for row in rows if row.error is not None] == [(12, 14)]


def test_a_bad_line_that_is_the_first_of_its_range_is_not_sent(cloud: Cloud, tmp_path: Path) -> None:
    given = [{**chat("a"), "method": "GET"}, chat("b")]
    ref, document = opened(write_lines(tmp_path / "in.jsonl", given), on_invalid="skip")
    (range_,) = document.bedrock.ranges
    done = convert_range(ref, document, range_)
    assert (done.requests, done.rejected, [shard.records for shard in done.shards]) == (2, 1, [1])
    assert {custom_id: error.code for custom_id, error in refused(ref, range_).items()} == {"a": "invalid_method"}


def test_an_image_in_the_bucket_goes_into_its_record(cloud: Cloud, tmp_path: Path) -> None:
    cloud.s3.put("images/a.png", base64.b64decode(PNG))
    seen = {"type": "image_url", "image_url": {"url": "s3://bucket/images/a.png"}}
    path = write_lines(tmp_path / "in.jsonl", [chat("a", messages=[user([seen])])])
    ref, document = opened(path)
    (shard,) = convert_range(ref, document, document.bedrock.ranges[0]).shards
    (turn,) = json.loads(cloud.s3.objects[shard_object(ref, shard.id).key].body)["modelInput"]["messages"]
    assert turn["content"][0]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}
