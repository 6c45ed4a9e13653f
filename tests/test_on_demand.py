"""Answers on demand: each is paid for once, kept at once, and none is asked for by who lost the lease."""

import json
import threading
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from tasks import lease
from tasks.errors import ConfigurationError, LostLeaseError
from tasks.on_demand import CONCURRENCY_VARIABLE, answer_on_demand, answer_shard, answered
from tasks.state import Shard
from tests.builders import HELD, REF, document, put_shard, records, shard, store, stored
from tests.fakes import Cloud, refusal

FOLDER = REF.uri("bedrock", "on-demand", "part-00000").key


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONCURRENCY_VARIABLE, "1")


class Model:
    """Answers, and counts how often each body was asked."""

    def __init__(self, cloud: Cloud, *errors: Any, rate: int = 1) -> None:
        self.asked: dict[str, int] = {}
        self._errors, self._rate, self._lock = errors, rate, threading.Lock()
        cloud.runtime.answer = self.answer

    def answer(self, _model: str, body: dict[str, Any]) -> dict[str, Any]:
        (text,) = body["messages"]
        with self._lock:
            times = self.asked[text] = self.asked.get(text, 0) + 1
        if times <= len(self._errors) and int(text.split()[-1]) % self._rate == 0:
            raise self._errors[times - 1]
        return {"answer": text}


def waiting(cloud: Cloud, count: int = 12, padding: int = 2, **fields: Any) -> Shard:
    each = put_shard(cloud, shard(route="on_demand"), [*records(range(count)), *pads(padding)])
    each.records = count
    store(cloud, document([each], holder="me", completion_window="immediate", **fields))
    return each


def pads(count: int) -> list[bytes]:
    return [b'{"recordId":"pad%09d","modelInput":{"messages":["Pad"]}}\n' % number for number in range(count)]


def outcomes(cloud: Cloud) -> dict[str, Any]:
    stored_answers = {key: json.loads(cloud.s3.objects[key].body) for key in cloud.s3.keys(FOLDER + "/")}
    assert all(key == f"{FOLDER}/{answer['recordId']}.jsonl.out" for key, answer in stored_answers.items())
    return {
        answer["recordId"]: answer.get("modelOutput") or answer["error"]["errorCode"]
        for answer in stored_answers.values()
    }


@pytest.mark.parametrize("concurrency", ["1", "8"])
def test_every_record_is_asked_once_and_kept(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, concurrency: str) -> None:
    monkeypatch.setenv(CONCURRENCY_VARIABLE, concurrency)
    each, model = waiting(cloud, 40), Model(cloud)
    assert answer_shard(HELD, stored(), each) == 40
    assert outcomes(cloud) == {f"r{n:09d}": {"answer": f"Say {n}"} for n in range(40)}
    assert set(model.asked.values()) == {1}
    assert answer_shard(HELD, stored(), each) == 0, "all are there"
    assert answered(REF, each) == set(outcomes(cloud))


def test_what_is_kept_is_not_asked_again(cloud: Cloud) -> None:
    each, model = waiting(cloud), Model(cloud)
    for number in (0, 5):
        cloud.s3.put(f"{FOLDER}/r{number:09d}.jsonl.out", b'{"recordId":"r%09d","modelOutput":{"kept":1}}\n' % number)
    assert answer_shard(HELD, stored(), each) == 10
    assert not {"Say 0", "Say 5", "Pad"} & set(model.asked)
    assert outcomes(cloud)["r000000005"] == {"kept": 1}


def test_errors_for_good_are_asked_once(cloud: Cloud) -> None:
    each, model = waiting(cloud), Model(cloud, *[refusal("ValidationException", 400, "No.")] * 5, rate=2)
    assert answer_shard(HELD, stored(), each) == 12
    assert set(model.asked.values()) == {1}
    assert [outcomes(cloud)[f"r{n:09d}"] for n in (0, 1)] == [400, {"answer": "Say 1"}]


@pytest.mark.parametrize(
    ("code", "status"), [("ThrottlingException", 429), ("ModelTimeoutException", 408), ("InternalServerException", 500)]
)
def test_errors_that_pass_get_another_try(cloud: Cloud, code: str, status: int) -> None:
    each, model = waiting(cloud), Model(cloud, refusal(code, status), rate=3)
    assert answer_shard(HELD, stored(), each) == 12 + 4
    assert set(map(str, outcomes(cloud).values())) == {str({"answer": f"Say {n}"}) for n in range(12)}
    assert [model.asked[f"Say {n}"] for n in (0, 1, 3)] == [2, 1, 2]


@pytest.mark.parametrize(("round_", "last", "tries"), [(1, 1, 1), (1, 2, 2), (2, 2, 1), (1, 3, 3)])
def test_tries_come_to_an_end(cloud: Cloud, round_: int, last: int, tries: int) -> None:
    each, model = waiting(cloud, section={"last_round": last}), Model(cloud, *[refusal("ThrottlingException", 429)] * 9)
    each.round = round_
    assert answer_shard(HELD, stored(), each) == 12 * tries
    assert set(model.asked.values()) == {tries}
    assert set(outcomes(cloud).values()) == {429}


def test_who_was_relieved_pays_for_no_further_call(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    each, model = waiting(cloud), Model(cloud)
    mine = lease.Lease(REF)
    monkeypatch.setattr(lease, "_held", {"me": mine})

    def relieve() -> None:
        mine.lost = len(model.asked) == 3

    cloud.runtime.after("InvokeModel", relieve, times=None)
    with pytest.raises(LostLeaseError):
        answer_shard(HELD, stored(), each)
    assert len(model.asked) == 3
    assert len(outcomes(cloud)) == 3, "what is paid for is kept"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "no"),
        ("ResourceNotFoundException", "no"),
        ("ValidationException", "The provided model identifier is invalid."),
    ],
)
def test_what_befalls_every_call_ends_the_run(cloud: Cloud, code: str, message: str) -> None:
    each, model = waiting(cloud), Model(cloud, refusal(code, 403, message))
    with pytest.raises(ConfigurationError, match=code):
        answer_shard(HELD, stored(), each)
    assert len(model.asked) <= 3
    assert not outcomes(cloud)


@pytest.mark.parametrize("status", ["in_progress", "cancelling"])
def test_the_stage_answers_what_waits_unless_the_batch_is_cancelled(cloud: Cloud, status: str) -> None:
    first = put_shard(cloud, shard("00000", route="on_demand"), records(range(3)))
    second = put_shard(cloud, shard("00001", route="on_demand", done=True), records(range(3, 6)))
    store(cloud, document([first, second, shard("00002")], holder="me", status=status))
    Model(cloud)
    with disable_run_logger():
        assert answer_on_demand.fn(HELD) == (3 if status == "in_progress" else 0)
    assert [each.done for each in stored().bedrock.shards or []] == [status == "in_progress", True, False]
