"""What a batch that runs has answered: of finished jobs, in the order of the input, and nothing that may change."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.batches import output_command
from flows.operations import results_so_far
from tasks.batch.document import BatchDocument
from tasks.bedrock.names import record_id
from tasks.openai_format.batch import RequestCounts
from tests.builders import REF, document, job, put_index, range_of, shard, store
from tests.fakes import Cloud


def answer(number: int) -> dict[str, Any]:
    return {
        "recordId": record_id(number),
        "modelOutput": {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": f"answer {number}"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    }


def error(number: int, code: int) -> dict[str, Any]:
    return {"recordId": record_id(number), "error": {"errorCode": code, "errorMessage": "no"}}


def batch(cloud: Cloud, done: tuple[bool, bool]) -> BatchDocument:
    """Two ranges of three requests, a job each; the output is in another order than the input."""
    ranges = [range_of(0, 3), range_of(1, 3, first=3)]
    shards = []
    for number, each in enumerate(ranges):
        first = 3 * number
        put_index(cloud, each, [f"id-{first + place}" for place in range(3)], f"{number:05d}")
        status = "Completed" if done[number] else "InProgress"
        made = shard(f"{number:05d}", ranges=[number], records=3, done=done[number], jobs=[job(status, number)])
        shards.append(made)
        lines = [answer(first + 2), error(first + 1, 429), answer(first)]
        if number == 1:
            lines[1] = error(first + 1, 400)
        key = REF.uri("bedrock", f"{number:012d}", f"part-{number:05d}.jsonl.out").key
        cloud.s3.put(key, "".join(json.dumps(line) + "\n" for line in lines).encode())
    found = document(shards, request_counts=RequestCounts(total=6), section={"ranges": ranges})
    return store(cloud, found)


def ids(*, errors: bool = False) -> list[str]:
    return [json.loads(line)["custom_id"] for line in results_so_far(REF, errors=errors)]


def test_finished_jobs_are_told_in_the_order_of_the_input(cloud: Cloud) -> None:
    batch(cloud, (True, False))
    assert ids() == ["id-0", "id-2"]
    # It is asked again: its error is not the last word.
    assert ids(errors=True) == []


@pytest.mark.parametrize("second_done", [False, True])
def test_the_command_says_that_it_is_incomplete(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, second_done: bool
) -> None:
    batch(cloud, (True, second_done))
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", REF.root.bucket)
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", REF.root.key)
    done = CliRunner().invoke(output_command, [REF.batch_id, "--incomplete"])
    lines = [json.loads(line)["custom_id"] for line in done.stdout.splitlines()]
    assert lines == ["id-0", "id-2", *(["id-3", "id-5"] if second_done else [])]
    assert done.stdout.count("\n") == len(lines)
    assert f"incomplete: {REF.batch_id} is in_progress; {len(lines)} of its 6 requests are here." in done.stderr


def test_what_lies_behind_a_job_that_runs_is_not_told(cloud: Cloud) -> None:
    batch(cloud, (False, True))
    assert ids() == []


def test_errors_that_stay_are_told(cloud: Cloud) -> None:
    batch(cloud, (True, True))
    assert ids() == ["id-0", "id-2", "id-3", "id-5"]
    assert ids(errors=True) == ["id-4"]


def test_a_batch_that_was_not_converted_has_none(cloud: Cloud) -> None:
    store(cloud, document(None))
    assert ids() == []
