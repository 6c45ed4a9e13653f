"""`batch_inference` end to end, against the sandbox over HTTP."""

import gzip
import io
import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import openai.types
import pyarrow.parquet as pq
import pytest
import zstandard

from flows.batch import BatchFailedError, batch_inference
from flows.operations import batch_output, cancel_batch, list_batches, retrieve_batch
from tasks.errors import ConfigurationError, InputFileError, PipelineError
from tests.conftest import (
    ANYTHING,
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
    write_chats,
    write_lines,
)

pytestmark = pytest.mark.usefixtures("without_prefect")
FAST: dict[str, Any] = {"poll_seconds": 0.05}
SEED: dict[str, Any] = {"seed": 1}


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_a_file_comes_back_in_openai_format(sandbox: Sandbox, tmp_path: Path, model: str) -> None:
    path = write_chats(tmp_path / "in.jsonl", 130, max_tokens=50, temperature=0.5)
    batch = batch_inference(str(path), model, metadata={"team": "a b/ü"}, **FAST)

    assert batch.status == "completed"
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(130)])
    assert not errors
    assert batch.error_file is None
    openai.types.Batch.model_validate(batch.model_dump(), strict=True)
    body = output[7]["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["model"] == model
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert len({line["id"] for line in output}) == len({line["response"]["body"]["id"] for line in output}) == 130
    assert batch.usage is not None
    assert batch.usage.total_tokens == sum(line["response"]["body"]["usage"]["total_tokens"] for line in output) > 0

    table = pq.read_table(io.BytesIO(sandbox.read(batch.parquet_file))).to_pylist()
    assert [row["custom_id"] for row in table] == [f"req-{i}" for i in range(130)]
    assert table[7]["content"] == body["choices"][0]["message"]["content"]
    assert all(row["ok"] and row["line"] == i + 1 for i, row in enumerate(table))


def test_the_job_is_what_bedrock_wants(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    path: Any = write_chats(tmp_path / "in.jsonl", 100)
    batch = batch_inference(path, LLAMA, completion_window="2d", job_name="my job_1", metadata={"k": "v"}, **FAST)
    (job,) = sandbox.jobs(prefix)
    assert job["modelInvocationType"] == "Converse"
    assert job["timeoutDurationInHours"] == 48
    assert job["jobName"].startswith("my-job-1-")
    assert job["roleArn"] == sandbox.settings["BEDROCK_BATCH_ROLE_ARN"]
    assert batch.expires_at == batch.created_at + 48 * 3600
    folder = f"{prefix}/batches/{batch.id}/"
    names = {key.removeprefix(folder) for key in sandbox.keys(prefix)}
    job_id = job["jobArn"].rsplit("/")[-1]
    assert names == {
        "batch.json",
        "input/part-00000.jsonl",
        "index/part-00000.parquet",
        f"bedrock/{job_id}/manifest.json.out",
        f"bedrock/{job_id}/part-00000.jsonl.out",
        "output.jsonl",
        "results.parquet",
    }


CHAT_SAMPLES = ("01", "04", "06", "07", "11", "12", "15", "16", "20", "22", "24", "27", "31")
#: Of each file one way; `tests/test_samples.py` and `tests/codecs/test_every_family.py` try them all, a line at a time.
WAYS = [(CLAUDE, "drop"), (NOVA, "error"), (LLAMA, "drop"), (CLAUDE, "error"), (NOVA, "drop"), (LLAMA, "error")]
SAMPLE_RUNS = [
    pytest.param(*file.values, *way, id=f"{file.id}-{way[0]}-{way[1]}")
    for file, way in zip(sample_files(*CHAT_SAMPLES), itertools.cycle(WAYS), strict=False)
]


@pytest.mark.parametrize(("path", "model", "unsupported"), SAMPLE_RUNS)
def test_sample_files(sandbox: Sandbox, path: Path, model: str, unsupported: Literal["error", "drop"]) -> None:
    lines = lines_of(path)
    # On demand, or in a job.
    below_minimum: Literal["on_demand", "pad"] = "on_demand" if unsupported == "error" else "pad"
    batch = batch_inference(
        str(path), model, on_invalid="skip", unsupported=unsupported, below_minimum=below_minimum, **FAST
    )
    assert batch.status == "completed"
    _, errors = account(sandbox, batch, [line["custom_id"] for line in lines], logged=[ANYTHING])
    # What the pipeline sends, the model's strict check accepts: only our own refusals are errors.
    codes = Counter(error["response"]["body"]["error"]["code"] for error in errors)
    if unsupported == "error":
        del codes["unsupported_parameter"]
    assert codes == refusals(lines)


def test_every_way_to_name_an_input(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = [chat(f"req-{i}", f"Zeile {i} \u2028 ü") for i in range(100)]
    folder = tmp_path / "many"
    folder.mkdir()
    write_lines(folder / "a.jsonl", lines[:30], end="\r\n")
    data = write_lines(tmp_path / "b.jsonl", ["", *lines[30:60], "   ", ""]).read_bytes()
    # Two gzip members, as `cat a.gz b.gz` makes them.
    middle = data.index(b"\n", len(data) // 2) + 1
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(data[:middle]) + gzip.compress(data[middle:]))
    rest = b"\xef\xbb\xbf" + write_lines(tmp_path / "c.jsonl", lines[60:]).read_bytes()
    (folder / "c.jsonl.zst").write_bytes(zstandard.compress(rest[:500]) + zstandard.compress(rest[500:]))
    for file in folder.iterdir():
        sandbox.s3.upload_file(str(file), sandbox.bucket, f"uploads/my data/{file.name}")
    ids = [f"req-{i}" for i in range(100)]
    uri = f"s3://{sandbox.bucket}/uploads/my data/"
    batches = [
        batch_inference(name, CLAUDE, **FAST)
        for name in (str(folder), str(folder / "*.jsonl*"), uri, quote(uri, safe=""), uri + "*.jsonl*", uri[:-1])
    ]
    assert len({batch.id for batch in batches}) == 1, "the same content, the same batch"
    account(sandbox, batches[0], ids)
    rows = pq.read_table(io.BytesIO(sandbox.read(batches[0].parquet_file))).to_pylist()
    assert (rows[35]["file"], rows[35]["line"]) == ("b.jsonl.gz", 7)
    single = batch_inference(uri + "b.jsonl.gz", CLAUDE, **FAST)
    account(sandbox, single, ids[30:60], logged=[FEWER])


BAD_LINES = [
    ("{not json", "invalid_json_line", None),
    ("[1]", "invalid_json_line", None),
    ({**chat("x"), "custom_id": None}, "missing_required_parameter", "custom_id"),
    ({**chat("x"), "custom_id": 7}, "invalid_type", "custom_id"),
    ({**chat("x"), "method": "GET"}, "invalid_method", "method"),
    ({**chat("x"), "url": "/v2/chat"}, "invalid_url", "url"),
    ({**chat("x"), "url": "/v1/embeddings"}, "mismatched_url", "url"),
    ({"custom_id": "x", "method": "POST", "url": "/v1/chat/completions"}, "missing_required_parameter", "body"),
    (chat("x", messages=None), "missing_required_parameter", "body.messages"),
    ({**chat("x"), "body": {"model": "other", "messages": [1]}}, "mismatched_model", "body.model"),
    (chat("req-3"), "duplicate_custom_id", "custom_id"),
]


def test_every_bad_line_is_reported_and_nothing_is_uploaded(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    good = [chat(f"req-{i}") for i in range(110)]
    lines = [*good[:50], *(bad for bad, _, _ in BAD_LINES), *good[50:]]
    path = write_lines(tmp_path / "in.jsonl", lines)
    with pytest.raises(BatchFailedError) as caught:
        batch_inference(str(path), CLAUDE, **FAST)
    batch = caught.value.batch
    assert batch.status == "failed"
    assert "line 51: invalid_json_line" in str(caught.value)
    assert batch.errors is not None
    assert [(e.code, e.param, e.line) for e in batch.errors.data] == [
        (code, param, 51 + i) for i, (_, code, param) in enumerate(BAD_LINES)
    ]
    assert "line 4" in str(batch.errors.data[-1].message)
    assert not [key for key in sandbox.keys(prefix) if "/input/" in key or "/index/" in key]
    assert not sandbox.jobs(prefix)
    assert retrieve_batch(batch.id).status == "failed"
    (listing,) = [key for key in sandbox.keys(prefix) if key.endswith("invalid.jsonl")]
    assert len(sandbox.lines(f"s3://{sandbox.bucket}/{listing}")) == len(BAD_LINES)


def test_bad_lines_can_be_skipped(sandbox: Sandbox, tmp_path: Path) -> None:
    good = [chat(f"req-{i}") for i in range(110)]
    path = write_lines(tmp_path / "in.jsonl", [*good[:50], *(bad for bad, _, _ in BAD_LINES), *good[50:]])
    batch = batch_inference(str(path), CLAUDE, on_invalid="skip", **FAST)
    assert batch.status == "completed"
    output, errors = sandbox.lines(batch.output_file), sandbox.lines(batch.error_file)
    assert [line["custom_id"] for line in output] == [f"req-{i}" for i in range(110)]
    assert [e["response"]["body"]["error"]["code"] for e in errors] == [code for _, code, _ in BAD_LINES]
    assert [e["custom_id"] for e in errors] == [None, None, None, None, *["x"] * 6, "req-3"]
    assert (batch.request_counts.total, batch.request_counts.failed) == (110 + len(BAD_LINES), len(BAD_LINES))


def test_one_bad_line_costs_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """What only conversion sees: half a character in a tool call's arguments, URLs that are none, numbers beyond any."""
    urls = ["s3:///x.png", "s3://", "s3://no-such-bucket/x.png", "http://[::1/x", "http://host:99999/"]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"text": "done \\ud83d"}'}}
    history = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]
    bad = [
        chat("arguments", messages=[{"role": "user", "content": "x"}, *history]),
        *(
            chat(url, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
            for url in urls
        ),
        json.dumps(chat("number", temperature="@")).replace('"@"', "1e999"),
    ]
    good = [chat(f"req-{i}", f"Question number {i}?") for i in range(110)]
    path = write_lines(tmp_path / "in.jsonl", [*good[:60], *bad, *good[60:]])
    batch = batch_inference(str(path), CLAUDE, fetch_images=True, **FAST)
    assert batch.status == "completed"
    ids = [*(f"req-{i}" for i in range(60)), "arguments", *urls, "number", *(f"req-{i}" for i in range(60, 110))]
    output, errors = account(sandbox, batch, ids, logged=[REFUSED])
    assert len(output) == 110
    assert [error["response"]["status_code"] for error in errors] == [400] * len(bad)
    params = [error["response"]["body"]["error"]["param"] for error in errors]
    assert params[0] == "messages[1].tool_calls[0].function.arguments"
    assert set(params[1:-1]) == {"messages[0].content[0].image_url.url"}
    assert params[-1] == "temperature"


@pytest.mark.parametrize("content", [b"", b"\n\n  \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_fails(sandbox: Sandbox, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(BatchFailedError, match="empty_file") as caught:
        batch_inference(str(tmp_path / "in.jsonl"), CLAUDE)
    errors = caught.value.batch.errors
    assert errors is not None
    assert errors.data[0].code == "empty_file"


def test_unconvertible_requests_are_error_lines_and_never_sent(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    lines = [chat(f"req-{i}", **(SEED if i % 10 == 0 else {})) for i in range(150)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(150)], logged=[REFUSED])
    assert len(errors) == 15
    error = errors[0]["response"]
    assert error["status_code"] == 400
    assert (error["body"]["error"]["param"], error["body"]["error"]["code"]) == ("seed", "unsupported_parameter")
    assert sandbox.jobs(prefix)[0]["totalRecordCount"] == 135


def test_a_file_without_one_convertible_request_needs_no_job(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    lines = [chat(f"req-{i}", seed=1) for i in range(120)]
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, **FAST)
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(120)], logged=[REFUSED])
    assert len(errors) == 120
    assert sandbox.jobs(prefix) == []


def test_shards_keep_to_the_limits(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "120")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "2")
    sandbox.faults(max_jobs=2)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 501)), NOVA, **FAST)
    jobs = sandbox.jobs(prefix)
    # 120 a job would leave a tail of 21, below the minimum of 100.
    assert sorted(job["totalRecordCount"] for job in jobs) == [100, 100, 100, 100, 101]
    account(sandbox, batch, [f"req-{i}" for i in range(501)])


