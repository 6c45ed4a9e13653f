"""Two runners of one batch, runners that leave, collectors, and every way to cancel."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from flows.batch import batch_inference
from flows.operations import cancel_batch, collect_batches, list_batches, retrieve_batch
from tasks.batch import lease
from tasks.batch.document import LeaseState
from tasks.batch.paths import BatchRef
from tasks.batch.store import read, update
from tasks.bedrock.events import batch_of_event
from tasks.errors import LostLeaseError, PipelineError
from tasks.openai_format.batch import Batch
from tasks.settings import load_settings
from tests.conftest import CLAUDE, NOVA, Sandbox, account, write_chats
from tests.flows.processes import Nursery
from tests.waiting import until

# What Prefect makes of a run is for those of `runs`: what this process itself calls, it calls without an engine.
pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
FOLLOWS = "this one follows"
IDS = [f"req-{i}" for i in range(150)]


@pytest.mark.parametrize("window", ["24h", "immediate"])
def test_one_drives_and_the_other_follows(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str, window: str
) -> None:
    sandbox.faults(hold=True)
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    both = [runs.start("batch_inference", path, CLAUDE, completion_window=window, **FAST) for _ in range(2)]
    until(lambda: any(FOLLOWS in run.log.read_text() for run in both), "one of them follows")
    sandbox.faults(hold=False)
    batches = [Batch.model_validate(run.finish()) for run in both]
    assert batches[0] == batches[1]
    account(sandbox, batches[0], IDS)
    journal = sandbox.journal()
    assert (journal["paid"], journal["most_often"]) == (150, 1)
    assert len(sandbox.jobs(prefix)) == (1 if window == "24h" else 0)
    assert sum(FOLLOWS in run.log.read_text() for run in both) == 1
    assert journal["calls"].get("CreateModelInvocationJob", 0) == len(sandbox.jobs(prefix))


def test_a_follower_takes_over_from_a_leader_that_died(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str
) -> None:
    sandbox.faults(hold=True)
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    leader = runs.start("batch_inference", path, CLAUDE, **FAST)
    sandbox.wait_for_jobs(prefix)
    follower = runs.start("batch_inference", path, CLAUDE, **FAST)
    until(lambda: FOLLOWS in follower.log.read_text(), "it follows")
    leader.kill()
    assert leader.wait() == -signal.SIGKILL
    sandbox.faults(hold=False)
    account(sandbox, Batch.model_validate(follower.finish()), IDS)
    assert sandbox.journal()["most_often"] == 1
    assert len(sandbox.jobs(prefix)) == 1


def test_a_silent_leader_elsewhere_is_relieved(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a leader on another machine only its beats are known."""
    monkeypatch.setattr(lease, "TAKEOVER_SECONDS", 1.0)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.1)
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    first = batch_inference(path, CLAUDE, wait=False)
    settings = load_settings()
    ref = BatchRef(settings.root, first.id)

    def occupy(document: Any) -> None:
        document.bedrock.lease = LeaseState(holder="x", machine="elsewhere", process="1-1", run="r")

    update(ref, occupy)
    with lease.trying_to_hold(ref) as held:
        assert held is None
    assert collect_batches()[0].status == "in_progress"
    account(sandbox, batch_inference(path, CLAUDE, **FAST), IDS)
    assert read(ref).bedrock.lease.holder is None


def test_a_leader_that_was_relieved_pays_for_nothing_more(sandbox: Sandbox, tmp_path: Path) -> None:
    ref = BatchRef(load_settings().root, batch_inference(str(write_chats(tmp_path / "i", 150)), NOVA, wait=False).id)
    with lease.holding(ref) as mine:
        mine.lost = True
        with pytest.raises(LostLeaseError, match="taken batch"):
            lease.require_lease(mine.ref)
    lease.require_lease(ref)


