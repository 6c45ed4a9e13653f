"""A whole batch with S3 and Bedrock in memory: what it leaves behind, what it says, and what it asked for."""

import io
import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from flows.batch import batch_inference
from flows.compare import compare_models
from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef
from tasks.batch.result import BatchResult
from tasks.comparison.result import Comparison, ComparisonFailedError
from tasks.errors import BatchFailedError, PipelineError
from tasks.storage import writer
from tasks.storage.reader import read_lines
from tests import fakes
from tests.builders import REF, ROLE, stored
from tests.codecs.helpers import TOOL
from tests.conftest import CLAUDE, chat, write_chats, write_lines
from tests.fakes import BUCKET, REGION, Cloud, install

pytestmark = pytest.mark.usefixtures("without_prefect")

MISTRAL = "mistral.mistral-large-2407-v1:0"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1"
STEPS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
Outcome = dict[str, Any]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BUCKET": BUCKET, "PREFIX": REF.root.key, "ROLE_ARN": ROLE}.items():
        monkeypatch.setenv(f"BEDROCK_BATCH_{name}", value)
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "threads")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as a warning or worse."""
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def answer(text: str) -> Outcome:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3}
    content = [{"type": "text", "text": f"Re: {text}"}]
    return {"modelOutput": {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}}


def text_of(record: Outcome) -> str:
    return str(record["modelInput"]["messages"][-1]["content"])


class Service:
    """Bedrock at work: a job is over at the second look, and has written what becomes of its records."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        #: How the n-th job ends, and the share of its records that it answers; all are well if nothing is said.
        self.ends: dict[int, tuple[str, float]] = {}
        #: What becomes of a record: of its text, and how often that was asked before.
        self.outcome: Callable[[str, int], Outcome] = lambda text, _times: answer(text)
        self.asked: list[str] = []
        self._looks: dict[str, int] = {}
        cloud.bedrock.before("GetModelInvocationJob", self._work, times=None)
        cloud.runtime.answer = self._on_demand

    def _of(self, text: str) -> Outcome:
        self.asked.append(text)
        return self.outcome(text, self.asked.count(text) - 1)

    def _on_demand(self, _model: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._of(str(body["messages"][-1]["content"]))["modelOutput"]
        return found

    def _work(self) -> None:
        bedrock, s3 = self.cloud.bedrock, self.cloud.s3
        for number, (arn, job) in enumerate(list(bedrock.jobs.items())):
            self._looks[arn] = self._looks.get(arn, 0) + 1
            if job["status"] == "Submitted":
                bedrock.move(arn, "InProgress")
                continue
            if job["status"] != "InProgress" or self._looks[arn] < 3:
                continue
            status, share = self.ends.get(number, ("Completed", 1.0))
            source = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix(f"s3://{BUCKET}/")
            target = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix(f"s3://{BUCKET}/")
            records = [json.loads(line) for line in s3.objects[source].body.splitlines()]
            done = [{**record, **self._of(text_of(record))} for record in records[: int(len(records) * share)]]
            lines = [json.dumps(record).encode() + b"\n" for record in done[::-1]]
            folder = target + arn.rpartition("/")[2]
            if lines:
                s3.put(f"{folder}/{source.rpartition('/')[2]}.out", b"".join(lines), **KEYED)
            if status == "Completed":
                errors = sum("error" in record for record in done)
                counts = {"totalRecordCount": len(records), "processedRecordCount": len(done)}
                manifest = {**counts, "successRecordCount": len(done) - errors, "errorRecordCount": errors}
                s3.put(f"{folder}/manifest.json.out", json.dumps(manifest).encode(), **KEYED)
            bedrock.move(arn, status, message="no capacity" if status == "Failed" else None)


KEYED = {"SSEKMSKeyId": KEY}


@pytest.fixture
def service(cloud: Cloud) -> Service:
    return Service(cloud)


def run(path: Path, **parameters: Any) -> BatchResult:
    batch: BatchResult = batch_inference(str(path), **{"model": CLAUDE, "poll_seconds": 0.001, **parameters})
    return batch


def document_of(batch: BatchResult) -> BatchDocument:
    return stored(BatchRef(REF.root, batch.id))


def lines_of(cloud: Cloud, uri: str | None) -> list[dict[str, Any]]:
    body = cloud.s3.objects[uri.removeprefix(f"s3://{BUCKET}/")].body if uri else b""
    return [json.loads(line) for line in body.splitlines()]


def set_times(batch: BatchDocument) -> set[str]:
    return {step for step in STEPS if getattr(batch, f"{step}_at") is not None}


def test_a_healthy_batch(
    cloud: Cloud,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], list[str]],
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "120")
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", KEY)
    path = write_chats(tmp_path / "in.jsonl", 220)
    copies = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/copies"}}
    batch = run(path, completion_window="48h", metadata={"team": "a"}, job_name="mine", output_data_config=copies)
    ids = [f"req-{n}" for n in range(220)]
    # The account: every request once, in order, with its own answer.
    output = lines_of(cloud, batch.output_file)
    assert [line["custom_id"] for line in output] == ids
    assert [line["response"]["body"]["choices"][0]["message"]["content"] for line in output] == [
        f"Re: Question number {n}?" for n in range(220)
    ]
    assert sorted(service.asked) == sorted(f"Question number {n}?" for n in range(220))
    assert (batch.status, batch.error_file, batch.errors) == ("completed", None, None)
    assert batch.request_counts.model_dump() == {"total": 220, "completed": 220, "failed": 0}
    assert batch.usage
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (220 * 13, 220 * 5)
    assert batch.usage.input_tokens_details.cached_tokens == 220 * 3
    assert batch.cost_usd is not None
    # What batch.json says.
    now = document_of(batch)
    assert set_times(now) == {"in_progress", "finalizing", "completed"}
    assert now.expires_at == now.created_at + 48 * 3600
    assert now.created_at <= (now.in_progress_at or 0) <= (now.finalizing_at or 0) <= (now.completed_at or 0)
    assert now.metadata == {"team": "a"}
    section = now.bedrock
    assert (section.warnings, section.unanswered, section.dropped_fields, section.round) == ([], 0, {}, 1)
    assert (section.lease.holder, section.lease.machine, section.lease.process) == (None, "", "")
    assert section.published == [f"s3://{BUCKET}/copies/{batch.id}"]
    for shard in section.shards or []:
        assert (shard.done, shard.records, shard.padding, shard.route, len(shard.jobs)) == (True, 110, 0, "batch", 1)
        assert shard.job
        assert (shard.job.status, shard.job.attempt) == ("Completed", 1)
        assert now.created_at <= (shard.job.submitted_at or 0) <= (shard.job.ended_at or 0)
    # What Bedrock was asked for.
    created = [given for name, given in cloud.bedrock.calls if name == "CreateModelInvocationJob"]
    assert [given["timeoutDurationInHours"] for given in created] == [48, 48]
    assert all(given["jobName"].startswith("mine-") for given in created)
    assert [given["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"] for given in created] == [KEY, KEY]
    tags = [{"key": "team", "value": "a"}, {"key": "bedrock-batch-id", "value": batch.id}]
    assert [given["tags"] for given in created] == [tags, tags]
    # What lies in the bucket: nothing that was only on the way, and all of it encrypted.
    folder = f"prefix/batches/{batch.id}/"
    kept = {key.removeprefix(folder) for key in cloud.s3.keys(folder) if not key.startswith(folder + "bedrock/")}
    assert kept == {
        "batch.json",
        *(f"input/part-{n:05d}.jsonl" for n in range(2)),
        *(f"index/part-{n:05d}.parquet" for n in range(2)),
        "output.jsonl",
        "results.parquet",
    }
    assert cloud.s3.keys("copies/") == [f"copies/{batch.id}/{name}" for name in ("output.jsonl", "results.parquet")]
    assert not cloud.s3.keys("prefix/open/")
    assert not cloud.s3.keys("prefix/runs/")
    assert not cloud.s3.uploads
    assert {each.options.get("SSEKMSKeyId") for each in cloud.s3.objects.values()} == {KEY}
    assert said() == [], "a healthy batch is silent"
    # The same call again finds it, and asks for nothing.
    writes = [cloud.s3.count(name) for name in ("PutObject", "CreateMultipartUpload")]
    again = run(path, completion_window="48h", metadata={"team": "a"}, job_name="mine", output_data_config=copies)
    assert again == batch
    assert cloud.bedrock.count("CreateModelInvocationJob") == 2
    assert len(service.asked) == 220
    # The lease is taken and given back: batch.json, and the first heartbeat.
    assert cloud.s3.count("PutObject") - writes[0] <= 3


