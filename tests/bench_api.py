"""`python -m tests.bench_api`: how long the API server takes to answer, in the sandbox, one call after another."""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import CLAUDE, chat
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
KEY = "bench-key-0123456789"


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "BEDROCK_BATCH_API_KEY": KEY, "PREFECT_API_URL": ""}
    server = subprocess.Popen(
        [sys.executable, "-m", "deployments.api", "--sandbox", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "the server listens")
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def call(method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
            connection.request(method, path, body, {"authorization": f"Bearer {KEY}", **headers})
            reply = connection.getresponse()
            data = reply.read()
            assert reply.status == 200, data
            return json.loads(data)

        line = json.dumps({**chat("a"), "body": {**chat("a")["body"], "model": CLAUDE}}).encode() + b"\n"
        form = (
            b'--e\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--e\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + line + b"\r\n--e--\r\n"
        )
        head = {"content-type": "multipart/form-data; boundary=e"}
        file = call("POST", "/v1/files", form, **head)["id"]
        # While the runner and its Prefect server start, the machine is not quiet.
        time.sleep(30)

        def create(number: int) -> None:
            asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "metadata": {"n": str(number)}}
            call("POST", "/v1/batches", json.dumps(asked).encode())

        measure("create a batch", 50, create)
        measure("upload a small file", 50, lambda _: call("POST", "/v1/files", form, **head))
        measure("a page of 50 batches", 10, lambda _: call("GET", "/v1/batches?limit=50"))
    finally:
        server.terminate()
        server.wait(60)


def measure(what: str, times: int, work: Callable[[int], Any]) -> None:
    taken = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        taken.append(1000 * (time.perf_counter() - began))
    print(f"{what}: {statistics.median(taken):.0f} ms (median of {times}), {max(taken):.0f} at most", flush=True)


if __name__ == "__main__":
    main()
