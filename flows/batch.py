"""One OpenAI batch file on one Bedrock model: `batch_inference`, and `python -m flows.batch`."""

import sys
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.runtime import flow_run as current_run
from pydantic import BeforeValidator, Field

from flows.hooks import stop_on_cancel
from flows.pipeline import drive
from flows.runners import TASK_RUNNER
from tasks.assemble import publish_results
from tasks.batch.lease import holding
from tasks.batch.lifecycle import batch_failed, fail_batch
from tasks.batch.options import place_order
from tasks.batch.registry import run_noted
from tasks.batch.store import read
from tasks.errors import BatchFailedError
from tasks.inputs.plan import size_sampler
from tasks.open import name_batch, open_or_resume, require_minimum, require_role
from tasks.openai_format.batch import Batch
from tasks.support.memory import release_memory
from tasks.validate import validate

__all__ = ["BatchFailedError", "batch_inference"]


#: Text, in the UI's form as well; a Path will do from Python.
PathText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, PurePath) else value)]


def _run_name() -> str:
    parameters = current_run.parameters
    return f"{PurePosixPath(str(parameters.get('input_file'))).name} on {parameters.get('model')}"


@flow(
    name="batch-inference",
    flow_run_name=_run_name,
    on_cancellation=[stop_on_cancel],
    task_runner=TASK_RUNNER,
    persist_result=False,
)
def batch_inference(
    input_file: PathText,
    model: str,
    endpoint: str | None = None,
    completion_window: str = "24h",
    metadata: dict[str, Any] | None = {},  # noqa: B006 (Prefect copies it; the UI shows a dictionary)
    job_name: str | None = None,
    role_arn: str | None = None,
    output_data_config: dict[str, Any] | None = None,
    on_invalid: Literal["fail", "skip"] = "fail",
    unsupported: Literal["error", "drop"] = "error",
    below_minimum: Literal["on_demand", "pad", "fail"] = "on_demand",
    poll_seconds: Annotated[float, Field(gt=0)] | None = None,
    retry_failed: bool = False,
    invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
    fetch_images: bool = False,
    wait: bool = True,
) -> Batch:
    """Run an OpenAI batch file on one Bedrock model.

    Calling it again with the same input, model and options finds the same batch: finished, it is returned;
    interrupted, it carries on, and nothing is submitted twice.

    Args:
        input_file: Local path, s3:// URI (or URL-encoded), folder or glob of .jsonl files; gzip and zstd are read.
        model: Bedrock model id, inference profile id or ARN.
        endpoint: Taken from the lines; given, every line must match it.
        completion_window: 24h to 168h (or 1d to 7d); "immediate" answers on demand, without a batch job.
        metadata: Kept on the batch and put on its jobs as tags.
        job_name: Start of the Bedrock jobs' names.
        role_arn: Service role of the jobs; BEDROCK_BATCH_ROLE_ARN by default.
        output_data_config: {"s3OutputDataConfig": {"s3Uri": ..., "s3EncryptionKeyId": ..., "s3BucketOwner": ...}}:
            results go there too. The last two may be left out; the owner is the account of a bucket of another one.
        on_invalid: A bad line fails the batch before anything is uploaded, or goes to the error file.
        unsupported: A field the model cannot honour is an error for its request, or is dropped and counted.
        below_minimum: What to do with fewer records than a job accepts.
        poll_seconds: Fixed seconds between looks at the jobs; adaptive (1 to 60) when empty.
        retry_failed: Open a finished batch again for the requests that have no answer (throttled, expired, cancelled,
            faulted), and only those.
        invocation: The type of Bedrock's jobs; "auto" chooses by what each request needs.
        fetch_images: Fetch http(s) images, from public addresses only. s3:// images are read from the batch's bucket,
            the input's, and those that BEDROCK_BATCH_IMAGE_BUCKETS names.
        wait: Wait for the end; or submit and leave, for the collector or the same call to go on with.

    Returns:
        OpenAI's Batch object with `output_file`, `error_file` and `parquet_file` (URIs). `expired` and `cancelled`
        batches are returned with what was salvaged. Without `wait`, the batch as it stands.

    Raises:
        BatchFailedError: The batch ended as `failed`; its `.batch` is the result.
        PipelineError: A setting, permission or input is wrong; the message names the remedy.
    """
    order = place_order(
        input_file,
        model,
        endpoint=endpoint,
        completion_window=completion_window,
        metadata=metadata,
        job_name=job_name,
        role_arn=role_arn,
        output_data_config=output_data_config,
        on_invalid=on_invalid,
        unsupported=unsupported,
        below_minimum=below_minimum,
        invocation=invocation,
        fetch_images=fetch_images,
        retry_failed=retry_failed,
    )
    summary = validate(input_file, endpoint, order.codec.endpoints, size_sampler(order), on_invalid)
    ref = name_batch(order, summary)
    with holding(ref) as lease:
        own = lease.ref
        document = open_or_resume(own, order, summary, lease.waited)
        if not document.finished:
            require_role(order, summary)
            if document.bedrock.shards is None and (refusal := require_minimum(order, summary)):
                raise fail_batch(own, [refusal])
            # The offsets of all requests have gone into the plan.
            del summary
            release_memory()
            with run_noted(ref):
                drive(own, poll_seconds=poll_seconds, wait=wait)
        elif order.output_location:
            # Possibly another place than the one it was written to then.
            publish_results(own, document, order.output_location, order.output_kms_key, order.output_owner)
    batch = read(ref).public()
    if batch.status == "failed":
        raise batch_failed(batch)
    return batch


if __name__ == "__main__":
    from flows.cli import run_batch

    sys.exit(run_batch())
