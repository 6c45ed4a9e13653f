"""Which batch a run works on, and which batches are open: notes that outlive whoever wrote them, and go with their run."""

from types import SimpleNamespace
from uuid import UUID

import msgspec
import pytest

from tasks.batch import registry
from tasks.batch.paths import BatchRef
from tasks.batch.registry import (
    batch_of_run,
    forget_run,
    latest_batch,
    list_notes,
    mark_closed,
    mark_open,
    open_batches,
    run_noted,
    telling,
)
from tasks.errors import PipelineError
from tests.builders import REF
from tests.fakes import BUCKET, Cloud

RUN, OTHER_RUN = UUID(int=1), UUID(int=2)
NOTE = f"prefix/runs/{RUN}.json"
OTHER = msgspec.structs.replace(REF, batch_id="batch_" + "1" * 32)
KEYED = msgspec.structs.replace(REF, kms_key="key")


@pytest.fixture(autouse=True)
def in_run(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The flow run that a call is in, and the settings of this prefix."""
    run = SimpleNamespace(id=RUN)
    monkeypatch.setattr(registry, "current_run", lambda: run.id)
    monkeypatch.setattr(registry, "_latest", None)
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    monkeypatch.setenv("BEDROCK_BATCH_PREFIX", "prefix")
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", "key")
    return run


def test_a_run_has_a_note_for_as_long_as_it_works_on_a_batch(cloud: Cloud) -> None:
    with run_noted(KEYED):
        assert cloud.s3.objects[NOTE].body == b'{"batch_id":"%b"}' % REF.batch_id.encode()
        assert cloud.s3.objects[NOTE].options["SSEKMSKeyId"] == "key"
        assert batch_of_run(RUN) == KEYED, "what a hook in another process finds, its key as well"
        assert batch_of_run(OTHER_RUN) is None
    assert cloud.s3.keys() == []


@pytest.mark.parametrize("error", [PipelineError("x"), KeyboardInterrupt()])
def test_a_run_that_fails_takes_its_note_along(cloud: Cloud, error: BaseException) -> None:
    with pytest.raises(type(error)), run_noted(REF):
        raise error
    assert cloud.s3.keys() == []


def test_a_note_that_cannot_be_deleted_hides_no_error(cloud: Cloud) -> None:
    cloud.s3.refuse("DeleteObject", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=r"^the run's own$"), run_noted(REF):
        raise PipelineError("the run's own")
    assert cloud.s3.keys() == [NOTE]


def test_a_run_that_is_terminated_leaves_its_note(cloud: Cloud) -> None:
    """The hook, or the collector, has only that to go by. Prefect ends such a run by SystemExit."""
    with pytest.raises(SystemExit), run_noted(REF):
        raise SystemExit
    assert cloud.s3.keys() == [NOTE]


def test_outside_of_a_run_nothing_is_written(cloud: Cloud, in_run: SimpleNamespace) -> None:
    in_run.id = None
    assert latest_batch() is None
    with run_noted(REF):
        assert latest_batch() == REF
    assert latest_batch() == REF, "whoever interrupts it afterwards is told"
    assert not cloud.s3.calls


def test_a_listener_is_told_before_the_batch_is_worked_on(cloud: Cloud) -> None:
    told: list[BatchRef] = []
    with telling(told.append):
        with run_noted(REF):
            assert told == [REF]
        with run_noted(OTHER):
            assert told == [REF, OTHER]
    with run_noted(REF):
        pass
    assert told == [REF, OTHER], "no call after the block"


def test_a_note_that_cannot_be_written_is_an_error(cloud: Cloud) -> None:
    """Without it nobody could stop the jobs of the run."""
    cloud.s3.refuse("PutObject", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=NOTE), run_noted(REF):
        raise AssertionError("it goes on without a note")


def test_notes_are_listed_and_what_is_none_is_passed_over(cloud: Cloud) -> None:
    with run_noted(REF):
        cloud.s3.put(f"prefix/runs/{OTHER_RUN}.json", b'{"batch_id":"%b"}' % OTHER.batch_id.encode())
        cloud.s3.put("prefix/runs/readme.txt", b"hello")
        cloud.s3.put("prefix/runs/!first", b"hello")
        cloud.s3.put(f"prefix/runs/{UUID(int=3)}.json", b"not json")
        cloud.s3.put(f"prefix/runs/{UUID(int=4)}.json", b'{"batch":7}')
        cloud.s3.put(f"elsewhere/runs/{UUID(int=5)}.json", b'{"batch_id":"batch_9"}')
        assert list(list_notes(REF.root)) == [(RUN, REF.batch_id), (OTHER_RUN, OTHER.batch_id)]


def test_a_note_that_goes_while_notes_are_listed_is_none(cloud: Cloud) -> None:
    with run_noted(REF):
        cloud.s3.before("GetObject", lambda: forget_run(REF.root, RUN))
        assert list(list_notes(REF.root)) == []


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_trouble_with_s3_is_not_a_run_without_a_batch(cloud: Cloud, code: str) -> None:
    with run_noted(REF):
        cloud.s3.refuse("GetObject", code, 403 if code == "AccessDenied" else 503)
        with pytest.raises(PipelineError, match=NOTE):
            batch_of_run(RUN)


def test_a_run_is_forgotten_alone(cloud: Cloud) -> None:
    for run in (RUN, OTHER_RUN):
        cloud.s3.put(f"prefix/runs/{run}.json", b"{}")
    forget_run(REF.root, RUN)
    forget_run(REF.root, RUN)
    assert cloud.s3.keys() == [f"prefix/runs/{OTHER_RUN}.json"]


def test_open_batches_are_found_until_they_are_closed(cloud: Cloud) -> None:
    for ref in (OTHER, KEYED, KEYED):
        mark_open(ref)
    cloud.s3.put("prefix/opened/batch_9", b"")
    assert list(open_batches(REF.root)) == [REF.batch_id, OTHER.batch_id]
    assert cloud.s3.objects[f"prefix/open/{REF.batch_id}"].options["SSEKMSKeyId"] == "key"
    mark_closed(REF)
    assert list(open_batches(REF.root)) == [OTHER.batch_id]
