"""Connections of the sandbox's servers: kept open from call to call, and cut off where a reply is to be lost."""

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from werkzeug.serving import make_server

from deployments.sandbox.connections import Handler

Start = Callable[..., Any]


def application(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """What a path asks for; bodies of requests are left unread, but by /echo."""
    match environ["PATH_INFO"]:
        case "/echo":
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        case "/lost":
            raise ConnectionAbortedError("connection reset")
        case "/broken":
            raise ValueError("a mistake")
        case "/short":
            start_response("200 OK", [("Content-Length", "10")])
            return [b"abcde"]
        case "/breaking":
            start_response("200 OK", [("Content-Length", "10")])
            return _breaking()
        case "/none":
            start_response("204 No Content", [])
            return []
        case _:
            start_response("200 OK", [])
            return [b"with", b"out"]


def _breaking() -> Iterator[bytes]:
    yield b"abc"
    raise ConnectionAbortedError("broken off")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    opened.connect()
    # Nothing here connects anew: a reply that is read came over the first connection.
    opened.auto_open = 0
    yield opened
    opened.close()


def test_calls_follow_one_another_on_one_connection(connection: http.client.HTTPConnection) -> None:
    """Whatever became of the body of the one before, and of a reply without a length or a body."""
    calls: list[tuple[str, str, Any, bytes]] = [
        ("PUT", "/echo", b"x" * 3_000_000, b"x" * 3_000_000),
        ("PUT", "/unread", b"y" * 3_000_000, b"without"),
        ("HEAD", "/", b"", b""),
        ("DELETE", "/none", b"", b""),
        ("GET", "/", b"", b"without"),
        ("PUT", "/echo", iter([b"in ", b"chunks"]), b"in chunks"),
        ("PUT", "/echo", b"last", b"last"),
    ]
    for method, path, sent, body in calls:
        connection.request(method, path, sent)
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (204 if path == "/none" else 200, body), (method, path)
        assert reply.getheader("connection") is None


def test_a_client_that_waits_is_told_to_go_on(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("PUT", "/echo")
    connection.putheader("Content-Length", "2")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"ab")
    assert connection.getresponse().read() == b"ab"


def test_a_lost_reply_is_none(connection: http.client.HTTPConnection) -> None:
    connection.request("PUT", "/lost", b"body")
    with pytest.raises(ConnectionError):
        connection.getresponse()


@pytest.mark.parametrize("path", ["/short", "/breaking"])
def test_what_is_cut_off_ends_with_its_connection(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    with pytest.raises(http.client.IncompleteRead) as caught:
        connection.getresponse().read()
    assert caught.value.partial == {"/short": b"abcde", "/breaking": b"abc"}[path]


def test_a_mistake_of_the_imitation_is_its_error(
    connection: http.client.HTTPConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.request("PUT", "/broken", b"z" * 100)
    reply = connection.getresponse()
    assert reply.status == 500
    assert reply.getheader("connection") == "close"
    assert [record.exc_info is not None for record in caplog.records] == [True]
