"""Orders: what callers asked for, each an object of its own that stands on a batch, which equal orders share.

An order is open until its caller has an end to see. Its document is changed by conditional writes only; whoever works
on it, on whatever replica, may do so twice.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from pydantic import Field

from tasks.api.calls import Call, is_uri
from tasks.api.documents import (
    Document,
    exists,
    list_names,
    read_document,
    read_documents,
    update_document,
    write_document,
)
from tasks.api.errors import ConflictError, InvalidCallError, NotFoundError
from tasks.api.files import FirstLine, first_line_of, get_file
from tasks.api.ids import id_of, is_id, key_of, new_id, seconds_of
from tasks.api.tenants import Tenant
from tasks.batch.paths import BatchRef
from tasks.openai_format.batch import Batch
from tasks.storage.objects import delete_object
from tasks.storage.uris import S3Uri, parse_input_uri

#: Seconds for which a runner that reads an order's input keeps others from doing so; it is renewed meanwhile.
CLAIM_SECONDS = 60


class Claim(Document):
    """Who reads an order's input: it saves work when two would, and decides nothing."""

    runner: str
    until: float


class Notice(Document):
    """A webhook that the order's end is announced to: its place in the tenant's list, and when a try is due."""

    hook: int
    event_id: str
    tries: int = 0
    due: float = 0.0
    done: bool = False
    failed: bool = False


class Order(Document):
    """What a caller asked for, and what has become of it."""

    id: str
    tenant: str
    created_at: int
    expires_at: int
    #: As it was given; and where the bytes are.
    input_file_id: str
    input_uri: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] = Field(default_factory=dict)
    model: str
    #: Parameters of `batch_inference` beside these, given ones only.
    options: dict[str, Any] = Field(default_factory=dict)
    output_expires_after: int | None = None
    #: Of a fresh sample: batches in a folder of its own, or in that of the order whose sample a retry completes.
    fresh: bool = False
    sample: str | None = None
    retry_of: str | None = None
    #: Tags of its jobs, beside the metadata; and the KMS key of what is written for it, where it is not the tenant's.
    tags: dict[str, str] = Field(default_factory=dict)
    kms_key: str | None = None
    #: The batch it stands on, once its input was read.
    batch_id: str | None = None
    attached_at: int | None = None
    tries: int = 0
    claim: Claim | None = None
    cancelling_at: int | None = None
    #: The end, as the caller sees it; None while the order is open.
    final: Batch | None = None
    notices: list[Notice] = Field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.final is not None

    def ref(self, tenant: Tenant) -> BatchRef | None:
        """The batch it stands on; None while that is unknown."""
        if self.batch_id is None:
            return None
        return BatchRef(self.root(tenant), self.batch_id, self.kms_key or tenant.settings.kms_key)

    def root(self, tenant: Tenant) -> S3Uri:
        """The folder that holds `batches/`."""
        return tenant.settings.root.join("samples", self.sample or self.id) if self.fresh else tenant.settings.root


class Same(Document):
    """The latest order of equal calls. `digest` is that of the call, where a key of the caller's names it."""

    id: str
    digest: str


def _folder(tenant: Tenant) -> S3Uri:
    return tenant.home.join("batches")


def order_uri(tenant: Tenant, order_id: str) -> S3Uri:
    return _folder(tenant).join(f"{key_of('batch', order_id)}.json")


def open_mark(tenant: Tenant, order_id: str) -> S3Uri:
    return tenant.home.join("open", order_id)


def place_order(tenant: Tenant, call: Call, idempotency_key: str | None = None) -> Order:
    """Have an order for a call: a new one, or the one that an equal call made and that is open.

    Clients repeat a POST whose reply was lost, without any key: all of them get the same order. Under a key of the
    caller's, they do for ever. Raises InvalidCallError, ForbiddenError, ConflictError.
    """
    order = _checked(tenant, call)
    return _keep(tenant, order, _digest(order, call), idempotency_key)


