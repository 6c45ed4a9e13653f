"""How the server is started, who drives its orders, and how what it started ends: without starting any of it."""

import io
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import up
from deployments.api import __main__ as command
from deployments.api import dispatch
from deployments.api.dispatch import DEPLOYMENT, OwnRunner, PrefectRuns
from deployments.processes import end
from flows.api import run_orders
from tasks.api.tenants import Tenants
from tasks.settings import BedrockBatchSettings
from tests.api.callers import create, tenant, upload
from tests.fakes import BUCKET, Cloud


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The configurations of servers that were run, and who was to drive the orders; nothing is."""
    made: list[Any] = []
    for name in ("PREFECT_API_URL", "FORWARDED_ALLOW_IPS", "BEDROCK_BATCH_API_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "k" * 16)
    for kind in ("OwnRunner", "PrefectRuns"):

        class Driver:
            name = kind

            def __init__(self, *_: Any) -> None:
                made.append(self.name)

            def close(self) -> None:
                made.append("closed")

        monkeypatch.setattr(dispatch, kind, Driver)

    def serve(self: uvicorn.Server) -> None:
        made.append(self.config)

    monkeypatch.setattr(uvicorn.Server, "run", serve)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    # A server that other tests of this process use is none of a person's saying.
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield made


def test_a_server_listens_on_this_machine_only_if_nothing_is_said(
    served: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([]) == 0
    driver, config, closed = served
    assert (driver, closed) == ("OwnRunner", "closed")
    assert (config.host, config.port) == ("127.0.0.1", 8000)
    assert (config.proxy_headers, config.server_header, config.access_log) == (False, False, False)
    assert (config.timeout_graceful_shutdown, config.timeout_keep_alive) == (30, 75)
    assert config.h11_max_incomplete_event_size == 64 << 10
    # They say at INFO where they send what.
    assert {logging.getLogger(name).level for name in ("httpx", "botocore", "urllib3", "prefect")} == {logging.WARNING}
    assert "Base URL http://127.0.0.1:8000/v1" in capsys.readouterr().err


def test_what_is_said_counts(served: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    with temporary_settings({PREFECT_API_URL: "http://prefect.invalid/api"}):
        assert command.main(["--host", "0.0.0.0", "--port", "9"]) == 0
    driver, config, _ = served
    assert (driver, config.host, config.port, config.proxy_headers) == ("PrefectRuns", "0.0.0.0", 9, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", "::"])
def test_without_a_key_it_listens_to_nobody_else(
    served: list[Any], capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert command.main(["--no-key", "--host", host]) == 1
    assert capsys.readouterr().err.startswith("error: --no-key is for loopback addresses only")
    assert served == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_without_a_key_on_a_loopback_address(
    served: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_API_KEY")
    assert command.main(["--no-key", "--host", host]) == 0
    assert command.main(["--host", host]) == 1, "no key, and it was not said that none is wanted"
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: The server has no key")


# Runs of a Prefect server


keep = PrefectRuns._keep


class Client:
    """Stands for Prefect's."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.broken: Exception | None = None

    def __enter__(self) -> "Client":
        if self.broken is not None:
            raise self.broken
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_deployment_by_name(self, name: str) -> Any:
        return SimpleNamespace(id=name)

    def create_flow_run_from_deployment(self, id: str, **given: Any) -> None:
        self.asked.append({"id": id, **given})


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr("prefect.get_client", lambda sync_client: client)
    # Its thread's work, which a test below does itself.
    monkeypatch.setattr(PrefectRuns, "_keep", lambda self: None)
    return client


def settled(runs: PrefectRuns) -> None:
    runs._pool.submit(lambda: None).result(60)
    runs._pool.shutdown(wait=True)


