"""Fuzzing of what comes back: whatever a reply or an output line holds, it costs its own request at most.

`make test` tries some thousands of answers, of every family, endpoint and type of job; FUZZ=20 multiplies that.
"""

import base64
import functools
import json
import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deployments.sandbox import models as sandbox_models
from deployments.sandbox.checks import Refused
from tasks.batch.document import BatchDocument, BedrockSection, Range, Segment, Shard
from tasks.batch.paths import BatchRef
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import record_id
from tasks.bedrock.records import encode_output_line
from tasks.codecs import codec_of
from tasks.codecs.base import InvocationType, RequestError
from tasks.codecs.encoder import Encoder
from tasks.normalize import Normalizer
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tasks.results.answers import ANSWERED, MISSING, RETRYABLE, Answers
from tasks.results.files import Result, _table_of_rows
from tasks.shards.index import IndexRow
from tasks.storage.uris import S3Uri
from tests.codecs.helpers import TOOL
from tests.codecs.test_every_family import CHAT_MODELS, EMBEDDING_MODELS, TYPES
from tests.occurring import happened, occurring

pytestmark = pytest.mark.timeout(600)
CASES = 1200 * int(os.environ.get("FUZZ", "1"))
SLOW = {"suppress_health_check": list(HealthCheck)}

_FUNCTION: dict[str, Any] = TOOL["function"]
BODIES: dict[str, list[dict[str, Any]]] = {
    CHAT: [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], "tool_choice": "required", "n": 2},
        {"messages": [{"role": "user", "content": "Hi"}], "functions": [_FUNCTION], "function_call": "auto"},
        {"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_object"}},
    ],
    COMPLETIONS: [{"prompt": ["a", "b"], "echo": True, "n": 2}],
    RESPONSES: [
        {"input": "Hi"},
        {"input": "Hi", "tools": [{"type": "function", **_FUNCTION}], "tool_choice": "required"},
    ],
    EMBEDDINGS: [{"input": ["a", "b"]}, {"input": "a", "encoding_format": "base64"}],
}


class Case(NamedTuple):
    """One request, and what its model answers."""

    model: str
    endpoint: str
    invocation: InvocationType
    answer: dict[str, Any]
    contexts: list[bytes | None]


def _cases() -> Iterator[Case]:
    for endpoint, bodies in BODIES.items():
        for model in EMBEDDING_MODELS if endpoint == EMBEDDINGS else CHAT_MODELS:
            for body in bodies:
                for wanted in ("InvokeModel",) if endpoint == EMBEDDINGS else ("InvokeModel", "Converse"):
                    encoder = Encoder(parse_model(model), endpoint, "drop", wanted)  # type: ignore[arg-type]
                    try:
                        encoded = encoder.encode(json.dumps({"custom_id": "x", "body": body}).encode())
                        sent = json.loads(encoded.model_inputs[0])
                        answer = sandbox_models.answer(model, sent, encoded.invocation, batch=True)
                    except (RequestError, Refused):
                        continue
                    yield Case(model, endpoint, encoded.invocation, answer, encoded.contexts)


ALL = list(_cases())
#: One of each family, endpoint and type of job, with the plainest request.
EACH = list(
    {(codec_of(parse_model(c.model), c.invocation).family, c.endpoint, c.invocation): c for c in ALL[::-1]}.values()
)
#: Values where others belong, as JSON writes them; the last can be in no JSON, or in none that a strict reader takes.
VALUES = [
    b"null", b"true", b"0", b"-1", b"1.5", b"2147483648", b"9223372036854775808", b"1180591620717411303424", b"1e999",
    b"9" * 5000, b'""', b'"text"', b"[]", b"{}", b"[null]", b'[[1,"a"]]', b'{"a":1}', b'{"text":5,"type":"text"}',
    '"\u2028\u2029\x85"'.encode(), b"1e300", b'"12"', b"[" * 300 + b"]" * 300, b'"' + b"x" * 100_000 + b'"',
]  # fmt: skip
SURROGATES = [rb'"\ud800"', rb'"\udc00\ud83d\ude00"', b'"\xed\xa0\x80"', b'{"\xed\xbf\xbf":"\xed\xa0\xbd\xed\xb8\x80"}']
BROKEN = [
    b'"\xff"',
    b'{"\xff":1}',
    b'"a\tb"',
    b'"a\nb"',
    b"NaN",
    b"-",
    b'"',
    b"",
    b"[" * 5000 + b"]" * 5000,
    b"{}}",
    b"\x00",
]
TOKENS = VALUES + SURROGATES + BROKEN


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values within a value."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value[:3]):
            yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], token: bytes) -> bytes:
    """JSON of a value, with a token at a path."""
    if not path:
        return token
    copy = json.loads(json.dumps(value))
    inner = functools.reduce(lambda node, key: node[key], path[:-1], copy)
    inner[path[-1]] = "@here@"
    return json.dumps(copy).encode().replace(b'"@here@"', token, 1)