def test_on_demand_is_as_silent(cloud: Cloud, service: Service, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    batch = run(write_chats(tmp_path / "in.jsonl", 20), completion_window="immediate")
    assert (batch.status, batch.expires_at, len(lines_of(cloud, batch.output_file))) == ("completed", None, 20)
    assert not cloud.bedrock.jobs
    assert sorted(service.asked) == sorted(f"Question number {n}?" for n in range(20))
    now = document_of(batch)
    assert (now.bedrock.warnings, set_times(now)) == ([], {"in_progress", "finalizing", "completed"})
    assert said() == []


def throttled_once(text: str, times: int) -> Outcome:
    number = int(text.rpartition(" ")[2].strip("?"))
    error = {"error": {"errorCode": 429, "errorMessage": "Too many tokens, please wait before trying again."}}
    return error if number % 3 == 0 and times == 0 else answer(text)


@pytest.mark.parametrize(("count", "fast"), [(120, "1"), (120, "0"), (3, "1")])
def test_only_lines_of_an_input_have_a_limit(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, fast: str
) -> None:
    """Records hold the images that lines name, and an answer is as long as it is: by a job and on demand."""
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    path = write_chats(tmp_path / "in.jsonl", count)
    assert len(path.read_bytes().splitlines()[-1]) < 200
    monkeypatch.setattr(read_lines, "__defaults__", (0, None, 200, None))
    throttled = {"error": {"errorCode": 429, "errorMessage": "slow"}}
    service.outcome = lambda text, times: throttled if count > 100 and not times and "1" in text else answer("x" * 300)
    batch = run(path)
    assert (batch.status, batch.request_counts.completed) == ("completed", count)
    for line in lines_of(cloud, batch.output_file):
        assert line["response"]["body"]["choices"][0]["message"]["content"] == "Re: " + "x" * 300
    assert batch.to_arrow(["content"]).column("content").to_pylist() == ["Re: " + "x" * 300] * count


@pytest.mark.parametrize(("requests", "most", "jobs"), [(330, 120, 4), (330, 400, 2), (220, 120, 2)])
def test_what_was_throttled_is_asked_again_and_nothing_odd_is_said(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int, most: int, jobs: int
) -> None:
    """Gathered into one job, as another job of the only range, or on demand: no output is called unasked for."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", str(most))
    service.outcome = throttled_once
    batch = run(write_chats(tmp_path / "in.jsonl", requests))
    assert batch.status == "completed"
    assert [line["custom_id"] for line in lines_of(cloud, batch.output_file)] == [f"req-{n}" for n in range(requests)]
    assert len(cloud.bedrock.jobs) == jobs
    again = sum(n % 3 == 0 for n in range(requests))
    assert len(service.asked) == requests + again
    assert max(map(service.asked.count, service.asked)) == 2
    now = document_of(batch)
    assert (now.bedrock.warnings, now.bedrock.round, now.bedrock.unanswered) == ([], 2, 0)


@pytest.mark.parametrize(
    ("end", "status", "code", "times"),
    [
        (("Completed", 0.9), "completed", "server_error", {"completed"}),
        (("Expired", 0.5), "expired", "batch_expired", {"expired"}),
        (("PartiallyCompleted", 0.5), "expired", "batch_expired", {"expired"}),
        (("Stopped", 0.5), "cancelled", "batch_cancelled", {"cancelled"}),
        (("Failed", 0.5), "failed", "server_error", {"failed"}),
    ],
)
def test_how_a_batch_ends_and_when(
    cloud: Cloud,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: tuple[str, float],
    status: str,
    code: str,
    times: set[str],
) -> None:
    """Each end has its own time, and its own code for what was not answered."""
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    service.ends[0] = end
    path = write_chats(tmp_path / "in.jsonl", 100)
    if status == "failed":
        with pytest.raises(BatchFailedError, match="no capacity") as caught:
            run(path)
        assert isinstance(caught.value.batch, BatchResult)
        batch = caught.value.batch
        assert batch.errors
        assert [error.code for error in batch.errors.data] == ["job_failed"]
    else:
        batch = run(path)
        assert batch.errors is None
    now = document_of(batch)
    assert (batch.status, set_times(now)) == (status, {"in_progress", "finalizing", *times})
    errors = lines_of(cloud, batch.error_file)
    assert len(errors) == int(100 * (1 - end[1]) + 0.5)
    assert {line["error"]["code"] for line in errors} == {code}
    assert len(lines_of(cloud, batch.output_file)) + len(errors) == 100
    assert (now.bedrock.unanswered or 0) == len(errors)


@pytest.mark.parametrize("lines", [[chat("a"), "no JSON"], []])
def test_a_file_that_is_refused_costs_nothing(cloud: Cloud, service: Service, tmp_path: Path, lines: list[Any]) -> None:
    with pytest.raises(BatchFailedError) as caught:
        run(write_lines(tmp_path / "in.jsonl", lines))
    assert isinstance(caught.value.batch, BatchResult)
    now = document_of(caught.value.batch)
    assert (now.status, set_times(now)) == ("failed", {"failed"})
    assert now.errors
    assert [(error.code, error.line) for error in now.errors.data] == (
        [("invalid_json_line", 2)] if lines else [("empty_file", None)]
    )
    assert not cloud.bedrock.jobs
    assert not service.asked
    assert not cloud.s3.keys("prefix/open/")


def records_of(cloud: Cloud) -> list[int]:
    """How many records each job was given."""
    sources = [job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"] for job in cloud.bedrock.jobs.values()]
    return [len(lines_of(cloud, source)) for source in sources]


class Dead(BaseException):
    """The process is gone, with everything it might still do."""


def die_at(cloud: Cloud, number: int, *, after: bool) -> None:
    """Let the process be gone right before, or after, its n-th call to S3 and Bedrock."""
    calls = itertools.count(1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def one(operation: str, given: dict[str, Any]) -> Any:
            place = next(calls)
            if place > number or (place == number and not after):
                raise Dead
            reply = call(operation, given)
            if place == number:
                raise Dead
            return reply

        return one

    for service in (cloud.s3, cloud.bedrock, cloud.runtime):
        vars(service.client)["_make_api_call"] = dying(service._call)


def revive(cloud: Cloud) -> None:
    for service in (cloud.s3, cloud.bedrock, cloud.runtime):
        vars(service.client)["_make_api_call"] = service._call


class Scenario(NamedTuple):
    """A run that may die at any of its calls."""

    lines: list[Any]
    options: dict[str, Any]
    #: What of the environment makes it what it is.
    most_records: int
    #: The records of each job, however often its run has died.
    jobs: list[int]
    outcome: Callable[[str, int], Outcome] = lambda text, _times: answer(text)
    #: Requests that are asked a second time, and whether any is asked on demand.
    again: int = 0
    on_demand: bool = False
    part_bytes: int = writer.PART_BYTES


def slowed_down(text: str, times: int) -> Outcome:
    error = {"error": {"errorCode": 429, "errorMessage": "slow down"}}
    return error if times == 0 and int(text.rpartition(" ")[2].strip("?")) % 40 == 0 else answer(text)


def of_mistral(text: str, _times: int) -> Outcome:
    """What has no tools goes by Converse, whose contents are lists."""
    if text.startswith("["):
        message = {"role": "assistant", "content": [{"text": "Yes."}]}
        usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
        return {"modelOutput": {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "stop_reason": "stop"}
    return {"modelOutput": {"choices": [choice]}}


CHATS = [chat(f"req-{n}", f"Question number {n}?") for n in range(200)]
LONG = [chat(f"req-{n}", f"{n} " + "words " * 60) for n in range(100)]
#: Two ranges of 60 requests with tools each: together they make a job.
TOOLS = [chat(f"req-{n}", f"Number {n}?", **({"tools": [TOOL]} if n % 3 == 2 else {})) for n in range(360)]
SCENARIOS = {
    "a job": Scenario(CHATS[:100], {}, 100, [100]),
    "on demand": Scenario(CHATS[:3], {"completion_window": "immediate"}, 100, [], on_demand=True),
    "two jobs, then on demand": Scenario(CHATS, {}, 100, [100, 100], slowed_down, again=5, on_demand=True),
    "ranges gathered into a job": Scenario(TOOLS, {"model": MISTRAL}, 180, [120, 120, 120], of_mistral),
    "uploads of parts": Scenario(LONG, {}, 100, [100], part_bytes=12_000),
}


# The heartbeat's thread dies with the process that it stands for.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_may_die_at_any_of_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, after: bool
) -> None:
    """The same call carries on: every request comes back once, and no record of a job is asked for twice."""
    lines, options, most_records, jobs, outcome, asked_again, on_demand, part_bytes = SCENARIOS[scenario]
    monkeypatch.setenv("BEDROCK_BATCH_ON_DEMAND_CONCURRENCY", "1")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", str(most_records))
    monkeypatch.setattr(writer, "PART_BYTES", part_bytes)
    monkeypatch.setattr(fakes, "_PART_BYTES", part_bytes)
    path = write_lines(tmp_path / "in.jsonl", lines)
    ids = [line["custom_id"] for line in lines]
    died, largest = 0, 0
    # After a call is before the next one: two tests share the calls. Of the larger ones, some.
    step = 2 if scenario in ("a job", "on demand") else 7
    for number in range(max(1, after * (step // 2)), 400, step):
        cloud = install(monkeypatch)
        service = Service(cloud)
        service.outcome = outcome
        die_at(cloud, number, after=after)
        try:
            batch = run(path, **options)
        except Dead:
            died += 1
            largest = max(largest, *(len(upload.parts) for upload in cloud.s3.uploads.values()), 0, 0)
            revive(cloud)
            batch = run(path, **options)
        else:
            break
        assert batch.status == "completed", number
        output = lines_of(cloud, batch.output_file)
        assert [line["custom_id"] for line in output] == ids, lines_of(cloud, batch.error_file)[0]
        # A call on demand whose answer died with the process, before it was stored, is made once more.
        assert 0 <= len(service.asked) - len(ids) - asked_again <= on_demand, number
        assert sorted(records_of(cloud)) == jobs, number
        assert document_of(batch).bedrock.warnings == [], number
        left = [key for key in cloud.s3.keys("prefix/") if "/results/" in key or "/again/" in key or "/open/" in key]
        assert not left, number
        assert not cloud.s3.uploads, number
    assert died > 100 // (4 * step), "this is about a run of many calls"
    assert number < 390, "to its end"
    assert (largest >= 3) == ("parts" in scenario)


# Comparisons


COLD: dict[str, Any] = {"model": CLAUDE, "label": "cold", "overrides": {"temperature": 0}}


def compare(path: Path, **parameters: Any) -> Comparison:
    found: Comparison = compare_models(str(path), **{"models": [CLAUDE, COLD], "poll_seconds": 0.001, **parameters})
    return found


def test_a_variant_that_failed_half_way_is_compared(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """What it answered is paid for: it is in the table and the numbers, and no failed one."""
    service.ends[0] = ("Failed", 0.5)
    found = compare(write_chats(tmp_path / "in.jsonl", 100, max_tokens=10))
    assert found.failed == {}
    assert sorted(batch.status for batch in found.batches.values()) == ["completed", "failed"]
    assert found.table_file
    table = pq.read_table(io.BytesIO(cloud.s3.objects[found.table_file.removeprefix(f"s3://{BUCKET}/")].body))
    assert table.num_rows == 200
    assert sum(table["ok"].to_pylist()) == 150


def test_a_variant_without_an_answer_leaves_the_other_alone(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    service.ends[0] = ("Failed", 0.0)
    found = compare(write_chats(tmp_path / "in.jsonl", 100, max_tokens=10))
    ((label, cause),) = found.failed.items()
    assert "no capacity" in cause
    assert found.batches[label].status == "failed"
    assert found.report_file


def test_where_no_variant_has_results_it_fails(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    service.ends = {0: ("Failed", 0.0), 1: ("Failed", 0.0)}
    with pytest.raises(ComparisonFailedError, match=r"No model has results\. .*no capacity") as caught:
        compare(write_chats(tmp_path / "in.jsonl", 100, max_tokens=10))
    assert len(caught.value.comparison.failed) == 2


def test_a_budget_is_asked_before_anything_is_uploaded(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    path = write_chats(tmp_path / "in.jsonl", 100, max_tokens=10)
    with pytest.raises(PipelineError, match="max_cost_usd"):
        compare(path, max_cost_usd=0.0001)
    with pytest.raises(PipelineError, match="max_cost_usd"):
        run(path, max_cost_usd=0.0001)
    assert not cloud.bedrock.jobs
    assert not cloud.s3.objects
    assert compare(path, max_cost_usd=100).failed == {}
