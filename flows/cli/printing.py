"""What commands say of batches, on standard output: tables for people, JSON for programs, ids for scripts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click

from flows.cli.exits import DONE, FAILED, SOME_FAILED
from tasks.openai_format.batch import Batch
from tasks.support.words import dollars


def status_of_batch(batch: Batch) -> int:
    """The exit status that a batch deserves: 0 too for one that is still at work, as was asked."""
    if batch.status == "failed":
        return FAILED
    counts = batch.request_counts
    return SOME_FAILED if batch.finished and counts.completed < counts.total else DONE


def account_of(batch: Batch) -> str:
    """What became of a batch's requests, as a sum that is one."""
    counts = batch.request_counts
    rest = counts.total - counts.completed - counts.failed
    if not rest:
        return (
            f"{counts.total:,} = {counts.completed:,} answered + {counts.failed:,} failed" if counts.total else "none"
        )
    left = "without an answer" if batch.finished else "still open"
    if rest == counts.total:
        return f"{counts.total:,}, {left}"
    parts = ((counts.completed, "answered"), (counts.failed, "failed"), (rest, left))
    return f"{counts.total:,} = " + " + ".join(f"{number:,} {what}" for number, what in parts if number)


def print_json(value: Any) -> None:
    """A value as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_batch(batch: Batch, files: Mapping[str, str], *, as_json: bool = False, quiet: bool = False) -> None:
    """What came of a batch; `files` are local copies of its files, by name."""
    if as_json:
        print_json({**batch.model_dump(mode="json"), **({"files": dict(files)} if files else {})})
    elif quiet:
        click.echo(batch.id)
    else:
        print_rows(_rows(batch, files))


def _rows(batch: Batch, files: Mapping[str, str]) -> list[tuple[str, str]]:
    usage = batch.usage
    rows = [
        ("batch", batch.id),
        ("status", batch.status),
        ("model", batch.model or ""),
        ("requests", account_of(batch)),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out" if usage else "unknown"),
    ]
    if batch.cost_usd is not None:
        rows.append(("cost", dollars(batch.cost_usd)))
    uris = {"output": batch.output_file, "errors": batch.error_file, "parquet": batch.parquet_file}
    return rows + [(name, files.get(name) or uri) for name, uri in uris.items() if uri]


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values, indented."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    click.echo()
    for name, value in rows:
        click.echo(f"  {name:<{width}}  {value}")


def print_batches(batches: Sequence[Batch], *, as_json: bool = False, quiet: bool = False) -> None:
    """A line for each batch."""
    if as_json:
        print_json([batch.model_dump(mode="json") for batch in batches])
        return
    for batch in batches:
        if quiet:
            click.echo(batch.id)
            continue
        made = datetime.fromtimestamp(batch.created_at, timezone.utc).strftime("%Y-%m-%d %H:%M")
        cost = "" if batch.cost_usd is None else f"  {dollars(batch.cost_usd)}"
        click.echo(f"{batch.id}  {batch.status:<11}  {made}  {batch.model}  {account_of(batch)}{cost}")


def print_error(error: Exception) -> None:
    """An expected error, in one line."""
    click.echo(f"error: {error}", err=True)
