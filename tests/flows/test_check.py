"""The `check` flow end to end: what it returns, says, and leaves in the UI; it needs no bucket and sends nothing."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows.check import check
from tests.conftest import NOVA, chat, write_lines

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "hunter2-in-the-prompt"


@pytest.mark.usefixtures("prefect_server")
def test_check_says_what_a_run_would_make_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_BUCKET", raising=False)
    lines = [chat(f"r{i}", SECRET, max_tokens=20, **({"seed": 1} if i < 18 else {})) for i in range(150)]
    labels = write_lines(tmp_path / "labels.jsonl", [{"custom_id": f"r{i}", "label": "a"} for i in range(100)])
    variants: list[str | dict[str, Any]] = [HAIKU, {"model": NOVA, "label": "lite", "overrides": {"seed": None}}]
    found = check(str(write_lines(tmp_path / "in.jsonl", lines)), variants, reference=str(labels))
    first, second = found.models
    assert (first.refused, second.refused, found.exit_code) == (18, 0, 3)
    assert found.reference is not None
    assert found.reference.matched == 100
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=50)
    shown = next(str(artifact.data) for artifact in artifacts if artifact.key == "check")
    assert "18 lines" in shown
    assert SECRET not in shown
