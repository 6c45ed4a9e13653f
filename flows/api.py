"""What drives the orders of the API: `run_orders` on a Prefect server, or `python -m flows.api`, the server's runner.

Both look at the open orders of all tenants, read the input of new ones, take their batches as far as they go, keep
their ends and announce them. S3 is all they know: any number of runners may do so, and any of them may die.
"""

import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import msgspec
from prefect import flow

from flows.batch import batch_inference
from flows.forms import titled
from flows.operations import advance
from flows.runners import TASK_RUNNER, spare_memory
from tasks.api.endings import announce, close_order
from tasks.api.files import delete_expired
from tasks.api.orders import (
    CLAIM_SECONDS,
    Order,
    attach,
    claim,
    forget_stopped,
    get_order,
    note_stopped,
    open_mark,
    open_orders,
    stale_marks,
    unclaim,
)
from tasks.api.tenants import Tenant, Tenants, load_tenants
from tasks.api.views import ended, ended_alone, failed, refused
from tasks.batch.paths import BatchRef
from tasks.batch.registry import telling
from tasks.batch.store import load
from tasks.cancel import stop_batch
from tasks.errors import (
    BatchFailedError,
    InputFileError,
    LostLeaseError,
    PipelineError,
    StateConflictError,
    TransientError,
)
from tasks.openai_format.batch import Batch, BatchError
from tasks.openai_format.requests import KNOWN_ENDPOINTS
from tasks.settings import Settings, load_settings, settings_in_force
from tasks.storage.objects import delete_object
from tasks.storage.uris import S3Uri
from tasks.validate import read_input

log = logging.getLogger("bedrock_batch.api.runner")

#: Seconds between the looks at a batch that runs: more and more, as it gets older.
_LEAST_WAIT, _MOST_WAIT = 1.0, 60.0
#: Seconds between the looks at the open orders, at the least and at the most: the server tells of what is new.
_LEAST_PAUSE, _MOST_PAUSE = 0.5, 10.0
#: How often an order is begun that fails for reasons that are not its own.
_MOST_TRIES = 20
_SWEEP_SECONDS = 600.0
#: What passes by itself: the order is tried again.
_PASSING = (TransientError, LostLeaseError, StateConflictError)


@flow(name="advance-order", task_runner=TASK_RUNNER, persist_result=False)
@titled
def advance_order(batch_id: str) -> Batch | None:
    """Take an order's batch as far as it goes now."""
    settings = load_settings()
    return advance(BatchRef(settings.root, batch_id, settings.kms_key))


@flow(name="run-orders", task_runner=TASK_RUNNER, persist_result=False)
@titled
def run_orders(order_id: str | None = None) -> int:
    """Drive the API's open orders once, one after another: for a schedule, and as a new order's own run.

    Args:
        order_id: Only this order.

    Returns:
        How many orders are still open.
    """
    runner = Runner(load_tenants(keyless=True))
    return runner.look(only=order_id)


#: How many live orders stand on each batch, by its folder and id.
Live: TypeAlias = "Counter[tuple[S3Uri, str | None]]"


