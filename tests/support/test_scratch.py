"""No room for temporary files, or no folder for them: one line that names TMPDIR."""

import errno
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import ConfigurationError
from tasks.openai_format.requests import CHAT
from tasks.results.answers import Answers
from tasks.support.scratch import ScratchFile, scratch_folder
from tasks.validate import validate_input
from tests.conftest import write_chats


def test_what_is_written_is_there_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name even while it is open: a killed process leaves no prompts on the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ScratchFile() as file:
        assert file.write(b"abc" * 1000) == 3000
        file.seek(3)
        assert file.read(3) == b"abc"
        assert file.read_at(1, 4) == b"bcab"
        assert not list(tmp_path.iterdir())
    assert scratch_folder().name.startswith("bedrock-batch-")


@pytest.fixture
def no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    return tmp_path / "gone"


def test_a_missing_folder(no_folder: Path) -> None:
    for make in (ScratchFile, scratch_folder, lambda: Answers(0, np.ones(1, dtype=np.int64))):
        with pytest.raises(ConfigurationError, match="set TMPDIR") as caught:
            make()
        assert str(no_folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every write as a full disk does."""
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (open_full(), "/dev/null/none"))
    monkeypatch.setattr("tasks.support.scratch.os.unlink", lambda _: None)
    with ScratchFile() as file, pytest.raises(ConfigurationError, match=r"No space left on device.*set TMPDIR"):
        file.write(b"x")


def open_full() -> int:
    return os.open("/dev/full", os.O_RDWR)


def test_a_write_that_is_cut_short_is_not_taken_for_whole() -> None:
    """A disk that fills up takes a part of a write, without an error; so does a limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ScratchFile() as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
        try:
            with pytest.raises(ConfigurationError, match="File too large"):
                file.write(b"0123456789" * 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_validation_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_chats(tmp_path / "in.jsonl", 3)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tasks.validate.Validator._spill", full)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        validate_input(str(path), None, frozenset({CHAT}), tmp_path)
