"""Which models have batch inference, and how much a job takes.

Source of limits: Service Quotas of `bedrock`, default values
(https://docs.aws.amazon.com/general/latest/gr/bedrock.html). They are quotas per model and account, often
adjustable and lower in new accounts, so every one can be overridden by an environment variable.
"""

import os
import re
from typing import Final, Literal

import msgspec

from tasks.bedrock.models import Model


class Limits(msgspec.Struct, frozen=True):
    """The limits of one model's batch jobs; sizes in bytes."""

    min_records_per_job: int = 100
    max_records_per_job: int = 50_000
    #: Bedrock takes 1 GB a file; a margin is left for what the two sides may count differently.
    max_bytes_per_file: int = 900 * (1 << 20)
    max_jobs: int = 20
    max_rounds: int = 2


class Availability(msgspec.Struct, frozen=True):
    """What was known on a day of a group of models: whether they have batch inference, and under which id."""

    models: str
    batch: Literal["yes", "profile", "bare", "no"]
    seen: str
    source: str


_PAGE: Final = "https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-supported.html"
_CATALOG: Final = "ListFoundationModels (raw reply), as published in stdapi-ai/stdapi.ai docs/models/catalog.json"

#: The first pattern that fits a base model id counts. "profile": through an inference profile only; "bare": not through
#: one. Models that are not here are unknown. None of this forbids anything: the service decides.
AVAILABILITY: Final = (
    Availability(r"anthropic\.claude-opus-4-[78]", "no", "2026-09-18", _CATALOG),
    Availability(r"anthropic\.claude-sonnet-5(?!-)", "no", "2026-09-18", _CATALOG),
    Availability(r"anthropic\.claude-(opus-5|sonnet-4-5|sonnet-4-2)", "profile", "2026-09-18", _CATALOG),
    Availability(r"anthropic\.claude-(haiku-4-5|opus-4-5)", "profile", "2026-09-02", _PAGE),
    Availability(r"anthropic\.claude-(opus-4-6|sonnet-4-6)", "yes", "2026-09-18", _CATALOG),
    Availability(r"amazon\.nova-premier", "profile", "2025-06-01", _PAGE),
    Availability(r"amazon\.nova-(micro|lite|pro|2-lite)", "yes", "2026-09-18", _CATALOG),
    Availability(r"amazon\.titan-embed-(text-v2|image)", "bare", "2026-09-18", _CATALOG),
    Availability(r"amazon\.titan-(embed-text-v1|embed-g1|text|tg1)", "no", "2026-09-18", _CATALOG),
    Availability(r"cohere\.embed", "no", "2026-09-18", _CATALOG),
    Availability(r"ai21\.jamba", "no", "2026-09-18", _CATALOG),
    Availability(r"deepseek\.r1", "no", "2026-09-18", _CATALOG),
    Availability(r"deepseek\.v3|openai\.gpt-oss|google\.gemma-3", "bare", "2026-09-18", _CATALOG),
    Availability(r"moonshot(ai)?\.kimi-k2|zai\.glm-4\.7", "bare", "2026-09-02", _PAGE),
)


def availability_warning(model: Model) -> str | None:
    """What a user should know before submitting, if the table has it; None where there is nothing to say."""
    known = next((entry for entry in AVAILABILITY if re.match(entry.models, model.base_id)), None)
    if known is None:
        return None
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

    Custom models have three jobs in flight where base models have 20. 50,000 records a job is the lowest default among
    the models seen (Llama, Mistral, Nova, Titan); Claude's newer models take 100,000, which
    `BEDROCK_BATCH_MAX_RECORDS_PER_JOB` can claim. Raises ValueError for an override that is no positive number.
    """
    values = {"max_jobs": 3} if ":custom-model/" in model.id else {}
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
