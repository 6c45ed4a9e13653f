"""Signals, the server that must answer, and what of a run's log is news."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flows.cli import process
from flows.cli.process import _is_news, _Signalled, end_in_order, require_server, status_of, surroundings
from tasks.errors import PipelineError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What signals do, as it was."""
    kept = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_interrupt_of_its_own_status(number: signal.Signals) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    end_in_order()
    with pytest.raises(KeyboardInterrupt) as caught:
        signal.raise_signal(number)
    assert status_of(caught.value) == 128 + number
    # A second one does not cut the tidying up short.
    for each in SIGNALS:
        assert signal.getsignal(each) is signal.SIG_IGN
        signal.raise_signal(each)


def test_exit_statuses_are_those_of_shells() -> None:
    assert status_of(KeyboardInterrupt()) == 130
    assert status_of(_Signalled(15)) == 143


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_in_order()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_other_threads_leave_signals_alone() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=end_in_order)
    thread.start()
    thread.join(60)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    info: Any = (type(error), error, None) if error else None
    return logging.LogRecord("n", logging.ERROR, "p", 1, message, (), info)


@pytest.mark.parametrize(
    ("given", "news"),
    [
        (record("Job submitted"), True),
        (record("Encountered an exception", ValueError("x")), True),
        (record("Encountered an exception", PipelineError("x")), False),
        (record("Finished in state Failed('x')"), False),
        (record("Finished in state Completed()"), True),
    ],
)
def test_what_is_news(given: logging.LogRecord, news: bool) -> None:
    assert _is_news(given) is news


class _Client:
    def __init__(self, problem: Exception | None) -> None:
        self.problem = problem

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None: ...

    def api_healthcheck(self) -> Exception | None:
        if isinstance(self.problem, ValueError):
            raise self.problem
        return self.problem


@pytest.mark.parametrize("problem", [ConnectionError("no"), ValueError("no URL")])
def test_a_server_that_does_not_answer(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr("prefect.get_client", lambda **_: _Client(problem))
    password = temporary_settings({PREFECT_API_URL: "http://user:secret@host:4200/api"})
    with password, pytest.raises(PipelineError) as caught:
        require_server()
    assert str(caught.value).startswith(
        f"The Prefect server at http://host:4200/api (PREFECT_API_URL) does not answer ({type(problem).__name__}): "
    )
    assert "secret" not in str(caught.value)


def test_a_server_that_answers_or_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr("prefect.get_client", lambda **_: _Client(None))
    with temporary_settings({PREFECT_API_URL: "http://host:4200/api"}):
        require_server()
    monkeypatch.setattr("prefect.get_client", lambda **_: pytest.fail("none is asked"))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        require_server()


@pytest.mark.parametrize(("quiet", "level"), [(False, "INFO"), (True, "ERROR")])
def test_surroundings(quiet: bool, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(process, "require_server", lambda: asked.append("server"))
    # Set and deleted: so it is put back, whatever the block sets.
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "x")
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL")
    try:
        with surroundings(quiet=quiet, server=False):
            assert os.environ["PREFECT_LOGGING_LEVEL"] == level
            assert asked == []
            assert _is_news in logging.getLogger("prefect.flow_runs").filters
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
        with surroundings(quiet=quiet):
            assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG", "the user's own"
            assert asked == ["server"]
    finally:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).removeFilter(_is_news)


def test_the_sandbox_is_around_it_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.sandbox import NOTICE

    did: list[str] = []

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        did.append("sandbox")
        yield
        did.append("end of sandbox")

    monkeypatch.setattr("deployments.sandbox.running", running)
    monkeypatch.setattr(process, "require_server", lambda: did.append("server"))
    monkeypatch.setattr(process, "end_in_order", lambda: did.append("signals"))
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    try:
        with surroundings():
            assert "PREFECT_SERVER_ANALYTICS_ENABLED" not in os.environ, "the user's own"
        assert did == ["signals", "server"]
        did.clear()
        assert capsys.readouterr().err == ""
        with surroundings(sandbox=True):
            # Nothing leaves this machine.
            assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
            did.append("block")
            for name in ("prefect.flow_runs", "prefect.task_runs"):
                assert _is_news in logging.getLogger(name).filters
    finally:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).removeFilter(_is_news)
    assert did == ["signals", "sandbox", "server", "block", "end of sandbox"]
    assert capsys.readouterr() == ("", f"{NOTICE}\n"), "standard output is for the result"
