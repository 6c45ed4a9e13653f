"""Calls on demand against S3 in memory: what is stored, what is sent again, and how often it may be paid for."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import msgspec
import pytest
from botocore.exceptions import ReadTimeoutError

from tasks import on_demand
from tasks.batch.document import BatchDocument, BedrockSection, Shard
from tasks.batch.lease import holding
from tasks.batch.paths import BatchRef
from tasks.bedrock.names import PADDING_PREFIX, record_id
from tasks.bedrock.records import RecordError, decode_output_line, encode_output_line
from tasks.bedrock.runtime import LostReplyError, Reply, error_reply
from tasks.errors import LostLeaseError, PipelineError
from tasks.on_demand import RESENDS, answer_on_demand, answer_shard, sent_again
from tasks.openai_format.requests import MAX_LINE_BYTES
from tasks.storage.reader import read_lines
from tasks.storage.uris import S3Uri
from tests.builders import HELD, document, put_shard, records, shard, store, stored
from tests.builders import REF as PLACE
from tests.fakes import Cloud, raising

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

    def run(self, shard: Shard = SHARD) -> int:
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
        return answer_shard(REF, document, shard)

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
    # Each in its first round: what has come to its bound is not taken up again.
    assert world.run() == LINES
    assert set(world.calls.values()) == {min(lost, RESENDS) + 1}
    assert len(world.answers) == LINES
    assert all((b"modelOutput" in line) == (lost <= RESENDS) for line in world.answers)
    said = sent_again(REF)
    assert (said or "").partition(" ")[0] == (str(LINES * min(lost, RESENDS)) if lost else "")
    world.run()
    assert set(world.calls.values()) == {min(lost, RESENDS) + 1}


def test_a_lost_reply_is_noted_before_the_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.replies = ["lost"]

    def killed(*_: Any) -> NoReturn:
        raise Killed

    monkeypatch.setattr("tasks.on_demand.aws.back_off", killed)
    with pytest.raises(Killed):
        world.run()
    assert any(key.endswith("r000000000.1") for key in world.objects)


def test_lost_replies_are_bounded_round_by_round(world: World) -> None:
    lost = on_demand.LostReplies(REF, SHARD)
    for _ in range(RESENDS + 1):
        lost.note("r000000000")
    assert not on_demand.LostReplies(REF, SHARD).may_send("r000000000")
    assert on_demand.LostReplies(REF, SHARD.model_copy(update={"round": 2})).may_send("r000000000")


@pytest.mark.parametrize(("round_", "calls"), [(1, 2), (2, 1), (3, 1)])
def test_a_shard_of_a_later_round_has_the_rounds_that_are_left(world: World, round_: int, calls: int) -> None:
    world.replies = [429]
    world.run(SHARD.model_copy(update={"round": round_}))
    assert set(world.calls.values()) == {calls}


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


# Against the fakes


KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


def waiting(cloud: Cloud, count: int = 5, **fields: Any) -> tuple[BatchDocument, Shard]:
    """A batch of one shard whose records are asked on demand; its last record is padding."""
    each = shard(route="on_demand")
    padding = [msgspec.json.encode({"recordId": f"{PADDING_PREFIX}000000000", "modelInput": {}}) + b"\n"]
    put_shard(cloud, each, [*records(range(count)), *padding])
    each.records = count
    return store(cloud, document([each], holder="me", **fields)), each


def asked(cloud: Cloud) -> list[str]:
    """What was asked for, in order: the texts of `builders.records`."""
    return [
        msgspec.json.decode(given["body"])["messages"][0]
        for name, given in cloud.runtime.calls
        if name == "InvokeModel"
    ]


def outcomes(cloud: Cloud) -> dict[str, Any]:
    """What is stored, by record."""
    found = {}
    for key in cloud.s3.keys(PLACE.uri("bedrock", "on-demand", "part-00000").key + "/"):
        record = decode_output_line(cloud.s3.objects[key].body)
        assert key.endswith(f"/{record.record_id}.jsonl.out")
        found[record.record_id] = record.outcome
    return found


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_ON_DEMAND_CONCURRENCY", "1")


def test_every_record_is_asked_once_and_padding_never(cloud: Cloud) -> None:
    batch, each = waiting(cloud)
    assert answer_shard(HELD, batch, each) == 5
    assert sorted(asked(cloud)) == [f"Say {n}" for n in range(5)]
    assert {id: msgspec.json.decode(answer)["asked"]["messages"] for id, answer in outcomes(cloud).items()} == {
        record_id(n): [f"Say {n}"] for n in range(5)
    }
    assert {given["modelId"] for _, given in cloud.runtime.calls} == {batch.bedrock.model}
    assert answer_shard(HELD, batch, each) == 0, "what has an answer is not asked again"


def test_a_record_may_be_longer_than_a_line_of_an_input(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that it names are in it."""
    batch, each = waiting(cloud)
    monkeypatch.setattr(read_lines, "__defaults__", (0, None, 20, None))
    assert answer_shard(HELD, batch, each) == 5


