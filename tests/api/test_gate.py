"""What every request passes before anything reads it: its key, its rate, its id, its line in the log."""

import asyncio
import json
import re
import time
from typing import Any

import pytest

from deployments.api.gate import Rates, _Exchange, audit, presented_key
from tasks.api.errors import TooManyError
from tests.api.callers import tenant


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"Authorization", b"Bearer  abc ")], "abc"),
        ([(b"authorization", b"bearer abc")], "abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"api-key", b"azure"), (b"authorization", b"Bearer other")], "azure"),
        ([(b"X-Portkey-Api-Key", b"portkey"), (b"api-key", b"azure"), (b"authorization", b"Bearer x")], "portkey"),
        ([(b"x-portkey-api-key", b""), (b"authorization", b"Bearer abc")], "abc"),
        ([(b"api-key", b"\xff" * 5000)], "ÿ" * 4096),
    ],
)
def test_where_a_key_is(headers: list[tuple[bytes, bytes]], key: str | None) -> None:
    assert presented_key(headers) == key


def taken(rates: Rates, owner: Any, now: float, tries: int = 100) -> int:
    """How many requests of a moment are let through."""
    count = 0
    for _ in range(tries):
        try:
            rates.take(owner, now)
        except TooManyError:
            continue
        count += 1
    return count


def test_bursts_are_a_quarter_and_a_minute_has_so_many() -> None:
    rates, owner = Rates(), tenant(requests_per_minute=60)
    assert taken(rates, owner, 0.0) == 15
    assert taken(rates, owner, 0.5) == 0
    assert taken(rates, owner, 3.0) == 3
    assert taken(rates, owner, 1000.0) == 15, "what was not used is not kept beyond a burst"
    assert taken(rates, tenant("other", requests_per_minute=60), 1000.0) == 15, "each has its own"


def test_a_slow_rate_lets_one_through_and_none_is_no_limit() -> None:
    assert taken(Rates(), tenant(requests_per_minute=1), 0.0) == 1
    assert taken(Rates(), tenant(), 0.0) == 100


def exchange(**scope: Any) -> _Exchange:
    async def nothing(*_: Any) -> Any:
        return {"type": "http.request", "body": b"four"}

    given = {"method": "POST", "path": "/v1/files", "headers": [(b"user-agent", b"x" * 500)], **scope}
    return _Exchange(given, nothing, nothing)


async def _spoken(found: _Exchange) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    found._send = send
    await found.receive()
    await found.send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await found.send({"type": "http.response.body", "body": b"three"})
    return sent


def test_an_exchange_is_counted_and_named() -> None:
    found = exchange()
    start, _ = asyncio.run(_spoken(found))
    assert start["headers"] == [(b"a", b"b"), (b"x-request-id", found.id.encode())]
    assert found.scope["state"]["request_id"] == found.id
    line = json.loads(found.line())
    assert (line["bytes_in"], line["bytes_out"], line["status"]) == (4, 5, 201)
    assert (line["route"], line["tenant"], line["client"]) == ("unknown", None, None)
    assert len(line["user_agent"]) == 120
    assert exchange().id != found.id
    assert re.fullmatch("req_[0-9a-f]{32}", found.id)


def test_a_change_is_noted_by_who_and_which(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bedrock_batch.api.audit")
    audit(tenant(), "req_1", "file.delete", "é" * 5000)
    (record,) = caplog.records
    assert record.getMessage().isascii()
    entry = {"audit": "file.delete", "tenant": "acme", "id": "é" * 200, "request_id": "req_1"}
    assert json.loads(record.getMessage()) == entry


def test_a_line_of_the_log_is_one_line_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    found = exchange(path="/" + "é\n" * 500, method="M" * 50, client=("10.0.0.1", 5))
    monkeypatch.setattr(time, "perf_counter", lambda: 5.25)
    found.cause = "ZeroDivisionError"
    text = found.line()
    assert text.isascii()
    assert "\n" not in text
    line = json.loads(text)
    assert (len(line["path"]), len(line["method"]), line["client"]) == (200, 16, "10.0.0.1")
    assert (line["error"], line["ms"]) == ("ZeroDivisionError", 250)
