"""What each command does and says, and its exit status, with S3 and Bedrock in memory and no Prefect."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.cli import exits
from flows.cli import main as cli
from tasks.batch.paths import BatchRef
from tasks.batch.registry import mark_open
from tasks.batch.result import BatchResult
from tasks.errors import BatchFailedError, ConfigurationError, PipelineError
from tasks.openai_format.batch import BatchError, BatchErrors, BatchUsage, RequestCounts
from tests.builders import REF, document, job, shard, store, stored
from tests.fakes import BUCKET, Cloud

pytestmark = pytest.mark.usefixtures("without_prefect")
Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", "prefix")
    monkeypatch.setattr("flows.cli.process.end_in_order", lambda: None)
    monkeypatch.setattr("flows.cli.process.require_server", lambda: None)
    monkeypatch.setattr("logging.shutdown", lambda: None)


def of(number: int) -> BatchRef:
    return msgspec.structs.replace(REF, batch_id=f"batch_{number:032x}")


def put(cloud: Cloud, number: int = 1, created_at: int = 1, **fields: Any) -> str:
    ref = of(number)
    store(cloud, document(fields.pop("shards", []), id=ref.batch_id, created_at=created_at, **fields), ref)
    return ref.batch_id


def finished(cloud: Cloud, number: int = 1, **fields: Any) -> str:
    files = {}
    for kind, name in (
        ("output_file", "output.jsonl"),
        ("error_file", "errors.jsonl"),
        ("parquet_file", "results.parquet"),
    ):
        uri = of(number).uri(name)
        cloud.s3.put(uri.key, f'{{"of":"{kind}"}}\n'.encode())
        files[kind] = str(uri)
    return put(cloud, number, **{"status": "completed", **files, **fields})


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


# list and show


def test_list_is_limited_and_goes_on(cloud: Cloud, capsys: Said) -> None:
    ids = [put(cloud, number, 100 - number) for number in range(25)]
    for arguments, expected in (
        ((), ids[:20]),
        (("--limit", "2"), ids[:2]),
        (("--limit", "2", "--after", ids[1]), ids[2:4]),
        (("--limit", "30", "--after", ids[-2]), ids[-1:]),
    ):
        assert run("list", "--quiet", *arguments) == exits.DONE
        assert capsys.readouterr().out.split() == expected
    assert run("list", "--after", "batch_x") == exits.FAILED
    assert capsys.readouterr() == ("", "error: There is no batch 'batch_x' under s3://bucket/prefix to list from.\n")


def test_show_has_the_batch_and_its_jobs(cloud: Cloud, capsys: Said) -> None:
    first, second = job("Failed", 0, message="no capacity"), job("InProgress", 1, total=200, processed=1100)
    id = finished(
        cloud,
        shards=[shard(jobs=[first, second]), shard("00001", jobs=[job(None, 2, arn=None)])],
        model="m",
        usage=BatchUsage(input_tokens=1234, output_tokens=5, total_tokens=1239),
        request_counts=RequestCounts(total=3, completed=2, failed=1),
        cost_usd=0.5,
    )
    assert run("show", id) == exits.DONE
    shown = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    assert [tuple(row) for row in shown] == [
        ("batch", id),
        ("status", "completed"),
        ("model", "m"),
        ("requests", "3 = 2 answered + 1 failed"),
        ("tokens", "1,234 in, 5 out"),
        ("cost", "$0.5000"),
        ("output", str(of(1).uri("output.jsonl"))),
        ("errors", str(of(1).uri("errors.jsonl"))),
        ("parquet", str(of(1).uri("results.parquet"))),
        ("job-0", f"Failed  {first.arn}  no capacity"),
        ("job-1", f"InProgress  1,100 of 200 records  {second.arn}"),
        ("job-2", "not submitted"),
    ]
    assert run("show", id, "--quiet") == exits.DONE
    assert capsys.readouterr().out == f"{id}\n"
    assert run("show", id, "--json") == exits.DONE
    assert json.loads(capsys.readouterr().out) == stored(of(1)).public().model_dump(mode="json")


# output


def test_output_writes_either_file(cloud: Cloud, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    id = finished(cloud)
    for arguments, expected in (((), b"output_file"), (("--errors",), b"error_file")):
        assert run("output", id, *arguments) == exits.DONE
        assert capfdbinary.readouterr().out == b'{"of":"%b"}\n' % expected


def test_output_of_what_is_not_finished(cloud: Cloud, capsys: Said) -> None:
    id = put(cloud)
    assert run("output", id) == exits.FAILED
    assert capsys.readouterr() == (
        "",
        f"error: Batch {id} is in_progress: it has no output yet; incomplete=True gives what is finished.\n",
    )
    assert run("output", id, "--incomplete") == exits.DONE
    assert run("output", "batch_" + "0" * 31) == exits.FAILED


def test_output_into_a_folder(cloud: Cloud, tmp_path: Path, capsys: Said) -> None:
    id = finished(cloud, request_counts=RequestCounts(total=2, completed=1, failed=1))
    assert run("output", id, "--output-dir", str(tmp_path)) == exits.DONE
    names = ["output.jsonl", "errors.jsonl", "results.parquet", "batch.json"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / id / name) for name in names]
    assert (tmp_path / id / "errors.jsonl").read_text() == '{"of":"error_file"}\n'
    saved = json.loads((tmp_path / id / "batch.json").read_text())
    assert saved == json.loads(json.dumps(stored(of(1)).public().model_dump()))
    assert "bedrock" not in saved


def test_a_folder_that_cannot_be_written(cloud: Cloud, tmp_path: Path, capsys: Said) -> None:
    id = finished(cloud)
    (tmp_path / id).write_text("in the way")
    assert run("output", id, "--output-dir", str(tmp_path)) == exits.FAILED
    said = capsys.readouterr().err
    assert said.startswith(f"error: The result files cannot be saved in {tmp_path / id} (File exists): name another")


# cancel and collect


@pytest.mark.parametrize("collect", [True, False])
def test_cancel(cloud: Cloud, capsys: Said, monkeypatch: pytest.MonkeyPatch, collect: bool) -> None:
    arn = cloud.bedrock.put(status="InProgress")
    id = put(cloud, shards=[shard(jobs=[job(arn=arn)])])
    driven: list[str] = []
    monkeypatch.setattr("flows.operations.drive", lambda ref: driven.append(ref.batch_id))
    assert run("cancel", id, *(() if collect else ("--no-collect",)), "--quiet") == exits.DONE
    assert capsys.readouterr().out == f"{id}\n"
    assert cloud.bedrock.jobs[arn]["status"] == "Stopping"
    assert driven == ([id] if collect else [])
    assert run("cancel", of(2).batch_id) == exits.FAILED
    assert capsys.readouterr().err == f"error: There is no batch {of(2).batch_id} under s3://bucket/prefix.\n"


def test_collect_advances_every_open_batch_or_one(cloud: Cloud, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    driven: list[str] = []

    def drive(ref: BatchRef, *, wait: bool) -> None:
        driven.append(ref.batch_id)
        if ref.batch_id == of(2).batch_id:
            raise PipelineError("no")

    monkeypatch.setattr("flows.operations.drive", drive)
    for number in (1, 3):
        put(cloud, number)
        mark_open(of(number))
    assert run("collect", "--quiet") == exits.DONE
    assert capsys.readouterr().out.split() == driven == [of(1).batch_id, of(3).batch_id]
    driven.clear()
    assert run("collect", of(3).batch_id, "--quiet") == exits.DONE
    assert driven == [of(3).batch_id]
    put(cloud, 2)
    mark_open(of(2))
    assert run("collect") == exits.FAILED
    assert "error: 1 of 3 batches could not be advanced" in capsys.readouterr().err


# run


def result(**fields: Any) -> BatchResult:
    return BatchResult.model_validate(
        {
            "id": of(1).batch_id,
            "endpoint": "/v1/chat/completions",
            "input_file_id": "x",
            "completion_window": "24h",
            "created_at": 1,
            "status": "completed",
            "request_counts": RequestCounts(total=2, completed=2, failed=0),
            **fields,
        }
    )


@pytest.fixture
def batch_inference(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the flow gives or raises, the next time; and behind it, what it was called with."""
    given: list[Any] = [result()]

    def flow(**parameters: Any) -> BatchResult:
        given.append(parameters)
        found: BatchResult | BaseException = given[0]
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr("flows.batch.batch_inference", flow)
    return given


