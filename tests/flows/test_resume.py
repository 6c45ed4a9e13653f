"""Runs that are interrupted, with worker processes and on the command line; tests/flows/test_kill.py has the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.batch import batch_inference
from tasks.batch.store import read, update
from tasks.errors import TransientError
from tasks.openai_format.batch import Batch
from tests.codecs.helpers import TOOL
from tests.conftest import CLAUDE, Sandbox, account, chat, write_chats, write_lines
from tests.flows.processes import Nursery
from tests.waiting import until

FAST: dict[str, Any] = {"poll_seconds": 0.05}
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
    from prefect.settings import PREFECT_API_URL

    log = tmp_path / "log"
    with log.open("wb") as out:
        # Not forked from a process with threads, as those of the nursery are: it starts processes itself.
        run = subprocess.Popen(
            [sys.executable, "-m", "flows.batch", path, "--model", CLAUDE, "--poll-seconds", "0.05"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "PREFECT_LOGGING_LEVEL": "INFO"},
            stdout=out,
            stderr=out,
        )

    def begun() -> bool:
        assert run.poll() is None, log.read_text()[-3000:]
        return "part-00000" in log.read_text()

    until(begun, "a worker has begun")
    workers = _children(run.pid)
    assert len(workers) >= 2
    run.kill()
    run.wait()
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the workers have ended")
    # What is left of it lies in S3: whoever carries on may do so in threads, and without an engine.
    threads = {"BEDROCK_BATCH_TASK_RUNNER": "threads"}
    second = runs.start("batch_inference", path, CLAUDE, environment=threads, prefect=False, **FAST)
    again = Batch.model_validate(second.finish())
    account(sandbox, again, [f"req-{i}" for i in range(400)])
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (400, 1)


@pytest.mark.usefixtures("without_prefect")
def test_a_job_whose_reply_was_lost_is_found_by_its_token_alone(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    """Cut off between Bedrock's acceptance and our note of it, by a caller who may not list jobs."""
    path = str(write_chats(tmp_path / "in.jsonl", 100))
    batch = batch_inference(path, CLAUDE, wait=False)
    key = f"{prefix}/batches/{batch.id}/batch.json"
    document = json.loads(sandbox.read(f"s3://{sandbox.bucket}/{key}"))
    document["bedrock"]["shards"][0]["jobs"][0] |= {"arn": None, "status": None}
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=json.dumps(document))
    sandbox.faults(denied_operations=["ListModelInvocationJobs"])
    account(sandbox, batch_inference(path, CLAUDE, **FAST), [f"req-{i}" for i in range(100)])
    assert len(sandbox.jobs(prefix)) == 1
    assert sandbox.journal()["most_often"] == 1


def test_a_script_without_a_main_guard(
    sandbox: Sandbox, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.stdout.strip() == "completed", done.stderr[-2000:]
    assert len(sandbox.jobs(os.environ["BEDROCK_BATCH_PREFIX"])) == 3


def test_the_command_line_runs_in_the_sandbox(prefect_server: None, tmp_path: Path) -> None:
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
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "every answer is synthetic" in done.stderr
    assert "120 = 120 answered + 0 failed" in done.stdout
    (output,) = tmp_path.glob("batch_*/output.jsonl")
    assert len(output.read_text().splitlines()) == 120
    (state,) = tmp_path.glob("batch_*/batch.json")
    assert json.loads(state.read_text())["status"] == "completed"


def test_what_several_ranges_have_too_little_of_is_one_job(
    sandbox: Sandbox, prefect_server: None, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranges of 83 requests with tools each: together they make a job, and none is paid for at the full price."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "250")
    sandbox.faults(record_errors={"rate": 0.1, "code": 429, "message": "Too many requests", "times": 1})
    # The stage is repeated after its work is done: S3 did not answer when it was to be noted.
    failures = iter([TransientError("AWS is not answering")])

    def note(*arguments: Any) -> Any:
        for error in failures:
            raise error
        return update(*arguments)

    monkeypatch.setattr("tasks.upload.store", SimpleNamespace(read=read, update=note))
    lines = [chat(f"req-{i}", f"Question {i}", **({"tools": [TOOL]} if i % 3 == 2 else {})) for i in range(498)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    batch = batch_inference(str(path), "mistral.mistral-large-2407-v1:0", **FAST)
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(498)])
    assert not errors
    assert batch.status == "completed"
    sent = sorted((job["modelInvocationType"], job["totalRecordCount"]) for job in sandbox.jobs(prefix))
    assert sent == [("Converse", 166), ("Converse", 166), ("InvokeModel", 166)]
    # The second round, of some fifty records, is on demand; each record was answered once.
    assert sandbox.journal()["most_often"] == 1
    usages = [line["response"]["body"]["usage"] for line in output]
    assert all((usage is None) == (i % 3 == 2) for i, usage in enumerate(usages))
