"""`bedrock-batch` end to end: what it says on which stream, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import exits
from flows.cli import main as cli
from tests.conftest import CLAUDE, NOVA, Sandbox, chat, write_lines

ROOT = Path(__file__).resolve().parents[2]


def started(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    from prefect.settings import PREFECT_API_URL

    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from flows.cli.main import main; sys.exit(main())", *arguments],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_batch_is_run_interrupted_shown_and_read(
    sandbox: Sandbox, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(
        write_lines(tmp_path / "in.jsonl", [*(chat(f"r{i}") for i in range(100)), chat("odd", logit_bias={"1": 2})])
    )
    call = ("run", path, "--model", CLAUDE, "--poll-seconds", "0.1")
    sandbox.faults(hold=True)
    process = started(*call)
    sandbox.wait_for_jobs(prefix, process=process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors[-3000:]
    said = errors.strip().splitlines()[-1]
    batch_id = said.rpartition(" ")[2]
    assert said.startswith(f"Stopped waiting. The Bedrock jobs of {batch_id} go on; run the same command again")
    sandbox.faults(hold=False)

    process = started(*call, "--json", "--output-dir", str(tmp_path / "out"))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == exits.SOME_FAILED, errors[-3000:]
    batch = json.loads(output)
    assert (batch["id"], batch["status"], batch["request_counts"]["failed"]) == (batch_id, "completed", 1)
    assert len(Path(batch["files"]["output"]).read_text().splitlines()) == 100

    # What is to be expected is one line, and no traceback of Prefect's engine; nothing sent is said, too.
    bad = str(write_lines(tmp_path / "bad.jsonl", [chat("a"), chat("a")]))
    process = started("run", bad, "--model", CLAUDE)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == exits.FAILED
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if "BatchFailedError" in line] == []
    assert errors.splitlines()[-1].startswith("error: Batch batch_")
    refused = str(write_lines(tmp_path / "refused.jsonl", [chat(f"r{i}", logit_bias={"1": 2}) for i in range(110)]))
    process = started("run", refused, "--model", CLAUDE, "--quiet")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == exits.SOME_FAILED
    (refused_id,) = output.split()
    (line,) = errors.splitlines()
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
