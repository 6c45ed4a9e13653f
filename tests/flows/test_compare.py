"""`compare_models` end to end, against the sandbox over HTTP."""

import base64
import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.compare import ComparisonFailedError, compare_models, estimate
from flows.operations import list_batches
from tasks.errors import ConfigurationError, InputFileError
from tests.codecs.helpers import PNG
from tests.conftest import CLAUDE, LLAMA, NOVA, Sandbox, chat, write_chats, write_lines
from tests.direct import call_directly
from tests.flows.processes import Nursery

FAST: dict[str, Any] = {"poll_seconds": 0.05}
ROOT = Path(__file__).resolve().parents[2]
TICKETS = ROOT / "deployments" / "samples" / "support_tickets.jsonl"
LABELS = ROOT / "deployments" / "samples" / "support_tickets_labels.csv"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
MICRO = "us.amazon.nova-micro-v1:0"


def sub_flows(of: str) -> set[str]:
    """The names of what ran under the latest run whose name ends so."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        recent = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=200)
        parent = next(run for run in recent if run.name.endswith(of))
        beneath = FlowRunFilterParentFlowRunId(any_=[parent.id])
        children = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=beneath))
    return {child.name for child in children}


def test_labelled_tickets_on_three_variants(
    sandbox: Sandbox, prefect_server: None, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = {
        "model": MICRO,
        "label": "micro, other prompt",
        "overrides": {"temperature": 0, "system": "One of: billing, delivery"},
    }
    models: list[Any] = [HAIKU, MICRO, cold]
    judge = {"model": CLAUDE, "requests": 60}
    result = compare_models(str(TICKETS), models, reference=str(LABELS), judge=judge, **FAST)

    assert set(result.batches) == {HAIKU, MICRO, "micro, other prompt"}
    assert not result.failed
    assert {batch.status for batch in result.batches.values()} == {"completed"}
    numbers = {variant["label"]: variant for variant in result.numbers["variants"]}
    assert numbers[HAIKU]["accuracy"]["count"] > numbers[MICRO]["accuracy"]["count"]
    assert sorted(result.cost_usd) == sorted(numbers)
    assert (result.cost_usd[HAIKU] or 0) > (result.cost_usd[MICRO] or 0) > 0
    # The table holds every request of every variant, as the batches' own output has it.
    table = pq.read_table(io.BytesIO(sandbox.read(result.table_file))).to_pylist()
    assert len(table) == 720
    for label, batch in result.batches.items():
        own = {
            line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
            for line in sandbox.lines(batch.output_file)
        }
        assert {row["custom_id"]: row["answer"] for row in table if row["variant"] == label} == own
    other = [row["answer"] for row in table if row["variant"] == "micro, other prompt"]
    assert set(other) <= {"billing", "delivery"}, "the override reached the model"
    wide = list(csv.DictReader(io.StringIO(sandbox.read(result.wide_file).decode("utf-8-sig"))))
    assert len(wide) == 240
    page = sandbox.read(result.report_file).decode()
    assert "Confusion matrices" in page
    assert "The judge" in page
    assert result.judge_batch is not None
    assert result.judge_batch.request_counts.total == 60 * 3 * 2
    assert result.judged is not None
    assert 0 < result.judged["cost_usd"] < 1
    assert 0.5 < result.judged["first_position"]["count"] / result.judged["first_position"]["total"] < 0.65
    state = json.loads(sandbox.read(f"s3://{sandbox.bucket}/{prefix}/comparisons/{result.id}/comparison.json"))
    assert state["verdict"] == result.verdict
    assert sub_flows("on 3 variants") == {HAIKU, MICRO, "micro, other prompt", f"judge {CLAUDE}"}

    # What is found again lies in S3, and is Prefect's no more.
    call_directly(monkeypatch.setattr)
    assert len(list_batches()) == 4

    before = sandbox.journal()
    again = compare_models(str(TICKETS), models, reference=str(LABELS), judge=judge, **FAST)
    assert again == result
    assert sandbox.journal()["paid"] == before["paid"], "nothing is asked twice"
    # How answers are compared changes the report, and asks nothing again.
    other_way: dict[str, Any] = {
        "extract": "includes",
        "choices": "any",
        "margin": 2,
        "slice_by": "label",
        "label_column": "label",
    }
    third = compare_models(str(TICKETS), models, reference=str(LABELS), judge=judge, **other_way, **FAST)
    assert third.id != result.id
    assert third.within_margin is False
    claims = {each["claim"] for each in third.conclusions}
    assert claims == {"more_accurate", "not_worse", "worse", "preferred", "leans_to_place", "cheaper"}
    assert len(third.numbers["slices"]["label"]) == 6
    assert sandbox.journal()["paid"] == before["paid"]


@pytest.mark.usefixtures("without_prefect")
def test_one_that_fails_leaves_the_others_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    path = str(write_chats(tmp_path / "in.jsonl", 130, max_tokens=20))
    embedder = "amazon.titan-embed-text-v2:0"
    sandbox.faults(job_ends=[{"status": "Failed", "message": "no capacity"}])
    broken = {"model": NOVA, "label": "broken", "role_arn": "arn:aws:iam::123456789012:role/nobody"}
    sandbox.faults(bad_roles=["arn:aws:iam::123456789012:role/nobody"])
    result = compare_models(path, [CLAUDE, LLAMA, embedder, broken], **FAST)
    assert {embedder, "broken"} < set(result.failed)
    assert len(result.failed) == 3
    assert "endpoint" in result.failed[embedder] or "serve" in result.failed[embedder]
    (answered,) = {CLAUDE, LLAMA} - set(result.failed)
    assert result.batches[answered].status == "completed"
    page = sandbox.read(result.report_file).decode()
    assert "no capacity" in page
    assert any("has no results" in sentence for sentence in result.verdict)
    # The same call tries again what failed, and nothing else.
    sandbox.faults(bad_roles=[])
    again = compare_models(path, [CLAUDE, LLAMA, embedder, broken], **FAST)
    assert set(again.failed) == {embedder}
    assert sandbox.journal()["most_often"] == 1


@pytest.mark.usefixtures("without_prefect")
def test_none_with_results(sandbox: Sandbox, tmp_path: Path) -> None:
    path = str(write_chats(tmp_path / "in.jsonl", 3))
    with pytest.raises(ComparisonFailedError, match="No model has results") as caught:
        compare_models(
            path,
            ["amazon.titan-embed-text-v2:0", CLAUDE],
            endpoint="/v1/chat/completions",
            below_minimum="fail",
            **FAST,
        )
    assert len(caught.value.comparison.failed) == 2


def test_expired_and_throttled_variants_are_compared_by_what_they_have(
    sandbox: Sandbox, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    path = str(write_chats(tmp_path / "in.jsonl", 120))
    sandbox.faults(throttle=0.2, job_ends=[{"status": "PartiallyCompleted", "fraction": 0.5}])
    result = compare_models(path, [CLAUDE, NOVA], **FAST)
    sandbox.faults(throttle=0)
    assert sorted(batch.status for batch in result.batches.values()) == ["completed", "expired"]
    (pair,) = result.numbers["pairs"]
    assert 40 < pair["both"] < 80
    assert any("answered only" in sentence for sentence in result.verdict)


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize(
    ("models", "options", "error", "message"),
    [
        ([], {}, ConfigurationError, "at least one"),
        ([CLAUDE, CLAUDE], {}, ConfigurationError, "both called"),
        ([CLAUDE, NOVA], {"judge": {"model": CLAUDE, "requests": -1}}, ConfigurationError, "judge"),
        ([CLAUDE, NOVA], {"margin": 2.0}, ConfigurationError, "A margin compares accuracies: it needs a reference"),
        ([HAIKU, MICRO], {"max_cost_usd": 0.000001}, ConfigurationError, "nothing was submitted"),
        (
            [HAIKU, MICRO],
            {"max_cost_usd": 1.0, "judge": "cohere.command-r-v1:0"},
            ConfigurationError,
            "no price is known of",
        ),
        ([CLAUDE, NOVA], {"reference": "nowhere.csv"}, InputFileError, "nowhere.csv"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    sandbox: Sandbox, tmp_path: Path, models: Any, options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        compare_models(str(write_chats(tmp_path / "in.jsonl", 3)), models, **options, **FAST)
    assert not sandbox.jobs(os.environ["BEDROCK_BATCH_PREFIX"])
    assert sandbox.journal()["asked"] == 0


@pytest.mark.usefixtures("without_prefect")
def test_bad_lines(sandbox: Sandbox, tmp_path: Path) -> None:
    path = str(
        write_lines(tmp_path / "in.jsonl", [*[chat(f"r{i}") for i in range(110)], '{"custom_id": "x"', chat("r1")])
    )
    with pytest.raises(InputFileError, match=r"line 111.*line 112"):
        compare_models(path, [CLAUDE, NOVA], **FAST)
    assert not sandbox.keys(os.environ["BEDROCK_BATCH_PREFIX"])
    cold = {"model": NOVA, "label": "cold", "overrides": {"temperature": 0}}
    result = compare_models(path, [NOVA, cold], on_invalid="skip", **FAST)
    assert [batch.request_counts.failed for batch in result.batches.values()] == [2, 2]
    assert result.numbers["requests"] == 112


@pytest.mark.usefixtures("without_prefect")
def test_estimate_asks_for_nothing(sandbox: Sandbox) -> None:
    rows = estimate(str(TICKETS), [HAIKU, MICRO])
    assert [(row["label"], row["requests"], row["jobs"]) for row in rows] == [(HAIKU, 240, 1), (MICRO, 240, 1)]
    assert rows[0]["max_cost_usd"] > rows[1]["max_cost_usd"] > 0
    assert not sandbox.keys(os.environ["BEDROCK_BATCH_PREFIX"])


def test_cancelling_a_comparison_stops_all_its_jobs(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str
) -> None:
    """As Prefect calls the hook: in another process, when the run's own is gone."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Cancelled

    from flows.hooks import stop_all_on_cancel

    sandbox.faults(hold=True)
    path = str(write_chats(tmp_path / "held.jsonl", 120))
    run = runs.start("compare_models", path, [CLAUDE, NOVA], **FAST)
    sandbox.wait_for_jobs(prefix, 2)
    run.kill()
    run.wait()
    with get_client(sync_client=True) as client:
        recent = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=200)
        parent = next(each for each in recent if each.name == "held.jsonl on 2 variants")
    stop_all_on_cancel(compare_models, parent, Cancelled())
    assert {job["status"] for job in sandbox.jobs(prefix)} == {"Stopped"}
    assert [batch.status for batch in list_batches()] == ["cancelled", "cancelled"]


