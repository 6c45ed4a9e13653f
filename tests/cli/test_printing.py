"""What is said of batches: sums that are one, for people, programs and scripts."""

import json
from typing import Any

import pytest

from flows.cli.exits import DONE, FAILED, SOME_FAILED
from flows.cli.printing import (
    account_of,
    print_batch,
    print_batches,
    print_error,
    print_json,
    print_rows,
    status_of_batch,
)
from tasks.openai_format.batch import Batch
from tests.cli.helpers import batch


@pytest.mark.parametrize(
    ("found", "account", "status"),
    [
        (batch(), "3 = 3 answered + 0 failed", DONE),
        (batch(total=40_000, completed=39_999, failed=1), "40,000 = 39,999 answered + 1 failed", SOME_FAILED),
        (batch(total=0, completed=0), "none", DONE),
        (batch("in_progress", completed=0), "3, still open", DONE),
        (batch("in_progress", completed=1), "3 = 1 answered + 2 still open", DONE),
        (batch("in_progress", completed=1, failed=1), "3 = 1 answered + 1 failed + 1 still open", DONE),
        (batch("expired", completed=0), "3, without an answer", SOME_FAILED),
        (batch("cancelled", completed=0, failed=2), "3 = 2 failed + 1 without an answer", SOME_FAILED),
        (batch("failed", total=0, completed=0), "none", FAILED),
    ],
)
def test_what_became_of_the_requests(found: Batch, account: str, status: int) -> None:
    assert (account_of(found), status_of_batch(found)) == (account, status)


def test_a_batch_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    usage: dict[str, Any] = {"input_tokens": 1234, "output_tokens": 56, "total_tokens": 1290}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    found = batch(usage=usage, cost_usd=0.5, output_file="s3://b/o.jsonl", error_file="s3://b/e.jsonl")
    print_batch(found, {"output": "here/o.jsonl"})
    assert capsys.readouterr().out == (
        "\n"
        "  batch     batch_1\n"
        "  status    completed\n"
        "  model     m\n"
        "  requests  3 = 3 answered + 0 failed\n"
        "  tokens    1,234 in, 56 out\n"
        "  cost      $0.5000\n"
        "  output    here/o.jsonl\n"
        "  errors    s3://b/e.jsonl\n"
    )
    print_batch(batch(), {})
    assert capsys.readouterr().out.endswith("  tokens    unknown\n")


def test_a_batch_for_programs_and_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    print_batch(batch(), {"output": "o"}, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["files"]) == ("batch_1", {"output": "o"})
    print_batch(batch(), {}, as_json=True, quiet=True)
    assert "files" not in json.loads(capsys.readouterr().out)
    print_batch(batch(), {}, quiet=True)
    assert capsys.readouterr().out == "batch_1\n"


def test_a_line_for_each_batch(capsys: pytest.CaptureFixture[str]) -> None:
    print_batches([batch(created_at=86_399), batch("expired", completed=0, cost_usd=1234.5)])
    assert capsys.readouterr().out == (
        "batch_1  completed    1970-01-01 23:59  m  3 = 3 answered + 0 failed\n"
        "batch_1  expired      1970-01-01 00:00  m  3, without an answer  $1,234.50\n"
    )
    print_batches([])
    assert capsys.readouterr().out == ""
    print_batches([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_names_and_values_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(iter([("a", "1"), ("long", "2")]))
    assert capsys.readouterr().out == "\n  a     1\n  long  2\n"


def test_json_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"é": [1]})
    print_error(ValueError("so not"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ('{\n  "é": [\n    1\n  ]\n}\n', "error: so not\n")
