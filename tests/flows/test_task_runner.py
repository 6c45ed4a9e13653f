"""Where mapped stages run: what the environment names, how many workers there are, and what a wrong word is told."""

import ctypes
import importlib
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from flows import runners
from flows.runners import TASK_RUNNER, begin_worker, chosen_task_runner, main_left_out, side_by_side_runner
from tasks.errors import ConfigurationError

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASK_RUNNER", "WORKERS"):
        monkeypatch.delenv(f"BEDROCK_BATCH_{name}", raising=False)


def test_processes_are_the_default_one_for_each_core() -> None:
    found = chosen_task_runner()
    assert type(found) is ProcessPoolTaskRunner
    assert (found._max_workers, found._initializer) == (CORES, begin_worker)
    assert type(TASK_RUNNER.duplicate()) is ProcessPoolTaskRunner


@pytest.mark.parametrize("kind", ["threads", " threads "])
def test_threads(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", kind)
    monkeypatch.setenv("BEDROCK_BATCH_WORKERS", "7")
    for found in (chosen_task_runner(), TASK_RUNNER.duplicate(), side_by_side_runner()):
        assert type(found) is ThreadPoolTaskRunner
        assert found._max_workers == 7


def test_cores_that_this_process_may_not_use_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 6})
    assert chosen_task_runner()._max_workers == 3


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5"])
def test_workers_are_a_positive_number(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_WORKERS", workers)
    with pytest.raises(
        ConfigurationError, match=f"BEDROCK_BATCH_WORKERS must be a positive whole number, not '{workers}'"
    ):
        chosen_task_runner()
    monkeypatch.setenv("BEDROCK_BATCH_WORKERS", "1")
    assert chosen_task_runner()._max_workers == 1


def test_what_is_no_runner_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "ray")
    with pytest.raises(ConfigurationError, match="must be processes, threads, dask or dask:ADDRESS, not 'ray'"):
        chosen_task_runner()


@pytest.mark.parametrize("make", [chosen_task_runner, side_by_side_runner])
def test_dask_is_a_cluster_of_ones_own_or_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    dask = pytest.importorskip("prefect_dask.task_runners")
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(dask, "DaskTaskRunner", lambda **given: made.append(given))
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "dask")
    monkeypatch.setenv("BEDROCK_BATCH_WORKERS", "3")
    make()
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "dask:tcp://host:8786")
    make()
    assert made == [
        {"cluster_kwargs": {"n_workers": 3, "threads_per_worker": 1, "processes": True}},
        {"address": "tcp://host:8786"},
    ]


def test_batches_side_by_side_share_no_pool_of_processes() -> None:
    assert type(side_by_side_runner()) is ThreadPoolTaskRunner


def test_the_main_module_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "script.py", raising=False)
    spec = main.__spec__
    with pytest.raises(KeyError, match="x"), main_left_out():
        assert main.__spec__ is None
        assert not hasattr(main, "__file__")
        raise KeyError("x")
    assert (main.__spec__, main.__file__) == (spec, "script.py")


class _Library:
    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []

    def mallopt(self, *given: int) -> None:
        self.told.append(given)


def test_a_process_that_only_runs_stages_holds_less(monkeypatch: pytest.MonkeyPatch) -> None:
    library, pools, found = _Library(), list[Any](), list[Any]()

    def array(_: Any) -> None:
        """pyarrow looks for pandas at its first array."""
        found.append(sys.meta_path[0])
        with pytest.raises(ImportError):
            importlib.import_module("pandas")

    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr("pyarrow.set_memory_pool", pools.append)
    monkeypatch.setattr("pyarrow.system_memory_pool", lambda: "the system's")
    monkeypatch.setattr("pyarrow.array", array)
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    before = list(sys.meta_path)
    runners.spare_memory()
    assert found == [runners._NoPandas]
    assert sys.meta_path == before, "who needs it later finds it"
    assert pools == ["the system's"]
    # M_ARENA_MAX of glibc's malloc.h: one arena.
    assert library.told == [(-8, 1)]
    monkeypatch.setitem(sys.modules, "pandas", sys)
    found.clear()
    runners.spare_memory()
    assert found == [], "it is there already"


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_a_c_library_that_cannot_be_told_is_no_error(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def missing(_: Any) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr("pyarrow.set_memory_pool", lambda _: None)
    runners.spare_memory()


def test_other_modules_are_found() -> None:
    assert runners._NoPandas.find_spec("pandas.core") is None
    assert runners._NoPandas.find_spec("json") is None


def test_a_worker_ends_with_the_process_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run must leave nothing behind that writes."""
    did: list[Any] = []

    class Thread:
        def __init__(self, target: Any, name: str, daemon: bool) -> None:
            self.target, self.daemon = target, daemon

        def start(self) -> None:
            did.append(("daemon", self.daemon))
            self.target()

    monkeypatch.setattr(runners, "spare_memory", lambda: did.append("spared"))
    monkeypatch.setattr("threading.Thread", Thread)
    monkeypatch.setattr("os._exit", lambda status: did.append(("exit", status)))
    parent = SimpleNamespace(join=lambda: did.append("its parent is gone"))
    monkeypatch.setattr("multiprocessing.parent_process", lambda: parent)
    begin_worker()
    assert did == ["spared", ("daemon", True), "its parent is gone", ("exit", 1)]
    did.clear()
    monkeypatch.setattr("multiprocessing.parent_process", lambda: None)
    begin_worker()
    assert did == ["spared"]


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "dask")
    with pytest.raises(ConfigurationError, match=r"BEDROCK_BATCH_TASK_RUNNER=dask needs .*'prefect-dask>=0\.3\.7'"):
        chosen_task_runner()
