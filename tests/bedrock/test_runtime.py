"""Replies on demand: whatever came is the record's outcome, and nothing that may be paid for is called again unasked."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks import aws
from tasks.bedrock import runtime
from tasks.bedrock.models import parse_model
from tasks.bedrock.records import RecordError, decode_output_lines
from tasks.bedrock.runtime import LostReplyError, Reply, invoke
from tasks.codecs.base import Answer, DecodeError
from tasks.codecs.decoder import Decoder
from tasks.openai_format.requests import CHAT
from tests.conftest import CLAUDE, LLAMA, NOVA, Sandbox
from tests.fakes import Cloud

BODIES: dict[str, Any] = {
    CLAUDE: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
    },
    NOVA: {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
    LLAMA: {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
}
WAYS = [(CLAUDE, "InvokeModel"), (NOVA, "InvokeModel"), (LLAMA, "Converse")]
REPAIRED = ("lone surrogate", "raw surrogate")
READABLE = ("line separators", "pretty", "null usage", "object usage", *REPAIRED)
UNREADABLE = ("html", "empty", "null", "list", "cut off", "broken off", "raw tab", "invalid utf-8")


def ask(model: str, invocation: Any) -> Reply:
    return invoke("r000000000", json.dumps(BODIES[model]).encode(), model, invocation)


def outcome_of(reply: Reply) -> bytes | RecordError:
    (record,), unreadable = decode_output_lines(reply.line)
    assert (record.record_id, unreadable, reply.line.count(b"\n")) == ("r000000000", 0, 1)
    return record.outcome


@pytest.mark.parametrize(("model", "invocation"), WAYS)
@pytest.mark.parametrize("kind", READABLE)
def test_answers_that_can_be_read(sandbox: Sandbox, model: str, invocation: Any, kind: str) -> None:
    sandbox.faults(rubbish_replies=[kind])
    outcome = outcome_of(ask(model, invocation))
    assert isinstance(outcome, bytes)
    answer = Decoder(parse_model(model), CHAT, invocation).decode(outcome, None)
    assert isinstance(answer, Answer)
    before = {"line separators": "\u2028\u2029\x85"}.get(kind, "\ufffd" if kind in REPAIRED else "")
    assert (answer.content or "").startswith(before + "Synthetic")
    assert (answer.usage is None) == kind.endswith("usage")
    assert sandbox.journal()["paid"] == 1


@pytest.mark.parametrize(("model", "invocation"), WAYS)
@pytest.mark.parametrize("kind", UNREADABLE)
def test_replies_that_cannot_be_read_are_paid_once(sandbox: Sandbox, model: str, invocation: Any, kind: str) -> None:
    sandbox.faults(rubbish_replies=[kind])
    reply = ask(model, invocation)
    outcome = outcome_of(reply)
    assert not reply.retryable
    if isinstance(outcome, bytes):
        with pytest.raises(DecodeError):
            Decoder(parse_model(model), CHAT, invocation).decode(outcome, None)
    else:
        assert outcome.unreadable
        assert not outcome.retryable
    assert sandbox.journal()["paid"] == 1


@pytest.mark.parametrize(("model", "invocation"), WAYS)
@pytest.mark.parametrize("fault", ["lose_invoke_replies", "gateway_replies"])
def test_a_lost_reply_is_the_callers_to_count(sandbox: Sandbox, model: str, invocation: Any, fault: str) -> None:
    sandbox.faults(**{fault: 1})
    with pytest.raises(LostReplyError):
        ask(model, invocation)
    assert sandbox.journal()["paid"] == 1
    assert isinstance(outcome_of(ask(model, invocation)), bytes)


@pytest.mark.parametrize(("model", "invocation"), WAYS)
def test_what_was_not_carried_out_is_tried_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, model: str, invocation: Any
) -> None:
    monkeypatch.setattr(aws, "back_off", lambda *_: None)
    for fault in ("throttle", "server_error"):
        sandbox.faults(**{fault: 0.5})
        for _ in range(10):
            assert isinstance(outcome_of(ask(model, invocation)), bytes)
        sandbox.faults(**{fault: 1.0})
        calls = sandbox.calls(invocation)
        reply = ask(model, invocation)
        assert reply.retryable
        assert sandbox.calls(invocation) - calls == runtime._TRIES
        sandbox.faults(**{fault: 0.0})
    assert sandbox.journal()["paid"] == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"5",
        b"null",
        b'"x"',
        b"<html>",
        b"\xff",
        b"[" * 5000,
        b"1" * 5000,
        b'{"__type":5,"message":{}}',
        b'{"message":"\\ud800"}',
        b'{"message":null,"code":[1]}',
        b'{"Message":"why","originalStatusCode":"x"}',
    ],
)
@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_errors_that_cannot_be_read_are_errors(sandbox: Sandbox, body: bytes, status: int) -> None:
    """botocore's own parser raises for some of them whatever it stumbles over."""

    shapes = aws.runtime().meta.service_model.operation_model("Converse")
    response: dict[str, Any] = {"headers": {}, "body": body, "status_code": status}
    aws.keep_reply(response, {})
    from botocore.parsers import create_parser

    assert shapes.output_shape is not None
    parsed = create_parser("rest-json").parse(response, shapes.output_shape)
    error = ClientError(parsed, "Converse")
    assert aws.status_of(error) == status
    record = runtime.error_reply("r1", aws.status_of(error), aws.message_of(error))
    outcome = decode_output_lines(record.line)[0][0].outcome
    assert isinstance(outcome, RecordError)
    assert 400 <= outcome.status < 600


@pytest.mark.parametrize(("model", "invocation"), WAYS)
def test_a_service_tier_goes_with_the_call(cloud: Cloud, model: str, invocation: Any) -> None:
    body = json.dumps(BODIES[model]).encode()
    if invocation == "Converse":
        cloud.runtime.answer = lambda _model, _body: {aws.REPLY: b"{}"}
    invoke("r000000000", body, model, invocation)
    invoke("r000000000", body, model, invocation, "flex")
    given = [parameters.get("serviceTier") for _, parameters in cloud.runtime.calls]
    assert given == [None, {"type": "flex"} if invocation == "Converse" else "flex"]