class Runner:
    """Drives the open orders of some tenants. Without threads of its own, `look` does everything before it returns."""

    def __init__(self, tenants: Tenants, threads: int = 0) -> None:
        self._tenants = tenants
        self._id = uuid.uuid4().hex
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="order") if threads else None
        self._running: dict[str, Future[None]] = {}
        self._claimed: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._open: set[str] = set()
        self._swept = 0.0
        self.wake = threading.Event()

    def look(self, only: str | None = None) -> int:
        """Look at every open order once; returns how many are open."""
        count, seen = 0, set()
        for tenant in self._tenants.all:
            orders = [order for order in open_orders(tenant) if only in (None, order.id)]
            live = Counter((o.root(tenant), o.batch_id) for o in orders if not o.finished and not o.cancelling_at)
            for order in orders:
                count += not order.finished
                seen.add(order.id)
                try:
                    self._step(tenant, order, live)
                except PipelineError as error:
                    log.warning("Order %s: %s", order.id, error)
        self._open = seen
        for known in (self._due, self._claimed):
            for order_id in known.keys() - seen:
                known.pop(order_id, None)
        self._stopped &= seen
        if only is None and time.time() - self._swept > _SWEEP_SECONDS:
            self._sweep()
        return count

    def pause(self) -> float:
        """Seconds until something is due: each look costs a listing, and a read for each open order."""
        now = time.time()
        idle = self._open - self._running.keys()
        return min(_MOST_PAUSE, max(_LEAST_PAUSE, min((self._due.get(each, now) - now for each in idle), default=10.0)))

    def _sweep(self) -> None:
        """Remove what has expired, and marks of orders that were never written."""
        self._swept = time.time()
        for tenant in self._tenants.all:
            with contextlib.suppress(PipelineError):
                needed = frozenset(o.input_file_id for o in open_orders(tenant) if not o.finished)
                removed = delete_expired(tenant, self._swept, needed)
                if removed:
                    log.info("Expired files removed: %d", removed)
                for name in stale_marks(tenant, self._swept):
                    delete_object(open_mark(tenant, name))

    def _step(self, tenant: Tenant, order: Order, live: Live) -> None:
        now = time.time()
        if order.finished:
            announce(tenant, order)
        elif order.id in self._running:
            self._watch(tenant, order, live, now)
        elif order.cancelling_at and (order.batch_id is None or live[order.root(tenant), order.batch_id]):
            # Nothing of it runs, or what runs is for others as well.
            if order.claim is None or order.claim.until < now:
                close_order(tenant, order, ended_alone(order))
        elif order.cancelling_at and order.id not in self._stopped:
            # Before it is under way: the next look must not stop it as well.
            self._stopped.add(order.id)
            self._start(order, lambda: self._stop(tenant, order))
        elif self._due.get(order.id, 0.0) > now:
            pass
        elif order.batch_id is None and order.expires_at < now:
            close_order(
                tenant, order, failed(order, "expired", "The batch could not be begun within its completion window.")
            )
        elif order.batch_id is None:
            claimed = claim(tenant, order.id, self._id, now)
            if claimed is not None:
                self._claimed[order.id] = now
                self._start(order, lambda: self._begin(tenant, claimed))
        else:
            self._start(order, lambda: self._advance(tenant, order))

    def _start(self, order: Order, work: Callable[[], None]) -> None:
        """Do something for an order, beside others."""
        if self._pool is None:
            self._guarded(order, work)
            return
        self._running[order.id] = future = self._pool.submit(self._guarded, order, work)
        future.add_done_callback(lambda _: self._over(order.id))

    def _over(self, order_id: str) -> None:
        self._running.pop(order_id, None)
        self.wake.set()

    def _guarded(self, order: Order, work: Callable[[], None]) -> None:
        """Whatever goes wrong is said, and tried again later: by its type only, since it may quote a request."""
        try:
            work()
        except PipelineError as error:
            log.warning("Order %s will be tried again: %s", order.id, error)
            self._wait(order)
        except Exception as error:
            log.error("Order %s will be tried again (%s)", order.id, type(error).__name__, exc_info=_debugging())
            self._wait(order)

    def _wait(self, order: Order) -> None:
        age = time.time() - (order.attached_at or order.created_at)
        self._due[order.id] = time.time() + min(_MOST_WAIT, max(_LEAST_WAIT, age / 20))

    def _watch(self, tenant: Tenant, order: Order, live: Live, now: float) -> None:
        """While something is done for an order: keep the claim, and stop the batch as soon as that is asked for."""
        if order.batch_id is None and now - self._claimed.get(order.id, now) > CLAIM_SECONDS / 3:
            self._claimed[order.id] = now
            claim(tenant, order.id, self._id, now)
        ref = order.ref(tenant)
        if not order.cancelling_at or ref is None:
            return
        if live[order.root(tenant), order.batch_id]:
            # What is done goes on for the others: this order need not wait for its end.
            close_order(tenant, order, ended_alone(order))
        elif order.id not in self._stopped:
            self._stopped.add(order.id)
            self._stop_once(tenant, order, ref)

    def _begin(self, tenant: Tenant, order: Order) -> None:
        """Read the input, open the batch or find it, and take it as far as it goes."""
        try:
            if not order.model:
                close_order(tenant, order, refused(order, _why_no_model(order)))
                return
            batch = _run(tenant, order)
        except BatchFailedError as error:
            batch = error.batch
        except _PASSING as error:
            self._again(tenant, order, error)
            return
        except PipelineError as error:
            close_order(tenant, order, failed(order, _code(error), str(error)))
            return
        except Exception as error:
            self._again(tenant, order, error)
            return
        self._settle(tenant, attach(tenant, order.id, batch.id), batch)

    def _again(self, tenant: Tenant, order: Order, error: Exception) -> None:
        cause = str(error) if isinstance(error, PipelineError) else type(error).__name__
        log.warning("Order %s was not begun: %s", order.id, cause, exc_info=_debugging())
        order = unclaim(tenant, order.id, self._id, tried=True)
        if order.tries >= _MOST_TRIES:
            code = "service_unavailable" if isinstance(error, TransientError) else "internal_error"
            close_order(
                tenant, order, failed(order, code, f"The batch could not be begun after {order.tries} tries: {cause}")
            )
        self._due[order.id] = time.time() + min(_MOST_WAIT, 2.0**order.tries)

    def _stop(self, tenant: Tenant, order: Order) -> None:
        ref = order.ref(tenant)
        assert ref is not None
        self._stop_once(tenant, order, ref)
        self._advance(tenant, order)

    def _stop_once(self, tenant: Tenant, order: Order, ref: BatchRef) -> None:
        """Stop a batch; again only where that failed: a second stop could reach one that is open again for others."""
        try:
            note_stopped(tenant, ref)
            stop_batch(ref)
        except Exception:
            self._stopped.discard(order.id)
            raise

    def _advance(self, tenant: Tenant, order: Order) -> None:
        ref = order.ref(tenant)
        assert ref is not None
        loaded = load(ref)
        if loaded is not None and not loaded[0].finished:
            with settings_in_force(_settings(tenant, order)), contextlib.suppress(BatchFailedError):
                advance_order(ref.batch_id)
            loaded = load(ref)
        if loaded is None:
            close_order(tenant, order, failed(order, "batch_not_found", "The batch was removed from the bucket."))
        else:
            self._settle(tenant, order, loaded[0].public())

    def _settle(self, tenant: Tenant, order: Order, batch: Batch) -> None:
        """Keep the order's end, where its batch is over; but open a batch again that ended because of another order."""
        ref = order.ref(tenant)
        assert ref is not None
        if order.finished:
            return
        if batch.status == "cancelled" and not get_order(tenant, order.id).cancelling_at:
            if forget_stopped(tenant, ref):
                try:
                    batch = _run(tenant, order, again=True)
                except BatchFailedError as error:
                    batch = error.batch
            batch = _completed_if_whole(ref, batch)
        if batch.finished:
            close_order(tenant, order, ended(order, batch))
        self._wait(order)

    def close(self, seconds: float) -> None:
        """Let what is under way end, for so long."""
        end = time.monotonic() + seconds
        for future in list(self._running.values()):
            with contextlib.suppress(Exception):
                future.result(max(0.0, end - time.monotonic()))


