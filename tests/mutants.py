"""`make mutants`: would a unit test notice a small wrong change?

    python -m tests.mutants [--sample 300] [--seed 1] [--minutes 90] [--module tasks/submit.py] [--again] [--keep]

A random sample of the changes that `tests/mutations.py` knows is made to the modules that hold the promises, one at a time. pytest
collects the unit tests once; then a process is forked for each mutant, in which one function is the changed one, and runs
the tests that run the changed lines, the shortest first, until one fails. Which tests run which line is measured first, by
coverage.py (`.mutants/`, until a file changes). What stands outside of functions is changed in a process that imports all
anew. Mutants that no test notices are printed, module by module; changes that change nothing a user could see are in
`mutants_equivalent.toml`, each with the reason.

mutmut 3 leaves out what is decorated and what stands outside of functions, that is every stage and every default; cosmic-ray runs
one command, that is all tests, for each of its mutants. The sample is drawn by the digest of each change's own text: it stays
the same while other code changes.
"""

import argparse
import ast
import contextlib
import gc
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import pytest

from tests.mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
WORK, EQUIVALENT = ROOT / ".mutants", ROOT / "tests" / "mutants_equivalent.toml"
MODULES = [
    "tasks/submit.py tasks/poll.py tasks/on_demand.py tasks/rounds.py tasks/assemble.py tasks/normalize.py tasks/convert.py",
    "tasks/fetch.py tasks/upload.py tasks/cancel.py tasks/batch/*.py tasks/shards/*.py tasks/results/*.py",
    "tasks/inputs/plan.py tasks/inputs/layout.py tasks/inputs/survey.py tasks/inputs/duplicates.py tasks/inputs/routes.py",
    "tasks/bedrock/jobs.py tasks/bedrock/records.py tasks/bedrock/limits.py tasks/fast/*.py tasks/codecs/**/*.py",
]
#: Tests of minutes, and of processes: nobody would wait for them three hundred times.
LEFT_OUT = ["tests/test_fuzz.py", "tests/test_memory.py", "tests/test_ending.py", "tests/flows/test_buckets.py"]
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not e2e", "--hypothesis-profile=mutants", "-q"]
SURVIVED, UNTESTED = "survived", "no test runs it"
#: Seconds that the tests of a mutant take where they pass; those beyond are not run.
TESTS_SECONDS = 40.0


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


