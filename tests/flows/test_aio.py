"""The flows awaited: the same names and parameters, beside whatever else the loop does."""

import asyncio
import inspect
import threading

import pytest

from flows import aio, batch, check, compare, operations
from flows.aio import _awaited


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("batch_inference", batch),
        ("compare_models", compare),
        ("check", check),
        ("doctor", check),
        ("list_batches", operations),
        ("retrieve_batch", operations),
        ("cancel_batch", operations),
    ],
)
def test_names_parameters_and_help_are_the_flows(name: str, module: object) -> None:
    flow, awaited = getattr(module, name), getattr(aio, name)
    assert inspect.iscoroutinefunction(awaited)
    assert inspect.signature(awaited).parameters == inspect.signature(getattr(flow, "fn", flow)).parameters
    assert awaited.__doc__ == getattr(flow, "fn", flow).__doc__


def test_the_loop_goes_on_meanwhile() -> None:
    told, heard = threading.Event(), threading.Event()

    def work(first: int, *, second: int) -> int:
        heard.set()
        assert told.wait(60)
        return first + second

    async def both() -> int:
        running = asyncio.create_task(_awaited(work)(1, second=2))
        while not heard.is_set():
            await asyncio.sleep(0)
        told.set()
        return await running

    assert asyncio.run(both()) == 3


def test_what_it_raises_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(_awaited(fail)())
