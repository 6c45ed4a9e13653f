"""Whatever ends a command, it leaves no process behind, and no port taken."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.operations import list_batches
from tests.conftest import CLAUDE, NOVA, Sandbox, write_chats
from tests.flows.processes import processes_with
from tests.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
ROOT = Path(__file__).resolve().parents[1]


class Command:
    """A command of ours, started as from a shell, and all that it starts."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.mark = f"COMMAND={uuid.uuid4().hex}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        own = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONPATH": str(ROOT)}
        self.log = home.parent / f"{home.name}.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**clean, **own, **environment, **dict([self.mark.split("=")])},
                start_new_session=True,
                # Whoever runs the tests under nohup has them ignore it, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    def alive(self) -> list[int]:
        return processes_with(self.mark)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Any]:
    begun: list[Command] = []

    def begin(*arguments: str, **environment: str) -> Command:
        begun.append(Command(tmp_path / f"home-{len(begun)}", *arguments, **environment))
        return begun[-1]

    yield begin
    for command in begun:
        for pid in command.alive():
            os.kill(pid, signal.SIGKILL)
        command.process.wait(180)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_command_whose_terminal_is_closed_leaves_no_server(
    sandbox: Sandbox, prefix: str, tmp_path: Path, commands: Any
) -> None:
    """SIGHUP; `tests/flows/test_command.py` has SIGTERM."""
    sandbox.faults(hold=True)
    path = write_chats(tmp_path / "in.jsonl", 100)
    command = commands("flows.compare", str(path), "--model", CLAUDE, "--model", NOVA, "--poll-seconds", "0.1")

    def in_progress() -> bool:
        assert command.process.poll() is None, command.said
        return [job["status"] for job in sandbox.jobs(prefix)] == ["InProgress"] * 2

    until(in_progress, "the jobs are in progress")
    assert len(command.alive()) >= 2, "it has a temporary server"
    os.kill(command.process.pid, signal.SIGHUP)
    assert command.process.wait(180) == 128 + signal.SIGHUP
    assert "run the same command again" in command.said
    until(lambda: not command.alive(), "no process is left")
    assert {batch.status for batch in list_batches.fn()} == {"in_progress"}


def test_make_up_ends_its_server_with_itself(tmp_path: Path, commands: Any) -> None:
    port = free_port()
    up = commands("deployments.up", "--port", str(port), "--home", str(tmp_path / "up"))

    def served() -> bool:
        assert up.process.poll() is None, up.said
        return "prefect deployment run" in up.said

    until(served, "the deployments are served")
    # A second one does not take the first one's server for its own.
    second = commands("deployments.up", "--port", str(port), "--home", str(tmp_path / "up"))
    assert second.process.wait(180) == 1
    assert second.said.startswith(f"Port {port} is taken")
    assert second.said.count("\n") == 1
    # Who opens the UI finds the settings.
    query = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/block_types/slug/bedrock-batch-settings/block_documents/name/default"
    )
    with urllib.request.urlopen(query, timeout=20) as reply:
        assert json.load(reply)["data"]["bucket"] == "sandbox-batches"
    os.kill(up.process.pid, signal.SIGTERM)
    until(lambda: up.process.poll() is not None, "it ends")
    until(lambda: not up.alive(), "no process is left")
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL], ids=["HUP", "KILL"])
def test_make_up_ends_its_server_while_it_starts(number: signal.Signals, tmp_path: Path, commands: Any) -> None:
    up = commands("deployments.up", "--port", str(free_port()), "--home", str(tmp_path / "up"))
    until(lambda: len(up.alive()) >= 2, "it has started a server")
    os.kill(up.process.pid, number)
    until(lambda: not up.alive(), "no process is left")


def test_make_up_leaves_any_other_server_alone(commands: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        up = commands("deployments.up", "--port", str(other.getsockname()[1]))
        assert up.process.wait(180) == 1
        assert "PREFECT_SERVER_API_PORT" in up.said
