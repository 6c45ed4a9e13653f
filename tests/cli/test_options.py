"""Options out of parameters: what each takes, what it refuses, and what becomes of what was said."""

from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner

from flows.cli.options import (
    folder_option,
    options_of,
    output_options,
    parameters_from,
    sandbox_option,
    text_or_json,
)
from tasks.batch.parameters import Help, Parameters, SharedParameters
from tasks.errors import ConfigurationError


class _Some(Parameters):
    input_file: Annotated[str, Help("Input", "What is read.")]
    role_arn: Annotated[str, Help("Role", "Who runs it.")]
    below: Annotated[Literal["pad", "fail"], Help("Below", "What then.", {"pad": "fill", "fail": "stop"})] = "fail"
    seconds: Annotated[float, Help("Seconds", "How long.")] = 2.5
    most: Annotated[float | None, Help("Most", "At most.", default="no limit", flag="--most USD")] = None
    retry: Annotated[bool, Help("Retry", "Once more.")] = False
    judge: Annotated[str | dict[str, Any] | None, Help("Judge", "Who judges.")] = None
    note: Annotated[str | None, Help("Note", "Not on the command line.")] = None


def command(only: set[str] | None = None, parameters: type[Parameters] = _Some) -> click.Command:
    @click.command()
    @options_of(parameters, only)
    def run(**said: Any) -> None:
        click.echo(repr(dict(sorted(said.items()))))

    return run


def said(*arguments: str) -> dict[str, Any]:
    return command().make_context("x", list(arguments)).params


def test_what_is_not_said_is_the_default() -> None:
    assert said("in", "--role-arn", "r") == {
        "input_file": "in",
        "role_arn": "r",
        "below": "fail",
        "seconds": 2.5,
        "most": None,
        "retry": False,
        "judge": None,
    }


def test_what_is_said() -> None:
    found = said("in", "--role-arn=r", "--below=pad", "--seconds=3", "--most=1.5", "--retry", '--judge={"model":"j"}')
    assert (found["below"], found["seconds"], found["most"], found["retry"]) == ("pad", 3.0, 1.5, True)
    assert found["judge"] == {"model": "j"}
    # JSON is read only where the parameter may be some.
    assert said("in", "--role-arn", '{"a":1}')["role_arn"] == '{"a":1}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'INPUT_FILE'"),
        (("in",), "Missing option '--role-arn'"),
        (("in", "--role-arn", "r", "--below", "x"), "'x' is not one of 'pad', 'fail'"),
        (("in", "--role-arn", "r", "--seconds", "x"), "'x' is not a valid float"),
        (("in", "--role-arn", "r", "--judge", "{"), "'{' is no JSON"),
        (("in", "--role-arn", "r", "--note", "x"), "No such option"),
    ],
)
def test_mistakes_of_usage(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(command(), arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_help_says_choices_and_defaults() -> None:
    help_ = " ".join(CliRunner().invoke(command(), ["--help"]).output.split())
    assert "INPUT_FILE" in help_
    assert "--role-arn ARN Who runs it. [required]" in help_
    assert "What then (pad: fill; fail: stop). [default: fail]" in help_
    assert "--most USD At most. [default: no limit]" in help_
    assert "--seconds SECONDS How long. [default: 2.5]" in help_


def test_some_of_them() -> None:
    assert [each.name for each in command({"below", "input_file"}).params] == ["input_file", "below"]


def test_a_window_is_checked_when_it_is_said() -> None:
    parsed = command({"completion_window"}, SharedParameters)
    assert parsed.make_context("x", ["--completion-window", "2d"]).params == {"completion_window": "2d"}
    with pytest.raises(click.BadParameter, match="completion_window"):
        parsed.make_context("x", ["--completion-window", "soon"])


def test_what_becomes_of_it() -> None:
    given = {"metadata": ("a=b=c", "d"), "output_location": "s3://b/c", "models": ("m", '{"model": "n"}'), "x": 1}
    assert parameters_from(given) == {
        "metadata": {"a": "b=c", "d": ""},
        "output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://b/c"}},
        "models": ["m", {"model": "n"}],
        "x": 1,
    }
    # What was said stays as it was.
    assert given["metadata"] == ("a=b=c", "d")
    assert parameters_from({"output_location": None}) == {"output_data_config": None}
    assert parameters_from({}) == {}


def test_a_text_or_json() -> None:
    assert text_or_json("m") == "m"
    assert text_or_json("[1]") == "[1]"
    assert text_or_json(' {"a": [1]}') == {"a": [1]}
    with pytest.raises(ConfigurationError, match=r"^'\{x{78}…' is no JSON: ") as caught:
        text_or_json("{" + "x" * 200)
    assert "x" * 81 not in str(caught.value)


def test_options_that_commands_share() -> None:
    @click.command()
    @output_options
    @sandbox_option
    @folder_option
    def run(**said: Any) -> None: ...

    nothing = {"as_json": False, "quiet": False, "sandbox": False, "output_dir": None}
    assert run.make_context("x", []).params == nothing
    found = run.make_context("x", ["--json", "-q", "--sandbox", "--output-dir", "d"]).params
    assert {name: str(value) for name, value in found.items()} == {
        "as_json": "True",
        "quiet": "True",
        "sandbox": "True",
        "output_dir": "d",
    }
