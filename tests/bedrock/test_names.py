"""Names that are the same for the same call, and that Bedrock accepts."""

import re

import pytest

from deployments.sandbox import patterns
from tasks.bedrock.names import batch_id, client_request_token, job_name, record_id


@pytest.mark.parametrize("wanted", [None, "", "---", "my job", "Ünïcode/../../x", "a" * 200, "x_y.z+w"])
def test_job_names_and_tokens_fit_the_patterns(wanted: str | None) -> None:
    batch = batch_id("00", "m", {})
    name = job_name(batch, 12345, 3, wanted)
    assert patterns.JOB_NAME.fullmatch(name)
    assert len(name) <= 63
    assert patterns.TOKEN.fullmatch(client_request_token("s3://b/p/" + batch, 1, 1))
    assert patterns.S3_URI.fullmatch(f"s3://bucket/bedrock-batch/batches/{batch}/input/part-00000-1.jsonl")


def test_names_tell_everything_apart() -> None:
    base = batch_id("00", "m", {"a": 1, "b": 2})
    assert base == batch_id("00", "m", {"b": 2, "a": 1})
    assert (
        len(
            {
                base,
                batch_id("01", "m", {"a": 1, "b": 2}),
                batch_id("00", "n", {"a": 1, "b": 2}),
                batch_id("00", "m", {"a": 1}),
            }
        )
        == 4
    )
    assert re.fullmatch(r"batch_[0-9a-f]{32}", base)
    tokens = {
        client_request_token(folder, shard, attempt) for folder in "ab" for shard in (1, 11) for attempt in (1, 11)
    }
    assert len(tokens) == 8
    assert record_id(7) == "r000000007"
    assert record_id(7, 2) == "r000000007c0002"


def test_names_of_today_stay() -> None:
    """A batch that was begun is found again by a later version of the pipeline."""
    assert batch_id("00", "m", {"b": 2, "a": "é"}) == "batch_55e9d746c7c0d4d57ba4a2d4b7372811"
    assert job_name("batch_0123456789abcdef0123", 7, 2) == "bedrock-batch-0123456789abcdef-00007-2"
    assert client_request_token("s3://b/p/batch_0", 7, 2) == "d0af32ed691ebba44ded9b2fa3f03be5eebc1dea"
    assert record_id(999_999_999, 9999) == "r999999999c9999"


@pytest.mark.parametrize(
    ("wanted", "head"),
    [
        (None, "bedrock-batch"),
        ("--", "bedrock-batch"),
        (" nightly run: 1 ", "nightly-run-1"),
        ("a" * 40, "a" * 38),
        ("a" * 37 + "-b", "a" * 37),
    ],
)
def test_a_job_is_called_as_was_wanted_as_far_as_there_is_room(wanted: str | None, head: str) -> None:
    assert job_name("batch_0123456789abcdef0123", 0, 1, wanted) == f"{head}-0123456789abcdef-00000-1"