@functools.cache
def normalizer_of(model: str, endpoint: str, invocation: InvocationType, records: int) -> Normalizer:
    segment = Segment(source=0, start=0, end=1, first_request=0, first_line=1, requests=1)
    range_ = Range(index=0, segments=[segment])
    shard = Shard(id="s", ranges=[0], invocation=invocation, records=records)
    section = BedrockSection(
        model=model, family="x", options={}, limits={}, sources=[{"name": "in.jsonl"}], ranges=[range_], shards=[shard]
    )
    document = BatchDocument(id="batch_0123456789abcdef", endpoint=endpoint, input_file_id="i",
                             completion_window="24h", status="in_progress", created_at=1, bedrock=section)  # fmt: skip
    return Normalizer(BatchRef(S3Uri("bucket", "prefix"), document.id), document, range_)


def result_of(case: Case, line: bytes) -> tuple[Result, Answers]:
    """What becomes of a request whose first record came back so, and the others well."""
    normalizer = normalizer_of(case.model, case.endpoint, case.invocation, len(case.contexts))
    rows = [
        IndexRow(0, "id\u2028", 0, 1, choice, record_id(0, choice), "s", context, None)
        for choice, context in enumerate(case.contexts)
    ]
    good = json.dumps(case.answer).encode()
    others = [encode_output_line(row.record_id or "", good) for row in rows[1:]]
    with Answers(0, np.array([len(rows)]), 1) as answers:
        answers._add(b"".join([*others, line]), 1)
        result = normalizer.result_of(rows, 0, answers)
    # The net is for the users' answers, not for our faults.
    assert not normalizer.oddities
    check(result, case)
    return result, answers


def check(result: Result, case: Case) -> None:
    """One line, in valid JSON and UTF-8, that OpenAI's types take, and rows that go into the table."""
    (line,) = result.line.decode().splitlines()
    parsed = json.loads(line)
    json.dumps(parsed, ensure_ascii=False).encode()
    assert parsed["custom_id"] == "id\u2028"
    _table_of_rows(result.rows)
    if not result.ok:
        assert parsed["response"] is None or 400 <= parsed["response"]["status_code"] < 600
        return
    body = parsed["response"]["body"]
    if case.endpoint == EMBEDDINGS:
        # OpenAI's client unpacks base64 before its type holds it.
        for entry in body["data"]:
            if isinstance(entry["embedding"], str):
                data = base64.b64decode(entry["embedding"])
                entry["embedding"] = list(struct.unpack(f"<{len(data) // 4}f", data))
    TYPES[case.endpoint].model_validate(body, strict=case.endpoint == CHAT)


def in_job(output: bytes, first: bool) -> bytes:
    """A line of a job's output around a modelOutput, its recordId first or last."""
    echo = b'"modelInput":{"recordId":"r000000009"}'
    if first:
        return b'{"recordId":"r000000000",%b,"modelOutput":%b}\n' % (echo, output)
    return b'{%b,"modelOutput":%b,"recordId":"r000000000"}\n' % (echo, output)


@st.composite
def hostile(draw: Any) -> tuple[Case, bytes]:
    """A model's answer with something else in some places, or some bytes changed, or no answer at all."""
    case = draw(st.sampled_from(ALL))
    how = draw(st.integers(0, 9))
    if how == 0:
        return case, draw(st.binary(max_size=40) | st.sampled_from([*TOKENS, b"<html>", b"\xef\xbb\xbf{}", b"{}{}"]))
    path = draw(st.sampled_from(list(places(case.answer))))
    output = replaced(
        case.answer, path, draw(st.sampled_from(TOKENS) | st.text(max_size=5).map(json.dumps).map(str.encode))
    )
    if how == 1 and output:
        place = draw(st.integers(0, len(output) - 1))
        output = output[:place] + draw(st.binary(max_size=3)) + output[place + draw(st.integers(0, 2)) :]
    elif how == 2:
        output = output[: draw(st.integers(0, len(output)))]
    return case, output


