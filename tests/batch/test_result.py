"""A batch in Python and in a notebook: what it looks like, and its table."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.result import BatchResult, result_of
from tasks.errors import PipelineError
from tasks.openai_format.batch import BatchError, BatchErrors, BatchUsage, InputTokensDetails, RequestCounts
from tests.builders import REF, document, shard
from tests.conftest import chat, write_lines
from tests.fakes import BUCKET, Cloud


def batch(**fields: Any) -> BatchResult:
    usual: dict[str, Any] = {
        "id": "batch_1",
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "input_file_id": "in.jsonl",
        "completion_window": "24h",
        "status": "completed",
        "created_at": 1000,
        "completed_at": 4725,
        "request_counts": RequestCounts(total=1200, completed=1199, failed=1),
        "usage": BatchUsage(input_tokens=12_000, output_tokens=600),
        "cost_usd": 0.0123,
        "output_file": "s3://b/<output>.jsonl",
    }
    return BatchResult(**usual | fields)


def test_how_it_reads() -> None:
    assert repr(batch()).splitlines() == [
        "Batch batch_1",
        "  status    completed",
        "  model     m",
        "  requests  1,200: 1,199 answered, 1 failed",
        "  tokens    12,000 in, 600 out",
        "  cost      $0.0123",
        "  took      1 h 2 min",
        "  output    s3://b/<output>.jsonl",
    ]
    page = batch()._repr_html_()
    assert "s3://b/&lt;output&gt;.jsonl" in page
    errors = BatchErrors(data=[BatchError(code="empty_file", message="It is empty."), BatchError(code="b")])
    failed = batch(status="failed", errors=errors, usage=None, cost_usd=None, completed_at=None)
    assert "first error  empty_file: It is empty. (and 1 more error)" in repr(failed)


def test_every_file_that_there_is_has_a_row() -> None:
    uris = {"output": "s3://b/output.jsonl", "errors": "s3://b/errors.jsonl", "parquet": "s3://b/results.parquet"}
    whole = batch(
        output_file=uris["output"],
        error_file=uris["errors"],
        parquet_file=uris["parquet"],
        usage=BatchUsage(
            input_tokens=5000, output_tokens=6, input_tokens_details=InputTokensDetails(cached_tokens=4000)
        ),
        errors=BatchErrors(data=[BatchError(code="empty_file", message="It is empty.")]),
    )
    assert dict(whole.rows()) == {
        "status": "completed",
        "model": "m",
        "requests": "1,200: 1,199 answered, 1 failed",
        "tokens": "5,000 in (4,000 cached), 6 out",
        "cost": "$0.0123",
        "took": "1 h 2 min",
        **uris,
        "first error": "empty_file: It is empty.",
    }


def test_what_cost_nothing_and_took_no_second_is_told() -> None:
    rows = dict(batch(cost_usd=0.0, completed_at=1000).rows())
    assert (rows["cost"], rows["took"]) == ("$0.00", "0 s")


def test_a_line_without_an_id_has_its_text_all_the_same(cloud: Cloud, tmp_path: Path) -> None:
    table = pa.table({"custom_id": pa.array([None], pa.string()), "line": [1], "content": ["x"], "file": ["in.jsonl"]})
    pq.write_table(table, tmp_path / "results.parquet")
    cloud.s3.put("pre/results.parquet", (tmp_path / "results.parquet").read_bytes())
    path = write_lines(tmp_path / "in.jsonl", [chat("a", "How?")])
    done = batch(parquet_file=f"s3://{BUCKET}/pre/results.parquet", input_file_id=str(path))
    assert done.to_arrow(["content"], prompts=True).to_pydict()["prompt"] == ["How?"]


def test_of_a_document_the_result_has_what_is_public() -> None:
    found = result_of(document([shard()]))
    assert type(found) is BatchResult
    assert "bedrock" not in found.model_dump()
    assert found.id == REF.batch_id


@pytest.mark.parametrize("ended", ["completed_at", "failed_at", "expired_at", "cancelled_at"])
def test_it_took_until_it_ended_in_whatever_way(ended: str) -> None:
    assert batch(**{"completed_at": None, ended: 1060}).seconds == 60
    assert batch(completed_at=None).seconds is None


def test_the_table(cloud: Cloud, tmp_path: Path) -> None:
    table = pa.table({"custom_id": ["a", "b"], "line": [1, 3], "content": ["x", None], "file": ["in.jsonl"] * 2})
    pq.write_table(table, tmp_path / "results.parquet")
    cloud.s3.put("pre/results.parquet", (tmp_path / "results.parquet").read_bytes())
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"text": "Why?"}]}]
    path = write_lines(tmp_path / "in.jsonl", [chat("a", "How?"), "", chat("b", messages=messages)])
    done = batch(parquet_file=f"s3://{BUCKET}/pre/results.parquet", input_file_id=str(path))
    assert done.to_arrow() == table
    assert done.to_pandas(["custom_id"]).to_dict("list") == {"custom_id": ["a", "b"]}
    with_prompts = done.to_arrow(["content"], prompts=True)
    assert with_prompts.to_pydict() == {"content": ["x", None], "prompt": ["How?", "Be brief.\n\nWhy?"]}
    placed = done.to_arrow(["line", "custom_id"], prompts=True)
    assert placed.to_pydict() == {"line": [1, 3], "custom_id": ["a", "b"], "prompt": ["How?", "Be brief.\n\nWhy?"]}
    write_lines(path, [chat("z")] * 3)
    with pytest.raises(PipelineError, match="not the input of batch batch_1 any more"):
        done.to_pandas(prompts=True)
    with pytest.raises(PipelineError, match="no table of results"):
        batch(status="in_progress").to_arrow()