def test_shards_keep_to_the_size_limit(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_BYTES_PER_FILE", "40000")
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 600)), CLAUDE, **FAST)
    sizes = [
        sandbox.s3.head_object(Bucket=sandbox.bucket, Key=key)["ContentLength"]
        for key in sandbox.keys(f"{prefix}/batches/{batch.id}/input/")
    ]
    assert len(sizes) >= 3
    assert max(sizes) <= 40000
    assert min(job["totalRecordCount"] for job in sandbox.jobs(prefix)) >= 100
    account(sandbox, batch, [f"req-{i}" for i in range(600)])


def test_the_same_call_finds_the_finished_batch(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    path = write_chats(tmp_path / "in.jsonl", 100)
    first = batch_inference(str(path), CLAUDE, **FAST)
    before = sandbox.journal()
    again = batch_inference(str(path), CLAUDE, **FAST)
    assert again == first
    assert sandbox.journal()["paid"] == before["paid"]
    assert batch_inference(str(path), NOVA, **FAST).id != first.id
    assert len(sandbox.jobs(prefix)) == 2
    assert {batch.id for batch in list_batches()} >= {first.id}
    assert sum(1 for _ in batch_output(first.id)) == 100


@pytest.mark.parametrize("model", [CLAUDE, LLAMA])
def test_below_the_minimum_on_demand(sandbox: Sandbox, tmp_path: Path, prefix: str, model: str) -> None:
    path = write_chats(tmp_path / "in.jsonl", 40, max_tokens=9)
    batch = batch_inference(str(path), model, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(40)], logged=[FEWER])
    assert not sandbox.jobs(prefix)
    assert batch.usage.output_tokens > 0