def _checked(tenant: Tenant, call: Call) -> Order:
    """The order of a call, with what only the input says. Nothing of it is read but its first line."""
    first = FirstLine()
    if is_uri(call.input_file_id):
        uri = tenant.input_uri(call.input_file_id)
        first = first_line_of(uri)
    else:
        try:
            stored = get_file(tenant, call.input_file_id)
        except NotFoundError as error:
            raise InvalidCallError(str(error), param="input_file_id") from None
        if stored.purpose != "batch":
            raise InvalidCallError(
                f"The file {stored.id} has the purpose {stored.purpose!r}; it must be 'batch'.", param="input_file_id"
            )
        uri = parse_input_uri(stored.uri)
        first = FirstLine(stored.model, stored.endpoint)
        if (first.model is None and call.model is None) or (first.endpoint is None and call.endpoint is None):
            # Compressed, or a line of megabytes.
            first = first_line_of(uri)
    model = call.model or (tenant.model_named(first.model) if first.model else "")
    if model:
        tenant.may_use(model)
    identifier = new_id("batch")
    created = seconds_of(identifier)
    return Order(
        id=identifier,
        tenant=tenant.name,
        created_at=created,
        expires_at=created + call.window_seconds,
        input_file_id=call.input_file_id,
        input_uri=str(uri),
        endpoint=call.endpoint or first.endpoint or "",
        completion_window=call.completion_window,
        metadata=call.metadata,
        model=model,
        options=call.options,
        output_expires_after=call.output_expires_after,
        fresh=not call.reuse,
        tags=call.tags,
        kms_key=call.kms_key,
    )


def _digest(order: Order, call: Call) -> str:
    asked = (order.input_file_id, order.endpoint, order.model, msgspec.structs.asdict(call))
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _keep(tenant: Tenant, order: Order, digest: str, idempotency_key: str | None) -> Order:
    """Keep a new order, or return the one that stands for the same call."""
    name = hashlib.sha256(f"key {idempotency_key}".encode()).hexdigest() if idempotency_key else digest
    uri, kms = tenant.home.join("same", f"{name}.json"), tenant.settings.kms_key
    mine = Same(id=order.id, digest=digest)
    condition = {"IfNoneMatch": "*"}
    while not write_document(uri, mine, kms, **condition):
        found = read_document(uri, Same)
        if found is None:
            condition = {"IfNoneMatch": "*"}
            continue
        same, etag = found
        if same.digest != digest:
            raise ConflictError("This Idempotency-Key was used for another call.", code="idempotency_key_in_use")
        known = read_document(order_uri(tenant, same.id), Order)
        if known is None:
            # Whoever made the name has not come further, or never will: the order is made under that name.
            order.id = same.id
            order.expires_at += seconds_of(same.id) - order.created_at
            order.created_at = seconds_of(same.id)
            break
        if idempotency_key or not known[0].finished:
            return known[0]
        condition = {"IfMatch": etag}
    # The mark goes first: an order that nobody is told of would wait for ever.
    exists(open_mark(tenant, order.id), kms)
    if write_document(order_uri(tenant, order.id), order, kms, IfNoneMatch="*"):
        return order
    return get_order(tenant, order.id)


def retry_order(tenant: Tenant, order_id: str) -> Order:
    """A new order for the requests of a finished one that have no answer, and only those."""
    old = get_order(tenant, order_id)
    if old.final is None:
        raise ConflictError(f"Cannot retry a batch that is not over: {order_id}.")
    identifier = new_id("batch")
    created = seconds_of(identifier)
    order = Order(
        id=identifier,
        tenant=tenant.name,
        created_at=created,
        expires_at=created + (old.expires_at - old.created_at),
        input_file_id=old.input_file_id,
        input_uri=old.input_uri,
        endpoint=old.endpoint,
        completion_window=old.completion_window,
        metadata=old.metadata,
        model=old.model,
        options={**old.options, "retry_failed": True},
        output_expires_after=old.output_expires_after,
        fresh=old.fresh,
        sample=(old.sample or old.id) if old.fresh else None,
        retry_of=old.id,
        tags=old.tags,
        kms_key=old.kms_key,
    )
    return _keep(tenant, order, hashlib.sha256(f"retry {old.id}".encode()).hexdigest(), None)


def get_order(tenant: Tenant, order_id: str) -> Order:
    """An order of the tenant. Raises NotFoundError, also for ids that are none."""
    found = read_document(order_uri(tenant, order_id), Order) if is_id("batch", order_id) else None
    if found is None:
        raise NotFoundError(f"No batch found with id '{order_id[:80]}'.", param="id")
    return found[0]


