"""No test can hang: each has a limit (pytest-timeout), and no loop or wait in them is without an end of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import UNIT_SECONDS

HERE = Path(__file__).resolve().parent
#: Measures, which no suite waits for.
OTHERS = {
    *("bench.py", "bench_api.py", "bench_run.py", "bench_shapes.py", "bench_verdict.py"),
    *("scale.py", "mutants.py", "reached.py"),
}
#: Waits that take a limit as an argument: of threads, processes, futures, queues and locks.
WAITS = {"wait", "join", "communicate", "result", "acquire"}
#: Those that know their limit: a run of the nursery, and a lease in memory, whose time is a fake.
LIMITED = {"run", "killed", "paused", "leader", "self", "mine"}


def unbounded(source: str) -> Iterator[tuple[int, str]]:
    """Where a module waits for ever, if need be: the line and the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            if not any(isinstance(inner, ast.Return | ast.Break | ast.Raise) for inner in ast.walk(node)):
                yield node.lineno, "while True"
        elif isinstance(node, ast.Call):
            named = any(keyword.arg in ("timeout", "seconds") for keyword in node.keywords)
            match node.func:
                case ast.Attribute(value=receiver, attr=name) if name in WAITS and not node.args and not named:
                    if ast.unparse(receiver) not in LIMITED and not ast.unparse(receiver).startswith("start("):
                        yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", sorted(HERE.glob("**/*.py")), ids=lambda path: str(path.relative_to(HERE)))
def test_every_wait_has_an_end(path: Path) -> None:
    if path.name not in OTHERS:
        assert [*unbounded(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    look()",
        "thread.join()",
        "process.wait()",
        "process.communicate()",
        "future.result()",
    ],
)
def test_a_wait_without_an_end_is_seen(code: str) -> None:
    assert len([*unbounded(code)]) == 1
    bounded = code.replace("()", "(timeout=5)")
    assert code.startswith("while") or not [*unbounded(bounded)]


def test_every_test_has_a_limit(request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) <= 600
    marker = request.node.get_closest_marker("timeout")
    assert marker is not None
    assert marker.args == (UNIT_SECONDS,)
