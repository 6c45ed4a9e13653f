"""Webhooks: what is sent, how it is signed, and what a reply means. When they are sent: `test_runner.py`."""

from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

from tasks.api.tenants import Webhook
from tasks.api.webhooks import deliver, event_of, signature

HOOK = Webhook(url="http://hooks.example/batches", secret="whsec_c2VjcmV0")


def test_signatures_are_those_of_standard_webhooks() -> None:
    """The example of the specification."""
    secret = "whsec_plJ3nmyCDGBKInavdOK15jsl"
    body = b'{"event_type":"ping","data":{"success":true}}'
    found = signature(secret, "msg_loFOjxBNrRLzqYUf", 1731705121, body)
    assert found == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_a_secret_that_is_no_base64_is_taken_as_it_is() -> None:
    assert signature("s!", "id", 1, b"x") == signature("whsec_s!", "id", 1, b"x")
    assert signature("whsec_cyE=", "id", 1, b"x") == signature("whsec_s!", "id", 1, b"x")
    assert signature("c2Vj!cmV0", "id", 1, b"x") != signature("c2VjcmV0", "id", 1, b"x")


def test_an_event_in_openais_shape() -> None:
    order: Any = SimpleNamespace(
        id="batch_1", created_at=3, final=SimpleNamespace(status="completed", completed_at=5, failed_at=None)
    )
    assert msgspec.json.decode(event_of(order, "evt_1")) == {
        "object": "event",
        "id": "evt_1",
        "type": "batch.completed",
        "created_at": 5,
        "data": {"id": "batch_1"},
    }
    order.final.status = "failed"
    other = msgspec.json.decode(event_of(order, "evt_1"))
    assert (other["type"], other["created_at"]) == ("batch.failed", 3)


class _Receiver:
    """Stands where the hook leads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
        self.seen: list[httpx.Request] = []
        client = httpx.Client

        def handle(request: httpx.Request) -> httpx.Response:
            self.seen.append(request)
            if isinstance(answer, Exception):
                raise answer
            return httpx.Response(answer, headers={"location": "http://elsewhere.example/"})

        def made(**options: Any) -> httpx.Client:
            assert options == {"trust_env": False, "follow_redirects": False, "timeout": 10.0}
            return client(transport=httpx.MockTransport(handle), **options)

        monkeypatch.setattr(httpx, "Client", made)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HTTPStatus.OK, None),
        (HTTPStatus.NO_CONTENT, None),
        (HTTPStatus.FOUND, "HTTP 302"),
        (HTTPStatus.BAD_GATEWAY, "HTTP 502"),
        (httpx.ConnectTimeout("slow"), "ConnectTimeout"),
    ],
)
def test_what_a_reply_means(monkeypatch: pytest.MonkeyPatch, answer: Any, said: str | None) -> None:
    receiver = _Receiver(monkeypatch, answer)
    assert deliver(HOOK, "evt_1", b"{}", 7) == said
    (sent,) = receiver.seen  # A redirect leads nowhere.
    assert (str(sent.url), sent.content) == (HOOK.url, b"{}")
    assert (sent.headers["webhook-id"], sent.headers["webhook-timestamp"]) == ("evt_1", "7")
    assert sent.headers["webhook-signature"] == signature("whsec_c2VjcmV0", "evt_1", 7, b"{}")
    assert (sent.headers["content-type"], sent.headers["user-agent"]) == ("application/json", "bedrock-batch-pipeline")


def test_a_secret_of_the_environment_signs_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_c2VjcmV0")
    receiver = _Receiver(monkeypatch, HTTPStatus.OK)
    assert deliver(Webhook(url=HOOK.url, secret_env="HOOK_SECRET"), "evt_1", b"{}", 7) is None
    assert receiver.seen[0].headers["webhook-signature"] == signature("whsec_c2VjcmV0", "evt_1", 7, b"{}")
