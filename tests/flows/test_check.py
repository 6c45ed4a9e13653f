"""The `check` flow end to end: what it returns, says, and leaves in the UI; it needs no bucket and sends nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows import aio
from flows.check import check
from tasks.batch.result import BatchResult
from tests.conftest import NOVA, Sandbox, chat, write_lines

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "hunter2-in-the-prompt"


@pytest.mark.usefixtures("prefect_server")
def test_check_says_what_a_run_would_make_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_BUCKET", raising=False)
    lines = [chat(f"r{i}", SECRET, max_tokens=20, **({"seed": 1} if i < 18 else {})) for i in range(150)]
    rows = [{"custom_id": f"r{i}", "label": None if i < 50 else "a", "answer": "b"} for i in range(100)]
    labels = write_lines(tmp_path / "labels.jsonl", rows)
    variants: list[str | dict[str, Any]] = [HAIKU, {"model": NOVA, "label": "lite", "overrides": {"seed": None}}]
    found = check(
        str(write_lines(tmp_path / "in.jsonl", lines)), variants, reference=str(labels), label_column="answer"
    )
    first, second = found.models
    assert (first.refused, second.refused, found.exit_code) == (18, 0, 3)
    assert found.reference is not None
    assert found.reference.matched == 100
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=50)
    shown = next(str(artifact.data) for artifact in artifacts if artifact.key == "check")
    assert "18 lines" in shown
    assert SECRET not in shown


def test_what_a_batch_cost_is_told_everywhere(sandbox: Sandbox, prefect_server: None, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"r{i}", f"Question {i}?", max_tokens=20) for i in range(120)])

    async def from_a_notebook() -> BatchResult:
        return await aio.batch_inference(str(path), NOVA, poll_seconds=0.05)

    batch = asyncio.run(from_a_notebook())
    assert batch.usage is not None
    expected = (batch.usage.input_tokens * 0.03 + batch.usage.output_tokens * 0.12) / 1e6
    assert batch.cost_usd == pytest.approx(expected, abs=1e-6)
    frame = batch.to_pandas(prompts=True)
    assert frame["cost_usd"].sum() == pytest.approx(expected)
    assert frame["prompt"].tolist() == [f"Question {i}?" for i in range(120)]
    stored = json.loads(sandbox.read(str(batch.output_file).replace("output.jsonl", "batch.json")))
    assert stored["cost_usd"] == batch.cost_usd
    assert "cost" in repr(batch)