def test_below_the_minimum_padded(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    for model in (CLAUDE, NOVA, LLAMA):
        batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 40)), model, below_minimum="pad", **FAST)
        output, errors = account(sandbox, batch, [f"req-{i}" for i in range(40)])
        assert not errors
        tokens = sum(line["response"]["body"]["usage"]["total_tokens"] for line in output)
        assert batch.usage.total_tokens == tokens, "padding is not in the user's counts"
    assert [(job["totalRecordCount"], job["errorRecordCount"]) for job in sandbox.jobs(prefix)] == [(100, 0)] * 3


def test_below_the_minimum_refused(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(BatchFailedError, match="at least 100"):
        batch_inference(str(write_chats(tmp_path / "in.jsonl", 40)), CLAUDE, below_minimum="fail")
    seeds = [chat(f"req-{i}", **(SEED if i < 50 else {})) for i in range(120)]
    with pytest.raises(BatchFailedError, match="70 records"):
        batch_inference(str(write_lines(tmp_path / "b.jsonl", seeds)), CLAUDE, below_minimum="fail")
    assert not [key for key in sandbox.keys(prefix) if "/input/" in key or "/index/" in key]


def test_immediate_needs_no_job_and_no_role(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_ROLE_ARN")
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 150)), NOVA, completion_window="immediate")
    account(sandbox, batch, [f"req-{i}" for i in range(150)])
    assert not sandbox.jobs(prefix)


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        ({"status": "Expired"}, "expired", "batch_expired"),
        ({"status": "PartiallyCompleted", "fraction": 0.4}, "expired", "batch_expired"),
        ({"status": "Stopped", "fraction": 0.4}, "cancelled", "batch_cancelled"),
    ],
)
def test_jobs_that_end_early_are_salvaged(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: dict[str, object], status: str, code: str
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(job_ends=[end])
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 100)), CLAUDE, **FAST)
    assert batch.status == status
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(100)])
    assert len(output) == (0 if status == "expired" and "fraction" not in end else 40)
    assert {e["error"]["code"] for e in errors} == {code}
    assert batch_inference(str(tmp_path / "in.jsonl"), CLAUDE, **FAST) == batch


