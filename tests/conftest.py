"""The sandbox, a Prefect server, fakes of both in memory, and small ways to make inputs and read results."""

import functools
import json
import logging
import os
import re
import subprocess
import sys
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest

from tests.fakes import Cloud, install
from tests.waiting import until

#: Time is never tested by the clock: a busy machine must not fail a property.
hypothesis.settings.register_profile("batch", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("batch")

#: Sample files by whose they are: ours (`tests/samples/make.py` writes them), and public ones that lie beside the project.
SAMPLES = {
    "ours": Path(__file__).resolve().parent / "samples",
    "public": Path(__file__).resolve().parents[1].parent / "shared" / "samples",
}
CLAUDE = "anthropic.claude-3-5-haiku-20241022-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"


def sample_files(*numbers: str, whose: Iterable[str] = SAMPLES) -> list[Any]:
    """The sample files of some kinds, or of all: a parameter each. The public ones where they are there."""
    files = [(name, path) for name in whose for path in sorted(SAMPLES[name].glob("*.jsonl"))]
    return [
        pytest.param(path, id=f"{name}-{path.name[:2]}")
        for name, path in files
        if not numbers or path.name[:2] in numbers
    ]


def refusals(lines: list[dict[str, Any]]) -> "Counter[str]":
    """What must be refused of a sample file's lines, whatever the model and the options: the codes, and how often each."""
    models, ids = [line["body"].get("model") for line in lines], [line["custom_id"] for line in lines]
    token_ids = sum(
        isinstance(line["body"].get("prompt"), list) and line["body"]["prompt"][0] in range(1 << 20) for line in lines
    )
    return +Counter(
        {
            "mismatched_model": sum(model != models[0] for model in models),
            "duplicate_custom_id": len(ids) - len(set(ids)),
            "unsupported_parameter": token_ids,
        }
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]


class Sandbox:
    """The running sandbox, as a test drives it."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.url = settings["AWS_ENDPOINT_URL_BEDROCK"]
        self.bucket = settings["BEDROCK_BATCH_BUCKET"]
        self.s3 = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL_S3"])
        #: Whether the test has asked for faults, and what was logged in its process as a warning or worse.
        self.faulty = False
        self.logged: list[str] = []

    def _call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_sandbox/{path}", data), timeout=120) as reply:
            return json.load(reply)

    def faults(self, **changes: Any) -> None:
        self.faulty = True
        self._call("faults", changes)

    def reset(self) -> None:
        self._call("reset", {})

    def journal(self) -> dict[str, Any]:
        journal: dict[str, Any] = self._call("journal")
        return journal

    def calls(self, operation: str) -> int:
        return int(self.journal()["calls"].get(operation, 0))

    def jobs(self, prefix: str = "") -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._call("jobs")
        return [job for job in jobs if prefix in job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]]

    def wait_for_jobs(
        self, prefix: str, count: int = 1, status: str = "InProgress", process: "subprocess.Popen[str] | None" = None
    ) -> None:
        """Until so many jobs of a prefix are in a state; sooner if the process that is to make them has ended."""

        def there() -> bool:
            assert process is None or process.poll() is None, process.communicate(timeout=60)
            return len([job for job in self.jobs(prefix) if job["status"] == status]) >= count

        until(there, f"{count} jobs are {status}")

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def uploads(self) -> list[Any]:
        return self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def read(self, uri: str | None) -> bytes:
        assert uri is not None
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def lines(self, uri: str | None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(uri).split(b"\n") if line] if uri else []


#: Where a run's own log goes, and its tasks'.
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class _Warnings(logging.Handler):
    """Keeps the warnings of our own code, and what is worse."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())


#: What takes seconds to start. Tests that need none of it are `make unit`.
SERVERS = frozenset({"prefect_server", "_sandbox", "_nursery"})


#: A unit test takes milliseconds, the longest some seconds; a busy machine takes many times as long.
UNIT_SECONDS = 180

#: The files that take minutes, the longest first: begun last, one of them would keep one worker busy at the end.
LONGEST = [
    "test_operated",
    "test_api",
    "test_faults",
    "test_compare",
    "test_resume",
    "test_scale",
    "test_in_memory",
    "test_runners",
    "test_lease",
    "test_kill",
    "test_ending",
    "test_batch",
    "test_every_family",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, by what their fixtures ask for: before -m selects. Put the longest first.

    One that needs none and hangs is red within three minutes; pytest's own `timeout` is for the others.
    """
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.e2e)
        elif item.get_closest_marker("timeout") is None and "FUZZ" not in os.environ:
            item.add_marker(pytest.mark.timeout(UNIT_SECONDS))
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """What a test's command sets in this process (`flows.cli` sets Prefect's log level) ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _no_hidden_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that has not asked for a Prefect server starts none: Prefect does so by itself, in half a minute."""
    if "prefect" not in sys.modules or "prefect_server" in request.fixturenames:
        yield
        return
    from prefect.context import SettingsContext

    with SettingsContext(**_without_server()):
        yield


@functools.cache
def _without_server() -> dict[str, Any]:
    """Prefect's profile and settings for a test without a server: 20 ms to make, eight thousand times."""
    from prefect.context import GLOBAL_SETTINGS_CONTEXT
    from prefect.settings import PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    assert GLOBAL_SETTINGS_CONTEXT is not None
    before = GLOBAL_SETTINGS_CONTEXT
    settings = before.settings.copy_with_update({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False})
    return {"profile": before.profile, "settings": settings}


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    from deployments.sandbox import running

    with running(seconds=0.2) as settings:
        yield Sandbox(settings)


@pytest.fixture
def sandbox(_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The sandbox without faults, and a prefix of the test's own."""
    for name in list(os.environ):
        if name.startswith("BEDROCK_BATCH_"):
            monkeypatch.delenv(name)
    for name, value in _sandbox.settings.items():
        monkeypatch.setenv(name, value)
    # Worker processes take seconds to start; the tests that are about them ask for them.
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "threads")
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", f"test-{uuid.uuid4().hex[:12]}")
    _sandbox.reset()
    _sandbox.faulty, _sandbox.logged = False, []
    ours = _Warnings(_sandbox.logged)
    loggers = [logging.getLogger(name) for name in ("bedrock-batch", "bedrock_batch", "tasks", "flows", *RUN_LOGGERS)]
    for logger in loggers:
        logger.addHandler(ours)
    yield _sandbox
    for logger in loggers:
        logger.removeHandler(ours)
    _sandbox.reset()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """S3 and Bedrock in memory, for unit tests."""
    return install(monkeypatch)


@pytest.fixture
def prefix(sandbox: Sandbox) -> str:
    return os.environ["BEDROCK_BATCH_PREFIX"]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's own test harness: a temporary server and database."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    # Its first write may find the database locked, and says so at length.
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    # The thread that sends them is waited for at each flow's end, in steps of a second: a third of the suite's time.
    without_heartbeats = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with prefect_test_harness(server_startup_timeout=180), without_heartbeats:
        yield


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows and tasks as plain functions (`tests/direct.py`)."""
    from tests.direct import call_directly

    call_directly(monkeypatch.setattr)


def chat(custom_id: str, text: str = "Hello there", **body: Any) -> dict[str, Any]:
    """A chat completion line."""
    messages = body.pop("messages", [{"role": "user", "content": text}])
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": messages, **body},
    }


def write_lines(path: Path, lines: list[Any], end: str = "\n") -> Path:
    """Write lines; strings as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_bytes(end.join([*texts, ""]).encode())
    return path


def write_chats(path: Path, count: int, **body: Any) -> Path:
    return write_lines(path, [chat(f"req-{i}", f"Question number {i}?", **body) for i in range(count)])


@functools.cache
def shapes() -> dict[str, Any]:
    """OpenAI's own types of what comes back, by what a body says that it is. They take a second to import."""
    from openai.types import Completion, CreateEmbeddingResponse
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

    return {
        "chat.completion": ChatCompletion,
        "text_completion": Completion,
        "response": Response,
        "list": CreateEmbeddingResponse,
    }


def account(
    sandbox: Sandbox,
    batch: Any,
    expected_ids: Sequence[str | None],
    *,
    warnings: Sequence[str] | None = (),
    logged: Sequence[str] | None = None,
) -> tuple[list[Any], list[Any]]:
    """Assert promise 1 on a batch's files, independently of the pipeline; returns output and error lines.

    A healthy batch is silent: it has the `warnings` that a test expects (regular expressions, one for each; None for any)
    and no other, and what the test's process logged as a warning are those and the `logged` ones. With faults, anything
    may be logged where the test does not say what.
    """
    output, errors = sandbox.lines(batch.output_file), sandbox.lines(batch.error_file)
    order = {custom_id: place for place, custom_id in reversed(list(enumerate(expected_ids)))}
    for lines in (output, errors):
        places = [order[line["custom_id"]] for line in lines]
        assert places == sorted(places), "not in the order of the input"
    ids = [line["custom_id"] for line in output + errors]
    assert sorted(ids, key=str) == sorted(expected_ids, key=str)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (len(expected_ids), len(output), len(errors))
    for line in output:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        shapes()[line["response"]["body"]["object"]].model_validate(line["response"]["body"], strict=True)
    for line in errors:
        assert (line["response"] is None) != (line["error"] is None)
        assert line["response"] is None or line["response"]["status_code"] >= 400
    if warnings is None:
        return output, errors
    if errors and not output:
        # Where nothing was sent, that is said instead, and what was wrong with the requests is logged.
        causes = "see the error file for the causes$"
        warnings = [*warnings, f"^(no request was answered|nothing was sent, and nothing is paid for): {causes}"]
    document = json.loads(sandbox.read(f"{batch.parquet_file.partition('/batches/')[0]}/batches/{batch.id}/batch.json"))
    assert [*_unmatched(warnings, document["bedrock"]["warnings"])] == []
    if logged is not None or not sandbox.faulty:
        assert [*_unmatched([*warnings, *(logged or ())], sandbox.logged, all_found=False)] == []
    return output, errors


#: What a run says: before it sends anything, of too few records for a job; and of requests it refuses, what and where.
FEWER = r"^Fewer records than a job takes \(100\): they are asked on demand, at the full price"
REFUSED = r"^Will not be sent: [1-9]|^[0-9,]+ lines?: .*, first line [0-9,]+$|\(.*, line [0-9,]+\)$"
ANYTHING = ""


def _unmatched(patterns: Sequence[str], texts: Sequence[str], *, all_found: bool = True) -> Iterator[str]:
    """The texts that no pattern is for; and the patterns that no text is for."""
    for text in texts:
        if not any(re.search(pattern, text) for pattern in patterns):
            yield text
    for pattern in patterns if all_found else ():
        if not any(re.search(pattern, text) for text in texts):
            yield f"(nothing said: {pattern})"


@pytest.fixture(scope="session")
def _nursery(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Any]:
    from tests.flows.processes import nursery

    with nursery(tmp_path_factory.mktemp("runs")) as ready:
        yield ready


@pytest.fixture
def runs(_nursery: Any, prefect_server: None, sandbox: Sandbox) -> Any:
    """Runs of the pipeline in processes of their own."""
    return _nursery
