"""Which unit tests run which statements of the code, for `tests/mutants.py`: measured once, a file of tests at a time.

Before each statement of a function stands, in a process made for measuring, a note that it was run: a byte set in a table.
That costs a tenth of a test's time, where coverage.py on Python 3.11 costs several times as much. What a file of tests reaches is kept in
`.mutants/` until that file or the code changes, so that a measure that was broken off goes on where it was.

A test that takes longer than LONG_SECONDS of a processor is broken off: what it reached until then is what it is tried for.
"""

import ast
import builtins
import contextlib
import gc
import hashlib
import json
import mmap
import os
import re
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Processor time after which a test is broken off while measuring, and what it is taken to cost from then on.
LONG_SECONDS, LONG_COST = 2.0, 8.0
#: After how long a file is given up, whose tests wait for what does not come.
_FILE_SECONDS = 600
_TABLE = "__reached__"

Known = dict[tuple[str, str, int], list[FunctionType]]


class TooLongError(BaseException):
    """A test has used up its processor time."""


def functions() -> Known:
    """All functions of this process, by file, qualified name and first line."""
    found: Known = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            code = each.__code__
            found[os.path.realpath(code.co_filename), code.co_qualname, code.co_firstlineno].append(each)
    return found


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """All code objects within one."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from codes_of(inner)


def exchange(path: str, changed: CodeType, known: Known, function: str = "") -> int:
    """Have the functions of a file that exist be those of its changed code: all of them, or one and what it has made."""
    count = 0
    for code in codes_of(changed):
        if function in ("", code.co_qualname) or code.co_qualname.startswith(f"{function}.<locals>."):
            for each in known.get((path, code.co_qualname, code.co_firstlineno), ()):
                if each.__code__.co_freevars == code.co_freevars:
                    each.__code__ = code
                    count += 1
    return count


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Break off what takes more of a processor's time."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError

    signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def outcome_of(item: pytest.Item, following: pytest.Item | None, seconds: float) -> str:
    """Run a test: "passed", "failed", or "long" where it takes more of a processor than so many seconds."""
    from _pytest.runner import runtestprotocol

    item.config.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    try:
        with limited(seconds):
            reports = runtestprotocol(item, log=False, nextitem=following)
    except TooLongError:
        return "long"
    failed = [report for report in reports if report.failed]
    if any(TooLongError.__name__ in report.longreprtext for report in failed):
        return "long"
    return "failed" if failed else "passed"


@dataclass(frozen=True)
class Statement:
    """A statement of a function, named by its place in it: others' changes to a file leave the name as it is."""

    path: str
    name: str
    first_line: int
    last_line: int


