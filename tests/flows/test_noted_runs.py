"""Which batches a cancelled run in Prefect stops, and when the note of a run goes."""

import uuid
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows.noted_runs import NotedRun, batches_to_stop
from tasks.batch import registry as runs
from tasks.batch.paths import BatchRef
from tasks.errors import PipelineError
from tasks.settings import load_settings
from tests.conftest import Sandbox


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