FAILED_ONE = result(
    status="failed",
    request_counts=RequestCounts(total=2, completed=0, failed=0),
    errors=BatchErrors(data=[BatchError(code="job_failed", message="no")]),
)
SOME = result(request_counts=RequestCounts(total=2, completed=1, failed=1))


@pytest.mark.parametrize(
    ("came", "status", "lenient", "said"),
    [
        (result(), exits.DONE, exits.DONE, ""),
        (SOME, exits.SOME_FAILED, exits.DONE, ""),
        (result(status="in_progress"), exits.DONE, exits.DONE, ""),
        (BatchFailedError("Batch x failed: no", FAILED_ONE), exits.FAILED, exits.FAILED, "error: Batch x failed: no\n"),
        (ConfigurationError("No bucket is set."), exits.FAILED, exits.FAILED, "error: No bucket is set.\n"),
    ],
)
def test_how_a_run_ends(
    batch_inference: list[Any], capsys: Said, came: Any, status: int, lenient: int, said: str
) -> None:
    batch_inference[0] = came
    assert run("run", "in.jsonl", "--model", "m", "--quiet") == status
    out, err = capsys.readouterr()
    assert err == said
    assert out == ("" if isinstance(came, ConfigurationError) else f"{of(1).batch_id}\n")
    assert cli.run_batch(["in.jsonl", "--model", "m", "--quiet"]) == lenient


