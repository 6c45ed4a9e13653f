"""`make mutants`: would a unit test notice a small wrong change?

    python -m tests.mutants [--sample 300] [--seed 1] [--minutes 40] [--module tasks/submit.py] [--resume] [--again] [--keep]

A random sample of the changes that `tests/mutations.py` knows is made to the modules that hold the promises, one at a time. pytest
collects the unit tests once; then a process is forked for each mutant, in which one function is the changed one, and runs
the tests that run the changed statement, its own module's tests and the shortest first, until one fails. Which tests run which statement is
measured first (`tests/reached.py`). What stands outside of functions is changed in a process that imports all
anew. Mutants that no test notices are printed, module by module; changes that change nothing a user could see are in
`mutants_equivalent.toml`, each with the reason.

It ends in the `--minutes` it is given, says what it did not try, and goes on there with `--resume`. Times are those of a processor:
a busy machine kills no mutant.

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
from types import CodeType

import hypothesis
import pytest

from tests.mutations import Mutant, mutants
from tests.reached import ROOT, Known, Reached, exchange, outcome_of

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
SURVIVED, UNTESTED, UNKNOWN = "survived", "no test runs it", "its function was not found"
ALIVE = (SURVIVED, UNTESTED, UNKNOWN)
#: Processor time of the tests of a mutant where they pass; those beyond are not run. Less where all is imported anew.
TESTS_SECONDS, ANEW_SECONDS = 25.0, 8.0


def tests_of(mutant: Mutant, reached: Reached) -> list[str]:
    """The tests that run what a mutant changed: the statement, or whatever names what it sets when it is imported."""
    code, found = reached.code, set[str]()
    if mutant.function and (at := code.at(mutant.path, mutant.first_line)) is not None:
        found |= reached.tests[at]
    if not found or mutant.cached:
        for name in mutant.names:
            found.update(*(reached.tests[at] for at in code.naming(name)))
    if not found:
        found.update(*(reached.tests[at] for at in code.of_path[mutant.path]))
    folder, _, name = mutant.path.removeprefix("tasks/").rpartition("/")
    own = re.compile(rf"tests/{folder + '/' if folder else ''}test_{name.removesuffix('.py').strip('_')}\.py::")

    def place(test: str) -> float:
        return reached.seconds[test] * (0.2 if own.match(test) else 1)

    chosen, total = [], 0.0
    most = TESTS_SECONDS if mutant.function else ANEW_SECONDS
    for test in sorted(found, key=place):
        total += reached.seconds[test]
        if total < most:
            chosen.append(test)
    return chosen


class _Trial:
    """A mutant that is being tried, in a process of its own."""

    def __init__(self, mutant: Mutant, items: list[pytest.Item], seconds: dict[str, float], known: Known) -> None:
        self.mutant = mutant
        # A wait that has no end takes no processor's time.
        self._end = time.monotonic() + 60 + 10 * sum(seconds[item.nodeid] for item in items)
        self._read, write = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.setsid()
            outcome = "death"
            try:
                outcome = self._run(items, seconds, known)
            finally:
                with os.fdopen(write, "w") as reply:
                    reply.write(outcome)
                os._exit(0)
        os.close(write)

    def _run(self, items: list[pytest.Item], seconds: dict[str, float], known: Known) -> str:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        path = str(ROOT / self.mutant.path)
        if not exchange(path, compile(self.mutant.module(), path, "exec"), known, self.mutant.function):
            return UNKNOWN
        for item, following in zip(items, [*items[1:], None], strict=True):
            outcome = outcome_of(item, following, 5 + 10 * seconds[item.nodeid])
            if outcome != "passed":
                return item.nodeid if outcome == "failed" else f"time: {item.nodeid}"
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

    def __init__(self, mutant: Mutant, tests: list[str]) -> None:
        self.mutant = mutant
        self._chosen = WORK / f"chosen-{hashlib.sha256(mutant.id.encode()).hexdigest()[:16]}.json"
        self._chosen.write_text(
            json.dumps({"path": mutant.path, "source": ast.unparse(mutant.module()), "tests": tests})
        )
        self._end = time.monotonic() + 300
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants", "--one", str(self._chosen)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def outcome(self) -> str | None:
        late = time.monotonic() > self._end
        if not late and self._process.poll() is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._chosen.unlink()
        return "time" if late else SURVIVED if self._process.returncode == 0 else "import"


def _try_anew(chosen: Path) -> int:
    """In a process of its own: have a module be the changed one from the beginning, and run some tests."""
    order = json.loads(chosen.read_text())
    path, get_code = str(ROOT / order["path"]), SourceFileLoader.get_code
    code = compile(order["source"], path, "exec")

    def changed(self: SourceFileLoader, name: str) -> CodeType | None:
        return code if self.path == path else get_code(self, name)

    SourceFileLoader.get_code = changed  # type: ignore[method-assign, assignment]
    place = {test: at for at, test in enumerate(order["tests"])}

    class Chosen:
        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])

    files = sorted({test.partition("::")[0] for test in place})
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
        self._stored = WORK / f"outcomes-{options.seed}.json"
        self.outcomes: dict[str, str] = {}
        if (options.again or options.resume) and self._stored.exists():
            self.outcomes = json.loads(self._stored.read_text())
        if options.again:
            self.outcomes = {id: how for id, how in self.outcomes.items() if how not in ALIVE}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        now, seconds, jobs = time.monotonic(), 60 * self._options.minutes, self._options.jobs
        reached = Reached(session.items, WORK, keep=self._options.keep, jobs=jobs, end=now + 0.6 * seconds)
        if reached.unmeasured:
            print("no time to measure", *reached.unmeasured, flush=True)
        # What all trials share is not copied, when a process looks for what it no longer needs.
        gc.freeze()
        waiting = [each for each in self._chosen if each.id not in self.outcomes][::-1]
        running: list[_Trial | _Anew] = []
        while (waiting and time.monotonic() < now + seconds) or running:
            while waiting and len(running) < jobs and time.monotonic() < now + seconds:
                mutant = waiting.pop()
                names = [name for name in tests_of(mutant, reached) if name in items]
                if not names:
                    self._note(mutant, UNTESTED)
                elif mutant.function:
                    running.append(_Trial(mutant, [items[name] for name in names], reached.seconds, reached.functions))
                else:
                    running.append(_Anew(mutant, names))
            for trial in list(running):
                if (outcome := trial.outcome()) is not None:
                    running.remove(trial)
                    self._note(trial.mutant, outcome)
            time.sleep(0.02)
        return True

    def _note(self, mutant: Mutant, outcome: str) -> None:
        self.outcomes[mutant.id] = outcome
        self._stored.write_text(json.dumps(self.outcomes, indent=1))
        print(f"\n{outcome}: {mutant.id}\n" if outcome in ALIVE else ".", end="", flush=True)

    def report(self) -> None:
        """Module by module: how many of the mutants that were tried were killed, and the others."""
        tried, killed = Counter[str](), Counter[str]()
        survivors = defaultdict(list)
        for mutant in self._chosen:
            if (outcome := self.outcomes.get(mutant.id)) is not None:
                tried[mutant.path] += 1
                killed[mutant.path] += outcome not in ALIVE
                if outcome in ALIVE:
                    survivors[mutant.path].append(f"  {outcome}, line {mutant.first_line}: {mutant.id}")
        print()
        for path in sorted(tried):
            print(f"{path}: {killed[path]} of {tried[path]} killed", *survivors[path], sep="\n")
        share = killed.total() / max(1, tried.total())
        left = Counter(mutant.path for mutant in self._chosen if mutant.id not in self.outcomes)
        print(f"{killed.total()} of {tried.total()} killed ({share:.1%})")
        if left:
            print(f"{left.total()} not tried (--resume goes on):", ", ".join(f"{path} {left[path]}" for path in left))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=40, help="begin nothing more after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--module", action="append", help="of these modules only: a path or a glob")
    parser.add_argument("--tests", action="append", help="with these tests only: a file or a folder")
    parser.add_argument("--resume", action="store_true", help="go on where the last run with this seed ended")
    parser.add_argument("--again", action="store_true", help="the same, and try anew what survived")
    parser.add_argument(
        "--keep", action="store_true", help="take last time's measure of which tests run which statements"
    )
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
    left_out = [f"--ignore={file}" for file in LEFT_OUT]
    pytest.main([*(options.tests or ["tests"]), *OPTIONS, "--timeout=60", *left_out], plugins=[trials])
    trials.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
