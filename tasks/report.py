"""The last word: a summary of the batch as an artifact in the Prefect UI and as lines on the terminal."""

import time
from collections.abc import Iterable

import msgspec
import pyarrow.parquet as pq
from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef
from tasks.batch.result import BatchResult, result_of
from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tasks.results.totals import RangeResult
from tasks.settings import summary_settings
from tasks.storage.console import Console, console, signed
from tasks.storage.objects import local_copy
from tasks.storage.uris import parse_input_uri
from tasks.support.markdown import code, one_line, plain
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted, dollars, duration

_SHOWN_CAUSES, _SHOWN_JOBS = 10, 20


def merged_causes(results: Iterable[RangeResult]) -> list[tuple[str, int, str, int]]:
    """(cause, count, first custom_id, first line) of all ranges, the most frequent first."""
    causes: dict[str, tuple[int, str, int]] = {}
    for result in results:
        for cause, (number, custom_id, line) in result.causes.items():
            known = causes.get(cause)
            causes[cause] = (number + known[0], known[1], known[2]) if known else (number, custom_id, line)
    ranked = sorted(causes.items(), key=lambda item: -item[1][0])
    return [(cause, number, custom_id, line) for cause, (number, custom_id, line) in ranked]


class Extras(msgspec.Struct, frozen=True):
    """What a summary may hold besides, where there is a console to link to or a setting asks for it."""

    console: Console | None = None
    #: Links of an hour, by what stands for them.
    links: dict[str, str] = {}
    #: custom_id and answer of some requests.
    answers: list[tuple[str, str]] = []


def _cost(document: Batch) -> str:
    return "unknown" if document.cost_usd is None else dollars(document.cost_usd)


def _link(text: str, url: str | None) -> str:
    """A link of our own making: nothing in it is a user's text but what is percent-encoded."""
    return f" ([{text}]({url}))" if url else ""


def summary_markdown(
    ref: BatchRef, document: BatchDocument, results: list[RangeResult], extras: Extras | None = None
) -> str:
    """The summary: counts, tokens, cost, where the files are, the first errors grouped by cause."""
    counts, usage, section = document.request_counts, document.usage, document.bedrock
    extras = extras or Extras()
    took, console = result_of(document).seconds, extras.console
    lines = [
        f"# Batch {document.status}",
        "",
        f"`{document.id}` · {plain(document.endpoint)} · **{plain(section.model)}** "
        f"({plain(section.family)}{_types(document)})",
        "",
        "| requests | answered | failed | input tokens | output tokens | cost | took |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        f"| {counts.total:,} | {counts.completed:,} | {counts.failed:,} | "
        f"{usage.input_tokens if usage else 0:,} | {usage.output_tokens if usage else 0:,} | {_cost(document)} | "
        f"{'' if took is None else duration(took)} |",
        "",
        "## Files",
        "",
    ]
    for name, uri in (
        ("Output", document.output_file),
        ("Errors", document.error_file),
        ("Parquet", document.parquet_file),
    ):
        if uri is None:
            lines.append(f"- {name}: none")
            continue
        page = _link("console", console.object(parse_input_uri(uri)) if console else None)
        lines.append(f"- {name}: {code(uri)}{page}{_link('download, for an hour', extras.links.get(uri))}")
    lines += [f"- Copies: {code(place + '/')}" for place in section.published]
    lines.append(
        f"- State: {code(str(ref.document))}{_link('folder', console.folder(ref.folder) if console else None)}"
    )
    lines += _jobs(document, console)
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
    if extras.answers:
        lines += ["", "## Some answers", "", "| request | answer |", "|---|---|"]
        lines += [f"| {plain(custom_id)} | {plain(answer)} |" for custom_id, answer in extras.answers]
    if section.warnings:
        lines += ["", "## Warnings", "", *(f"- {plain(warning)}" for warning in section.warnings)]
    return "\n".join(lines) + "\n"


