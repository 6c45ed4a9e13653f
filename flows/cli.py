"""The shell forms: `python -m flows.batch …` and `python -m flows.compare …`."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from tasks import aws
from tasks.errors import BatchFailedError, PipelineError
from tasks.openai_format.batch import Batch
from tasks.storage.objects import DOWNLOADS
from tasks.storage.uris import parse_input_uri
from tasks.support.words import counted, cut

if TYPE_CHECKING:
    from flows.compare import Comparison


class _Signalled(KeyboardInterrupt):
    """A signal asked this process to end: Ctrl-C by other means."""

    def __init__(self, number: int) -> None:
        self.number = number


def _end_in_order() -> None:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does: Python exits, and stops what it started.

    Prefect's temporary server is stopped when Python exits, which a plain SIGTERM would not let it do. While a flow
    runs, Prefect has a handler of its own, which calls this one in the end.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        for each in numbers:
            # Once is enough: a second one must not cut the tidying up short.
            signal.signal(each, signal.SIG_IGN)
        raise _Signalled(number)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            # `nohup` has the terminal's end ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


def _interrupted(error: KeyboardInterrupt) -> int:
    """The exit status, as shells have it."""
    return 128 + (error.number if isinstance(error, _Signalled) else signal.SIGINT)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What both commands take."""
    parser.add_argument("--endpoint", help="taken from the lines; given, they must match")
    parser.add_argument("--completion-window", default="24h", help="24h to 168h, or immediate (default 24h)")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    parser.add_argument("--job-name", help="start of the Bedrock jobs' names")
    parser.add_argument("--role-arn", help="service role (default BEDROCK_BATCH_ROLE_ARN)")
    parser.add_argument("--output-location", metavar="S3_URI", help="put the result files here too, under the batch id")
    parser.add_argument("--on-invalid", choices=("fail", "skip"), default="fail")
    parser.add_argument("--unsupported", choices=("error", "drop"), default="error")
    parser.add_argument("--below-minimum", choices=("on_demand", "pad", "fail"), default="on_demand")
    parser.add_argument("--invocation", choices=("auto", "InvokeModel", "Converse"), default="auto")
    parser.add_argument("--fetch-images", action="store_true", help="fetch http(s) images (public addresses only)")
    parser.add_argument("--poll-seconds", type=float, help="fixed seconds between looks (default adaptive)")
    parser.add_argument("--retry-failed", action="store_true", help="ask what has no answer again, and only that")
    parser.add_argument("--output-dir", type=Path, help="download the result files into this folder")
    parser.add_argument("--sandbox", action="store_true", help="run in the local sandbox: no AWS, synthetic answers")


def _common(options: argparse.Namespace) -> dict[str, Any]:
    location = options.output_location
    return {
        "endpoint": options.endpoint,
        "completion_window": options.completion_window,
        "metadata": dict(pair.partition("=")[::2] for pair in options.metadata),
        "job_name": options.job_name,
        "role_arn": options.role_arn,
        "output_data_config": {"s3OutputDataConfig": {"s3Uri": location}} if location else None,
        "on_invalid": options.on_invalid,
        "unsupported": options.unsupported,
        "below_minimum": options.below_minimum,
        "poll_seconds": options.poll_seconds,
        "retry_failed": options.retry_failed,
        "invocation": options.invocation,
        "fetch_images": options.fetch_images,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.batch",
        description="Run an OpenAI batch file on one Amazon Bedrock model. The same call again resumes.",
    )
    parser.add_argument("input_file", help="path, s3:// URI, folder or glob of .jsonl files (.gz, .zst)")
    parser.add_argument("--model", required=True, help="model id, inference profile id or ARN")
    _add_common(parser)
    leaving = parser.add_mutually_exclusive_group()
    leaving.add_argument(
        "--no-wait", action="store_true", help="submit and leave; the same command, or a collector, goes on"
    )
    leaving.add_argument("--stop", action="store_true", help="Ctrl-C stops the jobs and collects what was answered")
    return parser


