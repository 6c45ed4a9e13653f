"""How a process that a command has started is ended."""

import subprocess
from typing import Any

import pytest

from deployments.processes import end


class _Process:
    """A process that ends when it is told to, or only when it is killed."""

    def __init__(self, *, deaf: bool = False, gone: bool = False, stdin: bool = True) -> None:
        self.did: list[Any] = []
        self._deaf, self._gone = deaf, gone
        self.stdin = self if stdin else None

    def close(self) -> None:
        self.did.append("closed")

    def terminate(self) -> None:
        self.did.append("terminated")
        if self._gone:
            raise ProcessLookupError

    def wait(self, seconds: float | None = None) -> None:
        self.did.append(("waited", seconds))
        if self._deaf and seconds is not None:
            raise subprocess.TimeoutExpired("x", seconds)

    def kill(self) -> None:
        self.did.append("killed")


@pytest.mark.parametrize(
    ("process", "did"),
    [
        (_Process(), ["closed", "terminated", ("waited", 20)]),
        (_Process(gone=True), ["closed", "terminated", ("waited", 20)]),
        (_Process(stdin=False), ["terminated", ("waited", 20)]),
        # And waited for: it must not be left as a zombie.
        (_Process(deaf=True), ["closed", "terminated", ("waited", 20), "killed", ("waited", None)]),
    ],
)
def test_a_process_is_asked_then_killed(process: Any, did: list[Any]) -> None:
    end(process, 20)
    assert process.did == did
