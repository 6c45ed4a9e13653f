"""What Prefect calls when a run is cancelled: its Bedrock jobs are stopped, and what was answered is collected.

Hooks run in another process than the run, with no memory of it. Prefect swallows what they raise, so all they do and
fail to do is said in the run's own log. Where no hook ever runs, the collector does the same.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from flows.noted_runs import end_cancelled, others_at_work
from flows.operations import cancel
from tasks.batch.paths import BatchRef
from tasks.batch.registry import batch_of_run, forget_run
from tasks.batch.result import result_of
from tasks.cancel import stop_batch
from tasks.openai_format.batch import Batch
from tasks.report import batch_markdown
from tasks.settings import load_settings
from tasks.support.run_context import logs_kept_by
from tasks.support.words import counted


class _Logs:
    """Says a thing in several runs' logs, under the name of the run it is about where that is another one."""

    def __init__(self, flow: Flow[..., Any], *flow_runs: FlowRun) -> None:
        about = flow_runs[-1]
        self._logs = [(flow_run_logger(run, flow), "" if run is about else f"{about.name}: ") for run in flow_runs]

    @property
    def own(self) -> logging.LoggerAdapter[Any]:
        """The log of the run that all is about."""
        return self._logs[-1][0]

    def say(self, text: str, *values: object, level: int = logging.INFO) -> None:
        for log, start in self._logs:
            log.log(level, "%s" + text, start, *values)

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Say what could not be done; the run's note leaves it to the collector."""
        try:
            yield
        except Exception as error:
            self.say(
                "The Bedrock jobs of this run may still be running (%s): the next collect-batches run stops them, or "
                "cancel-batch",
                error,
                level=logging.ERROR,
            )


def stop_on_cancel(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Cancelling a batch's run stops its jobs and collects what was answered."""
    logs = _Logs(flow, flow_run)
    with logs.failures():
        ref = _stop(flow_run, logs)
        if ref is not None:
            _collect(flow_run, ref, logs)


def stop_all_on_cancel(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancelling a comparison stops the jobs of all its variants, and collects what was answered."""
    log = _Logs(flow, flow_run)
    with log.failures():
        children = [(child, _Logs(flow, flow_run, child)) for child in _children(flow_run)]
        stopped: list[tuple[FlowRun, BatchRef, _Logs]] = []
        # All jobs cost money until they are stopped; what was answered can wait.
        for child, logs in children:
            with logs.failures():
                ref = _stop(child, logs)
                if ref is not None:
                    stopped.append((child, ref, logs))
        for child, ref, logs in stopped:
            with logs.failures():
                _collect(child, ref, logs)
        for child, _ in children:
            # A sub-flow's process was its parent's: nobody else would end it.
            end_cancelled([child, flow_run.model_copy(update={"state": state})], needed=[flow_run.id])


def _children(flow_run: FlowRun) -> list[FlowRun]:
    mine = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=mine)


def _stop(flow_run: FlowRun, logs: _Logs) -> BatchRef | None:
    """Stop the jobs that a cancelled run set going; returns its batch where there is something to collect."""
    ref = batch_of_run(flow_run.id)
    if ref is None:
        logs.say("The run was cancelled while it drove no batch: no job of its own runs on Bedrock")
        return None
    others = others_at_work(load_settings(), flow_run.id, ref.batch_id)
    if others:
        logs.say("Batch %s goes on: run %s works on it as well", ref.batch_id, others[0])
        forget_run(ref.root, flow_run.id)
        return None
    logs.say("Stopping the Bedrock jobs of batch %s", ref.batch_id)
    stop_batch(ref)
    return ref


def _collect(flow_run: FlowRun, ref: BatchRef, logs: _Logs) -> None:
    with logs_kept_by(logs.own):
        batch = cancel(ref)
    logs.say("Batch %s is %s", batch.id, batch.status)
    if batch.finished:
        _show(flow_run, batch)
        # Otherwise another runner collects, and the note has the collector see to it that it happens.
        forget_run(ref.root, flow_run.id)


def _show(flow_run: FlowRun, batch: Batch) -> None:
    """Show what was collected in the cancelled run itself: the hook runs outside of it."""
    artifact = ArtifactCreate(
        key="batch-summary",
        type="markdown",
        description=f"Batch {batch.id}, as it was collected after the run was cancelled",
        data=batch_markdown(result_of(batch)),
        flow_run_id=flow_run.id,
    )
    counts = batch.request_counts
    over = f"{batch.id}: {batch.status}, {counts.completed:,} of {counted(counts.total, 'request')} answered"
    mine = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]), key=ArtifactFilterKey(any_=["bedrock-jobs"])
    )
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)
        for progress in client.read_artifacts(artifact_filter=mine):
            # The run left it where it was when it was cancelled.
            client.update_artifact(progress.id, ArtifactUpdate(data=100.0, description=over))
