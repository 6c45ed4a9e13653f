"""What became, in Prefect, of the runs with a note in `runs/`: which batches are to be stopped, which notes can go.

A cancellation hook runs in the worker, or beside it. Where the worker is dead as well, its run stays "Cancelling" and
nobody acts on it but the collector.
"""

from collections.abc import Collection, Iterator
from typing import Literal
from uuid import UUID

import httpx
import msgspec
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled

from tasks.batch import store
from tasks.batch.paths import BatchRef
from tasks.batch.registry import forget_run, list_notes
from tasks.errors import PipelineError
from tasks.settings import Settings
from tasks.support.run_context import run_log

_CANCELLED = (StateType.CANCELLING, StateType.CANCELLED)
_OVER = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED)
#: What asking Prefect may raise.
PREFECT_ERRORS = (httpx.HTTPError, PrefectException, OSError, RuntimeError)


class NotedRun(msgspec.Struct, frozen=True):
    """A flow run with a note. `line` is the run and those it is a sub-flow of, as Prefect has them; the run first."""

    id: UUID
    batch_id: str
    line: list[FlowRun]

    @property
    def standing(self) -> Literal["cancelled", "over", "live", "unknown"]:
        """A sub-flow lives in the process of its parents: it ends with any of them, whatever its own state says."""
        states = [run.state.type for run in self.line if run.state is not None]
        if any(state in _CANCELLED for state in states):
            return "cancelled"
        if any(state in _OVER for state in states):
            return "over"
        # The runs of another Prefect server that works under the same prefix are unknown to this one.
        return "live" if self.line else "unknown"


def read_notes(settings: Settings, of_batch: str | None = None) -> list[NotedRun]:
    """Every run that has a note, with what Prefect says of it; none where Prefect does not answer."""
    notes = [(run, batch_id) for run, batch_id in list_notes(settings.root) if of_batch in (None, batch_id)]
    if not notes:
        return []
    try:
        with get_client(sync_client=True) as client:
            return [NotedRun(run, batch_id, list(_line(client, run))) for run, batch_id in notes]
    except PREFECT_ERRORS as error:
        run_log().warning(
            "Prefect was not asked what became of %d runs (%s): batches of cancelled ones are not stopped in this pass",
            len(notes),
            type(error).__name__,
        )
        return []


def _line(client: SyncPrefectClient, flow_run_id: UUID) -> Iterator[FlowRun]:
    """A run and its parents, as far as Prefect knows them."""
    try:
        while True:
            run = client.read_flow_run(flow_run_id)
            yield run
            if run.parent_task_run_id is None:
                return
            parent = client.read_task_run(run.parent_task_run_id).flow_run_id
            if parent is None:
                return
            flow_run_id = parent
    except ObjectNotFound:
        return


def batches_to_stop(notes: Collection[NotedRun]) -> set[str]:
    """The batches that were worked on by a cancelled run, and by no live one: that one goes on with them."""
    live = {note.batch_id for note in notes if note.standing == "live"}
    return {note.batch_id for note in notes if note.standing == "cancelled"} - live


def others_at_work(settings: Settings, flow_run_id: UUID, batch_id: str) -> list[UUID]:
    """The live runs of a batch beside one that was cancelled."""
    notes = read_notes(settings, batch_id)
    return [note.id for note in notes if note.id != flow_run_id and note.standing == "live"]


def tidy_notes(settings: Settings, notes: Collection[NotedRun]) -> None:
    """Remove the notes of runs that are over, and let cancelled runs end whose worker never did it.

    The note of a cancelled run stays until its batch has ended, or belongs to another run.
    """
    stopping = batches_to_stop(notes)
    done = [note for note in notes if _done_with(settings, note, stopping)]
    needed = {run.id for note in notes if note not in done for run in note.line}
    for note in done:
        try:
            end_cancelled(note.line, needed)
            forget_run(settings.root, note.id)
        except PipelineError as error:
            run_log().warning("The note of run %s stays (%s)", note.id, error)


def _done_with(settings: Settings, note: NotedRun, stopping: set[str]) -> bool:
    if note.standing == "over" or (note.standing == "cancelled" and note.batch_id not in stopping):
        return True
    try:
        loaded = store.load(BatchRef(settings.root, note.batch_id, settings.kms_key))
    except PipelineError:
        return False
    return loaded is None or loaded[0].finished


def end_cancelled(line: list[FlowRun], needed: Collection[UUID] = ()) -> None:
    """Give a cancelled run and its parents, but for those still needed, the last state that their worker never gave."""
    if not line or line[-1].state is None or line[-1].state.type not in _CANCELLED:
        # Also a sub-flow that was cancelled by itself: its process lives, and ends it.
        return
    try:
        with get_client(sync_client=True) as client:
            for run in line:
                if run.id not in needed and run.state is not None and not run.state.is_final():
                    client.set_flow_run_state(run.id, Cancelled(message="Its Bedrock jobs were stopped."))
    except PREFECT_ERRORS as error:
        run_log().warning("Run %s could not be set to Cancelled (%s)", line[0].id, type(error).__name__)
