"""The pipeline as it is operated: a Prefect server of its own, a worker, schedules; and servers and workers that die."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from flows.batch import batch_inference
from flows.operations import collect_batches, list_batches
from tasks.openai_format.batch import Batch
from tests.conftest import CLAUDE, LLAMA, NOVA, Sandbox, account, write_chats
from tests.flows.processes import processes_with
from tests.waiting import until

# What this process itself calls, it calls without an engine, whose threads would wait for a server that is gone by then.
pytestmark = [
    pytest.mark.usefixtures("without_prefect"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
ROOT = Path(__file__).resolve().parents[1]
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]


class Operated:
    """A Prefect server that can be killed and started again, with what prefect.yaml deploys."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.home = home
        self._server: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        #: Found in the environment of every process that belongs to this server.
        self.mark = f"OPERATED={uuid.uuid4().hex}"
        self._started: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        own = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
            "PWD": str(ROOT),
            # A schedule makes few runs ahead: all that it made are run, and SQLite bears only so many at a time.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "0:00:20",
        }
        return {**os.environ, **own, **dict([self.mark.split("=", 1)])}

    def _popen(self, command: list[str], log: str) -> "subprocess.Popen[bytes]":
        with (self.home / log).open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self._started.append(process)
        return process

    def start(self) -> None:
        server = self._popen([*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port)], "server")
        self._server = server

        def answers() -> bool:
            assert server.poll() is None, (self.home / "server").read_text()[-2000:]
            with urllib.request.urlopen(f"{self.api}/health", timeout=5) as reply:
                return bool(reply.status == 200)

        until(answers, "the Prefect server answers")

    def kill(self) -> None:
        """As a machine that fails kills it."""
        assert self._server is not None
        self._server.kill()
        self._server.wait(180)

    def prefect(self, *arguments: str) -> None:
        done = subprocess.run(
            [*PREFECT, *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def work(self) -> None:
        """Have a worker: it takes seconds to start, and lives until a test kills it."""
        if self._worker is None:
            command = [*PREFECT, "worker", "start", "--pool", "bedrock-batch", "--type", "process"]
            self._worker = self._popen(command, "worker")

    def kill_worker(self) -> None:
        assert self._worker is not None
        self._worker.kill()
        self._worker.wait(180)
        self._worker = None

    def processes(self, text: str) -> set[int]:
        """Processes of ours by a text in their environment: those of one run, or of all runs with a prefix."""
        return set(processes_with(self.mark)) & set(processes_with(text))

    def kill_all(self, text: str) -> None:
        for pid in self.processes(text):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        for pid in processes_with(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait(180)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    operated = Operated(tmp_path_factory.mktemp("prefect"))
    try:
        operated.start()
        with temporary_settings({PREFECT_API_URL: operated.api}), get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name="bedrock-batch", type="process"))
            operated.prefect("deploy", "--all")
            # Its schedule is five minutes; the test that is about it sets a shorter one.
            collect = client.read_deployment_by_name("collect-batches/collect")
            assert [schedule.active for schedule in collect.schedules] == [True]
            client.pause_deployment(collect.id)
        operated.prefect("automation", "create", "--from-file", "deployments/automations/crashed_runs.yaml")
        yield operated
    finally:
        operated.stop()


@pytest.fixture
def client(server: Operated, sandbox: Sandbox, without_prefect: None) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: server.api}), get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def worker(server: Operated, client: SyncPrefectClient) -> None:
    server.work()


def started(deployment: str, **parameters: Any) -> uuid.UUID:
    """A run of a deployment, under this test's own prefix: the worker is another test's."""
    variables = {"env": {"BEDROCK_BATCH_PREFIX": os.environ["BEDROCK_BATCH_PREFIX"]}}
    call: Any = run_deployment
    run: FlowRun = call(deployment, parameters={"poll_seconds": 0.5, **parameters}, timeout=0, job_variables=variables)
    return run.id


def ended(client: SyncPrefectClient, run: uuid.UUID, *kinds: str, seconds: float = 240.0) -> FlowRun:
    """Wait until a run is in a state of one of these types, and nowhere else for good."""

    def look() -> FlowRun | None:
        flow_run = client.read_flow_run(run)
        assert flow_run.state is not None
        return flow_run if flow_run.state.type.value in kinds else None

    found: FlowRun = until(look, f"run {run} is {kinds}", seconds)
    return found


def notes(sandbox: Sandbox, prefix: str) -> list[str]:
    return sandbox.keys(f"{prefix}/runs/")


def logs(client: SyncPrefectClient, run: uuid.UUID) -> list[str]:
    return [log.message for log in client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))]


def children(client: SyncPrefectClient, run: uuid.UUID) -> list[FlowRun]:
    mine = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
    return client.read_flow_runs(flow_run_filter=mine)


