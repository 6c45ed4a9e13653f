"""What a comparison returns, and its state in S3: `comparisons/COMPARISON_ID/` beside `batches/`.

comparison.json                the result, and all numbers of the report
inputs/NN-LABEL.jsonl          the input of a variant with overrides; inputs/judge.jsonl what the judge is asked
table.parquet answers.csv      one row for each request and variant; one row for each request
report.html
"""

import hashlib
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tasks.settings import Settings
from tasks.storage.uris import S3Uri


class Comparison(BaseModel):
    """The result of `compare_models`. Files are URIs; variants are named by their labels, or else by their models."""

    id: str
    input_file: str
    #: The batch of every variant that has one, also of those that failed.
    batches: dict[str, Batch] = Field(default_factory=dict)
    #: Why a variant has no results.
    failed: dict[str, str] = Field(default_factory=dict)
    #: Before anything was submitted: requests, jobs, tokens and dollars of each variant.
    estimate: list[dict[str, Any]] = Field(default_factory=list)
    #: US dollars by variant, from the tokens that Bedrock counted; None where no price is known.
    cost_usd: dict[str, float | None] = Field(default_factory=dict)
    verdict: list[str] = Field(default_factory=list)
    #: Every claim, also those that do not hold, with its numbers and its test: what the verdict says in sentences.
    conclusions: list[dict[str, Any]] = Field(default_factory=list)
    #: With a margin: whether every other variant is shown to be no more than it less accurate than the first one.
    within_margin: bool | None = None
    #: All numbers of the report.
    numbers: dict[str, Any] = Field(default_factory=dict)
    judge_batch: Batch | None = None
    judged: dict[str, Any] | None = None
    table_file: str | None = None
    wide_file: str | None = None
    report_file: str | None = None


class ComparisonRef(msgspec.Struct, frozen=True):
    """Where a comparison lives."""

    settings: Settings
    id: str

    def uri(self, *names: str) -> S3Uri:
        return self.settings.root.join("comparisons", self.id, *names)


def comparison_id(*parts: Any) -> str:
    """The same parts name the same comparison."""
    return "cmp_" + hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:32]


class ComparisonFailedError(PipelineError):
    """No variant of a comparison has results. `comparison` holds the cause of each, in `failed`."""

    def __init__(self, message: str, comparison: Comparison) -> None:
        super().__init__(message)
        self.comparison = comparison
