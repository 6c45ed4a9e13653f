"""Every error of the pipeline goes from a worker process to the run, and through Prefect's results, whole."""

import copy
import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import tasks
from tasks import errors
from tasks.codecs.base import ConversionFault, RequestError
from tasks.comparison.result import Comparison, ComparisonFailedError
from tasks.errors import BatchFailedError, PipelineError
from tasks.openai_format.batch import Batch, BatchError, BatchErrors
from tasks.openai_format.requests import LineError

BATCH = Batch(
    id="batch_1",
    endpoint="/v1/chat/completions",
    input_file_id="in.jsonl",
    completion_window="24h",
    status="failed",
    created_at=1,
    model="m",
    errors=BatchErrors(data=[BatchError(code="c", message="m", line=3)]),
)
ARGUMENTS: dict[type[BaseException], tuple[Any, ...]] = {
    BatchFailedError: ("it failed", BATCH),
    ComparisonFailedError: ("none has results", Comparison(id="cmp_1", input_file="in.jsonl", failed={"a": "b"})),
    ConversionFault: (),
    RequestError: ("it is wrong", "body.n", "invalid_type"),
    LineError: ("invalid_url", "it is wrong", "url", "id-1"),
}


def all_errors() -> list[type[BaseException]]:
    """Every exception that is defined under tasks/."""
    for module in pkgutil.walk_packages(tasks.__path__, "tasks."):
        importlib.import_module(module.name)

    def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
        for sub in kind.__subclasses__():
            yield sub
            yield from below(sub)

    return sorted({k for k in below(Exception) if k.__module__.startswith("tasks.")}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_errors_survive_pickling(kind: type[BaseException]) -> None:
    known = next((ARGUMENTS[base] for base in kind.__mro__ if base in ARGUMENTS), ("a message",))
    error = kind(*known)
    for again in (pickle.loads(pickle.dumps(error)), cloudpickle.loads(cloudpickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert again.args == error.args
        assert again.__dict__ == error.__dict__
        assert issubclass(kind, PipelineError) or not isinstance(again, PipelineError)


def test_what_errors_carry() -> None:
    failed = pickle.loads(pickle.dumps(ComparisonFailedError(*ARGUMENTS[ComparisonFailedError])))
    assert failed.comparison.failed == {"a": "b"}
    assert pickle.loads(pickle.dumps(BatchFailedError("x", BATCH))).batch == BATCH
    line = pickle.loads(pickle.dumps(LineError(*ARGUMENTS[LineError])))
    assert (line.code, line.message, line.param, line.custom_id) == ARGUMENTS[LineError]


def test_kinds_are_as_the_page_draws_them() -> None:
    """Who catches one kind must not catch another by surprise."""
    assert errors.__doc__
    tree = [line for line in errors.__doc__.splitlines() if re.match(r"[│├└─ ]*\w+Error +\w|PipelineError", line)]
    parents: list[str] = []
    drawn = {}
    for line in tree:
        name = re.search(r"\w+", line)
        assert name
        depth = name.start() // 4
        parents[depth:] = [name[0]]
        if depth:
            drawn[name[0]] = parents[depth - 1]
    own = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PipelineError)
    }
    assert {name: kind.__mro__[1].__name__ for name, kind in own.items() if kind is not PipelineError} == {
        name: parent for name, parent in drawn.items() if name in own
    }
    assert set(drawn) >= own.keys() - {"PipelineError"}