def test_an_order_is_a_run_of_its_own(prefect: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal calls, and replicas, ask for the same within five seconds."""
    monkeypatch.setattr(time, "time", lambda: 1004.9)
    runs = PrefectRuns(Tenants((tenant(),)))
    runs.tell("batch_1")
    settled(runs)
    assert prefect.asked == [
        {"id": "run-orders/api", "parameters": {"order_id": "batch_1"}, "idempotency_key": "batch_1-200"}
    ]
    assert runs.trouble() is None
    assert f"{run_orders.name}/api" == DEPLOYMENT


def test_prefect_that_is_away_is_told_and_forgotten_once_it_is_back(
    prefect: Client, caplog: pytest.LogCaptureFixture
) -> None:
    runs = PrefectRuns(Tenants((tenant(),)))
    prefect.broken = OSError("http://user:secret@prefect")
    runs._ask({}, "key")
    assert runs.trouble() == "Prefect does not answer (OSError)."
    assert "No run of run-orders/api was started (OSError): orders wait in S3" in caplog.text
    assert "secret" not in caplog.text
    prefect.broken = None
    runs._ask({}, "key")
    assert runs.trouble() is None


def test_while_orders_are_open_all_are_looked_at_once_a_minute(
    prefect: Client, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = tenant(), tenant("other")
    runs = PrefectRuns(Tenants((owner, other)))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 2:
            # S3 is away for a moment.
            cloud.s3.refuse("ListObjectsV2", "SlowDown", 503)
        if len(waits) == 3:
            create(other, upload(other).id)
        return len(waits) > 3

    monkeypatch.setattr(runs._over, "wait", wait)
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock)
    keep(runs)
    settled(runs)
    assert waits == [30.0] * 4
    minute = int(clock) // 60
    assert prefect.asked == [{"id": "run-orders/api", "parameters": {}, "idempotency_key": f"{owner.home}-{minute}"}]


def test_closing_asks_for_nothing_more(prefect: Client) -> None:
    runs = PrefectRuns(Tenants((tenant(),)))
    runs.close()
    assert runs._over.is_set()
    with pytest.raises(RuntimeError):
        runs.tell("batch_1")


# A runner of the server's own


def own(runner: Any) -> OwnRunner:
    made = object.__new__(OwnRunner)
    made._runner = runner
    return made


def test_a_runner_is_told_by_a_line() -> None:
    class Pipe(io.BytesIO):
        flushed = b""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    pipe = Pipe()
    driver = own(SimpleNamespace(stdin=pipe, poll=lambda: None))
    for _ in range(2):
        driver.tell("batch_1")
    assert pipe.flushed == b"\n\n"
    assert driver.trouble() is None
    pipe.close()
    driver.tell("batch_1")
    own(None).tell("batch_1")
    own(SimpleNamespace(stdin=None)).tell("batch_1")


def test_a_runner_that_is_gone_is_told_nothing_and_said_to_start() -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    gone = own(SimpleNamespace(stdin=SimpleNamespace(write=broken), poll=lambda: 1))
    gone.tell("batch_1")
    assert gone.trouble() == own(None).trouble() == "The runner is starting."


def test_how_long_is_waited_for_processes() -> None:
    assert (dispatch._START_SECONDS, dispatch._STOP_SECONDS, dispatch._RESTART_SECONDS) == (180, 20, 5)
    assert dispatch._LOOK_SECONDS == 30


# Processes


class Process:
    """Stands for a process that ends when it is asked to, or not."""

    def __init__(self, *, deaf: bool) -> None:
        self.stdin = SimpleNamespace(close=lambda: self.did.append("close"))
        self.did: list[str] = []
        self.deaf = deaf

    def terminate(self) -> None:
        self.did.append("terminate")

    def kill(self) -> None:
        self.did.append("kill")

    def wait(self, seconds: float | None = None) -> None:
        self.did.append(f"wait {seconds}")
        if self.deaf and seconds is not None:
            raise subprocess.TimeoutExpired("x", seconds)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_process_is_asked_and_then_made_to_end(deaf: bool) -> None:
    process: Any = Process(deaf=deaf)
    end(process, 20.0)
    assert process.did == ["close", "terminate", "wait 20.0", *(["kill", "wait None"] if deaf else [])]


# `make up`


def test_what_make_up_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("prefect.serve", lambda *deployments: served.extend(deployments))
    up._serve()
    named = {f"{each.flow_name}/{each.name}": each for each in served}
    assert set(named) == {
        "batch-inference/openai-batch",
        "run-orders/api",
        "compare-models/compare",
        "collect-batches/collect",
        "cancel-batch/cancel",
        "list-batches/list",
        "retrieve-batch/show",
        "estimate/estimate",
        "check/check",
        "doctor/doctor",
    }
    (every,) = named["collect-batches/collect"].schedules
    assert every.schedule.interval.total_seconds() == 60
    assert [name for name, each in named.items() if each.schedules] == ["collect-batches/collect"]
    assert named["compare-models/compare"].parameters["note"].startswith("Synthetic: this ran in the local sandbox")
    assert named["compare-models/compare"].parameters["models"] == up.MODELS
    for name in ("batch-inference/openai-batch", "compare-models/compare"):
        assert "synthetic" in (named[name].description or "")
        assert os.path.exists(named[name].parameters["input_file"])


def test_the_settings_of_the_sandbox_are_saved_over_older_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[Any, ...]] = []
    monkeypatch.setattr(BedrockBatchSettings, "register_type_and_schema", lambda: saved.append(("registered",)))
    monkeypatch.setattr(
        BedrockBatchSettings,
        "save",
        lambda self, name, overwrite: saved.append((name, overwrite, self.bucket, self.role_arn)),
    )
    up._save_settings({"BEDROCK_BATCH_BUCKET": "b", "BEDROCK_BATCH_ROLE_ARN": "arn:role"})
    assert saved == [("registered",), ("default", True, "b", "arn:role")]


def test_a_port_that_is_taken_is_left_alone() -> None:
    with up._listen(0) as first:
        host, port = first.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(SystemExit, match=f"Port {port} is taken"):
            up._listen(port)
