"""Lines of an OpenAI batch input file, and what can be wrong with one.

Source: https://platform.openai.com/docs/guides/batch (input format) and the error codes that OpenAI puts
into a failed batch's `errors.data[]`.
"""

from typing import Any, Final

import msgspec

from tasks.openai_format.faults import NOT_JSON, fault_of, first_custom_id

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"
EMBEDDINGS: Final = "/v1/embeddings"

#: Every endpoint OpenAI's batches know; a model family serves some of them.
KNOWN_ENDPOINTS: Final = frozenset(
    {
        CHAT,
        COMPLETIONS,
        RESPONSES,
        EMBEDDINGS,
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    }
)

#: The body field without which a request of that endpoint means nothing.
REQUIRED_BODY_FIELD: Final = {CHAT: "messages", COMPLETIONS: "prompt", RESPONSES: "input", EMBEDDINGS: "input"}

#: InvokeModel takes at most 25,000,000 bytes of body (botocore bedrock-runtime, shape `Body`); a longer line can
#: never be answered and is refused before it is held in memory.
MAX_LINE_BYTES: Final = 25_000_000


#: First bytes of a text that is surely not blank: no escape, no quote, and no lead byte of any Unicode white space.
SURELY_TEXT: Final = frozenset([*range(0x21, 0x7F), *range(0xC3, 0xE1), *range(0xE4, 0xF5)]) - {0x22, 0x5C}
#: Of texts that begin otherwise, the first two bytes that tell the same: an escaped quote or slash, and the lead bytes
#: of white space (U+0085, U+00A0, U+1680, U+2000 to U+205F, U+3000) where something else follows.
SURELY_TEXT_PAIRS: Final = frozenset(
    [b'\\"', b"\\\\", b"\\/"]
    + [
        bytes([lead, second])
        for lead, blank in {0xC2: {0x85, 0xA0}, 0xE1: {0x9A}, 0xE2: {0x80, 0x81}, 0xE3: {0x80}}.items()
        for second in range(0x80, 0xC0)
        if second not in blank
    ]
)


