"""The pure parts stay pure: codecs, formats and names can be used without Prefect and boto3."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "module",
    [
        "tasks.codecs",
        "tasks.codecs.encoder",
        "tasks.openai_format.batch",
        "tasks.openai_format.results",
        "tasks.bedrock.models",
        "tasks.bedrock.limits",
        "tasks.bedrock.names",
        "tasks.bedrock.records",
    ],
)
def test_pure_modules_import_neither_prefect_nor_boto3(module: str) -> None:
    code = (
        f"import sys, {module}; from tasks.codecs import all_codecs; all_codecs();"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'prefect', 'boto3', 'botocore', 'pyarrow'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
