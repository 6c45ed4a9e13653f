"""What may be asked again, and who asked it last. How a round begins: `tests/test_rounds.py`."""

from typing import Any

import pytest

from tasks.batch.document import Origin, Shard
from tasks.batch.rounds import asks_again, current_shards, may_be_asked_again
from tests.builders import document, job, shard


@pytest.mark.parametrize(
    ("status", "round_", "last", "again"),
    [
        ("in_progress", 1, 2, True),
        ("in_progress", 2, 2, False),
        ("in_progress", 1, 1, False),
        ("in_progress", 2, 3, True),
        ("cancelling", 1, 2, False),
        ("cancelled", 1, 2, False),
        ("finalizing", 1, 2, True),
    ],
)
def test_whether_another_round_may_begin(status: str, round_: int, last: int, again: bool) -> None:
    assert asks_again(document(status=status, section={"round": round_, "last_round": last})) is again


#: Route, state of the job, and whether the batch was opened again; whether a record that failed, or is missing, passes.
PASSES = [
    ("batch", "Completed", False, True, True),
    ("batch", "PartiallyCompleted", False, True, True),
    ("batch", "Expired", False, True, True),
    ("batch", "Stopped", False, False, False),
    ("batch", "Failed", False, False, False),
    ("batch", None, False, True, False),
    ("on_demand", None, False, False, False),
    ("on_demand", None, True, True, True),
    ("batch", "Stopped", True, True, True),
    ("batch", "Failed", True, True, True),
    ("batch", None, True, True, True),
]


@pytest.mark.parametrize(("route", "status", "retry", "failed", "missing"), PASSES)
def test_what_may_be_answered_by_another_job(
    route: str, status: str | None, retry: bool, failed: bool, missing: bool
) -> None:
    asked = shard(route=route, retry=retry, jobs=[job(status)] if status else [])
    assert (may_be_asked_again(asked, missing=False), may_be_asked_again(asked, missing=True)) == (failed, missing)


def test_a_job_that_fails_in_a_later_round_is_not_asked_again_in_the_same_call() -> None:
    """Also of a batch that was opened again: the round cleared the mark of the shard that it follows."""
    first = shard(jobs=[job("Completed")], retry=True)
    second = shard("00000-r2", round=2, origins=[Origin(range=0, shard="00000")], jobs=[job("Failed")])
    batch = document([first, second], section={"round": 2, "last_round": 3})
    assert current_shards(batch) == {(0, "00000"): second}
    assert not may_be_asked_again(current_shards(batch)[0, "00000"], missing=False)


def test_the_shard_that_asked_last_is_followed_through_all_rounds() -> None:
    def later(id: str, round_: int, *origins: tuple[int, str], **fields: Any) -> Shard:
        return shard(id, round=round_, origins=[Origin(range=r, shard=s) for r, s in origins], **fields)

    shards = [
        shard("00000"),
        shard("00001", ranges=[1]),
        shard("00001-1", ranges=[1]),
        later("r2-00000", 2, (0, "00000"), (1, "00001"), ranges=[0, 1]),
        later("00001-r3", 3, (1, "r2-00000"), ranges=[1]),
    ]
    last = {key: each.id for key, each in current_shards(document(shards)).items()}
    assert last == {(0, "00000"): "r2-00000", (1, "00001"): "00001-r3", (1, "00001-1"): "00001-1"}


def test_a_shard_that_was_asked_again_as_a_whole_is_still_found_by_its_records() -> None:
    """It is of a later round by then, and follows no other."""
    whole, other = shard("00000", round=2), shard("00001", ranges=[1], round=3)
    later = shard("00001-r4", ranges=[1], round=4, origins=[Origin(range=1, shard="00001")])
    assert current_shards(document([whole, other, later])) == {(0, "00000"): whole, (1, "00001"): later}
