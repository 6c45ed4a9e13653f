"""How stages bear transient faults: each task is safe to repeat, and is repeated with jittered back-off."""

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from tasks.errors import TransientError


def _is_transient(task: Any, run: Any, state: Any) -> bool:  # noqa: ARG001
    """Whether a failed task run failed for a transient cause."""
    try:
        state.result()
    except TransientError:
        return True
    except BaseException:
        return False
    return False


#: Options of every stage's task. botocore has tried a call eight times before a stage sees an error; these retries
#: bridge some twenty minutes more. Nothing is cached: S3 is the memory.
STAGE_OPTIONS: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 9,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}
