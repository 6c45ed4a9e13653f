"""Which models have batch inference, and how much a job takes.

Both stand in the table of models (`models.toml`). Limits are quotas per model and account, often adjustable and lower
in new accounts, so every one can be overridden by an environment variable.
"""

import os
from typing import Final

from pydantic import BaseModel, ConfigDict

from tasks.bedrock.capabilities import capabilities_of, unknown_warning
from tasks.bedrock.models import Model


class Limits(BaseModel):
    """The limits of one model's batch jobs; sizes in bytes. Unknown ones, of a newer version, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    min_records_per_job: int = 100
    max_records_per_job: int = 50_000
    #: Bedrock takes 1 GB a file; a margin is left for what the two sides may count differently.
    max_bytes_per_file: int = 900 * (1 << 20)
    max_jobs: int = 20
    max_rounds: int = 2


def availability_warning(model: Model) -> str | None:
    """What a user should know before submitting, if the table has it; None where there is nothing to say.

    It forbids nothing: the service decides.
    """
    known = capabilities_of(model)
    if not known.known:
        return unknown_warning(model)
    name = f"{model.base_id} (as of {known.seen}, {known.source})"
    direct = model.id == model.base_id or "foundation-model/" in model.id
    if known.batch == "no":
        return f'No batch inference for {name}. If Bedrock refuses the job, use completion_window="immediate".'
    if known.batch == "profile" and direct:
        return f"Batch inference only through an inference profile, such as us.{model.base_id}, for {name}."
    if known.batch == "bare" and not direct:
        return f"Batch inference only under its bare id, not through an inference profile, for {name}."
    return None


_VARIABLES: Final = {
    "min_records_per_job": "BEDROCK_BATCH_MIN_RECORDS_PER_JOB",
    "max_records_per_job": "BEDROCK_BATCH_MAX_RECORDS_PER_JOB",
    "max_bytes_per_file": "BEDROCK_BATCH_MAX_BYTES_PER_FILE",
    "max_jobs": "BEDROCK_BATCH_MAX_JOBS",
    "max_rounds": "BEDROCK_BATCH_MAX_ROUNDS",
}


def limits_for(model: Model) -> Limits:
    """The limits for a model's jobs, with the environment's overrides.

    Custom models have three jobs in flight where base models have 20. Raises ValueError for an override that is no
    positive number.
    """
    known = capabilities_of(model)
    values = {field: getattr(known, field) for field in _VARIABLES if field != "max_rounds"}
    if ":custom-model/" in model.id:
        values["max_jobs"] = 3
    for field, variable in _VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        if not text:
            continue
        if not text.isdecimal() or int(text) < (0 if field == "min_records_per_job" else 1):
            raise ValueError(f"{variable} must be a positive whole number, not {text!r}.")
        values[field] = int(text)
    limits = Limits(**values)
    if limits.max_records_per_job < limits.min_records_per_job:
        raise ValueError(
            f"{_VARIABLES['max_records_per_job']} ({limits.max_records_per_job}) is below "
            f"{_VARIABLES['min_records_per_job']} ({limits.min_records_per_job})."
        )
    return limits