def _completed_if_whole(ref: BatchRef, batch: Batch) -> Batch:
    """A cancelled batch of which nothing is left to be asked: complete, for who did not have it stopped."""
    loaded = load(ref)
    if batch.status != "cancelled" or loaded is None or loaded[0].bedrock.unanswered != 0:
        return batch
    return batch.model_copy(update={"status": "completed", "completed_at": batch.cancelled_at})


def _debugging() -> bool:
    return log.isEnabledFor(logging.DEBUG)


def _settings(tenant: Tenant, order: Order) -> Settings:
    kms_key = order.kms_key or tenant.settings.kms_key
    return msgspec.structs.replace(tenant.settings, root=order.root(tenant), kms_key=kms_key)


def _run(tenant: Tenant, order: Order, *, again: bool = False) -> Batch:
    """Call `batch_inference` for an order. What others had cancelled, or what expired, is opened again for it.

    `again`: for what has no answer, in a batch that the order stands on already.
    """
    worked_on: list[BatchRef] = []

    def tell(ref: BatchRef) -> None:
        worked_on.append(ref)
        attach(tenant, order.id, ref.batch_id)

    given = {
        "input_file": order.input_uri,
        "model": order.model,
        "endpoint": order.endpoint or None,
        "completion_window": order.completion_window,
        "metadata": {**order.tags, **order.metadata},
        **order.options,
        "wait": False,
        **({"retry_failed": True} if again else {}),
    }
    with settings_in_force(_settings(tenant, order)), telling(tell):
        batch: Batch = batch_inference(**given)
        if batch.status in ("cancelled", "expired") and not worked_on and not given.get("retry_failed"):
            batch = batch_inference(**{**given, "retry_failed": True})
    return batch


def _why_no_model(order: Order) -> list[BatchError]:
    """Why no line says the model: mostly, the file is none of requests."""
    summary = read_input(order.input_uri, order.endpoint or None, KNOWN_ENDPOINTS)
    shutil.rmtree(summary.work, ignore_errors=True)
    if not summary.requests or summary.invalid:
        return summary.errors()
    said = "No model is named: give `model` in the call, or a body.model in the first line of the file."
    return [BatchError(code="invalid_configuration", message=said)]


def _code(error: PipelineError) -> str:
    return "invalid_input_file" if isinstance(error, InputFileError) else "invalid_configuration"


class _NoTraces(logging.Filter):
    """Prefect logs a traceback for each failed run: of errors that are meant for users, their message is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PipelineError):
            record.exc_info = None
        return True


def _listen(runner: Runner, over: threading.Event) -> None:
    """Each line on standard input tells of news; its end is that of the server."""
    while os.read(0, 4096):
        runner.wake.set()
    over.set()
    runner.wake.set()


def main() -> None:
    """Drive the orders until standard input ends, or a signal comes."""
    # Prefect has given the root logger its handler, and its own level.
    logging.basicConfig(stream=sys.stderr)
    log.setLevel(os.environ.get("BEDROCK_BATCH_API_LOG_LEVEL", "").strip().upper() or "INFO")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_NoTraces())
    spare_memory()
    over = threading.Event()
    runner = Runner(load_tenants(keyless=True), threads=int(os.environ.get("BEDROCK_BATCH_API_THREADS", "4")))

    def end(*_: object) -> None:
        over.set()
        runner.wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=_listen, args=(runner, over), daemon=True).start()
    while not over.is_set():
        runner.wake.clear()
        try:
            runner.look()
        except PipelineError as error:
            log.warning("The orders could not be looked at: %s", error)
        runner.wake.wait(runner.pause())
    runner.close(10.0)
    # What is cut off here, the next runner carries on.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
