"""Flows and tasks called as the functions they are, without a Prefect engine or server.

For tests that are about what a batch does, not about what Prefect makes of it: a recorded run costs a second or two.
Stages then run one after the other and are not retried, and artifacts are made and thrown away.
"""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

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


def call_directly(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have every flow and task called directly: in this process, or by a `replace` that takes it back."""
    replace(Flow, "__call__", _call_flow)
    replace(Task, "__call__", _call_task)
    replace(Artifact, "create", _create)
    replace(tasks.poll, "update_progress_artifact", lambda *_, **__: None)
