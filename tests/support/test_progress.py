"""Bars on a terminal, and nothing where nobody watches."""

import io
import logging
import sys
import threading
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tasks.support import progress
from tasks.support.run_context import logs_named


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=140, theme=None), out


def test_a_bar_for_each_stage() -> None:
    console, out = terminal()
    with progress.display(console):
        with progress.stage("converting", 40_000):
            progress.advance(10_000)
            progress.advance(30_000)
        progress.set_price(2.0)
        with progress.stage("Bedrock jobs", unit="records"):
            progress.current().to(20_000, 40_000, progress.spent(0.5))
    text = out.getvalue()
    assert "converting" in text
    assert "40,000 of 40,000 requests" in text
    assert "20,000 of 40,000 records" in text
    assert "at most $1.00 so far" in text


def test_side_by_side_each_has_its_own() -> None:
    console, out = terminal()

    def batch(name: str, done: int) -> None:
        with logs_named(name), progress.display(), progress.stage("checking", 10):
            progress.advance(done)

    with progress.display(console):
        threads = [
            threading.Thread(target=copy_context().run, args=(batch, name, done)) for name, done in (("a", 3), ("b", 7))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    text = out.getvalue()
    assert "a: checking" in text
    assert "b: checking" in text
    assert "3 of 10 requests" in text
    assert "7 of 10 requests" in text


def test_what_is_counted_elsewhere_is_not_counted_twice() -> None:
    console, out = terminal()
    with progress.display(console), progress.stage("converting", 10, inside=False) as bar:
        progress.advance(10)
        bar.advance(4)
    assert "4 of 10 requests" in out.getvalue()
    assert "14 of" not in out.getvalue()


def test_nothing_where_nobody_watches() -> None:
    out = io.StringIO()
    with progress.display(), progress.stage("converting", 10) as bar:
        progress.advance(3)
        bar.to(5, 10)
    assert out.getvalue() == ""
    progress.advance()


def test_bytes_are_told_in_mebibytes() -> None:
    console, out = terminal()
    with progress.display(console), progress.stage("checking", 30 << 20, "bytes"):
        progress.advance(30 << 20)
    assert "30 of 30 MiB" in out.getvalue()


# What is where


class Bars:
    """Stands for rich's bars: notes what they are told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.tasks: list[Any] = []

    def start(self) -> None:
        self.told.append("start")

    def stop(self) -> None:
        self.told.append("stop")

    def add_task(self, name: str, **given: Any) -> int:
        self.told.append((name, given))
        self.tasks.append(SimpleNamespace(total=given["total"]))
        return 7

    def advance(self, id: int, amount: int) -> None:
        self.told.append((id, amount))

    def update(self, id: int, **given: Any) -> None:
        self.told.append((id, given))

    def stop_task(self, id: int) -> None:
        self.told.append(("stopped", id))


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Bars:
    made = Bars()
    monkeypatch.setattr(progress, "_bars", lambda console: made)
    return made


def test_one_display_for_all_that_is_within(bars: Bars) -> None:
    """Of several batches side by side, the last one that ends takes the bars down."""
    console, _ = terminal()
    styles = len(console._theme_stack._entries)
    with progress.display(console):
        assert len(console._theme_stack._entries) == styles + 1
        with progress.display(console):
            pass
        assert bars.told == ["start"]
    assert bars.told == ["start", "stop"]
    assert len(console._theme_stack._entries) == styles
    with pytest.raises(KeyError), progress.display(console):
        raise KeyError
    assert bars.told == ["start", "stop"] * 2, "and of one that failed as well"


def test_a_stage_that_ends_is_full_and_one_that_fails_is_not(bars: Bars) -> None:
    console, _ = terminal()
    with progress.display(console):
        with progress.stage("converting", 10):
            progress.advance()
            progress.advance(3)
        with pytest.raises(KeyError), progress.stage("checking", 5, "bytes"):
            raise KeyError
        with progress.stage("jobs") as bar:
            bar.to(2, 8, "note")
            bars.tasks[-1].total = 8
        # Outside of them there is no bar.
        progress.advance(99)
        assert progress.current() is progress._NONE
    assert bars.told == [
        "start",
        ("converting", {"total": 10, "unit": "requests", "note": ""}),
        (7, 1),
        (7, 3),
        (7, {"total": 10}),
        ("stopped", 7),
        ("checking", {"total": 5, "unit": "bytes", "note": ""}),
        ("stopped", 7),
        ("jobs", {"total": None, "unit": "requests", "note": ""}),
        (7, {"completed": 2, "total": 8, "note": "note"}),
        (7, {"total": 8}),
        ("stopped", 7),
        "stop",
    ]


def test_what_a_share_has_cost() -> None:
    def shares() -> list[str]:
        told = [progress.spent(0.5)]
        progress.set_price(0.0)
        told.append(progress.spent(0.5))
        progress.set_price(2468.0)
        told.append(progress.spent(0.25))
        progress.set_price(None)
        return [*told, progress.spent(1)]

    assert Context().run(shares) == ["", "at most $0.00 so far", "at most $617.00 so far", ""]


@pytest.mark.parametrize(
    ("unit", "done", "total", "speed", "finished", "text"),
    [
        ("requests", 1234, 40_000, 5678.4, None, "1,234 of 40,000 requests, 5,678/s"),
        ("requests", 1234, 40_000, 5678.4, 99.0, "1,234 of 40,000 requests, 99/s"),
        ("records", 5, None, None, None, "5 records"),
        ("bytes", 3 << 20, 30 << 20, 2 << 20, None, "3 of 30 MiB, 2/s"),
    ],
)
def test_an_amount_and_how_many_a_second(
    unit: str, done: float, total: float | None, speed: float | None, finished: float | None, text: str
) -> None:
    task: Any = SimpleNamespace(
        fields={"unit": unit}, completed=done, total=total, speed=speed, finished_speed=finished
    )
    assert progress._Amount().render(task).plain == text


class Handler(logging.Handler):
    def __init__(self, console: object) -> None:
        super().__init__()
        self.console = console


@pytest.mark.parametrize(
    ("console", "level", "watched"),
    [
        (Console(file=io.StringIO(), force_terminal=True), logging.INFO, True),
        # Quiet was asked for; the log goes into a file; a handler that is another's.
        (Console(file=io.StringIO(), force_terminal=True), logging.WARNING, False),
        (Console(file=io.StringIO()), logging.INFO, False),
        ("no console", logging.INFO, False),
    ],
)
def test_who_watches(monkeypatch: pytest.MonkeyPatch, console: Any, level: int, watched: bool) -> None:
    log = logging.getLogger("prefect")
    monkeypatch.setattr(log, "handlers", [logging.NullHandler(), Handler(console)])
    monkeypatch.setattr(progress, "_in_notebook", lambda: False)
    before = log.level
    log.setLevel(level)
    try:
        assert progress._watched() is (console if watched else None)
    finally:
        log.setLevel(before)


@pytest.mark.parametrize("installed", [True, False])
def test_a_notebook_takes_its_widgets(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """Without them rich would say at length that they are not there."""
    log = logging.getLogger("prefect")
    monkeypatch.setattr(log, "handlers", [Handler(Console(file=io.StringIO()))])
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        found = progress._watched()
    finally:
        log.setLevel(before)
    assert (found is not None and found.is_jupyter) is installed
