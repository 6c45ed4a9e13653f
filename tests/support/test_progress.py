"""Bars on a terminal, and nothing where nobody watches."""

import io
import threading
from contextvars import copy_context

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
