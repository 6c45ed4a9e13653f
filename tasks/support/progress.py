"""How far a run is, for whoever watches it: a bar for each stage on a terminal or in a notebook, else nothing.

Where nobody watches, the log has the same in lines. Stages say what they have done to the bar of their context; in
worker processes, which have none, that does nothing.
"""

import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text
from rich.theme import Theme

from tasks.support.run_context import log_name
from tasks.support.words import dollars

_KIB: Final = 1 << 10


class Stage:
    """The bar of one stage; it can be told from several threads."""

    def __init__(self, bars: Progress | None, id: TaskID | None) -> None:
        self._bars, self._id = bars, id

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        if self._bars is not None and self._id is not None:
            self._bars.advance(self._id, amount)

    def to(self, done: float, total: float | None = None, note: str = "") -> None:
        """So much is done, of so much."""
        if self._bars is not None and self._id is not None:
            self._bars.update(self._id, completed=done, total=total, note=note)


_NONE: Final = Stage(None, None)
_stage: ContextVar[Stage] = ContextVar("stage", default=_NONE)
#: What the run costs at the most.
_price: ContextVar[float | None] = ContextVar("price", default=None)


class _Display:
    """The bars of this process: of one run, or of several batches side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self.bars: Progress | None = None
        self._console: Console | None = None

    def open(self, console: Console | None) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1 or console is None:
                return
            # Prefect's own console has styles of its own only.
            console.push_theme(Theme())
            self._console, self.bars = console, _bars(console)
            self.bars.start()

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self.bars is None or self._console is None:
                return
            self.bars.stop()
            self._console.pop_theme()
            self.bars = self._console = None


_display: Final = _Display()


@contextmanager
def display(console: Console | None = None) -> Iterator[None]:
    """Show bars while this lasts, where somebody watches: on `console`, or where the log goes."""
    _display.open(console or _watched())
    try:
        yield
    finally:
        _display.close()


@contextmanager
def stage(name: str, total: float | None = None, unit: str = "requests", *, inside: bool = True) -> Iterator[Stage]:
    """A stage of the run, of so many units. `inside`: what it calls tells how far it is, by `advance`."""
    bars = _display.bars
    if bars is None:
        yield _NONE
        return
    of = log_name()
    id = bars.add_task(f"{of}: {name}" if of else name, total=total, unit=unit, note="")
    made = Stage(bars, id)
    token = _stage.set(made if inside else _NONE)
    try:
        yield made
        bars.update(id, total=bars.tasks[-1].total if total is None else total)
    finally:
        _stage.reset(token)
        bars.stop_task(id)


def advance(amount: int = 1) -> None:
    """So much more of this context's stage is done."""
    _stage.get().advance(amount)


def current() -> Stage:
    """The stage of this context."""
    return _stage.get()


def set_price(most: float | None) -> None:
    """What the run costs at the most: jobs tell their share of it."""
    _price.set(most)


def spent(share: float) -> str:
    """What a share of the run has cost, at the most; empty where no price is known."""
    most = _price.get()
    return "" if most is None else f"at most {dollars(most * share)} so far"


def _watched() -> Console | None:
    """Where the log goes, if that is a terminal or a notebook that can show bars."""
    if not logging.getLogger("prefect").isEnabledFor(logging.INFO):
        # Quiet was asked for.
        return None
    handlers = [handler for handler in logging.getLogger("prefect").handlers if hasattr(handler, "console")]
    console: Any = getattr(handlers[0], "console", None) if handlers else Console(stderr=True)
    if not isinstance(console, Console):
        return None
    if console.is_jupyter or _in_notebook():
        # Without it, rich says at length that it is not there.
        return Console(force_jupyter=True) if importlib.util.find_spec("ipywidgets") else None
    return console if console.is_terminal else None


def _in_notebook() -> bool:
    running = sys.modules.get("IPython")
    shell = running.get_ipython() if running is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class _Amount(ProgressColumn):
    """`12,000 of 40,000 requests`, and how many a second."""

    def render(self, task: Task) -> Text:
        unit, done, total = task.fields["unit"], task.completed, task.total
        scale, name = (_KIB * _KIB, "MiB") if unit == "bytes" else (1, unit)
        amount = f"{done / scale:,.0f}" + ("" if total is None else f" of {total / scale:,.0f}")
        speed = task.finished_speed or task.speed
        rate = "" if not speed else f", {speed / scale:,.0f}/s"
        return Text(f"{amount} {name}{rate}", style="progress.download")


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Amount(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=4,
    )