def artifacts(client: SyncPrefectClient, run: uuid.UUID) -> dict[str | None, Artifact]:
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    return {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=mine)}


def test_what_is_deployed(client: SyncPrefectClient) -> None:
    deployments = {each.name: each for each in client.read_deployments()}
    assert {"check", "doctor", "estimate", "cancel", "show", "list", "compare"} <= deployments.keys()
    # Prefect keeps the slots of such a limit in the server's memory; five minutes after a restart, their runs are killed.
    assert not [name for name, each in deployments.items() if each.global_concurrency_limit or each.concurrency_options]
    queues = {name: each.work_queue_name for name, each in deployments.items()}
    assert (queues["openai-batch"], queues["collect"], queues["cancel"]) == ("default", "operations", "operations")
    deployment = deployments["openai-batch"]
    assert deployment.description
    assert set(deployment.tags) == {"bedrock", "openai"}
    assert [schedule.active for schedule in deployment.schedules] == [False]
    properties = (deployment.parameter_openapi_schema or {})["properties"]
    assert properties["on_invalid"]["enum"] == ["fail", "skip"]
    assert "s3:// URI" in properties["input_file"]["description"]


def held(sandbox: Sandbox, prefix: str, tmp_path: Path) -> tuple[uuid.UUID, uuid.UUID]:
    """Runs of a batch (`in.jsonl`) and of a comparison, whose jobs go on until the sandbox is told otherwise."""
    sandbox.faults(hold=True)
    path, other = write_chats(tmp_path / "in.jsonl", 110), write_chats(tmp_path / "compared.jsonl", 105)
    one = started("batch-inference/openai-batch", input_file=str(path), model=CLAUDE)
    two = started("compare-models/compare", input_file=str(other), models=[NOVA, LLAMA], reference=None)
    sandbox.wait_for_jobs(prefix, 3)
    return one, two


def test_runs_live_through_a_restart_of_the_server(
    server: Operated, client: SyncPrefectClient, worker: None, sandbox: Sandbox, prefix: str, tmp_path: Path
) -> None:
    one, two = held(sandbox, prefix, tmp_path)
    server.kill()
    server.start()
    sandbox.faults(hold=False)
    runs = [ended(client, run, "COMPLETED", "FAILED", "CRASHED") for run in (one, two)]
    assert [(run.state_name, run.run_count) for run in runs] == [("Completed", 1)] * 2
    batches = list_batches.fn()
    assert [batch.status for batch in batches] == ["completed"] * 3
    account(sandbox, next(batch for batch in batches if batch.model == CLAUDE), [f"req-{i}" for i in range(110)])
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (320, 1)
    assert notes(sandbox, prefix) == []
    assert {"batch-summary", "bedrock-jobs"} <= artifacts(client, one).keys()


def test_schedules_alone_take_a_batch_to_its_end(
    client: SyncPrefectClient, worker: None, sandbox: Sandbox, prefix: str, tmp_path: Path
) -> None:
    """Submitted and left: nobody but `collect`, by its schedule, does anything from then on."""
    sandbox.faults(hold=True)
    path = write_chats(tmp_path / "in.jsonl", 110)
    collect = client.read_deployment_by_name("collect-batches/collect")
    batch = batch_inference(str(path), CLAUDE, wait=False)
    assert batch.status == "in_progress"
    assert notes(sandbox, prefix) == []
    client.update_deployment(collect.id, DeploymentUpdate(job_variables={"env": {"BEDROCK_BATCH_PREFIX": prefix}}))
    every: Any = IntervalSchedule(interval=timedelta(seconds=15))
    (schedule,) = client.create_deployment_schedules(collect.id, [(every, True)])
    client.resume_deployment(collect.id)
    try:
        sandbox.faults(hold=False)

        def finished() -> Batch | None:
            (batch,) = list_batches.fn()
            return batch if batch.finished else None

        batch = until(finished, "the batch is finished")
    finally:
        client.pause_deployment(collect.id)
        client.delete_deployment_schedule(collect.id, schedule.id)
    assert batch.status == "completed"
    account(sandbox, batch, [f"req-{i}" for i in range(110)])
    assert sandbox.journal()["most_often"] == 1
    assert sandbox.keys(f"{prefix}/open/") == []


