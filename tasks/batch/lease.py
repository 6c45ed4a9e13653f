"""The lease of a batch: of all runners that call for the same batch, one drives it and the others wait for its end.

The lease is a note in batch.json, taken and given back by conditional writes. Every change that its holder makes to
batch.json is conditional on it (`state.update`), and what the holder writes elsewhere is named by its epoch: a runner
that was paused and lost the lease changes nothing that counts, whenever it wakes.

While it holds the lease, a runner renews a small object, the heartbeat. Others take over from a holder whose process,
on their own machine, is gone; from another machine's, when it has given no sign of life for `TAKEOVER_SECONDS`. By S3's
own clock, which dates the last sign and the answer that tells of it: no machine's clock is trusted. Of a store that
dates nothing, the signs are watched.

Bedrock's jobs are safe without it (their tokens see to that); the lease keeps calls on demand from being made twice.
"""

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec

from tasks import aws
from tasks.batch import store
from tasks.batch.document import BatchDocument, LeaseState
from tasks.batch.paths import BatchRef, heartbeat
from tasks.errors import BatchFailedError, LostLeaseError, MissingObjectError, PipelineError, PreconditionError
from tasks.storage.objects import head_object
from tasks.storage.writer import encryption
from tasks.support.run_context import current_run, run_log

#: Seconds between heartbeats, and without a sign of life until another runner takes over.
RENEWAL_SECONDS, TAKEOVER_SECONDS = 15.0, 75.0


#: After so many seconds without a heartbeat of its own, a holder asks S3 whether it still is one.
_DOUBT_SECONDS = 2 * RENEWAL_SECONDS


#: Seconds between the looks of a runner that waits.
_LOOK_SECONDS = 2.0


#: The leases of this process that may be held: also while they are being taken, before S3's reply.
_living: set[str] = set()


#: Those that are held, by their ids.
_held: "dict[str, Lease]" = {}


def _now() -> float:
    """A clock that goes on while this process, or its machine, is asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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


def _is_gone(state: LeaseState) -> bool:
    """Whether a holder is surely gone: its process is, or this very process has dropped the lease."""
    if state.machine != _machine():
        return False
    pid = int(state.process.partition("-")[0])
    if pid == os.getpid():
        return state.holder not in _living
    return _process(pid) != state.process


class Lease:
    """One runner's lease of a batch, renewed by a thread until it is given back."""

    def __init__(self, ref: BatchRef) -> None:
        self.id = uuid.uuid4().hex
        #: The batch, as its holder names it.
        self.ref = msgspec.structs.replace(ref, holder=self.id)
        #: Whether another runner drove the batch a moment ago.
        self.waited = False
        #: Whether another runner has taken over.
        self.lost = False
        self._etag = ""
        self._beats = 0
        self._sure = _now()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, silent: LeaseState | None = None) -> bool:
        """Take the lease where it is free or its holder is gone, or from the `silent` holder that was looked at."""
        taken = False

        def change(document: BatchDocument) -> None:
            nonlocal taken
            state = document.bedrock.lease
            taken = True
            if state.holder == self.id:
                # The reply to this very change was lost, and it was made again.
                self.ref = msgspec.structs.replace(self.ref, epoch=state.epoch)
                return
            relieved = state.holder is not None
            if relieved and not _is_gone(state) and (silent is None or silent.holder != state.holder):
                taken = False
                return
            process = _process(os.getpid()) or str(os.getpid())
            run = current_run()
            # What a holder that was relieved has on its way may still arrive.
            self.ref = msgspec.structs.replace(self.ref, epoch=state.epoch + relieved)
            document.bedrock.lease = LeaseState(
                epoch=self.ref.epoch,
                holder=self.id,
                machine=_machine(),
                process=process,
                run=str(run) if run else None,
            )

        # Before anybody can read it: another thread of this process must not think that the lease was dropped.
        _living.add(self.id)
        try:
            store.update(msgspec.structs.replace(self.ref, holder=None), change)
        except BaseException:
            # Nobody will give back what may have been taken all the same: the next one takes it at once.
            taken = False
            raise
        finally:
            if not taken:
                _living.discard(self.id)
        if taken:
            self._sure = _now()
            _held[self.id] = self
            self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
            self._thread.start()
        return taken

    def wait(self) -> None:
        """Wait until the lease is free, or its holder gone or silent for too long, and take it."""
        self.waited = True
        watch = _Watch(self.ref)
        while not self.take(watch.silent()):
            time.sleep(_LOOK_SECONDS)

    def try_from_silent(self, *, patient: bool) -> bool:
        """Take the lease from a holder that has been silent for too long.

        `patient`: wait for a holder's next sign of life, or its silence; not only look how long ago the last one was.
        """
        watch = _Watch(self.ref)
        while True:
            silent = watch.silent()
            if silent is not None or watch.free:
                return self.take(silent)
            if watch.alive or not (patient or watch.undated):
                return False
            time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """Raise LostLeaseError where another runner has taken over; asks S3 where that is not certain."""
        with self._lock:
            if not self.lost and _now() - self._sure > _DOUBT_SECONDS:
                self._ask()
        if self.lost:
            raise self.taken_over()

    def taken_over(self) -> LostLeaseError:
        """What is raised where another runner has taken over."""
        return LostLeaseError(f"Another runner has taken batch {self.ref.batch_id} over; it carries on there.")

    def explains(self, error: BaseException) -> bool:
        """Whether an error may be no more than that another runner has taken over, and tidied files away."""
        if not isinstance(error, PipelineError) or isinstance(error, (BatchFailedError, LostLeaseError)):
            return False
        with self._lock, contextlib.suppress(PipelineError):
            if self._thread is not None and not self.lost:
                self._ask()
        return self.lost

    def _ask(self) -> None:
        """Learn from batch.json whether the lease is still held."""
        asked = _now()
        try:
            store.read(self.ref)
        except LostLeaseError:
            self.lost = True
        else:
            self._sure = asked

    def _renew(self) -> None:
        while not self.lost:
            try:
                self._beat()
            except PipelineError as error:
                run_log().debug("The lease of %s was not renewed (%s)", self.ref.batch_id, type(error).__name__)
            if self._over.wait(RENEWAL_SECONDS):
                return

    def _beat(self) -> None:
        """Give a sign of life. One that comes too late finds another's in its place, and does not replace it."""
        began = _now()
        try:
            self._etag = self._put(**({"IfMatch": self._etag} if self._etag else {}))
        except (PreconditionError, MissingObjectError):
            # Or S3's reply to the last one was lost.
            with self._lock:
                self._ask()
            if not self.lost:
                self._etag = self._put()
        with self._lock:
            self._sure = max(self._sure, began)

    def _put(self, **condition: Any) -> str:
        self._beats += 1
        body = msgspec.json.encode({"epoch": self.ref.epoch, "holder": self.id, "beat": self._beats})
        uri = heartbeat(self.ref)
        options = {**condition, **encryption(self.ref.kms_key)}
        with aws.translated(f"writing {uri}"):
            return aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=body, **options)["ETag"]

    def release(self, *, failed: bool = False) -> None:
        """Give the lease back. `failed`: something may still be on its way to where this runner writes."""
        self._over.set()
        _held.pop(self.id, None)
        if self._thread is None:
            return
        self._thread.join(5)

        def free(document: BatchDocument) -> None:
            lease = document.bedrock.lease
            lease.epoch += failed
            lease.holder, lease.machine, lease.process, lease.run = None, "", "", None

        try:
            if not self.lost:
                uri = heartbeat(self.ref)
                with contextlib.suppress(PipelineError), aws.translated(f"deleting {uri}"):
                    aws.s3().delete_object(Bucket=uri.bucket, Key=uri.key)
                store.update(self.ref, free)
        except PipelineError as error:
            run_log().debug("The lease of %s was not given back (%s)", self.ref.batch_id, type(error).__name__)
        finally:
            _living.discard(self.id)


