"""Runs that are interrupted, with worker processes and on the command line; tests/flows/test_kill.py has the rest."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.batch import batch_inference
from tasks.openai_format.batch import Batch
from tests.conftest import CLAUDE, Sandbox, account, write_chats
from tests.flows.processes import Nursery

pytestmark = pytest.mark.usefixtures("prefect_server")
ROOT = Path(__file__).resolve().parents[2]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
def test_worker_processes_end_with_a_killed_run(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while its workers convert: they end as well, and the same call starts over without a record too many."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "processes")
    path = str(write_chats(tmp_path / "in.jsonl", 400))
    run = runs.start("batch_inference", path, CLAUDE, poll_seconds=0.05)
    while "part-00000" not in (run.log.read_text() if run.log.exists() else ""):
        time.sleep(0.02)
    workers = _children(run.pid)
    assert len(workers) >= 2
    run.kill()
    run.wait()
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.1)
    again = Batch.model_validate(runs.start("batch_inference", path, CLAUDE, poll_seconds=0.05).finish())
    account(sandbox, again, [f"req-{i}" for i in range(400)])
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (400, 1)


def test_a_job_whose_reply_was_lost_is_found_by_its_token_alone(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    """Cut off between Bedrock's acceptance and our note of it, by a caller who may not list jobs."""
    path = str(write_chats(tmp_path / "in.jsonl", 100))
    batch = batch_inference(path, CLAUDE, wait=False)
    key = f"{prefix}/batches/{batch.id}/batch.json"
    document = json.loads(sandbox.read(f"s3://{sandbox.bucket}/{key}"))
    document["bedrock"]["shards"][0]["jobs"][0] |= {"arn": None, "status": None}
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=json.dumps(document))
    sandbox.faults(denied_operations=["ListModelInvocationJobs"])
    account(sandbox, batch_inference(path, CLAUDE, poll_seconds=0.05), [f"req-{i}" for i in range(100)])
    assert len(sandbox.jobs(prefix)) == 1
    assert sandbox.journal()["most_often"] == 1


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


def test_a_script_without_a_main_guard(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import no main module: they would run the script again."""
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "processes")
    path = write_chats(tmp_path / "in.jsonl", 300)
    script = tmp_path / "script.py"
    script.write_text(
        "from flows.batch import batch_inference\n"
        f"print(batch_inference({str(path)!r}, {CLAUDE!r}, poll_seconds=0.1).status)\n"
    )
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "completed", done.stderr[-2000:]
    assert len(sandbox.jobs(os.environ["BEDROCK_BATCH_PREFIX"])) == 3


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
