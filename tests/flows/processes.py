"""Runs of the pipeline in processes of their own, which can be killed at any call to AWS.

A nursery imports everything once and forks a process for each run: what takes seconds is done a single time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]

NURSERY = """
import importlib, json, os, signal, sys, threading, time, traceback
from botocore.client import BaseClient
import flows.batch, flows.compare, flows.operations, flows.cli.main, flows.cli.run, flows.cli.printing, flows.cli.saving
import pyarrow.parquet, pandas, tasks.aws, tests.direct
# What a run imports when it begins.
import boto3.s3.inject, prefect.engine, prefect.flow_engine, prefect.task_engine, prefect.concurrency.services
import prefect.utilities.visualization, fastapi, tasks.codecs, tasks.codecs.endpoints
tasks.codecs.all_codecs(), tasks.codecs.endpoints.all_endpoints()

original = BaseClient._make_api_call

def watch(order, calls):
    lock = threading.Lock()
    kill_at, moment = order.get("kill_at"), order.get("moment", "before")
    # Or at the n-th call of a name, on a key that holds a text, by another signal.
    at, number, text = order.get("at") or ("", 0, "")
    end = order.get("signal", signal.SIGKILL)
    found = 0
    def counted(self, name, arguments):
        nonlocal found
        with lock:
            calls.append(name)
            mine = len(calls) == kill_at
            if name == at and text in str(arguments.get("Key", "")):
                found += 1
                mine = found == number
        if mine and moment == "before":
            os.kill(os.getpid(), end)
        reply = original(self, name, arguments)
        if mine and moment == "after":
            os.kill(os.getpid(), end)
        return reply
    BaseClient._make_api_call = counted

def run(order):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, order["output"]), (2, order["log"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    calls = []
    watch(order, calls)
    for module, values in order.get("patch", {}).items():
        for name, value in values.items():
            setattr(importlib.import_module(module), name, value)
    reply = {}
    try:
        if not order.get("prefect", True):
            tests.direct.call_directly()
        if "arguments" in order:
            reply["status"] = getattr(flows.cli.main, order["program"])(order["arguments"])
        else:
            modules = {"batch_inference": flows.batch, "compare_models": flows.compare}
            module = modules.get(order["flow"], flows.operations)
            result = getattr(module, order["flow"])(*order["args"], **order["kwargs"])
            reply["result"] = json.loads(result.model_dump_json()) if hasattr(result, "model_dump_json") else None
    except BaseException as error:
        traceback.print_exc()
        reply["error"], reply["message"] = type(error).__name__, str(error)
    reply["calls"], reply["modules"] = calls, list(sys.modules)
    with open(order["reply"], "w") as out:
        json.dump(reply, out)
    os._exit(0)

for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "import":
        for name in order["modules"]:
            try:
                importlib.import_module(name)
            except Exception:
                pass
        print("0", flush=True)
    elif order["do"] == "start":
        os.environ.clear()
        os.environ.update(order["environment"])
        # Made once, not yet connected, and inherited: each takes a tenth of a second.
        tasks.aws.s3(), tasks.aws.bedrock(), tasks.aws.runtime()
        pid = os.fork()
        if pid == 0:
            run(order)
        print(json.dumps(pid), flush=True)
    else:
        end, late = time.monotonic() + order["seconds"], False
        while not (found := os.waitpid(order["pid"], os.WNOHANG))[0]:
            if time.monotonic() > end and not late:
                late = True
                os.kill(order["pid"], signal.SIGKILL)
            time.sleep(0.01)
        print(json.dumps([os.waitstatus_to_exitcode(found[1]), late]), flush=True)
"""


def processes_with(text: str) -> list[int]:
    """The living processes that have a text in the environment they were started with."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            if state not in "ZX" and text.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


class Run:
    """A run in a process of its own."""

    def __init__(self, nursery: "Nursery", pid: int, output: Path, log: Path, reply: Path) -> None:
        self._nursery, self.pid, self.output, self.log, self._reply = nursery, pid, output, log, reply

    def wait(self, seconds: float = 300) -> int:
        """The exit status; minus the signal where one ended it. A run that does not end in time is killed."""
        status, late = self._nursery.ask({"do": "wait", "pid": self.pid, "seconds": seconds})
        assert not late, f"it has not ended after {seconds:g} s: {self.log.read_text()[-3000:]}"
        return int(status)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait_until_stopped(self) -> None:
        """Until SIGSTOP has reached it."""

        def stopped() -> bool:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            assert state != "Z", "it has ended"
            return state == "T"

        try:
            until(stopped, "it is stopped")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log.read_text()[-2000:]}") from None

    @property
    def reply(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self._reply.read_text())
        return reply

    def status(self) -> int:
        """Wait for the end of a command; returns its exit status."""
        assert self.wait() == 0, self.log.read_text()[-3000:]
        assert "error" not in self.reply, self.log.read_text()[-3000:]
        return int(self.reply["status"])

    def finish(self) -> dict[str, Any]:
        """Wait for a normal end; returns the batch."""
        assert self.wait() == 0, self.log.read_text()[-3000:]
        assert "error" not in self.reply, self.log.read_text()[-3000:]
        result: dict[str, Any] = self.reply["result"]
        return result


class Nursery:
    """Where runs are born."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process, self._folder, self._count = process, folder, 0

    def ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the nursery is gone"
        return json.loads(line)

    def learn(self, run: Run) -> None:
        """Import what a finished run had to import, for those to come."""
        self.ask({"do": "import", "modules": run.reply["modules"]})

    def start(
        self,
        flow: str,
        *args: Any,
        environment: dict[str, str] | None = None,
        kill_at: int | None = None,
        moment: str = "before",
        at: tuple[str, int, str] | None = None,
        number: signal.Signals = signal.SIGKILL,
        patch: dict[str, dict[str, Any]] | None = None,
        prefect: bool = True,
        **kwargs: Any,
    ) -> Run:
        """Start a flow; with `kill_at`, it dies by SIGKILL right before or after so many calls to AWS.

        `at` names the n-th call of an operation, on keys that hold a text; `number` is another signal. `patch` sets
        constants of modules. Without `prefect` its flows and tasks are called as functions (`tests/direct.py`).
        """
        call = {
            "flow": flow,
            "args": args,
            "kwargs": kwargs,
            "kill_at": kill_at,
            "moment": moment,
            "at": at,
            "signal": number,
            "patch": patch or {},
            "prefect": prefect,
        }
        return self._start(call, environment)

    def command(self, *arguments: str, program: str = "run_batch", environment: dict[str, str] | None = None) -> Run:
        """Start a command line: one of the functions of `flows.cli.main`, whose standard output is a file of its own."""
        return self._start({"program": program, "arguments": arguments}, environment)

    def _start(self, call: dict[str, Any], environment: dict[str, str] | None) -> Run:
        self._count += 1
        output, log, reply = (self._folder / f"{self._count}.{kind}" for kind in ("out", "log", "json"))
        order = {
            "do": "start",
            "environment": {**os.environ, **(environment or {})},
            "output": str(output if "program" in call else log),
            "log": str(log),
            "reply": str(reply),
            **call,
        }
        return Run(self, int(self.ask(order)), output, log, reply)


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A process from which runs are forked."""
    from prefect.settings import PREFECT_API_URL

    # Prefect reads its settings once, when it is imported.
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "PREFECT_LOGGING_LEVEL": "INFO"}
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Nursery(process, folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(180)
