"""How stages are repeated: for causes that pass only, so often and so long apart."""

from typing import Any

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE

from tasks.errors import PipelineError, TransientError
from tasks.support.retries import STAGE_OPTIONS


def test_the_options() -> None:
    assert set(STAGE_OPTIONS) == {
        "cache_policy",
        "persist_result",
        "retries",
        "retry_delay_seconds",
        "retry_jitter_factor",
        "retry_condition_fn",
    }
    assert STAGE_OPTIONS["cache_policy"] is NO_CACHE
    assert STAGE_OPTIONS["persist_result"] is False
    assert STAGE_OPTIONS["retries"] == 9
    assert STAGE_OPTIONS["retry_jitter_factor"] == 0.5


def test_the_delays_double_and_come_to_some_twenty_minutes() -> None:
    stage = Task(fn=lambda: None, **STAGE_OPTIONS)
    assert stage.retry_delay_seconds == [2, 4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransientError("slow down"), True),
        (PipelineError("denied"), False),
        (ValueError("a bug"), False),
        (KeyboardInterrupt(), False),
        (None, False),
    ],
)
def test_what_is_repeated(error: BaseException | None, again: bool) -> None:
    class State:
        def result(self) -> Any:
            if error is not None:
                raise error

    assert STAGE_OPTIONS["retry_condition_fn"](None, None, State()) is again
