"""The last word: a summary of the batch as an artifact in the Prefect UI and as lines on the terminal."""

from collections.abc import Iterable

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef
from tasks.results.totals import RangeResult
from tasks.support.markdown import code, one_line, plain
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

_SHOWN_CAUSES = 10


def merged_causes(results: Iterable[RangeResult]) -> list[tuple[str, int, str, int]]:
    """(cause, count, first custom_id, first line) of all ranges, the most frequent first."""
    causes: dict[str, tuple[int, str, int]] = {}
    for result in results:
        for cause, (number, custom_id, line) in result.causes.items():
            known = causes.get(cause)
            causes[cause] = (number + known[0], known[1], known[2]) if known else (number, custom_id, line)
    ranked = sorted(causes.items(), key=lambda item: -item[1][0])
    return [(cause, number, custom_id, line) for cause, (number, custom_id, line) in ranked]


def summary_markdown(ref: BatchRef, document: BatchDocument, results: list[RangeResult]) -> str:
    """The summary: counts, tokens, where the files are, the first errors grouped by cause."""
    counts, usage, section = document.request_counts, document.usage, document.bedrock
    lines = [
        f"# Batch {document.status}",
        "",
        f"`{document.id}` · {plain(document.endpoint)} · **{plain(section.model)}** "
        f"({plain(section.family)}{_types(document)})",
        "",
        "| requests | answered | failed | input tokens | output tokens |",
        "|---:|---:|---:|---:|---:|",
        f"| {counts.total:,} | {counts.completed:,} | {counts.failed:,} | "
        f"{usage.input_tokens if usage else 0:,} | {usage.output_tokens if usage else 0:,} |",
        "",
        "## Files",
        "",
    ]
    for name, uri in (
        ("Output", document.output_file),
        ("Errors", document.error_file),
        ("Parquet", document.parquet_file),
    ):
        lines.append(f"- {name}: {code(uri)}" if uri else f"- {name}: none")
    lines += [f"- Copies: {code(place + '/')}" for place in section.published]
    lines.append(f"- State: {code(str(ref.document))}")
    causes = merged_causes(results)
    if causes:
        lines += ["", "## Errors by cause", "", "| requests | cause | first |", "|---:|---|---|"]
        lines += [
            f"| {number:,} | {plain(cause)} | {plain(custom_id)}, line {line} |"
            for cause, number, custom_id, line in causes[:_SHOWN_CAUSES]
        ]
        if len(causes) > _SHOWN_CAUSES:
            more = counted(len(causes) - _SHOWN_CAUSES, "more cause")
            lines.append(f"| | and {more}, in the error file | |")
    if section.dropped_fields:
        lines += ["", '## Dropped fields (unsupported="drop")', "", "| requests | field |", "|---:|---|"]
        lines += [f"| {number:,} | {plain(field)} |" for field, number in section.dropped_fields.items()]
    without = sum(result.without_usage for result in results)
    if without:
        answers = counted(without, "answer carries", "answers carry")
        lines += ["", f"{answers} no token counts: this family reports none."]
    truncated = sum(result.finish_reasons.get("length", 0) for result in results)
    if truncated:
        answers = counted(truncated, "answer was", "answers were")
        lines += ["", f"{answers} cut off at max_tokens (finish_reason `length`)."]
    if section.warnings:
        lines += ["", "## Warnings", "", *(f"- {plain(warning)}" for warning in section.warnings)]
    return "\n".join(lines) + "\n"


def _types(document: BatchDocument) -> str:
    types = sorted({shard.invocation for shard in document.bedrock.shards or []})
    return f", {' and '.join(types)}" if types else ""


@task(name="report", task_run_name="report", **STAGE_OPTIONS)
def report(ref: BatchRef, document: BatchDocument, results: list[RangeResult]) -> None:
    """Leave the summary in the UI, and its main lines in the log."""
    create_markdown_artifact(
        key="batch-summary", markdown=summary_markdown(ref, document, results), description=f"Batch {document.id}"
    )
    log = run_log()
    counts, usage = document.request_counts, document.usage
    log.info(
        "Batch %s %s: %s, %s answered, %s failed; %s in, %s out",
        document.id,
        document.status,
        counted(counts.total, "request"),
        f"{counts.completed:,}",
        f"{counts.failed:,}",
        counted(usage.input_tokens if usage else 0, "token"),
        f"{usage.output_tokens if usage else 0:,}",
    )
    for warning in document.bedrock.warnings:
        log.warning("%s", warning)
    for cause, number, custom_id, line in merged_causes(results)[:3]:
        failed = counted(number, "request")
        log.warning("%s failed with %s (first: %s, line %s)", failed, one_line(cause), one_line(custom_id), line)
