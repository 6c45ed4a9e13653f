"""`bedrock-batch sandbox` and `api`: what serves until Ctrl-C."""

import contextlib
import threading

import click

from flows.cli.exits import DONE
from flows.cli.process import end_in_order


@click.command("sandbox")
@click.option("--s3-port", type=int, default=0, help="Port of S3; 0 picks a free one.")
@click.option("--bedrock-port", type=int, default=0, help="Port of Bedrock; 0 picks a free one.")
@click.option("--job-seconds", type=float, default=3.0, show_default=True, help="Seconds that a job takes.")
def sandbox_command(s3_port: int, bedrock_port: int, job_seconds: float) -> int:
    """Run the local sandbox until Ctrl-C, and print what to set to use it: no AWS, synthetic answers."""
    from deployments.sandbox import NOTICE, running

    end_in_order()
    with running(job_seconds, s3_port, bedrock_port) as settings:
        click.echo(f"# {NOTICE}")
        for name, value in settings.items():
            click.echo(f"export {name}={value}")
        click.echo("# Ctrl-C ends it; everything in it is gone then.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return DONE


@click.command(
    "api", add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def api_command(options: tuple[str, ...]) -> int:
    """Serve OpenAI's Files, Uploads and Batches APIs: `python -m deployments.api`, whose options it takes."""
    from deployments.api.__main__ import main

    try:
        return main(options)
    except SystemExit as error:
        # Help, and mistakes of usage.
        return int(error.code or DONE)
