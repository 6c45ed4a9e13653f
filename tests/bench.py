"""`make bench`: convert and normalise, each alone on one core, beside two floors measured in the same run.

Floors: `orjson.loads` + `orjson.dumps` of every line, and a plain read and write. Ratios are to the first one.
The S3 side is a sandbox process on the other core; what is reported is the CPU time of the measured process.

Last, the wall time of one and of two worker processes over the ranges of a file of requests with images, which take the
general way. There the sandbox's S3 works on the same cores, so what it takes is said beside it.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.comparison.reference import Reference
from tests.bench_run import whole_run
from tests.bench_shapes import SHAPES, write

ROOT = Path(__file__).resolve().parents[1]
#: The best of so many. A stage and its floor are measured in turn, in one process: the machine's mood changes.
REPEATS = 5
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


def floor(path: Path) -> float:
    """CPU seconds of orjson over every line."""
    import orjson

    with Measure() as parsed, path.open("rb") as lines, path.with_suffix(".copy").open("wb") as out:
        for line in lines:
            out.write(orjson.dumps(orjson.loads(line)) + b"\n")
    return parsed.cpu


def copy(path: Path) -> float:
    """CPU seconds of a plain read and write."""
    with Measure() as copied, path.open("rb") as source, path.with_suffix(".copy").open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)
    return copied.cpu


def in_turn(**stages: Callable[[], Any]) -> dict[str, float]:
    """The least CPU seconds of each stage."""
    best = dict.fromkeys(stages, math.inf)
    for _ in range(REPEATS):
        for name, stage in stages.items():
            with Measure() as measure:
                stage()
            best[name] = min(best[name], measure.cpu)
    return best


def prepare(path: Path) -> tuple[Any, Any, Callable[[], Any]]:
    """Validate the input and open the batch, as the flow does; also what to validate with."""
    from tasks.batch.options import resolve_options
    from tasks.batch.parameters import BatchParameters
    from tasks.inputs.plan import size_sampler
    from tasks.open import name_batch, resume_batch
    from tasks.validate import validate_input

    call = resolve_options(BatchParameters(input_file=str(path), model=MODEL))

    def validate() -> Any:
        return validate_input(str(path), None, call.codec.endpoints, path.parent, size_sampler(call))

    summary = validate()
    ref = name_batch(call, summary)
    return ref, resume_batch(ref, call, summary), validate


class LocalWriter:
    """Takes the place of S3Writer where conversion is measured alone: a plain local file."""

    def __init__(self, uri: object, kms_key: str | None = None) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self.bytes_written, self.etag = 0, ""

    def write(self, data: bytes | memoryview) -> int:
        self.bytes_written += len(data)
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()

    abort = close

    def __enter__(self) -> "LocalWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def convert_stage(path: Path) -> dict[str, float]:
    from tasks.convert import convert_range
    from tasks.upload import commit_shards

    ref, document, validate = prepare(path)
    # pyarrow imports pandas at its first table: not conversion's work.
    __import__("pandas")
    base = peak_mb()

    def convert(*writer: Any) -> list[Any]:
        return [convert_range(ref, document, range_, *writer) for range_ in document.bedrock.ranges]

    convert(LocalWriter)
    peak = peak_mb()
    best = in_turn(
        floor=lambda: floor(path),
        copy=lambda: copy(path),
        validate=validate,
        convert=lambda: convert(LocalWriter),
        upload=convert,
    )
    commit_shards(ref, document, convert())
    return {**best, "peak": peak - base, "size": path.stat().st_size}


def run_job(path: Path) -> dict[str, float]:
    from tasks.batch.jobs import running_shards
    from tasks.batch.store import read
    from tasks.poll import look
    from tasks.submit import submit_jobs

    ref, document, _ = prepare(path)
    submit_jobs(ref)
    document = read(ref)
    while running_shards(document):
        time.sleep(0.5)
        document = look(ref, document)
    return {}


def normalize_stage(path: Path) -> dict[str, float]:
    from tasks import aws
    from tasks.assemble import put_together
    from tasks.fetch import find_output
    from tasks.normalize import normalize_range
    from tasks.storage.uris import parse_input_uri

    ref, document, _ = prepare(path)
    section = document.bedrock
    outputs = {shard.id: find_output(ref, shard) for shard in section.shards}
    __import__("pandas")
    base = peak_mb()

    def normalize() -> list[Any]:
        return [
            normalize_range(ref, document, r, [outputs[s.id] for s in section.shards if r.index in s.ranges])
            for r in section.ranges
        ]

    results = normalize()
    peak = peak_mb()
    local = path.with_suffix(".out")
    with local.open("wb") as out:
        for written in (each for output in outputs.values() for each in output.objects):
            place = parse_input_uri(written.uri)
            aws.s3().download_fileobj(place.bucket, place.key, out)
    best = in_turn(floor=lambda: floor(local), copy=lambda: copy(local), normalize=normalize)
    with Measure() as assembling:
        put_together(ref, document, results)
    return {**best, "assemble": assembling.cpu, "peak": peak - base, "size": local.stat().st_size}


def shape_stage(path: Path) -> dict[str, float]:
    """Validate and convert a file, beside the floor."""
    from tasks.convert import convert_range

    ref, document, validate = prepare(path)

    writer: Any = LocalWriter

    def convert() -> list[Any]:
        return [convert_range(ref, document, range_, writer) for range_ in document.bedrock.ranges]

    convert()
    best = in_turn(floor=lambda: floor(path), validate=validate, convert=convert)
    return {"both": best["floor"] / (best["validate"] + best["convert"])}


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """In a worker process: the result, and the CPU seconds it took."""
    with Measure() as measure:
        done = work(*arguments)
    return done, measure.cpu


def over_ranges(pool: ProcessPoolExecutor, work: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """All calls' results with their CPU seconds, and last the wall seconds of all."""
    with Measure() as measure:
        done: list[Any] = [waiting.result() for waiting in [pool.submit(timed, work, *call) for call in calls]]
    return [*done, measure.wall]


