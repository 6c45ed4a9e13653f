"""One OpenAI batch file on several Bedrock models: `compare_models`, and `python -m flows.compare`."""

import contextvars
import sys
import threading
from pathlib import PurePosixPath
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run as current_run

from flows.batch import batch_inference
from flows.forms import described_by, run_name
from flows.hooks import stop_all_on_cancel
from flows.runners import side_by_side_runner
from tasks.batch.options import read_metadata
from tasks.batch.parameters import (
    BelowMinimum,
    Dollars,
    Invocation,
    OnInvalid,
    PathText,
    Seconds,
    ServiceTier,
    Unsupported,
)
from tasks.comparison.estimate import estimate_all, estimate_cost, estimates_table, require_budget, summary
from tasks.comparison.joined import STRICT, Joined, read_options
from tasks.comparison.judge import Judge, Judged, read_judge
from tasks.comparison.numbers import Numbers
from tasks.comparison.parameters import Choices, ComparisonParameters, Models, Points, Variants
from tasks.comparison.reference import digest_of, read_reference
from tasks.comparison.result import Comparison, ComparisonFailedError, ComparisonRef, comparison_id
from tasks.comparison.tasks import (
    collect_verdicts,
    join,
    parameters_of,
    prepare_inputs,
    prepare_judge,
    require_valid,
    write_report,
)
from tasks.comparison.variants import Variant, read_variants
from tasks.errors import BatchFailedError, ConfigurationError, PipelineError
from tasks.inputs.media import buckets_of
from tasks.inputs.summary import InputSummary
from tasks.openai_format.batch import Batch
from tasks.settings import copies_of, load_settings
from tasks.storage.bucket import check_bucket
from tasks.support.progress import display
from tasks.support.run_context import logs_named, run_log
from tasks.support.words import counted, cut
from tasks.validate import read_input, validate

__all__ = ["Comparison", "ComparisonFailedError", "compare_models", "estimate"]


def _run_name() -> str:
    parameters = current_run.parameters
    variants = counted(sum(len(parameters.get(name) or ()) for name in ("models", "variants")), "variant")
    return run_name(f"{PurePosixPath(str(parameters.get('input_file'))).name} on {variants}")


@flow(name="compare-models", flow_run_name=_run_name, on_cancellation=[stop_all_on_cancel], persist_result=False)
@described_by(ComparisonParameters)
def compare_models(  # noqa: PLR0913, PLR0917 (Prefect's form is made from it)
    input_file: PathText,
    models: Models,
    reference: PathText | None = None,
    judge: str | dict[str, Any] | None = None,
    max_cost_usd: Dollars | None = None,
    label_column: str | None = None,
    extract: str | dict[str, Any] | None = None,
    choices: Choices = "first",
    margin: Points | None = None,
    cluster_by: str | None = None,
    slice_by: str | None = None,
    endpoint: str | None = None,
    completion_window: str = "24h",
    metadata: dict[str, Any] | None = {},  # noqa: B006 (Prefect copies it; the UI shows a dictionary)
    job_name: str | None = None,
    role_arn: str | None = None,
    vpc_config: dict[str, Any] | None = None,
    output_data_config: dict[str, Any] | None = None,
    on_invalid: OnInvalid = "fail",
    unsupported: Unsupported = "error",
    below_minimum: BelowMinimum = "on_demand",
    poll_seconds: Seconds | None = None,
    retry_failed: bool = False,
    invocation: Invocation = "auto",
    fetch_images: bool = False,
    service_tier: ServiceTier = "default",
    variants: Variants = [],  # noqa: B006 (as above)
    note: str | None = None,
) -> Comparison:
    """Run an OpenAI batch file on several Bedrock models side by side, and report which is how good, at what price.

    Calling it again with the same input, models and options finds the same batches and carries on. A model that fails
    leaves the others alone.

    Raises:
        ComparisonFailedError: No variant has results; its `.comparison` says why for each.
        PipelineError: A setting, permission or input is wrong, or max_cost_usd would not hold; nothing was submitted.
    """
    # All of them, by their names.
    given = ComparisonParameters(**locals())
    all_variants, judging = read_variants(models, variants), read_judge(judge)
    shared = {**given.shared(), "metadata": read_metadata(metadata)}
    compared = read_options(extract, choices, margin, cluster_by, slice_by)
    if margin is not None and (reference is None or len(all_variants) < 2):
        raise ConfigurationError("A margin compares accuracies: it needs a reference, and at least two models.")
    labels = read_reference(reference, label_column, compared.fields) if reference else None
    if labels is not None and not labels.named:
        run_log().info("The right answers are those of the column %s of %s", labels.column, reference)
    settings = load_settings(role_arn)
    check_bucket(settings.root, settings.bucket_owner)
    data = _validated(input_file, endpoint, all_variants, on_invalid)
    options = {"endpoint": endpoint, "on_invalid": on_invalid, "unsupported": unsupported, "invocation": invocation}
    digest = digest_of(labels) if labels else None
    # Named only where something was chosen: the comparisons of others keep their names.
    own = () if compared == STRICT else (compared,)
    ref = ComparisonRef(settings, comparison_id(data.digest, all_variants, options, digest, judging, *own))
    estimates = estimate_cost(
        all_variants, data.sources, data.requests, completion_window, data.endpoint, judging, below_minimum
    )
    require_budget(estimates, max_cost_usd)
    files = prepare_inputs(ref, all_variants, data.sources, input_file, data.endpoint)
    comparison = Comparison(id=ref.id, input_file=input_file, estimate=summary(estimates))
    with copies_of(buckets_of(data.sources)), display():
        run_variants(comparison, all_variants, files, shared)
    answered = {label: batch for label, batch in comparison.batches.items() if label not in comparison.failed}
    if not answered:
        causes = "; ".join(f"{label}: {cause}" for label, cause in comparison.failed.items())
        raise ComparisonFailedError(f"No model has results. {causes}", comparison)
    joined, numbers = join(ref, all_variants, answered, data.sources, data.requests, labels, compared)
    judged = _judge(ref, comparison, judging, joined, numbers, shared) if judging and len(answered) > 1 else None
    parameters = parameters_of(
        all_variants,
        judging,
        f"{reference}, column {labels.column}" if labels is not None else None,
        input=input_file,
        requests=f"{data.requests:,}",
        completion_window=completion_window,
        max_cost_usd=max_cost_usd,
        extract=extract,
        choices=choices if choices != "first" else None,
        margin=None if margin is None else f"{margin:g} points",
        cluster_by=cluster_by,
        slice_by=slice_by,
        **options,
    )
    return write_report(ref, comparison, joined, numbers, judged, note, parameters)


