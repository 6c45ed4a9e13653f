"""What a stage has freed, given back to the system: several processes of a run wait while one works."""

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory to the system, where the C library can (glibc keeps it for later)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
