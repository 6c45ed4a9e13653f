"""What the jobs left: every attempt's output, and where the manifest says otherwise."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import fetch
from tasks.batch.document import Shard
from tasks.errors import PipelineError
from tasks.fetch import find_output
from tests.builders import REF, document, job, shard
from tests.fakes import Cloud


@pytest.fixture(autouse=True)
def _no_waiting(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=cloud.clock.advance))


def output(cloud: Cloud, number: int = 0, name: str = "part-00000.jsonl.out", body: bytes = b"{}\n") -> None:
    cloud.s3.put(REF.uri("bedrock", job(number=number).id, name).key, body)


def manifest(cloud: Cloud, **counts: Any) -> None:
    output(cloud, 0, "manifest.json.out", json.dumps(counts).encode())


def asked(*statuses: str) -> Shard:
    return shard(jobs=[job(status, n, attempt=n + 1) for n, status in enumerate(statuses)])


def test_the_output_of_every_attempt_the_oldest_first(cloud: Cloud) -> None:
    for number in range(2):
        output(cloud, number)
        output(cloud, number, "part-00000.jsonl.out.tmp")
    manifest(cloud, totalRecordCount=100, processedRecordCount=100, successRecordCount=99, errorRecordCount=1)
    found = find_output(REF, asked("Failed", "Completed"))
    assert [(o.attempt, o.uri.rsplit("/", 2)[-2]) for o in found.objects] == [
        (n + 1, job(number=n).id) for n in range(2)
    ]
    assert not found.warnings


def test_a_job_that_says_completed_before_its_output_is_there(cloud: Cloud) -> None:
    began = cloud.clock()
    looks = iter(range(100))
    cloud.s3.before("ListObjectsV2", lambda: output(cloud) if next(looks) == 4 else None, times=None)
    assert len(find_output(REF, asked("Completed")).objects) == 1
    assert 1 < cloud.clock() - began < 60


def test_output_that_never_comes_is_said(cloud: Cloud) -> None:
    began = cloud.clock()
    found = find_output(REF, asked("Completed"))
    assert not found.objects
    # From an eighth of a second on, twice as long each time, up to ten seconds.
    assert cloud.clock() - began == 1 / 8 + 1 / 4 + 1 / 2 + 1 + 2 + 4 + 8 + 10 + 10 + 10
    assert ["left no output" in warning for warning in found.warnings] == [True]
    assert cloud.s3.count("ListObjectsV2") == 11
    assert not find_output(REF, asked("Failed")).warnings, "a failed one need not leave any"
    assert cloud.s3.count("ListObjectsV2") == 12


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"totalRecordCount": 99}, "counts 99 records; 100 were sent"),
        ({"processedRecordCount": 99}, "counts 99 processed records of 100"),
        ({"processedRecordCount": 100, "successRecordCount": 90, "errorRecordCount": 1}, "but 90 answers and 1 error"),
        ({}, None),
    ],
)
def test_a_manifest_that_disagrees_is_said(cloud: Cloud, counts: dict[str, int], said: str | None) -> None:
    output(cloud)
    manifest(cloud, **counts)
    warnings = find_output(REF, asked("Completed")).warnings
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


def test_a_manifest_that_cannot_be_read_is_none_and_one_that_is_denied_an_error(cloud: Cloud) -> None:
    output(cloud)
    output(cloud, 0, "manifest.json.out", b"{")
    assert find_output(REF, asked("Completed")).manifest is None
    cloud.s3.refuse("GetObject", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=r"manifest\.json\.out"):
        find_output(REF, asked("Completed"))


def test_answers_on_demand_are_listed_when_they_are_read(cloud: Cloud) -> None:
    found = find_output(REF, shard(route="on_demand"))
    assert found.objects == []
    for number in range(3):
        cloud.s3.put(REF.uri("bedrock", "on-demand", "part-00000", f"r{number}.jsonl.out").key, b"{}\n")
    assert len(found.found()) == 3


def test_a_job_that_bedrock_never_heard_of_left_nothing(cloud: Cloud) -> None:
    assert find_output(REF, shard(jobs=[job(None, arn=None)])).objects == []
    assert cloud.s3.count("ListObjectsV2") == 0


def test_what_a_healthy_job_counts_is_not_odd(cloud: Cloud) -> None:
    """Padding is among its records; and one whose time ran out has not processed all."""
    output(cloud)
    manifest(cloud, totalRecordCount=110, processedRecordCount=110, successRecordCount=100, errorRecordCount=10)
    assert not find_output(REF, shard(padding=10, jobs=[job("Completed")])).warnings
    manifest(cloud, totalRecordCount=100, processedRecordCount=40, successRecordCount=40, errorRecordCount=0)
    assert not find_output(REF, asked("PartiallyCompleted")).warnings


@pytest.mark.parametrize(
    ("status", "waits"),
    [("Completed", True), ("PartiallyCompleted", True), ("Stopped", False), ("Expired", False), ("Failed", False)],
)
def test_output_is_waited_for_where_a_job_must_have_some(cloud: Cloud, status: str, waits: bool) -> None:
    """The manifest alone is none."""
    manifest(cloud)
    found = find_output(REF, asked(status))
    assert cloud.s3.count("ListObjectsV2") == (11 if waits else 1)
    folder = f"s3://bucket/prefix/batches/{REF.batch_id}/bedrock/{job().id}"
    assert found.warnings == [f"Job job-0 is {status} but left no output under {folder}."] * waits
    assert found.objects == []


@pytest.mark.parametrize(
    ("status", "counts", "said"),
    [
        ("Completed", {"totalRecordCount": 130, "processedRecordCount": 130}, None),
        ("Completed", {"totalRecordCount": 131}, "The manifest of job job-0 counts 131 records; 130 were sent."),
        ("Completed", {"processedRecordCount": 131}, "The manifest of job job-0 counts 131 processed records of 130."),
        ("Stopped", {"processedRecordCount": 50}, None),
        ("Completed", {"processedRecordCount": 130, "successRecordCount": 1}, None),
        ("Completed", {"successRecordCount": 1, "errorRecordCount": 1}, None),
        ("Completed", {"processedRecordCount": 130, "successRecordCount": 129, "errorRecordCount": 1}, None),
        (
            "Stopped",
            {"processedRecordCount": 0, "successRecordCount": 1, "errorRecordCount": 0},
            "The manifest of job job-0 counts 0 processed records, but 1 answer and 0 errors.",
        ),
    ],
)
def test_padding_is_among_what_was_sent(cloud: Cloud, status: str, counts: dict[str, int], said: str | None) -> None:
    output(cloud)
    manifest(cloud, **counts)
    found = find_output(REF, shard(records=100, padding=30, jobs=[job(status)]))
    assert found.warnings == [said] * (said is not None)
    assert found.manifest is not None


@pytest.mark.parametrize("body", [b"{", b'"\xff"', b"[" * 100_000, b'{"totalRecordCount":"x"}', b""])
def test_a_manifest_of_any_bytes_ends_no_batch(cloud: Cloud, body: bytes) -> None:
    output(cloud)
    output(cloud, 0, "manifest.json.out", body)
    found = find_output(REF, asked("Completed"))
    assert (found.manifest, found.warnings, len(found.objects)) == (None, [], 1)


def test_without_a_manifest_none_is_read(cloud: Cloud) -> None:
    output(cloud)
    output(cloud, 0, "other/manifest.json.out", b"{}")
    assert find_output(REF, asked("Stopped")).manifest is None
    assert cloud.s3.count("GetObject") == 0


@pytest.mark.usefixtures("without_prefect")
def test_what_was_found_is_said(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    output(cloud, 0, body=b"x" * 1000)
    manifest(cloud, totalRecordCount=7)
    shards = [
        asked("Completed"),
        shard("00001", route="on_demand", records=3),
        shard("00002", route="none", records=50),
    ]
    found = fetch.fetch(REF, document(shards))
    assert list(found) == ["00000", "00001", "00002"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "The manifest of job job-0 counts 7 records; 100 were sent."),
        ("INFO", "Found 1 output object of 1,000 bytes; 3 records were asked on demand"),
    ]
    caplog.clear()
    fetch.fetch(REF, document(shards[2:]))
    assert caplog.messages == ["Found 0 output objects of 0 bytes"]
