"""`bedrock-batch` end to end: what it says on which stream, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.cli import exits
from flows.cli import main as cli
from flows.operations import list_batches
from tests.conftest import CLAUDE, NOVA, Sandbox, chat, write_chats, write_lines
from tests.flows.processes import Nursery

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from flows.cli.main import main; sys.exit(main())"


def test_a_batch_is_run_interrupted_shown_and_read(
    sandbox: Sandbox, runs: Nursery, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(
        write_lines(
            tmp_path / "in.jsonl",
            [*(chat(f"r{i}", f"Question {i}?") for i in range(100)), chat("odd", logit_bias={"1": 2})],
        )
    )
    call = ("run", path, "--model", CLAUDE, "--poll-seconds", "0.1")
    sandbox.faults(hold=True)
    run = runs.command(*call, program="main")
    sandbox.wait_for_jobs(prefix)
    run.kill(signal.SIGINT)
    assert run.status() == 130
    said = run.log.read_text().strip().splitlines()[-1]
    batch_id = said.rpartition(" ")[2]
    assert said.startswith(f"Stopped waiting. The Bedrock jobs of {batch_id} go on; run the same command again")
    assert [job["status"] for job in sandbox.jobs(prefix)] == ["InProgress"]
    sandbox.faults(hold=False)

    run = runs.command(*call, "--json", "--output-dir", str(tmp_path / "out"), program="main")
    assert run.status() == exits.SOME_FAILED
    batch = json.loads(run.output.read_text())
    assert (batch["id"], batch["status"], batch["request_counts"]["failed"]) == (batch_id, "completed", 1)
    assert len(Path(batch["files"]["output"]).read_text().splitlines()) == 100
    assert (len(sandbox.jobs(prefix)), sandbox.journal()["most_often"]) == (1, 1)

    # What is to be expected is one line, and no traceback of Prefect's engine; nothing sent is said, too.
    bad = str(write_lines(tmp_path / "bad.jsonl", [chat("a"), chat("a")]))
    run = runs.command("run", bad, "--model", CLAUDE, program="main")
    assert run.status() == exits.FAILED
    errors = run.log.read_text()
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if "BatchFailedError" in line] == []
    assert errors.splitlines()[-1].startswith("error: Batch batch_")
    # A process of its own: what `--quiet` silences, Prefect reads once, when it is imported.
    refused = str(write_lines(tmp_path / "refused.jsonl", [chat(f"r{i}", logit_bias={"1": 2}) for i in range(110)]))
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "run", refused, "--model", CLAUDE, "--quiet"],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == exits.SOME_FAILED
    (refused_id,) = done.stdout.split()
    (line,) = done.stderr.splitlines()
    assert line.startswith("Nothing was sent, and nothing is paid for: every request is refused")

    # Without Prefect's server or a run.
    assert cli.main(["list", "--quiet"]) == exits.DONE
    assert {batch_id, refused_id} < set(capsys.readouterr().out.splitlines())
    assert cli.main(["show", batch_id]) == exits.DONE
    shown = capsys.readouterr().out
    assert "101 = 100 answered + 1 failed" in shown
    assert "100 of 100 records" in shown
    assert cli.main(["output", batch_id, "--errors"]) == exits.DONE
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["custom_id"] == "odd"
    assert cli.main(["show", "batch_" + "0" * 32]) == exits.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_a_run_that_is_told_to_end_says_how_to_go_on(
    sandbox: Sandbox, runs: Nursery, prefix: str, tmp_path: Path
) -> None:
    """By SIGTERM, with Prefect's handlers between; `test_ending.py` has what it leaves behind."""
    sandbox.faults(hold=True)
    run = runs.command(str(write_chats(tmp_path / "in.jsonl", 100)), "--model", CLAUDE, "--poll-seconds", "0.1")
    sandbox.wait_for_jobs(prefix)
    run.kill(signal.SIGTERM)
    assert run.status() == 128 + signal.SIGTERM
    assert "run the same command again" in run.log.read_text()
    assert {batch.status for batch in list_batches.fn()} == {"in_progress"}


@pytest.mark.usefixtures("without_prefect")
def test_commands_that_start_flows(
    sandbox: Sandbox, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cli.process.end_in_order", lambda: None)
    monkeypatch.setattr("flows.cli.process.require_server", lambda: None)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    path = str(write_lines(tmp_path / "in.jsonl", [chat(f"r{i}", max_tokens=10) for i in range(110)]))
    sandbox.faults(hold=True)
    assert cli.main(["run", path, "--model", NOVA, "--no-wait", "--quiet"]) == exits.DONE
    batch_id = capsys.readouterr().out.strip()
    assert cli.main(["collect", "--json"]) == exits.DONE
    assert [batch["status"] for batch in json.loads(capsys.readouterr().out)] == ["in_progress"]
    assert cli.main(["cancel", batch_id, "--no-collect"]) == exits.DONE
    assert "cancelling" in capsys.readouterr().out
    sandbox.faults(hold=False)
    assert cli.main(["cancel", batch_id, "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"
