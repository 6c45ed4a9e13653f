"""Batches as they stand in the fake S3 at some moment, for unit tests of single stages."""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from tasks.batch.document import BatchDocument, BedrockSection, Job, LeaseState, Range, Segment, Shard
from tasks.batch.options import ResolvedCall, resolve_options
from tasks.batch.parameters import BatchParameters
from tasks.batch.paths import BatchRef, index_object, result_piece, shard_object
from tasks.batch.store import load
from tasks.bedrock.limits import Limits
from tasks.bedrock.names import record_id
from tasks.inputs.layout import Layout
from tasks.inputs.summary import InputSummary
from tasks.shards.index import Index
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri
from tests.conftest import CLAUDE
from tests.fakes import ACCOUNT, BUCKET, REGION, Cloud

REF = BatchRef(S3Uri(BUCKET, "prefix"), "batch_" + "0" * 32)
HELD = msgspec.structs.replace(REF, holder="me")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/BedrockBatchRole"


def call(**parameters: Any) -> ResolvedCall:
    """A call of batch_inference, resolved. Needs the fake S3."""
    variables = {"BUCKET": BUCKET, "PREFIX": REF.root.key, "ROLE_ARN": ROLE}
    with mock.patch.dict(os.environ, {f"BEDROCK_BATCH_{name}": value for name, value in variables.items()}):
        return resolve_options(BatchParameters(**{"input_file": "in.jsonl", "model": CLAUDE, **parameters}))


def summary(**fields: Any) -> InputSummary:
    return InputSummary(
        **{
            "sources": [Source("in.jsonl", "/in.jsonl", "1", 100)],
            "digest": "00",
            "endpoint": "/v1/chat/completions",
            "requests": 100,
            "invalid": 0,
            "codes": {},
            "first_invalid": [],
            "invalid_file": None,
            "work": Path("/nowhere"),
            "offsets": array("q", range(101)),
            "lines": array("q", range(1, 102)),
            "layout": Layout([], []),
            "source_starts": [0, 100],
            "source_bytes": [100],
            "records": 100,
            "record_bytes": 1000,
            **fields,
        }
    )


def range_of(index: int = 0, requests: int = 100, first: int = 0, epoch: int = 1) -> Range:
    segment = Segment(source=0, start=0, end=1, first_request=first, first_line=first + 1, requests=requests)
    return Range(index=index, segments=[segment], epoch=epoch)


def shard(id: str = "00000", **fields: Any) -> Shard:
    return Shard(id=id, **{"ranges": [0], "records": 100, **fields})


def job(status: str | None = "InProgress", number: int = 0, **fields: Any) -> Job:
    arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{number:012d}"
    return Job(
        **{"attempt": 1, "name": f"job-{number}", "token": f"token-{number}", "arn": arn, "status": status, **fields}
    )


def document(
    shards: list[Shard] | None = None,
    *,
    holder: str | None = None,
    epoch: int = 1,
    limits: Limits | None = None,
    options: dict[str, Any] | None = None,
    section: dict[str, Any] | None = None,
    **fields: Any,
) -> BatchDocument:
    """A batch in progress."""
    bedrock = BedrockSection(
        **{
            "model": CLAUDE,
            "base_model": CLAUDE,
            "family": "anthropic",
            "role_arn": ROLE,
            "options": {"below_minimum": "on_demand", "unsupported": "error", **(options or {})},
            "limits": limits or Limits(),
            "shards": shards,
            "lease": LeaseState(epoch=epoch, holder=holder),
            "ranges": [range_of()],
            "sources": [{"name": "in.jsonl"}],
            "last_round": 2,
            **(section or {}),
        }
    )
    return BatchDocument(
        **{
            "id": REF.batch_id,
            "endpoint": "/v1/chat/completions",
            "input_file_id": "in.jsonl",
            "completion_window": "24h",
            "status": "in_progress",
            "created_at": 1,
            "bedrock": bedrock,
            **fields,
        }
    )


def store(cloud: Cloud, stored: BatchDocument, ref: BatchRef = REF) -> BatchDocument:
    """Put batch.json."""
    cloud.s3.put(ref.document.key, stored.model_dump_json(indent=1).encode())
    return stored


def stored(ref: BatchRef = REF) -> BatchDocument:
    """batch.json as it is."""
    loaded = load(msgspec.structs.replace(ref, holder=None))
    assert loaded is not None
    return loaded[0]


def records(numbers: Iterable[int], text: str = "Say") -> list[bytes]:
    lines = [{"recordId": record_id(n), "modelInput": {"messages": [f"{text} {n}"]}} for n in numbers]
    return [msgspec.json.encode(line) + b"\n" for line in lines]


def put_shard(cloud: Cloud, each: Shard, lines: list[bytes], ref: BatchRef = REF) -> Shard:
    """Put a shard's object; the shard gets its size and ETag."""
    object_ = cloud.s3.put(shard_object(ref, each.id, each.epoch).key, b"".join(lines))
    each.records, each.bytes, each.etag = len(lines), len(object_.body), object_.etag
    return each


def put_index(
    cloud: Cloud, range_: Range, ids: Iterable[str | None], shard_id: str = "00000", ref: BatchRef = REF
) -> None:
    """Put the index of a range whose requests are one record each; of a None nothing is known."""
    index = Index()
    index.start_file(0)
    for place, custom_id in enumerate(ids):
        if custom_id is not None:
            request = range_.first_request + place
            index.add(request, custom_id, request + 1, shard=shard_id)
    cloud.s3.put(index_object(ref, range_).key, index.finish())


def put_piece(cloud: Cloud, range_: Range, name: str, body: bytes, ref: BatchRef = REF) -> None:
    cloud.s3.put(result_piece(ref, range_, name).key, body)
