"""What the C library is told of freed memory; one that cannot be told is left as it is."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.support import memory


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    calls: list[tuple[int, ...]] = []
    library = SimpleNamespace(mallopt=lambda *call: calls.append(call), malloc_trim=lambda *call: calls.append(call))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(memory, "keep_freed_memory", memory.keep_freed_memory.__wrapped__)
    return calls


def test_freed_blocks_are_kept(told: list[tuple[int, ...]]) -> None:
    memory.keep_freed_memory()
    # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h.
    assert told == [(-3, 8 * 1024**2), (-1, 16 * 1024**2)]


def test_it_is_given_back_at_a_stages_end(told: list[tuple[int, ...]]) -> None:
    memory.release_memory()
    assert told == [(0,)]


def _missing(_: Any) -> Any:
    raise OSError("no C library")


@pytest.mark.parametrize("library", [_missing, lambda _: SimpleNamespace()])
def test_a_library_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    memory.keep_freed_memory()
    memory.release_memory()
