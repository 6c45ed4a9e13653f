"""The summary of a batch, and batches in the UI: what they say, and what only a setting has them say."""

import logging
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.result import result_of
from tasks.errors import ConfigurationError
from tasks.openai_format.batch import RequestCounts
from tasks.report import Extras, _extras, batch_markdown, batches_table, merged_causes, report, summary_markdown
from tasks.results.totals import RangeResult
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


RESULTS = [
    RangeResult(0, causes={"a|b": (2, "<first>", 3), "c": (9, "x", 4)}, finish_reasons={"length": 2}, without_usage=1),
    RangeResult(1, causes={"a|b": (10, "later", 900)}, finish_reasons={"length": 1}, without_usage=2),
]


def test_causes_of_all_ranges_the_most_frequent_first() -> None:
    assert merged_causes(RESULTS) == [("a|b", 12, "<first>", 3), ("c", 9, "x", 4)]


def test_a_summary_shows_texts_and_no_markup() -> None:
    stored = done()
    stored.bedrock.warnings = ["<b>|odd|"]
    stored.bedrock.dropped_fields = {"seed": 1200}
    stored.bedrock.published = ["s3://out/x"]
    stored.bedrock.shards = [shard(jobs=[job("Completed", n, name=f"job-{n}", processed=n) for n in range(25)])]
    stored.bedrock.shards[0].jobs.append(job(None, 99, name="never", arn=None))
    shown = summary_markdown(REF, stored, RESULTS)
    for line in (
        "| 12 | a\\|b | &lt;first&gt;, line 3 |",
        "| 9 | c | x, line 4 |",
        "- &lt;b&gt;\\|odd\\|",
        "| 1,200 | seed |",
        "- Copies: `s3://out/x/`",
        "| and 5 before them | | | |",
        "3 answers carry no token counts: this family reports none.",
        "3 answers were cut off at max_tokens (finish_reason `length`).",
    ):
        assert line in shown.splitlines(), line
    names = [line.split("`")[1] for line in shown.splitlines() if line.startswith("| `job-")]
    assert names == [f"job-{n}" for n in range(5, 25)]
    assert "never" not in shown
    many = [RangeResult(0, causes={f"cause {n}": (1, "x", n) for n in range(12)})]
    assert "| | and 2 more causes, in the error file | |" in summary_markdown(REF, stored, many)


@pytest.mark.usefixtures("without_prefect")
def test_the_log_has_the_main_lines(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.report.create_markdown_artifact", lambda **given: made.append(given))
    stored = done(request_counts=RequestCounts(total=3, completed=2, failed=1))
    stored.bedrock.warnings = ["a warning"]
    causes = {f"cause\n{n}": (9 - n, f"id\n{n}", n) for n in range(5)}
    report(REF, stored, [RangeResult(0, causes=causes)])
    assert [given["key"] for given in made] == ["batch-summary"]
    assert caplog.messages == [
        f"Batch {REF.batch_id} completed: 3 requests, 2 answered, 1 failed; 0 tokens in, 0 out; cost $1.50",
        "a warning",
        "9 requests failed with cause 0 (first: id 0, line 0)",
        "8 requests failed with cause 1 (first: id 1, line 1)",
        "7 requests failed with cause 2 (first: id 2, line 2)",
    ]
    assert [record.levelname for record in caplog.records] == ["INFO", *["WARNING"] * 4]


def test_an_answer_that_failed_is_none_to_show(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    rows = {"custom_id": ["a", "b"], "content": ["half an answer", "an answer"], "ok": [False, True]}
    pq.write_table(pa.table(rows), tmp_path / "t")
    cloud.s3.put("pre/results.parquet", (tmp_path / "t").read_bytes())
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_ANSWERS", "5")
    assert _extras(done()).answers == [("b", "an answer")]
