"""moto's S3 with AWS's bad days: throttled, down, out of reach, cut off in the middle, or tired of a credential."""

from collections.abc import Callable, Iterable
from typing import Any

from deployments.sandbox.faults import Faults, Journal

#: The imitation's own S3 calls carry this access key and meet no faults.
OWN_KEY = "imitation"
_ERRORS = {
    "SlowDown": ("503 Slow Down", "Please reduce your request rate."),
    "InternalError": ("500 Internal Server Error", "We encountered an internal error. Please try again."),
    "ExpiredToken": ("400 Bad Request", "The provided token has expired."),
}


class FaultyS3:
    """WSGI middleware around moto."""

    def __init__(self, application: Callable[..., Iterable[bytes]], faults: Faults, journal: Journal) -> None:
        self._application, self._faults, self._journal = application, faults, journal

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if f"Credential={OWN_KEY}/" in environ.get("HTTP_AUTHORIZATION", ""):
            return self._application(environ, start_response)
        self._journal.call("S3")
        if self._faults.happens("s3_drop"):
            raise ConnectionAbortedError("connection reset")
        if self._faults.get("expired_token"):
            return _refuse("ExpiredToken", environ, start_response)
        if self._faults.happens("s3_throttle"):
            return _refuse("SlowDown", environ, start_response)
        if self._faults.happens("s3_error"):
            return _refuse("InternalError", environ, start_response)
        reply = self._application(environ, start_response)
        if environ["REQUEST_METHOD"] == "GET" and self._faults.happens("s3_truncate"):
            # The headers still promise all of it.
            body = b"".join(reply)
            return [body[: len(body) // 2]]
        return reply


def _refuse(code: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, message = _ERRORS[code]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length:
        environ["wsgi.input"].read(length)
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
