"""Opening: what a call would have to pay for. (What it finds and opens again: `batch/test_lifecycle.py`.)"""

from typing import Any

import msgspec
import pytest

from tasks.open import batch_ref, requests_to_pay
from tests.builders import call, document, shard, store, summary
from tests.fakes import Cloud


@pytest.mark.parametrize(
    ("asked", "read", "status", "section", "requests"),
    [
        ({}, {}, None, {}, 100),
        ({}, {"invalid": 3}, None, {}, 0),
        ({"on_invalid": "skip"}, {"invalid": 3}, None, {}, 97),
        ({}, {}, "validating", {"shards": None}, 100),
        ({}, {}, "in_progress", {}, 0),
        ({"retry_failed": True}, {}, "in_progress", {}, 0),
        ({}, {}, "completed", {"unanswered": 7}, 0),
        ({"retry_failed": True}, {}, "completed", {"unanswered": 7}, 7),
        ({"retry_failed": True}, {}, "completed", {"unanswered": 0}, 0),
        ({"retry_failed": True}, {}, "expired", {}, 100),
    ],
)
def test_what_a_call_may_have_to_pay_for(
    cloud: Cloud,
    asked: dict[str, Any],
    read: dict[str, Any],
    status: str | None,
    section: dict[str, Any],
    requests: int,
) -> None:
    wanted = call(**asked)
    found = summary(**read)
    if status:
        ref = batch_ref(wanted, found)
        stored = document([shard()], status=status, section=section, id=ref.batch_id)
        store(cloud, stored, msgspec.structs.replace(ref, holder="me"))
    assert requests_to_pay(wanted, found) == requests