def _jobs(document: BatchDocument, console: Console | None) -> list[str]:
    """The last jobs of the batch, and where they are found."""
    jobs = [job for shard in document.bedrock.shards or [] for job in shard.jobs if job.arn]
    if not jobs:
        return []
    lines = ["", f"## Jobs{_link('in the console', console.jobs() if console else None)}", ""]
    lines += ["| job | state | records | errors |", "|---|---|---:|---:|"]
    lines += [
        f"| {code(job.name)} | {plain(job.status or '')} | {job.processed:,} | {job.errored:,} |"
        for job in jobs[-_SHOWN_JOBS:]
    ]
    return lines + ([f"| and {len(jobs) - _SHOWN_JOBS:,} before them | | | |"] if len(jobs) > _SHOWN_JOBS else [])


def batch_markdown(batch: BatchResult) -> str:
    """A batch as it stands, for the UI."""
    rows = [f"| {name} | {plain(value)} |" for name, value in batch.rows()]
    return "\n".join([f"# Batch {code(batch.id)}", "", "| | |", "|---|---|", *rows]) + "\n"


def batches_table(batches: Iterable[BatchResult]) -> list[dict[str, str]]:
    """Batches as rows of a table in the UI, whose cells are markdown."""
    return [
        {
            "batch": code(batch.id),
            "status": batch.status,
            "model": plain(batch.model or ""),
            "requests": f"{batch.request_counts.total:,}",
            "answered": f"{batch.request_counts.completed:,}",
            "failed": f"{batch.request_counts.failed:,}",
            "cost": _cost(batch) if batch.finished else "",
            "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(batch.created_at)),
            "input": plain(batch.input_file_id),
        }
        for batch in batches
    ]


def _extras(document: BatchDocument) -> Extras:
    """What the settings ask for; a summary is not worth a run: what cannot be had is left out."""
    wanted = summary_settings()
    links, answers = {}, []
    try:
        if wanted.signed_links:
            uris = (document.output_file, document.error_file, document.parquet_file)
            links = {uri: signed(parse_input_uri(uri)) for uri in uris if uri}
        if wanted.answers and document.parquet_file:
            answers = _some_answers(document.parquet_file, wanted.answers)
        return Extras(console(), links, answers)
    except PipelineError as error:
        run_log().warning("The summary lacks its links and answers: %s", error)
        return Extras()


def _some_answers(parquet_file: str, most: int) -> list[tuple[str, str]]:
    with local_copy(parse_input_uri(parquet_file)) as local:
        table = pq.ParquetFile(local)
        for group in table.iter_batches(columns=["custom_id", "content", "ok"]):
            rows = zip(*(column.to_pylist() for column in group.columns), strict=True)
            found = [(custom_id or "", content) for custom_id, content, ok in rows if ok and content]
            if found:
                return found[:most]
    return []


def _types(document: BatchDocument) -> str:
    types = sorted({shard.invocation for shard in document.bedrock.shards or []})
    return f", {' and '.join(types)}" if types else ""


@task(name="report", task_run_name="report", **STAGE_OPTIONS)
def report(ref: BatchRef, document: BatchDocument, results: list[RangeResult]) -> None:
    """Leave the summary in the UI, and its main lines in the log."""
    markdown = summary_markdown(ref, document, results, _extras(document))
    create_markdown_artifact(key="batch-summary", markdown=markdown, description=f"Batch {document.id}")
    log = run_log()
    counts, usage = document.request_counts, document.usage
    log.info(
        "Batch %s %s: %s, %s answered, %s failed; %s in, %s out; cost %s",
        document.id,
        document.status,
        counted(counts.total, "request"),
        f"{counts.completed:,}",
        f"{counts.failed:,}",
        counted(usage.input_tokens if usage else 0, "token"),
        f"{usage.output_tokens if usage else 0:,}",
        _cost(document),
    )
    for warning in document.bedrock.warnings:
        log.warning("%s", warning)
    for cause, number, custom_id, line in merged_causes(results)[:3]:
        failed = counted(number, "request")
        log.warning("%s failed with %s (first: %s, line %s)", failed, one_line(cause), one_line(custom_id), line)
