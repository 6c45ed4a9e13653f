"""What a replica has beside its routes: the tenants, the metrics, who drives the orders, and what is under way."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from deployments.api.metrics import Metrics
from tasks.api.documents import list_names
from tasks.api.errors import TooManyError
from tasks.api.tenants import Tenant, Tenants
from tasks.errors import PipelineError

A = TypeVar("A")
B = TypeVar("B")
#: Readiness is asked for every few seconds: S3 is looked at less often.
_READY_SECONDS = 5.0


class Dispatcher(Protocol):
    """Whoever drives the orders. What it is told is a hint: S3 has them all."""

    def tell(self, order_id: str) -> None:
        """There is a new order, or one that its caller wants ended."""

    def trouble(self) -> str | None:
        """Why orders are not driven now; None where they are."""


class Server:
    """One replica's."""

    def __init__(self, tenants: Tenants, dispatcher: Dispatcher) -> None:
        self.tenants, self.dispatcher, self.metrics = tenants, dispatcher, Metrics()
        self._uploads: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="page")
        self._seen: tuple[float, str | None] = (float("-inf"), None)

    @contextlib.contextmanager
    def uploading(self, tenant: Tenant) -> Iterator[None]:
        """Count an upload that comes in. Raises TooManyError."""
        if self._uploads[tenant.name] >= tenant.concurrent_uploads:
            raise TooManyError(
                f"This key may have {tenant.concurrent_uploads} uploads at once; try again.", code="too_many_uploads"
            )
        self._uploads[tenant.name] += 1
        self.metrics.uploads.inc()
        try:
            yield
        finally:
            self._uploads[tenant.name] -= 1
            self.metrics.uploads.dec()

    def side_by_side(self, work: Callable[[A], B], each: Iterable[A]) -> Iterator[B]:
        """Do something for several at once, in their order."""
        return self._pool.map(work, each)

    def trouble(self) -> str | None:
        """Why this replica should get no requests; None where it may. Looks at S3, now and then."""
        now = time.monotonic()
        if now - self._seen[0] > _READY_SECONDS:
            self._seen = now, self._storage_trouble()
        # Orders wait in S3 for whoever drives them: that is no reason to send a caller away.
        return self._seen[1]

    def _storage_trouble(self) -> str | None:
        try:
            list_names(self.tenants.all[0].home.join("open"), limit=1)
        except PipelineError:
            return "The storage is out of reach."
        return None
