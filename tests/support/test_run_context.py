"""The log of several batches side by side: each line says whose it is."""

import logging
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW

from tasks.support.run_context import current_run, log_name, logs_kept_by, logs_named, run_log


def test_lines_begin_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_log().info("%s of %d", "one", 2)
    with logs_named("lite, 50 %"):
        run_log().info("%s of %d", "one", 2)
        run_log().warning("100 % done")
        with logs_named("judge"):
            run_log().error("no")
    run_log().info("end")
    assert caplog.messages == ["one of 2", "lite, 50 %: one of 2", "lite, 50 %: 100 % done", "judge: no", "end"]


def test_the_run_is_the_flows_or_that_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks in worker processes have no flow around them."""
    flow_run, task_run = uuid4(), uuid4()
    assert current_run() is None
    monkeypatch.setattr(FlowRunContext, "get", lambda: SimpleNamespace(flow_run=SimpleNamespace(id=flow_run)))
    monkeypatch.setattr(TaskRunContext, "get", lambda: SimpleNamespace(task_run=SimpleNamespace(flow_run_id=task_run)))
    assert current_run() == flow_run
    monkeypatch.setattr(FlowRunContext, "get", lambda: SimpleNamespace(flow_run=None))
    assert current_run() == task_run
    monkeypatch.setattr(FlowRunContext, "get", lambda: None)
    assert current_run() == task_run


def test_what_is_kept_by_another_log_and_for_how_long(caplog: pytest.LogCaptureFixture) -> None:
    kept = logging.LoggerAdapter(logging.getLogger("of-another-run"), {})
    before = PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW.value()
    with pytest.raises(KeyError), logs_kept_by(kept):
        # Prefect would warn of each task that it belongs to no run.
        assert PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW.value() == "ignore"
        run_log().warning("kept")
        with logs_named("lite"):
            assert log_name() == "lite"
            run_log().warning("named %s", "too")
        raise KeyError
    run_log().warning("ours")
    assert (PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW.value(), log_name()) == (before, "")
    assert [(each.name, each.getMessage()) for each in caplog.records] == [
        ("of-another-run", "kept"),
        ("of-another-run", "lite: named too"),
        ("bedrock-batch", "ours"),
    ]
