"""The limits of jobs: what is true by default, and what the environment may say."""

import pytest

from tasks.bedrock.limits import Limits, limits_for
from tasks.bedrock.models import parse_model
from tests.conftest import CLAUDE

CUSTOM = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0/abcdefghijkl"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_RECORDS_PER_JOB", "MAX_RECORDS_PER_JOB", "MAX_BYTES_PER_FILE", "MAX_JOBS", "MAX_ROUNDS"):
        monkeypatch.delenv(f"BEDROCK_BATCH_{name}", raising=False)


def test_defaults() -> None:
    assert limits_for(parse_model(CLAUDE)) == Limits()
    assert Limits().model_dump() == {
        "min_records_per_job": 100,
        "max_records_per_job": 50_000,
        "max_bytes_per_file": 900 << 20,
        "max_jobs": 20,
        "max_rounds": 2,
    }
    assert limits_for(parse_model(CUSTOM)) == Limits(max_jobs=3)


def test_each_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(
        ("MIN_RECORDS_PER_JOB", "MAX_RECORDS_PER_JOB", "MAX_BYTES_PER_FILE", "MAX_JOBS", "MAX_ROUNDS"), 11
    ):
        monkeypatch.setenv(f"BEDROCK_BATCH_{name}", f" {number} ")
    assert limits_for(parse_model(CUSTOM)) == Limits(
        min_records_per_job=11, max_records_per_job=12, max_bytes_per_file=13, max_jobs=14, max_rounds=15
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MIN_RECORDS_PER_JOB", "0", True),
        ("MAX_JOBS", "0", False),
        ("MAX_ROUNDS", "0", False),
        ("MAX_JOBS", "-1", False),
        ("MAX_JOBS", "many", False),
        ("MAX_JOBS", "²", False),
        ("MAX_BYTES_PER_FILE", "1.5", False),
        ("MAX_RECORDS_PER_JOB", "99", False),
        ("MAX_RECORDS_PER_JOB", "100", True),
        ("MAX_JOBS", "", True),
    ],
)
def test_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: bool) -> None:
    monkeypatch.setenv(f"BEDROCK_BATCH_{name}", value)
    if allowed:
        limits_for(parse_model(CLAUDE))
        return
    with pytest.raises(ValueError, match=f"BEDROCK_BATCH_{name}"):
        limits_for(parse_model(CLAUDE))