class _Watch:
    """What a runner without the lease sees of its holder, look by look."""

    def __init__(self, ref: BatchRef) -> None:
        self._ref = ref
        self._seen: tuple[str | None, str] | None = None
        self._since = _now()
        #: Whether nobody holds the lease; whether its holder gave a sign of life between two looks; and whether the
        #: store does not say when it gave the last one.
        self.free, self.alive, self.undated = False, False, False

    def silent(self) -> LeaseState | None:
        """Look once: the holder, where it has been silent for too long."""
        loaded = store.load(self._ref)
        state = loaded[0].bedrock.lease if loaded else LeaseState()
        self.free = state.holder is None or _is_gone(state)
        beat, age = _last_sign(self._ref)
        sign = (state.holder, beat)
        if sign != self._seen:
            self.alive = self._seen is not None
            self._seen, self._since = sign, _now()
        self.undated = age is None
        silence = _now() - self._since if age is None else age
        return state if silence > TAKEOVER_SECONDS else None


def _last_sign(ref: BatchRef) -> tuple[str, float | None]:
    """The heartbeat's ETag, and the seconds since it or batch.json was written, by S3's clock; None where it has none.

    batch.json was written when the lease was taken, before the first heartbeat.
    """
    etag, ages = "", []
    for uri in (heartbeat(ref), ref.document):
        try:
            head = head_object(uri)
        except MissingObjectError:
            continue
        etag += head["ETag"] if uri == heartbeat(ref) else ""
        now = _date(head["ResponseMetadata"].get("HTTPHeaders", {}).get("date"))
        if now is None:
            return etag, None
        ages.append((now - head["LastModified"]).total_seconds())
    return etag, min(ages) if ages else None


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def require_lease(ref: BatchRef) -> None:
    """Raise LostLeaseError where another runner has taken the batch over from this one.

    In a worker process, which holds nothing, it does not: what it writes is named by the epoch.
    """
    held = _held.get(ref.holder or "")
    if held is not None:
        held.check()


@contextlib.contextmanager
def holding(ref: BatchRef) -> Iterator[Lease]:
    """Hold the lease for the length of a block, after waiting for whoever does so now."""
    lease = Lease(ref)
    with _given_back(lease):
        if not lease.take():
            run_log().info("Another run drives batch %s: this one follows and returns the same result", ref.batch_id)
            lease.wait()
        yield lease


@contextlib.contextmanager
def trying_to_hold(ref: BatchRef, *, patient: bool = False) -> Iterator[Lease | None]:
    """Hold the lease for the length of a block if nobody else does, or a holder has been silent for too long.

    Yields None where another runner drives the batch. `patient`: make sure that it does, by its next sign of life.
    """
    lease = Lease(ref)
    with _given_back(lease):
        yield lease if lease.take() or lease.try_from_silent(patient=patient) else None


@contextlib.contextmanager
def _given_back(lease: Lease) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # Found out by a read or write: the heartbeat that is there is the successor's.
        lease.lost = lease.lost or isinstance(error, LostLeaseError)
        taken_over = lease.explains(error)
        # Workers of this run may still be writing, unless the batch came to its end.
        lease.release(failed=not isinstance(error, BatchFailedError))
        if taken_over:
            raise lease.taken_over() from error
        raise
    lease.release()
