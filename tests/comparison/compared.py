"""Comparisons from answers that a test makes up, on S3 in memory: from result tables to numbers and the page."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.bedrock.prices import Rate
from tasks.comparison.join import Join
from tasks.comparison.joined import Joined, Options, Side
from tasks.comparison.measures import measure
from tasks.comparison.numbers import Numbers
from tasks.comparison.reference import Reference
from tasks.comparison.variants import Variant
from tasks.results.files import RESULT_SCHEMA
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri
from tests.conftest import chat, write_lines
from tests.fakes import BUCKET, Cloud

RATE = Rate(1.0, 10.0, "batch", "a test", "today")
LOST = {"ok": False, "error_code": "rate_limit_exceeded", "status_code": 429, "error_message": "slow down"}
REFUSED = {"ok": False, "error_code": "invalid_request_error", "status_code": 400, "error_message": "too long"}


def put(cloud: Cloud, name: str, answers: list[Any], lost: dict[str, Any] = LOST) -> str:
    """A result table. An answer is a text, None (lost to the run), a dictionary of columns, or a list of choices."""
    rows = []
    for number, answer in enumerate(answers):
        for choice, each in enumerate(answer if isinstance(answer, list) else [answer]):
            given = {"content": each} if isinstance(each, str) else lost if each is None else each
            rows.append(
                dict.fromkeys(RESULT_SCHEMA.names)
                | {"custom_id": f"r{number}", "line": number + 1, "choice": choice, "model": "m", "file": "in.jsonl"}
                | {"ok": True}
                | ({"status_code": 200, "finish_reason": "stop", "prompt_tokens": 100, "completion_tokens": 10})
                | given
            )
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA), sink)
    cloud.s3.put(f"results/{name}.parquet", sink.getvalue())
    return f"s3://{BUCKET}/results/{name}.parquet"


class Compared:
    """A comparison of variants by their answers.

    `texts` are the requests, one another's repeats where they are equal; or `lines`, the whole of them.
    """

    def __init__(
        self,
        cloud: Cloud,
        folder: Path,
        answers: dict[str, list[Any]],
        labels: list[Any] | Reference | None = None,
        *,
        lines: list[Any] | None = None,
        overrides: dict[str, Any] | None = None,
        lost: dict[str, Any] = LOST,
        texts: list[str] | None = None,
        rates: dict[str, Rate | None] | None = None,
        body: dict[str, Any] | None = None,
        bodies: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        lines = lines or [
            chat(f"r{n}", texts[n] if texts else f"question {n}", **(bodies[n] if bodies else body or {}))
            for n in range(len(next(iter(answers.values()))))
        ]
        source = find_sources(str(write_lines(folder / "in.jsonl", lines)))
        if isinstance(labels, list):
            labels = Reference(
                {f"r{n}": label if isinstance(label, tuple) else (label,) for n, label in enumerate(labels) if label}
            )
        sides = [Side(Variant(f"x.{name}", name, overrides or {}), (rates or {}).get(name, RATE)) for name in answers]
        results = [put(cloud, name, given, lost) for name, given in answers.items()]
        root = S3Uri(BUCKET, "cmp")
        self.joined: Joined = Join(sides, source, len(lines), labels, Options(**options)).run(
            results, root.join("table.parquet"), root.join("answers.csv"), None
        )
        self.numbers: Numbers = measure(self.joined)
        self.rows = pq.read_table(io.BytesIO(cloud.s3.objects["cmp/table.parquet"].body)).to_pylist()
        self.sheet = list(csv.DictReader(io.StringIO(cloud.s3.objects["cmp/answers.csv"].body.decode("utf-8-sig"))))