def workers_stage(path: Path) -> dict[str, float]:
    """One worker process beside two, in turn, started beforehand."""
    from flows.runners import begin_worker
    from tasks.convert import convert_range
    from tasks.fetch import find_output
    from tasks.normalize import normalize_range
    from tasks.upload import commit_shards

    os.environ["BEDROCK_BATCH_MAX_RECORDS_PER_JOB"] = "6250"
    ref, document, _ = prepare(path)
    section = document.bedrock
    row: dict[str, float] = {}
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn, initializer=begin_worker) as one,
        ProcessPoolExecutor(2, mp_context=spawn, initializer=begin_worker) as two,
    ):

        def measure(name: str, work: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
            for pool in (one, two):
                # Each worker imports what it needs.
                over_ranges(pool, work, calls)
            walls: dict[ProcessPoolExecutor, float] = {one: math.inf, two: math.inf}
            for _ in range(REPEATS):
                for pool in (one, two):
                    *done, wall = over_ranges(pool, work, calls)
                    walls[pool] = min(walls[pool], wall)
            row[name] = walls[one] / walls[two]
            row[f"{name}_cpu"] = sum(cpu for _, cpu in done) / walls[one]
            return [result for result, _ in done]

        measure("convert", convert_range, [(ref, document, each, LocalWriter) for each in section.ranges])
        converted = measure("upload", convert_range, [(ref, document, each) for each in section.ranges])
        document = commit_shards(ref, document, converted)
        run_job(path)
        ref, document, _ = prepare(path)
        section = document.bedrock
        outputs = [
            (r, [find_output(ref, s) for s in section.shards or [] if r.index in s.ranges]) for r in section.ranges
        ]
        measure("normalize", normalize_range, [(ref, document, range_, found) for range_, found in outputs])
    return row


def compare_stage(path: Path, variants: int = 3) -> dict[str, float]:
    """Join and measure answers to every line: labels by the first half of the variants' names, texts by none."""
    from tasks.bedrock.models import parse_model
    from tasks.bedrock.prices import rate_for
    from tasks.comparison.join import Join
    from tasks.comparison.joined import Side
    from tasks.comparison.measures import measure
    from tasks.comparison.variants import Variant
    from tasks.results.files import RESULT_SCHEMA, table_writer
    from tasks.settings import load_settings
    from tasks.storage.sources import find_sources
    from tasks.storage.writer import S3Writer

    root = load_settings().root.join("compare")
    rng = random.Random(1)
    words = path.read_bytes()[:20_000].decode(errors="ignore").split()
    lines = sum(1 for _ in path.open("rb"))
    results = []
    for variant in range(variants):
        uri = root.join(f"{variant}.parquet")
        with S3Writer(uri) as out, table_writer(out) as table:
            for start in range(0, lines, 8192):
                count = min(8192, lines - start)
                numbers = range(start, start + count)
                content = [" ".join(rng.choices(words, k=60)) for _ in numbers]
                columns = {
                    "custom_id": [f"request-{n}" for n in numbers],
                    "line": [n + 1 for n in numbers],
                    "choice": [0] * count,
                    "ok": [True] * count,
                    "status_code": [200] * count,
                    "content": content,
                    "finish_reason": ["stop"] * count,
                    "prompt_tokens": [300] * count,
                    "completion_tokens": [80] * count,
                    "model": [MODEL] * count,
                    "file": ["in.jsonl"] * count,
                }
                arrays = [columns.get(field.name, [None] * count) for field in RESULT_SCHEMA]
                table.write_table(pa.table(arrays, schema=RESULT_SCHEMA))
        results.append(str(uri))
    sides = [Side(Variant(MODEL, f"v{n}"), rate_for(parse_model(MODEL), batch=True)) for n in range(variants)]
    reference = Reference({f"request-{n}": ("x",) for n in range(lines)})
    base = peak_mb()
    with Measure() as whole:
        joined = Join(sides, find_sources(str(path)), lines, reference).run(
            results, root.join("table.parquet"), root.join("answers.csv"), None
        )
        measure(joined)
    return {"compare": whole.wall, "peak": peak_mb() - base, "total": peak_mb(), "answers": lines * variants}


STAGES = {
    "convert": convert_stage,
    "job": run_job,
    "normalize": normalize_stage,
    "compare": compare_stage,
    "compare10": lambda path: compare_stage(path, 10),
    "workers": workers_stage,
    "run": whole_run,
    "shape": shape_stage,
}


def in_process(stage: str, path: Path) -> dict[str, float]:
    """Run one stage in a process of its own, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--stage", stage, "--file", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(STAGES[options.stage](options.file)))
        return
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    from deployments.sandbox import running

    with tempfile.TemporaryDirectory() as folder, running(seconds=1.0):
        os.environ["BEDROCK_BATCH_PREFIX"] = "bench"
        path = Path(folder) / "in.jsonl"
        generate(path, options.lines)
        size = path.stat().st_size
        print(f"{options.lines:,} lines, {size / options.lines:.0f} bytes a line; CPU time, one core")
        row = in_process("convert", path)
        row["both"] = row["validate"] + row["convert"]
        _table(
            row,
            {
                "floor": "orjson loads+dumps of the input",
                "copy": "read and write of the input",
                "validate": "validate",
                "convert": "convert (with index)",
                "upload": "convert, streamed into S3",
                "both": "validate + convert",
            },
        )
        in_process("job", path)
        row = in_process("normalize", path)
        _table(
            row,
            {
                "floor": "orjson loads+dumps of Bedrock's output",
                "copy": "read and write of Bedrock's output",
                "normalize": "normalise (with Parquet)",
                "assemble": "assemble and prove",
            },
        )
        some = path.with_name("some.jsonl")
        generate(some, min(options.lines, 10_000))
        print("validate + convert of files of other shapes:")
        for name in SHAPES:
            shaped = path.with_name("shaped.jsonl")
            write(name, some, shaped)
            print(f"  {name:<40}{in_process('shape', shaped)['both']:>16.2f} x floor")
        write("an image in each line", path, shaped)
        row = in_process("workers", shaped)
        for key, name in {
            "convert": "convert, requests with images",
            "upload": "convert, streamed into S3",
            "normalize": "normalise",
        }.items():
            print(
                f"two workers, {name:<29}{row[key]:>9.2f} x as fast as one, whose time was {row[key + '_cpu']:.0%} ours"
            )
        # Its first write may find the database locked, and says so at length.
        os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
        with prefect_test_harness(server_startup_timeout=180):
            os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""
            row = in_process("run", path)
        print("a whole run, CPU seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in row.items()))
        beyond = row["total"] - row["convert"] - row["normalize"]
        print(f"beyond convert and normalise: {beyond:.1f} s")
        for stage in ("compare", "compare10"):
            row = in_process(stage, path)
            print(
                f"join and measure {row['answers']:,.0f} answers: {row['compare']:.1f} s, peak {row['total']:.0f} MB "
                f"({row['peak']:.0f} MB above what was imported)"
            )


def _table(row: dict[str, float], names: dict[str, str]) -> None:
    for key, name in names.items():
        print(f"{name:<42}{row['size'] / 1e6 / row[key]:>9.0f} MB/s {row['floor'] / row[key]:>7.2f} x floor")
    print(f"{'peak memory above what was imported':<42}{row['peak']:>9.0f} MB")


if __name__ == "__main__":
    main()
