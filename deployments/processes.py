"""Processes that a command of ours has started: their end."""

import contextlib
import subprocess


def end(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Close its input and ask it to end; kill it where it has not after so many seconds."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
