"""`make up`: what it starts, in which order, with which settings, and what it does where something is in the way."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments import up
from deployments.sandbox import NOTICE
from flows.cli.process import SYNTHETIC

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
THREE = [HAIKU, "us.amazon.nova-pro-v1:0", "us.amazon.nova-micro-v1:0"]
SAMPLE, LABELS = str(up.SAMPLE), str(up.LABELS)


class _Started:
    """A process that was started."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        self.ended: float | None = None
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[_Started]:
    """What was started, none of which runs."""
    made: list[_Started] = []

    def popen(command: list[str], **options: Any) -> _Started:
        made.append(_Started(command, **options))
        return made[-1]

    def end(process: _Started, seconds: float) -> None:
        process.ended = seconds

    monkeypatch.setattr("subprocess.Popen", popen)
    monkeypatch.setattr(up, "end", end)
    return made


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of somebody else's."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken_is_left_alone(started: list[_Started], taken: int) -> None:
    with pytest.raises(SystemExit) as caught, up._prefect_server(taken):
        pass
    assert str(caught.value).startswith(f"Port {taken} is taken")
    assert "PREFECT_SERVER_API_PORT" in str(caught.value)
    assert started == []


def test_the_server_is_ours_and_ends_with_the_block(started: list[_Started], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(up, "_wait_for", lambda url, server: waited.append((url, server)))
    with up._listen(0) as probe:
        port = probe.getsockname()[1]
        assert probe.getsockname()[0] == "127.0.0.1"
    with pytest.raises(KeyError), up._prefect_server(port):
        (server,) = started
        assert server.command[:3] == [sys.executable, "-m", "deployments.prefect_server"]
        (number,) = server.options["pass_fds"]
        assert server.command[3:] == [str(number)]
        # Its input ends with us, and Ctrl-C is not for it: it is asked to end in its turn.
        assert server.options["stdin"] == subprocess.PIPE
        assert server.options["start_new_session"] is True
        assert waited == [(f"http://127.0.0.1:{port}/api/health", server)]
        assert server.ended is None
        raise KeyError
    assert server.ended == 20


def test_a_server_is_waited_for_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    asked: list[Any] = []
    answers = iter([OSError("refused"), urllib.error.URLError("no"), None])

    def sleep(seconds: float) -> None:
        clock["now"] += seconds

    def urlopen(url: str, timeout: float) -> Any:
        asked.append((url, timeout))
        found = next(answers)
        if found is not None:
            raise found
        return io.BytesIO()

    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    server: Any = _Started([])
    up._wait_for("http://x/api/health", server)
    assert asked == [("http://x/api/health", 5)] * 3
    assert clock["now"] == 1.0
    # One that never answers, and one that has ended.
    answers = iter([OSError("refused")] * 1000)
    with pytest.raises(SystemExit, match="did not answer within 180 seconds"):
        up._wait_for("http://x/api/health", server)
    assert clock["now"] == pytest.approx(181, abs=1)
    server.status = 1
    with pytest.raises(SystemExit, match="did not start"):
        up._wait_for("http://x/api/health", server)


def test_the_api_server_and_its_log(started: list[_Started], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "x")
    monkeypatch.delenv("BEDROCK_BATCH_API_KEY")
    with up._listen(0) as probe:
        port = probe.getsockname()[1]
    with up._api_server(port):
        (server,) = started
        assert server.command == [sys.executable, "-m", "deployments.api", "--port", str(port), "--with-parent"]
        assert server.options["stdin"] == subprocess.PIPE
        assert server.options["start_new_session"] is True
        assert server.options["stderr"].name == str(tmp_path / "api.log")
        assert os.environ["BEDROCK_BATCH_API_KEY"] == up.API_KEY == "sandbox-key-0123456789"
    assert server.ended == 20
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "mine")
    with up._api_server(port):
        assert os.environ["BEDROCK_BATCH_API_KEY"] == "mine"


def test_without_a_port_for_the_api_the_rest_goes_on(
    started: list[_Started], taken: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "mine")
    went_on = False
    with up._api_server(taken):
        went_on = True
    assert went_on
    assert started == []
    assert capsys.readouterr().out == (
        f"Port {taken} is taken: there is no OpenAI-compatible server (--api-port names another).\n"
    )


@pytest.fixture
def signals() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