def test_cancelled_runs_and_what_their_hooks_say_in_their_logs(
    client: SyncPrefectClient, worker: None, sandbox: Sandbox, prefix: str, tmp_path: Path
) -> None:
    one, two = held(sandbox, prefix, tmp_path)
    assert len(notes(sandbox, prefix)) == 3
    for run in (one, two):
        client.set_flow_run_state(run, Cancelling())
    for run in (one, two):
        ended(client, run, "CANCELLED", "CRASHED", "COMPLETED")
    assert {job["status"] for job in sandbox.jobs(prefix)} == {"Stopped"}
    by_model = {batch.model: batch for batch in list_batches.fn()}
    # The hook has collected what was answered before the run was called cancelled.
    assert {batch.status for batch in by_model.values()} == {"cancelled"}
    assert [client.read_flow_run(run).state_name for run in (one, two)] == ["Cancelled"] * 2
    said = [(one, f"Batch {by_model[CLAUDE].id} is cancelled")]
    said += [(two, f"{model}: Batch {by_model[model].id} is cancelled") for model in (NOVA, LLAMA)]
    for run, text in said:
        # Prefect sends logs some time after they are written.
        until(lambda run=run, text=text: text in logs(client, run), f"a log has: {text}")  # type: ignore[misc]
    # The sub-flows, whose process was their parent's, are over as well.
    assert {child.state_name for child in children(client, two)} == {"Cancelled"}
    assert notes(sandbox, prefix) == []
    # The bar is over when the run is, and the summary says what was collected.
    shown = artifacts(client, one)
    assert shown["bedrock-jobs"].data == 100
    assert "cancelled" in str(shown["bedrock-jobs"].description)
    assert "cancelled" in str(shown["batch-summary"].data)
    # The same call finds what was collected, and asks for nothing.
    collected = batch_inference(str(tmp_path / "in.jsonl"), CLAUDE, poll_seconds=0.2)
    assert collected.status == "cancelled"
    account(sandbox, collected, [f"req-{i}" for i in range(110)])


def test_a_crashed_run_carries_on(
    server: Operated, client: SyncPrefectClient, worker: None, sandbox: Sandbox, prefix: str, tmp_path: Path
) -> None:
    """By the automation that is shipped, which does what Retry does in the UI; for a comparison as well."""
    one, two = held(sandbox, prefix, tmp_path)
    for run in (one, two):
        server.kill_all(str(run))
    for run in (one, two):
        until(
            lambda run=run: client.read_flow_run(run).run_count >= 2,  # type: ignore[misc]
            "the run is begun anew",
        )
    sandbox.faults(hold=False)
    for run in (one, two):
        assert ended(client, run, "COMPLETED", "FAILED").state_name == "Completed"
    # A worker reports a crash twice, the second time some seconds later, and each time the run is begun anew.
    for run in (one, two):
        until(lambda run=run: not server.processes(str(run)), "no process of the run is left")  # type: ignore[misc]
    # The notes of the processes that were killed are left to the collector.
    collect_batches()
    assert [batch.status for batch in list_batches.fn()] == ["completed"] * 3
    assert (sandbox.journal()["paid"], sandbox.journal()["most_often"]) == (320, 1)
    assert notes(sandbox, prefix) == []


def test_cancelling_a_run_whose_worker_is_dead(
    server: Operated, client: SyncPrefectClient, worker: None, sandbox: Sandbox, prefix: str, tmp_path: Path
) -> None:
    """No hook ever runs: the collector stops the jobs, collects, and lets the runs end."""
    one, two = held(sandbox, prefix, tmp_path)
    spared = write_chats(tmp_path / "spared.jsonl", 120)
    three = started("batch-inference/openai-batch", input_file=str(spared), model=NOVA)
    sandbox.wait_for_jobs(prefix, 4)
    server.kill_worker()
    server.kill_all(f"BEDROCK_BATCH_PREFIX={prefix}")
    for run in (one, two):
        client.set_flow_run_state(run, Cancelling())
    # One pass stops the jobs; what became of them is seen by the next one at the latest.
    collect_batches()
    until(lambda: all(job["status"] != "Stopping" for job in sandbox.jobs(prefix)), "the jobs have stopped")
    collect_batches()
    found = {(batch.model, batch.request_counts.total): batch for batch in list_batches.fn()}
    assert {key: batch.status for key, batch in found.items()} == {
        (CLAUDE, 110): "cancelled",
        (NOVA, 105): "cancelled",
        (LLAMA, 105): "cancelled",
        (NOVA, 120): "in_progress",
    }
    assert sorted(job["status"] for job in sandbox.jobs(prefix)) == ["InProgress", "Stopped", "Stopped", "Stopped"]
    account(sandbox, found[CLAUDE, 110], [f"req-{i}" for i in range(110)])
    ends = [client.read_flow_run(run).state_name for run in (one, two)]
    assert ends + [child.state_name for child in children(client, two)] == ["Cancelled"] * 4
    # Of the third run nothing is known but that Prefect calls it running.
    assert notes(sandbox, prefix) == [f"{prefix}/runs/{three}.json"]
