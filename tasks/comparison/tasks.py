"""The stages of a comparison as Prefect tasks."""

import shutil
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec
from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks import aws
from tasks.batch import store
from tasks.batch.lifecycle import first_causes
from tasks.batch.paths import BatchRef
from tasks.bedrock.models import parse_model
from tasks.comparison.conclusions import conclude
from tasks.comparison.join import Join
from tasks.comparison.joined import STRICT, Joined, Options, Side
from tasks.comparison.judge import Judge, Judged, read_verdicts, write_questions
from tasks.comparison.measures import measure
from tasks.comparison.numbers import Numbers
from tasks.comparison.page import SENTENCE, Page, html, markdown
from tasks.comparison.pricing import Pricing, pricing_of
from tasks.comparison.reference import Reference
from tasks.comparison.result import Comparison, ComparisonRef
from tasks.comparison.variants import Variant, slug, write_input
from tasks.errors import InputFileError
from tasks.inputs.summary import InputSummary
from tasks.openai_format.batch import Batch
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer, abort_uploads
from tasks.support.markdown import code, one_line, plain
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted


def require_valid(summary: InputSummary, on_invalid: str) -> None:
    """Raise InputFileError, before any model is asked, for an input that would fail every variant's batch."""
    shutil.rmtree(summary.work, ignore_errors=True)
    if summary.requests and (not summary.invalid or on_invalid == "skip"):
        return
    remedy = ' Mend the lines, or choose on_invalid="skip".' if summary.requests else ""
    raise InputFileError(f"Nothing was submitted: {first_causes(summary.errors()).rstrip('.')}.{remedy}")


@task(name="prepare inputs", task_run_name="prepare-inputs", **STAGE_OPTIONS)
def prepare_inputs(
    ref: ComparisonRef, variants: list[Variant], sources: list[Source], input_file: str, endpoint: str | None = None
) -> list[str]:
    """The input file of each variant: the dataset itself, or its copy with the variant's overrides."""
    files = []
    for number, variant in enumerate(variants):
        if not variant.overrides:
            files.append(input_file)
            continue
        target = ref.uri("inputs", f"{slug(variant.label, number)}.jsonl")
        write_input(variant, sources, target, ref.settings.kms_key, endpoint)
        files.append(str(target))
    return files


def _pricing(ref: ComparisonRef, name: str, batch: Batch) -> Pricing:
    """The prices that a batch of a model was billed at, by where its records went."""
    document = store.read(BatchRef(ref.settings.root, batch.id))
    model = parse_model(name)
    if not model.base_id:
        model = parse_model(document.bedrock.base_model or name)
    return pricing_of(document.bedrock, model)


@task(name="join", task_run_name="join", **STAGE_OPTIONS)
def join(
    ref: ComparisonRef,
    variants: list[Variant],
    batches: dict[str, Batch],
    sources: list[Source],
    requests: int,
    reference: Reference | None,
    options: Options = STRICT,
) -> tuple[Joined, Numbers]:
    """Write the joined tables and compute the numbers."""
    log = run_log()
    chosen = [v for v in variants if v.label in batches and batches[v.label].parquet_file]
    prices = [_pricing(ref, variant.model, batches[variant.label]) for variant in chosen]
    sides = [Side(variant, prices_.rate, prices_) for variant, prices_ in zip(chosen, prices, strict=True)]
    joined = Join(sides, sources, requests, reference, options).run(
        [batches[variant.label].parquet_file or "" for variant in chosen],
        ref.uri("table.parquet"),
        ref.uri("answers.csv"),
        ref.settings.kms_key,
    )
    numbers = measure(joined)
    numbers.base = variants[0].label
    log.info("Joined %s of %s", counted(joined.requests, "request"), counted(len(chosen), "variant"))
    if reference is not None:
        if not numbers.referenced:
            raise InputFileError(
                "The reference has no custom_id of the input: are they from the same dataset? "
                f"It has {counted(len(reference.answers), 'label')}, the input {counted(joined.requests, 'request')}."
            )
        if numbers.missing_references or numbers.extra_references:
            log.warning(
                "The reference lacks %s of the requests, and has %s of no request",
                f"{numbers.missing_references:,}",
                counted(numbers.extra_references, "label"),
            )
    return joined, numbers


@task(name="ask the judge", task_run_name="write-judge-questions", **STAGE_OPTIONS)
def prepare_judge(ref: ComparisonRef, judge: Judge, labels: list[str], joined: Joined) -> tuple[str, int]:
    """Write what the judge is asked; the file, and how many requests."""
    target, table = ref.uri("inputs", "judge.jsonl"), ref.uri("table.parquet")
    return str(target), write_questions(judge, labels, table, target, ref.settings.kms_key, joined.clusters)


