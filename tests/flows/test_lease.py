"""Who lost the lease writes nothing that counts: drivers that are paused, wake late, or were killed in a container."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.operations import cancel_batch, collect_batches, list_batches
from tasks.batch import lease
from tasks.batch.paths import BatchRef
from tasks.batch.store import read
from tasks.openai_format.batch import Batch
from tasks.settings import load_settings
from tests.codecs.helpers import TOOL
from tests.conftest import CLAUDE, Sandbox, account, chat, write_chats, write_lines
from tests.flows.processes import ROOT, Nursery
from tests.waiting import until

pytestmark = [
    pytest.mark.usefixtures("without_prefect"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux shows them"),
]
#: A second of silence is enough.
SOON = {"tasks.batch.lease": {"TAKEOVER_SECONDS": 1.0, "_LOOK_SECONDS": 0.2}}
IDS = [f"req-{i}" for i in range(200)]

#: Where the driver is paused: the n-th call of an operation, on a key that holds a text, before or after it.
PAUSES: dict[str, tuple[str, int, str, str]] = {
    "before a shard is there": ("PutObject", 1, "/input/", "before"),
    "before an index is there": ("PutObject", 2, "/index/", "before"),
    "before the commit of the upload": ("HeadObject", 1, "/input/part-00001", "after"),
    "before a job": ("CreateModelInvocationJob", 1, "", "before"),
    "after a job": ("CreateModelInvocationJob", 2, "", "after"),
    "before what is asked again is there": ("PutObject", 1, "/again/", "before"),
    "before a piece of the results": ("PutObject", 1, "/results/", "before"),
    "before the output is there": ("PutObject", 1, "/output.jsonl", "before"),
}


def objects(sandbox: Sandbox, prefix: str) -> dict[str, str]:
    """Every object under a prefix, and its ETag."""
    pages = sandbox.s3.get_paginator("list_objects_v2").paginate(Bucket=sandbox.bucket, Prefix=prefix)
    return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}


def named(prefix: str) -> set[str]:
    """The keys that batch.json names: files, shards and indexes."""
    settings = load_settings()
    (batch,) = list_batches()
    ref = BatchRef(settings.root, batch.id)
    document = read(ref)
    files = {uri for uri in (document.output_file, document.error_file, document.parquet_file) if uri}
    from tasks.batch.paths import index_object, shard_object

    section = document.bedrock
    files |= {str(shard_object(ref, shard.id, shard.epoch)) for shard in section.shards or []}
    files |= {str(index_object(ref, range_)) for range_ in section.ranges}
    return {uri.removeprefix(f"s3://{settings.root.bucket}/") for uri in files} | {ref.document.key}


@pytest.mark.parametrize("pause", PAUSES)
def test_a_driver_that_wakes_late_changes_nothing(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, pause: str
) -> None:
    """Paused by SIGSTOP, relieved after its silence, and woken when the batch is over."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    sandbox.faults(record_errors={"rate": 0.05, "code": 429, "message": "slow down", "times": 1})
    path = str(write_chats(tmp_path / "in.jsonl", 200))
    operation, number, text, moment = PAUSES[pause]
    paused = runs.start(
        "batch_inference",
        path,
        CLAUDE,
        at=(operation, number, text),
        moment=moment,
        number=signal.SIGSTOP,
        prefect=False,
        poll_seconds=0.05,
    )
    paused.wait_until_stopped()
    try:
        other = runs.start("batch_inference", path, CLAUDE, patch=SOON, prefect=False, poll_seconds=0.05)
        batch = Batch.model_validate(other.finish())
        kept, before = named(prefix), objects(sandbox, prefix)
    finally:
        paused.kill(signal.SIGCONT)
    assert paused.wait() == 0
    assert paused.reply["error"] == "LostLeaseError", paused.log.read_text()[-3000:]
    after = objects(sandbox, prefix)
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}, "as the other left them"
    account(sandbox, batch, IDS)
    assert batch.request_counts.failed == 0
    journal = sandbox.journal()
    assert (journal["paid"], journal["most_often"]) == (200, 1)
    assert {job["status"] for job in sandbox.jobs(prefix)} == {"Completed"}


