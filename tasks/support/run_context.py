"""The Prefect run that code runs in, and its log; also where there is none."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings


def current_run() -> UUID | None:
    """The Prefect flow run that this code runs in; None outside of one."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        return context.flow_run.id
    task_context = TaskRunContext.get()
    return task_context.task_run.flow_run_id if task_context is not None else None


#: What the lines of this context's log begin with.
_name: ContextVar[str] = ContextVar("log_name", default="")


@contextmanager
def logs_named(name: str) -> Iterator[None]:
    """Let every line that is logged herein begin with a name: of one of several batches that share a log."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def log_name() -> str:
    """What the lines of this context's log begin with; empty where there is one batch."""
    return _name.get()


#: The log of the run that this context works for, where it runs outside of it.
_log: ContextVar[logging.LoggerAdapter[Any] | None] = ContextVar("log", default=None)


@contextmanager
def logs_kept_by(log: logging.LoggerAdapter[Any]) -> Iterator[None]:
    """Let what is logged herein be in the log of a flow run that this process is not: Prefect would send it nowhere."""
    token = _log.set(log)
    try:
        # Of the tasks' own begin and end Prefect would warn that they are no flow run's.
        with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
            yield
    finally:
        _log.reset(token)


class _NamedLog(logging.LoggerAdapter[Any]):
    """Puts a name before each line."""

    def __init__(self, log: Any, name: str) -> None:
        super().__init__(log, {})
        self._name = name

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        line = f"%s: {msg}" if args else "%s: %s"
        self.logger.log(level, line, self._name, *(args or (msg,)), **kwargs)


def run_log() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """The run's logger, or a plain one outside of a run."""
    log: logging.Logger | logging.LoggerAdapter[Any]
    try:
        log = _log.get() or get_run_logger()
    except MissingContextError:
        log = logging.getLogger("bedrock-batch")
    name = _name.get()
    return _NamedLog(log, name) if name else log
