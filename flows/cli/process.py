"""What a command does to its process: signals that end it in order, the Prefect server it needs, the sandbox."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import urlsplit

from tasks.errors import PipelineError

#: What a report made in the sandbox says at its top.
SYNTHETIC = (
    "Synthetic: this ran in the local sandbox. The answers are made up, and so are the differences between the models; "
    "the prices are real ones, applied to made-up token counts."
)


class _Signalled(KeyboardInterrupt):
    """A signal asked this process to end: Ctrl-C by other means."""

    def __init__(self, number: int) -> None:
        self.number = number


def end_in_order() -> None:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does: Python exits, and stops what it started.

    Prefect's temporary server is stopped when Python exits, which a plain SIGTERM would not let it do. While a flow
    runs, Prefect has a handler of its own, which calls this one in the end.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        for each in numbers:
            # Once is enough: a second one must not cut the tidying up short.
            signal.signal(each, signal.SIG_IGN)
        raise _Signalled(number)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            # `nohup` has the terminal's end ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status, as shells have it."""
    return 128 + (error.number if isinstance(error, _Signalled) else signal.SIGINT)


def require_server() -> None:
    """Raise PipelineError where the Prefect server that is set does not answer: a run would end in a traceback."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        with get_client(sync_client=True) as client:
            problem: Exception | None = client.api_healthcheck()
    except ValueError as error:
        problem = error
    if problem is None:
        return
    parts = urlsplit(url)
    # A password may stand in it.
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    raise PipelineError(
        f"The Prefect server at {place} (PREFECT_API_URL) does not answer ({type(problem).__name__}): start it, or run "
        "without one: `unset PREFECT_API_URL`, or `prefect config unset PREFECT_API_URL` where a profile sets it."
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of a run's log is not just what the command says at its end, in one line: an expected error."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, PipelineError):
        return False
    return not record.getMessage().startswith("Finished in state Failed(")


@contextlib.contextmanager
def surroundings(*, sandbox: bool = False, quiet: bool = False, server: bool = True) -> Iterator[None]:
    """A block in which flows run: with a log, in the sandbox if that is wanted, and ended in order by signals.

    Raises PipelineError where the Prefect server that is set does not answer.
    """
    # Prefect reads it once, when it is imported.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR" if quiet else "INFO")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        # Prefect logs what a run raises, with a traceback of its own engine.
        logging.getLogger(name).addFilter(_is_news)
    end_in_order()
    with _sandbox() if sandbox else contextlib.nullcontext():
        if server:
            require_server()
        yield


@contextlib.contextmanager
def _sandbox() -> Iterator[None]:
    from deployments.sandbox import NOTICE, running

    print(NOTICE, file=sys.stderr)
    # Nothing leaves this machine; a temporary Prefect server would say at length that its telemetry failed.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with running():
        yield
