"""Waiting in tests: for what another process or the sandbox does, and never for ever."""

import contextlib
import time
from collections.abc import Callable
from typing import Any


def until(done: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
    """Wait, but not for ever, until something is true; returns it. What cannot be looked at yet is not true yet.

    What takes long is looked at less often: each look takes the processor from what is waited for.
    """
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        with contextlib.suppress(OSError):
            if found := done():
                return found
        time.sleep(min(0.05 + waited / 40, 0.5))
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")
