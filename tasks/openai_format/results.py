"""Lines of OpenAI's batch output and error files (https://platform.openai.com/docs/guides/batch, "output")."""

from typing import Any

import msgspec


class HttpError(msgspec.Struct, frozen=True, gc=False):
    """A request that was answered with an HTTP error, as OpenAI's API would have answered it."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


class RunError(msgspec.Struct, frozen=True, gc=False):
    """A request that was never answered: OpenAI's non-HTTP errors, such as `batch_expired`."""

    code: str
    message: str


class _Error(msgspec.Struct, gc=False):
    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(msgspec.Struct, gc=False):
    error: _Error


class _Response(msgspec.Struct, gc=False):
    status_code: int
    request_id: str
    body: Any


class ResultLine(msgspec.Struct, gc=False):
    id: str
    custom_id: str | None
    response: _Response | None
    error: RunError | None


_encode = msgspec.json.Encoder().encode

#: JSON may hold these as they are; but `str.splitlines()`, by which many a client cuts a file, ends a line at each.
#: (The other characters at which it does are escaped in any JSON.)
LINE_ENDS = ("\u0085", "\u2028", "\u2029")
#: In UTF-8: their first and last bytes, one of which few texts have, all of them, and the escape.
_ENCODED = [(end[:1], end[-1:], end, b"\\u%04x" % ord(end.decode())) for end in map(str.encode, LINE_ENDS)]


def escape_line_ends(encoded: bytes) -> bytes:
    """JSON without raw line ends of any kind: outside strings it has none of these characters."""
    for first, last, end, escaped in _ENCODED:
        # One byte is found many times faster than several.
        if last in encoded and first in encoded:
            encoded = encoded.replace(end, escaped)
    return encoded


_decode_error = msgspec.json.Decoder(HttpError).decode

#: OpenAI's error type for an HTTP status (https://platform.openai.com/docs/guides/error-codes).
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "server_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def error_type(status: int) -> str:
    return _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def http_error(status: int, message: str) -> HttpError:
    """The error of a record that Bedrock answered with `status`."""
    code = "rate_limit_exceeded" if status == 429 else None
    return HttpError(status, message, error_type(status), code)


def unreadable_output(message: str) -> HttpError:
    """The error of a record whose answer came, and was paid for, and cannot be read."""
    return HttpError(502, message, "server_error", "invalid_model_output")


def encode_error(error: HttpError) -> bytes:
    """For the index."""
    return _encode(error)


def decode_http_error(data: bytes) -> HttpError:
    return _decode_error(data)


#: Encoded JSON with gaps: bytes that stay, and names of what comes between them.
Frame = tuple[bytes | str, ...]


def answered_frame(key: bytes, body: Frame) -> Frame:
    """A line of the output file around the frame of a body; the gap `record` makes the id together with `key`."""
    return (
        b'{"id":"batch_req_' + key,
        "record",
        b'","custom_id":"',
        "custom_id",
        b'","response":{"status_code":200,"request_id":"req_' + key,
        "record",
        b'","body":',
        *body,
        b'},"error":null}\n',
    )


_ANSWERED = (
    b'{"id":"batch_req_%b","custom_id":%b,"response":{"status_code":200,"request_id":"req_%b","body":%b},'
    b'"error":null}\n'
)


def output_line(id: str, custom_id: str | None, body: bytes) -> bytes:
    """A line of the output file around an encoded body."""
    key = id.encode()
    return escape_line_ends(_ANSWERED % (key, _encode(custom_id), key, body))


def error_line(id: str, custom_id: str | None, error: HttpError | RunError) -> bytes:
    """A line of the error file."""
    if isinstance(error, RunError):
        line = ResultLine(f"batch_req_{id}", custom_id, None, error)
    else:
        body = _ErrorBody(_Error(error.message, error.type, error.param, error.code))
        line = ResultLine(f"batch_req_{id}", custom_id, _Response(error.status, f"req_{id}", body), None)
    return escape_line_ends(_encode(line)) + b"\n"
