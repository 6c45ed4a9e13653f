"""Which batches a cancelled run in Prefect stops, and when the note of a run goes."""

import uuid
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows import noted_runs
from flows.noted_runs import NotedRun, batches_to_stop, end_cancelled, others_at_work, read_notes, tidy_notes
from tasks.batch import registry as runs
from tasks.batch.paths import BatchRef
from tasks.errors import PipelineError
from tasks.settings import Settings, load_settings
from tests.builders import REF, document, store
from tests.conftest import Sandbox
from tests.fakes import Cloud


def noted(batch_id: str, *line: Any) -> NotedRun:
    return NotedRun(uuid.uuid4(), batch_id, [FlowRun(flow_id=uuid.uuid4(), state=state) for state in line])


@pytest.mark.parametrize(
    ("line", "standing"),
    [
        ([Running()], "live"),
        ([Scheduled()], "live"),
        ([Pending()], "live"),
        ([Cancelling()], "cancelled"),
        ([Cancelled()], "cancelled"),
        ([Crashed()], "over"),
        ([Failed()], "over"),
        ([Completed()], "over"),
        # Sub-flows: the process is the parent's.
        ([Running(), Running()], "live"),
        ([Running(), Cancelling()], "cancelled"),
        ([Cancelling(), Running()], "cancelled"),
        ([Running(), Crashed()], "over"),
        ([], "unknown"),
    ],
)
def test_standing(line: list[Any], standing: str) -> None:
    assert noted("batch_1", *line).standing == standing


def test_a_cancelled_run_stops_no_batch_that_another_run_works_on() -> None:
    alone, shared, crashed, foreign = (f"batch_{number}" for number in range(4))
    found = [
        noted(alone, Cancelling()),
        noted(shared, Cancelling()),
        noted(shared, Running()),
        noted(crashed, Cancelled()),
        noted(crashed, Crashed()),
        noted(foreign),
    ]
    assert batches_to_stop(found) == {alone, crashed}


@pytest.mark.parametrize(
    ("error", "left"),
    [(None, 0), (PipelineError("no"), 0), (KeyboardInterrupt(), 0), (TerminationSignal(signal=15), 1)],
    ids=["ended", "failed", "interrupted", "terminated"],
)
def test_a_note_goes_with_its_run(
    error: BaseException | None, left: int, sandbox: Sandbox, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a run that Prefect terminated: its hook, or the collector, has yet to read the note."""
    run, settings = uuid.uuid4(), load_settings()
    monkeypatch.setattr(runs, "current_run", lambda: run)
    ref = BatchRef(settings.root, "batch_1")
    try:
        with runs.run_noted(ref):
            assert list(runs.list_notes(settings.root)) == [(run, "batch_1")]
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    assert len(sandbox.keys(f"{prefix}/runs/")) == left
    assert (runs.batch_of_run(run) is not None) == bool(left)


def test_what_is_no_note_is_passed_over(sandbox: Sandbox, prefix: str) -> None:
    for name, body in (("readme.txt", b"?"), (f"{uuid.uuid4()}.json", b"{"), (f"{uuid.uuid4()}.json", b"[]")):
        sandbox.s3.put_object(Bucket=sandbox.bucket, Key=f"{prefix}/runs/{name}", Body=body)
    assert list(runs.list_notes(load_settings().root)) == []


# Without a Prefect server


class Prefect:
    """Stands for Prefect's client: runs by their ids, and the parents of sub-flows."""

    def __init__(self) -> None:
        self.runs: dict[uuid.UUID, FlowRun] = {}
        self.parents: dict[uuid.UUID, uuid.UUID | None] = {}
        self.given: list[tuple[uuid.UUID, str]] = []
        self.broken: Exception | None = None
        self.asked: list[uuid.UUID] = []

    def run(self, state: Any, parent: FlowRun | None = None) -> FlowRun:
        task = uuid.uuid4() if parent is not None else None
        made = FlowRun(flow_id=uuid.uuid4(), state=state, parent_task_run_id=task)
        self.runs[made.id] = made
        if task is not None and parent is not None:
            self.parents[task] = parent.id
        return made

    def __enter__(self) -> "Prefect":
        if self.broken is not None:
            raise self.broken
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, id: uuid.UUID) -> FlowRun:
        self.asked.append(id)
        if id not in self.runs:
            raise ObjectNotFound(Exception("no such run"))
        return self.runs[id]

    def read_task_run(self, id: uuid.UUID) -> Any:
        return SimpleNamespace(flow_run_id=self.parents[id])

    def set_flow_run_state(self, id: uuid.UUID, state: Any) -> None:
        self.given.append((id, state.name))


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    made = Prefect()
    monkeypatch.setattr(noted_runs, "get_client", lambda sync_client: made)
    return made


