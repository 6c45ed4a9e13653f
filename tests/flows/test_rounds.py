"""What failed for a transient cause is asked again, and nothing that has an answer."""

from pathlib import Path
from typing import Any

import pytest

from flows.batch import BatchFailedError, batch_inference
from flows.operations import retrieve_batch
from tests.conftest import CLAUDE, LLAMA, Sandbox, account, chat, write_chats, write_lines

pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
THROTTLED = {"code": 429, "message": "Too many tokens, please wait before trying again."}


@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
@pytest.mark.parametrize("code", [429, 500, 503, 408])
def test_few_passing_errors_go_on_demand(sandbox: Sandbox, tmp_path: Path, prefix: str, model: str, code: int) -> None:
    sandbox.faults(record_errors={**THROTTLED, "code": code, "rate": 0.2, "times": 1})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 150)), model, **FAST)
    assert batch.status == "completed"
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(150)])
    assert len(output) == 150
    assert len(sandbox.jobs(prefix)) == 1
    journal = sandbox.journal()
    assert (journal["paid"], journal["most_often"]) == (150, 1)
    assert 150 < journal["asked"] < 210


def test_what_is_left_of_many_jobs_is_gathered_into_one(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "250")
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.3, "times": 1})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 750)), CLAUDE, **FAST)
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(750)])
    assert len(output) == 750
    jobs = sandbox.jobs(prefix)
    assert len(jobs) == 4, "three jobs, and one for what was left of each"
    assert 150 < jobs[3]["totalRecordCount"] <= 250
    assert sandbox.journal()["most_often"] == 1


def test_large_rests_are_jobs_of_their_own(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "300")
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.5, "times": 1})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 600)), CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(600)])
    assert batch.request_counts.failed == 0
    assert len(sandbox.jobs(prefix)) == 4
    assert sandbox.journal()["most_often"] == 1


@pytest.mark.parametrize(
    ("end", "jobs"),
    [
        ({"status": "Expired"}, 2),
        ({"status": "PartiallyCompleted", "fraction": 0.3}, 2),
        ({"status": "PartiallyCompleted", "fraction": 0.9}, 1),
    ],
)
def test_jobs_that_ran_out_of_time_are_carried_on(
    sandbox: Sandbox, tmp_path: Path, prefix: str, end: dict[str, Any], jobs: int
) -> None:
    sandbox.faults(job_ends=[end])
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 200)), CLAUDE, **FAST)
    assert batch.status == "completed"
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(200)])
    assert len(output) == 200
    assert len(sandbox.jobs(prefix)) == jobs
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (200, 1)


def test_missing_records_are_asked_again_and_said(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(missing=7, garbled=2)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 150)), CLAUDE, **FAST)
    said = ["^2 output lines that cannot be read"]
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(150)], warnings=said)
    assert len(output) == 150
    assert sandbox.journal()["asked"] == 159


def test_rounds_come_to_an_end(sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "3")
    sandbox.faults(job_ends=[{"status": "Expired"}] * 3)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 120)), CLAUDE, **FAST)
    assert batch.status == "expired"
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(120)])
    assert {error["error"]["code"] for error in errors} == {"batch_expired"}
    assert len(sandbox.jobs(prefix)) == 3


def test_three_rounds_over_the_same_records(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "3")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "400")
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.4, "times": 2})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 800)), CLAUDE, **FAST)
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(800)])
    assert len(output) == 800
    assert len(sandbox.jobs(prefix)) == 6
    assert sandbox.journal()["most_often"] == 1


def test_one_round_means_no_second_try(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.2})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 150)), CLAUDE, **FAST)
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(150)])
    assert errors
    assert {error["response"]["body"]["error"]["code"] for error in errors} == {"rate_limit_exceeded"}
    assert sandbox.journal()["asked"] == 150


def test_permanent_errors_are_not_tried_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(record_errors={"rate": 0.2, "code": 400, "message": "The model refused the request."})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 150)), CLAUDE, **FAST)
    assert batch.status == "completed"
    account(sandbox, batch, [f"req-{i}" for i in range(150)])
    assert batch.request_counts.failed > 0
    assert sandbox.journal()["asked"] == 150


def test_choices_of_one_request_are_asked_again_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.3, "times": 1})
    lines = [chat(f"req-{i}", f"Question {i}?", n=2, seed=None) for i in range(80)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(80)])
    assert all(len(line["response"]["body"]["choices"]) == 2 for line in output)


def test_a_job_that_failed_half_way_is_carried_on_by_the_next_call(
    sandbox: Sandbox, tmp_path: Path, prefix: str
) -> None:
    sandbox.faults(job_ends=[{"status": "Failed", "fraction": 0.3, "message": "The service had a fault."}])
    path = str(write_chats(tmp_path / "in.jsonl", 200))
    with pytest.raises(BatchFailedError, match="had a fault") as caught:
        batch_inference(path, CLAUDE, **FAST)
    assert caught.value.batch.request_counts.completed == 60
    account(sandbox, caught.value.batch, [f"req-{i}" for i in range(200)])
    batch = batch_inference(path, CLAUDE, **FAST)
    assert batch.status == "completed"
    assert batch.errors is None
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(200)])
    assert len(output) == 200
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (200, 1)
    assert retrieve_batch(batch.id) == batch
    names = {key.rsplit("/", 1)[-1] for key in sandbox.keys(f"{prefix}/batches/{batch.id}/input/")}
    assert names == {"part-00000.jsonl", "part-00000-r2.jsonl"}


def test_padding_fills_a_round_too(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(record_errors={**THROTTLED, "rate": 0.2, "times": 1})
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    batch = batch_inference(path, CLAUDE, below_minimum="pad", **FAST)
    assert batch.request_counts.failed == 0
    account(sandbox, batch, [f"req-{i}" for i in range(150)])
    assert [job["totalRecordCount"] for job in sandbox.jobs(prefix)] == [150, 100]