def test_submitted_and_left_then_collected(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process lives between: jobs wait for slots, end, fail in part, and each pass takes the batch on."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "2")
    sandbox.faults(max_jobs=2, record_errors={"rate": 0.5, "code": 429, "message": "slow down", "times": 1})
    path = str(write_chats(tmp_path / "in.jsonl", 300))
    target = f"s3://{sandbox.bucket}/{prefix}/elsewhere"
    left = batch_inference(path, CLAUDE, wait=False, output_data_config={"s3OutputDataConfig": {"s3Uri": target}})
    assert left.status == "in_progress"
    assert len(sandbox.jobs(prefix)) == 2
    other = batch_inference(str(write_chats(tmp_path / "b.jsonl", 120)), NOVA, wait=False)
    seen = {left.id, other.id}

    def none_is_left() -> bool:
        collected = {batch.id for batch in collect_batches()}
        assert collected <= seen
        return not collected

    until(none_is_left, "every batch came to its end")
    batch = retrieve_batch(left.id)
    assert batch.status == "completed"
    account(sandbox, batch, [f"req-{i}" for i in range(300)])
    assert sandbox.journal()["most_often"] == 1
    assert sandbox.read(f"{target}/{left.id}/output.jsonl") == sandbox.read(batch.output_file)
    assert batch_inference(path, CLAUDE) == batch
    assert {b.id for b in list_batches()} == seen


def test_trouble_with_one_batch_leaves_the_others_alone(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    bad = batch_inference(str(write_chats(tmp_path / "a.jsonl", 120)), CLAUDE, wait=False)
    good = batch_inference(str(write_chats(tmp_path / "b.jsonl", 130)), CLAUDE, wait=False)
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=f"{prefix}/batches/{bad.id}/batch.json", Body=b"{}")
    sandbox.wait_for_jobs(prefix, status="Completed")
    time.sleep(0.5)
    with pytest.raises(PipelineError, match="1 of 2 batches"):
        collect_batches()
    assert retrieve_batch(good.id).status == "completed"


EVENT = {
    "version": "0",
    "id": "a1b2c3d4",
    "detail-type": "Batch Inference Job State Change",
    "source": "aws.bedrock",
    "account": "123456789012",
    "time": "Wed Aug 28 22:58:30 UTC 2024",
    "region": "us-east-1",
    "resources": ["arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz"],
    "detail": {
        "version": "0.0",
        "accountId": "123456789012",
        "batchJobName": "dummy-batch-job-name",
        "batchJobArn": "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz",
        "batchModelId": "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-sonnet-20240229-v1:0",
        "status": "Completed",
        "failureMessage": "",
        "creationTime": "Aug 28, 2024, 10:47:53 PM",
    },
}


def test_an_eventbridge_event_advances_its_batch(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    assert batch_of_event(EVENT) is None, "a job of somebody else's"
    assert collect_batches(event=EVENT) == []
    first = batch_inference(str(write_chats(tmp_path / "a.jsonl", 120)), CLAUDE, wait=False, job_name="my job")
    other = batch_inference(str(write_chats(tmp_path / "b.jsonl", 130)), CLAUDE, wait=False)
    (job,) = [j for j in sandbox.jobs(prefix) if first.id in j["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]]
    sandbox.wait_for_jobs(prefix, 2, "Completed")
    detail = {**EVENT["detail"], "batchJobName": job["jobName"], "batchJobArn": job["jobArn"]}  # type: ignore[dict-item]
    (batch,) = collect_batches(event={**EVENT, "detail": detail})
    assert (batch.id, batch.status) == (first.id, "completed")
    assert retrieve_batch(other.id).status == "in_progress"
    for broken in ({}, {**EVENT, "source": "aws.s3"}, {**EVENT, "detail": None}, {**EVENT, "detail": {}}):
        with pytest.raises(PipelineError, match="Not an EventBridge event"):
            collect_batches(event=broken)


def check_cancelled(sandbox: Sandbox, batch: Batch, prefix: str) -> None:
    assert batch.status == "cancelled"
    _, errors = account(sandbox, batch, IDS)
    assert errors
    assert {error["error"]["code"] for error in errors} == {"batch_cancelled"}
    assert {job["status"] for job in sandbox.jobs(prefix)} <= {"Stopped", "Completed"}


def test_cancel_batch_while_a_run_drives(sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(job_seconds=60)
    run = runs.start("batch_inference", str(write_chats(tmp_path / "in.jsonl", 150)), CLAUDE, **FAST)
    sandbox.wait_for_jobs(prefix, status="Submitted")
    (batch,) = list_batches()
    assert cancel_batch(batch.id).status in ("cancelling", "cancelled")
    check_cancelled(sandbox, Batch.model_validate(run.finish()), prefix)


@pytest.mark.parametrize("noted", [True, False])
def test_cancel_batch_when_its_run_is_gone(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str, noted: bool
) -> None:
    """Also a job that Bedrock had accepted when the run died, before its ARN was noted."""
    sandbox.faults(job_seconds=60)
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    run = runs.start("batch_inference", path, CLAUDE, **FAST)
    sandbox.wait_for_jobs(prefix, status="Submitted")
    run.kill()
    run.wait()
    (batch,) = list_batches()
    if not noted:

        def forget(document: Any) -> None:
            document.bedrock.shards[0].job.arn = document.bedrock.shards[0].job.status = None

        update(BatchRef(load_settings().root, batch.id), forget)
    check_cancelled(sandbox, cancel_batch(batch.id), prefix)
    assert batch_inference(path, CLAUDE).status == "cancelled", "a cancelled batch stays cancelled"


def test_ctrl_c_with_stop(sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(job_seconds=60)
    path = str(write_chats(tmp_path / "in.jsonl", 150))
    run = runs.command(path, "--model", CLAUDE, "--stop", "--output-dir", str(tmp_path))
    sandbox.wait_for_jobs(prefix, status="Submitted")
    time.sleep(1)
    run.kill(signal.SIGINT)
    assert run.status() == 130
    assert "cancelled" in run.output.read_text()
    (state,) = tmp_path.glob("batch_*/batch.json")
    check_cancelled(sandbox, Batch.model_validate(json.loads(state.read_text())), prefix)
