"""`make bench`: convert and normalise, each alone on one core, beside two floors measured in the same run.

Floors: `orjson.loads` + `orjson.dumps` of every line, and a plain read and write. Ratios are to the first one.
The S3 side is a sandbox process on the other core; what is reported is the CPU time of the measured process.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: The best of so many, of the floors and of what is held against them alike.
REPEATS = 3
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"


def generate(path: Path, lines: int) -> None:
    """Chat lines of about 1.25 KB: a system prompt, and user text of real words, some outside ASCII."""
    rng = random.Random(7)
    tickets = [json.loads(line) for line in (ROOT / "deployments/samples/support_tickets.jsonl").open(encoding="utf-8")]
    words = " ".join(ticket["body"]["messages"][1]["content"] for ticket in tickets).split(" ")
    system = tickets[0]["body"]["messages"][0]["content"]
    with path.open("w", encoding="utf-8") as out:
        for number in range(lines):
            text = " ".join(rng.choices(words, k=145))
            messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
            body = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 256, "temperature": 0.2}
            line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


class Measure:
    """CPU seconds and wall seconds of a block."""

    def __enter__(self) -> "Measure":
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._cpu
        self.wall = time.perf_counter() - self._wall


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def floors(path: Path) -> tuple[float, float]:
    """CPU seconds of orjson over every line, and of a plain read and write."""
    target = path.with_suffix(".copy")
    times = [_floors_once(path, target) for _ in range(REPEATS)]
    target.unlink()
    return min(parsed for parsed, _ in times), min(copied for _, copied in times)


def _floors_once(path: Path, target: Path) -> tuple[float, float]:
    import orjson

    with Measure() as parsed, path.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            out.write(orjson.dumps(orjson.loads(line)) + b"\n")
    with Measure() as copied, path.open("rb") as source, target.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)
    return parsed.cpu, copied.cpu


def prepare(path: Path) -> tuple[Any, Any]:
    """Validate the input and open the batch, as the flow does."""
    from tasks.batches import name_batch, resume_batch
    from tasks.order import place_order, size_sampler
    from tasks.validate import validate_input

    order = place_order(
        str(path), MODEL, endpoint=None, completion_window="24h", metadata={}, job_name=None, role_arn=None,
        output_data_config=None, on_invalid="fail", unsupported="error", below_minimum="on_demand", invocation="auto", fetch_images=False,
    )  # fmt: skip
    cpu = []
    for _ in range(REPEATS):
        with Measure() as measure:
            summary = validate_input(str(path), None, order.codec.endpoints, path.parent, size_sampler(order))
        cpu.append(measure.cpu)
    print(json.dumps({"stage": "validate", "cpu": min(cpu), "wall": measure.wall}))
    ref = name_batch(order, summary)
    return ref, resume_batch(ref, order, summary)


class LocalWriter:
    """Takes the place of S3Writer where conversion is measured alone: a plain local file."""

    def __init__(self, uri: object, kms_key: str | None = None) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self.bytes_written, self.etag, self.crc32 = 0, "", 0

    def write(self, data: bytes) -> int:
        self.bytes_written += len(data)
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()

    abort = close

    def __enter__(self) -> "LocalWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def convert_stage(path: Path) -> None:
    from tasks.convert import convert_range
    from tasks.upload import commit_shards

    ref, document = prepare(path)
    # pyarrow imports pandas at its first table: not conversion's work.
    __import__("pandas")
    base = peak_mb()
    cpu = []
    for _ in range(REPEATS):
        with Measure() as alone:
            for range_ in document.bedrock.ranges:
                convert_range(ref, document, range_, LocalWriter)
        cpu.append(alone.cpu)
    peak = peak_mb()
    with Measure() as uploading:
        converted = [convert_range(ref, document, range_) for range_ in document.bedrock.ranges]
    commit_shards(ref, document, converted)
    print(json.dumps({"stage": "convert", "cpu": min(cpu), "wall": alone.wall, "peak": peak, "base": base}))
    print(
        json.dumps({"stage": "upload", "cpu": uploading.cpu, "wall": uploading.wall, "peak": peak_mb(), "base": base})
    )


def run_job(path: Path) -> None:
    from tasks.poll import look
    from tasks.state import read
    from tasks.submit import running_shards, submit_jobs

    ref, document = prepare(path)
    submit_jobs(ref)
    document = read(ref)
    while running_shards(document):
        time.sleep(0.5)
        document = look(ref, document)


def normalize_stage(path: Path) -> None:
    from tasks.assemble import put_together
    from tasks.fetch import find_output
    from tasks.normalize import normalize_range

    ref, document = prepare(path)
    section = document.bedrock
    outputs = {shard.id: find_output(ref, shard) for shard in section.shards}
    __import__("pandas")
    base = peak_mb()
    cpu = []
    for _ in range(REPEATS):
        with Measure() as measure:
            results = [
                normalize_range(ref, document, r, [outputs[s.id] for s in section.shards if r.index in s.ranges])
                for r in section.ranges
            ]
        cpu.append(measure.cpu)
    peak = peak_mb()
    with Measure() as assembling:
        put_together(ref, document, results)
    size = sum(o.bytes for output in outputs.values() for o in output.objects)
    print(json.dumps({"stage": "normalize", "cpu": min(cpu), "wall": measure.wall, "peak": peak, "base": base,
                      "bytes": size, "assemble_cpu": assembling.cpu}))  # fmt: skip
    from tasks.bedrock import aws
    from tasks.storage.uris import parse_input_uri

    (first, *_) = [o for output in outputs.values() for o in output.objects]
    place = parse_input_uri(first.uri)
    aws.s3().download_file(place.bucket, place.key, str(path.with_suffix(".out")))


STAGES: dict[str, Callable[[Path], None]] = {"convert": convert_stage, "job": run_job, "normalize": normalize_stage}


def in_process(stage: str, path: Path) -> dict[str, dict[str, float]]:
    """Run one stage in a process of its own, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--stage", stage, "--file", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["stage"]: row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.stage:
        STAGES[options.stage](options.file)
        return
    from deployments.sandbox import running

    with tempfile.TemporaryDirectory() as folder, running(seconds=1.0):
        os.environ["BEDROCK_BATCH_PREFIX"] = "bench"
        path = Path(folder) / "in.jsonl"
        generate(path, options.lines)
        size = path.stat().st_size
        print(
            f"{options.lines:,} lines, {size / 1e6:.1f} MB, {size / options.lines:.0f} bytes a line; CPU time, one core"
        )
        parsed, copied = floors(path)
        rows = in_process("convert", path)
        in_process("job", path)
        rows |= in_process("normalize", path)
        output = path.with_suffix(".out")
        out_parsed, out_copied = floors(output)
        _row("orjson loads+dumps of the input", size, parsed, parsed)
        _row("read and write of the input", size, copied, parsed)
        _row("validate", size, rows["validate"]["cpu"], parsed)
        _row("convert (with index)", size, rows["convert"]["cpu"], parsed, rows["convert"])
        _row("convert, streamed into S3", size, rows["upload"]["cpu"], parsed, rows["upload"])
        both = rows["validate"]["cpu"] + rows["convert"]["cpu"]
        _row("validate + convert", size, both, parsed)
        out_size = output.stat().st_size
        scale = rows["normalize"]["bytes"] / out_size
        _row("orjson loads+dumps of Bedrock's output", out_size, out_parsed, out_parsed)
        _row("read and write of Bedrock's output", out_size, out_copied, out_parsed)
        _row("normalise (with Parquet)", out_size, rows["normalize"]["cpu"] / scale, out_parsed, rows["normalize"])
        _row("assemble and prove", out_size, rows["normalize"]["assemble_cpu"] / scale, out_parsed)


def _row(name: str, size: int, seconds: float, floor: float, memory: dict[str, float] | None = None) -> None:
    text = f"{name:<42}{size / 1e6 / seconds:>9.0f} MB/s {floor / seconds:>7.2f} x floor"
    if memory:
        text += f"   peak {memory['peak']:.0f} MB ({memory['peak'] - memory['base']:.0f} MB above before)"
    print(text)


if __name__ == "__main__":
    main()
