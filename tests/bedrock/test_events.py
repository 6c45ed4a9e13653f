"""Which batch an event of EventBridge is about."""

from typing import Any

import pytest

from tasks.bedrock.events import batch_of_event
from tasks.bedrock.names import batch_id, job_name


def event(name: Any, **fields: Any) -> dict[str, Any]:
    return {
        "source": "aws.bedrock",
        "detail-type": "Batch Inference Job State Change",
        "detail": {"batchJobName": name},
        **fields,
    }


@pytest.mark.parametrize("wanted", [None, "my-job", "a" * 200])
@pytest.mark.parametrize("shard", [0, 99_999, 100_000])
def test_a_job_of_ours_names_half_of_its_batch(wanted: str | None, shard: int) -> None:
    batch = batch_id("00", "m", {})
    assert batch_of_event(event(job_name(batch, shard, 12, wanted))) == batch[:22]


@pytest.mark.parametrize(
    "name", ["other", "x-0123456789abcdeF-00000-1", "x-0123456789abcdeg-00000-1", "x-0123456789abcdef-0000-1", ""]
)
def test_a_job_of_others(name: str) -> None:
    assert batch_of_event(event(name)) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        event(None),
        event("x", source="aws.s3"),
        event("x", **{"detail-type": "Object Created"}),
        event("x", detail="text"),
    ],
)
def test_what_is_no_such_event(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Not an EventBridge event"):
        batch_of_event(given)
