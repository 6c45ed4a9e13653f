"""A batch's state: `batch.json` in S3, changed by conditional writes only.

Layout under `s3://BUCKET/PREFIX/batches/BATCH_ID/`:

batch.json                     OpenAI's Batch object and the "bedrock" section below
heartbeat.json                 while somebody drives the batch (`tasks.batch.lease`)
input/part-00000.jsonl         Bedrock records, one object per shard
index/part-00000.parquet       every request of a range of the input: recordId, custom_id, line, choice
bedrock/JOB_ID/…               what Bedrock writes; bedrock/on-demand/… what we write for on-demand answers
output.jsonl errors.jsonl results.parquet

What a runner writes is named by the epoch of its lease: from the second epoch on in a folder of its own, such as
`input/epoch-2/part-00000.jsonl`. So a runner that was paused and lost the lease writes where nobody reads, and nothing
that batch.json names is ever overwritten or deleted.

Beside `batches/`, `runs/FLOW_RUN_ID.json` names the batch of a Prefect run while it lasts.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.batch.options import BatchOptions
from tasks.batch.result import BatchResult, result_of
from tasks.bedrock.limits import Limits
from tasks.openai_format.batch import Batch


class _Section(BaseModel):
    # Unknown fields are kept: an older runner must not erase what a newer one wrote.
    model_config = ConfigDict(extra="allow")


class Segment(_Section):
    """A run of whole lines in one source: byte offsets of its decompressed content, and what they hold."""

    source: int
    start: int
    end: int
    first_request: int
    first_line: int
    requests: int


class Range(_Section):
    """The part of the input that one worker converts and normalises, and that one index describes."""

    index: int
    segments: list[Segment]
    #: Of the lease under which it was planned, and its index and layout written.
    epoch: int = 1

    @property
    def name(self) -> str:
        return f"part-{self.index:05d}"

    @property
    def first_request(self) -> int:
        return self.segments[0].first_request

    @property
    def requests(self) -> int:
        return sum(segment.requests for segment in self.segments)


class Job(_Section):
    """One attempt at running a shard: recorded before it is submitted, so that a lost reply can be found again."""

    attempt: int
    name: str
    token: str
    arn: str | None = None
    status: str | None = None
    message: str | None = None
    total: int = 0
    processed: int = 0
    succeeded: int = 0
    errored: int = 0
    submitted_at: int | None = None
    ended_at: int | None = None

    @property
    def id(self) -> str:
        return (self.arn or "").rsplit("/", 1)[-1]


class Origin(_Section):
    """Where records of a later round come from: the shard that asked them before, and the range they belong to."""

    range: int
    shard: str


class Shard(_Section):
    """One object of records. `route` says how its records get their answers."""

    id: str
    #: Of the lease under which its object was written.
    epoch: int = 1
    #: The ranges whose records it holds: one, or several where a later round gathers what is left of many.
    ranges: list[int]
    round: int = 1
    origins: list[Origin] = Field(default_factory=list)
    invocation: Literal["InvokeModel", "Converse"] = "InvokeModel"
    records: int
    padding: int = 0
    bytes: int = 0
    etag: str = ""
    #: "none": another shard asks its records together with those of other ranges.
    route: Literal["batch", "on_demand", "none"] = "batch"
    jobs: list[Job] = Field(default_factory=list)
    done: bool = False
    #: The batch ended, and was opened again: what this shard left undone may be asked again.
    retry: bool = False

    @property
    def job(self) -> Job | None:
        return self.jobs[-1] if self.jobs else None


class LeaseState(_Section):
    """Who drives the batch: see `tasks.batch.lease`.

    `epoch` names what the holder writes. It only grows: whenever what was written under it may be named by batch.json,
    or may still be written to.
    """

    epoch: int = 1
    #: An id of this one holding; None where nobody drives the batch.
    holder: str | None = None
    #: Where the holder runs: tells others on its machine at once when it is gone.
    machine: str = ""
    process: str = ""
    run: str | None = None


class BedrockSection(_Section):
    version: int = 1
    lease: LeaseState = Field(default_factory=LeaseState)
    #: The round under way, and the last that may be.
    round: int = 1
    last_round: int = 1
    model: str
    base_model: str = ""
    family: str
    role_arn: str | None = None
    kms_key: str | None = None
    job_name: str | None = None
    options: BatchOptions = Field(default_factory=BatchOptions)
    limits: Limits = Field(default_factory=Limits)
    sources: list[dict[str, Any]] = Field(default_factory=list)
    ranges: list[Range] = Field(default_factory=list)
    shards: list[Shard] | None = None
    #: Of a finished batch: requests that may be answered when they are asked again. None where nobody has counted.
    unanswered: int | None = None
    invalid_lines: int = 0
    dropped_fields: dict[str, int] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    published: list[str] = Field(default_factory=list)


class BatchDocument(Batch):
    bedrock: BedrockSection

    def close_epoch(self) -> None:
        """Before the batch ends: what was written under this epoch is named from now on, and nobody writes it again."""
        if not self.finished:
            self.bedrock.lease.epoch += 1

    def public(self) -> BatchResult:
        """The batch as users see it."""
        return result_of(self)