def test_a_failed_job_fails_the_batch_and_is_tried_again(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(job_ends=[{"status": "Failed", "message": "The role cannot read the bucket."}] * 2)
    path = write_chats(tmp_path / "in.jsonl", 100)
    with pytest.raises(BatchFailedError, match="cannot read the bucket") as caught:
        batch_inference(str(path), CLAUDE, **FAST)
    batch = caught.value.batch
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(100)])
    assert {e["error"]["code"] for e in errors} == {"server_error"}
    sandbox.faults(job_ends=[])
    again = batch_inference(str(path), CLAUDE, **FAST)
    assert (again.id, again.status) == (batch.id, "completed")
    account(sandbox, again, [f"req-{i}" for i in range(100)])
    assert sandbox.journal()["most_often"] == 1


def test_one_failed_job_of_many_loses_nothing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(job_ends=[{"status": "Failed", "message": "no"}])
    path = write_chats(tmp_path / "in.jsonl", 300)
    with pytest.raises(BatchFailedError) as caught:
        batch_inference(str(path), CLAUDE, **FAST)
    output, errors = account(sandbox, caught.value.batch, [f"req-{i}" for i in range(300)])
    assert (len(output), len(errors)) == (200, 100)
    account(sandbox, batch_inference(str(path), CLAUDE, **FAST), [f"req-{i}" for i in range(300)])


