"""`make scale`: a large file end to end in the sandbox; wall time of each stage, memory of all the run's processes.

Memory is what the run's process and its workers hold together, looked at ten times a second: the sum of their resident
sets, and of their proportional ones (pages that processes share counted once). The sandbox and the Prefect server are
processes of their own and are not counted.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from tests.bench import MODEL, generate

ROOT = Path(__file__).resolve().parents[1]
_STAGE = re.compile(r"^(\d\d:\d\d:\d\d\.\d+) .*Task run '([a-z-]+?)(?:-part-\d+)?'")


def enlarge(path: Path, lines: int) -> None:
    """Lines as `make bench` has them, the same texts over and over under custom_ids of their own."""
    some = path.with_suffix(".some")
    generate(some, min(lines, 5000))
    parts = [line.partition('"request-') for line in some.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as out:
        for number in range(lines):
            before, mark, after = parts[number % len(parts)]
            out.write(f'{before}{mark}{number}"{after.partition(chr(34))[2]}\n')
    some.unlink()


class Memory:
    """The largest memory of a process and its descendants, in MB."""

    def __init__(self, pid: int) -> None:
        self.resident = self.proportional = self.single = 0.0
        #: What each process holds at the peak.
        self.parts: list[int] = []
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            sizes = [size for pid in self._family() if (size := _memory(pid))]
            self.resident = max(self.resident, sum(size[0] for size in sizes))
            if sum(size[1] for size in sizes) > self.proportional:
                self.proportional, self.parts = sum(size[1] for size in sizes), [round(size[1]) for size in sizes]
            self.single = max([self.single, *(size[0] for size in sizes)])

    def _family(self) -> list[int]:
        family, waiting = [], [self._pid]
        while waiting:
            pid = waiting.pop()
            family.append(pid)
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
            except (OSError, ValueError):
                continue
        return family

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def _memory(pid: int) -> tuple[float, float] | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE))
    return int(found["Rss"]) / 1024, int(found["Pss"]) / 1024


def stages(log: str) -> dict[str, float]:
    """Wall seconds from the end of the stage before to the last word of each."""
    ends: dict[str, float] = {}
    begin = None
    for line in log.splitlines():
        stamp = re.match(r"\d\d:\d\d:\d\d\.\d+", line)
        if stamp is None:
            continue
        at = datetime.strptime(stamp[0], "%H:%M:%S.%f").timestamp()
        begin = at if begin is None else begin
        found = _STAGE.match(line)
        if found:
            ends[found[2]] = at
    spent, last = {}, begin or 0.0
    for name, at in sorted(ends.items(), key=lambda item: item[1]):
        spent[name], last = (at - last) % 86400, at
    return spent


def run(path: Path, prefix: str) -> None:
    """One batch, in a process of its own."""
    environment = {**os.environ, "BEDROCK_BATCH_PREFIX": prefix, "PREFECT_LOGGING_LEVEL": "INFO"}
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.batch", str(path), "--model", MODEL],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
        memory = Memory(process.pid)
        status = process.wait()
        memory.stop()
        log.seek(0)
        text = log.read()
    if status:
        sys.exit(text[-4000:])
    wall = time.monotonic() - started
    print(
        f"{path.stat().st_size / 1e6:,.0f} MB in {wall:.0f} s; memory of all processes {memory.resident:.0f} MB resident, "
        f"{memory.proportional:.0f} MB proportional {memory.parts}; the largest one {memory.single:.0f} MB; "
        f"{len(re.findall('Finished in state', text))} task and flow runs"
    )
    print("   " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages(text).items()))
    print(
        json.dumps({"resident_mb": memory.resident, "proportional_mb": memory.proportional, "wall_s": wall}), flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[100_000, 1_000_000])
    options = parser.parse_args()
    from prefect.testing.utilities import prefect_test_harness

    from deployments.sandbox import running

    # Its first write may find the database locked, and says so at length.
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    with (
        tempfile.TemporaryDirectory() as folder,
        running(seconds=2.0),
        prefect_test_harness(server_startup_timeout=180),
    ):
        from prefect.settings import PREFECT_API_URL

        os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""
        for lines in options.lines:
            path = Path(folder) / f"{lines}.jsonl"
            enlarge(path, lines)
            print(f"{lines:,} lines, ", end="", flush=True)
            run(path, f"scale-{lines}")
            path.unlink()


if __name__ == "__main__":
    main()