class Tests:
    """Which unit tests run which lines of the modules, and how long each takes."""

    def __init__(self, items: list[pytest.Item], keep: bool) -> None:
        """Measure each file of tests that has changed; all of them where the code has, unless last time's will do."""
        self._lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.seconds: dict[str, float] = {}
        code = _digest(sorted([*ROOT.glob("tasks/**/*.py"), *ROOT.glob("flows/**/*.py")]))
        by_file: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in items:
            by_file[item.path].append(item)
        places = {path: WORK / "tests" / f"{str(path.relative_to(ROOT)).replace('/', '.')}.json" for path in by_file}
        keys = {path: [_digest([path]), "" if keep else code] for path in by_file}
        for path, place in places.items():
            if not place.exists() or json.loads(place.read_text())["key"][: 2 - keep] != keys[path][: 2 - keep]:
                self._measure(by_file[path], place, [_digest([path]), code])
            known = json.loads(place.read_text())
            self.seconds |= known["seconds"]
            for file, lines in known["lines"].items():
                for line, names in lines.items():
                    self._lines[file][line] += names

    @staticmethod
    def _measure(items: list[pytest.Item], place: Path, key: list[str]) -> None:
        """Run a file's tests, in a process of its own; those that fail are left out."""
        place.parent.mkdir(parents=True, exist_ok=True)
        if pid := os.fork():
            os.waitpid(pid, 0)
            return
        measure = coverage.Coverage(
            data_file=None, source=[str(ROOT / "tasks"), str(ROOT / "flows")], config_file=False, messages=False
        )
        measure.start()
        seconds: dict[str, float] = {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            measure.switch_context(item.nodeid)
            began = time.monotonic()
            if _passes(item, following):
                seconds[item.nodeid] = time.monotonic() - began
            else:
                print(f"left out, since it fails: {item.nodeid}", flush=True)
        measure.stop()
        data, lines = measure.get_data(), dict[str, dict[int, list[str]]]()
        for file in data.measured_files():
            of_file = {
                line: sorted(seconds.keys() & set(tests)) for line, tests in data.contexts_by_lineno(file).items()
            }
            lines[str(Path(file).relative_to(ROOT))] = {line: tests for line, tests in of_file.items() if tests}
        place.write_text(json.dumps({"key": key, "lines": lines, "seconds": seconds}))
        print(
            f"measured {items[0].path.relative_to(ROOT)}: {len(seconds)} tests, {sum(seconds.values()):.0f} s",
            flush=True,
        )
        os._exit(0)

    def _of(self, path: str, lines: Iterable[int]) -> set[str]:
        of_file = self._lines.get(path, {})
        return {test for line in lines for test in of_file.get(str(line), [])}

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that run what a mutant changed: the lines, or whatever names what they set when they are imported."""
        found = self._of(mutant.path, range(mutant.first_line, mutant.last_line + 1))
        if not found or mutant.cached:
            for name in mutant.names:
                for path in self._lines:
                    source = (ROOT / path).read_text(encoding="utf-8").splitlines()
                    named = [at for at, line in enumerate(source, 1) if re.search(rf"\b{name}\b", line)]
                    found |= self._of(path, named)
        chosen, total = [], 0.0
        for test in sorted(found, key=lambda test: self.seconds[test]):
            total += self.seconds[test]
            if total < TESTS_SECONDS:
                chosen.append(test)
        return chosen


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    from _pytest.runner import runtestprotocol

    item.config.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=following)
    return not any(report.failed for report in reports)


def _code_of(code: CodeType, qualname: str) -> CodeType | None:
    """The code of a function of a module, by its name."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_qualname == qualname:
                return inner
            if qualname.startswith(inner.co_qualname + ".") and (found := _code_of(inner, qualname)):
                return found
    return None


def functions() -> dict[tuple[str, str], list[FunctionType]]:
    """All functions of this process, by file and qualified name."""
    found: dict[tuple[str, str], list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            found[os.path.realpath(each.__code__.co_filename), each.__code__.co_qualname].append(each)
    return found


def exchange(mutant: Mutant, known: dict[tuple[str, str], list[FunctionType]]) -> bool:
    """Have the function that a mutant is in be the changed one, wherever it is known; False where that cannot be."""
    path = str(ROOT / mutant.path)
    changed = _code_of(compile(mutant.module(), path, "exec"), mutant.function)
    for each in known[path, mutant.function]:
        if changed is not None:
            each.__code__ = changed
    return changed is not None and bool(known[path, mutant.function])


class _Trial:
    """A mutant that is being tried, in a process of its own."""

    def __init__(
        self, mutant: Mutant, items: list[pytest.Item], seconds: float, known: dict[tuple[str, str], list[FunctionType]]
    ) -> None:
        self.mutant = mutant
        self._end = time.monotonic() + 30 + 10 * seconds
        self._read, write = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.setsid()
            outcome = "death"
            try:
                outcome = self._run(items, known)
            finally:
                with os.fdopen(write, "w") as reply:
                    reply.write(outcome)
                os._exit(0)
        os.close(write)

    def _run(self, items: list[pytest.Item], known: dict[tuple[str, str], list[FunctionType]]) -> str:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        if not exchange(self.mutant, known):
            return "unknown function"
        for item, following in zip(items, [*items[1:], None], strict=True):
            if not _passes(item, following):
                return item.nodeid
        return SURVIVED

    def outcome(self) -> str | None:
        """Which test noticed, or SURVIVED; None while it runs."""
        late = time.monotonic() > self._end
        if late:
            self._kill()
        pid, _ = os.waitpid(self._pid, 0 if late else os.WNOHANG)
        if not pid:
            return None
        # What its tests may have left behind.
        self._kill()
        with os.fdopen(self._read) as reply:
            return "time" if late else reply.read() or "death"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)


class _Anew:
    """A mutant in what an import does: tried by a process that imports everything with the changed module."""

    def __init__(self, mutant: Mutant, tests: list[str], seconds: float) -> None:
        self.mutant = mutant
        chosen = WORK / f"chosen-{os.getpid()}.json"
        chosen.write_text(json.dumps({"path": mutant.path, "source": ast.unparse(mutant.module()), "tests": tests}))
        command = [sys.executable, "-m", "tests.mutants", "--one", str(chosen)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120 + 10 * seconds
            )
        except subprocess.TimeoutExpired:
            self._outcome = "time"
        else:
            self._outcome = SURVIVED if done.returncode == 0 else "import"

    def outcome(self) -> str:
        return self._outcome


def _try_anew(chosen: Path) -> int:
    """In a process of its own: have a module be the changed one from the beginning, and run some tests."""
    order = json.loads(chosen.read_text())
    path, get_code = str(ROOT / order["path"]), SourceFileLoader.get_code
    code = compile(order["source"], path, "exec")

    def changed(self: SourceFileLoader, name: str) -> CodeType | None:
        return code if self.path == path else get_code(self, name)

    SourceFileLoader.get_code = changed  # type: ignore[method-assign, assignment]
    wanted = set(order["tests"])

    class Chosen:
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items[:] = [item for item in items if item.nodeid in wanted]

    files = sorted({test.partition("::")[0] for test in wanted})
    return int(pytest.main([*files, *OPTIONS, "-x", "--timeout=60"], plugins=[Chosen()]))


def known_equivalents() -> dict[str, str]:
    """Why a change changes nothing, by the change."""
    found: dict[str, str] = {}
    for entry in tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("equivalent", []):
        found |= dict.fromkeys(entry["mutants"], entry["reason"])
    return found


def all_mutants(modules: Iterable[str]) -> Iterator[Mutant]:
    for path in sorted({path for names in modules for name in names.split() for path in ROOT.glob(name)}):
        yield from mutants(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


def sample(size: int, seed: int, modules: list[str]) -> list[Mutant]:
    """So many mutants that are not known to be equivalent, by the digests of what they are."""
    found, equivalent = list(all_mutants(modules)), known_equivalents()
    left = [each for each in found if each.id not in equivalent]
    print(f"{len(found)} mutants, {len(found) - len(left)} of them known as equivalent", flush=True)
    return sorted(left, key=lambda each: hashlib.sha256(f"{seed} {each.id}".encode()).digest())[:size]


class Trials:
    """In the place of pytest's own loop over the tests."""

    def __init__(self, chosen: list[Mutant], options: argparse.Namespace) -> None:
        self._chosen, self._options = chosen, options
        stored = WORK / "outcomes.json"
        known: dict[str, str] = json.loads(stored.read_text()) if options.again and stored.exists() else {}
        self.outcomes = {id: outcome for id, outcome in known.items() if outcome not in (SURVIVED, UNTESTED)}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        tests = Tests(session.items, self._options.keep)
        end = time.monotonic() + 60 * self._options.minutes
        known = functions()
        gc.freeze()
        waiting = [each for each in self._chosen if each.id not in self.outcomes][::-1]
        running: list[_Trial | _Anew] = []
        while (waiting and time.monotonic() < end) or running:
            while waiting and len(running) < self._options.jobs and time.monotonic() < end:
                mutant = waiting.pop()
                names = [name for name in tests.of(mutant) if name in items]
                seconds = sum(tests.seconds[name] for name in names)
                if not names:
                    self._note(mutant, UNTESTED)
                elif known[str(ROOT / mutant.path), mutant.function]:
                    running.append(_Trial(mutant, [items[name] for name in names], seconds, known))
                else:
                    running.append(_Anew(mutant, names, seconds))
            for trial in list(running):
                if (outcome := trial.outcome()) is not None:
                    running.remove(trial)
                    self._note(trial.mutant, outcome)
            time.sleep(0.02)
        return True

    def _note(self, mutant: Mutant, outcome: str) -> None:
        self.outcomes[mutant.id] = outcome
        (WORK / "outcomes.json").write_text(json.dumps(self.outcomes, indent=1))
        print(f"\n{outcome}: {mutant.id}\n" if outcome in (SURVIVED, UNTESTED) else ".", end="", flush=True)

    def report(self) -> None:
        """Module by module: how many of the mutants that were tried were killed, and the others."""
        tried, killed = Counter[str](), Counter[str]()
        survivors = defaultdict(list)
        for mutant in self._chosen:
            if (outcome := self.outcomes.get(mutant.id)) is not None:
                tried[mutant.path] += 1
                killed[mutant.path] += outcome not in (SURVIVED, UNTESTED)
                if outcome in (SURVIVED, UNTESTED):
                    survivors[mutant.path].append(f"  {outcome}, line {mutant.first_line}: {mutant.id}")
        print()
        for path in sorted(tried):
            print(f"{path}: {killed[path]} of {tried[path]} killed", *survivors[path], sep="\n")
        share = killed.total() / max(1, tried.total())
        print(
            f"{killed.total()} of {tried.total()} killed ({share:.1%}), {len(self._chosen) - tried.total()} not tried"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=90, help="begin no further mutant after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--module", action="append", help="of these modules only: a path or a glob")
    parser.add_argument("--again", action="store_true", help="try anew those only that survived last time")
    parser.add_argument("--keep", action="store_true", help="take last time's measure of which tests run which lines")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.dont_write_bytecode = True
    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    if options.one:
        return _try_anew(options.one)
    WORK.mkdir(exist_ok=True)
    trials = Trials(sample(options.sample, options.seed, options.module or MODULES), options)
    pytest.main(["tests", *OPTIONS, "--timeout=60", *(f"--ignore={file}" for file in LEFT_OUT)], plugins=[trials])
    trials.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