def test_a_run_is_asked_for_what_was_said(batch_inference: list[Any]) -> None:
    assert run("run", "in.jsonl", "--model", "m", "--no-wait", "--metadata", "a=b=c", "--metadata", "d") == exits.DONE
    asked = batch_inference[1]
    assert (asked["input_file"], asked["model"], asked["wait"]) == ("in.jsonl", "m", False)
    assert asked["metadata"] == {"a": "b=c", "d": ""}
    assert run("run", "in.jsonl", "--model", "m") == exits.DONE
    assert (batch_inference[2]["wait"], batch_inference[2]["metadata"]) == (True, {})


def test_a_file_that_is_not_there_is_no_success(cloud: Cloud, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    assert cli.run_batch(["nowhere.jsonl", "--model", "anthropic.claude-3-5-haiku-20241022-v1:0"]) == exits.FAILED
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_files_that_cannot_be_saved_fail_the_command_and_not_the_batch(
    cloud: Cloud, batch_inference: list[Any], tmp_path: Path, capsys: Said
) -> None:
    batch_inference[0] = stored(of(1)).public() if finished(cloud) else None
    assert run("run", "in.jsonl", "--model", "m", "--quiet", "--output-dir", str(tmp_path)) == exits.DONE
    assert (tmp_path / of(1).batch_id / "output.jsonl").exists()
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    assert run("run", "in.jsonl", "--model", "m", "--quiet", "--output-dir", str(tmp_path / "file/x")) == exits.FAILED
    out, err = capsys.readouterr()
    assert out == f"{of(1).batch_id}\n"
    assert "cannot be saved in" in err


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("stop", [True, False])
def test_an_interrupted_run_says_how_to_go_on(
    batch_inference: list[Any], capsys: Said, monkeypatch: pytest.MonkeyPatch, known: bool, stop: bool
) -> None:
    batch_inference[0] = KeyboardInterrupt()
    monkeypatch.setattr("tasks.batch.registry.latest_batch", lambda: of(1) if known else None)
    stopped: list[str] = []

    def cancel(batch_id: str) -> BatchResult:
        stopped.append(batch_id)
        return result(status="cancelled")

    monkeypatch.setattr("flows.operations.cancel_batch", cancel)
    assert run("run", "in.jsonl", "--model", "m", *(("--stop",) if stop else ()), "--quiet") == 130
    out, err = capsys.readouterr()
    assert stopped == ([of(1).batch_id] if known and stop else [])
    if not known:
        assert "Stopped before there was a batch; run the same command again to carry on." in err
    elif stop:
        assert "Stopping the Bedrock jobs; what was answered is collected." in err
        assert out == f"{of(1).batch_id}\n"
    else:
        assert f"The Bedrock jobs of {of(1).batch_id} go on; run the same command again to carry on from there" in err