def test_a_run_that_was_cut_off_asks_for_the_rest_only(cloud: Cloud, one_by_one: None) -> None:
    batch, each = waiting(cloud)
    cloud.runtime.before("InvokeModel", raising(Killed()), on="")
    with contextlib.suppress(Killed):
        answer_shard(HELD, batch, each)
    done = set(outcomes(cloud))
    assert answer_shard(HELD, batch, each) == 5 - len(done)
    assert max(Counter(asked(cloud)).values()) <= 2
    assert len(outcomes(cloud)) == 5


def test_who_is_relieved_asks_for_no_further_answer(cloud: Cloud, one_by_one: None) -> None:
    """What it had paid for already is kept: its successor finds it."""
    each = waiting(cloud)[1]
    store(cloud, document([each]))
    with pytest.raises(LostLeaseError), holding(PLACE) as lease:
        cloud.runtime.after("InvokeModel", lambda: setattr(lease, "lost", True))
        answer_shard(lease.ref, stored(), each)
    assert len(asked(cloud)) == 1
    assert len(outcomes(cloud)) == 1


@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        (400, "ValidationException", 1),
        (403, "GuardrailException", 1),
        (424, "ModelErrorException", 1),
        (408, "ModelTimeoutException", 2),
    ],
)
def test_what_waiting_does_not_mend_is_asked_once(
    cloud: Cloud, one_by_one: None, status: int, code: str, tries: int
) -> None:
    """A refusal for good is that record's outcome; what may pass is asked in as many rounds as there are."""
    batch, each = waiting(cloud)
    cloud.runtime.refuse("InvokeModel", code, status, "no", times=None)
    answer_shard(HELD, batch, each)
    assert set(Counter(asked(cloud)).values()) == {tries}
    assert {outcome.status for outcome in outcomes(cloud).values()} == {status}


def test_throttled_records_are_asked_again_within_the_rounds(cloud: Cloud, one_by_one: None) -> None:
    for last_round, each_round, tries in ((2, 1, 2), (3, 1, 3), (1, 1, 1), (2, 2, 1)):
        cloud.runtime.calls.clear()
        for key in cloud.s3.keys(PLACE.uri("bedrock").key):
            del cloud.s3.objects[key]
        batch, each = waiting(cloud, section={"last_round": last_round})
        each.round = each_round
        cloud.runtime.refuse("InvokeModel", "ModelTimeoutException", 408, times=5 * (tries - 1))
        answer_shard(HELD, batch, each)
        assert set(Counter(asked(cloud)).values()) == {tries}, (last_round, each_round)
        assert all(isinstance(outcome, bytes) for outcome in outcomes(cloud).values())


def test_the_first_answer_counts(cloud: Cloud, one_by_one: None) -> None:
    """Another runner's, of a lease that was lost: it stands already, and is not written over."""
    batch, each = waiting(cloud, 1)
    key = PLACE.uri("bedrock", "on-demand", "part-00000", f"{record_id(0)}.jsonl.out").key
    first = encode_output_line(record_id(0), b'{"first":1}')
    cloud.runtime.after("InvokeModel", lambda: cloud.s3.put(key, first))
    answer_shard(HELD, batch, each)
    assert cloud.s3.objects[key].body == first


def test_answers_and_notes_are_encrypted(cloud: Cloud, one_by_one: None) -> None:
    batch, each = waiting(cloud, 2)
    cloud.runtime.after("InvokeModel", raising(NO_REPLY), times=1)
    answer_shard(msgspec.structs.replace(HELD, kms_key=KEY), batch, each)
    made = cloud.s3.keys(PLACE.uri("bedrock").key)
    assert len(made) == 3, "two answers, and the note of a lost reply"
    assert {cloud.s3.objects[key].options["SSEKMSKeyId"] for key in made} == {KEY}


#: No reply came; the call may have been carried out.
NO_REPLY = ReadTimeoutError(endpoint_url="x")


def test_an_answer_is_stored_though_s3_has_trouble(cloud: Cloud, one_by_one: None) -> None:
    batch, each = waiting(cloud, 1)
    cloud.s3.refuse("PutObject", "SlowDown", 503, on=".jsonl.out", times=3)
    answer_shard(HELD, batch, each)
    assert len(outcomes(cloud)) == len(asked(cloud)) == 1


