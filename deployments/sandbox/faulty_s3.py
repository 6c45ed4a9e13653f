"""moto's S3 with AWS's bad days: throttled, down, out of reach, cut off in the middle, or tired of a credential.

And with bucket policies, another region and another owner. What AWS tells in more than one way, it tells in the less
helpful one: no reason to a HEAD request, and 403 for what is not there to a caller who may not list the whole bucket.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from deployments.sandbox.faults import Faults, Journal

#: The imitation's own S3 calls carry this access key and meet no faults.
OWN_KEY = "imitation"
_ERRORS = {
    "SlowDown": ("503 Slow Down", "Please reduce your request rate."),
    "InternalError": ("500 Internal Server Error", "We encountered an internal error. Please try again."),
    "ExpiredToken": ("400 Bad Request", "The provided token has expired."),
    "AccessDenied": ("403 Forbidden", "Access Denied"),
    "RequestTimeTooSkewed": (
        "403 Forbidden",
        "The difference between the request time and the current time is too large.",
    ),
    "SignatureDoesNotMatch": (
        "403 Forbidden",
        "The request signature we calculated does not match the signature you provided.",
    ),
    "InvalidAccessKeyId": ("403 Forbidden", "The AWS Access Key Id you provided does not exist in our records."),
    "PermanentRedirect": (
        "301 Moved Permanently",
        "The bucket you are attempting to access must be addressed using another endpoint.",
    ),
}
#: Operations on a bucket and on an object by method, and those that a query parameter makes of them.
_OPERATIONS = {
    ("HEAD", False): "HeadBucket",
    ("GET", False): "ListBucket",
    ("PUT", False): "CreateBucket",
    ("POST", False): "DeleteObject",
    ("DELETE", False): "DeleteBucket",
    ("HEAD", True): "HeadObject",
    ("GET", True): "GetObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
}
_BY_PARAMETER = {
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_WRITES = ("PutObject", "CreateMultipartUpload")
_READS = ("GetObject", "HeadObject")
_REGION = re.compile(r"Credential=[^/,]+/[0-9]+/([^/,]+)/")
_Headers = list[tuple[str, str]]


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
        operation, query = _operation(environ)
        refusal = self._refusal(environ, operation, query)
        if refusal:
            return self._refuse(refusal, environ, start_response)
        if operation in _READS and self._faults.get("s3_list_prefix") is not None:
            return self._hiding(environ, start_response)
        reply = self._application(environ, self._with_region(operation, start_response))
        if environ["REQUEST_METHOD"] == "GET" and self._faults.happens("s3_truncate"):
            # The headers still promise all of it.
            body = b"".join(reply)
            return [body[: len(body) // 2]]
        return reply

    def _refusal(self, environ: dict[str, Any], operation: str, query: dict[str, list[str]]) -> str | None:
        faults = self._faults
        if faults.get("expired_token"):
            return "ExpiredToken"
        if faults.get("s3_refused"):
            return str(faults.get("s3_refused"))
        if faults.happens("s3_throttle"):
            return "SlowDown"
        if faults.happens("s3_error"):
            return "InternalError"
        signed_for = _REGION.search(environ.get("HTTP_AUTHORIZATION", ""))
        region = faults.get("bucket_region")
        if region and signed_for and signed_for[1] != region:
            return "PermanentRedirect"
        expected = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER")
        return (
            "AccessDenied"
            if expected not in (None, faults.get("bucket_owner")) or self._denies(environ, operation, query)
            else None
        )

    def _denies(self, environ: dict[str, Any], operation: str, query: dict[str, list[str]]) -> bool:
        """Whether the bucket's policy, or the caller's, denies the operation."""
        prefix = self._faults.get("s3_list_prefix")
        if prefix is not None and operation in ("HeadBucket", "ListBucket"):
            # A condition on the prefix is not met by a request that has none.
            asked = query.get("prefix", [""])[0]
            if operation == "HeadBucket" or not f"{asked}/".startswith(prefix.rstrip("/") + "/"):
                return True
        if self._faults.get("s3_require_kms") and operation in _WRITES:
            return bool(environ.get("HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION") != "aws:kms")
        return operation in self._faults.get("s3_denied")

    def _with_region(self, operation: str, start_response: Callable[..., Any]) -> Callable[..., Any]:
        region = self._faults.get("bucket_region")
        if not region or operation != "HeadBucket":
            return start_response

        def start(status: str, headers: _Headers, *more: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() != "x-amz-bucket-region"]
            return start_response(status, [*kept, ("x-amz-bucket-region", region)], *more)

        return start

    def _hiding(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The reply to a read, with 403 in place of 404."""
        started: list[tuple[Any, ...]] = []
        reply = self._application(environ, lambda *arguments: started.append(arguments))
        body = b"".join(reply)
        if str(started[0][0]).startswith("404"):
            return self._refuse("AccessDenied", environ, start_response)
        start_response(*started[0])
        return [body]

    def _refuse(self, code: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, message = _ERRORS[code]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:
            environ["wsgi.input"].read(length)
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        if self._faults.get("bucket_region"):
            headers.append(("x-amz-bucket-region", self._faults.get("bucket_region")))
        start_response(status, headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _operation(environ: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """The S3 operation of a request with the bucket in its path, and its query."""
    method = environ["REQUEST_METHOD"]
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    for (of_method, parameter), operation in _BY_PARAMETER.items():
        if method == of_method and parameter in query:
            return operation, query
    has_key = "/" in environ.get("PATH_INFO", "").strip("/")
    return _OPERATIONS.get((method, has_key), method), query
