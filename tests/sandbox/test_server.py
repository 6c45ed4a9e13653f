"""The sandbox as a process: what it sets, how it is started, and that it ends with whoever started it."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from deployments import sandbox
from deployments.sandbox import __main__ as command
from deployments.sandbox import running, server


def test_what_is_set() -> None:
    """All that the pipeline needs, and nothing that could reach AWS."""
    assert server.environment("http://s3", "http://bedrock") == {
        "AWS_ENDPOINT_URL_S3": "http://s3",
        "AWS_ENDPOINT_URL_BEDROCK": "http://bedrock",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://bedrock",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "BEDROCK_BATCH_BUCKET": "sandbox-batches",
        "BEDROCK_BATCH_ROLE_ARN": "arn:aws:iam::123456789012:role/BedrockBatchRole",
    }


class Process:
    """The sandbox's process."""

    def __init__(self, line: str) -> None:
        self.did: list[Any] = []
        self.stdin, self.stdout = SimpleNamespace(close=lambda: self.did.append("closed")), io.StringIO(line)

    def terminate(self) -> None:
        self.did.append("terminated")

    def wait(self, seconds: float) -> None:
        self.did.append(("waited", seconds))


def started(monkeypatch: pytest.MonkeyPatch, line: str) -> tuple[Process, list[Any]]:
    process, asked = Process(line), list[Any]()

    def popen(arguments: list[str], **options: Any) -> Process:
        asked.append((arguments, options))
        return process

    monkeypatch.setattr("subprocess.Popen", popen)
    return process, asked


def test_it_is_set_for_the_block_and_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    process, asked = started(monkeypatch, json.dumps({"AWS_REGION": "of-sandbox", "NEW_OF_SANDBOX": "1"}) + "\n")
    monkeypatch.setenv("AWS_REGION", "mine")
    with pytest.raises(KeyError), running(1.5, 7, 8) as settings:
        assert settings == {"AWS_REGION": "of-sandbox", "NEW_OF_SANDBOX": "1"}
        assert os.environ["AWS_REGION"] == "of-sandbox"
        os.environ["SET_WITHIN"] = "1"
        raise KeyError
    assert os.environ["AWS_REGION"] == "mine"
    assert not {"NEW_OF_SANDBOX", "SET_WITHIN"} & os.environ.keys()
    assert process.did == ["closed", "terminated", ("waited", 10)]
    ((arguments, options),) = asked
    assert arguments == [sys.executable, "-m", "deployments.sandbox.server", "7", "8", "1.5"]
    # Its input ends with us, and Ctrl-C is not for it.
    assert options == {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
    }


def test_one_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    process, asked = started(monkeypatch, "")
    with pytest.raises(RuntimeError, match="did not start"), running():
        pass
    assert process.did[0] == "closed"
    assert asked[0][0][3:] == ["0", "0", "3.0"]


def test_it_prints_one_line_and_serves_until_its_input_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(server, "start", lambda *given: asked.append(given) or {"A": "1"})  # type: ignore[func-returns-value]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(read=lambda: asked.append("the end")))
    server.serve(1, 2, 0.5)
    assert capsys.readouterr().out == '{"A": "1"}\n'
    assert asked == [(1, 2, 0.5), "the end"]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [([], (0, 0, 3.0)), (["--s3-port", "1", "--bedrock-port", "2", "--job-seconds", "0.5"], (1, 2, 0.5))],
)
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], given: tuple[Any, ...]
) -> None:
    asked: list[Any] = []

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "start", lambda *to: asked.append(to) or {"A": "1"})  # type: ignore[func-returns-value]
    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr(sys, "argv", ["sandbox", *arguments])
    command.main()
    assert asked == [given]
    assert capsys.readouterr().out == (
        f"# {sandbox.NOTICE}\nexport A=1\n# Ctrl-C ends it; everything in it is gone then.\n"
    )
