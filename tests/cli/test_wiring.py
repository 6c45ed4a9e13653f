"""What each command passes on: its options to the flow, `--sandbox` and `--quiet` to its surroundings, files to a folder."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from flows.cli import exits
from flows.cli import main as cli
from flows.cli.process import SYNTHETIC
from tasks.batch.paths import BatchRef
from tasks.batch.result import BatchResult, result_of
from tasks.comparison.result import Comparison
from tasks.errors import BatchFailedError, PipelineError
from tasks.openai_format.batch import RequestCounts
from tests.builders import REF, document, shard
from tests.cli import helpers
from tests.conftest import CLAUDE, NOVA

Said = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


def batch(**fields: Any) -> BatchResult:
    usual = {"id": REF.batch_id, "model": None, "request_counts": RequestCounts(total=2, completed=2)}
    return result_of(helpers.batch(**usual | fields))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the commands' surroundings were asked to be."""
    asked: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def stand_in(**given: Any) -> Iterator[None]:
        mine = {"sandbox": False, "quiet": False, "server": True, **given}
        asked.append(mine)
        yield
        mine["ended"] = True

    for name in ("run", "check", "compare", "batches"):
        monkeypatch.setattr(f"flows.cli.{name}.surroundings", stand_in)
    monkeypatch.setattr("logging.shutdown", lambda: asked.append({"logging": "shut down"}))
    return asked


def around(**given: Any) -> dict[str, Any]:
    return {"sandbox": False, "quiet": False, "server": True, "ended": True, **given}


class Flow:
    """A flow, or what stands beside it, that notes what it was given."""

    def __init__(self, result: Any) -> None:
        self.result, self.calls = result, list[tuple[tuple[Any, ...], dict[str, Any]]]()

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls.append((given, named))
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


# run


@pytest.fixture
def batch_inference(monkeypatch: pytest.MonkeyPatch) -> Flow:
    flow = Flow(batch())
    monkeypatch.setattr("flows.batch.batch_inference", flow)
    return flow


def test_a_run_in_its_surroundings(batch_inference: Flow, surroundings: list[Any]) -> None:
    spared: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.runners.spare_memory", lambda: spared.append("memory"))
        assert run("run", "in.jsonl", "--model", "m", "--sandbox", "--quiet") == exits.DONE
    assert spared == ["memory"]
    assert surroundings == [around(sandbox=True, quiet=True), {"logging": "shut down"}]


def test_a_runs_result_for_people_programs_and_scripts(batch_inference: Flow, capsys: Said) -> None:
    assert run("run", "in.jsonl", "--model", "m", "--json") == exits.DONE
    assert json.loads(capsys.readouterr().out) == batch().model_dump(mode="json")
    assert run("run", "in.jsonl", "--model", "m") == exits.DONE
    out, err = capsys.readouterr()
    assert (f"  batch     {REF.batch_id}\n" in out, err) == (True, "")


