"""Result files into a local folder: where they lie, what is left out, and folders that cannot be written."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.saving import save_batch, save_comparison
from tasks.comparison.result import Comparison
from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch, RequestCounts
from tests.fakes import BUCKET, Cloud


def batch(**more: Any) -> Batch:
    given: dict[str, Any] = {
        "id": "batch_1",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "x",
        "completion_window": "24h",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "request_counts": RequestCounts(total=1, completed=1, failed=0),
    }
    return Batch.model_validate(given | more)


def put(cloud: Cloud, key: str, body: bytes) -> str:
    cloud.s3.put(key, body)
    return f"s3://{BUCKET}/{key}"


def test_the_files_of_a_batch(cloud: Cloud, tmp_path: Path) -> None:
    found = batch(
        output_file=put(cloud, "p/batch_1/output.jsonl", b"{}\n"), parquet_file=put(cloud, "p/results.parquet", b"PAR1")
    )
    # The folder is made, and what is there already is written anew.
    for _ in range(2):
        files = save_batch(found, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder" / "batch_1"
    assert files == {
        "output": str(folder / "output.jsonl"),
        "parquet": str(folder / "results.parquet"),
        "batch": str(folder / "batch.json"),
    }
    assert sorted(each.name for each in folder.iterdir()) == ["batch.json", "output.jsonl", "results.parquet"]
    assert (folder / "output.jsonl").read_bytes() == b"{}\n"
    text = (folder / "batch.json").read_text(encoding="utf-8")
    assert text == json.dumps(found.model_dump(), indent=2) + "\n"


def test_a_batch_without_files(cloud: Cloud, tmp_path: Path) -> None:
    assert save_batch(batch(), tmp_path) == {"batch": str(tmp_path / "batch_1" / "batch.json")}
    assert not cloud.s3.keys()


def test_the_files_of_a_comparison(cloud: Cloud, tmp_path: Path) -> None:
    found = Comparison(id="cmp_1", input_file="in.jsonl")
    uris = {"report": put(cloud, "p/report.html", b"<p>"), "table": None}
    assert save_comparison(found, uris, tmp_path) == {"report": str(tmp_path / "cmp_1" / "report.html")}
    saved = (tmp_path / "cmp_1" / "comparison.json").read_text(encoding="utf-8")
    assert Comparison.model_validate_json(saved) == found


def test_a_folder_that_is_a_file(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PipelineError) as caught:
        save_batch(batch(output_file=put(cloud, "output.jsonl", b"{}\n")), tmp_path / "file")
    assert str(caught.value) == (
        f"The result files cannot be saved in {tmp_path / 'file' / 'batch_1'} (Not a directory): name another "
        "--output-dir, or make room there. They are in S3, and the same command gets them again."
    )


def test_a_name_that_is_taken_by_a_folder(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "batch_1" / "batch.json").mkdir(parents=True)
    with pytest.raises(PipelineError, match=r"cannot be saved in .*batch_1 \(Is a directory\)"):
        save_batch(batch(), tmp_path)
    assert not cloud.s3.keys()


def test_a_file_that_is_gone_from_s3(cloud: Cloud, tmp_path: Path) -> None:
    del cloud
    with pytest.raises(PipelineError, match="downloading the result files"):
        save_batch(batch(output_file=f"s3://{BUCKET}/gone.jsonl"), tmp_path)
    assert not (tmp_path / "batch_1" / "batch.json").exists()
