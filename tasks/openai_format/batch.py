"""OpenAI's Batch object (https://platform.openai.com/docs/api-reference/batch/object).

`Batch` is what `batch_inference` returns and what `batch.json` holds; every OpenAI field keeps its name,
type and unit (timestamps are unix seconds). `output_file`, `error_file`, `parquet_file` (URIs) and `cost_usd` are ours.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

#: Statuses that OpenAI never leaves again.
FINAL_STATUSES: frozenset[str] = frozenset({"failed", "completed", "expired", "cancelled"})


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore", validate_assignment=True)


class BatchError(_Object):
    """One entry of a batch's `errors.data[]`. `line` counts from 1 in the input file."""

    code: str | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None


class BatchErrors(_Object):
    object: Literal["list"] = "list"
    data: list[BatchError] = Field(default_factory=list)


class RequestCounts(_Object):
    total: int = 0
    completed: int = 0
    failed: int = 0


class InputTokensDetails(_Object):
    cached_tokens: int = 0


class OutputTokensDetails(_Object):
    reasoning_tokens: int = 0


class BatchUsage(_Object):
    """Tokens of the answered requests. Families that report none (see deployments/docs/models.md) add nothing."""

    input_tokens: int = 0
    input_tokens_details: InputTokensDetails = Field(default_factory=InputTokensDetails)
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = Field(default_factory=OutputTokensDetails)
    total_tokens: int = 0


class Batch(_Object):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = Field(default_factory=RequestCounts)
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None

    output_file: str | None = None
    error_file: str | None = None
    parquet_file: str | None = None
    #: What the answered requests cost by their tokens, in US dollars; None where no price is known.
    cost_usd: float | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINAL_STATUSES
