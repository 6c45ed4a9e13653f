"""Lines of a Bedrock batch output file (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html)."""

from typing import Any

import msgspec
import numpy as np


class RecordError(msgspec.Struct, frozen=True, gc=False):
    """Why one record has no answer: an HTTP-like status and Bedrock's message."""

    status: int
    message: str
    expired: bool = False

    @property
    def passing(self) -> bool:
        """Whether the same record may be answered later: throttled, timed out, expired, or the service's own fault."""
        return self.expired or self.status in (408, 429) or self.status >= 500


_LINE_END = ord("\n")
_NOTHING = (b"", b"null")
# msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"")


class OutputRecord(msgspec.Struct, rename="camel", gc=False):
    """One output line; `modelInput`, which Bedrock echoes, is scanned and left out."""

    record_id: str
    #: Undecoded, and not to be kept: it holds on to the bytes around it.
    model_output: msgspec.Raw = _ABSENT
    error: Any = None

    @property
    def outcome(self) -> "bytes | RecordError":
        """`modelOutput`, or why there is none."""
        if self.error is not None:
            return _read_error(self.error)
        output = bytes(self.model_output)
        return RecordError(500, "Bedrock returned neither output nor error.") if output in _NOTHING else output


_decoder = msgspec.json.Decoder(OutputRecord)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_output_line(line: bytes) -> OutputRecord:
    """Read one line. Raises ValueError."""
    try:
        return _decoder.decode(line)
    except _UNREADABLE as error:
        raise ValueError(f"not an output record ({type(error).__name__})") from None


def decode_output_lines(data: bytes) -> tuple[list[OutputRecord], int]:
    """Read lines, and count those that cannot be read; blank ones are skipped."""
    try:
        records = _decoder.decode_lines(data)
    except _UNREADABLE:
        records = []
    # decode_lines takes one value after the other, wherever the line ends are.
    ends = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _LINE_END))
    if len(records) == ends + (not data.endswith(b"\n")):
        return records, 0
    records, unreadable = [], 0
    for line in data.split(b"\n"):
        if line and not line.isspace():
            try:
                records.append(decode_output_line(line))
            except ValueError:
                unreadable += 1
    return records, unreadable


def _read_error(error: Any) -> RecordError:
    if not isinstance(error, dict):
        return RecordError(500, str(error))
    code = error.get("errorCode")
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()) else 500
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
