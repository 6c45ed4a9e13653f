"""The lease: one holder at a time, who is relieved when it is gone or silent, and then changes nothing any more.

Between threads and processes it is tested in `tests/flows/test_lease.py`; here nothing waits, and each moment is chosen.
"""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tasks.batch import lease
from tasks.batch.document import BatchDocument, LeaseState
from tasks.batch.lease import Lease, holding, require_lease, trying_to_hold
from tasks.batch.store import load, read, update
from tasks.errors import BatchFailedError, LostLeaseError, PipelineError
from tasks.openai_format.batch import Batch
from tests.builders import REF, document, store, stored
from tests.fakes import Cloud, raising, refusal

HEARTBEAT = REF.uri("heartbeat.json").key
#: The thread's work, which the tests below do themselves.
renew = Lease._renew
ELSEWHERE: dict[str, Any] = {"machine": "another-machine", "process": "1-1"}


class Turns:
    """In an Event's place: the time passes, until so many turns are over."""

    def __init__(self, cloud: Cloud, turns: int) -> None:
        self._cloud, self._turns, self.waited = cloud, turns, list[float]()

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self._cloud.clock.advance(seconds)
        return len(self.waited) >= self._turns

    def set(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_waiting(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock is the store's, a look takes as long as it says, and no thread renews. The looks that were waited for."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        assert len(slept) < 1000, "it waits for ever"
        slept.append(seconds)
        cloud.clock.advance(seconds)

    monkeypatch.setattr(lease, "_now", cloud.clock)
    monkeypatch.setattr(lease, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(lease, "_living", set())
    monkeypatch.setattr(lease, "_held", {})
    monkeypatch.setattr(Lease, "_renew", lambda self: None)
    return slept


def held_by(cloud: Cloud, *, beat: bool = True, **state: Any) -> BatchDocument:
    """A batch with a holder, which has just given a sign of life."""
    written = document()
    written.bedrock.lease = LeaseState(**{"epoch": 3, "holder": "other", **ELSEWHERE, **state})
    if beat:
        beat_of_other(cloud, 1)
    return store(cloud, written)


def beat_of_other(cloud: Cloud, number: int) -> None:
    cloud.s3.put(HEARTBEAT, b'{"holder":"other","beat":%d}' % number)


def taken(cloud: Cloud) -> Lease:
    mine = Lease(REF)
    assert mine.take()
    return mine


def state() -> LeaseState:
    return stored().bedrock.lease


# Taking


def test_a_free_lease_is_taken_without_a_new_epoch(cloud: Cloud) -> None:
    store(cloud, document(epoch=3))
    mine = taken(cloud)
    assert (state().holder, state().epoch) == (mine.id, 3) == (mine.ref.holder, mine.ref.epoch)
    assert state().machine == lease._machine()
    assert state().process.startswith(f"{os.getpid()}")
    require_lease(mine.ref)


def test_from_who_lives_it_is_not_taken(cloud: Cloud) -> None:
    before = held_by(cloud)
    assert not Lease(REF).take()
    assert stored() == before
    assert not lease._living, "who did not take it holds nothing"


def gone(kind: str) -> dict[str, Any]:
    """Holders of this machine that are no more."""
    pid = os.getpid()
    return {
        "a process that has ended": {"process": "4194999-7"},
        "another process of the same number": {"process": "1-99999999999"},
        "this process, which dropped it": {"process": lease._process(pid) or str(pid)},
    }[kind] | {"machine": lease._machine()}


GONE = ["a process that has ended", "another process of the same number", "this process, which dropped it"]


@pytest.mark.parametrize("kind", GONE)
def test_from_who_is_gone_it_is_taken_at_once_with_a_new_epoch(cloud: Cloud, kind: str) -> None:
    held_by(cloud, **gone(kind))
    mine = taken(cloud)
    assert (state().holder, state().epoch, mine.ref.epoch) == (mine.id, 4, 4)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the start time of a process is in /proc")
def test_a_process_is_told_by_its_number_and_its_start() -> None:
    """Numbers are used again."""
    pid = os.getpid()
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert lease._process(pid) == f"{pid}-{started}"
    assert lease._process(2**22 + 1) is None


def test_from_who_lives_in_this_process_it_is_not_taken(cloud: Cloud) -> None:
    store(cloud, document())
    first = taken(cloud)
    assert not Lease(REF).take()
    first.release()
    taken(cloud)


def test_a_process_number_of_another_machine_says_nothing(cloud: Cloud) -> None:
    held_by(cloud, process="4194999-7")
    assert not Lease(REF).take()


def test_a_lost_reply_to_the_take(cloud: Cloud) -> None:
    """The put is made again by botocore, and refused: the lease is held all the same, with the epoch that was written."""
    for written, epoch in ((document(epoch=3), 3), (held_by(cloud, **gone(GONE[0])), 4)):
        store(cloud, written)
        cloud.s3.after("PutObject", raising(refusal("PreconditionFailed", 412)), on="batch.json")
        mine = taken(cloud)
        assert (state().holder, state().epoch, mine.ref.epoch) == (mine.id, epoch, epoch)


def test_two_at_once_and_one_takes_it(cloud: Cloud) -> None:
    store(cloud, document())
    first, second = Lease(REF), Lease(REF)
    got: list[bool] = []
    cloud.s3.before("PutObject", lambda: got.append(second.take()), on="batch.json")
    assert not first.take()
    assert got == [True]
    assert state().holder == second.id


@pytest.mark.parametrize("written", [True, False])
def test_a_take_that_fails_holds_nothing(cloud: Cloud, written: bool) -> None:
    """Also where it was written: the next one in this process need not wait until it has been silent for long enough."""
    store(cloud, document())
    happens = cloud.s3.after if written else cloud.s3.before
    happens("PutObject", raising(refusal("InternalError", 500)), on="batch.json")
    with pytest.raises(PipelineError), holding(REF):
        raise AssertionError("it is not held")
    assert not lease._living
    assert not lease._held
    taken(cloud)
    assert state().epoch == 1 + written


# Silence


@pytest.mark.parametrize(("seconds", "relieved"), [(0, False), (74, False), (75, False), (76, True), (10_000, True)])
def test_who_was_silent_for_too_long_is_relieved_at_the_first_look(
    cloud: Cloud, seconds: float, relieved: bool
) -> None:
    """By S3's clock: nobody need have watched."""
    held_by(cloud)
    cloud.clock.advance(seconds)
    mine = Lease(REF)
    assert mine.try_from_silent(patient=False) is relieved
    assert (state().holder == mine.id) is relieved
    assert state().epoch == 3 + relieved


@pytest.mark.parametrize("only", ["heartbeat", "batch.json"])
def test_either_sign_counts(cloud: Cloud, only: str) -> None:
    """batch.json was written when the lease was taken, before the first heartbeat."""
    held_by(cloud)
    cloud.clock.advance(100)
    if only == "heartbeat":
        beat_of_other(cloud, 2)
    else:
        cloud.s3.objects.pop(HEARTBEAT)
        held_by(cloud, beat=False)
    assert not Lease(REF).try_from_silent(patient=False)


def test_who_beats_is_never_relieved(cloud: Cloud, no_waiting: list[float]) -> None:
    held_by(cloud)
    cloud.clock.advance(70)
    numbers = iter(range(2, 1000))
    cloud.s3.before("HeadObject", lambda: beat_of_other(cloud, next(numbers)), on="heartbeat", times=None)
    assert not Lease(REF).try_from_silent(patient=True)
    assert state().holder == "other"
    assert len(no_waiting) == 1, "the second look shows that it lives"


def test_patience_outlasts_the_silence(cloud: Cloud, no_waiting: list[float]) -> None:
    held_by(cloud)
    mine = Lease(REF)
    assert mine.try_from_silent(patient=True)
    assert state().holder == mine.id
    assert 75 < sum(no_waiting) < 80


def test_without_patience_one_look_is_enough(cloud: Cloud, no_waiting: list[float]) -> None:
    held_by(cloud)
    assert not Lease(REF).try_from_silent(patient=False)
    assert not no_waiting


@pytest.mark.parametrize("alive", [True, False])
def test_of_a_store_that_dates_nothing_the_signs_are_watched(
    cloud: Cloud, no_waiting: list[float], alive: bool
) -> None:
    cloud.s3.dated = False
    held_by(cloud)
    cloud.clock.advance(10_000)
    if alive:
        cloud.s3.before("HeadObject", lambda: beat_of_other(cloud, len(no_waiting)), on="heartbeat", times=None)
    assert Lease(REF).try_from_silent(patient=False) is not alive
    assert (sum(no_waiting) < 5) if alive else (75 < sum(no_waiting) < 80)


def test_who_was_relieved_by_another_meanwhile_is_not_relieved_again(cloud: Cloud) -> None:
    """The silent holder that was looked at is not the one that holds it now."""
    held_by(cloud)
    silent = state()
    held_by(cloud, holder="third", epoch=4)
    assert not Lease(REF).take(silent)
    assert state().holder == "third"


@pytest.mark.parametrize("dated", [True, False])
def test_waiting_ends_when_the_holder_gives_it_back(cloud: Cloud, no_waiting: list[float], dated: bool) -> None:
    cloud.s3.dated = dated
    held_by(cloud)

    def look() -> None:
        beat_of_other(cloud, len(no_waiting))
        if len(no_waiting) == 100:
            store(cloud, document(epoch=4))

    cloud.s3.before("HeadObject", look, on="heartbeat", times=None)
    mine = Lease(REF)
    mine.wait()
    assert mine.waited
    assert len(no_waiting) == 100, "far longer than the silence that relieves"
    assert (state().holder, state().epoch) == (mine.id, 4)


def test_waiting_ends_when_the_holder_falls_silent(cloud: Cloud, no_waiting: list[float]) -> None:
    held_by(cloud)
    mine = Lease(REF)
    mine.wait()
    assert 75 < sum(no_waiting) < 80
    assert (state().holder, state().epoch) == (mine.id, 4)


# Signs of life


def test_it_beats_as_long_as_it_holds(cloud: Cloud) -> None:
    store(cloud, document())
    mine = taken(cloud)
    turns = Turns(cloud, 20)
    mine._over = turns  # type: ignore[assignment]
    seen: list[str] = []
    cloud.s3.after("PutObject", lambda: seen.append(cloud.s3.objects[HEARTBEAT].etag), on="heartbeat", times=None)
    renew(mine)
    assert len(set(seen)) == len(seen) == 20, "each is another sign"
    assert set(turns.waited) == {lease.RENEWAL_SECONDS}
    assert 3 * lease.RENEWAL_SECONDS < lease.TAKEOVER_SECONDS
    assert not Lease(REF).try_from_silent(patient=False), "after five minutes it is alive"


def test_trouble_with_s3_does_not_end_the_beating(cloud: Cloud) -> None:
    store(cloud, document())
    mine = taken(cloud)
    mine._over = Turns(cloud, 5)  # type: ignore[assignment]
    cloud.s3.refuse("PutObject", "SlowDown", 503, on="heartbeat", times=2)
    renew(mine)
    assert not mine.lost
    assert cloud.s3.count("PutObject", "heartbeat") == 5
    assert b'"beat":5' in cloud.s3.objects[HEARTBEAT].body


def test_a_beat_that_comes_too_late_replaces_none(cloud: Cloud) -> None:
    """Another one's sign of life stays, and the holder that was relieved knows."""
    store(cloud, document())
    mine = taken(cloud)
    mine._beat()
    held_by(cloud)
    sign = cloud.s3.objects[HEARTBEAT]
    mine._beat()
    assert cloud.s3.objects[HEARTBEAT] is sign
    assert mine.lost
    with pytest.raises(LostLeaseError):
        require_lease(mine.ref)
    renew(mine)
    assert cloud.s3.objects[HEARTBEAT] is sign, "it beats no more"


@pytest.mark.parametrize("how", ["the reply to the last one was lost", "somebody deleted it"])
def test_a_conflict_alone_relieves_nobody(cloud: Cloud, how: str) -> None:
    store(cloud, document())
    mine = taken(cloud)
    mine._beat()
    if how == "somebody deleted it":
        del cloud.s3.objects[HEARTBEAT]
    else:
        cloud.s3.after("PutObject", raising(refusal("SlowDown", 503)), on="heartbeat")
        with pytest.raises(Exception, match="SlowDown"):
            mine._beat()
    mine._beat()
    mine._beat()
    assert not mine.lost
    require_lease(mine.ref)
    assert f'"holder":"{mine.id}"'.encode() in cloud.s3.objects[HEARTBEAT].body


# Doubt


@pytest.mark.parametrize("relieved", [True, False])
def test_who_has_not_beaten_for_long_asks(cloud: Cloud, relieved: bool) -> None:
    """A machine that was asleep: the clock went on, and the first question before a call tells."""
    store(cloud, document())
    mine = taken(cloud)
    if relieved:
        held_by(cloud)
    reads = cloud.s3.count("GetObject")
    require_lease(mine.ref)
    assert cloud.s3.count("GetObject") == reads, "for a while it is sure"
    cloud.clock.advance(2 * lease.RENEWAL_SECONDS + 1)
    if relieved:
        with pytest.raises(LostLeaseError):
            require_lease(mine.ref)
        assert mine.lost
    else:
        require_lease(mine.ref)
        require_lease(mine.ref)
    assert cloud.s3.count("GetObject") == reads + 1


def test_doubt_comes_before_anybody_takes_over() -> None:
    assert lease._DOUBT_SECONDS + lease.RENEWAL_SECONDS < lease.TAKEOVER_SECONDS


def test_in_a_process_that_holds_nothing_it_is_not_asked_for(cloud: Cloud) -> None:
    store(cloud, document(holder="other"))
    require_lease(REF)
    assert cloud.s3.count("GetObject") == 0


def test_who_was_relieved_changes_nothing(cloud: Cloud) -> None:
    store(cloud, document())
    mine = taken(cloud)
    after = held_by(cloud)
    for action in (lambda: read(mine.ref), lambda: update(mine.ref, lambda d: setattr(d, "model", "x")), mine.release):
        if action == mine.release:
            action()
        else:
            with pytest.raises(LostLeaseError):
                action()
    assert stored() == after
    assert mine.id not in lease._living


@pytest.mark.parametrize("found_out", [read, lambda ref: update(ref, lambda document: None)], ids=["read", "update"])
def test_who_finds_out_by_a_read_or_write_leaves_the_successors_sign_of_life(cloud: Cloud, found_out: Any) -> None:
    """Without it, an old batch would look deserted to a third runner."""
    store(cloud, document())
    with pytest.raises(LostLeaseError), holding(REF) as mine:
        after = held_by(cloud)
        sign = cloud.s3.objects[HEARTBEAT].etag
        found_out(mine.ref)
    assert cloud.s3.objects[HEARTBEAT].etag == sign
    assert stored() == after


def test_what_fails_since_another_took_over_says_that(cloud: Cloud) -> None:
    """Files that the other one has tidied away are missed by who wakes late: that is not the news."""
    store(cloud, document(epoch=3))
    missing = PipelineError("NoSuchKey")
    with pytest.raises(LostLeaseError, match="has taken batch") as raised, holding(REF):
        after = held_by(cloud)
        raise missing
    assert raised.value.__cause__ is missing
    assert stored() == after


@pytest.mark.parametrize("error", [PipelineError("x"), ValueError("x"), BatchFailedError("x", None)])  # type: ignore[arg-type]
def test_what_fails_while_the_lease_is_held_is_told_as_it_is(cloud: Cloud, error: Exception) -> None:
    store(cloud, document(epoch=3))
    with pytest.raises(type(error)) as raised, holding(REF):
        raise error
    assert raised.value is error


# Giving back


def test_it_is_given_back(cloud: Cloud) -> None:
    store(cloud, document(epoch=3))
    mine = taken(cloud)
    mine._beat()
    mine.release()
    assert state() == LeaseState(epoch=3)
    assert HEARTBEAT not in cloud.s3.objects
    assert not lease._living
    assert not lease._held


def test_after_a_failure_the_next_one_has_an_epoch_of_its_own(cloud: Cloud) -> None:
    """What this runner's workers have on their way may still arrive, under the epoch that it had."""
    store(cloud, document(epoch=3))
    for error, epoch in ((PipelineError("x"), 4), (KeyboardInterrupt(), 5)):
        with pytest.raises(type(error)), holding(REF):
            raise error
        assert state() == LeaseState(epoch=epoch)


def test_a_batch_that_failed_came_to_its_end(cloud: Cloud) -> None:
    store(cloud, document(epoch=3))
    ended = Batch.model_validate(document().model_dump())
    with pytest.raises(BatchFailedError), holding(REF):
        raise BatchFailedError("it failed", ended)
    assert state() == LeaseState(epoch=3)


@pytest.mark.parametrize("operation", ["DeleteObject", "PutObject", "GetObject"])
def test_trouble_while_it_is_given_back_fails_nobody(cloud: Cloud, operation: str) -> None:
    store(cloud, document(epoch=3))
    with holding(REF) as mine:
        cloud.s3.refuse(operation, "AccessDenied", 403, times=None)
    assert mine.id not in lease._living
    cloud.s3._events.clear()
    again = Lease(REF)
    assert again.take(), "the next one in this process finds that it was dropped"
    assert state().epoch == (3 if operation == "DeleteObject" else 4)


# Blocks


def test_of_two_blocks_one_waits_for_the_other(cloud: Cloud, no_waiting: list[float]) -> None:
    held_by(cloud)
    cloud.s3.before("HeadObject", lambda: store(cloud, document(epoch=4)), on="heartbeat")
    with holding(REF) as mine:
        assert mine.waited
        assert state().holder == mine.id
        with trying_to_hold(REF) as other:
            assert other is None
        assert state().holder == mine.id
    assert state() == LeaseState(epoch=4)


@pytest.mark.parametrize("patient", [True, False])
def test_trying_leaves_a_living_holder_alone(cloud: Cloud, patient: bool) -> None:
    before = held_by(cloud)
    numbers = iter(range(2, 1000))
    cloud.s3.before("HeadObject", lambda: beat_of_other(cloud, next(numbers)), on="heartbeat", times=None)
    with trying_to_hold(REF, patient=patient) as mine:
        assert mine is None
    assert stored() == before
    assert not lease._living


def test_a_holder_renews_by_a_thread_of_its_own(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    store(cloud, document())
    beaten = threading.Event()
    monkeypatch.setattr(Lease, "_renew", renew)
    cloud.s3.after("PutObject", beaten.set, on="heartbeat", times=None)
    with holding(REF):
        assert beaten.wait(30)
        assert load(REF) is not None
    assert HEARTBEAT not in cloud.s3.objects


def test_the_heartbeat_is_encrypted_with_the_key_asked_for(cloud: Cloud) -> None:
    ref = msgspec.structs.replace(REF, kms_key="key")
    store(cloud, document())
    mine = Lease(ref)
    assert mine.take()
    mine._beat()
    for key in (HEARTBEAT, REF.document.key):
        assert cloud.s3.objects[key].options["SSEKMSKeyId"] == "key"


def test_the_times_of_the_lease() -> None:
    """The silence that relieves is five beats: one that is late or lost relieves nobody."""
    assert (lease.RENEWAL_SECONDS, lease.TAKEOVER_SECONDS) == (15.0, 75.0)
    assert (lease._DOUBT_SECONDS, lease._LOOK_SECONDS) == (30.0, 2.0)


def test_the_lease_names_its_run(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    store(cloud, document())
    monkeypatch.setattr(lease, "current_run", lambda: "the-run")
    assert Lease(REF).take()
    assert state().run == "the-run"


def test_a_zombie_is_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed, and nobody has asked after it: as gone as one that was."""
    for letter, alive in (("R", True), ("S", True), ("D", True), ("T", True), ("Z", False), ("X", False)):
        stat = f"7 (a (b) c) {letter} " + " ".join(str(n) for n in range(4, 60))
        monkeypatch.setattr(Path, "read_text", lambda self, stat=stat, **_: stat)
        assert lease._process(7) == ("7-22" if alive else None), letter


def test_a_date_without_a_zone_is_none() -> None:
    assert lease._date("Thu, 26 Nov 2026 14:00:00 GMT") is not None
    for text in ("Thu, 26 Nov 2026 14:00:00 -0000", "yesterday", "", None):
        assert lease._date(text) is None


def test_a_failed_batch_is_not_blamed_on_a_lost_lease(cloud: Cloud) -> None:
    store(cloud, document())
    mine = Lease(REF)
    assert mine.take()
    store(cloud, document(holder="other", epoch=9))
    failed = BatchFailedError("no", document(status="failed").public())
    assert mine.explains(failed) is False
    assert mine.explains(LostLeaseError("x")) is False
    assert mine.explains(PipelineError("a file is gone")) is True


def test_a_beat_is_as_old_as_its_beginning(cloud: Cloud) -> None:
    """The machine was asleep while it was on its way: another may have taken over since."""
    store(cloud, document())
    mine = taken(cloud)
    cloud.s3.before("PutObject", lambda: cloud.clock.advance(40), on="heartbeat")
    mine._beat()
    store(cloud, document(holder="other", epoch=9))
    with pytest.raises(LostLeaseError):
        mine.check()


def test_an_answer_about_the_lease_is_as_old_as_its_question(cloud: Cloud) -> None:
    """It was long on its way: another may have taken over since."""
    store(cloud, document())
    mine = taken(cloud)
    cloud.clock.advance(40)
    reads = cloud.s3.count("GetObject")
    cloud.s3.before("GetObject", lambda: cloud.clock.advance(40), on="batch.json")
    mine.check()
    store(cloud, document(holder="other", epoch=9))
    with pytest.raises(LostLeaseError):
        mine.check()
    assert cloud.s3.count("GetObject") == reads + 2


def test_who_knows_that_it_was_relieved_leaves_the_others_sign_of_life(cloud: Cloud) -> None:
    store(cloud, document())
    mine = taken(cloud)
    held_by(cloud)
    cloud.clock.advance(2 * lease.RENEWAL_SECONDS + 1)
    with pytest.raises(LostLeaseError):
        mine.check()
    mine.release()
    assert HEARTBEAT in cloud.s3.objects


def test_trying_takes_a_lease_that_was_given_back_just_now(cloud: Cloud, no_waiting: list[float]) -> None:
    store(cloud, document())
    mine = Lease(REF)
    assert mine.try_from_silent(patient=False)
    assert (state().holder, no_waiting) == (mine.id, [])
