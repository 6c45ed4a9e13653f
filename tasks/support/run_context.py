"""The Prefect run that code runs in, and its log; also where there is none."""

import logging
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError


def current_run() -> UUID | None:
    """The Prefect flow run that this code runs in; None outside of one."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        return context.flow_run.id
    task_context = TaskRunContext.get()
    return task_context.task_run.flow_run_id if task_context is not None else None


def run_log() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """The run's logger, or a plain one outside of a run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("bedrock-batch")