class LineError(Exception):
    """What is wrong with one input line, in OpenAI's words: `code`, `param`, `message`."""

    def __init__(self, code: str, message: str, param: str | None = None, custom_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.custom_id = custom_id

    def __reduce__(self) -> tuple[type["LineError"], tuple[str | None, ...]]:
        return type(self), (self.code, self.message, self.param, self.custom_id)


# msgspec knows no `Raw | None`.
_ABSENT: Final = msgspec.Raw(b"")


class _Body(msgspec.Struct, gc=False):
    """The body fields that decide whether a line is valid; all others are scanned and left undecoded."""

    model: str | None = None
    messages: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    method: str
    url: str
    body: _Body


class Envelope(msgspec.Struct, gc=False):
    """A valid line: who asks, where, and for which model. The body stays in the line."""

    custom_id: str
    url: str
    model: str | None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_any = msgspec.json.Decoder(dict[str, Any], strict=True).decode


def canonical_endpoint(url: str) -> str:
    """`/v1/chat/completions` for that and for Azure's `/chat/completions`; other paths unchanged."""
    path = url.rstrip("/") if len(url) > 1 else url
    return path if path.startswith("/v1/") else f"/v1{path}" if f"/v1{path}" in KNOWN_ENDPOINTS else path


def check_line(line: bytes, endpoint: str | None, served: frozenset[str], model: str | None) -> Envelope:
    """Check one line against OpenAI's rules; `endpoint` and `model` are the batch's, None while unknown.

    Raises LineError with OpenAI's code. Uniqueness of custom_id is the caller's to check.
    """
    if len(line) > MAX_LINE_BYTES:
        raise LineError(
            "request_too_large",
            f"This line is longer than {MAX_LINE_BYTES:,} bytes, the most that Bedrock takes as a request.",
        )
    try:
        parsed = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _explain(line) from None
    if parsed.method != "POST" or not parsed.custom_id or parsed.url != endpoint:
        # Not the common case of a well-formed line with the batch's own url: look closer.
        _check_envelope(parsed, endpoint, served)
    body = parsed.body
    url = canonical_endpoint(parsed.url)
    required = REQUIRED_BODY_FIELD[url]
    value: msgspec.Raw = getattr(body, required)
    if len(memoryview(value)) < 5 and bytes(value) in (b"", b"null", b"[]"):
        raise LineError(
            "missing_required_parameter",
            f"Missing required parameter: 'body.{required}'.",
            f"body.{required}",
            parsed.custom_id,
        )
    if model is not None and body.model is not None and body.model != model:
        raise LineError(
            "mismatched_model",
            "All lines of a batch file must name the same model in 'body.model'; "
            "split the file by model, or make the field equal (the Bedrock model is chosen by the call).",
            "body.model",
            parsed.custom_id,
        )
    return Envelope(parsed.custom_id, url, body.model)


def _check_envelope(parsed: _Line, endpoint: str | None, served: frozenset[str]) -> None:
    if not parsed.custom_id:
        raise LineError("missing_required_parameter", "'custom_id' must not be empty.", "custom_id")
    if parsed.method != "POST":
        raise LineError("invalid_method", "'method' must be \"POST\".", "method", parsed.custom_id)
    url = canonical_endpoint(parsed.url)
    if url not in KNOWN_ENDPOINTS:
        raise LineError(
            "invalid_url",
            "'url' is not an endpoint of OpenAI's Batch API; use /v1/chat/completions.",
            "url",
            parsed.custom_id,
        )
    if endpoint is not None and url != endpoint:
        raise LineError(
            "mismatched_url",
            f"'url' is {url}, but the batch is for {endpoint}; one batch serves one endpoint.",
            "url",
            parsed.custom_id,
        )
    if url not in served:
        raise LineError(
            "invalid_url",
            f"{url} is not served by the chosen model; it serves {', '.join(sorted(served))}.",
            "url",
            parsed.custom_id,
        )


def _explain(line: bytes) -> LineError:
    """Find out what a line that did not decode lacks. Messages never quote the line."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return LineError("invalid_json_line", f"This line is not valid UTF-8 (byte {error.start + 1}); save as UTF-8.")
    try:
        value = _decode_any(line)
    except RecursionError:
        return LineError("invalid_json_line", "This line nests JSON too deeply.")
    except msgspec.DecodeError as error:
        place, why = fault_of(line)
        if place is None and isinstance(error, msgspec.ValidationError):
            return LineError("invalid_json_line", "This line is not a JSON object.")
        what = f"'{place}' {why}" if place else f"This line {why or NOT_JSON}"
        return LineError("invalid_json_line", f"{what} ({error}).", place)
    custom_id = value.get("custom_id")
    known_id = custom_id if isinstance(custom_id, str) and custom_id else None
    for field, kind, name in (
        ("custom_id", str, "a string"),
        ("method", str, "a string"),
        ("url", str, "a string"),
        ("body", dict, "an object"),
    ):
        if value.get(field) is None:
            return LineError("missing_required_parameter", f"Missing required parameter: '{field}'.", field, known_id)
        if not isinstance(value[field], kind):
            return LineError("invalid_type", f"'{field}' must be {name}.", field, known_id)
    model = value["body"].get("model")
    if model is not None and not isinstance(model, str):
        return LineError("invalid_type", "'body.model' must be a string.", "body.model", known_id)
    return LineError("invalid_json_line", "This line is not a usable batch request.", None, known_id)


def custom_id_of(line: bytes) -> str | None:
    """The custom_id of a line, if there is one to be read; of a line that is no JSON, one that it begins with."""
    try:
        value = msgspec.json.decode(line, type=_OnlyId).custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return first_custom_id(line)
    return value if isinstance(value, str) and value else None


class _OnlyId(msgspec.Struct, gc=False):
    custom_id: Any = None
