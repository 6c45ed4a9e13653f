"""What the C library does with freed memory."""

import contextlib
import ctypes
from functools import cache

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


_KEPT_BYTES, _LARGE_BYTES = 16 << 20, 8 << 20


@cache
def keep_freed_memory() -> None:
    """Use freed blocks again, where the C library can be told to: a stage works on one block after another.

    Otherwise glibc hands each block of a megabyte back, and every page of the next one is a page fault: a quarter of
    validation's time. Source: https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def release_memory() -> None:
    """Return freed memory to the system, at a stage's end: several processes of a run wait while one works."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
