"""`bedrock-batch compare` (and `python -m flows.compare`) and `bedrock-batch estimate`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.exits import DONE, FAILED, NOT_SHOWN, SOME_FAILED
from flows.cli.options import folder_option, options_of, output_options, parameters_from, sandbox_option
from flows.cli.process import SYNTHETIC, status_of, surroundings
from tasks.comparison.parameters import ComparisonParameters
from tasks.errors import PipelineError
from tasks.support.words import counted

if TYPE_CHECKING:
    from tasks.comparison.result import Comparison

_ESTIMATED = ("input_file", "models", "endpoint", "completion_window", "judge")


@click.command("compare")
@options_of(ComparisonParameters)
@click.option("--estimate", "estimate_only", is_flag=True, help="Say what it would cost, and submit nothing.")
@folder_option
@sandbox_option
@output_options
def compare_command(
    estimate_only: bool, output_dir: Path | None, sandbox: bool, as_json: bool, quiet: bool, **said: Any
) -> int:
    """Run an OpenAI batch file on several Bedrock models side by side, and compare them.

    INPUT_FILE is a path, an s3:// URI, a folder or a glob of .jsonl files; gzip and zstd are read as they are.
    The same call again resumes. A model that fails leaves the others alone. With a margin, exit status 4 says that not
    every other variant is shown to be at most so much less accurate than the first.
    """
    parameters = parameters_from(said)
    if estimate_only:
        return _estimate({name: parameters[name] for name in _ESTIMATED}, sandbox=sandbox, as_json=as_json, quiet=quiet)
    with surroundings(sandbox=sandbox, quiet=quiet):
        from flows.compare import compare_models
        from tasks.batch.registry import telling

        batches: list[str] = []
        try:
            with telling(lambda ref: batches.append(ref.batch_id)):
                comparison = compare_models(**parameters, note=SYNTHETIC if sandbox else None)
        except KeyboardInterrupt as error:
            _say_how_to_go_on(batches)
            return status_of(error)
        return _print_comparison(comparison, output_dir, as_json=as_json, quiet=quiet)


def _print_comparison(comparison: "Comparison", output_dir: Path | None, *, as_json: bool, quiet: bool) -> int:
    from flows.cli.printing import print_error, print_json, print_rows, status_of_batch
    from flows.cli.saving import save_comparison

    every = comparison.batches.values()
    bad = comparison.failed or any(status_of_batch(batch) for batch in every)
    status = NOT_SHOWN if comparison.within_margin is False else SOME_FAILED if bad else DONE
    files = {"report": comparison.report_file, "table": comparison.table_file, "answers": comparison.wide_file}
    saved: dict[str, str] = {}
    if output_dir:
        try:
            saved = save_comparison(comparison, files, output_dir)
        except PipelineError as error:
            print_error(error)
            status = FAILED
    if as_json:
        print_json({**comparison.model_dump(mode="json"), **({"files": saved} if saved else {})})
    elif quiet:
        click.echo(comparison.id)
    else:
        click.echo()
        for sentence in comparison.verdict:
            click.echo(f"  {sentence}")
        print_rows((name, saved.get(name) or str(uri)) for name, uri in files.items() if uri)
    logging.shutdown()
    return status


def _say_how_to_go_on(batches: Sequence[str]) -> None:
    ids = " and ".join(dict.fromkeys(batches))
    jobs = f"The Bedrock jobs of {ids} go on" if ids else "No job was submitted"
    click.echo(
        f"\nStopped waiting. {jobs}; run the same command again to carry on from there, or stop each with: "
        "bedrock-batch cancel BATCH_ID",
        err=True,
    )


@click.command("estimate")
@options_of(ComparisonParameters, only=_ESTIMATED)
@sandbox_option
@output_options
def estimate_command(sandbox: bool, as_json: bool, quiet: bool, **said: Any) -> int:
    """Say what a run would take and cost for each model: requests, jobs, tokens, dollars. Submits nothing.

    INPUT_FILE is a path, an s3:// URI, a folder or a glob of .jsonl files; gzip and zstd are read as they are.
    """
    return _estimate(parameters_from(said), sandbox=sandbox, as_json=as_json, quiet=quiet)


def _estimate(parameters: dict[str, Any], *, sandbox: bool, as_json: bool, quiet: bool) -> int:
    # No flow is run: no Prefect server is needed.
    with surroundings(sandbox=sandbox, quiet=quiet, server=False):
        from flows.compare import estimate_file

        rows = estimate_file(**parameters)
    if not quiet or as_json:
        print_estimate(rows, as_json=as_json)
    return DONE


def print_estimate(rows: list[dict[str, Any]], *, as_json: bool = False) -> None:
    """An estimate for each variant."""
    from flows.cli.printing import print_json

    if as_json:
        print_json(rows)
        return
    for row in rows:
        cost = "no price known" if row["max_cost_usd"] is None else f"at most ${row['max_cost_usd']:,.4f}"
        basis = f" ({row['rate']['basis']}, {row['rate']['seen']})" if row["rate"] else ""
        click.echo(
            f"  {row['label']}: {counted(row['requests'], 'request')}, {counted(row['jobs'], 'job')}, about "
            f"{counted(row['input_tokens'], 'token')} in, at most {row['max_output_tokens']:,} out: {cost}{basis}"
        )
