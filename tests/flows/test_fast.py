"""The short cuts come to the same: one file both ways, byte for byte; and the plainest lines do take them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flows.batch import batch_inference
from tests.conftest import CLAUDE, LLAMA, Sandbox, chat, write_lines

#: As they are in one of the ways only: what is named by the batch, and the time.
_VARIES = re.compile(rb'"(?:id|request_id|created)":(?:"[^"]*"|\d+)')


@pytest.mark.usefixtures("without_prefect")
@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
def test_one_file_both_ways(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Plain chats, conversations, tools, bad lines, blanks and odd texts in one file."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    lines: list[Any] = [chat(f"req-{i}", f'Question {i} \u2028 "quoted" \\ ü', max_tokens=50) for i in range(120)]
    lines += [chat(f"tool-{i}", f"Call {i}", tools=[tool], tool_choice="auto") for i in range(20)]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    lines += [
        chat(
            f"talk-{i}",
            messages=[*turns, {"role": "assistant", "content": f"Yes {i}"}, {"role": "user", "content": "?"}],
        )
        for i in range(20)
    ]
    lines += ["", "{not json", chat("req-3"), chat("blank", " "), chat("seed", "x", seed=1)]
    path = str(write_lines(tmp_path / "in.jsonl", lines))
    made: dict[str, list[bytes]] = {}
    for fast in ("1", "0"):
        monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
        monkeypatch.setenv("BEDROCK_BATCH_PREFIX", f"{prefix}-{fast}")
        batch = batch_inference(path, model, on_invalid="skip", unsupported="drop", poll_seconds=0.05)
        assert batch.status == "completed"
        inputs = [
            sandbox.read(f"s3://{sandbox.bucket}/{key}") for key in sandbox.keys(f"{prefix}-{fast}") if "/input/" in key
        ]
        # In the general way, texts may be escaped another way in a record: there the values count.
        records = [
            json.dumps(json.loads(line), sort_keys=True).encode() for data in inputs for line in data.splitlines()
        ]
        files = [sandbox.read(batch.output_file), sandbox.read(batch.error_file)]
        made[fast] = [*(_VARIES.sub(b"", data) for data in files), *records]
    assert made["1"] == made["0"]
