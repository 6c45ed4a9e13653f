"""No prompt, answer, credential or signed URL in logs, artifacts, states or error messages: planted secrets are sought."""

import logging
from pathlib import Path
from typing import Any

import pytest

from flows.batch import BatchFailedError, batch_inference
from tests.conftest import CLAUDE, Sandbox, chat, write_lines
from tests.flows.processes import Nursery

PROMPT, SYSTEM, ODD = "hunter2-in-the-prompt", "system-secret-4711", "secret-of-a-bad-line-0815"
KEY, ACCESS = "wJalrXUtnFEMI-secret-key", "AKIASECRETACCESSKEY0"
SIGNED = "https://bucket.s3.amazonaws.com/x.png?X-Amz-Signature=deadbeefcafe"


def lines() -> list[Any]:
    good = [chat(f"req-{i}", f"{PROMPT} {i}", max_tokens=50) for i in range(160)]
    good[3]["body"]["messages"].insert(0, {"role": "system", "content": SYSTEM})
    picture = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": SIGNED}}]
    good[5] = chat("req-5", messages=[{"role": "user", "content": picture}])
    good[7] = chat("req-7", PROMPT, logit_bias={PROMPT: 1})
    good[9] = chat("req-9", PROMPT, response_format={"type": PROMPT})
    good[11] = chat("req-11", messages=[{"role": PROMPT, "content": ODD}])
    return good


BAD = ['{"custom_id": "x", "' + ODD, chat("req-1", ODD), {**chat("y", ODD), "url": 3}, {**chat("z"), "method": [ODD]}]


@pytest.mark.parametrize("on_invalid", ["skip", "fail"])
def test_planted_secrets_stay_where_they_were(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_invalid: str
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    errors = {"rate": 0.1, "code": 429, "message": "slow down", "times": 1}
    sandbox.faults(record_errors=errors, throttle=0.1, s3_throttle=0.1, garbled=2)
    path = str(write_lines(tmp_path / "in.jsonl", [*lines(), *BAD]))
    run = runs.start("batch_inference", path, CLAUDE, on_invalid=on_invalid, poll_seconds=0.05)
    assert run.wait() == 0
    sandbox.faults(throttle=0, s3_throttle=0)
    failed = on_invalid == "fail"
    assert run.reply.get("error") == ("BatchFailedError" if failed else None), run.log.read_text()[-2000:]
    shown = [run.log.read_text(), run.reply.get("message", "")]
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)
        shown += [f"{artifact.description} {artifact.data}" for artifact in artifacts]
        shown += [run.model_dump_json() for run in client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=200)]
    for key in sandbox.keys(""):
        if key.endswith(("batch.json", "invalid.jsonl")) and "runs/" not in key:
            shown.append(sandbox.read(f"s3://{sandbox.bucket}/{key}").decode())
    everything = "\n".join(shown)
    assert "requests" in everything
    for secret in (PROMPT, SYSTEM, ODD, KEY, ACCESS, "deadbeefcafe"):
        where = everything.find(secret)
        assert where < 0, everything[max(0, where - 200) : where + 100]


MARKUP = "![x](http://evil.example/x.png) <img src=x> [y](javascript:alert(1))"


@pytest.mark.parametrize("fails", [False, True])
def test_what_bedrock_echoes_stays_in_the_error_file(
    sandbox: Sandbox, runs: Nursery, tmp_path: Path, fails: bool
) -> None:
    """Its messages quote prompts, and a job's may; custom_ids are markup: none of it is shown or alive in Prefect."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort

    echo = f"Malformed input request: {PROMPT} {ODD} {MARKUP}"
    sandbox.faults(record_errors={"rate": 0.5, "code": 400, "message": echo})
    if fails:
        sandbox.faults(job_ends=[{"status": "Failed", "message": f"Validation failed: {PROMPT} {MARKUP}"}] * 4)
    path = write_lines(tmp_path / "in.jsonl", [chat(f"{MARKUP}{i}", f"{PROMPT} {i}", max_tokens=9) for i in range(120)])
    with get_client(sync_client=True) as client:
        # The server keeps those of other tests (more than one page of them, in any order unless told), and a
        # comparison's holds a link of our own.
        before = {each.id for each in client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)}
    run = runs.start("batch_inference", str(path), CLAUDE, poll_seconds=0.05)
    assert run.wait() == 0
    assert run.reply.get("error") == ("BatchFailedError" if fails else None), run.log.read_text()[-2000:]
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=200)
    artifacts = [f"{each.description} {each.data}" for each in found if each.id not in before]
    assert artifacts
    written = [
        sandbox.read(f"s3://{sandbox.bucket}/{k}").decode() for k in sandbox.keys("") if k.endswith("batch.json")
    ]
    everything = "\n".join([run.log.read_text(), run.reply.get("message", ""), *artifacts, *written])
    for secret in (PROMPT, ODD):
        where = everything.find(secret)
        assert where < 0, everything[max(0, where - 200) : where + 100]
    assert not [
        each for each in artifacts if "](" in each.replace("\\](", "") or "<img" in each or "http://evil" in each
    ]
    if not fails:
        assert "malformed input request" in "".join(artifacts)
        errors = [
            sandbox.read(f"s3://{sandbox.bucket}/{k}").decode() for k in sandbox.keys("") if k.endswith("errors.jsonl")
        ]
        assert any(ODD in each for each in errors), "the user's own file has the whole message"


@pytest.mark.usefixtures("prefect_server")
def test_errors_of_python_calls_hold_none(sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = write_lines(tmp_path / "in.jsonl", BAD)
    with pytest.raises(BatchFailedError) as caught:
        batch_inference(str(path), CLAUDE)
    text = f"{caught.value}{caught.value.batch.model_dump_json()}{caplog.text}"
    assert not [secret for secret in (PROMPT, ODD) if secret in text]
    assert sandbox.calls("CreateModelInvocationJob") == 0
