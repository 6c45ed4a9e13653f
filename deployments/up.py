"""`make up`: a persistent Prefect server, the sandbox, and the deployments served; until Ctrl-C."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from deployments.sandbox import NOTICE, running

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "deployments" / "samples" / "support_tickets.jsonl"
LABELS = SAMPLE.with_name("support_tickets_labels.csv")
PORT = int(os.environ.get("PREFECT_SERVER_API_PORT", "4200"))
JOB_SECONDS = 20.0


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 (our own server on 127.0.0.1)
            return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                sys.exit(f"The Prefect server did not start (is port {PORT} taken? set PREFECT_SERVER_API_PORT).")
            time.sleep(0.5)


def main() -> None:
    """Start everything and serve."""
    # A home of its own: run history survives, and the user's other Prefect profile is left alone.
    os.environ["PREFECT_HOME"] = str(ROOT / ".prefect")
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{PORT}/api"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{PORT}/api/health", server)
        with running(seconds=JOB_SECONDS):
            print(f"\n{NOTICE}\nOpen http://127.0.0.1:{PORT}/deployments and run 'batch-inference/openai-batch'")
            print("or 'compare-models/compare'.\n")
            _serve()
    except KeyboardInterrupt:
        print("\nStopped.")
    finally:
        server.terminate()
        server.wait(20)


def _serve() -> None:
    from prefect import serve

    from flows.batch import batch_inference
    from flows.cli import SYNTHETIC
    from flows.compare import compare_models, estimate
    from flows.operations import cancel_batch, collect_batches, list_batches, retrieve_batch

    batch = batch_inference.to_deployment(
        name="openai-batch",
        description="One OpenAI batch file on one Bedrock model, in the local sandbox: answers are synthetic.",
        tags=["bedrock", "openai", "sandbox"],
        parameters={"input_file": str(SAMPLE), "model": "anthropic.claude-haiku-4-5-20251001-v1:0"},
    )
    models = ["anthropic.claude-haiku-4-5-20251001-v1:0", "us.amazon.nova-pro-v1:0", "us.amazon.nova-micro-v1:0"]
    compare = compare_models.to_deployment(
        name="compare",
        description="One dataset on several models, in the local sandbox: answers are synthetic.",
        tags=["bedrock", "openai", "sandbox"],
        parameters={"input_file": str(SAMPLE), "models": models, "reference": str(LABELS), "note": SYNTHETIC},
    )
    others = [
        flow.to_deployment(name="operations", tags=["bedrock"])
        for flow in (cancel_batch, list_batches, retrieve_batch, estimate)
    ]
    collect = collect_batches.to_deployment(name="collect", tags=["bedrock"], interval=60)
    serve(batch, compare, collect, *others)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