class Parts:
    """What `main` puts together, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[Any] = []
        for name in ("PREFECT_HOME", "PREFECT_SERVER_API_PORT", "PREFECT_API_URL", "PREFECT_SERVER_ANALYTICS_ENABLED"):
            # Set and deleted: so it is put back.
            monkeypatch.setenv(name, "x")
            monkeypatch.delenv(name)
        monkeypatch.setenv("BEDROCK_BATCH_API_KEY", up.API_KEY)
        for name in ("_prefect_server", "_api_server"):
            monkeypatch.setattr(up, name, lambda port, name=name: self.within(name, port))
        monkeypatch.setattr(up, "running", lambda **given: self.within("sandbox", given))
        monkeypatch.setattr(up, "_save_settings", lambda settings: self.order.append(("settings", settings)))
        monkeypatch.setattr(up, "_serve", self.serve)
        monkeypatch.setattr(sys, "argv", ["up"])

    @contextlib.contextmanager
    def within(self, name: str, given: Any) -> Iterator[dict[str, str]]:
        self.order.append((name, given))
        try:
            yield {"of": "sandbox"}
        finally:
            self.order.append(f"end of {name}")

    def serve(self) -> None:
        self.order.append("serve")
        raise KeyboardInterrupt


@pytest.mark.usefixtures("signals")
def test_all_of_it_until_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    parts = Parts(monkeypatch)
    up.main()
    assert parts.order == [
        ("_prefect_server", 4200),
        ("sandbox", {"seconds": 20.0}),
        ("settings", {"of": "sandbox"}),
        ("_api_server", 8000),
        "serve",
        "end of _api_server",
        "end of sandbox",
        "end of _prefect_server",
    ]
    assert os.environ["PREFECT_HOME"] == str(up.ROOT / ".prefect")
    assert os.environ["PREFECT_SERVER_API_PORT"] == "4200"
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    out = capsys.readouterr().out
    assert NOTICE in out
    assert "http://127.0.0.1:4200/deployments" in out
    assert "base_url http://127.0.0.1:8000/v1, api_key sandbox-key-0123456789" in out
    assert out.endswith("\nStopped.\n")


@pytest.mark.usefixtures("signals")
def test_ports_a_home_and_a_key_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parts = Parts(monkeypatch)
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "secret-of-mine")
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4321")
    up.main()
    assert parts.order[0] == ("_prefect_server", 4321)
    monkeypatch.setattr(sys, "argv", ["up", "--port", "5555", "--home", str(tmp_path), "--api-port", "7777"])
    parts.order.clear()
    up.main()
    assert (parts.order[0], parts.order[3]) == (("_prefect_server", 5555), ("_api_server", 7777))
    assert os.environ["PREFECT_HOME"] == str(tmp_path)
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:5555/api"
    out = capsys.readouterr().out
    assert "secret-of-mine" not in out
    assert "base_url http://127.0.0.1:7777/v1, api_key BEDROCK_BATCH_API_KEY" in out


@pytest.mark.usefixtures("signals")
def test_a_request_to_stop_is_ctrl_c_but_for_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    Parts(monkeypatch)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    up.main()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_the_sandboxs_settings_are_the_block_that_flows_look_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.settings import BedrockBatchSettings

    did: list[Any] = []
    monkeypatch.setattr(BedrockBatchSettings, "register_type_and_schema", lambda: did.append("registered"))

    def save(self: BedrockBatchSettings, name: str, overwrite: bool) -> None:
        did.append((self.bucket, self.role_arn, name, overwrite))

    monkeypatch.setattr(BedrockBatchSettings, "save", save)
    up._save_settings({"BEDROCK_BATCH_BUCKET": "b", "BEDROCK_BATCH_ROLE_ARN": "r"})
    assert did == ["registered", ("b", "r", "default", True)]


#: Of each deployment: its flow, parameters and tags.
SERVED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "openai-batch": ("batch-inference", {"input_file": SAMPLE, "model": HAIKU}, ["bedrock", "openai", "sandbox"]),
    "api": ("run-orders", {}, ["bedrock", "openai"]),
    "compare": (
        "compare-models",
        {"input_file": SAMPLE, "models": THREE, "reference": LABELS, "note": SYNTHETIC},
        ["bedrock", "openai", "sandbox"],
    ),
    "collect": ("collect-batches", {}, ["bedrock"]),
    "cancel": ("cancel-batch", {}, ["bedrock"]),
    "list": ("list-batches", {}, ["bedrock"]),
    "show": ("retrieve-batch", {}, ["bedrock"]),
    "estimate": ("estimate", {"input_file": SAMPLE, "models": THREE}, ["bedrock"]),
    "check": ("check", {"input_file": SAMPLE, "models": THREE, "reference": LABELS}, ["bedrock"]),
    "doctor": ("doctor", {"models": [HAIKU]}, ["bedrock"]),
}


def test_what_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("prefect.serve", lambda *deployments: served.extend(deployments))
    up._serve()
    assert {each.name: (each.flow_name, each.parameters, each.tags) for each in served} == SERVED
    assert len(served) == len(SERVED)
    assert up.SAMPLE.is_file()
    assert up.LABELS.is_file()
    schedules = {
        each.name: [schedule.schedule.interval.total_seconds() for schedule in each.schedules] for each in served
    }
    assert {name: found for name, found in schedules.items() if found} == {"collect": [60]}
    # Answers that are made up are said to be.
    assert all("synthetic" in each.description for each in served if "sandbox" in each.tags)
