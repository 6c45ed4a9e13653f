"""Where mapped stages run: worker processes, threads, or a Dask cluster, by a setting."""

import contextlib
import ctypes
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from tasks.errors import ConfigurationError

#: `processes` (the default), `threads`, `dask` for a temporary local cluster, or `dask:ADDRESS` of a scheduler.
TASK_RUNNER_VARIABLE = "BEDROCK_BATCH_TASK_RUNNER"
#: Workers of the first two, and of a temporary cluster; by default one for each core that this process may use.
WORKERS_VARIABLE = "BEDROCK_BATCH_WORKERS"


_M_ARENA_MAX = -8


class ChosenTaskRunner(ThreadPoolTaskRunner[Any]):
    """Stands in a flow's definition for the runner that the environment names when a run starts."""

    def duplicate(self) -> Any:
        """What the flow engine calls for each run."""
        return chosen_task_runner()


def chosen_task_runner() -> Any:
    """The task runner that the environment names. Raises ConfigurationError.

    Workers share nothing but S3: each gets a byte range of the input, so any engine that Prefect speaks to will do.
    """
    wanted = os.environ.get(TASK_RUNNER_VARIABLE, "").strip() or "processes"
    kind, _, address = wanted.partition(":")
    workers = _workers()
    if kind == "processes":
        return ProcessPoolTaskRunner(max_workers=workers, initializer=begin_worker)
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if kind == "dask":
        return _dask(address, workers)
    raise ConfigurationError(
        f"{TASK_RUNNER_VARIABLE} must be processes, threads, dask or dask:ADDRESS, not {wanted!r}."
    )


def side_by_side_runner() -> Any:
    """The runner of batches that share a process with others: a pool of processes for each would fill the memory."""
    kind = os.environ.get(TASK_RUNNER_VARIABLE, "").strip().partition(":")[0]
    return chosen_task_runner() if kind == "dask" else ThreadPoolTaskRunner(max_workers=_workers())


#: For `@flow(task_runner=...)`.
TASK_RUNNER: Any = ChosenTaskRunner()


@contextlib.contextmanager
def main_left_out() -> Iterator[None]:
    """Start worker processes that do not import the program's main module.

    They need nothing of it, and a script that calls a flow without `if __name__ == "__main__"` would call it again in
    every worker.
    """
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    main.__spec__ = None
    if file is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


class _NoPandas(MetaPathFinder):
    """Finds no pandas."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG003
        if fullname == "pandas":
            raise ImportError("left out of this process")


def spare_memory() -> None:
    """Let a process that only runs stages hold less: 80 MB of a worker's 250.

    pyarrow imports pandas (45 MB) at its first array, unless it finds none then; where it cannot do without it, it
    imports it later all the same. Its own allocator, and glibc's arenas for each thread, keep what was freed.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([None])
        finally:
            sys.meta_path.remove(_NoPandas)
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def begin_worker() -> None:
    """End this worker process when the run's process is gone: a killed run must leave nothing behind that writes."""
    spare_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name="parent", daemon=True).start()


def _workers() -> int:
    text = os.environ.get(WORKERS_VARIABLE, "").strip()
    if text and (not text.isdecimal() or int(text) < 1):
        raise ConfigurationError(f"{WORKERS_VARIABLE} must be a positive whole number, not {text!r}.")
    if text:
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores)


def _dask(address: str, workers: int) -> Any:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise ConfigurationError(
            f"{TASK_RUNNER_VARIABLE}=dask needs the package prefect-dask: pip install 'prefect-dask>=0.3.7'."
        ) from None
    if address:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(cluster_kwargs={"n_workers": workers, "threads_per_worker": 1, "processes": True})
