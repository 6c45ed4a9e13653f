"""Other endpoints, families and job types, end to end."""

import base64
import io
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import openai.types
import openai.types.responses
import pyarrow.parquet as pq
import pydantic
import pytest

from flows.batch import BatchFailedError, batch_inference
from tests.codecs.helpers import PNG, TOOL
from tests.conftest import (
    CLAUDE,
    FEWER,
    LLAMA,
    NOVA,
    REFUSED,
    Sandbox,
    account,
    chat,
    lines_of,
    refusals,
    sample_files,
    write_lines,
)

pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
TITAN = "amazon.titan-embed-text-v2:0"


@pytest.mark.parametrize(
    ("model", "invocation", "sent"),
    [
        (LLAMA, "auto", "Converse"),
        (LLAMA, "InvokeModel", "InvokeModel"),
        (CLAUDE, "Converse", "Converse"),
        ("openai.gpt-oss-120b-1:0", "auto", "InvokeModel"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "auto", "Converse"),
        ("deepseek.v3-v1:0", "Converse", "Converse"),
        ("qwen.qwen3-32b-v1:0", "auto", "InvokeModel"),
    ],
)
def test_job_types(sandbox: Sandbox, tmp_path: Path, prefix: str, model: str, invocation: Any, sent: str) -> None:
    lines = [chat(f"req-{i}", f"Question {i}", temperature=0.5, max_tokens=40) for i in range(110)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    batch = batch_inference(str(path), model, invocation=invocation, **FAST)
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(110)])
    assert not errors
    assert sandbox.jobs(prefix)[0]["modelInvocationType"] == sent
    content = output[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert "<reasoning>" not in content
    assert batch.usage is not None
    assert batch.usage.total_tokens > 0


def test_lines_that_need_other_jobs_get_them(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    """Mistral Large 2: tools go natively, plain chats by Converse; one batch, two jobs."""
    lines = [chat(f"req-{i}", f"Question {i}", **({"tools": [TOOL]} if i % 2 else {})) for i in range(220)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    batch = batch_inference(str(path), "mistral.mistral-large-2407-v1:0", **FAST)
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(220)])
    assert not errors
    jobs = sandbox.jobs(prefix)
    assert sorted((job["modelInvocationType"], job["totalRecordCount"]) for job in jobs) == [
        ("Converse", 110),
        ("InvokeModel", 110),
    ]
    usages = [line["response"]["body"]["usage"] for line in output]
    assert all((usage is None) == bool(i % 2) for i, usage in enumerate(usages)), "native answers carry no usage"


def test_many_choices_are_many_records(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    lines = [chat(f"req-{i}", f"Question {i}", n=3 if i % 2 else 1) for i in range(60)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    output, _ = account(sandbox, batch, [f"req-{i}" for i in range(60)])
    assert [len(line["response"]["body"]["choices"]) for line in output] == [1, 3] * 30
    assert sandbox.jobs(prefix)[0]["totalRecordCount"] == 120
    body = output[1]["response"]["body"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    rows = pq.read_table(io.BytesIO(sandbox.read(batch.parquet_file))).to_pylist()
    mine = [row for row in rows if row["custom_id"] == "req-1"]
    assert [row["choice"] for row in mine] == [0, 1, 2]
    assert body["usage"]["total_tokens"] == sum(row["total_tokens"] for row in mine)


def test_structured_output_and_reasoning(sandbox: Sandbox, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    lines = [chat(f"req-{i}", f"Who {i}?", response_format=response_format) for i in range(100)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    for model in (CLAUDE, "us.anthropic.claude-haiku-4-5-20251001-v1:0", NOVA, "openai.gpt-oss-20b-1:0"):
        output, errors = account(sandbox, batch_inference(str(path), model, **FAST), [f"req-{i}" for i in range(100)])
        assert not errors, model
        choice = output[0]["response"]["body"]["choices"][0]
        assert "name" in json.loads(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
        assert "tool_calls" not in choice["message"]


SAMPLE_MODELS = {
    "10": [CLAUDE, NOVA, LLAMA],
    "30": [CLAUDE, "us.amazon.nova-2-lite-v1:0", "openai.gpt-oss-20b-1:0"],
    "32": [CLAUDE, LLAMA],
    "29": [TITAN, "cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0"],
    "27": ["openai.gpt-oss-20b-1:0", "mistral.mistral-large-2407-v1:0"],
    "31": ["openai.gpt-oss-20b-1:0", LLAMA],
    "01": ["qwen.qwen3-32b-v1:0"],
    "06": ["us.deepseek.r1-v1:0"],
    "07": ["cohere.command-r-v1:0"],
    "04": ["google.gemma-3-4b-it"],
}
#: Of each public file the first; `tests/codecs/test_every_family.py` tries them all.
SAMPLE_RUNS = [
    pytest.param(*file.values, model, id=f"{file.id}-{model}")
    for number, models in SAMPLE_MODELS.items()
    for file in sample_files(number)
    for model in (models if str(file.id).startswith("ours") else models[:1])
]


@pytest.mark.parametrize(("path", "model"), SAMPLE_RUNS)
def test_sample_files(sandbox: Sandbox, path: Path, model: str) -> None:
    lines = lines_of(path)
    batch = batch_inference(str(path), model, on_invalid="skip", unsupported="drop", below_minimum="pad", **FAST)
    output, errors = sandbox.lines(batch.output_file), sandbox.lines(batch.error_file)
    assert sorted(line["custom_id"] for line in output + errors) == sorted(line["custom_id"] for line in lines)
    assert Counter(error["response"]["body"]["error"]["code"] for error in errors) == refusals(lines)
    types: dict[str, type[pydantic.BaseModel]] = {
        "/v1/responses": openai.types.responses.Response,
        "/v1/completions": openai.types.Completion,
        "/v1/chat/completions": openai.types.chat.ChatCompletion,
    }
    for line in output:
        body = line["response"]["body"]
        if batch.endpoint in types:
            types[batch.endpoint].model_validate(body)
        else:
            source = next(each for each in lines if each["custom_id"] == line["custom_id"])["body"]
            count = len(source["input"]) if isinstance(source["input"], list) else 1
            assert [entry["index"] for entry in body["data"]] == list(range(count))
            vector = body["data"][0]["embedding"]
            if source.get("encoding_format") == "base64":
                vector = struct.unpack(f"<{len(base64.b64decode(vector)) // 4}f", base64.b64decode(vector))
            if "titan" in model:
                assert len(vector) == source.get("dimensions", 1024)


def test_embeddings_in_parquet_are_vectors(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = [
        {
            "custom_id": f"e{i}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "x", "input": [f"a{i}", f"b{i}"], "dimensions": 256},
        }
        for i in range(60)
    ]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), TITAN, **FAST)
    table = pq.read_table(io.BytesIO(sandbox.read(batch.parquet_file)))
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    rows = table.to_pylist()
    assert [(row["custom_id"], row["choice"], len(row["embedding"])) for row in rows[:3]] == [
        ("e0", 0, 256),
        ("e0", 1, 256),
        ("e1", 0, 256),
    ]
    assert batch.usage.input_tokens == sum(row["prompt_tokens"] for row in rows)


def test_an_embedding_model_does_not_chat(sandbox: Sandbox, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat("a")])
    with pytest.raises(BatchFailedError, match="not served by the chosen model"):
        batch_inference(str(path), TITAN, **FAST)


def test_images_from_s3_are_inlined_and_the_web_is_refused(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    key = f"{prefix}-media/dot.png"
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=base64.b64decode(PNG))

    def line(custom_id: str, url: str) -> object:
        return chat(
            custom_id,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": url}},
                    ],
                }
            ],
        )

    urls = [
        f"s3://{sandbox.bucket}/{key}",
        f"s3://{sandbox.bucket}/{key}.none",
        sandbox.url + "/x.png",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ]
    path = write_lines(tmp_path / "in.jsonl", [line(f"i{n}", url) for n, url in enumerate(urls)])
    for fetch in (False, True):
        batch = batch_inference(str(path), CLAUDE, fetch_images=fetch, **FAST)
        output, errors = account(sandbox, batch, [f"i{n}" for n in range(5)], logged=[FEWER, REFUSED])
        assert [each["custom_id"] for each in output] == ["i0"]
        messages = [error["response"]["body"]["error"]["message"] for error in errors]
        assert "cannot be read" in messages[0]
        assert all(("not a public one" in m) == fetch for m in messages[1:3])


def test_choices_are_planned_for(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three records a request: 360 records in jobs of at most 140, none of them below the minimum."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "140")
    lines = [chat(f"req-{i}", f"Question {i}", n=3) for i in range(120)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(120)])
    assert [job["totalRecordCount"] for job in sandbox.jobs(prefix)] == [120, 120, 120]


def test_images_to_be_read_are_planned_for(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """240 requests with an image in S3 in jobs of at most 160: two even jobs, and no tail below the minimum."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "160")
    key = f"{prefix}-media/dot.png"
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=base64.b64decode(PNG))
    content = [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": f"s3://{sandbox.bucket}/{key}"}},
    ]
    lines = [chat(f"req-{i}", messages=[{"role": "user", "content": content}]) for i in range(240)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(240)])
    assert [job["totalRecordCount"] for job in sandbox.jobs(prefix)] == [120, 120]


def test_the_minimum_counts_records_not_requests(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    lines = [chat(f"req-{i}", f"Question {i}", n=3) for i in range(50)]
    path = write_lines(tmp_path / "in.jsonl", lines)
    batch = batch_inference(str(path), CLAUDE, below_minimum="fail", **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(50)])
    assert [job["totalRecordCount"] for job in sandbox.jobs(prefix)] == [150]
