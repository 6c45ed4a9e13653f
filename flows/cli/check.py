"""`bedrock-batch check` and `doctor`."""

from typing import Any

import click

from flows.cli.options import options_of, output_options, parameters_from, sandbox_option
from flows.cli.process import surroundings
from tasks.comparison.parameters import ComparisonParameters

_CHECKED = (
    "input_file",
    "models",
    "reference",
    "label_column",
    "endpoint",
    "completion_window",
    "on_invalid",
    "unsupported",
    "below_minimum",
    "invocation",
    "fetch_images",
)


@click.command("check")
@options_of(ComparisonParameters, only=_CHECKED)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Hold one request in so many against the models.",
)
@sandbox_option
@output_options
def check_command(sandbox: bool, as_json: bool, quiet: bool, **said: Any) -> int:
    """Tell what a run would make of a file, without sending anything.

    INPUT_FILE is a path, an s3:// URI, a folder or a glob of .jsonl files; gzip and zstd are read as they are.
    What is wrong with it, what each model would refuse or drop, and whether a reference fits. Exit status: 0 all would
    be sent, 1 the batch would fail, 3 some requests would be refused, 4 every one would be.
    """
    # No flow is run: no Prefect server is needed.
    with surroundings(sandbox=sandbox, quiet=quiet, server=False):
        from flows.check import check_file
        from flows.cli.printing import print_json
        from tasks.validate import read_input

        found = check_file(read_input, **parameters_from(said))
    if as_json:
        print_json(found.to_dict())
    elif not quiet:
        click.echo(str(found))
    return int(found.exit_code)


@click.command("doctor")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="A model to look at too. Repeatable.")
@click.option("--role-arn", metavar="ARN", help="The jobs' role.  [default: BEDROCK_BATCH_ROLE_ARN]")
@sandbox_option
@output_options
def doctor_command(models: tuple[str, ...], role_arn: str | None, sandbox: bool, as_json: bool, quiet: bool) -> int:
    """Tell whether AWS is ready for batches: credentials, bucket, key, role, and each model's access and quotas.

    Each is one line with a remedy. Nothing is changed, and nothing is paid for.
    Exit status: 1 where something is wrong.
    """
    # Nothing is run: no Prefect server is needed.
    with surroundings(sandbox=sandbox, quiet=quiet, server=False):
        from flows.cli.printing import print_json
        from tasks.bedrock.models import parse_model
        from tasks.doctor import diagnose
        from tasks.settings import load_settings

        try:
            found = diagnose(load_settings(role_arn), [parse_model(model) for model in models])
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        print_json(found.to_dict())
    elif not quiet:
        click.echo(str(found))
    return int(found.exit_code)
