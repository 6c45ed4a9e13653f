"""The Prefect server of `make up`: on its parent's socket, and gone with its parent."""

import signal
import sys
from typing import Any

import pytest

from deployments import prefect_server


def test_it_ends_when_standard_input_does(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[Any] = []
    input_ = iter([b"x", b"y", b""])

    def read(number: int, size: int) -> bytes:
        did.append(number)
        return next(input_)

    monkeypatch.setattr("os.read", read)
    monkeypatch.setattr("os.getpid", lambda: 42)
    monkeypatch.setattr("os.kill", lambda *given: did.append(given))
    monkeypatch.setattr("time.sleep", lambda seconds: did.append(f"{seconds} s"))
    monkeypatch.setattr("os._exit", lambda status: did.append(f"exit {status}"))
    prefect_server._end_with_parent()
    # In order first; where that hangs, all the same.
    assert did == [0, 0, 0, (42, signal.SIGTERM), "10 s", "exit 1"]


def test_it_serves_the_socket_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    watched: list[Any] = []
    served: list[tuple[Any, Any]] = []

    class Thread:
        def __init__(self, target: Any, daemon: bool) -> None:
            self.of = (target, daemon)

        def start(self) -> None:
            watched.append(self.of)

    class Server:
        def __init__(self, config: Any) -> None:
            self.config = config

        def run(self, sockets: list[Any]) -> None:
            served.append((self.config, sockets))

    monkeypatch.setattr("threading.Thread", Thread)
    monkeypatch.setattr("socket.socket", lambda fileno: f"socket {fileno}")
    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr("prefect.server.api.server.create_app", lambda final: ("app", final))
    monkeypatch.setattr(sys, "argv", ["x", "7"])
    prefect_server.main()
    assert watched == [(prefect_server._end_with_parent, True)]
    ((config, sockets),) = served
    assert sockets == ["socket 7"]
    assert config.app == ("app", True)
    assert (config.log_level, config.timeout_keep_alive, config.timeout_graceful_shutdown) == ("warning", 5, 5)
