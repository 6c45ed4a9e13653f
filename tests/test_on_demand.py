"""Calls on demand against S3 in memory: what is stored, what is sent again, and how often it may be paid for."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tasks import on_demand
from tasks.batch.document import BatchDocument, BedrockSection, Shard
from tasks.batch.paths import BatchRef
from tasks.bedrock.records import encode_output_line
from tasks.bedrock.runtime import LostReplyError, Reply, error_reply
from tasks.on_demand import RESENDS, answer_shard, sent_again
from tasks.storage.uris import S3Uri

REF = BatchRef(S3Uri("bucket", "prefix"), "batch_1")
SHARD = Shard(id="s", ranges=[0], records=3, route="on_demand")
LINES = 3


class Killed(BaseException):
    """The process ends here."""


class World:
    """S3, and a model that answers as `replies` say: one of them a call, the last for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.replies: list[Any] = ["answer"]
        monkeypatch.setattr(on_demand, "_put", self.put)
        monkeypatch.setattr(on_demand, "list_folder", self.listed)
        monkeypatch.setattr(on_demand, "require_lease", lambda ref: None)
        monkeypatch.setattr(on_demand, "invoke", self.invoke)
        monkeypatch.setattr(on_demand, "_records_of", self.records)
        monkeypatch.setattr("tasks.on_demand.aws.back_off", lambda *_: None)

    def put(self, uri: S3Uri, body: bytes, kms_key: str | None, **condition: str) -> None:
        if not condition or uri.key not in self.objects:
            self.objects[uri.key] = body

    def listed(self, folder: S3Uri) -> list[dict[str, str]]:
        return [{"Key": key} for key in self.objects if key.startswith(folder.key + "/")]

    def records(self, ref: BatchRef, shard: Shard) -> Iterator[Any]:
        for number in range(LINES):
            yield on_demand._Record(f"r{number:09d}", msgspec.Raw(b"{}"))

    def invoke(self, record_id: str, *_: Any) -> Reply:
        reply = self.replies[min(self.calls[record_id], len(self.replies) - 1)]
        self.calls[record_id] += 1
        if reply == "lost":
            raise LostReplyError
        if reply == "killed":
            raise Killed
        if isinstance(reply, int):
            return error_reply(record_id, reply, "no")
        return Reply(encode_output_line(record_id, b"{}" if reply == "answer" else b"<html>"))

    def run(self) -> int:
        section = BedrockSection(model="m", family="x", options={}, limits={}, last_round=2)
        document = BatchDocument(
            id="batch_1",
            endpoint="/v1/chat/completions",
            input_file_id="i",
            completion_window="24h",
            status="in_progress",
            created_at=1,
            bedrock=section,
        )
        return answer_shard(REF, document, SHARD)

    @property
    def answers(self) -> list[bytes]:
        return [body for key, body in self.objects.items() if key.endswith(".jsonl.out")]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_reply_that_cannot_be_read_is_stored_and_not_asked_again(world: World) -> None:
    world.replies = ["rubbish"]
    assert world.run() == LINES
    assert len(world.answers) == LINES
    assert world.run() == 0
    assert set(world.calls.values()) == {1}


@pytest.mark.parametrize("lost", range(RESENDS + 3))
def test_a_lost_reply_is_sent_again_so_often(world: World, lost: int) -> None:
    world.replies = ["lost"] * lost + ["answer"]
    world.run()
    assert set(world.calls.values()) == {min(lost, RESENDS) + 1}
    assert len(world.answers) == LINES
    assert all((b"modelOutput" in line) == (lost <= RESENDS) for line in world.answers)
    said = sent_again(REF)
    assert (said or "").partition(" ")[0] == (str(LINES * min(lost, RESENDS)) if lost else "")
    world.run()
    assert set(world.calls.values()) == {min(lost, RESENDS) + 1}


def test_the_bound_holds_over_throttling_rounds_and_killed_runs(world: World) -> None:
    """Eighteen times was one record paid for once: botocore's tries, times ours, times rounds."""
    world.replies = ["lost", 503, "killed", "lost", "killed", "lost"]
    for _ in range(20):
        with contextlib.suppress(Killed):
            world.run()
    # What a killed run had under way is asked once more: only the reply could have said that it was carried out.
    assert set(world.calls.values()) == {len(world.replies)}
    assert world.replies.count("lost") == RESENDS + 1
    assert len(world.answers) == LINES
    assert not any(b"modelOutput" in line for line in world.answers)


def test_throttled_records_are_left_for_another_round(world: World) -> None:
    world.replies = [429, "answer"]
    world.run()
    assert set(world.calls.values()) == {2}
    assert all(b"modelOutput" in line for line in world.answers)
    assert sent_again(REF) is None