def _comparison_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare",
        description="Run an OpenAI batch file on several Amazon Bedrock models and compare them. The same call again "
        "resumes.",
    )
    parser.add_argument("input_file", help="path, s3:// URI, folder or glob of .jsonl files (.gz, .zst)")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="MODEL|JSON",
        dest="models",
        help='repeatable: a model id, or {"model": …, "label": …, "overrides": {…}}',
    )
    parser.add_argument("--reference", help="right answers by custom_id: JSON lines, CSV or Parquet, column label")
    parser.add_argument("--judge", metavar="MODEL|JSON", help="a model that compares the answers two by two")
    parser.add_argument("--max-cost-usd", type=float, help="refuse to start where it might cost more")
    parser.add_argument("--estimate", action="store_true", help="say what it would cost, and submit nothing")
    _add_common(parser)
    return parser


def _model(text: str) -> str | dict[str, Any]:
    """A model id, or a variant in JSON. Raises PipelineError."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        variant: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise PipelineError(f"{cut(text, 80)!r} is no JSON: {error}") from None
    return variant


def run_comparison(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 130 interrupted, 143 terminated."""
    options = _comparison_parser().parse_args(arguments)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    from flows.compare import compare_models, estimate

    _end_in_order()
    with _sandbox() if options.sandbox else contextlib.nullcontext():
        try:
            _require_server()
            models = [_model(text) for text in options.models]
            if options.estimate:
                _print_estimate(estimate(options.input_file, models, options.endpoint, options.completion_window))
                return 0
            comparison = compare_models(
                options.input_file,
                models,
                reference=options.reference,
                judge=_model(options.judge) if options.judge else None,
                max_cost_usd=options.max_cost_usd,
                note=SYNTHETIC if options.sandbox else None,
                **_common(options),
            )
        except PipelineError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as error:
            print(
                "\nStopped waiting. The Bedrock jobs go on; run the same command again to carry on from there, or "
                "call flows.operations.cancel_batch for each batch to stop them.",
                file=sys.stderr,
            )
            return _interrupted(error)
        files = {"report": comparison.report_file, "table": comparison.table_file, "answers": comparison.wide_file}
        status = 0
        if options.output_dir:
            try:
                files = _download_comparison(comparison, files, options.output_dir)
            except PipelineError as error:
                print(f"error: {error}", file=sys.stderr)
                status = 1
        print()
        for sentence in comparison.verdict:
            print(f"  {sentence}")
        print()
        for name, place in files.items():
            print(f"  {name:<8}{place}")
        logging.shutdown()
        return status


#: What a report made in the sandbox says at its top.
SYNTHETIC = (
    "Synthetic: this ran in the local sandbox. The answers are made up, and so are the differences between the models; "
    "the prices are real ones, applied to made-up token counts."
)


def _download_comparison(comparison: "Comparison", files: dict[str, str | None], folder: Path) -> dict[str, str | None]:
    target = folder / comparison.id
    with _saving(target):
        target.mkdir(parents=True, exist_ok=True)
    found: dict[str, str | None] = {}
    for name, uri in files.items():
        if uri:
            found[name] = str(_save(uri, target))
    with _saving(target):
        (target / "comparison.json").write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return found


@contextlib.contextmanager
def _saving(target: Path) -> Iterator[None]:
    """A block that writes result files into a folder. Raises PipelineError: they are in S3, whatever happens here."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, "downloading the result files") from error
    except OSError as error:
        raise PipelineError(
            f"The result files cannot be saved in {target} ({error.strerror or type(error).__name__}): name another "
            "--output-dir, or make room there. They are in S3, and the same command gets them again."
        ) from error


def _save(uri: str, target: Path) -> Path:
    place = parse_input_uri(uri)
    path = target / place.key.rsplit("/", 1)[-1]
    with _saving(target):
        aws.s3().download_file(place.bucket, place.key, str(path), Config=DOWNLOADS)
    return path


def _print_estimate(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        cost = "no price known" if row["max_cost_usd"] is None else f"at most ${row['max_cost_usd']:,.4f}"
        basis = f" ({row['rate']['basis']}, {row['rate']['seen']})" if row["rate"] else ""
        print(
            f"  {row['label']}: {counted(row['requests'], 'request')}, {counted(row['jobs'], 'job')}, about "
            f"{counted(row['input_tokens'], 'token')} in, at most {row['max_output_tokens']:,} out: {cost}{basis}"
        )


def run_batch(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 130 interrupted, 143 terminated."""
    parser = _parser()
    options = parser.parse_args(arguments)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    from flows.batch import batch_inference
    from flows.runners import spare_memory

    spare_memory()
    _end_in_order()
    with _sandbox() if options.sandbox else contextlib.nullcontext():
        try:
            _require_server()
            batch = batch_inference(options.input_file, options.model, wait=not options.no_wait, **_common(options))
            status = 0
        except BatchFailedError as error:
            print(f"error: {error}", file=sys.stderr)
            batch, status = error.batch, 1
        except PipelineError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as error:
            if options.stop and (stopped := _stop()) is not None:
                print_table(stopped, _downloaded(stopped, options.output_dir)[0])
                return _interrupted(error)
            print(
                "\nStopped waiting. The Bedrock jobs go on; run the same command again to carry on from there, or "
                "call flows.operations.cancel_batch to stop them.",
                file=sys.stderr,
            )
            return _interrupted(error)
        files, saved = _downloaded(batch, options.output_dir)
        print_table(batch, files)
        return status if saved else 1


