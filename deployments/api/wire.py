"""OpenAI's envelope of errors, JSON bodies, and parameters of a query, as clients send and expect them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tasks.api.errors import (
    CallError,
    ConflictError,
    ForbiddenError,
    InvalidCallError,
    NotFoundError,
    TooLargeError,
    TooManyError,
)
from tasks.errors import PipelineError, TransientError

#: The most bytes of a JSON body.
MOST_JSON = 1 << 20
_STATUSES: tuple[tuple[type[CallError], int], ...] = (
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (TooManyError, 429),
    (InvalidCallError, 400),
)
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Json(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class SlowBodyError(CallError):
    """A body made no progress for too long."""


def error_answer(
    status: int, message: str, param: str | None = None, code: str | None = None, headers: dict[str, str] | None = None
) -> Json:
    """An error in OpenAI's envelope: all four keys, always."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    more = dict(headers or {})
    if status == 409:
        # OpenAI's clients would try it twice more.
        more["x-should-retry"] = "false"
    if status in (429, 503):
        more.setdefault("retry-after", "5")
    return Json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, more)


def answer_of(error: Exception) -> Json:
    """The answer to what a handler raised. What is not the caller's fault is told by the request id alone."""
    if isinstance(error, SlowBodyError):
        # What comes after all belongs to no request.
        return error_answer(408, str(error), headers={"connection": "close"})
    if isinstance(error, CallError):
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return error_answer(status, str(error), error.param, error.code)
    if isinstance(error, HTTPException):
        texts = {
            404: "Unknown request URL. Check the path and the base URL, which ends in /v1.",
            405: "Method not allowed.",
        }
        return error_answer(
            error.status_code, texts.get(error.status_code, error.detail), headers=_plain(error.headers)
        )
    if isinstance(error, TransientError):
        return error_answer(503, "The storage is busy or out of reach; try again.", code="service_unavailable")
    if isinstance(error, PipelineError):
        return error_answer(
            500, "Storage error. Quote the request id to whoever runs this server.", code="storage_error"
        )
    return error_answer(500, "Internal error. Quote the request id to whoever runs this server.", code="internal_error")


def _plain(headers: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (headers or {}).items()}


async def chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body of a request as it comes. Raises TooLargeError, SlowBodyError, ClientDisconnect."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise TooLargeError(f"The body is larger than {most:,} bytes.")
    stream, size = request.stream().__aiter__(), 0
    while True:
        try:
            chunk = await asyncio.wait_for(stream.__anext__(), request.app.state.server.tenants.body_seconds)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SlowBodyError("The body stopped coming.") from None
        size += len(chunk)
        if size > most:
            raise TooLargeError(f"The body is larger than {most:,} bytes.")
        yield chunk


async def json_body(request: Request, *, required: bool = True) -> dict[str, Any]:
    """The JSON object of a body, whatever its content type says. Raises InvalidCallError."""
    body = b"".join([chunk async for chunk in chunks(request, MOST_JSON)])
    if not body.strip() and not required:
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if body.strip() else "it is empty"
        raise InvalidCallError(f"We could not parse the JSON body of your request ({where}).") from None
    if not isinstance(found, dict):
        raise InvalidCallError("The JSON body must be an object.")
    return found


def limit_of(request: Request, most: int, default: int) -> int:
    """The `limit` of a query. Raises InvalidCallError."""
    text = request.query_params.get("limit")
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= most or len(text) > 9:
        raise InvalidCallError(f"limit must be a whole number from 1 to {most:,}.", param="limit")
    return int(text)


def page(data: list[dict[str, Any]], more: bool) -> Json:
    """OpenAI's list object."""
    return Json(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": more,
        }
    )


__all__ = ["ClientDisconnect", "Json", "answer_of", "chunks", "error_answer", "json_body", "limit_of", "page"]
