"""What is shipped for EventBridge, on a Prefect server; `test_operated.py` has what prefect.yaml deploys."""

import json
import os
import subprocess
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CLAUDE, Sandbox, account, write_chats

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def prefect_cli(prefect_server: None, sandbox: Sandbox) -> list[str]:
    from prefect.settings import PREFECT_API_URL

    os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""
    return [sys.executable, "-m", "prefect", "--no-prompt"]


def run(command: list[str], **kwargs: object) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=180,
        env={**os.environ, "PWD": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_event_of_eventbridge_starts_the_collector(
    sandbox: Sandbox, tmp_path: Path, prefix: str, prefect_cli: list[str]
) -> None:
    """Both ways that are shipped, on a Prefect server: webhook and automation, and a call by an API destination."""
    import httpx
    import jinja2
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    from flows.batch import batch_inference
    from flows.operations import collect_batches

    folder = ROOT / "deployments" / "eventbridge"
    api = os.environ["PREFECT_API_URL"]
    collect: Any = collect_batches.to_deployment(name="collect-on-event")
    deployment = collect.apply()
    automation = (folder / "automation.yaml").read_text(encoding="utf-8")
    assert automation.count("00000000-0000-0000-0000-000000000000") == 1
    (tmp_path / "automation.yaml").write_text(
        automation.replace("00000000-0000-0000-0000-000000000000", str(deployment)), encoding="utf-8"
    )
    run([*prefect_cli, "automation", "create", "--from-file", str(tmp_path / "automation.yaml")])

    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 120)), CLAUDE, wait=False)
    assert batch.status == "in_progress"
    sandbox.wait_for_jobs(prefix, status="Completed")
    (job,) = sandbox.jobs(prefix)
    event = {
        "version": "0",
        "id": "a1b2c3d4",
        "detail-type": "Batch Inference Job State Change",
        "source": "aws.bedrock",
        "account": "123456789012",
        "time": "Wed Aug 28 22:58:30 UTC 2024",
        "region": "us-east-1",
        "resources": [job["jobArn"]],
        "detail": {
            "version": "0.0",
            "accountId": "123456789012",
            "batchJobName": job["jobName"],
            "batchJobArn": job["jobArn"],
            "batchModelId": f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}",
            "status": "Completed",
            "failureMessage": "",
            "creationTime": "Aug 28, 2024, 10:47:53 PM",
        },
    }
    # What Prefect Cloud's webhook does with what API destination delivers; a server of one's own takes events as well.
    template = jinja2.Template((folder / "webhook_template.json").read_text(encoding="utf-8"))
    posted = json.loads(template.render(body=event))
    # Of its deployment only: the server of all tests knows more runs than it lists at a time.
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    started: list[dict[str, Any]] = []
    for attempt in range(900):
        if attempt % 90 == 0:
            # Once is enough, unless the server's SQLite is busy: what an automation could not do is not done again.
            occurred = datetime.now(timezone.utc).isoformat()
            event_of_prefect = {**posted, "id": str(uuid.uuid4()), "occurred": occurred}
            httpx.post(f"{api}/events", json=[event_of_prefect], timeout=180).raise_for_status()
        with get_client(sync_client=True) as client:
            started = [each.parameters for each in client.read_flow_runs(deployment_filter=mine)]
        if started:
            break
        time.sleep(0.2)
    assert started
    assert all(parameters == {"event": event} for parameters in started)
    # The other way: EventBridge's input transformer makes the call that starts the deployment itself.
    transformer = json.loads((folder / "create_flow_run.json").read_text(encoding="utf-8"))
    assert transformer["InputPathsMap"] == {"event": "$"}
    body = transformer["InputTemplate"].replace("<event>", json.dumps(event))
    reply = httpx.post(f"{api}/deployments/{deployment}/create_flow_run", content=body, timeout=180)
    assert reply.raise_for_status().json()["parameters"] == {"event": event}
    (collected,) = collect_batches(**started[0])
    assert (collected.id, collected.status) == (batch.id, "completed")
    account(sandbox, collected, [f"req-{i}" for i in range(120)])
