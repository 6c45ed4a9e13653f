"""Temporary files: where there is no room for them, or no folder, it is said in one line, with the remedy."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import ConfigurationError

_PREFIX = "bedrock-batch-"


@contextlib.contextmanager
def scratch_space() -> Iterator[None]:
    """A block in which an OSError can only come from temporary files. Raises ConfigurationError."""
    try:
        yield
    except OSError as error:
        raise _no_scratch(error) from error


def scratch_folder() -> Path:
    """A folder of its own, for whoever made it to remove. Raises ConfigurationError."""
    with scratch_space():
        return Path(tempfile.mkdtemp(prefix=_PREFIX))


class ScratchFile(io.FileIO):
    """An unnamed file, gone when it is closed."""

    def __init__(self) -> None:
        with scratch_space():
            number, path = tempfile.mkstemp(prefix=_PREFIX)
            os.unlink(path)
            super().__init__(number, "w+b")

    def write(self, data: Any, /) -> int:
        """Write all of it: a disk that fills up takes a part, and says so at the next write only."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with scratch_space():
            while rest:
                rest = rest[super().write(rest) :]
        return size

    def read_at(self, offset: int, size: int) -> bytes:
        """Some of what was written."""
        return os.pread(self.fileno(), size, offset)


def _no_scratch(error: OSError) -> ConfigurationError:
    # Python settles on a folder at the first use; where it found none, TMPDIR is all there is to name.
    folder = tempfile.tempdir or os.environ.get("TMPDIR") or "any of the system's folders for them"
    return ConfigurationError(
        f"Temporary files cannot be kept in {folder} ({error.strerror or type(error).__name__}): make room there, or "
        "set TMPDIR to a folder that exists and has room, then repeat the same call; it resumes."
    )
