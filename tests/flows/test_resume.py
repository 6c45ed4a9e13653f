"""A run that is killed carries on: every request once, and no record paid for twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.batch import batch_inference
from tests.conftest import CLAUDE, Sandbox, account, write_chats

pytestmark = pytest.mark.usefixtures("prefect_server")
ROOT = Path(__file__).resolve().parents[2]

#: Kills its own process with SIGKILL right before or after the n-th call of an S3 or Bedrock operation.
RUNNER = """
import os, signal, sys
from botocore.client import BaseClient
operation, number, moment, path, model, window = sys.argv[1:]
import threading
lock = threading.Lock()
seen = 0
original = BaseClient._make_api_call
def counted(self, name, arguments):
    global seen
    mine = name == operation
    with lock:
        seen += mine
        place = seen
    if mine and place == int(number) and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    reply = original(self, name, arguments)
    if mine and place == int(number) and moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return reply
BaseClient._make_api_call = counted
from flows.batch import batch_inference
batch_inference(path, model, completion_window=window, poll_seconds=0.05)
"""


def run_and_kill(operation: str, number: int, moment: str, path: Path, window: str = "24h") -> int:
    """Run the pipeline in a process of its own, which dies at the given call; returns its exit status."""
    command = [sys.executable, "-c", RUNNER, operation, str(number), moment, str(path), CLAUDE, window]
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "PREFECT_LOGGING_LEVEL": "ERROR"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True).returncode


#: One for each thing that a run does to the outside: reads and writes of state, records, jobs, answers, results.
KILL_POINTS = [
    ("PutObject", 1, "before"),  # batch.json is not there yet
    ("PutObject", 1, "after"),
    ("PutObject", 3, "before"),  # records are uploaded, the index is not
    ("PutObject", 4, "after"),
    ("HeadObject", 1, "after"),
    ("PutObject", 5, "after"),  # shards are settled
    ("PutObject", 6, "after"),  # the intent to submit is noted
    ("CreateModelInvocationJob", 1, "before"),
    ("CreateModelInvocationJob", 1, "after"),  # Bedrock has accepted, and we have not noted it
    ("CreateModelInvocationJob", 2, "after"),
    ("GetModelInvocationJob", 2, "after"),
    ("ListObjectsV2", 4, "after"),
    ("PutObject", 13, "before"),
    ("PutObject", 16, "after"),
    ("DeleteObject", 1, "after"),
]


@pytest.mark.parametrize(("operation", "number", "moment"), KILL_POINTS)
def test_killed_anywhere(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, operation: str, number: int,
    moment: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    path = write_chats(tmp_path / "in.jsonl", 200)
    assert run_and_kill(operation, number, moment, path) == -signal.SIGKILL, "the kill point was not reached"
    batch = batch_inference(str(path), CLAUDE, poll_seconds=0.05)
    account(sandbox, batch, [f"req-{i}" for i in range(200)])
    journal = sandbox.journal()
    assert (journal["paid"], journal["most_often"]) == (200, 1)
    assert len(sandbox.jobs(prefix)) == 2
    assert not sandbox.uploads()


@pytest.mark.parametrize("number", [1, 20, 39])
def test_killed_while_answering_on_demand(sandbox: Sandbox, tmp_path: Path, number: int) -> None:
    """Only answers on their way at the very moment of the kill can be asked for again."""
    path = write_chats(tmp_path / "in.jsonl", 40)
    os.environ["BEDROCK_BATCH_ON_DEMAND_CONCURRENCY"] = "1"
    try:
        assert run_and_kill("InvokeModel", number, "before", path, "immediate") == -signal.SIGKILL
        paid = sandbox.journal()["paid"]
        assert paid == number - 1
        batch = batch_inference(str(path), CLAUDE, completion_window="immediate")
    finally:
        del os.environ["BEDROCK_BATCH_ON_DEMAND_CONCURRENCY"]
    account(sandbox, batch, [f"req-{i}" for i in range(40)])
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (40, 1)


def test_ctrl_c_stops_waiting_and_says_how_to_resume(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    from prefect.settings import PREFECT_API_URL

    sandbox.faults(hold=True)
    path = write_chats(tmp_path / "in.jsonl", 100)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.batch", str(path), "--model", CLAUDE, "--poll-seconds", "0.1"],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not any(job["status"] == "InProgress" for job in sandbox.jobs(prefix)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in stderr
    assert sandbox.jobs(prefix)[0]["status"] == "InProgress"
    sandbox.faults(hold=False)
    account(sandbox, batch_inference(str(path), CLAUDE, poll_seconds=0.05), [f"req-{i}" for i in range(100)])
    assert sandbox.journal()["most_often"] == 1


def test_the_command_line_runs_in_the_sandbox(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    path = write_chats(tmp_path / "in.jsonl", 120)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BEDROCK_"))}
    done = subprocess.run(
        [sys.executable, "-m", "flows.batch", str(path), "--model", CLAUDE, "--sandbox", "--output-dir", str(tmp_path)],
        cwd=ROOT,
        env={**clean, "PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "every answer is synthetic" in done.stderr
    assert "120 = 120 answered + 0 failed" in done.stdout
    (output,) = tmp_path.glob("batch_*/output.jsonl")
    assert len(output.read_text().splitlines()) == 120
    (state,) = tmp_path.glob("batch_*/batch.json")
    assert json.loads(state.read_text())["status"] == "completed"