SETTINGS = Settings(REF.root, None, None)


def note(cloud: Cloud, run: FlowRun | uuid.UUID, number: int = 0) -> str:
    id = run if isinstance(run, uuid.UUID) else run.id
    batch_id = f"batch_{number:032x}"
    cloud.s3.put(REF.root.join("runs", f"{id}.json").key, b'{"batch_id": "%s"}' % batch_id.encode())
    return batch_id


def notes(cloud: Cloud) -> list[uuid.UUID]:
    return [uuid.UUID(key.rpartition("/")[2].removesuffix(".json")) for key in cloud.s3.keys("prefix/runs/")]


def test_notes_are_read_with_what_prefect_says_of_their_runs(cloud: Cloud, prefect: Prefect) -> None:
    parent = prefect.run(Cancelling())
    child, alone, unknown = prefect.run(Running(), parent), prefect.run(Running()), uuid.uuid4()
    noted_: list[FlowRun | uuid.UUID] = [child, alone, unknown]
    ids = {note(cloud, run, number): run for number, run in enumerate(noted_)}
    found = {each.batch_id: each for each in read_notes(SETTINGS)}
    assert found.keys() == ids.keys()
    assert [found[id].standing for id in ids] == ["cancelled", "live", "unknown"]
    assert found[note(cloud, child, 0)].line == [child, parent]
    (one,) = read_notes(SETTINGS, of_batch=note(cloud, alone, 1))
    assert one.id == alone.id


