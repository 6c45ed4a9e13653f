"""The API server as clients meet it: a process, its runner, the sandbox behind it, and unmodified SDKs before it."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import ConflictError, OpenAI

from flows.api import run_orders
from tasks.api.calls import read_call
from tasks.api.files import FileUpload
from tasks.api.orders import get_order, place_order
from tasks.api.tenants import load_tenants
from tests.conftest import CLAUDE, Sandbox, chat, write_chats
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
KEY, SECRET = "key-of-the-tests-0123456789", "whsec_c2VjcmV0LW9mLXRlc3Rz"
ACCEPTANCE = ROOT.parent / "shared" / "acceptance" / "accept_python.py"
FINAL = ("completed", "failed", "expired", "cancelled")


class Hooks(http.server.ThreadingHTTPServer):
    """Hears of the ends of batches."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        hooks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hooks.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Server:
    """A replica."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}/v1", log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deployments.api", "--port", str(self.port)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=log.open("wb"),
        )
        until(self._listens, "the server listens")

    def _listens(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def runners(self) -> list[int]:
        """The processes of its runner."""
        children = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        pids = [int(pid) for each in children for pid in each.read_text().split()]
        return [pid for pid in pids if b"flows.api" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def close(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(180)


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hooks]:
    server = Hooks()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def server(_sandbox: Sandbox, hooks: Hooks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    config = folder / "api.toml"
    hook = f'[[webhooks]]\nurl = "http://127.0.0.1:{hooks.server_port}/"\nsecret = "{SECRET}"\n'
    config.write_text(f'model_names = {{ "gpt-4o-mini" = "{CLAUDE}" }}\n{hook}')
    environment = {
        **_sandbox.settings,
        "PREFECT_API_URL": "",
        "BEDROCK_BATCH_PREFIX": "api-tests",
        "BEDROCK_BATCH_API_KEY": KEY,
        "BEDROCK_BATCH_API_CONFIG": str(config),
        "BEDROCK_BATCH_TASK_RUNNER": "threads",
        # Large batches are several jobs, one after another.
        "BEDROCK_BATCH_MAX_RECORDS_PER_JOB": "150",
        "BEDROCK_BATCH_MAX_JOBS": "1",
    }
    replica = Server(environment, folder / "server.log")
    try:
        yield replica
    finally:
        assert replica.close() == 0, replica.log.read_text()[-3000:]


@pytest.fixture
def client(server: Server) -> OpenAI:
    return OpenAI(api_key=KEY, base_url=server.url, webhook_secret=SECRET, timeout=180)


def ended(client: OpenAI, batch_id: str) -> Any:
    def look() -> Any:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in FINAL else None

    return until(look, f"{batch_id} ends")


def upload(client: OpenAI, path: Path) -> str:
    return client.files.create(file=path.open("rb"), purpose="batch").id


def test_a_batch_by_the_openai_package(client: OpenAI, hooks: Hooks, tmp_path: Path) -> None:
    """The model is that of the lines, by another name; its end is announced, and read by the same package."""
    file = upload(client, write_chats(tmp_path / "in.jsonl", 120))
    made = client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    assert made.status == "validating"
    batch = ended(client, made.id)
    assert batch.status == "completed", batch.errors
    assert (batch.request_counts.total, batch.request_counts.completed) == (120, 120)
    lines = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"req-{number}" for number in range(120)]
    headers, body = until(lambda: [each for each in hooks.heard if made.id.encode() in each[1]], "the end is told")[0]
    event: Any = client.webhooks.unwrap(body, headers)
    assert (event.type, event.data.id) == ("batch.completed", made.id)


def test_one_callers_cancel_leaves_another_alone(client: OpenAI, tmp_path: Path) -> None:
    lines = write_chats(tmp_path / "in.jsonl", 150, max_tokens=7)
    file = upload(client, lines)
    asked: dict[str, Any] = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    one = client.batches.create(**asked, metadata={"of": "alice"})
    other = client.batches.create(**asked, metadata={"of": "bob"})
    client.batches.cancel(one.id)
    assert client.batches.create(**asked, metadata={"of": "bob"}).id == other.id
    assert ended(client, other.id).status == "completed"
    assert ended(client, one.id).status == "cancelled"
    assert [batch.metadata for batch in client.batches.list(limit=2)][:2] == [{"of": "bob"}, {"of": "alice"}]


def test_a_runner_that_is_killed_is_followed_by_another(client: OpenAI, server: Server, tmp_path: Path) -> None:
    until(server.runners, "there is a runner")
    before = server.runners()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    file = upload(client, write_chats(tmp_path / "in.jsonl", 5, max_tokens=9))
    made = client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    assert ended(client, made.id).status == "completed"
    assert not set(before) & set(server.runners())


def test_results_while_a_batch_runs(client: OpenAI, server: Server, tmp_path: Path) -> None:
    """Jobs run one after another here: what the first ones answered is told while the next ones run, and counts move."""
    file = upload(client, write_chats(tmp_path / "in.jsonl", 600, max_tokens=11))
    made = client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    seen: list[list[str]] = []
    counts: list[int] = []

    def look() -> bool:
        batch = client.batches.retrieve(made.id)
        counts.append(batch.request_counts.completed if batch.request_counts else 0)
        with contextlib.suppress(ConflictError):
            raw = client.with_options(max_retries=0).get(f"/batches/{made.id}/output", cast_to=httpx.Response)
            if raw.headers.get("x-incomplete") == "true":
                seen.append([json.loads(line)["custom_id"] for line in raw.content.splitlines()])
                # However long it took to be told: what is here was counted before.
                told = client.batches.retrieve(made.id).request_counts
                assert told
                assert told.completed >= len(seen[-1])
        return batch.status in FINAL

    until(look, "it ends")
    assert seen
    for ids in seen:
        assert ids == [f"req-{number}" for number in range(len(ids))]
        assert len(ids) % 150 == 0
    assert len(seen[0]) < 600
    assert counts == sorted(counts)
    assert len(client.files.content(client.batches.retrieve(made.id).output_file_id or "").text.splitlines()) == 600


@pytest.mark.parametrize("kind", ["python", "sh"])
def test_the_snippets_of_the_page_run_as_they_stand(server: Server, tmp_path: Path, kind: str) -> None:
    page = (ROOT / "deployments" / "docs" / "api.md").read_text(encoding="utf-8")
    snippets = [text.partition("```")[0] for text in page.split(f"```{kind}\n")[1:]]
    assert snippets
    write_chats(tmp_path / "requests.jsonl", 3)
    for text in snippets:
        code = text.replace("http://127.0.0.1:8000/v1", server.url).replace("sandbox-key-0123456789", KEY)
        command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-ec", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "error" not in done.stdout.replace("error_file_id", "").replace('"errors"', "")


def test_200_mb_come_in_flat_memory(server: Server, tmp_path: Path) -> None:
    """Of one process that serves them one after another: what the first one costs, the next ones do not add to."""
    import http.client

    block = (json.dumps(chat("x", "y" * 900)) + "\n").encode() * 1000

    def peak() -> int:
        status = Path(f"/proc/{server._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def pieces() -> Iterator[bytes]:
        yield b'--e\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
        for _ in range(200_000_000 // len(block)):
            yield block
        yield b'\r\n--e\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--e--\r\n'

    before = peak()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "multipart/form-data; boundary=e",
        "transfer-encoding": "chunked",
    }
    connection.request("POST", "/v1/files", pieces(), headers, encode_chunked=True)
    made = json.load(connection.getresponse())
    assert made["bytes"] == len(block) * (200_000_000 // len(block))
    assert peak() - before < 100 << 20


@pytest.mark.skipif(not ACCEPTANCE.exists(), reason="the acceptance script lies beside the project")
def test_acceptance_with_every_python_client(server: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    sample = write_chats(tmp_path / "in.jsonl", 30)
    arguments = ["--base-url", server.url, "--key", KEY, "--jsonl", str(sample), "--model", CLAUDE, "--odd-ids"]
    bucket = ["--bucket", sandbox.bucket, "--role-arn", sandbox.settings["BEDROCK_BATCH_ROLE_ARN"]]
    done = subprocess.run(
        [sys.executable, str(ACCEPTANCE), *arguments, *bucket],
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ACCEPTED" in done.stdout


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript clients: those of `make tools`, or from npm's registry, where there is one."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no node and npm")
    if (made := ROOT / ".tools" / "node_modules").exists():
        return made
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run([*install, "openai@6", "portkey-ai@3"], check=False, capture_output=True, timeout=120)
        if done.returncode == 0:
            return folder / "node_modules"
    pytest.skip("npm's registry gives no openai and portkey-ai")


@pytest.mark.skipif(not ACCEPTANCE.exists(), reason="the acceptance script lies beside the project")
def test_acceptance_with_every_javascript_client(server: Server, node_modules: Path, tmp_path: Path) -> None:
    script = ACCEPTANCE.with_name("accept_node.mjs")
    shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    sample = write_chats(tmp_path / "in.jsonl", 30, max_tokens=13)
    arguments = ["--base-url", server.url, "--key", KEY, "--jsonl", str(sample), "--model", CLAUDE]
    done = subprocess.run(
        ["node", script.name, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ACCEPTED" in done.stdout


def test_orders_of_a_prefect_server(
    sandbox: Sandbox, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of the deployment is asked for, once for an order; its flow drives the order to its end."""
    from prefect import get_client
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    from deployments.api.dispatch import DEPLOYMENT, PrefectRuns

    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", KEY)
    tenant = load_tenants().all[0]
    file = FileUpload(tenant)
    file.write(write_chats(tmp_path / "in.jsonl", 3).read_bytes())
    stored = file.finish("in.jsonl", None)
    order = place_order(tenant, read_call(tenant, {"input_file_id": stored.id, "model": CLAUDE}, {}))
    with get_client(sync_client=True) as prefect, contextlib.suppress(ObjectNotFound):
        # Another test on this server may have deployed all of `prefect.yaml`.
        prefect.delete_deployment(prefect.read_deployment_by_name(DEPLOYMENT).id)
    runs = PrefectRuns(load_tenants())
    runs.tell(order.id)
    with contextlib.closing(runs):
        until(runs.trouble, "Prefect has no such deployment")
        run_orders.to_deployment(name="api").apply()  # type: ignore[union-attr]
        runs.tell(order.id)

        def asked_for() -> bool:
            with get_client(sync_client=True) as prefect:
                # The last one created is the last one expected: none of this server's runs has to have begun.
                recent = prefect.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=200)
            return any(run.parameters == {"order_id": order.id} for run in recent)

        until(asked_for, "a run was asked for")
    assert run_orders(order.id) == 1
    end = get_order(tenant, order.id).final
    assert end is not None
    assert (end.status, end.request_counts.completed) == ("completed", 3)
    assert run_orders() == 0


def test_the_server_wants_a_key(sandbox: Sandbox) -> None:
    environment = {**os.environ, "BEDROCK_BATCH_API_KEY": "", "BEDROCK_BATCH_API_CONFIG": ""}
    for arguments in ((), ("--no-key", "--host", "0.0.0.0")):
        done = subprocess.run(
            [sys.executable, "-m", "deployments.api", *arguments],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 1
        assert "BEDROCK_BATCH_API_KEY" in done.stderr