def test_record_errors_become_http_errors(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(record_errors={"rate": 0.3, "code": 400, "message": "prompt is too long"})
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 100)), CLAUDE, **FAST)
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(100)])
    assert batch.status == "completed"
    assert errors
    assert {e["response"]["body"]["error"]["type"] for e in errors} == {"invalid_request_error"}


def test_odd_output_ends_with_an_exact_account(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    sandbox.faults(missing=7, doubled=5, unasked=3, garbled=2)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 120)), CLAUDE, **FAST)
    said = [
        "^3 output records that were never asked for",
        "^2 output lines that cannot be read",
        "^3 records that were answered more than once",
    ]
    _, errors = account(sandbox, batch, [f"req-{i}" for i in range(120)], warnings=said)
    assert 7 <= len(errors) <= 9


def test_throttling_and_server_errors_do_not_fail_a_run(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults(throttle=0.2, server_error=0.1)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 100)), CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(100)])


def test_a_lost_reply_to_create_makes_no_second_job(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(lose_create_replies=1)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 100)), CLAUDE, **FAST)
    account(sandbox, batch, [f"req-{i}" for i in range(100)])
    assert len(sandbox.jobs(prefix)) == 1


def test_results_go_to_the_output_location_too(sandbox: Sandbox, tmp_path: Path) -> None:
    config = {"s3OutputDataConfig": {"s3Uri": f"s3://{sandbox.bucket}/elsewhere/out"}}
    path = write_chats(tmp_path / "in.jsonl", 100, stop=None)
    batch = batch_inference(str(path), CLAUDE, **FAST)
    batch = batch_inference(str(path), CLAUDE, output_data_config=config, **FAST)
    copies = sandbox.keys(f"elsewhere/out/{batch.id}/")
    assert [key.rsplit("/")[-1] for key in copies] == ["output.jsonl", "results.parquet"]
    assert sandbox.read(f"s3://{sandbox.bucket}/{copies[0]}") == sandbox.read(batch.output_file)


def test_objects_are_encrypted_with_the_key(
    sandbox: Sandbox, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/89b483cb-130d-497b-aa37-7db177e7cd32"
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", key)
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 100)), CLAUDE, **FAST)
    (job,) = sandbox.jobs(prefix)
    assert job["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] == key
    for name in sandbox.keys(f"{prefix}/batches/{batch.id}/"):
        if "/bedrock/" not in name:
            assert sandbox.s3.head_object(Bucket=sandbox.bucket, Key=name)["SSEKMSKeyId"] == key, name


def test_an_application_profile_is_looked_up(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/appnova"
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 30)), arn, completion_window="24h", **FAST)
    assert batch.model == arn
    account(sandbox, batch, [f"req-{i}" for i in range(30)], logged=[FEWER])