def test_a_stop_that_is_interrupted_too(batch_inference: Flow, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is that of the first signal, and what was collected is shown all the same."""
    from flows.cli.process import _Signalled

    batch_inference.result = _Signalled(signal.SIGTERM)
    monkeypatch.setattr("tasks.batch.registry.latest_batch", lambda: REF)
    monkeypatch.setattr("flows.operations.cancel_batch", Flow(batch(status="cancelled")))
    assert run("run", "in.jsonl", "--model", "m", "--stop", "--json") == 143
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "cancelled"
    assert f"Ctrl-C again leaves that to: bedrock-batch cancel {REF.batch_id}" in err
    assert run("run", "in.jsonl", "--model", "m", "--quiet") == 143
    assert f"or stop them with: bedrock-batch cancel {REF.batch_id}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "shards", "said"),
    [
        ({"request_counts": RequestCounts(total=2, completed=0, failed=2)}, [], True),
        # Bedrock was asked, and refused all.
        ({"request_counts": RequestCounts(total=2, completed=0, failed=2)}, [shard()], False),
        ({"request_counts": RequestCounts(total=2, completed=1, failed=1)}, [], False),
        ({"request_counts": RequestCounts(total=0, completed=0, failed=0)}, [], False),
        ({"status": "cancelled", "request_counts": RequestCounts(total=2, completed=0, failed=2)}, [], False),
    ],
)
def test_where_nothing_was_sent_the_next_command_is_named(
    batch_inference: Flow,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    shards: list[Any],
    said: bool,
) -> None:
    batch_inference.result = batch(**fields)
    monkeypatch.setattr("flows.operations.read_document", lambda id: document(shards))
    run("run", "my file.jsonl", "--model", "m", "--quiet")
    err = capsys.readouterr().err
    assert ("bedrock-batch check 'my file.jsonl' --model m\n" in err) is said
    assert said or err == ""


# cancel and collect


def test_cancel_and_collect_pass_on_what_was_said(
    surroundings: list[Any], capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, collect = Flow(batch(status="cancelled")), Flow([batch(), batch(id="batch_2")])
    monkeypatch.setattr("flows.operations.cancel_batch", cancel)
    monkeypatch.setattr("flows.operations.collect_batches", collect)
    assert run("cancel", REF.batch_id, "--json", "--quiet") == exits.DONE
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"
    assert run("cancel", REF.batch_id, "--no-collect") == exits.DONE
    assert "  status    cancelled\n" in capsys.readouterr().out
    assert cancel.calls == [((REF.batch_id,), {"collect": True}), ((REF.batch_id,), {"collect": False})]
    assert run("collect", "--json") == exits.DONE
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [REF.batch_id, "batch_2"]
    assert run("collect", "batch_2", "--quiet") == exits.DONE
    assert capsys.readouterr().out.split() == [REF.batch_id, "batch_2"]
    assert collect.calls == [((None,), {}), (("batch_2",), {})]
    assert surroundings == [around(quiet=True), around(), around(), around(quiet=True)]


def test_output_incomplete_says_so(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Flow([b'{"a":1}', b'{"b":2}'])
    monkeypatch.setattr("flows.operations.output_lines", lines)
    found = document([], request_counts=RequestCounts(total=1234))
    monkeypatch.setattr("flows.operations.read_document", lambda id: found)
    assert run("output", REF.batch_id, "--incomplete") == exits.DONE
    out, err = capfd.readouterr()
    assert out == '{"a":1}\n{"b":2}\n'
    assert err == f"incomplete: {REF.batch_id} is in_progress; 2 of its 1,234 requests are here.\n"
    found.status = "completed"
    assert run("output", REF.batch_id, "--incomplete", "--errors") == exits.DONE
    assert run("output", REF.batch_id) == exits.DONE
    assert capfd.readouterr().err == ""
    flags = [given for given, _ in lines.calls]
    assert flags == [(REF.batch_id, False, True), (REF.batch_id, True, True), (REF.batch_id, False, False)]


# check and doctor


class Found(SimpleNamespace):
    def to_dict(self) -> dict[str, Any]:
        return {"found": self.exit_code}

    def __str__(self) -> str:
        return "what was found"


@pytest.mark.parametrize("status", [0, 1, 3, 4])
def test_a_check_is_asked_for_what_was_said(
    surroundings: list[Any], capsys: Said, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    from tasks.validate import read_input

    check = Flow(Found(exit_code=status))
    monkeypatch.setattr("flows.check.check_file", check)
    assert run("check", "in.jsonl", "--model", "m") == status
    assert capsys.readouterr() == ("what was found\n", "")
    options = (
        '--model {"model":"n"} --reference labels.csv --label-column truth --endpoint /v1/completions '
        "--completion-window immediate --on-invalid skip --unsupported drop --below-minimum pad --invocation Converse "
        "--fetch-images --every 7 --sandbox --json"
    )
    assert run("check", "in.jsonl", "--model", "m", *options.split()) == status
    assert json.loads(capsys.readouterr().out) == {"found": status}
    assert run("check", "in.jsonl", "--model", "m", "--quiet") == status
    assert capsys.readouterr().out == ""
    usual = {
        "input_file": "in.jsonl",
        "models": ["m"],
        "reference": None,
        "label_column": None,
        "endpoint": None,
        "completion_window": "24h",
        "on_invalid": "fail",
        "unsupported": "error",
        "below_minimum": "on_demand",
        "invocation": "auto",
        "fetch_images": False,
        "every": 1,
    }
    said = {
        "input_file": "in.jsonl",
        "models": ["m", {"model": "n"}],
        "reference": "labels.csv",
        "label_column": "truth",
        "endpoint": "/v1/completions",
        "completion_window": "immediate",
        "on_invalid": "skip",
        "unsupported": "drop",
        "below_minimum": "pad",
        "invocation": "Converse",
        "fetch_images": True,
        "every": 7,
    }
    assert check.calls == [((read_input,), usual), ((read_input,), said), ((read_input,), usual)]
    # No flow is run: it needs no Prefect server.
    assert surroundings == [around(server=False), around(server=False, sandbox=True), around(server=False, quiet=True)]


def test_every_is_one_or_more(capsys: Said) -> None:
    assert run("check", "in.jsonl", "--model", "m", "--every", "0") == exits.USAGE
    assert "--every" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 1])
def test_the_doctor_is_asked_for_what_was_said(
    surroundings: list[Any], capsys: Said, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    settings, diagnose = Flow("settings"), Flow(Found(exit_code=status))
    monkeypatch.setattr("tasks.settings.load_settings", settings)
    monkeypatch.setattr("tasks.doctor.diagnose", diagnose)
    assert run("doctor") == status
    assert capsys.readouterr().out == "what was found\n"
    assert run("doctor", "--model", CLAUDE, "--model", NOVA, "--role-arn", "r", "--json", "--sandbox") == status
    assert json.loads(capsys.readouterr().out) == {"found": status}
    assert run("doctor", "--quiet") == status
    assert capsys.readouterr().out == ""
    assert settings.calls == [((None,), {}), (("r",), {}), ((None,), {})]
    assert [(given[0], [model.id for model in given[1]]) for given, _ in diagnose.calls] == [
        ("settings", []),
        ("settings", [CLAUDE, NOVA]),
        ("settings", []),
    ]
    assert surroundings == [around(server=False), around(server=False, sandbox=True), around(server=False, quiet=True)]
    assert run("doctor", "--model", "no such model") == exits.USAGE
    assert "no such model" in capsys.readouterr().err


# compare and estimate


def compared(**fields: Any) -> Comparison:
    files = {name: f"s3://b/p/{name}" for name in ("report_file", "table_file", "wide_file")}
    return Comparison(id="cmp_1", input_file="in.jsonl", verdict=["A is best."], **{**files, **fields})


@pytest.fixture
def compare_models(monkeypatch: pytest.MonkeyPatch) -> Flow:
    flow = Flow(compared())
    monkeypatch.setattr("flows.compare.compare_models", flow)
    return flow


def test_a_comparison_is_asked_for_what_was_said(compare_models: Flow, surroundings: list[Any], capsys: Said) -> None:
    assert run("compare", "in.jsonl", "--model", "m", "--model", "n", "--margin", "2", "--sandbox", "--quiet") == 0
    assert capsys.readouterr() == ("cmp_1\n", "")
    assert run("compare", "in.jsonl", "--model", "m", "--unsupported", "drop") == 0
    out = capsys.readouterr().out
    assert out.split("\n") == [
        "",
        "  A is best.",
        "",
        "  report   s3://b/p/report_file",
        "  table    s3://b/p/table_file",
        "  answers  s3://b/p/wide_file",
        "",
    ]
    (_, first), (_, second) = compare_models.calls
    assert (first["models"], first["margin"], first["note"]) == (["m", "n"], 2, SYNTHETIC)
    assert (second["models"], second["unsupported"], second["note"]) == (["m"], "drop", None)
    assert surroundings[0] == around(sandbox=True, quiet=True)
    assert {"logging": "shut down"} in surroundings
    assert "made up" in SYNTHETIC


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, exits.DONE),
        ({"failed": {"m": "no capacity"}}, exits.SOME_FAILED),
        ({"batches": {"m": batch(request_counts=RequestCounts(total=2, completed=1, failed=1))}}, exits.SOME_FAILED),
        ({"batches": {"m": batch(), "n": batch(status="failed")}}, exits.SOME_FAILED),
        ({"batches": {"m": batch()}, "within_margin": True}, exits.DONE),
        ({"failed": {"m": "no capacity"}, "within_margin": False}, exits.NOT_SHOWN),
        ({"failed": {"m": "no capacity"}, "within_margin": True}, exits.SOME_FAILED),
    ],
)
def test_how_a_comparison_ends(compare_models: Flow, fields: dict[str, Any], status: int) -> None:
    compare_models.result = compared(**fields)
    assert run("compare", "in.jsonl", "--model", "m", "--quiet") == status
    lenient = exits.DONE if status == exits.SOME_FAILED else status
    assert cli.run_comparison(["in.jsonl", "--model", "m", "--quiet"]) == lenient


def test_a_comparisons_files_are_saved(
    compare_models: Flow, capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save = Flow({"report": "here/report.html", "comparison": "here/comparison.json"})
    monkeypatch.setattr("flows.cli.saving.save_comparison", save)
    assert run("compare", "in.jsonl", "--model", "m", "--output-dir", str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"] == save.result
    assert found["id"] == "cmp_1"
    files = {"report": "s3://b/p/report_file", "table": "s3://b/p/table_file", "answers": "s3://b/p/wide_file"}
    assert save.calls == [((compare_models.result, files, tmp_path), {})]
    assert run("compare", "in.jsonl", "--model", "m", "--output-dir", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "  report   here/report.html\n" in out
    assert "  table    s3://b/p/table_file\n" in out
    # Where they cannot be saved, the comparison is shown and the command fails.
    save.result = PipelineError("no room")
    assert run("compare", "in.jsonl", "--model", "m", "--output-dir", str(tmp_path), "--quiet") == exits.FAILED
    assert capsys.readouterr() == ("cmp_1\n", "error: no room\n")
    assert run("compare", "in.jsonl", "--model", "m", "--json") == 0
    assert "files" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("known", [True, False])
def test_an_interrupted_comparison_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: Said, known: bool
) -> None:
    from tasks.batch.registry import run_noted

    def flow(**_: Any) -> None:
        if known:
            for number in (1, 2, 1):
                with run_noted(BatchRef(REF.root, f"batch_{number}")):
                    pass
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.compare.compare_models", flow)
    monkeypatch.setattr("tasks.batch.registry._latest", None)
    assert run("compare", "in.jsonl", "--model", "m") == 130
    out, err = capsys.readouterr()
    jobs = "The Bedrock jobs of batch_1 and batch_2 go on" if known else "No job was submitted"
    assert out == ""
    assert err == (
        f"\nStopped waiting. {jobs}; run the same command again to carry on from there, or stop each with: "
        "bedrock-batch cancel BATCH_ID\n"
    )


ROWS: list[dict[str, Any]] = [
    {
        "label": "m",
        "requests": 1234,
        "jobs": 2,
        "input_tokens": 5678,
        "max_output_tokens": 9012,
        "max_cost_usd": 1234.5,
        "rate": {"basis": "batch", "seen": "2026-11-20"},
    },
    {
        "label": "n",
        "requests": 1,
        "jobs": 1,
        "input_tokens": 1,
        "max_output_tokens": 2,
        "max_cost_usd": None,
        "rate": None,
    },
]


@pytest.mark.parametrize("command", [("estimate",), ("compare", "--estimate")])
def test_an_estimate(
    command: tuple[str, ...],
    surroundings: list[Any],
    compare_models: Flow,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimate = Flow(ROWS)
    monkeypatch.setattr("flows.compare.estimate_file", estimate)
    arguments = (*command, "in.jsonl", "--model", "m", "--model", "n")
    assert run(*arguments) == exits.DONE
    assert capsys.readouterr() == (
        "  m: 1,234 requests, 2 jobs, about 5,678 tokens in, at most 9,012 out: at most $1,234.5000 (batch, 2026-11-20)\n"
        "  n: 1 request, 1 job, about 1 token in, at most 2 out: no price known\n",
        "",
    )
    said = ("--endpoint", "/v1/completions", "--completion-window", "immediate", "--judge", "j", "--sandbox", "--json")
    assert run(*arguments, *said, "--quiet") == exits.DONE
    assert json.loads(capsys.readouterr().out) == ROWS
    assert run(*arguments, "--quiet") == exits.DONE
    assert capsys.readouterr() == ("", "")
    usual = {
        "input_file": "in.jsonl",
        "models": ["m", "n"],
        "endpoint": None,
        "completion_window": "24h",
        "judge": None,
    }
    asked = {**usual, "endpoint": "/v1/completions", "completion_window": "immediate", "judge": "j"}
    assert [named for _, named in estimate.calls] == [usual, asked, usual]
    # Nothing is submitted, and no server is needed.
    assert compare_models.calls == []
    assert surroundings == [
        around(server=False),
        around(server=False, sandbox=True, quiet=True),
        around(server=False, quiet=True),
    ]


# sandbox and api


def test_the_sandbox_serves_until_ctrl_c(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.sandbox import NOTICE

    asked: list[Any] = []
    ended: list[str] = []

    @contextlib.contextmanager
    def running(*given: Any) -> Iterator[dict[str, str]]:
        asked.append(given)
        yield {"A": "1", "B": "2"}
        ended.append("sandbox")

    class Event:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("deployments.sandbox.running", running)
    monkeypatch.setattr("flows.cli.servers.end_in_order", lambda: asked.append("in order"))
    monkeypatch.setattr("flows.cli.servers.threading.Event", Event)
    assert run("sandbox") == exits.DONE
    assert capsys.readouterr().out == (
        f"# {NOTICE}\nexport A=1\nexport B=2\n# Ctrl-C ends it; everything in it is gone then.\n"
    )
    assert run("sandbox", "--s3-port", "1", "--bedrock-port", "2", "--job-seconds", "0.5") == exits.DONE
    assert asked == ["in order", (3.0, 0, 0), "in order", (0.5, 1, 2)]
    assert ended == ["sandbox", "sandbox"]


@pytest.mark.parametrize(
    ("came", "status"),
    [(0, 0), (1, 1), (SystemExit(2), 2), (SystemExit(0), 0), (SystemExit(None), 0)],
)
def test_the_api_servers_options_are_its_own(monkeypatch: pytest.MonkeyPatch, came: Any, status: int) -> None:
    serve = Flow(came)
    monkeypatch.setattr("deployments.api.__main__.main", serve)
    assert run("api", "--port", "8000", "--help") == status
    assert run("api") == status
    assert serve.calls == [((("--port", "8000", "--help"),), {}), (((),), {})]


# What becomes of errors


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_whoever_reads_no_further_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `bedrock-batch output … | head` does. What is still to be written goes nowhere."""
    did: list[Any] = []

    def opened(*given: Any) -> int:
        did.append(given)
        return 99

    with monkeypatch.context() as patch:
        patch.setattr("os.open", opened)
        patch.setattr("os.dup2", lambda *given: did.append(given))
        patch.setattr("sys.stdout", SimpleNamespace(fileno=lambda: 1))
        status = cli.execute(raising(BrokenPipeError()), [], "x")
    assert status == exits.FAILED
    assert did == [(os.devnull, os.O_WRONLY), (99, 1)]


def test_the_status_of_a_signal_survives_click(monkeypatch: pytest.MonkeyPatch) -> None:
    """Click makes an Abort of every KeyboardInterrupt."""
    from flows.cli.process import _Signalled

    assert cli.execute(raising(_Signalled(signal.SIGHUP)), [], "x") == 129
    assert cli.execute(raising(click.Abort()), [], "x") == 130


def test_a_command_that_says_no_status_is_done() -> None:
    assert cli.execute(click.command()(lambda: "text"), [], "x") == exits.DONE
    assert cli.execute(click.command()(lambda: 7), [], "x") == 7


def test_the_exit_statuses_are_the_documented_ones() -> None:
    assert (exits.DONE, exits.FAILED, exits.USAGE, exits.SOME_FAILED, exits.NOT_SHOWN) == (0, 1, 2, 3, 4)


def test_version_and_short_help(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run", "compare", "check"):
        # click keeps the one that a command was first asked with, in this process: another test's.
        monkeypatch.setattr(cli._command(name), "_help_option", None)
    assert run("--version") == 0
    assert "version" in capsys.readouterr().out
    assert cli.run_batch(["-h"]) == cli.run_comparison(["-h"]) == 0
    assert run("-h") == run("run", "-h") == run("compare", "-h") == run("check", "-h") == 0


def test_every_command_is_where_it_is_said_to_be() -> None:
    for name in cli._COMMANDS:
        assert cli._command(name).name == name


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "in_progress", "failed"])
def test_the_files_of_any_batch_are_saved(
    batch_inference: Flow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: Any
) -> None:
    """Also of one that failed: what was answered is paid for."""
    found = batch(status=status)
    failed = status == "failed"
    batch_inference.result = BatchFailedError("no", found) if failed else found
    save = Flow({})
    monkeypatch.setattr("flows.cli.saving.save_batch", save)
    run("run", "in.jsonl", "--model", "m", "--output-dir", str(tmp_path), "--quiet")
    assert save.calls == [((found, tmp_path), {})]
