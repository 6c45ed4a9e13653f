"""batch.json as objects: its defaults, by which documents of before are read, and what is worked out from its fields."""

from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, BedrockSection, Job, LeaseState, Range, Segment, Shard
from tasks.batch.options import BatchOptions
from tasks.bedrock.limits import Limits
from tests.builders import document, job, shard

SHORT: dict[str, Any] = {
    "id": "batch_1",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "in.jsonl",
    "completion_window": "24h",
    "status": "in_progress",
    "created_at": 1,
    "bedrock": {"model": "m", "family": "anthropic"},
}


def segment(first: int, requests: int) -> Segment:
    return Segment(source=0, start=0, end=1, first_request=first, first_line=first + 1, requests=requests)


def test_a_range_is_its_segments() -> None:
    range_ = Range(index=12, segments=[segment(5, 3), segment(8, 4)])
    assert (range_.name, range_.first_request, range_.requests, range_.epoch) == ("part-00012", 5, 7, 1)


@pytest.mark.parametrize(
    ("arn", "id"),
    [("arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abc123", "abc123"), ("abc", "abc"), (None, "")],
)
def test_a_job_is_known_by_the_end_of_its_arn(arn: str | None, id: str) -> None:
    """The folder that Bedrock writes to has that name."""
    assert Job(attempt=1, name="n", token="t", arn=arn).id == id


def test_the_job_of_a_shard_is_the_last_attempt() -> None:
    assert shard().job is None
    assert shard(jobs=[job("Failed", 0), job("InProgress", 1)]).job == job("InProgress", 1)


def test_what_a_document_of_before_leaves_out() -> None:
    """Fields came one by one: each default is what was meant while there was no such field."""
    section = BatchDocument.model_validate(SHORT).bedrock
    assert section == BedrockSection(
        version=1,
        lease=LeaseState(epoch=1, holder=None, machine="", process="", run=None),
        round=1,
        last_round=1,
        model="m",
        base_model="",
        family="anthropic",
        role_arn=None,
        kms_key=None,
        job_name=None,
        options=BatchOptions(),
        limits=Limits(),
        sources=[],
        ranges=[],
        shards=None,
        unanswered=None,
        invalid_lines=0,
        dropped_fields={},
        warnings=[],
        published=[],
    )
    assert Shard(id="00000", ranges=[0], records=1) == Shard(
        id="00000",
        epoch=1,
        ranges=[0],
        round=1,
        origins=[],
        invocation="InvokeModel",
        records=1,
        padding=0,
        bytes=0,
        etag="",
        route="batch",
        jobs=[],
        done=False,
        retry=False,
    )


@pytest.mark.parametrize(
    "place",
    [
        "bedrock",
        "bedrock.lease",
        "bedrock.options",
        "bedrock.limits",
        "bedrock.ranges.0",
        "bedrock.ranges.0.segments.0",
        "bedrock.shards.0",
        "bedrock.shards.0.jobs.0",
        "bedrock.shards.0.origins.0",
    ],
)
def test_what_a_newer_version_wrote_is_kept(place: str) -> None:
    whole = msgspec.json.decode(document([shard(jobs=[job()])]).model_dump_json())
    whole["bedrock"]["shards"][0]["origins"] = [{"range": 0, "shard": "00000"}]
    spot: Any = whole
    for step in place.split("."):
        spot = spot[int(step) if step.isdecimal() else step]
    spot["of_tomorrow"] = {"a": 1}
    again: Any = msgspec.json.decode(BatchDocument.model_validate(whole).model_dump_json())
    assert again == whole


@pytest.mark.parametrize(
    ("status", "finished"),
    [
        ("validating", False),
        ("in_progress", False),
        ("finalizing", False),
        ("cancelling", False),
        ("completed", True),
        ("failed", True),
        ("expired", True),
        ("cancelled", True),
    ],
)
def test_an_epoch_is_closed_while_the_batch_is_open(status: str, finished: bool) -> None:
    given = document(epoch=4, status=status)
    assert given.finished is finished
    given.close_epoch()
    assert given.bedrock.lease.epoch == (4 if finished else 5)


def test_users_see_openais_fields_and_none_of_ours() -> None:
    given = document([shard()], output_file="s3://b/output.jsonl", metadata={"a": "b"})
    public = given.public()
    assert "bedrock" not in public.model_dump()
    assert public.model_dump() == given.model_dump(exclude={"bedrock"})
    assert (public.output_file, public.metadata) == ("s3://b/output.jsonl", {"a": "b"})
