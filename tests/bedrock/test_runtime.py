"""Replies on demand: whatever came is the record's outcome, and nothing that may be paid for is called again unasked."""

import base64
import http.client
import json
from typing import Any

import pytest
import urllib3
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from tasks import aws
from tasks.bedrock import runtime
from tasks.bedrock.models import parse_model
from tasks.bedrock.records import RecordError, decode_output_lines
from tasks.bedrock.runtime import LostReplyError, Reply, invoke
from tasks.codecs.base import Answer, DecodeError
from tasks.codecs.decoder import Decoder
from tasks.errors import ConfigurationError, PipelineError
from tasks.openai_format.requests import CHAT
from tests.conftest import CLAUDE, LLAMA, NOVA, Sandbox
from tests.fakes import Cloud, raising

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


OPERATIONS = {"InvokeModel": CLAUDE, "Converse": LLAMA}


def ready(cloud: Cloud) -> None:
    """Have replies of Converse carry their bytes, as the real client's do."""
    usual = cloud.runtime.answer
    cloud.runtime.answer = lambda model, body: {**usual(model, body), aws.REPLY: b"{}"} if model == LLAMA else {}


def test_how_often_and_how_long_a_call_is_tried() -> None:
    assert (runtime._TRIES, runtime._BACK_OFF_SECONDS) == (9, 20.0)


@pytest.mark.parametrize("invocation", OPERATIONS)
@pytest.mark.parametrize(
    ("code", "status", "calls", "retryable"),
    [
        ("ThrottlingException", 429, 9, True),
        ("ServiceUnavailableException", 503, 9, True),
        ("InternalServerException", 500, 9, True),
        # Left for another round: the model failed, or took too long.
        ("ModelTimeoutException", 408, 1, True),
        ("ModelErrorException", 424, 1, False),
        ("ValidationException", 400, 1, False),
        # A gateway's own word for a reply that it did not get has no name; Bedrock's has.
        ("InternalFailure", 502, 9, True),
        ("ServiceUnavailable", 504, 9, True),
        ("503", 503, 9, True),
    ],
)
def test_what_is_called_again_and_how_often(
    cloud: Cloud, invocation: Any, code: str, status: int, calls: int, retryable: bool
) -> None:
    waited: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "back_off", lambda *given: waited.append(given))
        cloud.runtime.refuse(invocation, code, status, "no", times=None)
        reply = ask(OPERATIONS[invocation], invocation)
    assert outcome_of(reply) == RecordError(status, "no")
    assert (len(cloud.runtime.calls), reply.retryable) == (calls, retryable)
    assert waited == [(attempt, 20.0) for attempt in range(1, calls)]


@pytest.mark.parametrize("invocation", OPERATIONS)
def test_what_is_answered_in_the_end_is_answered(cloud: Cloud, invocation: Any) -> None:
    ready(cloud)
    cloud.runtime.refuse(invocation, "ThrottlingException", 429, times=8)
    reply = ask(OPERATIONS[invocation], invocation)
    assert (outcome_of(reply), reply.retryable, len(cloud.runtime.calls)) == (b"{}", False, 9)


@pytest.mark.parametrize("invocation", OPERATIONS)
@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_that_got_no_reply_may_have_passed_the_call_on(cloud: Cloud, invocation: Any, status: int) -> None:
    cloud.runtime.refuse(invocation, str(status), status)
    with pytest.raises(LostReplyError, match=str(status)):
        ask(OPERATIONS[invocation], invocation)
    assert len(cloud.runtime.calls) == 1


def read_timeout() -> Exception:
    return ReadTimeoutError(endpoint_url="http://nowhere.invalid")


@pytest.mark.parametrize("invocation", OPERATIONS)
@pytest.mark.parametrize("error", [read_timeout(), urllib3.exceptions.ProtocolError("x")], ids=["ours", "urllib3"])
def test_a_call_without_a_reply_may_have_been_carried_out(cloud: Cloud, invocation: Any, error: Exception) -> None:
    cloud.runtime.before(invocation, raising(error))
    with pytest.raises(LostReplyError, match=f"^{type(error).__name__}$"):
        ask(OPERATIONS[invocation], invocation)
    assert len(cloud.runtime.calls) == 1


@pytest.mark.parametrize("invocation", OPERATIONS)
def test_a_call_that_was_never_sent_is_sent_again(cloud: Cloud, invocation: Any) -> None:
    ready(cloud)
    cloud.runtime.before(invocation, raising(EndpointConnectionError(endpoint_url="http://nowhere.invalid")))
    assert outcome_of(ask(OPERATIONS[invocation], invocation)) == b"{}"
    assert len(cloud.runtime.calls) == 2


