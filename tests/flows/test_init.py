"""What importing the flows does: Prefect's server has time to start, and another project's `tasks` is named."""

import importlib.util
import os
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flows

VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("set_", "found"), [(None, "180"), ("7", "7")])
def test_a_temporary_server_has_time_to_start(monkeypatch: pytest.MonkeyPatch, set_: str | None, found: str) -> None:
    monkeypatch.setenv(VARIABLE, set_ or "")
    if set_ is None:
        monkeypatch.delenv(VARIABLE)
    runpy.run_path(str(ROOT / "flows" / "__init__.py"))
    assert os.environ[VARIABLE] == found


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (SimpleNamespace(submodule_search_locations=["/other/tasks"], origin="/other/tasks/__init__.py"), "/other/tasks/__init__.py"),
        # A folder without an __init__.py, a module, and nothing.
        (SimpleNamespace(submodule_search_locations=["/other/tasks"], origin=None), "/other/tasks"),
        (SimpleNamespace(submodule_search_locations=None, origin="/other/tasks.py"), "/other/tasks.py"),
        (None, "nothing"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_named(monkeypatch: pytest.MonkeyPatch, spec: Any, named: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ImportError) as caught:
        flows._require_our_tasks(ROOT)
    assert str(caught.value).startswith(f"{named} is in the way: the package `tasks` of bedrock-batch-pipeline is ")
    assert str(ROOT / "tasks") in str(caught.value)


def test_ours_beside_others_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace of several folders, of which one is ours."""
    both = SimpleNamespace(submodule_search_locations=["/other/tasks", str(ROOT / "tasks")], origin=None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: both)
    flows._require_our_tasks(ROOT)
