"""The lead of a batch: of all runners that call for the same batch, one drives it and the others wait for its end.

The lead is a note in batch.json, taken and renewed by conditional writes. Nobody's clock is trusted: a follower takes
over when the note has not changed for a while by its own clock, or at once when it sees that the leader's process, on
the same machine, is gone. Bedrock's jobs are safe without it (their tokens see to that); the lead keeps calls on
demand and result files from being made twice.
"""

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tasks.context import current_run, run_log
from tasks.errors import LostLeadError, PipelineError
from tasks.state import BatchDocument, BatchRef, Lead, load, update

#: Seconds between renewals, and without one until another runner takes over.
RENEWAL_SECONDS, TAKEOVER_SECONDS = 15.0, 75.0
#: Seconds between a follower's looks.
_LOOK_SECONDS = 2.0

#: The leads of this process, by batch.
_held: "dict[str, Leading]" = {}


def _machine() -> str:
    """The machine, and on Linux the container: process numbers mean something only within."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{Path('/proc/self/ns/pid').readlink()}"
    return f"{platform.node()}-{uuid.getnode():x}"


def _process(pid: int) -> str | None:
    """A process by number and start time; None where there is no such process."""
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in ("Z", "X") else f"{pid}-{fields[18]}"
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return str(pid)


def _is_gone(lead: Lead) -> bool:
    """Whether a leader is surely gone: its process is, or its run was begun anew, or this very process dropped it."""
    if lead.run is not None and lead.run == _run():
        return True
    if lead.machine != _machine():
        return False
    pid = int(lead.process.partition("-")[0])
    if pid == os.getpid():
        return not any(held.id == lead.id for held in _held.values())
    return _process(pid) != lead.process


def _run() -> str | None:
    run = current_run()
    return str(run) if run else None


class Leading:
    """One runner's lead of a batch, renewed by a thread until it is given up."""

    def __init__(self, ref: BatchRef) -> None:
        self.ref = ref
        self.id = uuid.uuid4().hex
        self.followed = False
        #: Whether another runner has taken over.
        self.lost = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, document: BatchDocument | None, *, force: bool = False) -> bool:
        """Take the lead where nobody has it; with `force`, from the leader that `document` names."""
        known = document.bedrock.lead if document else None
        process = _process(os.getpid()) or str(os.getpid())
        mine = Lead(id=self.id, machine=_machine(), process=process, run=_run())
        taken = False

        def change(current: BatchDocument) -> None:
            nonlocal taken
            lead = current.bedrock.lead
            same = lead is not None and known is not None and (lead.id, lead.beat) == (known.id, known.beat)
            taken = lead is None or _is_gone(lead) or (force and same)
            if taken:
                current.bedrock.lead = mine

        update(self.ref, change)
        if taken:
            _held[self.ref.batch_id] = self
            self._thread = threading.Thread(target=self._renew, name="lead", daemon=True)
            self._thread.start()
        return taken

    def follow(self) -> None:
        """Wait until the lead is free, or its holder was silent for too long, and take it."""
        self.followed = True
        seen, since = None, time.monotonic()
        while True:
            loaded = load(self.ref)
            document = loaded[0] if loaded else None
            lead = document.bedrock.lead if document else None
            now = (lead.id, lead.beat) if lead else None
            if now != seen:
                seen, since = now, time.monotonic()
            if self.take(document, force=time.monotonic() - since > TAKEOVER_SECONDS):
                return
            time.sleep(_LOOK_SECONDS)

    def _renew(self) -> None:
        def beat(document: BatchDocument) -> None:
            lead = document.bedrock.lead
            if lead is not None and lead.id == self.id:
                lead.beat += 1
            else:
                self.lost = True

        while not self._over.wait(RENEWAL_SECONDS) and not self.lost:
            try:
                update(self.ref, beat)
            except PipelineError as error:
                run_log().debug("The lead of %s was not renewed (%s)", self.ref.batch_id, type(error).__name__)

    def release(self) -> None:
        """Give the lead up."""
        self._over.set()
        if _held.get(self.ref.batch_id) is self:
            del _held[self.ref.batch_id]
        if self._thread is not None:
            self._thread.join(5)

            def free(document: BatchDocument) -> None:
                if document.bedrock.lead is not None and document.bedrock.lead.id == self.id:
                    document.bedrock.lead = None

            try:
                update(self.ref, free)
            except PipelineError as error:
                run_log().debug("The lead of %s was not given up (%s)", self.ref.batch_id, type(error).__name__)


def require_lead(ref: BatchRef) -> None:
    """Raise LostLeadError where another runner has taken the batch over from this process."""
    held = _held.get(ref.batch_id)
    if held is not None and held.lost:
        raise LostLeadError(f"Another runner has taken batch {ref.batch_id} over; it carries on there.")


@contextlib.contextmanager
def leading(ref: BatchRef) -> Iterator[Leading]:
    """Lead the batch for the length of a block, after waiting for whoever does so now."""
    lead = Leading(ref)
    try:
        loaded = load(ref)
        if not lead.take(loaded[0] if loaded else None):
            run_log().info("Another run drives batch %s: this one follows and returns the same result", ref.batch_id)
            lead.follow()
        yield lead
    finally:
        lead.release()


@contextlib.contextmanager
def trying_to_lead(ref: BatchRef) -> Iterator[bool]:
    """Lead the batch for the length of a block if nobody else does; yields whether."""
    lead = Leading(ref)
    try:
        yield lead.take(None)
    finally:
        lead.release()