def _validated(input_file: str, endpoint: str | None, variants: list[Variant], on_invalid: OnInvalid) -> InputSummary:
    """Check the input once, for all, before anything is uploaded."""
    data: InputSummary = validate(input_file, endpoint, _served(variants), None, on_invalid)
    require_valid(data, on_invalid)
    return data


def _served(variants: list[Variant]) -> frozenset[str]:
    """The endpoints that any of the models serves."""
    return frozenset().union(*(variant.endpoints for variant in variants))


def run_variants(comparison: Comparison, variants: list[Variant], files: list[str], shared: dict[str, Any]) -> None:
    """Run every variant's batch as a sub-flow, side by side; what becomes of one is nothing to the others."""
    troubles: list[BaseException] = []

    def run(variant: Variant, file: str) -> None:
        try:
            batch = _batch(variant.label, file, variant.model, {**shared, **variant.options})
        except BatchFailedError as error:
            batch = error.batch
            comparison.failed[variant.label] = str(error)
        except PipelineError as error:
            comparison.failed[variant.label] = str(error)
            run_log().error("%s has no results: %s", variant.label, error)
            return
        except BaseException as error:
            troubles.append(error)
            return
        comparison.batches[variant.label] = batch
        if batch.parquet_file is not None and batch.request_counts.completed:
            # Of a job that failed half way, what was answered is compared.
            comparison.failed.pop(variant.label, None)

    # Daemons, so that whoever interrupts this run need not wait for their jobs; each in a copy of this run's context,
    # which makes its batch a sub-flow of this run.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, variant, file), daemon=True)
        for variant, file in zip(variants, files, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise troubles[0]


def _batch(label: str, file: str, model: str, options: dict[str, Any]) -> Batch:
    one = batch_inference.with_options(flow_run_name=cut(label, 120), task_runner=side_by_side_runner())
    with logs_named(cut(label, 40)):
        batch: Batch = one(file, model, **options)
    return batch


def _judge(
    ref: ComparisonRef,
    comparison: Comparison,
    judge: Judge,
    joined: Joined,
    numbers: Numbers,
    shared: dict[str, Any],
) -> Judged | None:
    """Let the judge compare the answers, in a batch like any other."""
    labels = [variant.label for variant in numbers.variants]
    file, questions = prepare_judge(ref, judge, labels, joined)
    if not questions:
        run_log().warning("There is nothing to judge: no request was answered with text by two variants")
        return None
    own = {"endpoint": None, "on_invalid": "fail", "unsupported": "error", "output_data_config": None}
    try:
        comparison.judge_batch = _batch(f"judge {judge.model}", file, judge.model, {**shared, **own})
    except PipelineError as error:
        # The comparison stands without it.
        run_log().error("The judge has no results: %s", error)
        comparison.failed["judge"] = str(error)
        return None
    return collect_verdicts(ref, judge, labels, comparison.judge_batch)


@flow(name="estimate", persist_result=False)
@described_by(ComparisonParameters)
def estimate(
    input_file: PathText,
    models: Models,
    endpoint: str | None = None,
    completion_window: str = "24h",
    judge: str | dict[str, Any] | None = None,
    variants: Variants = [],  # noqa: B006 (as above)
) -> list[dict[str, Any]]:
    """What a comparison, or a batch on one model, would take: requests, jobs, tokens and dollars for each variant.

    Tokens are estimated from the text (four bytes each, 1,600 an image) and the requests' own limits; prices are batch
    prices where they are known, else half of on demand, and say which. Nothing is submitted.
    """
    all_variants, judging = read_variants(models, variants), read_judge(judge)
    data = _validated(input_file, endpoint, all_variants, "skip")
    estimates = estimate_cost(all_variants, data.sources, data.valid, completion_window, data.endpoint, judging)
    create_table_artifact(key="estimate", table=estimates_table(estimates), description="Before anything is submitted")
    return summary(estimates)


def estimate_file(
    input_file: str,
    models: Models,
    endpoint: str | None,
    completion_window: str,
    judge: str | dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """`estimate`, also outside of a flow: without Prefect's server."""
    variants, judging = read_variants(models), read_judge(judge)
    with display():
        data = read_input(input_file, endpoint, _served(variants))
    require_valid(data, "skip")
    return summary(estimate_all(variants, data.sources, data.valid, completion_window, data.endpoint, judging))


if __name__ == "__main__":
    from flows.cli.main import run_comparison

    sys.exit(run_comparison())
