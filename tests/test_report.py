"""The summary of a batch, and batches in the UI: what they say, and what only a setting has them say."""

import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.result import result_of
from tasks.errors import ConfigurationError
from tasks.report import Extras, _extras, batch_markdown, batches_table, summary_markdown
from tasks.settings import summary_settings
from tasks.storage.console import Console
from tests.builders import REF, document, job, shard
from tests.fakes import BUCKET, Cloud

PARQUET = f"s3://{BUCKET}/pre/results.parquet"


def done(**fields: Any) -> Any:
    stored = document()
    stored.status, stored.completed_at, stored.cost_usd = "completed", stored.created_at + 3725, 1.5
    stored.bedrock.shards = [shard(jobs=[job("Completed", processed=100)])]
    stored.parquet_file = PARQUET
    return stored.model_copy(update=fields)


def test_a_summary_has_cost_duration_jobs_and_links() -> None:
    console = Console("https://s3.us-east-1.amazonaws.com", "us-east-1")
    shown = summary_markdown(REF, done(), [], Extras(console))
    assert "$1.50" in shown
    assert "1 h 2 min" in shown
    assert "| Completed | 100 | 0 |" in shown
    links = re.findall(r"\]\((https:[^)]*)\)", shown)
    assert len(links) == 3
    assert any(link.endswith("#/batch-inference") for link in links)
    plain = summary_markdown(REF, done(), [])
    assert "https:" not in plain
    assert "## Some answers" not in plain


def test_answers_and_links_only_where_a_setting_asks(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rows = {"custom_id": ["a", "b", "c"], "content": ["<b>hi</b>", None, "x" * 900], "ok": [True, False, True]}
    pq.write_table(pa.table(rows), tmp_path / "t")
    cloud.s3.put("pre/results.parquet", (tmp_path / "t").read_bytes())
    assert (_extras(done()).answers, _extras(done()).links) == ([], {})
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_ANSWERS", "5")
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_LINKS", "1")
    extras = _extras(done())
    assert [custom_id for custom_id, _ in extras.answers] == ["a", "c"]
    assert list(extras.links) == [PARQUET]
    assert "Expires" in extras.links[PARQUET]
    shown = summary_markdown(REF, done(), [], extras)
    assert "&lt;b&gt;hi&lt;/b&gt;" in shown
    cloud.s3.refuse("GetObject", "AccessDenied", 403, times=None)
    assert _extras(done()).answers == []
    for name, wrong in (("ANSWERS", "all"), ("LINKS", "yes")):
        monkeypatch.setenv(f"BEDROCK_BATCH_SUMMARY_{name}", wrong)
        with pytest.raises(ConfigurationError, match=name):
            summary_settings()
        monkeypatch.delenv(f"BEDROCK_BATCH_SUMMARY_{name}")


def test_batches_in_the_ui() -> None:
    (row,) = batches_table([result_of(done(input_file_id="[x](http://evil)"))])
    assert (row["status"], row["cost"]) == ("completed", "$1.50")
    assert "](" not in row["input"]
    assert "| took | 1 h 2 min |" in batch_markdown(result_of(done()))
