"""Flows and tasks called as the functions they are, without a Prefect engine or server.

For tests that are about what a batch does, not about what Prefect makes of it: a recorded run costs a second or two.
Stages then run one after the other and are not retried, and artifacts are made and thrown away.
"""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Flow, Task
from prefect.artifacts import Artifact
from prefect.utilities.callables import get_call_parameters

import tasks.poll


def _call_flow(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self.fn(**self.validate_parameters(get_call_parameters(self.fn, args, kwargs)))


def _call_task(self: Any, *args: Any, **kwargs: Any) -> Any:
    return self.fn(*args, **kwargs)


def _create(self: Any, **_: Any) -> Any:
    self.format()
    return SimpleNamespace(id=uuid.uuid4())


def call_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every flow and task called directly."""
    monkeypatch.setattr(Flow, "__call__", _call_flow)
    monkeypatch.setattr(Task, "__call__", _call_task)
    monkeypatch.setattr(Artifact, "create", _create)
    monkeypatch.setattr(tasks.poll, "update_progress_artifact", lambda *_, **__: None)