def test_an_answer_that_may_not_be_stored_ends_the_run(cloud: Cloud, one_by_one: None) -> None:
    batch, each = waiting(cloud, 3)
    cloud.s3.refuse("PutObject", "AccessDenied", 403, on=".jsonl.out", times=None)
    with pytest.raises(PipelineError, match="storing s3://bucket/prefix/batches"):
        answer_shard(HELD, batch, each)
    assert len(asked(cloud)) <= 2, "it asks for no more than it can keep"
    assert cloud.s3.count("PutObject", on=".jsonl.out") <= 2, "and does not try again what is denied"


@pytest.mark.parametrize(("set_to", "most"), [("3", 6), ("1", 2), (None, 16)])
def test_no_more_calls_are_under_way_than_are_read(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, set_to: str | None, most: int
) -> None:
    """Of a shard of any size, twice the concurrency is in memory; by default eight calls run at once."""
    if set_to is not None:
        monkeypatch.setenv("BEDROCK_BATCH_ON_DEMAND_CONCURRENCY", set_to)
    read = done = furthest = 0

    def some() -> Iterator[Any]:
        nonlocal read, furthest
        for number in range(60):
            read += 1
            furthest = max(furthest, read - done)
            yield on_demand._Record(record_id(number), msgspec.Raw(b"{}"))

    for _ in on_demand._in_parallel(lambda record: record.record_id, some()):
        done += 1
    assert done == 60
    # What one pass finds finished is given on one by one.
    assert furthest <= 2 * most


def run_stage(**how: Any) -> int:
    from prefect.logging import disable_run_logger

    with disable_run_logger():
        return int(answer_on_demand.fn(HELD, **how))


@pytest.mark.parametrize("status", ["cancelling", "cancelled"])
def test_a_cancelled_batch_asks_for_nothing(cloud: Cloud, status: str) -> None:
    waiting(cloud, status=status)
    assert run_stage() == 0
    assert asked(cloud) == []
    assert [each.done for each in stored().bedrock.shards or []] == [False]


def test_the_stage_asks_for_what_no_job_takes_once(cloud: Cloud) -> None:
    batch, each = waiting(cloud)
    others = [shard("00001"), shard("00002", route="none"), shard("00003", route="on_demand", done=True)]
    store(cloud, batch.model_copy(update={"bedrock": batch.bedrock.model_copy(update={"shards": [each, *others]})}))
    assert run_stage() == 5
    assert [each.done for each in stored().bedrock.shards or []] == [True, False, False, True]
    assert stored().bedrock.warnings == []
    assert run_stage() == 0
    assert len(asked(cloud)) == 5


def test_how_far_it_is_is_said_now_and_then(cloud: Cloud, one_by_one: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *given: said.append(text % given))
    monkeypatch.setattr(on_demand, "run_log", lambda: log)
    monkeypatch.setattr(on_demand, "_LOG_EVERY", 2)
    batch, each = waiting(cloud)
    answer_shard(HELD, batch, each)
    assert said == ["2 answers on demand", "4 answers on demand"]


def test_calls_that_were_sent_again_are_said_once(cloud: Cloud, one_by_one: None) -> None:
    waiting(
        cloud,
        section={
            "warnings": [
                "other",
                "1 calls on demand were sent again after a lost reply; each may have been billed twice",
            ]
        },
    )
    cloud.runtime.after("InvokeModel", raising(NO_REPLY), times=2)
    run_stage()
    assert stored().bedrock.warnings == [
        "other",
        "2 calls on demand were sent again after a lost reply; each may have been billed twice",
    ]


def test_calls_are_under_way_side_by_side(cloud: Cloud) -> None:
    batch, each = waiting(cloud)
    together = threading.Barrier(2)
    cloud.runtime.before("InvokeModel", lambda: together.wait(10), times=2)
    assert answer_shard(HELD, batch, each) == 5


def test_a_record_without_any_reply_has_a_gateways_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: Any) -> NoReturn:
        raise LostReplyError("no reply")

    monkeypatch.setattr("tasks.on_demand.invoke", lose)
    batch, each = waiting(cloud)
    assert answer_shard(HELD, batch, each) == 5
    key = PLACE.uri("bedrock", "on-demand", f"part-{each.id}", f"{record_id(0)}.jsonl.out").key
    outcome = decode_output_line(cloud.s3.objects[key].body).outcome
    assert isinstance(outcome, RecordError)
    assert outcome.status == 504


def test_calls_are_of_the_tier_that_was_chosen(cloud: Cloud) -> None:
    batch, each = waiting(cloud, options={"service_tier": "flex"})
    answer_shard(HELD, batch, each)
    assert {given["serviceTier"] for _, given in cloud.runtime.calls} == {"flex"}


def test_a_record_of_any_length_is_asked(cloud: Cloud) -> None:
    """A line of the input may be as long as its limit; with what the model wants around it, its record is longer."""
    each = put_shard(cloud, shard(), records([0], text="x" * MAX_LINE_BYTES))
    (found,) = on_demand._records_of(PLACE, each)
    assert found.record_id == record_id(0)
