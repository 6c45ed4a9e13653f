"""One OpenAI batch file on one Bedrock model: `batch_inference`, and `python -m flows.batch`."""

import shutil
import sys
from pathlib import PurePosixPath
from typing import Any

from prefect import flow
from prefect.runtime import flow_run as current_run

from flows.forms import described_by, run_name
from flows.hooks import stop_on_cancel
from flows.pipeline import drive
from flows.runners import TASK_RUNNER
from tasks.assemble import publish_results
from tasks.batch import store
from tasks.batch.lease import holding
from tasks.batch.lifecycle import batch_failed, fail_batch
from tasks.batch.options import ResolvedCall, resolve_options
from tasks.batch.parameters import (
    BatchParameters,
    BelowMinimum,
    Dollars,
    Invocation,
    OnInvalid,
    PathText,
    Seconds,
    ServiceTier,
    Unsupported,
)
from tasks.batch.registry import run_noted
from tasks.batch.result import BatchResult
from tasks.bedrock.nearest import mistyped
from tasks.errors import BatchFailedError
from tasks.inputs.estimate import estimate, require_within
from tasks.inputs.plan import size_sampler
from tasks.inputs.summary import InputSummary
from tasks.inputs.survey import Survey
from tasks.open import name_batch, open_or_resume, requests_to_pay, require_minimum, require_role
from tasks.support.causes import listed
from tasks.support.markdown import one_line
from tasks.support.memory import release_memory
from tasks.support.progress import display, set_price
from tasks.support.run_context import run_log
from tasks.support.words import counted
from tasks.validate import validate

__all__ = ["BatchFailedError", "batch_inference"]

#: Kinds of refused requests that are said before a run.
_SHOWN_CAUSES = 5


def _run_name() -> str:
    parameters = current_run.parameters
    return run_name(f"{PurePosixPath(str(parameters.get('input_file'))).name} on {parameters.get('model')}")


@flow(
    name="batch-inference",
    flow_run_name=_run_name,
    on_cancellation=[stop_on_cancel],
    task_runner=TASK_RUNNER,
    persist_result=False,
)
@described_by(BatchParameters)
def batch_inference(  # noqa: PLR0913, PLR0917 (Prefect's form is made from it)
    input_file: PathText,
    model: str,
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
    wait: bool = True,
    max_cost_usd: Dollars | None = None,
) -> BatchResult:
    """Run an OpenAI batch file on one Bedrock model.

    Calling it again with the same input, model and options finds the same batch: finished, it is returned;
    interrupted, it carries on, and nothing is submitted twice.

    Returns:
        OpenAI's Batch object with `output_file`, `error_file` and `parquet_file` (URIs), `cost_usd`, `to_pandas()` and
        `to_arrow()`. `expired` and `cancelled`
        batches are returned with what was salvaged. Without `wait`, the batch as it stands.

    Raises:
        BatchFailedError: The batch ended as `failed`; its `.batch` is the result.
        PipelineError: A setting, permission or input is wrong; the message names the remedy.
    """
    # All of them, by their names.
    given = BatchParameters(**locals())
    with display():
        return _run(given)


def _run(given: BatchParameters) -> BatchResult:
    call = resolve_options(given)
    survey = Survey(call.model, call.options.unsupported, call.options.invocation, call.options.fetch_images)
    summary = validate(
        given.input_file, given.endpoint, call.codec.endpoints, size_sampler(call), given.on_invalid, [survey]
    )
    _announce(call, summary, survey)
    ref = name_batch(call, summary)
    with holding(ref) as lease:
        own = lease.ref
        document = open_or_resume(own, call, summary, lease.waited)
        if not document.finished:
            require_role(call, summary)
            if document.bedrock.shards is None and (refusal := require_minimum(call, summary)):
                raise fail_batch(own, [refusal])
            # The offsets of all requests have gone into the plan.
            del summary
            release_memory()
            with run_noted(ref):
                drive(own, poll_seconds=given.poll_seconds, wait=given.wait)
        elif (to := call.options).output_location:
            # Possibly another place than the one it was written to then.
            publish_results(own, document, to.output_location, to.output_kms_key, to.output_owner)
    batch = store.read(ref).public()
    if batch.status == "failed":
        raise batch_failed(batch)
    return batch


def _announce(call: ResolvedCall, summary: InputSummary, survey: Survey) -> None:
    """Say what will be sent, what is refused, and the price, before anything is uploaded.

    Raises ConfigurationError where this call may have to pay for more than max_cost_usd, or that cannot be told.
    """
    log = run_log()
    if meant := mistyped(call.model):
        log.warning("%s is not a model id that is known; did you mean %s?", call.model.id, meant)
    requests = requests_to_pay(call, summary)
    if not requests:
        return
    guess = estimate(
        survey,
        requests,
        call.limits,
        immediate=call.immediate,
        below_minimum=call.options.below_minimum,
        records=summary.records if requests == summary.valid else None,
        tier=call.options.service_tier,
    )
    set_price(guess.max_cost_usd)
    if survey.refused:
        about = "" if survey.exact else "about "
        every = (
            ": every one of them, so that no job is made and nothing is paid for"
            if survey.exact and not guess.requests
            else ""
        )
        log.warning("Will not be sent: %s%s%s", about, counted(survey.refused, "request"), every)
    for sentence in listed(survey.causes.ranked(), _SHOWN_CAUSES):
        log.warning("%s", one_line(sentence))
    if survey.window_warning:
        log.warning("%s", survey.window_warning)
    if guess.requests:
        log.info("To send: %s", guess)
    if guess.below_minimum and not call.immediate and guess.batch_cost_usd is not None:
        log.warning(
            "Fewer records than a job takes (%s): they are asked on demand, at the full price; "
            'below_minimum="pad" makes a job of them',
            f"{call.limits.min_records_per_job:,}",
        )
    try:
        require_within(guess, call.parameters.max_cost_usd)
    except BaseException:
        shutil.rmtree(summary.work, ignore_errors=True)
        raise


if __name__ == "__main__":
    from flows.cli.main import run_batch

    sys.exit(run_batch())
