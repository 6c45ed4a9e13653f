"""Fuzzing of the way in: hostile texts, URLs and numbers in every place of a request, for every family.

However odd a line is, nothing raises, no other line suffers, and it ends as records of strict JSON or as an error that is
the line's own. `make test` tries some of the places with each model; FUZZ=20 tries nearly all.
"""

import io
import json
import math
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from tasks import aws
from tasks import convert as convert_module
from tasks.batch.document import BatchDocument, BedrockSection, Range, Segment
from tasks.batch.paths import BatchRef
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.codecs.base import InvocationType
from tasks.codecs.encoder import Encoder
from tasks.fast.line import FastEncoder
from tasks.inputs.media import Media
from tasks.inputs.summary import BadLines, InvalidLine
from tasks.openai_format.faults import HALF_PAIR, MAX_DEPTH, NO_NUMBER
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tasks.openai_format.results import decode_http_error, error_line
from tasks.shards.index import Index, requests_of
from tasks.shards.writer import ShardWriter
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri
from tasks.validate import Validator
from tests.codecs.helpers import CALL, PNG, RESULTS, TOOL
from tests.codecs.test_every_family import CHAT_MODELS, EMBEDDING_MODELS, SCHEMA
from tests.test_fuzz import WRITTEN, _Memory

pytestmark = pytest.mark.timeout(600)
#: Lines of each endpoint, mode and type of job that a model is given.
LINES = 24 * int(os.environ.get("FUZZ", "1"))
DATA = f"data:image/png;base64,{PNG}"
FILE = {"filename": "a.txt", "file_data": "QSBub3Rl"}

#: What no JSON writer writes; put into the line in place of these texts.
TOKENS = ["1e999", "-1e999", "1" * 400, "-" + "9" * 400, "1" * 5000, "NaN", "Infinity", "-Infinity", "-0", "1e-999",
          "18446744073709551616", "9" * 400 + ".5", "1.0", "0", "-1"]  # fmt: skip
DEEP = [f"{'[' * depth}{']' * depth}" for depth in (MAX_DEPTH - 20, MAX_DEPTH + 1, 930, 990, 5000)]
DEEP += ['{"type":"object","properties":{"a":' * depth + "{}" + "}}" * depth for depth in (60, 120, 490)]
TEXTS = [
    "", " ", "\u00a0", "\x00", "a\x00b\x1f", "\ud83d", "\udc00x", "a\ud83d\ud83d", "😀", "\ufeff", "\u2028", "x" * 3000,
    "..", "[" * 300, '"', "\\", "<|eot_id|>", "none", "auto", "required", "tool", "object", "#", "#/", "#/$defs/P", "%s{}",
]  # fmt: skip
ARGUMENTS = [
    '{"a": "\\ud83d"}', '{"\\udc00": 1}', '{"a": NaN}', '{"a": 1e999}', '{"a": [-Infinity]}', '{"a": ' + "1" * 5000 + "}",
    "[1]", "5", "null", '"x"', "{", '{"a":' * 150 + "1" + "}" * 150, '{"a":' * 900 + "1" + "}" * 900, '{"a": "\x00"}',
    '{"a": ' + "1" * 400 + "}", '{"a": 1, "a": 2}', " {} ", "{} {}", '{"a": "\\u0000"}', "\ufeff{}",
]  # fmt: skip
URLS = [
    "s3:///x.png", "s3://", "s3://b", "s3://b/", "s3:// /x", "s3://bücket/x", "s3://a b/c", "s3://b/" + "k" * 2000,
    "s3://arn:aws:s3:eu-west-1:1:accesspoint/x", "s3://arn:x/y", "s3://B_/../x", "s3://b/a\x00\n", "s3://b?x/y", "http://[::1/x",
    "http://host:99999/", "http://host:-1/", "http://host:x/", "http://host:0/", "http://", "https:///x", "http://u:p@h/x",
    "http://\x00/", "http://exa mple/x", "http://xn--/", "http://é.example/é", "http://例え.jp/", f"http://{'a' * 300}.com/", "http://.../",
    "http://1.2.3.4.5/", "https://[v1.x]/", "http://h\r\nX: y/", "https://h/\r\nX: y", "HTTP://X/", "ftp://x", "file:///etc/passwd",
    "data:", "data:,", "data:image/png;base64,", "data:image/png;base64,@@", "data:image/png;base64,é", f"{DATA}=", DATA[:-3],
    "data:image/png,xx", "data:;base64,AAAA", "data:text/plain;base64,/+8=", f"data:x/y;{'a=b;' * 50}base64,AAAA", "//x", "x",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, [], {}, [None], [[]], {"a": None}, {"type": {}}, {"type": []}, {"type": "function"}, {"\ud83d": 1}, {"": 1},
    {"$ref": "#"}, {"$ref": "#/"}, {"$ref": 3}, {"type": "text", "text": {}}, 0, -1, 1.5, 2**70, {"url": None}, ["a", 1], [{}],
]  # fmt: skip
HOSTILE: dict[str, list[Any]] = {
    "text": TEXTS, "arguments": ARGUMENTS, "url": URLS, "value": VALUES,
    "token": [f"token:{n}" for n in range(len(TOKENS))], "deep": [f"deep:{n}" for n in range(len(DEEP))],
}  # fmt: skip

