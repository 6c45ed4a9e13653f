"""`bedrock-batch`: its subcommands by name, and what becomes of their errors."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from flows.cli.exits import DONE, FAILED, SOME_FAILED
from tasks.errors import PipelineError

#: Where each subcommand is, and what it does, without importing it.
_COMMANDS = {
    "check": ("flows.cli.check", "Look at a file before anything is sent or paid for."),
    "doctor": ("flows.cli.check", "Look whether AWS is ready, a line each with a remedy."),
    "estimate": ("flows.cli.compare", "Say what a run would take and cost; submits nothing."),
    "run": ("flows.cli.run", "Run a batch file on one Bedrock model."),
    "compare": ("flows.cli.compare", "Run a batch file on several models, and compare them."),
    "list": ("flows.cli.batches", "List the batches, the newest first."),
    "show": ("flows.cli.batches", "Show one batch and its jobs."),
    "output": ("flows.cli.batches", "Write a finished batch's output lines."),
    "cancel": ("flows.cli.batches", "Stop a batch's jobs and collect what was answered."),
    "collect": ("flows.cli.batches", "Advance every open batch, once."),
    "sandbox": ("flows.cli.servers", "Run the local sandbox: no AWS, synthetic answers."),
    "api": ("flows.cli.servers", "Serve OpenAI's Files, Uploads and Batches APIs."),
    "completion": ("flows.cli.completion", "Print what makes a shell complete this command."),
}

_EPILOG = """\b
Exit status: 0 all requests are answered, 1 failed, 2 usage, 3 finished with failed requests,
4 a comparison did not show what its margin asks, or a check found nothing that would be sent,
130 interrupted (the same command carries on).
"""


def _command(name: str) -> click.Command:
    found: click.Command = getattr(importlib.import_module(_COMMANDS[name][0]), f"{name}_command")
    return found


class _Commands(click.Group):
    """Subcommands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _command(cmd_name) if cmd_name in _COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=_Commands, epilog=_EPILOG)
@click.version_option(package_name="bedrock-batch-pipeline")
def bedrock_batch() -> None:
    """Run OpenAI-format batch files on Amazon Bedrock.

    `bedrock-batch COMMAND --help` explains each. What is set once comes from the environment: BEDROCK_BATCH_BUCKET,
    BEDROCK_BATCH_ROLE_ARN, AWS_REGION and boto3's own.
    """


def execute(command: click.Command, arguments: Sequence[str] | None, name: str) -> int:
    """Run a command; returns its exit status. An expected error is one line."""
    try:
        status = command.main(
            arguments, prog_name=name, standalone_mode=False, help_option_names=["-h", "--help"], max_content_width=110
        )
        return status if isinstance(status, int) else DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    except (click.Abort, KeyboardInterrupt) as error:
        from flows.cli.process import status_of

        cause = error.__cause__ or error
        return status_of(cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt())
    except BrokenPipeError:
        # Whoever read our output has enough. What Python still has to write at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    return execute(bedrock_batch, arguments, "bedrock-batch")


def run_batch(arguments: Sequence[str] | None = None) -> int:
    """`python -m flows.batch`: `bedrock-batch run`, where some failed requests are no failure of the command."""
    return _lenient(execute(_command("run"), arguments, "python -m flows.batch"))


def run_comparison(arguments: Sequence[str] | None = None) -> int:
    """`python -m flows.compare`: `bedrock-batch compare`, where some failed requests are no failure of the command."""
    return _lenient(execute(_command("compare"), arguments, "python -m flows.compare"))


def _lenient(status: int) -> int:
    return DONE if status == SOME_FAILED else status
