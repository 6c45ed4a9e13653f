"""Workers share nothing but S3: processes, threads and a Dask cluster give the same, and Prefect's part stays small."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.batch import batch_inference
from flows.runners import chosen_task_runner
from tasks.errors import ConfigurationError
from tests.conftest import CLAUDE, Sandbox, account, write_chats

pytestmark = pytest.mark.usefixtures("prefect_server")
IDS = [f"req-{i}" for i in range(400)]


@pytest.fixture
def cluster() -> Any:
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as ready:
        yield ready


def run_on(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str) -> tuple[bytes, list[Any]]:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", runner)
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", f"{os.environ['BEDROCK_BATCH_PREFIX']}-{runner[:4]}")
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 400)), CLAUDE, poll_seconds=0.05)
    account(sandbox, batch, IDS)
    table = pq.read_table(io.BytesIO(sandbox.read(batch.parquet_file))).drop_columns(["file"])
    bodies = [line["response"]["body"] for line in sandbox.lines(batch.output_file)]
    return str([{**body, "created": 0} for body in bodies]).encode(), table.to_pylist()


def test_processes_threads_and_dask_give_the_same(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    """A cluster that is there already is used unchanged: it is told by its address."""
    with monkeypatch.context() as patch:
        threads = run_on(sandbox, tmp_path, patch, "threads")
    with monkeypatch.context() as patch:
        assert run_on(sandbox, tmp_path, patch, "processes") == threads
    with monkeypatch.context() as patch:
        assert run_on(sandbox, tmp_path, patch, f"dask:{cluster.scheduler_address}") == threads
    assert sandbox.journal()["most_often"] == 3, "once on each"


@pytest.mark.parametrize(("name", "value"), [("BEDROCK_BATCH_TASK_RUNNER", "ray"), ("BEDROCK_BATCH_WORKERS", "none")])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        chosen_task_runner()


def test_prefect_keeps_little(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task runs grow with jobs, twice, and with nothing else; no parameters or results of size reach the database."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    batch_inference(str(write_chats(tmp_path / "in.jsonl", 2000)), CLAUDE, poll_seconds=5)
    assert len(sandbox.jobs(os.environ["BEDROCK_BATCH_PREFIX"])) == 20
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["batch-inference"])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])), limit=200)
    assert len(run.model_dump_json()) < 10_000
    # A million requests are twenty jobs of 50,000, as here of 100: convert and normalise for each, and some fifteen more.
    assert len(tasks) < 60