@pytest.mark.parametrize("invocation", OPERATIONS)
@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("AccessDeniedException", 403, "You don't have access."),
        ("ResourceNotFoundException", 404, "The model is not there."),
        ("ValidationException", 400, "The provided model identifier is invalid."),
        ("ValidationException", 400, "Invocation of model ID x with on-demand throughput isn't supported."),
    ],
)
def test_what_no_record_would_be_answered_for_ends_the_run(
    cloud: Cloud, invocation: Any, code: str, status: int, message: str
) -> None:
    cloud.runtime.refuse(invocation, code, status, f'{message} It was "TEXT OF A REQUEST".')
    with pytest.raises(ConfigurationError, match=f"cannot answer with model .*{code}") as caught:
        ask(OPERATIONS[invocation], invocation)
    assert OPERATIONS[invocation] in str(caught.value)
    assert "TEXT" not in str(caught.value)
    assert len(cloud.runtime.calls) == 1


def test_a_prompt_that_speaks_of_models_ends_no_run(cloud: Cloud) -> None:
    cloud.runtime.refuse("InvokeModel", "ValidationException", 400, 'Malformed: "the model id is wrong"')
    assert outcome_of(ask(CLAUDE, "InvokeModel")) == RecordError(400, 'Malformed: "the model id is wrong"')


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_credentials_that_end_are_not_the_models_fault(cloud: Cloud, code: str) -> None:
    cloud.runtime.refuse("InvokeModel", code, 403)
    with pytest.raises(ConfigurationError, match=code) as caught:
        ask(CLAUDE, "InvokeModel")
    assert "cannot answer with model" not in str(caught.value)


def test_without_credentials_nothing_is_called_again(cloud: Cloud) -> None:
    cloud.runtime.before("InvokeModel", raising(NoCredentialsError()), times=None)
    with pytest.raises(PipelineError, match="No usable AWS credentials"):
        ask(CLAUDE, "InvokeModel")
    assert len(cloud.runtime.calls) == 1


def test_what_does_not_fit_converse_is_that_records_error(cloud: Cloud) -> None:
    """It was never sent, and asking again changes nothing."""
    image = {"image": {"format": "png", "source": {"bytes": "no base64!"}}}
    for body in ({"messages": 5}, {"messages": [{"role": "user", "content": [image]}]}):
        reply = invoke("r000000000", json.dumps(body).encode(), LLAMA, "Converse")
        outcome = outcome_of(reply)
        assert isinstance(outcome, RecordError)
        assert (outcome.status, outcome.retryable, reply.retryable) == (400, False, False)
        assert outcome.message.startswith("The request does not fit the Converse API (")
    assert cloud.runtime.calls == []


def test_converse_gets_bytes_where_a_record_has_base64(cloud: Cloud) -> None:
    ready(cloud)
    text = base64.b64encode(b"\x00\xff").decode()
    image = {"image": {"format": "png", "source": {"bytes": text}}}
    thought = {"reasoningContent": {"redactedContent": text}}
    messages = [{"role": "user", "content": [{"text": text}, image]}, {"role": "assistant", "content": [thought]}]
    invoke("r000000000", json.dumps({"messages": messages}).encode(), LLAMA, "Converse")
    ((_, given),) = cloud.runtime.calls
    asked, answered = (message["content"] for message in given["messages"])
    assert asked == [{"text": text}, {"image": {"format": "png", "source": {"bytes": b"\x00\xff"}}}]
    assert answered == [{"reasoningContent": {"redactedContent": b"\x00\xff"}}]


class BrokenOff:
    """A body that ends before its length, or with its connection."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def iter_chunks(self, _size: int) -> Any:
        yield b'{"content":'
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ResponseStreamingError(error="x"),
        urllib3.exceptions.ProtocolError("x"),
        ConnectionResetError(),
        read_timeout(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_reply_that_breaks_off_is_the_records_reply(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(cloud.runtime, "InvokeModel", lambda **_: {"body": BrokenOff(error)})
    reply = ask(CLAUDE, "InvokeModel")
    outcome = outcome_of(reply)
    assert isinstance(outcome, RecordError)
    assert (outcome.status, outcome.unreadable, reply.retryable) == (502, True, False)
    assert "a reply of 11 bytes" in outcome.message
    assert len(cloud.runtime.calls) == 1


def test_a_reply_of_converse_that_breaks_off_is_paid_for(cloud: Cloud) -> None:
    broken = urllib3.exceptions.ProtocolError("x", http.client.IncompleteRead(b"{"))
    cloud.runtime.before("Converse", raising(HTTPClientError(error=broken)), times=None)
    reply = ask(LLAMA, "Converse")
    outcome = outcome_of(reply)
    assert isinstance(outcome, RecordError)
    assert (outcome.unreadable, reply.retryable, len(cloud.runtime.calls)) == (True, False, 1)


def test_a_body_is_json_and_so_is_its_reply(cloud: Cloud) -> None:
    ask(CLAUDE, "InvokeModel")
    ((_, given),) = cloud.runtime.calls
    assert (given["modelId"], given["contentType"], given["accept"]) == (CLAUDE, "application/json", "application/json")
