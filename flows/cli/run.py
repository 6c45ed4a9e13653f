"""`bedrock-batch run`, and `python -m flows.batch`."""

import logging
import shlex
from pathlib import Path
from typing import Any

import click

from flows.cli.options import folder_option, options_of, output_options, parameters_from, sandbox_option
from flows.cli.process import status_of, surroundings
from tasks.batch.parameters import BatchParameters
from tasks.errors import BatchFailedError, PipelineError


@click.command("run")
@options_of(BatchParameters)
@click.option("--stop", is_flag=True, help="Ctrl-C stops the jobs, and collects what was answered.")
@folder_option
@sandbox_option
@output_options
def run_command(stop: bool, output_dir: Path | None, sandbox: bool, as_json: bool, quiet: bool, **said: Any) -> int:
    """Run an OpenAI batch file on one Bedrock model.

    INPUT_FILE is a path, an s3:// URI, a folder or a glob of .jsonl files; gzip and zstd are read as they are.
    The same call again resumes: the same input, model and options name the same batch, and nothing is paid for twice.
    """
    if stop and not said["wait"]:
        raise click.UsageError("--stop is for those who wait: leave out --no-wait.")
    with surroundings(sandbox=sandbox, quiet=quiet):
        from flows.batch import batch_inference
        from flows.cli.printing import print_batch, print_error, status_of_batch
        from flows.cli.saving import save_batch
        from flows.runners import spare_memory

        spare_memory()
        interrupted = None
        try:
            batch = batch_inference(**parameters_from(said))
        except BatchFailedError as error:
            print_error(error)
            batch = error.batch
        except KeyboardInterrupt as error:
            interrupted = status_of(error)
            stopped = _stop() if stop else None
            if stopped is None:
                _say_how_to_go_on()
                return interrupted
            batch = stopped
        status, files = status_of_batch(batch), dict[str, str]()
        if output_dir:
            try:
                files = save_batch(batch, output_dir)
            except PipelineError as error:
                # The batch stands all the same.
                print_error(error)
                status = 1
        print_batch(batch, files, as_json=as_json, quiet=quiet)
        _say_if_nothing_was_sent(batch, said)
        # What Prefect still has to say belongs before the end.
        logging.shutdown()
        return status if interrupted is None else interrupted


def _say_if_nothing_was_sent(batch: Any, said: dict[str, Any]) -> None:
    counts = batch.request_counts
    if not (batch.status == "completed" and counts.total and not counts.completed):
        return
    from flows.operations import read_document

    if not read_document(batch.id).bedrock.shards:
        click.echo(
            "Nothing was sent, and nothing is paid for: every request is refused, and the error file says why. What to "
            f"change: bedrock-batch check {shlex.quote(said['input_file'])} --model {shlex.quote(said['model'])}",
            err=True,
        )


def _say_how_to_go_on() -> None:
    from tasks.batch.registry import latest_batch

    ref = latest_batch()
    if ref is None:
        click.echo("\nStopped before there was a batch; run the same command again to carry on.", err=True)
        return
    click.echo(
        f"\nStopped waiting. The Bedrock jobs of {ref.batch_id} go on; run the same command again to carry on from "
        f"there, or stop them with: bedrock-batch cancel {ref.batch_id}",
        err=True,
    )


def _stop() -> Any:
    """Stop the jobs of the interrupted run and collect what was answered; None where it had no batch yet."""
    from flows.operations import cancel_batch
    from tasks.batch.registry import latest_batch

    ref = latest_batch()
    if ref is None:
        return None
    click.echo(
        "\nStopping the Bedrock jobs; what was answered is collected. Ctrl-C again leaves that to: "
        f"bedrock-batch cancel {ref.batch_id}",
        err=True,
    )
    return cancel_batch(ref.batch_id)
