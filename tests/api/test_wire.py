"""Errors in OpenAI's envelope, and what queries and lists look like."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deployments.api.wire import SlowBodyError, answer_of, error_answer, limit_of, page
from tasks.api.errors import (
    CallError,
    ConflictError,
    ForbiddenError,
    InvalidCallError,
    NotFoundError,
    TooLargeError,
    TooManyError,
)
from tasks.errors import ConfigurationError, PipelineError, TransientError


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (InvalidCallError("no", "param", "a_code"), 400, "invalid_request_error", "a_code"),
        (ForbiddenError("no"), 403, "permission_error", None),
        (NotFoundError("no"), 404, "invalid_request_error", None),
        (ConflictError("no"), 409, "invalid_request_error", None),
        (TooLargeError("no"), 413, "invalid_request_error", None),
        (TooManyError("no"), 429, "rate_limit_error", None),
        (SlowBodyError("no"), 408, "invalid_request_error", None),
        (HTTPException(404), 404, "invalid_request_error", None),
        (HTTPException(405), 405, "invalid_request_error", None),
        (TransientError("bucket-1 is slow"), 503, "server_error", "service_unavailable"),
        (ConfigurationError("role x may not"), 500, "server_error", "storage_error"),
        (PipelineError("s3://bucket-1/x"), 500, "server_error", "storage_error"),
        (ZeroDivisionError("secret"), 500, "server_error", "internal_error"),
    ],
)
def test_each_error_has_its_status_and_the_whole_envelope(
    error: Exception, status: int, kind: str, code: str | None
) -> None:
    answer = answer_of(error)
    found = json.loads(bytes(answer.body))["error"]
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status_code, found["type"], found["code"]) == (status, kind, code)
    assert set(found) == {"message", "type", "param", "code"}
    assert found["param"] == (error.param if isinstance(error, CallError) else None)
    if status >= 500:
        assert str(error) not in found["message"], "what is not the caller's fault is told by the request id alone"


def test_what_clients_do_next_is_in_the_headers() -> None:
    assert error_answer(409, "x").headers["x-should-retry"] == "false"
    assert error_answer(429, "x").headers["retry-after"] == "5"
    assert error_answer(503, "x", headers={"retry-after": "60"}).headers["retry-after"] == "60"
    assert answer_of(SlowBodyError("x")).headers["connection"] == "close"
    assert "retry-after" not in error_answer(400, "x").headers
    assert answer_of(HTTPException(405, headers={"allow": "GET"})).headers["allow"] == "GET"


def asked(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": query.encode()})


@pytest.mark.parametrize(("query", "limit"), [("", 20), ("limit=1", 1), ("limit=100", 100), ("limit=0007", 7)])
def test_limits(query: str, limit: int) -> None:
    assert limit_of(asked(query), 100, 20) == limit


@pytest.mark.parametrize(
    "text", ["0", "101", "-1", "x", "", "1.5", "%D9%A1", "9" * 5000, "1e1", "%2B5", "000000001999"]
)
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(InvalidCallError, match="from 1 to 100") as caught:
        limit_of(asked(f"limit={text}"), 100, 20)
    assert caught.value.param == "limit"


def test_a_page_names_its_ends() -> None:
    full: dict[str, Any] = json.loads(bytes(page([{"id": "a"}, {"id": "b"}], True).body))
    assert (full["object"], full["first_id"], full["last_id"], full["has_more"]) == ("list", "a", "b", True)
    empty = json.loads(bytes(page([], False).body))
    assert (empty["data"], empty["first_id"], empty["last_id"], empty["has_more"]) == ([], None, None, False)