def test_a_driver_that_wakes_on_demand_pays_for_what_was_on_its_way(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most the calls that it had on their way when it was paused are made twice; none after it has woken."""
    monkeypatch.setenv("BEDROCK_BATCH_ON_DEMAND_CONCURRENCY", "4")
    path = str(write_chats(tmp_path / "in.jsonl", 90))
    # Without a heartbeat of its own in between: nothing but the question before a call tells it.
    patch = {"tasks.batch.lease": {"_DOUBT_SECONDS": 1.5}}
    paused = runs.start(
        "batch_inference",
        path,
        CLAUDE,
        completion_window="immediate",
        at=("InvokeModel", 30, ""),
        number=signal.SIGSTOP,
        patch=patch,
    )
    paused.wait_until_stopped()
    try:
        other = runs.start("batch_inference", path, CLAUDE, completion_window="immediate", patch=SOON)
        batch = Batch.model_validate(other.finish())
        kept, before = named(prefix), objects(sandbox, prefix)
        answers = {key: etag for key, etag in before.items() if "/on-demand/" in key}
        time.sleep(0.5)
    finally:
        paused.kill(signal.SIGCONT)
    assert paused.wait() == 0
    assert paused.reply["error"] == "LostLeaseError", paused.log.read_text()[-3000:]
    after = objects(sandbox, prefix)
    assert {key: after.get(key) for key in [*kept, *answers]} == {key: before[key] for key in [*kept, *answers]}
    account(sandbox, batch, IDS[:90])
    journal = sandbox.journal()
    assert journal["paid"] <= 90 + 4
    assert journal["most_often"] <= 2


def test_two_threads_of_one_process_do_not_both_drive(sandbox: Sandbox, tmp_path: Path) -> None:
    from flows.batch import batch_inference

    left = batch_inference(str(write_chats(tmp_path / "in.jsonl", 120)), CLAUDE, wait=False)
    ref = BatchRef(load_settings().root, left.id)
    for _ in range(5):
        held: list[lease.Lease] = []
        start, over = threading.Barrier(8), threading.Barrier(8)

        def drive(start: threading.Barrier = start, over: threading.Barrier = over, held: Any = held) -> None:
            start.wait(180)
            with lease.trying_to_hold(ref) as mine:
                if mine:
                    held.append(mine)
                over.wait(180)

        threads = [threading.Thread(target=drive) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(held) == 1
    assert read(ref).bedrock.lease.holder is None


@pytest.fixture
def in_a_container(sandbox: Sandbox, prefect_server: None, tmp_path: Path) -> Any:
    """Starts a driver in a PID namespace of its own, as containers have."""
    from prefect.settings import PREFECT_API_URL

    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--pid", "--fork", "true"], check=False, timeout=180).returncode:
        pytest.skip("this machine does not let a process have a PID namespace of its own")
    started = []

    def start(path: str) -> "subprocess.Popen[bytes]":
        command = [unshare, "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "flows.batch"]
        environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
        with (tmp_path / "container.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, path, "--model", CLAUDE, "--poll-seconds", "0.1"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(180)


@pytest.mark.parametrize("way", ["collector", "cancel_batch"])
def test_a_driver_killed_in_a_container_is_relieved(
    sandbox: Sandbox,
    tmp_path: Path,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    in_a_container: Callable[..., Any],
    way: str,
) -> None:
    sandbox.faults(hold=True)
    path = write_chats(tmp_path / "in.jsonl", 200)
    process = in_a_container(str(path))

    def in_progress() -> bool:
        assert process.poll() is None, (tmp_path / "container.log").read_text()[-2000:]
        return any(job["status"] == "InProgress" for job in sandbox.jobs(prefix))

    until(in_progress, "its job is in progress")
    (batch,) = collect_batches()
    assert batch.status == "in_progress", "it is alive, and left alone"
    process.kill()
    process.wait(180)
    monkeypatch.setattr(lease, "TAKEOVER_SECONDS", 2.0)
    if way == "collector":
        sandbox.faults(hold=False)

        def finished() -> Batch | None:
            return next((each for each in collect_batches() if each.finished), None)

        batch = until(finished, "the collector has taken it over")
        assert batch.status == "completed"
        assert batch.request_counts.completed == 200
    else:
        batch = cancel_batch(batch.id)
        assert batch.status == "cancelled"
        assert {job["status"] for job in sandbox.jobs(prefix)} == {"Stopped"}
    account(sandbox, batch, IDS)
    assert sandbox.journal()["most_often"] <= 1


def test_gathered_shards_are_not_written_again(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is paused while ranges are gathered into one job, and wakes when that is settled."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "180")
    lines = [chat(f"req-{i}", f"Question {i}", **({"tools": [TOOL]} if i % 3 == 2 else {})) for i in range(360)]
    path = str(write_lines(tmp_path / "in.jsonl", lines))
    model = "mistral.mistral-large-2407-v1:0"
    paused = runs.start(
        "batch_inference",
        path,
        model,
        at=("PutObject", 1, "/input/part-gathered"),
        number=signal.SIGSTOP,
        prefect=False,
        poll_seconds=0.05,
    )
    paused.wait_until_stopped()
    try:
        other = runs.start("batch_inference", path, model, patch=SOON, prefect=False, poll_seconds=0.05)
        batch = Batch.model_validate(other.finish())
        kept, before = named(prefix), objects(sandbox, prefix)
    finally:
        paused.kill(signal.SIGCONT)
    assert paused.wait() == 0
    assert paused.reply["error"] == "LostLeaseError", paused.log.read_text()[-3000:]
    after = objects(sandbox, prefix)
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}
    account(sandbox, batch, [f"req-{i}" for i in range(360)])
    assert sandbox.journal()["most_often"] == 1
