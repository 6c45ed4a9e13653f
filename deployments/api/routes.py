"""The routes: each reads its parameters, calls `tasks.api` on a thread, and gives back OpenAI's objects."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from deployments.api.gate import audit, say
from deployments.api.multipart import FileForm
from deployments.api.openapi import document
from deployments.api.server import Server
from deployments.api.wire import ClientDisconnect, Json, answer_of, chunks, error_answer, json_body, limit_of, page
from flows.operations import results_so_far
from tasks.api.calls import named_key, read_call
from tasks.api.errors import ConflictError, InvalidCallError
from tasks.api.estimates import cost_estimate as estimate_of
from tasks.api.files import (
    MOST_LISTED,
    PURPOSES,
    FileUpload,
    StoredFile,
    byte_range,
    delete_file,
    expiry,
    get_file,
    list_files,
    read_bytes,
)
from tasks.api.ids import is_id
from tasks.api.orders import (
    Order,
    cancel_order,
    get_order,
    list_orders,
    open_orders,
    place_order,
    retry_order,
)
from tasks.api.tenants import Tenant
from tasks.api.uploads import PartUpload, begin_upload, cancel_upload, complete_upload
from tasks.api.views import output_uri, view
from tasks.batch.options import parse_window
from tasks.batch.store import load

Handler = Callable[[Request], Awaitable[Response]]
#: Not JSON: clients would parse a whole file as one document.
_BYTES = "application/octet-stream"
_FORM_OVERHEAD = 1 << 20


def _tenant(request: Request) -> Tenant:
    found: Tenant = request.state.tenant
    return found


def _server(request: Request) -> Server:
    found: Server = request.app.state.server
    return found


def _audit(request: Request, action: str, identifier: str) -> None:
    audit(_tenant(request), request.state.request_id, action, identifier)


# Files


async def create_file(request: Request) -> Response:
    """POST /files"""
    tenant = _tenant(request)
    kms_key = named_key(tenant, request.headers)
    opened: list[FileUpload] = []

    def begin() -> Callable[[bytes], Any]:
        opened.append(FileUpload(tenant, kms_key))
        return opened[0].write

    form = FileForm("file", begin)
    with _server(request).uploading(tenant):
        try:
            body = chunks(request, tenant.max_file_bytes + _FORM_OVERHEAD)
            await form.read(request.headers.get("content-type", ""), body)
            purpose = form.fields.get("purpose")
            if purpose is None:
                raise InvalidCallError("Missing required parameter: 'purpose'.", param="purpose")
            if purpose != "batch":
                raise InvalidCallError("purpose must be 'batch'.", param="purpose")
            if not opened:
                raise InvalidCallError("Missing required parameter: 'file'.", param="file")
            seconds = expiry(form.nested("expires_after"))
            stored = await run_in_threadpool(opened[0].finish, form.filename, seconds)
        except BaseException:
            for file in opened:
                await run_in_threadpool(file.abort)
            raise
    _audit(request, "file.create", stored.id)
    return Json(stored.public())


async def list_all_files(request: Request) -> Response:
    """GET /files"""
    query = request.query_params
    purpose, order, after = query.get("purpose"), query.get("order", "desc"), query.get("after")
    if order not in ("asc", "desc"):
        raise InvalidCallError("order must be asc or desc.", param="order")
    if purpose is not None and purpose not in PURPOSES:
        # OpenAI has other purposes; none of its files are here.
        return page([], False)
    if after is not None and not is_id("file", after):
        raise InvalidCallError("after must be the id of a file.", param="after")
    limit = limit_of(request, 10_000, MOST_LISTED)
    found, more = await run_in_threadpool(
        list_files, _tenant(request), purpose=purpose, limit=limit, after=after, ascending=order == "asc"
    )
    return page([stored.public() for stored in found], more)


async def retrieve_file(request: Request) -> Response:
    """GET /files/{id}"""
    stored = await run_in_threadpool(get_file, _tenant(request), request.path_params["id"])
    return Json(stored.public())


async def remove_file(request: Request) -> Response:
    """DELETE /files/{id}"""
    tenant, identifier = _tenant(request), request.path_params["id"]

    def remove() -> None:
        get_file(tenant, identifier)
        needed = next((o.id for o in open_orders(tenant) if not o.finished and o.input_file_id == identifier), None)
        if needed:
            raise ConflictError(f"The batch {needed} needs the file: cancel it, or wait for its end.", param="id")
        delete_file(tenant, identifier)

    await run_in_threadpool(remove)
    _audit(request, "file.delete", identifier)
    return Json({"id": identifier, "object": "file", "deleted": True})


async def file_content(request: Request) -> Response:
    """GET /files/{id}/content"""
    stored = await run_in_threadpool(get_file, _tenant(request), request.path_params["id"])
    return _content(request, stored)


def _content(request: Request, stored: StoredFile) -> Response:
    """The bytes of a file, or the range that was asked for. Never a redirect: clients would take their keys along."""
    headers = {"accept-ranges": "bytes", "content-type": _BYTES, "x-content-type-options": "nosniff"}
    if stored.etag:
        headers["etag"] = stored.etag
    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range") not in (None, stored.etag):
        wanted = None
    try:
        part = byte_range(wanted, stored.bytes)
    except ValueError:
        size = {"content-range": f"bytes */{stored.bytes}"}
        return error_answer(416, "The range is not within the file.", "Range", headers=size)
    start, end = part or (0, stored.bytes)
    headers["content-length"] = str(end - start)
    if part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
    if request.method == "HEAD":
        return Response(status_code=206 if part else 200, headers=headers)
    return StreamingResponse(read_bytes(stored, start, end), 206 if part else 200, headers)


# Uploads


async def create_upload(request: Request) -> Response:
    """POST /uploads"""
    body = await json_body(request)
    kms_key = named_key(_tenant(request), request.headers)
    upload = await run_in_threadpool(begin_upload, _tenant(request), body, kms_key)
    _audit(request, "upload.create", upload.id)
    return Json(upload.public())


async def create_part(request: Request) -> Response:
    """POST /uploads/{id}/parts"""
    tenant, identifier = _tenant(request), request.path_params["id"]
    with _server(request).uploading(tenant):
        part = await run_in_threadpool(PartUpload, tenant, identifier)
        form = FileForm("data", lambda: part.write)
        try:
            await form.read(request.headers.get("content-type", ""), chunks(request, tenant.max_file_bytes))
            if not form.has_file:
                raise InvalidCallError("Missing required parameter: 'data'.", param="data")
            made = await run_in_threadpool(part.finish)
        except BaseException:
            await run_in_threadpool(part.abort)
            raise
    _audit(request, "upload.part", made["id"])
    return Json(made)


async def finish_upload(request: Request) -> Response:
    """POST /uploads/{id}/complete"""
    body = await json_body(request)
    upload = await run_in_threadpool(complete_upload, _tenant(request), request.path_params["id"], body)
    _audit(request, "upload.complete", upload.id)
    return Json(upload.public())


async def stop_upload(request: Request) -> Response:
    """POST /uploads/{id}/cancel"""
    upload = await run_in_threadpool(cancel_upload, _tenant(request), request.path_params["id"])
    _audit(request, "upload.cancel", upload.id)
    return Json(upload.public())


# Batches


def _shown(tenant: Tenant, order: Order) -> dict[str, Any]:
    ref = None if order.finished else order.ref(tenant)
    loaded = load(ref) if ref is not None else None
    return view(order, loaded[0] if loaded else None)


async def create_batch(request: Request) -> Response:
    """POST /batches"""
    body = await json_body(request)
    tenant = _tenant(request)
    call = read_call(tenant, body, request.headers)
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= 256:
        raise InvalidCallError("Idempotency-Key must have 1 to 256 characters.", param="Idempotency-Key")
    order = await run_in_threadpool(place_order, tenant, call, key)
    return await _placed(request, order, "batch.create", call.ignored)


async def _placed(request: Request, order: Order, action: str, ignored: tuple[str, ...] = ()) -> Response:
    _audit(request, action, order.id)
    _server(request).dispatcher.tell(order.id)
    shown = await run_in_threadpool(_shown, _tenant(request), order)
    names = [name for name in ignored if name.isascii() and name.isidentifier()]
    return Json(shown, headers={"x-ignored-parameters": ", ".join(names)} if names else None)


async def list_batches(request: Request) -> Response:
    """GET /batches"""
    tenant, limit = _tenant(request), limit_of(request, 100, 20)
    after = request.query_params.get("after")

    def read() -> tuple[list[dict[str, Any]], bool]:
        orders, more = list_orders(tenant, limit=limit, after=after)
        return list(_server(request).side_by_side(lambda order: _shown(tenant, order), orders)), more

    return page(*await run_in_threadpool(read))


async def retrieve_batch(request: Request) -> Response:
    """GET /batches/{id}"""
    tenant = _tenant(request)
    return Json(await run_in_threadpool(lambda: _shown(tenant, get_order(tenant, request.path_params["id"]))))


async def cancel_batch(request: Request) -> Response:
    """POST /batches/{id}/cancel"""
    order = await run_in_threadpool(cancel_order, _tenant(request), request.path_params["id"])
    return await _placed(request, order, "batch.cancel")


async def retry_batch(request: Request) -> Response:
    """POST /batches/{id}/retry: a new batch for the requests that have no answer."""
    order = await run_in_threadpool(retry_order, _tenant(request), request.path_params["id"])
    return await _placed(request, order, "batch.retry")


async def batch_output(request: Request) -> Response:
    """GET /batches/{id}/output"""
    tenant, identifier = _tenant(request), request.path_params["id"]
    order = await run_in_threadpool(get_order, tenant, identifier)
    if order.final is None:
        return await _unfinished(request, order)
    if output_uri(order) is None or order.final.output_file_id is None:
        return Response(b"", headers={"content-type": _BYTES})
    return _content(request, await run_in_threadpool(get_file, tenant, order.final.output_file_id))


async def _unfinished(request: Request, order: Order) -> Response:
    """What is finished of a batch that runs. Raises ConflictError where nothing is."""
    ref = order.ref(_tenant(request))
    lines = await run_in_threadpool(lambda: _peeked(results_so_far(ref)) if ref is not None else None)
    if lines is None:
        raise ConflictError(f"The batch {order.id} has no output yet.")
    headers = {"content-type": _BYTES, "x-incomplete": "true", "cache-control": "no-store"}
    return Response(headers=headers) if request.method == "HEAD" else StreamingResponse(lines, headers=headers)


def _peeked(lines: Iterator[bytes]) -> Iterator[bytes] | None:
    """The same lines; None where there are none."""
    first = next(lines, None)
    return None if first is None else chain([first], lines)


async def cost_estimate(request: Request) -> Response:
    """GET /files/{id}/cost-estimate"""
    tenant, query = _tenant(request), request.query_params
    window = query.get("completion_window", "24h")
    try:
        immediate = parse_window(window) is None
    except ValueError as error:
        raise InvalidCallError(str(error), param="completion_window") from None

    def estimated() -> dict[str, Any]:
        stored = get_file(tenant, request.path_params["id"])
        name = query.get("model") or stored.model
        if not name:
            raise InvalidCallError("Missing required parameter: 'model'.", param="model")
        model = tenant.model_named(name)
        tenant.may_use(model)
        return estimate_of(stored, model, immediate=immediate)

    return Json(await run_in_threadpool(estimated))


# Of the server itself


async def openapi(request: Request) -> Response:
    """GET /openapi.json"""
    return Json(document())


async def health(request: Request) -> Response:
    """GET /healthz"""
    return Json({"status": "ok"})


async def ready(request: Request) -> Response:
    """GET /readyz"""
    trouble = await run_in_threadpool(_server(request).trouble)
    return Json({"status": "ok"}) if trouble is None else error_answer(503, trouble, code="not_ready")


async def metrics(request: Request) -> Response:
    """GET /metrics"""
    server = _server(request)
    if not _tenant(request).operator:
        return error_answer(403, "This key may not read the metrics.", code="not_an_operator")
    text = await run_in_threadpool(server.metrics.text, server.tenants)
    return Response(text, media_type="text/plain; version=0.0.4")


def _named(name: str, handler: Handler) -> Handler:
    async def endpoint(request: Request) -> Response:
        request.state.route = name
        try:
            return await handler(request)
        except ClientDisconnect:
            # Nobody reads it; raised, it would be a fault of ours to Starlette.
            return Response(status_code=499)
        except Exception as error:
            answer = answer_of(error)
            if answer.status_code >= 500:
                say(error, request.state.request_id)
            return answer

    return endpoint


_TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/files", create_file),
    ("GET", "/files", list_all_files),
    ("GET", "/files/{id}", retrieve_file),
    ("DELETE", "/files/{id}", remove_file),
    ("GET", "/files/{id}/content", file_content),
    ("GET", "/files/{id}/cost-estimate", cost_estimate),
    ("POST", "/uploads", create_upload),
    ("POST", "/uploads/{id}/parts", create_part),
    ("POST", "/uploads/{id}/complete", finish_upload),
    ("POST", "/uploads/{id}/cancel", stop_upload),
    ("POST", "/batches", create_batch),
    ("GET", "/batches", list_batches),
    ("GET", "/batches/{id}", retrieve_batch),
    ("POST", "/batches/{id}/cancel", cancel_batch),
    ("POST", "/batches/{id}/retry", retry_batch),
    ("GET", "/batches/{id}/output", batch_output),
    ("GET", "/openapi.json", openapi),
)
#: Base paths: OpenAI's, and Azure's and AWS's.
BASES = ("/v1", "/openai/v1")


def routes() -> Iterator[BaseRoute]:
    """All routes, under every base path. `{id}` is one segment of the decoded path: what has a slash is no id."""
    for base in BASES:
        for method, path, handler in _TABLE:
            yield Route(base + path, _named(path, handler), methods=[method])
    yield Route("/healthz", _named("/healthz", health))
    yield Route("/readyz", _named("/readyz", ready))
    yield Route("/metrics", _named("/metrics", metrics))
