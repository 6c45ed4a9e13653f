"""AWS's bad days: each run ends with an exact account, and where something was off, a warning that says what."""

from pathlib import Path
from typing import Any

import pytest

from flows.batch import batch_inference
from flows.operations import batch_output, list_batches
from tasks.openai_format.batch import Batch
from tests.conftest import CLAUDE, LLAMA, Sandbox, account, write_chats
from tests.flows.processes import Nursery
from tests.waiting import until

IDS = [f"req-{i}" for i in range(200)]


@pytest.fixture
def go(runs: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start a batch of two jobs in a process of its own."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    path = str(write_chats(tmp_path / "in.jsonl", 200))
    return lambda **options: runs.start("batch_inference", path, CLAUDE, poll_seconds=0.05, **options)


@pytest.mark.parametrize(
    "faults",
    [
        {"throttle": 0.3, "s3_throttle": 0.3},
        {"server_error": 0.2, "s3_error": 0.2},
        {"drop": 0.2, "s3_drop": 0.2},
        {"s3_truncate": 0.5},
        {"lose_create_replies": 2},
        {"output_late": 2.0},
        {"unknown_gets": 4},
        {
            "throttle": 0.1,
            "server_error": 0.1,
            "drop": 0.1,
            "s3_throttle": 0.1,
            "s3_drop": 0.1,
            "s3_truncate": 0.2,
            "lose_create_replies": 1,
            "output_late": 1.0,
        },
    ],
    ids=" ".join,
)
def test_what_passes_is_waited_out(sandbox: Sandbox, go: Any, prefix: str, faults: dict[str, Any]) -> None:
    sandbox.faults(**faults)
    batch = Batch.model_validate(go().finish())
    sandbox.faults(**dict.fromkeys((f for f in faults if f != "output_late"), 0), output_late=0)
    output, _ = account(sandbox, batch, IDS)
    assert len(output) == 200
    assert batch.status == "completed"
    assert len(sandbox.jobs(prefix)) == 2
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (200, 1)
    assert not sandbox.uploads()


def test_a_quota_is_waited_for_and_burns_no_retries(sandbox: Sandbox, go: Any, prefix: str) -> None:
    """Others hold all slots for longer than any retry would last."""
    sandbox.faults(max_jobs=0)
    run = go()
    until(lambda: sandbox.calls("CreateModelInvocationJob") >= 6, "it has asked six times")
    sandbox.faults(max_jobs=1)
    account(sandbox, Batch.model_validate(run.finish()), IDS)
    assert len(sandbox.jobs(prefix)) == 2
    assert "Retries" not in run.log.read_text()


@pytest.mark.parametrize("moment", ["before the job", "while waiting"])
def test_expired_credentials_are_named_and_refreshed_ones_resume(
    sandbox: Sandbox, go: Any, prefix: str, moment: str
) -> None:
    if moment == "while waiting":
        sandbox.faults(hold=True)
        run = go()
        sandbox.wait_for_jobs(prefix)
        sandbox.faults(expired_token=True)
    else:
        sandbox.faults(expired_token=True)
        run = go()
    assert run.wait() == 0
    assert run.reply["error"] == "ConfigurationError"
    assert "refused the credentials" in run.reply["message"]
    assert "ExpiredToken" in run.reply["message"]
    assert "refresh them, then repeat the same call" in run.reply["message"]
    sandbox.faults(expired_token=False, hold=False)
    account(sandbox, Batch.model_validate(go().finish()), IDS)
    assert len(sandbox.jobs(prefix)) == 2
    assert sandbox.journal()["most_often"] == 1


def test_odd_output_is_accounted_for_and_said(sandbox: Sandbox, go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(missing=3, doubled=8, unasked=2, garbled=5, wrong_manifest=True)
    batch = Batch.model_validate(go(prefect=False).finish())
    oddities = [
        "^6 records that were answered more than once",
        "^4 output records that were never asked for",
        "^10 output lines that cannot be read",
        "counts 97 processed records of 100",
        "97 processed records, but 101 answers",
    ]
    _, errors = account(sandbox, batch, IDS, warnings=oddities)
    # Of the lines that are garbled, each came a second time.
    assert len(errors) == 2 * 3
    assert {error["error"]["code"] for error in errors} == {"server_error"}


def test_a_job_that_leaves_no_output_is_said_and_asked_again(
    sandbox: Sandbox, go: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(missing=100)
    batch = Batch.model_validate(go(prefect=False).finish())
    _, errors = account(sandbox, batch, IDS)
    assert len(errors) == 200


@pytest.mark.usefixtures("without_prefect")
def test_jobs_of_every_end_in_one_batch(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    ends = [
        {"status": "Expired"},
        {"status": "PartiallyCompleted", "fraction": 0.35},
        {"status": "Stopped", "fraction": 0.6},
        None,
    ]
    sandbox.faults(job_ends=ends)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 400)), CLAUDE, poll_seconds=0.05)
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(400)])
    # Somebody stopped the third job: its rest is not asked again. The others' is.
    assert batch.status == "cancelled"
    assert len(errors) == 40
    assert {error["error"]["code"] for error in errors} == {"batch_cancelled"}
    assert sandbox.journal()["most_often"] == 1
    assert list_batches()[0] == batch