class _Noting(ast.NodeTransformer):
    """Puts a note before each statement of a module's functions."""

    def __init__(self, path: str, first: int) -> None:
        self.statements: list[Statement] = []
        self._path, self._first = path, first
        self._where: list[str] = []
        self._count = 0
        self._in_function = False

    def _block(self, nodes: list[ast.stmt]) -> list[ast.stmt]:
        if not self._in_function:
            return [self.visit(node) for node in nodes]
        noted: list[ast.stmt] = []
        for at, node in enumerate(nodes):
            if at or not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                name = f"{self._path}:{'.'.join(self._where)}:{self._count}"
                self._count += 1
                note = ast.parse(f"{_TABLE}[{self._first + len(self.statements)}] = 1").body[0]
                self.statements.append(Statement(self._path, name, node.lineno, node.end_lineno or node.lineno))
                noted.append(ast.copy_location(note, node))
            noted.append(self.visit(node))
        return noted

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, field, self._block(value))
            elif isinstance(value, list) and value and isinstance(value[0], ast.ExceptHandler | ast.match_case):
                for each in value:
                    self.generic_visit(each)
        return node

    def _scope(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        before = (self._where, self._count, self._in_function)
        self._where, self._count = [*self._where, node.name], 0
        self._in_function = not isinstance(node, ast.ClassDef)
        self.generic_visit(node)
        self._where, self._count, self._in_function = before
        return node

    visit_FunctionDef = _scope  # noqa: N815 (the names are ast's)
    visit_AsyncFunctionDef = _scope  # noqa: N815
    visit_ClassDef = _scope  # noqa: N815


def noting(path: str, source: str, first: int) -> tuple[ast.Module, list[Statement]]:
    """A module with a note before each statement of a function, the first of which has a number; and those statements."""
    notes = _Noting(path, first)
    tree: ast.Module = ast.fix_missing_locations(notes.visit(ast.parse(source)))
    return tree, notes.statements


class Code:
    """The code that tests are to reach: its statements, and itself with a note before each."""

    def __init__(self) -> None:
        paths = sorted(path for folder in ("tasks", "flows", "deployments") for path in ROOT.glob(f"{folder}/**/*.py"))
        self.sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
        self.digest = hashlib.sha256("\0".join(self.sources.values()).encode()).hexdigest()
        self.statements: list[Statement] = []
        self._trees: dict[str, ast.Module] = {}
        for path, source in self.sources.items():
            self._trees[path], statements = noting(path, source, len(self.statements))
            self.statements += statements
        self.of_path: dict[str, list[int]] = defaultdict(list)
        for number, statement in enumerate(self.statements):
            self.of_path[statement.path].append(number)

    @cached_property
    def noted(self) -> dict[str, CodeType]:
        return {str(ROOT / path): compile(tree, str(ROOT / path), "exec") for path, tree in self._trees.items()}

    def at(self, path: str, line: int) -> int | None:
        """The innermost statement of a function that a line is in."""
        found = [
            at for at in self.of_path[path] if self.statements[at].first_line <= line <= self.statements[at].last_line
        ]
        return max(found, key=lambda at: self.statements[at].first_line, default=None)

    def naming(self, name: str) -> Iterator[int]:
        """The statements in which a name stands."""
        for path, source in self.sources.items():
            if name in source:
                for line, text in enumerate(source.splitlines(), 1):
                    if re.search(rf"\b{name}\b", text) and (found := self.at(path, line)) is not None:
                        yield found


class Reached:
    """Which tests reach which statements, and how much of a processor's time each takes."""

    def __init__(self, items: Iterable[pytest.Item], folder: Path, *, keep: bool, jobs: int, end: float) -> None:
        """Measure each file of tests that has changed; all of them where the code has, unless last time's will do."""
        self.code, self.functions = Code(), functions()
        self._folder = folder / "reached"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.seconds: dict[str, float] = {}
        self.tests: dict[int, set[str]] = defaultdict(set)
        names = self._folder / f"{self.code.digest}.json"
        names.write_text(json.dumps([statement.name for statement in self.code.statements]))
        by_file: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in items:
            by_file[item.path].append(item)
        # As they were when they were imported.
        self._digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in by_file}
        waiting = [path for path in by_file if not self._is_known(path, keep)]
        self._measure_all({path: by_file[path] for path in waiting}, jobs, end)
        #: Files of tests that there was no time for: of what has changed in them, nothing is known.
        self.unmeasured = [str(path.relative_to(ROOT)) for path in waiting if not self._is_known(path, keep)]
        for path in by_file:
            self._load(path)

    def _place(self, path: Path) -> Path:
        return self._folder / f"{str(path.relative_to(ROOT)).replace('/', '.')}.npz"

    def _is_known(self, path: Path, keep: bool) -> bool:
        if not self._place(path).exists():
            return False
        with np.load(self._place(path)) as known:
            return bool(str(known["of"]) == self._digests[path] and (keep or str(known["code"]) == self.code.digest))

    def _load(self, path: Path) -> None:
        if not self._place(path).exists():
            return
        with np.load(self._place(path)) as known:
            names = json.loads((self._folder / f"{known['code']}.json").read_text())
            today = {statement.name: number for number, statement in enumerate(self.code.statements)}
            numbers = [today.get(name) for name in names]
            tests = [str(test) for test in known["tests"]]
            self.seconds |= dict(zip(tests, map(float, known["seconds"]), strict=True))
            reached = np.unpackbits(known["reached"], axis=1, count=len(names))
            for at in np.flatnonzero(reached.any(axis=0)):
                if (number := numbers[at]) is not None:
                    self.tests[number].update(tests[test] for test in np.flatnonzero(reached[:, at]))

    def _measure_all(self, files: dict[Path, list[pytest.Item]], jobs: int, end: float) -> None:
        """Each file in a process of its own, so many at once; none is begun after the end."""
        if not files:
            return
        self.code.noted  # noqa: B018 (compiled here, and not in each process anew)
        waiting, running = list(files)[::-1], 0
        while (waiting and time.monotonic() < end) or running:
            if waiting and running < jobs and time.monotonic() < end:
                path = waiting.pop()
                running += 1
                if not os.fork():
                    try:
                        self._measure(path, files[path])
                    except BaseException:
                        traceback.print_exc()
                    finally:
                        sys.stderr.flush()
                        os._exit(0)
            else:
                os.wait()
                running -= 1

    def _measure(self, path: Path, items: list[pytest.Item]) -> None:
        """Run a file's tests; those that fail by themselves are left out."""
        signal.alarm(_FILE_SECONDS)
        table = mmap.mmap(-1, len(self.code.statements))
        setattr(builtins, _TABLE, table)
        for file, code in self.code.noted.items():
            exchange(file, code, self.functions)
        tests: dict[str, float] = {}
        rows: list[np.ndarray[tuple[int], np.dtype[np.uint8]]] = []
        for item, following in zip(items, [*items[1:], None], strict=True):
            table[:] = bytes(len(table))
            began = time.process_time()
            outcome = outcome_of(item, following, LONG_SECONDS)
            if outcome == "failed":
                print(f"left out, since it fails: {item.nodeid}", flush=True)
                continue
            tests[item.nodeid] = LONG_COST if outcome == "long" else time.process_time() - began
            rows.append(np.packbits(np.frombuffer(table[:], np.uint8)))
        np.savez_compressed(
            self._place(path),
            of=np.array(self._digests[path]),
            code=np.array(self.code.digest),
            tests=np.array(list(tests), dtype=str),
            seconds=np.array(list(tests.values()), dtype=float),
            reached=np.array(rows, dtype=np.uint8).reshape(len(rows), -1),
        )
        print(f"measured {path.relative_to(ROOT)}: {len(tests)} tests, {sum(tests.values()):.0f} s", flush=True)
