"""Result files, from S3 into a local folder."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import aws
from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tasks.storage.objects import DOWNLOADS
from tasks.storage.uris import parse_input_uri

if TYPE_CHECKING:
    from tasks.comparison.result import Comparison


def save_batch(batch: Batch, folder: Path) -> dict[str, str]:
    """Copy a batch's result files and its Batch object into `folder/BATCH_ID`; returns them by name."""
    uris = {"output": batch.output_file, "errors": batch.error_file, "parquet": batch.parquet_file}
    text = json.dumps(batch.model_dump(), indent=2)
    files = _save_all(folder / batch.id, uris, "batch.json", text)
    return {**files, "batch": str(folder / batch.id / "batch.json")}


def save_comparison(comparison: "Comparison", files: dict[str, str | None], folder: Path) -> dict[str, str]:
    """Copy a comparison's files and numbers into `folder/COMPARISON_ID`; returns the files by name."""
    return _save_all(folder / comparison.id, files, "comparison.json", comparison.model_dump_json(indent=2))


def _save_all(target: Path, uris: dict[str, str | None], name: str, text: str) -> dict[str, str]:
    with _saving(target):
        target.mkdir(parents=True, exist_ok=True)
    files = {kind: str(_save(uri, target)) for kind, uri in uris.items() if uri}
    with _saving(target):
        (target / name).write_text(text + "\n", encoding="utf-8")
    return files


@contextlib.contextmanager
def _saving(target: Path) -> Iterator[None]:
    """A block that writes result files into a folder. Raises PipelineError: they are in S3, whatever happens here."""
    try:
        with aws.translated("downloading the result files"):
            yield
    except OSError as error:
        raise PipelineError(
            f"The result files cannot be saved in {target} ({error.strerror or type(error).__name__}): name another "
            "--output-dir, or make room there. They are in S3, and the same command gets them again."
        ) from error


def _save(uri: str, target: Path) -> Path:
    place = parse_input_uri(uri)
    path = target / place.key.rsplit("/", 1)[-1]
    with _saving(target):
        aws.s3().download_file(place.bucket, place.key, str(path), Config=DOWNLOADS)
    return path