def list_orders(tenant: Tenant, *, limit: int, after: str | None) -> tuple[list[Order], bool]:
    """A page of orders, the newest first, and whether there are more. One listing, and a read for each order.

    Raises InvalidCallError for an `after` that is no id.
    """
    if after is not None and not is_id("batch", after):
        raise InvalidCallError("after must be the id of a batch.", param="after")
    names, more = list_names(_folder(tenant), f"{key_of('batch', after)}.json" if after else "", limit)
    chosen = [name for name in names if id_of("batch", name.removesuffix(".json"))]
    found = read_documents((_folder(tenant).join(name) for name in chosen), Order)
    return [order for order in found if order is not None], more


def update_order(tenant: Tenant, order_id: str, change: Callable[[Order], None]) -> Order:
    """Change an order; `change` must bear being applied again. Raises NotFoundError."""
    order = update_document(order_uri(tenant, order_id), Order, change, tenant.settings.kms_key)
    if order is None:
        raise NotFoundError(f"No batch found with id '{order_id}'.", param="id")
    return order


def cancel_order(tenant: Tenant, order_id: str) -> Order:
    """Ask for an order's end; again changes nothing. Raises NotFoundError; ConflictError where it is over."""
    get_order(tenant, order_id)
    now = int(time.time())

    def change(order: Order) -> None:
        if not order.finished:
            order.cancelling_at = order.cancelling_at or now

    order = update_order(tenant, order_id, change)
    if order.final is not None:
        raise ConflictError(f"Cannot cancel a batch with status '{order.final.status}'.")
    return order


def open_orders(tenant: Tenant) -> Iterator[Order]:
    """The orders that somebody must still do something for, the oldest first."""
    names, _ = list_names(tenant.home.join("open"), limit=100_000)
    marks = [name for name in names if is_id("batch", name)]
    for order in read_documents((order_uri(tenant, name) for name in marks), Order):
        if order is not None:
            yield order


def _stopped_mark(tenant: Tenant, ref: BatchRef) -> S3Uri:
    return tenant.home.join("stopped", f"{ref.batch_id}-{hashlib.sha256(str(ref.root).encode()).hexdigest()[:16]}")


def note_stopped(tenant: Tenant, ref: BatchRef) -> None:
    """Note, before a batch is stopped, that an order asked for it: another may turn out to need it."""
    exists(_stopped_mark(tenant, ref), tenant.settings.kms_key)


def forget_stopped(tenant: Tenant, ref: BatchRef) -> bool:
    """Whether a batch was stopped for an order, and not by somebody else; from now on it was not."""
    mark = _stopped_mark(tenant, ref)
    names, _ = list_names(tenant.home.join("stopped"), limit=1, prefix=mark.key.rsplit("/", 1)[-1])
    return bool(names) and delete_object(mark)


def stale_marks(tenant: Tenant, now: float) -> list[str]:
    """Marks of an hour ago whose order was never written."""
    names, _ = list_names(tenant.home.join("open"), limit=100_000)
    old = [name for name in names if is_id("batch", name) and now - seconds_of(name) > 3600]
    found = read_documents((order_uri(tenant, name) for name in old), Order)
    return [name for name, order in zip(old, found, strict=True) if order is None]


def forget_open(tenant: Tenant, order_id: str) -> None:
    """Nothing is left to do for an order."""
    delete_object(open_mark(tenant, order_id))


def claim(tenant: Tenant, order_id: str, runner: str, now: float) -> Order | None:
    """Claim an order that nobody reads the input of, or renew the claim; None where another runner has it."""

    def change(order: Order) -> None:
        free = order.claim is None or order.claim.runner == runner or order.claim.until < now
        if free and order.batch_id is None and not order.finished:
            order.claim = Claim(runner=runner, until=now + CLAIM_SECONDS)

    order = update_order(tenant, order_id, change)
    return order if order.claim is not None and order.claim.runner == runner else None


def unclaim(tenant: Tenant, order_id: str, runner: str, *, tried: bool) -> Order:
    """Give an order back; `tried` counts what came to nothing."""

    def change(order: Order) -> None:
        if order.claim is not None and order.claim.runner == runner:
            order.claim = None
            order.tries += tried

    return update_order(tenant, order_id, change)


def attach(tenant: Tenant, order_id: str, batch_id: str) -> Order:
    """Note the batch that an order stands on."""
    now = int(time.time())

    def change(order: Order) -> None:
        if not order.finished and order.batch_id is None:
            order.batch_id, order.attached_at, order.claim = batch_id, now, None

    return update_order(tenant, order_id, change)
