"""`make up`: a persistent Prefect server, the sandbox, the API and the deployments served; until Ctrl-C or a signal."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from deployments.processes import end
from deployments.sandbox import NOTICE, running

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "deployments" / "samples" / "support_tickets.jsonl"
LABELS = SAMPLE.with_name("support_tickets_labels.csv")
MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
MODELS = [MODEL, "us.amazon.nova-pro-v1:0", "us.amazon.nova-micro-v1:0"]
JOB_SECONDS = 20.0
#: Of the OpenAI-compatible server, where none is set.
API_KEY = "sandbox-key-0123456789"
#: How long the server may take to start, and to stop, before it is given up.
_START_SECONDS, _STOP_SECONDS = 180.0, 20.0


def _listen(port: int) -> socket.socket:
    """Take the port, or exit: what has it is not ours to use, not even another Prefect server."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except OSError:
        sys.exit(
            f"Port {port} is taken, perhaps by another Prefect server, which `make up` leaves alone: stop it, or set "
            "PREFECT_SERVER_API_PORT to a free port."
        )
    return listening


@contextlib.contextmanager
def _prefect_server(port: int) -> Iterator[None]:
    """A Prefect server of our own for the length of a block, and not a moment longer."""
    with _listen(port) as listening:
        server = subprocess.Popen(
            [sys.executable, "-m", "deployments.prefect_server", str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health", server)
        yield
    finally:
        end(server, _STOP_SECONDS)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    started = time.monotonic()
    while time.monotonic() - started < _START_SECONDS:
        if server.poll() is not None:
            sys.exit("The Prefect server did not start; see its message above.")
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 (our own server on 127.0.0.1)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit(f"The Prefect server did not answer within {_START_SECONDS:.0f} seconds.")


@contextlib.contextmanager
def _api_server(port: int) -> Iterator[None]:
    """The OpenAI-compatible server, for the length of a block. Where its port is taken, the rest goes on without."""
    os.environ.setdefault("BEDROCK_BATCH_API_KEY", API_KEY)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            print(f"Port {port} is taken: there is no OpenAI-compatible server (--api-port names another).", flush=True)
            yield
            return
    with (Path(os.environ["PREFECT_HOME"]) / "api.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "deployments.api", "--port", str(port), "--with-parent"],
            stdin=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        end(server, _STOP_SECONDS)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Start everything and serve."""
    parser = argparse.ArgumentParser(prog="python -m deployments.up", description=__doc__)
    parser.add_argument("--port", type=int, default=int(os.environ.get("PREFECT_SERVER_API_PORT", "4200")))
    parser.add_argument("--home", type=Path, default=ROOT / ".prefect", help="where run history survives")
    parser.add_argument("--api-port", type=int, default=8000, help="of the OpenAI-compatible server")
    options = parser.parse_args()
    # A request to stop and a closed terminal are Ctrl-C; but for a terminal's end under nohup.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # A home of its own: run history survives, and the user's other Prefect profile is left alone.
    os.environ["PREFECT_HOME"] = str(options.home)
    os.environ["PREFECT_SERVER_API_PORT"] = str(options.port)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{options.port}/api"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    try:
        with _prefect_server(options.port), running(seconds=JOB_SECONDS) as settings:
            _save_settings(settings)
            print(f"\n{NOTICE}\nOpen http://127.0.0.1:{options.port}/deployments and run", end=" ")
            print("'batch-inference/openai-batch' or 'compare-models/compare'.\n", flush=True)
            with _api_server(options.api_port):
                key = os.environ["BEDROCK_BATCH_API_KEY"]
                shown = key if key == API_KEY else "BEDROCK_BATCH_API_KEY"
                print(
                    f"OpenAI's clients: base_url http://127.0.0.1:{options.api_port}/v1, api_key {shown}\n", flush=True
                )
                _serve()
    except KeyboardInterrupt:
        pass
    with contextlib.suppress(OSError):
        # The terminal may be gone.
        print("\nStopped.", flush=True)


def _save_settings(settings: dict[str, str]) -> None:
    """Register the block type, and save the sandbox's settings as the block that flows look for."""
    from tasks.settings import BedrockBatchSettings

    BedrockBatchSettings.register_type_and_schema()
    block = BedrockBatchSettings(bucket=settings["BEDROCK_BATCH_BUCKET"], role_arn=settings["BEDROCK_BATCH_ROLE_ARN"])
    block.save("default", overwrite=True)


def _serve() -> None:
    from prefect import serve

    from flows.api import run_orders
    from flows.batch import batch_inference
    from flows.check import check, doctor
    from flows.cli.process import SYNTHETIC
    from flows.compare import compare_models, estimate
    from flows.operations import cancel_batch, collect_batches, list_batches, retrieve_batch

    batch = batch_inference.to_deployment(
        name="openai-batch",
        description="One OpenAI batch file on one Bedrock model, in the local sandbox: answers are synthetic.",
        tags=["bedrock", "openai", "sandbox"],
        parameters={"input_file": str(SAMPLE), "model": MODEL},
    )
    compare = compare_models.to_deployment(
        name="compare",
        description="One dataset on several models, in the local sandbox: answers are synthetic.",
        tags=["bedrock", "openai", "sandbox"],
        parameters={"input_file": str(SAMPLE), "models": MODELS, "reference": str(LABELS), "note": SYNTHETIC},
    )
    named: dict[str, Any] = {
        "cancel": cancel_batch,
        "list": list_batches,
        "show": retrieve_batch,
        "estimate": estimate,
        "check": check,
        "doctor": doctor,
    }
    # What each form is filled with, so that Submit does something.
    filled: dict[str, dict[str, Any]] = {
        "estimate": {"input_file": str(SAMPLE), "models": MODELS},
        "check": {"input_file": str(SAMPLE), "models": MODELS, "reference": str(LABELS)},
        "doctor": {"models": [MODEL]},
    }
    others = [
        flow.to_deployment(name=name, tags=["bedrock"], parameters=filled.get(name)) for name, flow in named.items()
    ]
    collect = collect_batches.to_deployment(name="collect", tags=["bedrock"], interval=60)
    orders = run_orders.to_deployment(name="api", tags=["bedrock", "openai"])
    serve(batch, orders, compare, collect, *others)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
