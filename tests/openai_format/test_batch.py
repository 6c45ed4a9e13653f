"""OpenAI's Batch object: its fields, and what is no batch."""

import json
from typing import Any

import pytest
from openai.types import Batch as TheirBatch
from pydantic import ValidationError

from tasks.openai_format.batch import Batch, BatchError, BatchErrors, BatchStatus, BatchUsage, RequestCounts

NEEDED: dict[str, Any] = {
    "id": "batch_1",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "in.jsonl",
    "completion_window": "24h",
    "status": "in_progress",
    "created_at": 1,
}
OURS = {"output_file", "error_file", "parquet_file", "cost_usd"}


def test_openais_own_type_reads_it() -> None:
    batch = Batch(
        **NEEDED,
        errors=BatchErrors(data=[BatchError(code="c", message="m", param="p", line=1)]),
        request_counts=RequestCounts(total=3, completed=2, failed=1),
        usage=BatchUsage(input_tokens=1, output_tokens=2, total_tokens=3),
        metadata={"a": "b"},
    )
    theirs = TheirBatch.model_validate(json.loads(batch.model_dump_json(exclude=OURS)), strict=True)
    assert theirs.model_dump() == batch.model_dump(exclude=OURS)
    assert set(Batch.model_fields) == set(TheirBatch.model_fields) | OURS


@pytest.mark.parametrize("status", TheirBatch.model_fields["status"].annotation.__args__)  # type: ignore[union-attr]
def test_what_is_finished(status: BatchStatus) -> None:
    batch = Batch(**{**NEEDED, "status": status})
    assert batch.finished is (status in ("failed", "completed", "expired", "cancelled"))


def test_a_status_is_one_of_openais_also_when_it_is_set_later() -> None:
    with pytest.raises(ValidationError, match="status"):
        Batch(**{**NEEDED, "status": "done"})
    batch = Batch(**NEEDED)
    with pytest.raises(ValidationError, match="status"):
        batch.status = "done"  # type: ignore[assignment]
    assert batch.status == "in_progress"


def test_fields_of_a_later_day_are_passed_over() -> None:
    assert Batch(**NEEDED, new_field=7) == Batch(**NEEDED)


def test_nothing_is_counted_before_it_is_known() -> None:
    batch = Batch(**NEEDED)
    assert batch.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}
    assert BatchUsage().model_dump() == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    assert BatchErrors().model_dump() == {"object": "list", "data": []}
    assert (batch.usage, batch.errors, batch.output_file, batch.cost_usd) == (None, None, None, None)
