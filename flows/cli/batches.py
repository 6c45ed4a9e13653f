"""`bedrock-batch list`, `show`, `output`, `cancel` and `collect`: batches as they stand in S3, from any machine."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.exits import DONE
from flows.cli.options import folder_option, output_options
from flows.cli.process import surroundings

_batch_id = click.argument("batch_id", metavar="BATCH_ID")


@click.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most batches to list.")
@click.option("--after", metavar="BATCH_ID", help="Only batches that follow this one in the list.")
@output_options
def list_command(limit: int, after: str | None, as_json: bool, quiet: bool) -> int:
    """List the batches under the configured bucket and prefix, the newest first."""
    from flows.cli.printing import print_batches
    from flows.operations import newest_batches

    # No flow is run: no Prefect server is needed.
    print_batches(newest_batches(limit, after), as_json=as_json, quiet=quiet)
    return DONE


@click.command("show")
@_batch_id
@output_options
def show_command(batch_id: str, as_json: bool, quiet: bool) -> int:
    """Show one batch as it stands in S3, and its Bedrock jobs."""
    from flows.cli.printing import print_batch, print_rows
    from flows.operations import read_document

    document = read_document(batch_id)
    print_batch(document.public(), {}, as_json=as_json, quiet=quiet)
    jobs = [job for shard in document.bedrock.shards or [] for job in shard.jobs]
    if jobs and not as_json and not quiet:
        print_rows((job.name, _job(job)) for job in jobs)
    return DONE


def _job(job: Any) -> str:
    done = f"{job.processed:,} of {job.total:,} records" if job.total else ""
    return "  ".join(part for part in (job.status or "not submitted", done, job.arn or "", job.message or "") if part)


@click.command("output")
@_batch_id
@click.option("--errors", is_flag=True, help="The lines of the error file instead.")
@click.option("--incomplete", is_flag=True, help="Of a batch that runs: what its finished jobs have answered.")
@folder_option
def output_command(batch_id: str, errors: bool, incomplete: bool, output_dir: Path | None) -> int:
    """Write a finished batch's output lines to standard output; or download all its files with --output-dir."""
    from flows.operations import output_lines, read_document

    if output_dir:
        from flows.cli.saving import save_batch

        for place in save_batch(read_document(batch_id).public(), output_dir).values():
            click.echo(place)
        return DONE
    # As it stood before its lines were read: it may end meanwhile.
    batch = read_document(batch_id).public() if incomplete else None
    out, count = sys.stdout.buffer, 0
    for line in output_lines(batch_id, errors, incomplete):
        out.write(line + b"\n")
        count += 1
    out.flush()
    if batch is not None and not batch.finished:
        here = f"{count:,} of its {batch.request_counts.total:,} requests"
        click.echo(f"incomplete: {batch_id} is {batch.status}; {here} are here.", err=True)
    return DONE


@click.command("cancel")
@_batch_id
@click.option("--collect/--no-collect", default=True, help="Wait for the jobs to stop, and finish the batch; or not.")
@output_options
def cancel_command(batch_id: str, collect: bool, as_json: bool, quiet: bool) -> int:
    """Stop a batch's Bedrock jobs, from any machine, and collect what was answered."""
    from flows.cli.printing import print_batch

    with surroundings(quiet=quiet):
        from flows.operations import cancel_batch

        print_batch(cancel_batch(batch_id, collect=collect), {}, as_json=as_json, quiet=quiet)
    return DONE


@click.command("collect")
@click.argument("batch_id", metavar="[BATCH_ID]", required=False)
@output_options
def collect_command(batch_id: str | None, as_json: bool, quiet: bool) -> int:
    """Advance every open batch once, or only one: for batches that were submitted and left, from a schedule."""
    from flows.cli.printing import print_batches

    with surroundings(quiet=quiet):
        from flows.operations import collect_batches

        print_batches(collect_batches(batch_id), as_json=as_json, quiet=quiet)
    return DONE