def _downloaded(batch: Batch, folder: Path | None) -> tuple[dict[str, Path], bool]:
    """The result files as far as they were wanted, and whether they could be had; that they could not is said."""
    try:
        return download(batch, folder) if folder else {}, True
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return {}, False


def _require_server() -> None:
    """Raise PipelineError where the Prefect server that is set does not answer: a run would end in a traceback."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        with get_client(sync_client=True) as client:
            problem: Exception | None = client.api_healthcheck()
    except ValueError as error:
        problem = error
    if problem is None:
        return
    parts = urlsplit(url)
    # A password may stand in it.
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    raise PipelineError(
        f"The Prefect server at {place} (PREFECT_API_URL) does not answer ({type(problem).__name__}): start it, or run "
        "without one: `unset PREFECT_API_URL`, or `prefect config unset PREFECT_API_URL` where a profile sets it."
    )


def _stop() -> Batch | None:
    """Stop the jobs of the interrupted run and collect what was answered; None where it had no batch yet."""
    from flows.operations import cancel_batch
    from tasks.batch.registry import latest_batch

    ref = latest_batch()
    if ref is None:
        return None
    print(
        "\nStopping the Bedrock jobs; what was answered is collected. Ctrl-C again leaves that to cancel_batch.",
        file=sys.stderr,
    )
    return cancel_batch(ref.batch_id)


@contextlib.contextmanager
def _sandbox() -> Iterator[None]:
    from deployments.sandbox import NOTICE, running

    print(NOTICE, file=sys.stderr)
    # Nothing leaves this machine; a temporary Prefect server would say at length that its telemetry failed.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with running():
        yield


def download(batch: Batch, folder: Path) -> dict[str, Path]:
    """Copy a batch's result files and its Batch object into a local folder; returns them by name."""
    target = folder / batch.id
    with _saving(target):
        target.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, uri in (("output", batch.output_file), ("errors", batch.error_file), ("parquet", batch.parquet_file)):
        if uri:
            files[name] = _save(uri, target)
    batch_file = target / "batch.json"
    with _saving(target):
        batch_file.write_text(json.dumps(batch.model_dump(), indent=2) + "\n", encoding="utf-8")
    return {**files, "batch": batch_file}


def account_of(batch: Batch) -> str:
    """What became of a batch's requests, as a sum that is one."""
    counts = batch.request_counts
    rest = counts.total - counts.completed - counts.failed
    if not rest:
        return (
            f"{counts.total:,} = {counts.completed:,} answered + {counts.failed:,} failed" if counts.total else "none"
        )
    left = "without an answer" if batch.finished else "still open"
    if rest == counts.total:
        return f"{counts.total:,}, {left}"
    parts = ((counts.completed, "answered"), (counts.failed, "failed"), (rest, left))
    return f"{counts.total:,} = " + " + ".join(f"{number:,} {what}" for number, what in parts if number)


def print_table(batch: Batch, files: dict[str, Path]) -> None:
    """A short table of what came of a batch, for people."""
    usage = batch.usage
    rows = [
        ("batch", batch.id),
        ("status", batch.status),
        ("model", batch.model or ""),
        ("requests", account_of(batch)),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out" if usage else "unknown"),
    ]
    uris = {"output": batch.output_file, "errors": batch.error_file, "parquet": batch.parquet_file}
    rows += [(name, str(files.get(name) or uri)) for name, uri in uris.items() if uri]
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    logging.shutdown()
