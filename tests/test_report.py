"""The summary of a batch, and batches in the UI: what they say, and what only a setting has them say."""

import logging
import re
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.batch.result import result_of
from tasks.errors import ConfigurationError
from tasks.openai_format.batch import BatchUsage, RequestCounts
from tasks.report import Extras, _extras, batch_markdown, batches_table, merged_causes, report, summary_markdown
from tasks.results.totals import RangeResult
from tasks.settings import summary_settings
from tasks.storage.console import Console
from tasks.storage.uris import parse_input_uri
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


def test_a_whole_summary() -> None:
    folder = f"s3://{BUCKET}/prefix/batches/{REF.batch_id}"
    console = Console("https://s3.us-east-1.amazonaws.com", "us-east-1")
    stored = done(
        request_counts=RequestCounts(total=1200, completed=1190, failed=10),
        usage=BatchUsage(input_tokens=12_000, output_tokens=3400),
        output_file=f"{folder}/output.jsonl",
        model="<m>",
    )
    stored.bedrock.model = "<m>"
    stored.bedrock.shards = [
        shard("00000", invocation="InvokeModel", jobs=[job("Failed", 0), job("Completed", 1, total=7, processed=5, errored=2)]),
        shard("00001", invocation="Converse"),
    ]  # fmt: skip
    links = {stored.output_file: "https://x/output"}
    shown = summary_markdown(REF, stored, [], Extras(console, links, [("a_b", "*c*")]))
    place = console.object(parse_input_uri(stored.output_file))
    table = console.object(parse_input_uri(PARQUET))
    assert shown.splitlines() == [
        "# Batch completed",
        "",
        f"`{REF.batch_id}` · /v1/chat/completions · **&lt;m&gt;** (anthropic, Converse and InvokeModel)",
        "",
        "| requests | answered | failed | input tokens | output tokens | cost | took |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        "| 1,200 | 1,190 | 10 | 12,000 | 3,400 | $1.50 | 1 h 2 min |",
        "",
        "## Files",
        "",
        f"- Output: `{stored.output_file}` ([console]({place})) ([download, for an hour](https://x/output))",
        "- Errors: none",
        f"- Parquet: `{PARQUET}` ([console]({table}))",
        f"- State: `{folder}/batch.json` ([folder]({console.folder(REF.folder)}))",
        "",
        f"## Jobs ([in the console]({console.jobs()}))",
        "",
        "| job | state | records | errors |",
        "|---|---|---:|---:|",
        "| `job-0` | Failed | 0 | 0 |",
        "| `job-1` | Completed | 5 | 2 |",
        "",
        "## Some answers",
        "",
        "| request | answer |",
        "|---|---|",
        "| a\\_b | \\*c\\* |",
    ]


def test_a_summary_of_a_batch_that_is_not_over() -> None:
    stored = document(status="in_progress")
    assert "| 0 | 0 | 0 | 0 | 0 | unknown |  |" in summary_markdown(REF, stored, []).splitlines()
    ten = [RangeResult(0, causes={f"cause {n}": (1, "x", n) for n in range(10)})]
    shown = summary_markdown(REF, stored, ten)
    assert sum(line.startswith("| 1 | cause ") for line in shown.splitlines()) == 10
    assert "more cause" not in shown
    assert "## Dropped" not in shown
    assert "## Warnings" not in shown
    assert "carr" not in shown
    assert "cut off" not in shown
    stored.bedrock.shards = [shard(jobs=[job("Completed", n) for n in range(20)])]
    assert "before them" not in summary_markdown(REF, stored, [])


def test_a_row_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are UTC, wherever the reader's machine is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        rows_of_batches()
    finally:
        monkeypatch.undo()
        time.tzset()


def rows_of_batches() -> None:
    stored = done(request_counts=RequestCounts(total=1200, completed=1190, failed=10), created_at=1_790_000_000)
    assert batches_table([result_of(stored), result_of(document(status="in_progress", model=None))]) == [
        {
            "batch": f"`{REF.batch_id}`",
            "status": "completed",
            "model": "",
            "requests": "1,200",
            "answered": "1,190",
            "failed": "10",
            "cost": "$1.50",
            "created": "2026-09-21 14:13 UTC",
            "input": "in.jsonl",
        },
        {
            "batch": f"`{REF.batch_id}`",
            "status": "in_progress",
            "model": "",
            "requests": "0",
            "answered": "0",
            "failed": "0",
            "cost": "",
            "created": "1970-01-01 00:00 UTC",
            "input": "in.jsonl",
        },
    ]
    unpriced = result_of(done(cost_usd=None, input_file_id="<b>"))
    assert batches_table([unpriced])[0]["cost"] == "unknown"
    assert "| requests | 1,200\\: 1,190 answered, 10 failed |" in batch_markdown(result_of(stored))


def test_what_a_summary_shows_of_the_files(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As many answers as were asked for, of the first group of rows that has any; links to each file that there is."""
    # More than are read at a time.
    rows = {"custom_id": ["x"] * 70_000, "content": ["", "half"] * 35_000, "ok": [True, False] * 35_000}
    more = {"custom_id": ["a", None, "c"], "content": ["A", "B", "C"], "ok": [True] * 3}
    with pq.ParquetWriter(tmp_path / "t", pa.table(more).schema) as writer:
        writer.write_table(pa.table(rows, schema=pa.table(more).schema))
        writer.write_table(pa.table(more))
    cloud.s3.put("pre/results.parquet", (tmp_path / "t").read_bytes())
    uris = {kind: f"s3://{BUCKET}/pre/{kind}" for kind in ("output_file", "error_file")}
    stored = done(**uris)
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_ANSWERS", "2")
    assert _extras(stored).links == {}
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_LINKS", "1")
    extras = _extras(stored)
    assert extras.answers == [("a", "A"), ("", "B")]
    assert list(extras.links) == [*uris.values(), PARQUET]
    assert [link.partition("?")[0].rsplit("/", 1)[-1] for link in extras.links.values()] == [
        "output_file",
        "error_file",
        "results.parquet",
    ]
    assert not caplog.messages
    cloud.s3.refuse("GetObject", "AccessDenied", 403)
    assert _extras(stored) == Extras()
    (said,) = caplog.messages
    assert said.startswith("The summary lacks its links and answers: AWS denied access")
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_ANSWERS", "0")
    cloud.s3.calls.clear()
    assert _extras(stored).answers == []
    assert cloud.s3.count("GetObject") == 0


@pytest.mark.usefixtures("without_prefect")
def test_the_summary_that_is_left_has_what_the_settings_ask_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.report.create_markdown_artifact", lambda **given: made.append(given))
    monkeypatch.setenv("BEDROCK_BATCH_SUMMARY_LINKS", "1")
    stored = done(usage=BatchUsage(input_tokens=1, output_tokens=1234))
    report(REF, stored, [])
    (artifact,) = made
    assert artifact["description"] == f"Batch {REF.batch_id}"
    assert "download, for an hour" in artifact["markdown"]