def test_cancelling_from_elsewhere_collects_what_was_answered(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from prefect.client.orchestration import get_client  # noqa: F401 (the server is up before the thread starts)

    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "1")
    sandbox.faults(hold=True)

    def stop_soon() -> None:
        from tasks.batch.paths import BatchRef
        from tasks.batch.store import batch_ids
        from tasks.cancel import stop_batch
        from tasks.settings import load_settings

        root = load_settings().root
        sandbox.wait_for_jobs(root.key)
        (batch_id,) = batch_ids(root)
        stop_batch(BatchRef(root, batch_id))

    thread = threading.Thread(target=stop_soon)
    thread.start()
    batch = batch_inference(str(write_chats(tmp_path / "in.jsonl", 200)), CLAUDE, **FAST)
    thread.join(60)
    assert batch.status == "cancelled"
    output, errors = account(sandbox, batch, [f"req-{i}" for i in range(200)])
    assert len(output) == 100
    assert {e["error"]["code"] for e in errors} == {"batch_cancelled"}
    assert cancel_batch(batch.id).status == "cancelled"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input_file": "missing.jsonl"}, InputFileError, "There is no file"),
        ({"input_file": "s3://sandbox-batches/none.jsonl"}, InputFileError, "There is no object"),
        ({"input_file": "s3://no-such-bucket-here/x.jsonl"}, PipelineError, "bucket"),
        ({"endpoint": "/v1/embeddings"}, ConfigurationError, "is not served by"),
        ({"completion_window": "12h"}, ConfigurationError, "24h to 168h"),
        ({"model": "not a model"}, ConfigurationError, "is no Bedrock model"),
        ({"model": "gpt-4o"}, BatchFailedError, "model_not_found"),
        ({"role_arn": "arn:aws:iam::123456789012:role/Bad"}, BatchFailedError, "cannot be assumed"),
        ({"BEDROCK_BATCH_ROLE_ARN": None}, ConfigurationError, "No service role is set"),
        ({"BEDROCK_BATCH_BUCKET": None}, ConfigurationError, "No bucket is set"),
        ({"BEDROCK_BATCH_BUCKET": "nobodys-bucket"}, ConfigurationError, "does not exist"),
        ({"BEDROCK_BATCH_PREFIX": "a=b"}, ConfigurationError, "Bedrock refuses the folder name"),
        ({"BEDROCK_BATCH_MAX_JOBS": "many"}, ConfigurationError, "positive whole number"),
        ({"output_data_config": {"s3Uri": "s3://x/y"}}, ConfigurationError, "s3OutputDataConfig"),
        ({"max_cost_usd": 0.000001, "model": NOVA}, ConfigurationError, "nothing was submitted"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    sandbox: Sandbox,
    tmp_path: Path,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    sandbox.faults(bad_roles=["arn:aws:iam::123456789012:role/Bad"])
    arguments: dict[str, Any] = {"input_file": str(write_chats(tmp_path / "in.jsonl", 100)), "model": CLAUDE}
    for name, value in change.items():
        if name.isupper():
            monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
        else:
            arguments[name] = value
    with pytest.raises(error, match=message) as caught:
        batch_inference(**arguments)
    assert "\n" not in str(caught.value)
    assert not [key for key in sandbox.keys(prefix) if "/input/" in key or "/index/" in key]
    assert not sandbox.uploads()


def test_denied_operations_are_named(sandbox: Sandbox, tmp_path: Path, prefix: str) -> None:
    sandbox.faults(denied_operations=["CreateModelInvocationJob"])
    path = write_chats(tmp_path / "in.jsonl", 100)
    with pytest.raises(BatchFailedError, match="not authorized to perform: bedrock:CreateModelInvocationJob"):
        batch_inference(str(path), CLAUDE, **FAST)
    sandbox.faults(denied_operations=["ListModelInvocationJobs", "GetInferenceProfile"])
    account(sandbox, batch_inference(str(path), CLAUDE, **FAST), [f"req-{i}" for i in range(100)])


def test_a_line_of_30_megabytes_and_broken_text_are_bad_lines(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    huge = json.dumps(chat("huge", "x" * 30_000_000)).encode()
    latin = json.dumps(chat("latin", "Grüße"), ensure_ascii=False).encode("latin-1")
    path.write_bytes(b"\n".join([json.dumps(chat("a")).encode(), huge, latin, json.dumps(chat("b")).encode()]) + b"\n")
    with pytest.raises(BatchFailedError) as caught:
        batch_inference(str(path), CLAUDE)
    errors = caught.value.batch.errors
    assert errors is not None
    assert [(e.code, e.line) for e in errors.data] == [("request_too_large", 2), ("invalid_json_line", 3)]
    batch = batch_inference(str(path), CLAUDE, on_invalid="skip", **FAST)
    assert [line["custom_id"] for line in sandbox.lines(batch.output_file)] == ["a", "b"]


def test_a_cut_off_file_is_said_to_be_cut_off(sandbox: Sandbox, tmp_path: Path) -> None:
    data = gzip.compress(b"\n".join(json.dumps(chat(f"r{i}", str(random.random()))).encode() for i in range(5000)))
    (tmp_path / "in.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputFileError, match="cut off"):
        batch_inference(str(tmp_path / "in.jsonl.gz"), CLAUDE)


def test_no_prompt_and_no_secret_is_shown(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "PLANTED-PROMPT-4711"
    lines: list[Any] = [chat(f"req-{i}", f"{secret} {i}", **(SEED if i % 2 else {})) for i in range(220)]
    lines.append('{"custom_id": "x", "body": "' + secret)
    batch = batch_inference(str(write_lines(tmp_path / "in.jsonl", lines)), CLAUDE, on_invalid="skip", **FAST)
    shown = caplog.text + "".join(capfd.readouterr())
    assert batch.id in shown
    assert secret not in shown
    assert secret not in sandbox.read(batch.error_file).decode()
