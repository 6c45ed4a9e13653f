"""How much a Bedrock batch job takes.

Source: Service Quotas of `bedrock`, default values
(https://docs.aws.amazon.com/general/latest/gr/bedrock.html). They are quotas per model and account, often
adjustable and lower in new accounts, so every one can be overridden by an environment variable.
"""

import os
from typing import Final

import msgspec

from tasks.bedrock.models import Model

GIGABYTE: Final = 1 << 30


class Limits(msgspec.Struct, frozen=True):
    """The limits of one model's batch jobs; sizes in bytes."""

    min_records_per_job: int = 100
    max_records_per_job: int = 50_000
    #: Bedrock takes 1 GB a file; a margin is left for what the two sides may count differently.
    max_bytes_per_file: int = 900 * (1 << 20)
    max_jobs: int = 20
    max_rounds: int = 2


_VARIABLES: Final = {
    "min_records_per_job": "BEDROCK_BATCH_MIN_RECORDS_PER_JOB",
    "max_records_per_job": "BEDROCK_BATCH_MAX_RECORDS_PER_JOB",
    "max_bytes_per_file": "BEDROCK_BATCH_MAX_BYTES_PER_FILE",
    "max_jobs": "BEDROCK_BATCH_MAX_JOBS",
    "max_rounds": "BEDROCK_BATCH_MAX_ROUNDS",
}


def limits_for(model: Model) -> Limits:
    """The limits for a model's jobs, with the environment's overrides.

    Custom models have three jobs in flight where base models have 20. 50,000 records a job is the lowest default among
    the models seen (Llama, Mistral, Nova, Titan); Claude's newer models take 100,000, which
    `BEDROCK_BATCH_MAX_RECORDS_PER_JOB` can claim. Raises ValueError for an override that is no positive number.
    """
    values = {"max_jobs": 3} if ":custom-model/" in model.id else {}
    for field, variable in _VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        if not text.isdigit() or int(text) < (0 if field == "min_records_per_job" else 1):
            raise ValueError(f"{variable} must be a positive whole number, not {text!r}.")
        values[field] = int(text)
    limits = Limits(**values)
    if limits.max_records_per_job < limits.min_records_per_job:
        raise ValueError(
            f"{_VARIABLES['max_records_per_job']} ({limits.max_records_per_job}) is below "
            f"{_VARIABLES['min_records_per_job']} ({limits.min_records_per_job})."
        )
    return limits