@task(name="read the verdicts", task_run_name="read-verdicts", **STAGE_OPTIONS)
def collect_verdicts(ref: ComparisonRef, judge: Judge, labels: list[str], batch: Batch) -> Judged:
    """Add up what the judge said, and what it cost."""
    asked = batch.request_counts.total
    judged = read_verdicts(judge, labels, batch.id, batch.output_file, asked, ref.uri("table.parquet"))
    rate = _pricing(ref, judge.model, batch).rate
    if rate is not None and batch.usage is not None:
        judged.cost_usd = rate.cost(batch.usage.input_tokens, batch.usage.output_tokens)
    verdicts = counted(judged.verdicts, "verdict")
    run_log().info(
        "%s of the judge, %s unreadable, %s without an answer", verdicts, f"{judged.unreadable:,}", f"{judged.failed:,}"
    )
    return judged


@task(name="report", task_run_name="report", **STAGE_OPTIONS)
def write_report(
    ref: ComparisonRef,
    comparison: Comparison,
    joined: Joined | None,
    numbers: Numbers,
    judged: Judged | None,
    note: str | None,
    parameters: list[tuple[str, str]],
) -> Comparison:
    """Write the page and the result, and leave the summary in the Prefect UI."""
    name = PurePosixPath(comparison.input_file.rstrip("/")).name
    page = Page(
        id=ref.id,
        title=f"{name} on {counted(len(numbers.variants), 'variant')}",
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        note=note,
        numbers=numbers,
        joined=joined,
        judged=judged,
        failed=comparison.failed,
        parameters=parameters,
        files=[
            ("table.parquet", "table.parquet: every answer"),
            ("answers.csv", "answers.csv: side by side"),
            ("comparison.json", "comparison.json: all numbers"),
        ],
    ).with_short_names()
    report = ref.uri("report.html")
    _write(ref, report, html(page).encode("utf-8", "replace"), "text/html; charset=utf-8")
    comparison.report_file = str(report)
    comparison.table_file, comparison.wide_file = str(ref.uri("table.parquet")), str(ref.uri("answers.csv"))
    comparison.verdict = page.verdict
    conclusions = conclude(numbers, judged)
    comparison.conclusions = msgspec.to_builtins(conclusions)
    if numbers.margin is not None:
        shown = [each.holds for each in conclusions if each.claim == "not_worse"]
        # Also of those without results.
        variants = {*comparison.batches, *comparison.failed} - {"judge"}
        comparison.within_margin = all(shown) and len(shown) == len(variants) - 1 > 0
    comparison.numbers = msgspec.to_builtins(numbers)
    comparison.judged = msgspec.to_builtins(judged) if judged else None
    comparison.cost_usd = {variant.label: variant.cost_usd for variant in numbers.variants}
    state = comparison.model_dump_json(indent=1).encode()
    _write(ref, ref.uri("comparison.json"), state, "application/json")
    abort_uploads(ref.uri())
    files = {
        "Report": f"[{plain(str(report))}](<{_link(report)}>)",
        "Table": code(comparison.table_file),
        "Answers side by side": code(comparison.wide_file),
    }
    create_markdown_artifact(key="model-comparison", markdown=markdown(page, files), description=plain(page.title))
    for sentence in page.verdict:
        run_log().info("%s", one_line(sentence, SENTENCE))
    return comparison


def _write(ref: ComparisonRef, uri: S3Uri, data: bytes, kind: str) -> None:
    with S3Writer(uri, ref.settings.kms_key, kind) as out:
        out.write(data)


def _link(uri: S3Uri) -> str:
    """Where a browser shows an object: the AWS console, or the store itself where another one is set."""
    endpoint = str(aws.s3().meta.endpoint_url)
    if ".amazonaws.com" in endpoint:
        return f"https://console.aws.amazon.com/s3/object/{uri.bucket}?prefix={uri.key}"
    return f"{endpoint}/{uri.bucket}/{uri.key}"


def parameters_of(
    variants: list[Variant], judge: Judge | None, reference: str | None, **options: Any
) -> list[tuple[str, str]]:
    """What a reader of the report needs to repeat the run."""
    rows = []
    for variant in variants:
        more = {**({"overrides": variant.overrides} if variant.overrides else {}), **variant.options}
        shown = variant.model + (f" with {msgspec.json.encode(more).decode()}" if more else "")
        rows.append((f"Variant {variant.label}", shown))
    rows += [(name, str(value)) for name, value in options.items() if value not in (None, {}, "")]
    if reference:
        rows.append(("reference", reference))
    if judge:
        rows.append(("judge", f"{judge.model}, {counted(judge.requests, 'request')}"))
    return rows
