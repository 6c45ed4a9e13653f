"""A batch's state: `batch.json` in S3, changed by conditional writes only.

Layout under `s3://BUCKET/PREFIX/batches/BATCH_ID/`:

batch.json                     OpenAI's Batch object and the "bedrock" section below
heartbeat.json                 while somebody drives the batch (`tasks.lease`)
input/part-00000.jsonl         Bedrock records, one object per shard
index/part-00000.parquet       every request of a range of the input: recordId, custom_id, line, choice
bedrock/JOB_ID/…               what Bedrock writes; bedrock/on-demand/… what we write for on-demand answers
output.jsonl errors.jsonl results.parquet

What a runner writes is named by the epoch of its lease: from the second epoch on in a folder of its own, such as
`input/epoch-2/part-00000.jsonl`. So a runner that was paused and lost the lease writes where nobody reads, and nothing
that batch.json names is ever overwritten or deleted.

Beside `batches/`, `runs/FLOW_RUN_ID.json` names the batch of a Prefect run while it lasts.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.bedrock import aws
from tasks.errors import BatchNotFoundError, LostLeaseError, PipelineError, StateConflictError
from tasks.openai_format.batch import Batch
from tasks.storage.objects import read_object
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption

_EPOCH = re.compile(r"/epoch-(\d+)/")
#: What S3 says to a conditional write that comes too late; 409 where two came at once.
_CONFLICTS = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


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
    """Who drives the batch: see `tasks.lease`.

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
    options: dict[str, Any]
    limits: dict[str, int]
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

    def public(self) -> Batch:
        """The batch as users see it."""
        return Batch.model_validate(self.model_dump(exclude={"bedrock"}))


class BatchRef(msgspec.Struct, frozen=True):
    """Where a batch lives; small enough to hand to every task. That of a runner that drives it names its lease."""

    root: S3Uri
    batch_id: str
    kms_key: str | None = None
    #: The lease under which this runner changes the batch; None for one that only looks, or cancels.
    holder: str | None = None
    epoch: int = 1

    @property
    def folder(self) -> S3Uri:
        return self.root.join("batches", self.batch_id)

    def uri(self, *parts: str) -> S3Uri:
        return self.folder.join(*parts)

    def own(self, *parts: str) -> S3Uri:
        """Where this runner writes: named by the epoch of its lease."""
        return self.of_epoch(self.epoch, *parts)

    def of_epoch(self, epoch: int, *parts: str) -> S3Uri:
        """What the runner of some epoch wrote."""
        *folders, name = parts
        return self.uri(*folders, f"epoch-{epoch}", name) if epoch > 1 else self.uri(*parts)

    @property
    def document(self) -> S3Uri:
        return self.uri("batch.json")


def epoch_of(key: str) -> int:
    """The epoch that a key is named by."""
    found = _EPOCH.search(key)
    return int(found[1]) if found else 1


def load(ref: BatchRef) -> tuple[BatchDocument, str] | None:
    """batch.json and its ETag, or None. Raises PipelineError when it cannot be read or is not ours."""
    uri = ref.document
    try:
        body, etag = read_object(uri)
    except ClientError as error:
        if aws.code_of(error) in ("NoSuchKey", "404"):
            return None
        raise aws.explain(error, f"reading {uri}") from error
    except BotoCoreError as error:
        raise aws.explain(error, f"reading {uri}") from error
    try:
        return BatchDocument.model_validate_json(body), etag
    except ValidationError as error:
        raise PipelineError(
            f"{uri} is not a batch of this program ({error.error_count()} fields are off): move it away."
        ) from None


def read(ref: BatchRef) -> BatchDocument:
    """batch.json of a batch that must exist.

    Raises BatchNotFoundError; LostLeaseError where `ref` names a lease that another runner has taken over.
    """
    return _load_held(ref)[0]


def _load_held(ref: BatchRef) -> tuple[BatchDocument, str]:
    loaded = load(ref)
    if loaded is None:
        raise BatchNotFoundError(f"There is no batch {ref.batch_id} under {ref.root}.")
    if ref.holder is not None and loaded[0].bedrock.lease.holder != ref.holder:
        raise LostLeaseError(f"Another runner has taken batch {ref.batch_id} over; it carries on there.")
    return loaded


def create(ref: BatchRef, document: BatchDocument) -> BatchDocument:
    """Write a new batch.json; where another runner was faster, its document is returned instead."""
    try:
        _put(ref, document, IfNoneMatch="*")
        return document
    except StateConflictError:
        return read(ref)


def update(ref: BatchRef, change: Callable[[BatchDocument], None]) -> BatchDocument:
    """Apply `change` to the current document; repeated on the newer one whenever somebody else was faster.

    `change` must bear being applied again. Nothing is written where it changes nothing. Raises LostLeaseError, and
    writes nothing, where `ref` names a lease that another runner has taken over: the write is conditional on the very
    document that still named it.
    """
    for attempt in range(20):
        document, etag = _load_held(ref)
        before = document.model_dump_json()
        change(document)
        if document.model_dump_json() == before:
            return document
        try:
            _put(ref, document, IfMatch=etag)
            return document
        except StateConflictError:
            aws.back_off(min(attempt, 4))
    raise StateConflictError(f"{ref.document} is being changed by others all the time; try again.")


def is_conflict(error: BaseException) -> bool:
    """Whether a conditional write came too late."""
    return aws.code_of(error) in _CONFLICTS


def _put(ref: BatchRef, document: BatchDocument, **condition: str) -> None:
    uri = ref.document
    options: Any = {**condition, **encryption(ref.kms_key)}
    try:
        aws.s3().put_object(
            Bucket=uri.bucket,
            Key=uri.key,
            Body=document.model_dump_json(indent=1).encode(),
            ContentType="application/json",
            **options,
        )
    except ClientError as error:
        if is_conflict(error):
            raise StateConflictError(f"{uri} was changed meanwhile.") from None
        raise aws.explain(error, f"writing {uri}") from error
    except BotoCoreError as error:
        raise aws.explain(error, f"writing {uri}") from error


def batch_ids(root: S3Uri) -> Iterator[str]:
    """The ids of all batches under a root, in S3's order."""
    prefix = root.join("batches").key + "/"
    try:
        for page in (
            aws.s3().get_paginator("list_objects_v2").paginate(Bucket=root.bucket, Prefix=prefix, Delimiter="/")
        ):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"][len(prefix) :].strip("/")
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"listing {root}") from error