#: Those that can be read, those that cannot, and each twice: not all by the same call.
RUBBISH = ["lone surrogate", "raw surrogate", "line separators", "pretty", "null usage", "object usage"]
UNREADABLE = ["html", "empty", "null", "list", "cut off", "broken off", "raw tab", "invalid utf-8"]


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
def test_one_bad_reply_on_demand_costs_one_answer(sandbox: Sandbox, tmp_path: Path, model: str) -> None:
    sandbox.faults(rubbish_replies=2 * (RUBBISH + UNREADABLE))
    path = str(write_chats(tmp_path / "in.jsonl", 40))
    batch = batch_inference(path, model, completion_window="immediate")
    assert batch.status == "completed"
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(40)])
    assert len(errors) == 2 * len(UNREADABLE)
    assert {e["response"]["body"]["error"]["code"] for e in errors} == {"invalid_model_output"}
    assert {e["response"]["status_code"] for e in errors} == {502}
    texts = [line["response"]["body"]["choices"][0]["message"]["content"] for line in output]
    assert sum(text.startswith("\ufffd") for text in texts) == 4
    assert sum(text.startswith("\u2028\u2029\x85") for text in texts) == 2
    assert len(sandbox.read(batch.output_file).decode().splitlines()) == len(output)
    assert sum(line["response"]["body"]["usage"] is None for line in output) == 4
    assert [line["response"]["body"] for line in batch_output(batch.id)] == [
        line["response"]["body"] for line in output
    ]
    journal = sandbox.journal()
    assert (journal["paid"], journal["most_often"]) == (40, 1)
    assert batch_inference(path, model, completion_window="immediate") == batch
    assert sandbox.journal()["paid"] == 40


@pytest.mark.usefixtures("without_prefect")
def test_lost_replies_are_paid_for_a_bounded_number_of_times(sandbox: Sandbox, tmp_path: Path) -> None:
    path = str(write_chats(tmp_path / "in.jsonl", 3))
    sandbox.faults(lose_invoke_replies=1000)
    batch = batch_inference(path, CLAUDE, completion_window="immediate")
    said = [
        "^6 calls on demand were sent again after a lost reply; each may have been billed twice$",
    ]
    _, errors = account(sandbox, batch, ["req-0", "req-1", "req-2"], warnings=said)
    assert len(errors) == 3
    assert {error["response"]["status_code"] for error in errors} == {504}
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (9, 3)
    batch_inference(path, CLAUDE, completion_window="immediate")
    assert sandbox.journal()["paid"] == 9


@pytest.mark.usefixtures("without_prefect")
def test_a_few_lost_replies_cost_no_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(lose_invoke_replies=2, gateway_replies=2)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 20)), CLAUDE, completion_window="immediate")
    # Of four lost replies, three may be one request's: it is not sent a fourth time.
    output, _ = account(
        sandbox, batch, [f"req-{i}" for i in range(20)], warnings=["^[34] calls on demand were sent again"]
    )
    assert sandbox.journal()["most_often"] <= 3
    assert len(output) >= 19


def test_one_bad_line_of_a_job_costs_one_answer(sandbox: Sandbox, go: Any, prefix: str) -> None:
    """And is not asked again, nor called missing."""
    sandbox.faults(rubbish_outputs=RUBBISH + UNREADABLE)
    batch = Batch.model_validate(go(prefect=False).finish())
    _, errors = account(sandbox, batch, IDS)
    assert {e["response"]["body"]["error"]["code"] for e in errors} == {"invalid_model_output"}
    # Of two jobs. A modelOutput of null is none, and is asked again.
    assert len(errors) == 2 * (len(UNREADABLE) - 1)
    assert sandbox.journal()["paid"] == 202
    assert batch.status == "completed"
