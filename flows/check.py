"""Look at a file, and at AWS, before anything is uploaded or paid for: `check` and `doctor`."""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run as current_run
from pydantic import Field

from flows.forms import described_by, run_name, titled
from tasks.batch.options import parse_window
from tasks.batch.parameters import PathText
from tasks.bedrock.models import parse_model
from tasks.check import Check, examine
from tasks.comparison.parameters import ComparisonParameters, Models, Variants
from tasks.comparison.reference import read_reference
from tasks.comparison.variants import Variant, changer, read_variants
from tasks.doctor import Diagnosis, diagnose
from tasks.errors import ConfigurationError
from tasks.inputs.summary import InputSummary
from tasks.inputs.survey import Survey
from tasks.settings import load_settings
from tasks.support.markdown import one_line, plain
from tasks.support.progress import display
from tasks.support.run_context import run_log
from tasks.validate import validate

__all__ = ["Check", "Diagnosis", "check", "doctor"]


def _run_name() -> str:
    return run_name(f"check {PurePosixPath(str(current_run.parameters.get('input_file'))).name}")


@flow(name="check", flow_run_name=_run_name, persist_result=False)
@described_by(ComparisonParameters)
def check(  # noqa: PLR0913, PLR0917 (Prefect's form is made from it)
    input_file: PathText,
    models: Models,
    reference: PathText | None = None,
    endpoint: str | None = None,
    completion_window: str = "24h",
    on_invalid: Literal["fail", "skip"] = "fail",
    unsupported: Literal["error", "drop"] = "error",
    below_minimum: Literal["on_demand", "pad", "fail"] = "on_demand",
    invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
    fetch_images: bool = False,
    variants: Variants = [],  # noqa: B006 (Prefect copies it)
    every: Annotated[int, Field(ge=1)] = 1,
    label_column: str | None = None,
) -> Check:
    """Tell what a run would make of a file, without sending anything: what is wrong, refused, dropped, and the price.

    No AWS account is needed where the file is on this machine.

    Args:
        every: Hold one request in so many against the models; 1 looks at all of them.

    Returns:
        What was found; its text is for people, its `exit_code` for scripts.

    Raises:
        PipelineError: The input or a parameter cannot be read.
    """
    found = check_file(partial(validate, on_invalid=on_invalid), **locals())
    create_markdown_artifact(key="check", markdown=found.markdown(), description=f"Check of {input_file}"[:200])
    for line in found.lines():
        run_log().info("%s", one_line(line, 2000))
    return found


def check_file(  # noqa: PLR0913 (as of the flow)
    read: Callable[..., InputSummary],
    *,
    input_file: str,
    models: list[str | dict[str, Any]],
    reference: str | None,
    endpoint: str | None,
    completion_window: str,
    on_invalid: Literal["fail", "skip"],
    unsupported: Literal["error", "drop"],
    below_minimum: Literal["on_demand", "pad", "fail"],
    invocation: Literal["auto", "InvokeModel", "Converse"],
    fetch_images: bool,
    every: int,
    variants: list[dict[str, Any]] | None = None,
    label_column: str | None = None,
) -> Check:
    """`check`, also outside of a flow, where `read` is `read_input`: without Prefect's server."""
    compared = read_variants(models, variants)
    labels = read_reference(reference, label_column).answers.keys() if reference else None
    surveys = {each.label: _survey(each, unsupported, invocation, fetch_images, endpoint) for each in compared}
    served: frozenset[str] = frozenset().union(*(variant.endpoints for variant in compared))
    seen = list(surveys.values())
    with display():
        summary = read(input_file, endpoint, served, sample=None, surveys=seen, every=every)
    try:
        return examine(
            summary,
            surveys,
            on_invalid=on_invalid,
            immediate=parse_window(completion_window) is None,
            below_minimum=below_minimum,
            labels=labels,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    finally:
        shutil.rmtree(summary.work, ignore_errors=True)


def _survey(
    variant: Variant,
    unsupported: Literal["error", "drop"],
    invocation: Literal["auto", "InvokeModel", "Converse"],
    fetch_images: bool,
    endpoint: str | None,
) -> Survey:
    options = variant.options
    return Survey(
        parse_model(variant.model),
        options.get("unsupported", unsupported),
        options.get("invocation", invocation),
        fetch_images,
        changer(variant.overrides, endpoint) if variant.overrides else None,
    )


@flow(name="doctor", persist_result=False)
@titled
def doctor(models: list[str], role_arn: str | None = None) -> Diagnosis:
    """Tell whether AWS is ready for batches, as far as the caller may look: one line each, with a remedy.

    It looks at credentials, region, bucket, KMS key, the jobs' role and whom it trusts, and for each model at access
    and quotas. Nothing is changed, and nothing is paid for.

    Args:
        models: Model ids, inference profile ids or ARNs.
        role_arn: Service role of the jobs; BEDROCK_BATCH_ROLE_ARN by default.

    Raises:
        PipelineError: No bucket is set, or a parameter is wrong.
    """
    try:
        found = diagnose(load_settings(role_arn), [parse_model(model) for model in models])
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    rows = [
        f"| {each.state} | {plain(each.what)} | {plain(each.sentence)} | {plain(each.remedy or '')} |"
        for each in found.findings
    ]
    table = "\n".join(["| | what | found | remedy |", "|---|---|---|---|", *rows])
    create_markdown_artifact(key="doctor", markdown=f"# Doctor\n\n{table}\n", description="Whether AWS is ready")
    levels = {"error": logging.ERROR, "warning": logging.WARNING}
    for each in found.findings:
        run_log().log(levels.get(each.state, logging.INFO), "%s", one_line(str(each), 2000))
    return found
