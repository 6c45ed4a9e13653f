"""The command line without a run: help, options, usage, exit statuses, and what it imports."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from flows.cli import exits
from flows.cli import main as cli
from flows.cli.compare import _print_comparison, compare_command
from flows.cli.options import parameters_from
from flows.cli.printing import print_batches, status_of_batch
from flows.cli.run import run_command
from tasks.batch.parameters import BatchParameters
from tasks.comparison.parameters import ComparisonParameters
from tasks.comparison.result import Comparison
from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tests.cli.helpers import batch
from tests.conftest import CLAUDE, NOVA, chat, write_lines

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"prefect", "boto3", "botocore", "pyarrow", "numpy", "pandas"}


def said(command: click.Command, *arguments: str) -> dict[str, Any]:
    """What a command line says, as parameters of a flow."""
    parsed = command.make_context("x", list(arguments)).params
    for own in ("stop", "output_dir", "sandbox", "as_json", "quiet", "estimate_only"):
        parsed.pop(own, None)
    return parameters_from(parsed)


def test_every_command_has_help_and_imports_nothing_heavy_for_it() -> None:
    code = (
        "import sys\n"
        "from flows.cli.main import _COMMANDS, bedrock_batch, execute\n"
        "for name in ('', *_COMMANDS):\n"
        "    assert execute(bedrock_batch, [name, '--help'] if name else ['--help'], 'bedrock-batch') == 0\n"
        "print(sorted({module.partition('.')[0] for module in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    *help_, modules = done.stdout.splitlines()
    assert not HEAVY & set(eval(modules))
    assert "  130 interrupted (the same command carries on)." in help_
    assert not [line for line in help_ if len(line) > 130]


@pytest.mark.parametrize(
    ("command", "parameters", "required"),
    [
        (run_command, BatchParameters, {"input_file": "in.jsonl", "model": "m"}),
        (compare_command, ComparisonParameters, {"input_file": "in.jsonl", "models": ["m"]}),
    ],
)
def test_what_is_not_said_is_the_default(command: click.Command, parameters: Any, required: dict[str, Any]) -> None:
    given = said(command, "in.jsonl", "--model", "m")
    assert parameters(**given) == parameters(**required)
    # A variant is said as a model, in JSON.
    assert parameters.model_fields.keys() - given.keys() <= {"note", "variants"}, "each can be said"


def test_what_is_said_arrives() -> None:
    options = (
        "--endpoint /v1/completions --completion-window 2d --metadata a=b=c --metadata d=e --job-name n --role-arn r "
        "--output-location s3://b/c --on-invalid skip --unsupported drop --below-minimum pad --poll-seconds 2 "
        "--retry-failed --invocation Converse --fetch-images --no-wait --max-cost-usd 1.5 --service-tier flex "
        '--vpc-config {"subnetIds":["subnet-1"],"securityGroupIds":["sg-1"]}'
    )
    assert said(run_command, "in.jsonl", "--model", "m", *options.split()) == {
        "input_file": "in.jsonl",
        "model": "m",
        "endpoint": "/v1/completions",
        "completion_window": "2d",
        "metadata": {"a": "b=c", "d": "e"},
        "job_name": "n",
        "role_arn": "r",
        "output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://b/c"}},
        "on_invalid": "skip",
        "unsupported": "drop",
        "below_minimum": "pad",
        "poll_seconds": 2.0,
        "retry_failed": True,
        "invocation": "Converse",
        "fetch_images": True,
        "service_tier": "flex",
        "vpc_config": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        "wait": False,
        "max_cost_usd": 1.5,
    }
    variant = {"model": "n", "overrides": {"temperature": 0}}
    compared = said(
        compare_command, "in.jsonl", "--model", "m", "--model", json.dumps(variant), "--judge", '{"model":"j"}'
    )
    assert (compared["models"], compared["judge"]) == (["m", variant], {"model": "j"})
    options = (
        '--extract {"regex":"x"} --choices any --margin 2.5 --cluster-by user --slice-by a,b --label-column truth '
        "--reference labels.csv"
    )
    compared = said(compare_command, "in.jsonl", "--model", "m", *options.split())
    assert (compared["extract"], compared["choices"], compared["margin"]) == ({"regex": "x"}, "any", 2.5)
    assert (compared["cluster_by"], compared["slice_by"], compared["label_column"]) == ("user", "a,b", "truth")


@pytest.mark.parametrize(("within", "status"), [(None, exits.DONE), (True, exits.DONE), (False, exits.NOT_SHOWN)])
def test_a_margin_decides_the_exit_status(within: bool | None, status: int) -> None:
    found = Comparison(id="cmp_1", input_file="in.jsonl", within_margin=within)
    assert _print_comparison(found, None, as_json=False, quiet=True) == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Commands:"),
        (["rub"], "No such command"),
        (["run"], "Missing argument 'INPUT_FILE'"),
        (["run", "x"], "Missing option '--model'"),
        (["run", "x", "--model", "m", "--on-invalid", "ignore"], "'ignore' is not one of 'fail', 'skip'"),
        (["run", "x", "--model", "m", "--poll-seconds", "0"], "poll_seconds: Input should be greater than 0"),
        (["run", "x", "--model", "m", "--max-cost-usd", "nan"], "max_cost_usd"),
        (["run", "x", "--model", "m", "--no-wait", "--stop"], "leave out --no-wait"),
        (["compare", "x"], "Missing option '--model'"),
        (["compare", "x", "--model", "m", "--margin", "101"], "margin: Input should be less than or equal to 100"),
        (["compare", "x", "--model", "m", "--choices", "all"], "'all' is not one of"),
        (["compare", "x", "--model", "m", "--judge", '{"model":'], "is no JSON"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_mistakes_of_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert cli.main(arguments) == exits.USAGE
    assert message in capsys.readouterr().err


def test_the_old_commands_say_their_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert (cli.run_batch([]), cli.run_comparison([])) == (exits.USAGE, exits.USAGE)
    told = capsys.readouterr().err
    assert "python -m flows.batch [OPTIONS] INPUT_FILE" in told
    assert "python -m flows.compare [OPTIONS] INPUT_FILE" in told


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (PipelineError("No bucket is set."), exits.FAILED, "error: No bucket is set.\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.UsageError("so not"), exits.USAGE, "Error: so not\n"),
    ],
)
def test_expected_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, message: str
) -> None:
    assert cli.execute(failing(error), [], "x") == status
    assert capsys.readouterr().err.endswith(message)


def test_faults_of_ours_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.execute(failing(ZeroDivisionError()), [], "x")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (batch(), exits.DONE),
        (batch(completed=2, failed=1), exits.SOME_FAILED),
        (batch("expired", completed=1, failed=2), exits.SOME_FAILED),
        (batch("cancelled", completed=0, failed=3), exits.SOME_FAILED),
        (batch("failed", completed=0), exits.FAILED),
        (batch("in_progress", completed=0), exits.DONE),
    ],
)
def test_exit_statuses(found: Batch, status: int) -> None:
    assert status_of_batch(found) == status


def test_batches_are_listed_for_people_programs_and_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    print_batches([batch()])
    assert capsys.readouterr().out == ("batch_1  completed    1970-01-01 00:00  m  3 = 3 answered + 0 failed\n")
    print_batches([batch(), batch()], quiet=True)
    assert capsys.readouterr().out == "batch_1\nbatch_1\n"
    print_batches([batch()], as_json=True)
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == ["batch_1"]


def test_completion_knows_commands_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete

    completion = ShellComplete(cli.bedrock_batch, {}, "bedrock-batch", "_BEDROCK_BATCH_COMPLETE")
    assert [each.value for each in completion.get_completions([], "c")] == [
        "check",
        "compare",
        "cancel",
        "collect",
        "completion",
    ]
    assert [each.value for each in completion.get_completions(["run", "--on-invalid"], "s")] == ["skip"]


#: A process for each call, forked from one that has imported everything: that takes seconds.
FORKING = """
import json, os, sys
import flows.check, flows.compare
from flows.cli.main import main
for place, call in enumerate(json.loads(sys.argv[1])):
    if not os.fork():
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}-{place}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv[1:] = call
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_check_and_estimate_start_no_server(tmp_path: Path) -> None:
    """Whole processes: Prefect's client is never made, standard output is JSON alone, and nothing is said beside it."""
    lines = [chat(f"r{i}", max_tokens=10) for i in range(110)]
    path = str(write_lines(tmp_path / "in.jsonl", [*lines, chat("odd", logit_bias={"1": 2})]))
    calls = [
        (["check", path, "--model", NOVA, "--json"], exits.SOME_FAILED),
        (["estimate", path, "--model", NOVA, "--model", CLAUDE, "--judge", CLAUDE, "--json"], exits.DONE),
        (["compare", path, "--model", NOVA, "--model", CLAUDE, "--estimate", "--json"], exits.DONE),
    ]
    done = subprocess.run(
        [sys.executable, "-c", FORKING, json.dumps([call for call, _ in calls])],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": "", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [(tmp_path / f"err-{place}").read_text() for place in range(3)]
    assert (done.stdout.split(), done.stderr, said) == ([str(status) for _, status in calls], "", [""] * 3)
    for place, (call, _) in enumerate(calls):
        found = json.loads((tmp_path / f"out-{place}").read_text())
        assert (found["requests"] if call[0] == "check" else found[0]["requests"]) == 111