def test_a_comparison_that_was_killed_carries_on(sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(hold=True)
    path = str(write_chats(tmp_path / "in.jsonl", 120))
    cold = {"model": NOVA, "label": "cold", "overrides": {"temperature": 0}}
    run = runs.start("compare_models", path, [NOVA, cold], **FAST)
    sandbox.wait_for_jobs(prefix, 2)
    run.kill()
    run.wait()
    sandbox.faults(hold=False)
    again = runs.start("compare_models", path, [NOVA, cold], prefect=False, **FAST).finish()
    assert sorted(batch["status"] for batch in again["batches"].values()) == ["completed", "completed"]
    assert len(sandbox.jobs(prefix)) == 2
    assert sandbox.journal()["most_often"] == 1


@pytest.mark.usefixtures("without_prefect")
def test_ctrl_c_stops_waiting_for_all(sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(hold=True)
    path = str(write_chats(tmp_path / "in.jsonl", 110))
    models = ("--model", CLAUDE, "--model", NOVA)
    run = runs.command(path, *models, "--poll-seconds", "0.1", program="run_comparison")
    sandbox.wait_for_jobs(prefix, 2)
    run.kill(signal.SIGINT)
    assert run.status() == 130
    assert "run the same command again" in run.log.read_text()
    sandbox.faults(hold=False)
    assert not compare_models(path, [CLAUDE, NOVA], **FAST).failed
    assert len(sandbox.jobs(prefix)) == 2


def test_the_command_line(prefect_server: None, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BEDROCK_"))}
    variant = json.dumps({"model": MICRO, "label": "cold", "overrides": {"temperature": 0}})
    command = [sys.executable, "-m", "flows.compare", str(TICKETS), "--model", HAIKU, "--model", variant, "--sandbox"]
    done = subprocess.run(
        [*command, "--reference", str(LABELS), "--output-dir", str(tmp_path)],
        cwd=ROOT,
        env={**clean, "PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (report,) = tmp_path.glob("cmp_*/report.html")
    assert "Synthetic" in report.read_text()
    assert str(report) in done.stdout
    assert (report.parent / "table.parquet").exists()
    assert json.loads((report.parent / "comparison.json").read_text())["verdict"][0] in done.stdout


@pytest.mark.usefixtures("without_prefect")
def test_requests_of_strangers_hold_up_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Schemas that fetch, hang or are none; images beside an input in a bucket of its own, also under overrides."""
    other = f"elsewhere-{os.environ['BEDROCK_BATCH_PREFIX'].removeprefix('test-')}"
    sandbox.s3.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    sandbox.s3.put_object(Bucket=other, Key="dot.png", Body=base64.b64decode(PNG))
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    schemas: list[dict[str, object]] = [
        {"type": "object", "additionalProperties": False, "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}},
        {"type": "object", "$id": "http://[x"},
        {"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": {**doubling, "d30": {}}},
        {"type": "object"},
    ]
    lines: list[object] = [
        chat(f"r{i}", max_tokens=50, tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])
        for i, schema in enumerate(schemas)
    ]
    picture = [{"type": "image_url", "image_url": {"url": f"s3://{other}/dot.png"}}, {"type": "text", "text": "What?"}]
    lines.append(chat("picture", messages=[{"role": "user", "content": picture}], max_tokens=50))
    path = write_lines(tmp_path / "in.jsonl", lines)
    sandbox.s3.upload_file(str(path), other, "in.jsonl")
    warmer = {"model": CLAUDE, "label": "warmer", "overrides": {"temperature": 1}}
    result = compare_models(f"s3://{other}/in.jsonl", [CLAUDE, warmer], **FAST)
    assert not result.failed
    for batch in result.batches.values():
        errors = {line["custom_id"] for line in sandbox.lines(batch.error_file)}
        assert "picture" not in errors, "it lies beside the input"
    assert json.loads(sandbox.read(result.report_file.replace("report.html", "comparison.json")))["id"] == result.id