@occurring(answered=50, failed=50)
@settings(max_examples=CASES, **SLOW)  # type: ignore[arg-type]
@given(hostile(), st.booleans())
@example((ALL[0], b"<html>"), True)
def test_whatever_comes_back_costs_one_request_at_most(reply: tuple[Case, bytes], first: bool) -> None:
    case, output = reply
    _, answers = result_of(case, encode_output_line("r000000000", output))
    assert answers.kinds[0] != MISSING
    assert not answers.oddities
    happened("answered" if answers.kinds[0] == ANSWERED else "failed")
    if b"\n" not in output:
        _, answers = result_of(case, in_job(output, first))
        # Where the id stands behind what is no JSON, it may not be found.
        assert answers.kinds[0] != MISSING or (not first and answers.oddities)


def usage_places(answer: Any) -> Iterator[tuple[Any, ...]]:
    for path in places(answer):
        if any("usage" in str(key).lower() or "token" in str(key).lower() for key in path):
            yield path


@pytest.mark.parametrize("token", [*VALUES, *SURROGATES], ids=lambda token: token[:12].decode("latin-1"))
def test_a_usage_that_cannot_be_read_is_absent_and_the_answer_stays(token: bytes) -> None:
    for case in EACH:
        good, _ = result_of(case, encode_output_line("r000000000", json.dumps(case.answer).encode()))
        assert good.ok
        for path in usage_places(case.answer):
            result, _ = result_of(case, in_job(replaced(case.answer, path, token), True))
            assert result.ok, (case.model, path)
            assert said(result) == said(good)


def said(result: Result) -> Any:
    """A body without its usage."""
    body = json.loads(result.line)["response"]["body"]
    body.pop("usage", None)
    return body


def test_lone_surrogates_are_delivered_as_replacement_characters() -> None:
    for case in EACH:
        longest = max(
            (path for path in places(case.answer) if isinstance(_at(case.answer, path), str)),
            key=lambda path: len(_at(case.answer, path)),
            default=None,
        )
        for token in (rb'"a\ud800b"', b'"a\xed\xa0\x80b"'):
            if longest is None:
                continue
            for line in (
                encode_output_line("r000000000", replaced(case.answer, longest, token)),
                in_job(replaced(case.answer, longest, token), False),
            ):
                result, _ = result_of(case, line)
                assert result.ok
                assert "\\ud" not in result.line.decode()


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, value)


codes = st.sampled_from([*TOKENS, b"400", b'"429"', b"404.0", b"200", b"99999", b'"\xc2\xb2"'])


@occurring(refused=10, retryable=10)
@settings(max_examples=CASES // 4, **SLOW)  # type: ignore[arg-type]
@given(codes, codes, codes, st.sampled_from([b"", b'"x"']), st.booleans())
def test_an_error_is_one_error_line(code: bytes, message: bytes, expired: bytes, whole: bytes, first: bool) -> None:
    error = whole or b'{"errorCode":%b,"errorMessage":%b,"expired":%b}' % (code, message, expired)
    if b"\n" in error:
        return
    line = b'{"recordId":"r000000000","error":%b}' if first else b'{"error":%b,"recordId":"r000000000"}'
    result, answers = result_of(ALL[0], line % error)
    assert not result.ok
    assert answers.kinds[0] != ANSWERED
    assert answers.kinds[0] != MISSING or not first
    happened("retryable" if answers.kinds[0] == RETRYABLE else "refused", answers.kinds[0] != MISSING)


@occurring(counted=20)
@settings(max_examples=CASES // 4, **SLOW)  # type: ignore[arg-type]
@given(
    st.sampled_from([b'"r000000000c%b"' % (b"9" * 5000), b'"r%b"' % (b"0" * 5000), b'"%b"' % (b"x" * 100_000), *TOKENS])
    | st.text(max_size=12).map(json.dumps).map(str.encode)
)
def test_an_id_of_any_kind_is_somebody_elses(given_id: bytes) -> None:
    line = b'{"recordId":%b,"modelOutput":{}}' % given_id
    with Answers(0, np.array([1])) as answers:
        answers._add(line, 1)
        assert answers.kinds[0] == MISSING or b"r000000000" in given_id
        padding = given_id.startswith(b'"pad')
        happened("counted", answers.oddities)
        assert sum(answers.oddities.values()) == (
            len(line.split(b"\n")) if answers.kinds[0] == MISSING and not padding else 0
        )
