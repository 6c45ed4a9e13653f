"""Lines of a Bedrock batch output file (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html)."""

from typing import Any

import msgspec


class RecordError(msgspec.Struct, frozen=True, gc=False):
    """Why one record has no answer: an HTTP-like status and Bedrock's message."""

    status: int
    message: str
    expired: bool = False

    @property
    def passing(self) -> bool:
        """Whether the same record may be answered later: throttled, timed out, expired, or the service's own fault."""
        return self.expired or self.status in (408, 429) or self.status >= 500


class OutputRecord(msgspec.Struct, gc=False):
    """One output line: `modelOutput`, still undecoded, or an error."""

    record_id: str
    output: bytes | None
    error: RecordError | None


_NOTHING = (b"", b"null")
# msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"")


class _Line(msgspec.Struct, rename="camel", gc=False):
    record_id: str
    model_output: msgspec.Raw = _ABSENT
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


def decode_output_line(line: bytes) -> OutputRecord:
    """Read one line; `modelInput`, which Bedrock echoes, is scanned and left undecoded. Raises ValueError."""
    try:
        parsed = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an output record ({type(error).__name__})") from None
    if parsed.error is not None:
        return OutputRecord(parsed.record_id, None, _read_error(parsed.error))
    output = bytes(parsed.model_output)
    if output in _NOTHING:
        return OutputRecord(parsed.record_id, None, RecordError(500, "Bedrock returned neither output nor error."))
    return OutputRecord(parsed.record_id, output, None)


def _read_error(error: Any) -> RecordError:
    if not isinstance(error, dict):
        return RecordError(500, str(error))
    code = error.get("errorCode")
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 500
    message = error.get("errorMessage")
    return RecordError(
        status, str(message) if message else f"Bedrock reported error {code}.", bool(error.get("expired"))
    )


def encode_error_line(record_id: str, status: int, message: str) -> bytes:
    """An output line with an error, as Bedrock's jobs write it: for answers obtained on demand."""
    return msgspec.json.encode({"recordId": record_id, "error": {"errorCode": status, "errorMessage": message}}) + b"\n"


def encode_output_line(record_id: str, model_output: bytes) -> bytes:
    """An output line with an answer, as Bedrock's jobs write it: for answers obtained on demand."""
    if b"\n" in model_output:
        model_output = msgspec.json.encode(msgspec.json.decode(model_output))
    return msgspec.json.encode({"recordId": record_id, "modelOutput": msgspec.Raw(model_output)}) + b"\n"