def test_prefect_is_not_asked_of_nothing(cloud: Cloud, prefect: Prefect) -> None:
    prefect.broken = RuntimeError("nobody there")
    assert read_notes(SETTINGS) == []


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), OSError("x"), RuntimeError("x"), ObjectNotFound(Exception())]
)
def test_where_prefect_does_not_answer_nothing_is_stopped(
    cloud: Cloud, prefect: Prefect, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    note(cloud, prefect.run(Cancelling()))
    prefect.broken = error
    assert read_notes(SETTINGS) == []
    assert f"what became of 1 runs ({type(error).__name__})" in caplog.text


def test_the_others_at_work_are_live_and_on_the_same_batch(cloud: Cloud, prefect: Prefect) -> None:
    mine, live, over, elsewhere = (
        prefect.run(state) for state in list[Any]([Running(), Running(), Crashed(), Running()])
    )
    for run, number in ((mine, 1), (live, 1), (over, 1), (elsewhere, 2)):
        note(cloud, run, number)
    assert others_at_work(SETTINGS, mine.id, f"batch_{1:032x}") == [live.id]


def test_notes_go_with_what_they_are_about(cloud: Cloud, prefect: Prefect) -> None:
    """Of runs that are over, at once; of a cancelled one, when its batch has ended or is another's; else not yet."""
    over, cancelled, shared, sharer, done, gone, waiting = (
        prefect.run(state)
        for state in list[Any](
            [Completed(), Cancelling(), Cancelling(), Running(), Cancelling(), Cancelling(), Running()]
        )
    )
    for run, number in ((over, 0), (cancelled, 1), (shared, 2), (sharer, 2), (done, 3), (gone, 4), (waiting, 5)):
        note(cloud, run, number)
    for number, status in (
        (0, "in_progress"),
        (1, "cancelling"),
        (2, "in_progress"),
        (3, "cancelled"),
        (5, "in_progress"),
    ):
        ref = BatchRef(REF.root, f"batch_{number:032x}")
        store(cloud, document(id=ref.batch_id, status=status), ref)
    tidy_notes(SETTINGS, read_notes(SETTINGS))
    assert set(notes(cloud)) == {cancelled.id, sharer.id, waiting.id}
    assert {id for id, _ in prefect.given} == {shared.id, done.id, gone.id}
    assert {name for _, name in prefect.given} == {"Cancelled"}


def test_a_note_whose_batch_cannot_be_read_stays(
    cloud: Cloud, prefect: Prefect, caplog: pytest.LogCaptureFixture
) -> None:
    run = prefect.run(Cancelling())
    note(cloud, run)
    cloud.s3.put(BatchRef(REF.root, "batch_" + "0" * 32).document.key, b"{}")
    tidy_notes(SETTINGS, read_notes(SETTINGS))
    assert notes(cloud) == [run.id]


def test_a_cancelled_run_is_ended_with_its_parents_but_for_those_still_needed(prefect: Prefect) -> None:
    parent = prefect.run(Cancelling())
    child = prefect.run(Running(), parent)
    ended = prefect.run(Failed(), parent)
    end_cancelled([child, parent])
    end_cancelled([ended, parent], needed=[parent.id])
    assert prefect.given == [(child.id, "Cancelled"), (parent.id, "Cancelled")]
    prefect.given.clear()
    lives = prefect.run(Running())
    end_cancelled([prefect.run(Cancelling(), lives), lives])
    end_cancelled([])
    assert prefect.given == [], "a sub-flow that was cancelled by itself: its process lives, and ends it"


def test_a_run_that_cannot_be_ended_fails_nobody(prefect: Prefect, caplog: pytest.LogCaptureFixture) -> None:
    prefect.broken = httpx.ConnectError("x")
    run = prefect.run(Cancelling())
    end_cancelled([run])
    assert f"Run {run.id} could not be set to Cancelled (ConnectError)" in caplog.text


def test_a_parent_that_others_need_is_not_ended(cloud: Cloud, prefect: Prefect) -> None:
    """Of two sub-flows of one cancelled comparison, one has yet to be collected."""
    parent = prefect.run(Cancelling())
    collected, waiting = prefect.run(Running(), parent), prefect.run(Running(), parent)
    for run, number, status in ((collected, 1, "cancelled"), (waiting, 2, "cancelling")):
        ref = BatchRef(REF.root, note(cloud, run, number))
        store(cloud, document(id=ref.batch_id, status=status), ref)
    tidy_notes(SETTINGS, read_notes(SETTINGS))
    assert prefect.given == [(collected.id, "Cancelled")]
    assert notes(cloud) == [waiting.id]


def test_a_task_of_no_run_ends_the_line(cloud: Cloud, prefect: Prefect) -> None:
    run = prefect.run(Running(), prefect.run(Running()))
    assert run.parent_task_run_id is not None
    prefect.parents[run.parent_task_run_id] = None
    prefect.asked.clear()
    note(cloud, run)
    (found,) = read_notes(SETTINGS)
    assert found.line == [run]
    assert prefect.asked == [run.id], "what has no id is not asked for: that would be an error"


def test_a_note_that_cannot_be_removed_leaves_the_others_theirs(
    cloud: Cloud, prefect: Prefect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = prefect.run(Completed()), prefect.run(Completed())
    for run in (first, second):
        note(cloud, run)
    forgotten: list[uuid.UUID] = []

    def forget(_: Any, run: uuid.UUID) -> None:
        if not forgotten and not caplog.messages:
            raise PipelineError("denied")
        forgotten.append(run)

    monkeypatch.setattr(noted_runs, "forget_run", forget)
    tidy_notes(SETTINGS, read_notes(SETTINGS))
    (stays,) = {first.id, second.id} - set(forgotten)
    assert caplog.messages == [f"The note of run {stays} stays (denied)"]
