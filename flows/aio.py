"""The flows for code that runs in an event loop, such as a notebook's: the same names and parameters, awaited.

    from flows.aio import batch_inference
    batch = await batch_inference("requests.jsonl", "us.anthropic.claude-haiku-4-5-20251001-v1:0")

Each runs in a thread of its own, so the loop goes on, and several can be awaited side by side. To cancel the await does
not stop Bedrock's jobs: `cancel_batch` does.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from flows import batch, compare, operations
from flows import check as checks

P = ParamSpec("P")
R = TypeVar("R")


def _awaited(flow: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(getattr(flow, "fn", flow))
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(flow, *args, **kwargs)

    return run


batch_inference = _awaited(batch.batch_inference)
compare_models = _awaited(compare.compare_models)
check = _awaited(checks.check)
doctor = _awaited(checks.doctor)
list_batches = _awaited(operations.list_batches)
retrieve_batch = _awaited(operations.retrieve_batch)
cancel_batch = _awaited(operations.cancel_batch)
