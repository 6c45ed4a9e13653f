"""JSON Schemas out of requests, used on answers: by a process of its own, which nothing in a schema can make hang us.

A schema is a program that a stranger wrote. References are resolved within it only, patterns are run by an engine whose
time is linear, and references that double at every step (2^30 of them fit in a kilobyte), or nest until the stack ends,
cost the worker process its life and not the run: it has a second of CPU and a bounded memory for an answer.
"""

import contextlib
import functools
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

#: CPU seconds for one answer; behind them, seconds of the clock.
_SECONDS, _CLOCK_SECONDS = 1.0, 30.0
#: All answers together: so much, and so much more for each. A file full of slow schemas must not hold up a comparison.
_SECONDS_IN_ALL, _SECONDS_EACH = 10.0, 0.005
_MEMORY_BYTES: Final = 2 << 30
#: Of the program that a pattern is compiled to.
_PATTERN_BYTES: Final = 1 << 20

_READY: Final = b"\x06"
_REQUEST, _REPLY = struct.Struct("<II"), struct.Struct("<Bd")


class Verdict(IntEnum):
    """What came of one answer and its schema."""

    BREAKS = 0
    KEEPS = 1
    # Of the others, nobody can tell.
    INVALID = 2
    REFERENCE = 3
    PATTERN = 4
    DEEP = 5
    SLOW = 6
    SPENT = 7
    NO_WORKER = 8


#: Why an answer could not be held to its schema; never in the schema's own words.
WHY: Final = {
    Verdict.INVALID: "is not a valid JSON Schema",
    Verdict.REFERENCE: "refers to what it does not contain (nothing is fetched), or has no usable $id or $schema",
    Verdict.PATTERN: "has a pattern that cannot be checked in linear time, or is too large",
    Verdict.DEEP: "nests too deeply, or the answer does",
    Verdict.SLOW: "takes too much time or memory",
    Verdict.SPENT: "came after slow ones had used up the time for all",
    Verdict.NO_WORKER: "met no process to check it: none could be started",
}


class SchemaChecker:
    """Holds answers to schemas in a worker process, which is started when first needed, and again when it died.

    As a context manager: the process ends with it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._checked = 0
        self._spent = 0.0
        self._lethal: set[bytes] = set()
        #: Why answers could not be held to their schemas, each with how many.
        self.unchecked: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def check(self, schema: bytes, value: bytes) -> bool | None:
        """Whether a value keeps to a schema, both as JSON; None, and counted, where nobody can tell."""
        verdict = self._verdict(schema, value)
        if verdict <= Verdict.KEEPS:
            return verdict is Verdict.KEEPS
        self.unchecked[WHY[verdict]] += 1
        return None

    def _verdict(self, schema: bytes, value: bytes) -> Verdict:
        if schema in self._lethal:
            return Verdict.SLOW
        if self._spent > _SECONDS_IN_ALL + _SECONDS_EACH * self._checked:
            return Verdict.SPENT
        if self._process is None:
            self._process = _start()
        if self._process is None:
            return Verdict.NO_WORKER
        self._checked += 1
        reply = self._ask(self._process, schema, value)
        if reply is None:
            self._lethal.add(schema)
            self._spent += _SECONDS
            return Verdict.SLOW
        verdict, seconds = reply
        self._spent += seconds
        return Verdict(verdict)

    def _ask(self, process: "subprocess.Popen[bytes]", schema: bytes, value: bytes) -> tuple[int, float] | None:
        """The worker's reply; None where it died of the question."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_REQUEST.pack(len(schema), len(value)) + schema + value)
            process.stdin.flush()
            reply = process.stdout.read(_REPLY.size)
        except OSError:
            reply = b""
        if len(reply) == _REPLY.size:
            verdict, seconds = _REPLY.unpack(reply)
            return int(verdict), float(seconds)
        self._stop()
        return None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _start() -> "subprocess.Popen[bytes] | None":
    """A worker that is ready; None where none can be had: the answers are paid for, and the report goes without."""
    # No credentials: it needs none. Not in our process group: Ctrl-C is for the run, which then ends it.
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    path = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.comparison.schemas"],
            env={**kept, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    assert process.stdout is not None
    if process.stdout.read(len(_READY)) == _READY:
        return process
    _end(process)
    return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    # Closes the pipes; what was left in ours, a dead process does not read.
    with contextlib.suppress(OSError):
        process.communicate()


def _serve(source: IO[bytes], target: IO[bytes]) -> None:
    """The worker: answers questions until there are no more, or one takes too long; the kernel then ends it."""
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, _MEMORY_BYTES)):
        # Not every system bounds memory so.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGALRM})
    usable = _compiler()
    target.write(_READY)
    target.flush()
    while len(head := source.read(_REQUEST.size)) == _REQUEST.size:
        schema, value = (source.read(size) for size in _REQUEST.unpack(head))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        signal.setitimer(signal.ITIMER_REAL, _CLOCK_SECONDS)
        verdict = _judge(usable, schema, value)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        target.write(_REPLY.pack(verdict, time.process_time() - began))
        target.flush()


def _compiler() -> Callable[[bytes], Any]:
    """What makes a validator of a schema, or the Verdict that tells why there is none."""
    import jsonschema_rs

    def refuse(uri: str) -> Any:
        raise ValueError(uri)

    @functools.lru_cache(maxsize=256)
    def compiled(schema: bytes) -> Any:
        try:
            return jsonschema_rs.validator_for(
                msgspec.json.decode(schema),
                retriever=refuse,
                validate_formats=False,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
            )
        except jsonschema_rs.ValidationError as error:
            kinds = jsonschema_rs.ValidationErrorKind
            if isinstance(error.kind, kinds.Referencing):
                return Verdict.REFERENCE
            return Verdict.PATTERN if isinstance(error.kind, kinds.Format) else Verdict.INVALID
        except (ValueError, RecursionError) as error:
            return Verdict.DEEP if _is_deep(error) else Verdict.INVALID

    return compiled


def _judge(compiled: Callable[[bytes], Any], schema: bytes, value: bytes) -> Verdict:
    validator = compiled(schema)
    if isinstance(validator, Verdict):
        return validator
    try:
        return Verdict(bool(validator.is_valid(msgspec.json.decode(value))))
    except (ValueError, RecursionError) as error:
        return Verdict.DEEP if _is_deep(error) else Verdict.INVALID


def _is_deep(error: Exception) -> bool:
    return isinstance(error, RecursionError) or "ecursion" in str(error)


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
