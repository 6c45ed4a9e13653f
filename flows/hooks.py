"""What Prefect calls when a run is cancelled: its Bedrock jobs are stopped, and what was answered is collected.

Hooks run in another process than the run, with no memory of it. Prefect swallows what they raise, so all they do and
fail to do is said in the run's own log. Where no hook ever runs, the collector does the same.
"""

import logging
from typing import Any

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from flows.noted_runs import end_cancelled, others_at_work
from flows.operations import cancel
from tasks.runs import batch_of_run, forget_run
from tasks.settings import load_settings


class _Logs:
    """Says a thing in several runs' logs, under the name of the run it is about where that is another one."""

    def __init__(self, flow: Flow[..., Any], *flow_runs: FlowRun) -> None:
        about = flow_runs[-1]
        self._logs = [(flow_run_logger(run, flow), "" if run is about else f"{about.name}: ") for run in flow_runs]

    def say(self, level: int, text: str, *values: object) -> None:
        for log, start in self._logs:
            log.log(level, "%s" + text, start, *values)


def stop_on_cancel(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Cancelling a batch's run stops its jobs and collects what was answered."""
    _stop(flow_run, _Logs(flow, flow_run))


def stop_all_on_cancel(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Cancelling a comparison stops the jobs of all its variants, and collects what was answered."""
    log = flow_run_logger(flow_run, flow)
    try:
        children = _children(flow_run)
    except Exception as error:
        log.error(
            "The batches of this comparison could not be found (%s): the next collect-batches run stops them, or "
            "cancel-batch for each", error,
        )  # fmt: skip
        return
    if not children:
        log.info("The comparison was cancelled before it began a batch: nothing runs on Bedrock")
    for child in children:
        _stop(child, _Logs(flow, flow_run, child))
        # A sub-flow's process is its parent's: nobody else would end it.
        end_cancelled([child, flow_run])


def _children(flow_run: FlowRun) -> list[FlowRun]:
    mine = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=mine)


def _stop(flow_run: FlowRun, logs: _Logs) -> None:
    """Stop what a cancelled run set going on Bedrock; what it cannot do is left to the collector, with the note."""
    try:
        ref = batch_of_run(flow_run.id)
        if ref is None:
            logs.say(logging.INFO, "The run was cancelled while it drove no batch: no job of its own runs on Bedrock")
            return
        others = others_at_work(load_settings(), flow_run.id, ref.batch_id)
        if others:
            logs.say(logging.INFO, "Batch %s goes on: run %s works on it as well", ref.batch_id, others[0])
        else:
            logs.say(logging.INFO, "Stopping the Bedrock jobs of batch %s", ref.batch_id)
            batch = cancel(ref)
            logs.say(logging.INFO, "Batch %s is %s", batch.id, batch.status)
            if not batch.finished:
                # Another runner collects; the note lets the collector see to it that it happens.
                return
        forget_run(ref.root, flow_run.id)
    except Exception as error:
        logs.say(
            logging.ERROR,
            "The Bedrock jobs of this run may still be running (%s): the next collect-batches run stops them, or "
            "cancel-batch", error,
        )  # fmt: skip