#: Where such values are most at home.
AT_HOME = {"url": ["url"], "image_url": ["url"], "arguments": ["arguments"], "file_data": ["url"], "parameters": ["value", "deep"],
           "schema": ["value", "deep"]}  # fmt: skip

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
SEEN = {"role": "user", "content": [
    {"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}},
    {"type": "file", "file": FILE}]}  # fmt: skip
CALLED = {**CALL, "tool_calls": CALL["tool_calls"][:1]}  # type: ignore[index]
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "strict": True, "schema": SCHEMA}}
BODIES: dict[str, list[dict[str, Any]]] = {
    CHAT: [
        {"model": "m", "messages": [{"role": "system", "content": "Be brief"}, USER], "max_tokens": 5, "temperature": 0.5},
        {"model": "m", "messages": [SEEN, {"role": "assistant", "content": "ok", "refusal": None}, {**USER, "name": "u"}]},
        {"messages": [USER, CALLED, RESULTS[0]], "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"messages": [USER], "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        {"messages": [USER], "response_format": FORMAT, "max_completion_tokens": 50, "top_p": 0.5, "stop": ["END"]},
        {"messages": [USER], "response_format": {"type": "json_object"}, "n": 2, "stop": "END", "reasoning_effort": "low"},
        {"messages": [USER], "seed": 1, "logit_bias": {"1": 2}, "metadata": {"a": "b"}, "user": "u", "top_k": 3,
         "frequency_penalty": 0.5, "logprobs": True, "top_logprobs": 2, "modalities": ["text"]},
        {"messages": [USER], "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 3000,
         "additionalModelRequestFields": {"top_k": 3}, "anthropic_beta": ["x"], "service_tier": "flex", "store": False},
        {"messages": [USER, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                      {"role": "function", "name": "f", "content": "x"}],
         "functions": [{"name": "f", "parameters": SCHEMA}], "function_call": {"name": "f"}},
    ],
    COMPLETIONS: [
        {"model": "m", "prompt": "Say", "max_tokens": 5, "n": 2, "echo": True, "best_of": 2, "temperature": 1, "stop": ["x"]},
        {"prompt": ["a", "b"], "suffix": "s", "logprobs": 1, "top_p": 0.5, "seed": 3, "user": "u"},
    ],
    RESPONSES: [
        {"model": "m", "input": "Hi", "instructions": "Be brief", "max_output_tokens": 50, "temperature": 0.5, "metadata": {"a": "b"}},
        {"input": [{"role": "user", "content": [
            {"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": DATA}, {"type": "input_file", **FILE}]}],
         "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "medium"}},
        {"input": [{"type": "message", "role": "user", "content": "Hi"},
                   {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
                   {"type": "function_call_output", "call_id": "c", "output": "x"}],
         "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}], "tool_choice": "auto",
         "parallel_tool_calls": True, "include": [], "background": False, "truncation": "disabled"},
        {"input": "Hi", "reasoning": {"effort": "low", "summary": "auto"}, "previous_response_id": None, "top_p": 0.5, "store": True,
         "tools": [{"type": "web_search"}], "text": {"format": {"type": "json_object"}}, "max_tool_calls": None},
    ],
    EMBEDDINGS: [
        {"model": "m", "input": "Hi", "dimensions": 256, "encoding_format": "base64", "user": "u"},
        {"input": ["a", "b"], "input_type": "search_query", "truncate": "END", "normalize": True, "embeddingPurpose": "X"},
    ],
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a body: of a value, or (with a mark at its end) of a key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        if isinstance(key, str):
            yield (*path, key, KEY)
        yield from places(inner, (*path, key))


KEY = object()


def spoiled(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The body with another value, or key, in one place."""
    first, rest = path[0], path[1:]
    if isinstance(body, list):
        return [
            spoiled(item, rest, value) if rest and n == first else value if n == first else item
            for n, item in enumerate(body)
        ]
    if rest and rest[0] is KEY:
        return {(value if key == first else key): item for key, item in body.items()}
    return {
        key: (spoiled(item, rest, value) if rest else value) if key == first else item for key, item in body.items()
    }


def written(line: Any) -> bytes:
    text = json.dumps(line)
    for name, raw in (("token", TOKENS), ("deep", DEEP)):
        for number, token in enumerate(raw):
            text = text.replace(f'"{name}:{number}"', token)
    return text.encode()


SPOILED: Counter[str] = Counter()


def hostile_lines(endpoint: str, count: int, chance: random.Random) -> list[bytes]:
    """Lines with a hostile value or two each; now and then one as it should be."""
    lines: list[Any] = []
    for number in range(count):
        body: Any = chance.choice(BODIES[endpoint])
        line = {"custom_id": f"id-{number}", "method": "POST", "url": endpoint, "body": body}
        for _ in range(chance.choice([0, 1, 1, 1, 1, 2])):
            # What surrounds the body is fuzzed in test_fuzz.py.
            every = [path for path in places(line) if path[0] == "body" or chance.random() < 0.02]
            at_home = [path for path in every if path[-1] in AT_HOME]
            path = chance.choice(at_home if at_home and chance.random() < 0.4 else every)
            kind = chance.choice([*HOSTILE, *3 * AT_HOME.get(path[-1], [])])
            value = chance.choice(HOSTILE[kind])
            if path[-1] is KEY and not isinstance(value, str):
                continue
            try:
                line = spoiled(line, path, value)
            except (TypeError, AttributeError, IndexError):
                continue
            SPOILED[kind] += 1
            if not isinstance(line.get("body"), dict):
                break
        lines.append(written(line))
    return lines


def converted(
    lines: list[bytes], model: str, endpoint: str, unsupported: str, invocation: str, folder: Path
) -> list[list[Any]]:
    """What validation and conversion make of a file of lines: for each its custom_id, and its error or its records."""
    path = folder / "in.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    (source,) = find_sources(str(path))
    parsed = parse_model(model)

    def encoder() -> Encoder:
        return FastEncoder(parsed, endpoint, unsupported, invocation, Media(allow_http=True).fetch)  # type: ignore[arg-type]

    sampling = encoder()
    summary = Validator(endpoint, codec_for(parsed).endpoints, lambda line, _: sample(sampling, line)).run(
        [source], folder
    )
    assert summary.requests == len(lines)
    listed = summary.invalid_file.read_bytes().splitlines() if summary.invalid_file else []
    invalid = BadLines(InvalidLine(**bad) for bad in map(json.loads, listed))
    segment = Segment(source=0, start=0, end=path.stat().st_size, first_request=0, first_line=1, requests=len(lines))
    range_ = Range(index=0, segments=[segment])
    limits = {"max_records_per_job": 50_000, "max_bytes_per_file": 1 << 30, "min_records_per_job": 0, "max_jobs": 1}
    document = BatchDocument(id="b", endpoint=endpoint, input_file_id="i", completion_window="24h", status="validating",
                             created_at=1, bedrock=BedrockSection(model=model, family="x", options={}, limits=limits))  # fmt: skip
    ref = BatchRef(S3Uri("bucket", "prefix"), "b")
    WRITTEN.clear()
    index = Index()
    writers = {
        kind: ShardWriter(ref, range_, document, b"{}", kind, kind[:1].lower(), _Memory)  # type: ignore[arg-type]
        for kind in get_args(InvocationType)
    }
    converter = convert_module.Converter(document, encoder(), writers.__getitem__, index, summary.layout)
    converter.segment(source, segment, invalid)
    for writer in writers.values():
        writer.close()
    assert converter.requests == len(lines)
    records: dict[str, Any] = {}
    for each in WRITTEN:
        for line in bytes(each.data).decode().split("\n")[:-1]:
            record = strict(line)
            assert record["recordId"] not in records
            records[record["recordId"]] = record["modelInput"]
    outcomes: list[list[Any]] = [[None] for _ in lines]
    for group in requests_of(pq.ParquetFile(io.BytesIO(index.finish()))):
        for row in group:
            outcomes[row.request][0] = row.custom_id
            outcomes[row.request].append(
                decode_http_error(row.error) if row.error is not None else records.pop(str(row.record_id))
            )
    assert not records
    return outcomes


def sample(encoder: Encoder, line: bytes) -> tuple[int, int]:
    """As `size_sampler` counts."""
    from tasks.codecs.base import RequestError

    try:
        inputs = encoder.encode(line).model_inputs
    except RequestError:
        return 0, 0
    return len(inputs), sum(map(len, inputs))


def strict(text: str) -> Any:
    """JSON as the strictest reader takes it: no NaN, no number beyond a float, no half of a pair of surrogates."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    def finite(digits: str) -> float:
        assert math.isfinite(float(digits))
        return float(digits)

    value = json.loads(text, parse_constant=refuse, parse_float=finite)
    json.dumps(value, ensure_ascii=False).encode()
    return value


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs are taken apart as ever; then no name is known, and S3 has no object."""
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    def unknown(host: str, port: int, **_: Any) -> Any:
        host.encode("idna")
        raise OSError("no such name")

    def missing(request: Any, **_: Any) -> Any:
        body = io.BytesIO(b"<Error><Code>NoSuchKey</Code></Error>")
        body.stream = lambda **_: [body.getvalue()]  # type: ignore[attr-defined]
        return AWSResponse(request.url, 404, HTTPHeaders(), body)

    monkeypatch.setattr("tasks.inputs.media.socket.getaddrinfo", unknown)
    aws.s3().meta.events.register("before-send.s3", missing, unique_id="no_network")


OUTCOMES: Counter[str] = Counter()


def check(lines: list[bytes], outcomes: list[list[Any]]) -> None:
    for line, (custom_id, *found) in zip(lines, outcomes, strict=True):
        assert found, line[:300]
        for each in found:
            if isinstance(each, dict):
                OUTCOMES["record"] += 1
                continue
            assert len(found) == 1
            assert each.status == 400, (each, line[:600])
            assert each.message
            assert len(each.message) < 2000
            strict(error_line("r", custom_id, each).decode())
            OUTCOMES["error"] += 1
            OUTCOMES[each.code or ""] += 1
            OUTCOMES.update(
                kind
                for kind in (HALF_PAIR, NO_NUMBER, "levels deep", "plain http or https URL", "no bucket")
                if kind in each.message
            )


@pytest.mark.parametrize("model", [*CHAT_MODELS, *EMBEDDING_MODELS])
def test_hostile_values_in_every_place(model: str, no_network: None, tmp_path: Path) -> None:
    chance = random.Random(model)
    endpoints = sorted(codec_for(parse_model(model)).endpoints)
    for endpoint in endpoints:
        for unsupported in ("error", "drop"):
            for invocation in ("auto",) if endpoint == EMBEDDINGS else ("auto", "InvokeModel", "Converse"):
                lines = hostile_lines(endpoint, LINES // (4 if endpoint in (COMPLETIONS, EMBEDDINGS) else 1), chance)
                outcomes = converted(lines, model, endpoint, unsupported, invocation, tmp_path)
                check(lines, outcomes)


@pytest.mark.parametrize(
    "model",
    ["us.anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-lite-v1:0", "mistral.mistral-large-3-675b-instruct",
     "us.meta.llama4-scout-17b-instruct-v1:0", "cohere.command-r-plus-v1:0"],
)  # fmt: skip
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_every_hostile_value_where_it_is_at_home(model: str, endpoint: str, no_network: None, tmp_path: Path) -> None:
    lines: list[Any] = []
    for body in BODIES[endpoint]:
        for path in places(body):
            for kind in AT_HOME.get(path[-1], ()):
                for value in HOSTILE[kind]:
                    SPOILED[kind] += 1
                    line = {
                        "custom_id": f"id-{len(lines)}",
                        "method": "POST",
                        "url": endpoint,
                        "body": spoiled(body, path, value),
                    }
                    lines.append(written(line))
    for unsupported in ("error", "drop"):
        check(lines, converted(lines, model, endpoint, unsupported, "InvokeModel", tmp_path))


def test_the_hostile_cases_did_occur() -> None:
    """Of all that was tried above, in this process."""
    if OUTCOMES["record"] + OUTCOMES["error"] < 5000:
        pytest.skip("the tests above ran elsewhere")
    assert set(SPOILED) == set(HOSTILE)
    assert min(SPOILED.values()) > 500
    assert OUTCOMES["record"] > 1500
    for kind in (
        HALF_PAIR,
        NO_NUMBER,
        "levels deep",
        "plain http or https URL",
        "no bucket",
        "invalid_json_line",
        "unsupported_parameter",
    ):
        assert OUTCOMES[kind] > 1, kind
