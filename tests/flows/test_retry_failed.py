"""Finished batches are no dead ends: `retry_failed` asks what has no answer, and only that."""

from pathlib import Path
from typing import Any

import pytest

from flows.batch import batch_inference
from flows.compare import compare_models
from flows.operations import cancel_batch, collect_batches
from tasks.batch.paths import BatchRef
from tasks.batch.store import read
from tasks.openai_format.batch import Batch
from tasks.settings import load_settings
from tests.conftest import CLAUDE, NOVA, Sandbox, account, chat, write_chats, write_lines

pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
IDS = [f"req-{i}" for i in range(150)]
THROTTLED = {"rate": 0.3, "code": 429, "message": "slow down", "times": 1}


@pytest.fixture(autouse=True)
def _one_round(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ({"job_ends": [{"status": "Expired"}]}, "expired"),
        ({"job_ends": [{"status": "PartiallyCompleted", "fraction": 0.4}]}, "expired"),
        ({"job_ends": [{"status": "Stopped", "fraction": 0.9}]}, "cancelled"),
        ({"record_errors": THROTTLED}, "completed"),
        ({"record_errors": {**THROTTLED, "code": 500}}, "completed"),
        ({"missing": 7}, "completed"),
    ],
    ids=["expired", "partial", "stopped", "throttled", "faulted", "missing"],
)
def test_only_what_has_no_answer_is_asked(
    sandbox: Sandbox, tmp_path: Path, faults: dict[str, Any], status: str
) -> None:
    sandbox.faults(**faults)
    # One request in ten is refused by us: it has its answer.
    lines = [chat(f"req-{i}", f"Question {i}", **({"seed": 1} if i % 10 == 0 else {})) for i in range(150)]
    path = str(write_lines(tmp_path / "in.jsonl", lines))
    first = batch_inference(path, CLAUDE, **FAST)
    assert first.status == status
    output, _ = account(sandbox, first, IDS)
    answered = first.request_counts.completed
    assert answered < 135
    assert batch_inference(path, CLAUDE, **FAST) == first, "without it, the batch is what it is"
    asked = sandbox.journal()["asked"]
    sandbox.faults(missing=0)

    again = batch_inference(path, CLAUDE, retry_failed=True, **FAST)
    assert (again.id, again.status) == (first.id, "completed")
    account(sandbox, again, IDS)
    assert (again.request_counts.completed, again.request_counts.failed) == (135, 15)
    journal = sandbox.journal()
    assert journal["asked"] - asked == 135 - answered
    # What a job answered and then lost is paid for again, and nothing else.
    assert journal["most_often"] == (2 if "missing" in faults else 1)
    assert again.output_file != first.output_file
    assert sandbox.lines(first.output_file) == output, "what it had is still there"
    assert [getattr(again, f"{name}_at") for name in ("expired", "cancelled", "failed")] == [None] * 3
    assert again.completed_at is not None

    before = sandbox.journal()
    assert batch_inference(path, CLAUDE, retry_failed=True, **FAST) == again, "all are answered, or refused for good"
    assert sandbox.journal()["asked"] == before["asked"]


def test_refused_requests_are_not_asked_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(record_errors={"rate": 0.3, "code": 400, "message": "no"})
    path = str(write_chats(tmp_path / "in.jsonl", 120))
    first = batch_inference(path, CLAUDE, **FAST)
    assert first.request_counts.failed > 0
    asked = sandbox.journal()["asked"]
    assert batch_inference(path, CLAUDE, retry_failed=True, **FAST) == first
    assert sandbox.journal()["asked"] == asked


def test_a_cancelled_batch_goes_on_with_jobs_that_never_were(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "1")
    sandbox.faults(job_seconds=60)
    path = str(write_chats(tmp_path / "in.jsonl", 200))
    left = batch_inference(path, CLAUDE, wait=False)
    assert cancel_batch(left.id).status == "cancelled"
    assert len(sandbox.jobs(prefix)) == 1
    sandbox.faults(job_seconds=0.2)
    # And no process need wait for it.
    batch: Batch = batch_inference(path, CLAUDE, retry_failed=True, wait=False)
    assert batch.status == "in_progress"
    for _ in range(200):
        if batch.finished:
            break
        (batch,) = collect_batches()
    assert batch.status == "completed"
    account(sandbox, batch, [f"req-{i}" for i in range(200)])
    assert batch.request_counts.completed == 200
    assert sandbox.journal()["most_often"] == 1


def test_on_demand(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    """Also more of them than a job takes stay on demand, and answers that are stored stay."""
    sandbox.faults(invoke_errors={"rate": 0.9, "code": 408, "message": "timed out", "times": 1})
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    first = batch_inference(path, CLAUDE, completion_window="immediate", **FAST)
    account(sandbox, first, IDS)
    assert first.request_counts.failed >= 100
    again = batch_inference(path, CLAUDE, completion_window="immediate", retry_failed=True, **FAST)
    account(sandbox, again, IDS)
    assert again.request_counts.completed == 150
    assert not sandbox.jobs(prefix)
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (150, 1)


def test_copies_are_published_again(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(record_errors=THROTTLED)
    path = str(write_chats(tmp_path / "in.jsonl", 120))
    place = f"s3://{sandbox.bucket}/{prefix}/copies"
    options: dict[str, Any] = {"output_data_config": {"s3OutputDataConfig": {"s3Uri": place}}, **FAST}
    batch_inference(path, CLAUDE, **options)
    again = batch_inference(path, CLAUDE, retry_failed=True, **options)
    assert sandbox.read(f"{place}/{again.id}/output.jsonl") == sandbox.read(again.output_file)
    assert read(BatchRef(load_settings().root, again.id)).bedrock.unanswered == 0


def test_comparisons_too(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(record_errors=THROTTLED)
    path = str(write_chats(tmp_path / "in.jsonl", 120))
    first = compare_models(path, [CLAUDE, NOVA], **FAST)
    assert all(batch.request_counts.failed for batch in first.batches.values())
    again = compare_models(path, [CLAUDE, NOVA], retry_failed=True, **FAST)
    assert [batch.request_counts.completed for batch in again.batches.values()] == [120, 120]
    assert sandbox.journal()["most_often"] == 1
