"""Lines of a Bedrock batch output file (https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html).

What came for a record is kept as it came, and read afterwards: whatever its bytes are, they are this record's outcome,
and no other's. Nothing here raises for what a model, a proxy or the service wrote, `decode_output_line` excepted.
"""

import base64
import binascii
import re
from typing import Final

import msgspec
import numpy as np

from tasks.bedrock.surrogates import LONE, without_lone_surrogates


class RecordError(msgspec.Struct, frozen=True, gc=False):
    """Why one record has no answer: an HTTP-like status and Bedrock's message."""

    status: int
    message: str
    expired: bool = False
    #: Something came, and it cannot be read: it was paid for, and is not asked again.
    unreadable: bool = False

    @property
    def passing(self) -> bool:
        """Whether the same record may be answered later: throttled, timed out, expired, or the service's own fault."""
        return not self.unreadable and (self.expired or self.status in (408, 429) or self.status >= 500)


_LINE_END = ord("\n")
_NOTHING = (b"", b"null")
# msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"")
#: Of an error that is no text, so much is shown.
_SHOWN = 200
#: An error that has no status of HTTP's, as OpenAI's clients know them.
_NO_STATUS: Final = 500


class OutputRecord(msgspec.Struct, rename="camel", gc=False):
    """One output line; `modelInput`, which Bedrock echoes, is scanned and left out.

    The values are undecoded, and not to be kept: they hold on to the bytes around them.
    """

    record_id: str
    model_output: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    #: In base64: a reply on demand whose bytes cannot stand in a line.
    reply: str | None = None
    #: Why the line says nothing more than whose it is.
    unreadable: str | None = None

    @property
    def has_error(self) -> bool:
        return self.error is not _ABSENT and bytes(self.error) not in _NOTHING

    @property
    def outcome(self) -> "bytes | RecordError":
        """`modelOutput`, or why there is none."""
        if self.unreadable is not None:
            return _unreadable(self.unreadable)
        if self.has_error:
            return _read_error(bytes(self.error))
        if self.reply is not None:
            return _read_reply(self.reply)
        output = bytes(self.model_output)
        return RecordError(500, "Bedrock returned neither output nor error.") if output in _NOTHING else output


_decoder = msgspec.json.Decoder(OutputRecord)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_output_line(line: bytes) -> OutputRecord:
    """Read one line. Raises ValueError where it is nobody's.

    Lone surrogates in it become U+FFFD. What cannot be read, but says whose it is, is that record's.
    """
    try:
        return _decoder.decode(line)
    except _UNREADABLE as error:
        why = type(error).__name__
    repaired = without_lone_surrogates(line)
    if repaired is not None:
        try:
            return _decoder.decode(repaired)
        except _UNREADABLE:
            pass
    record_id = _record_id_of(line)
    if record_id is None:
        raise ValueError(f"not an output record ({why})")
    return OutputRecord(record_id, unreadable=f"its line of {len(line):,} bytes in the job's output is no JSON")


def decode_output_lines(data: bytes) -> tuple[list[OutputRecord], int]:
    """Read lines, and count those that are nobody's; blank ones are skipped."""
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


#: What gives a line its structure: strings, brackets around them, and the quote of a string that does not end.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]"]', re.DOTALL)
_ID_VALUE = re.compile(rb'\s*:\s*"([^"\\]{1,80})"')
#: At the end of a whole line, where AWS's examples of Converse have it, whatever stands before.
_ID_LAST = re.compile(rb'[,{]\s*"recordId"\s*:\s*"([^"\\]{1,80})"\s*\}\s*\Z')


def _record_id_of(line: bytes) -> str | None:
    """The recordId of a line that is no JSON: a key of the line itself, not of what a prompt or an answer holds."""
    depth = 0
    found = None
    for token in _TOKEN.finditer(line):
        mark = token[0]
        if mark == b'"':
            break
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
        elif depth == 1 and mark == b'"recordId"':
            found = _ID_VALUE.match(line, token.end())
            break
    # What is no JSON may have brackets that do not match.
    found = found or _ID_LAST.search(line)
    return found[1].decode("utf-8", "replace") if found else None


class _Error(msgspec.Struct, rename="camel", gc=False):
    error_code: msgspec.Raw = _ABSENT
    error_message: msgspec.Raw = _ABSENT
    expired: msgspec.Raw = _ABSENT


_decode_error = msgspec.json.Decoder(_Error).decode
_decode_text = msgspec.json.Decoder(str).decode
_STATUS = re.compile(rb'"?([45][0-9]{2})(?:\.0+)?"?')


def _read_error(error: bytes) -> RecordError:
    """Bedrock's error, whatever its parts are: a number of any size, or an object where a text belongs."""
    try:
        parts = _decode_error(error)
    except _UNREADABLE:
        return RecordError(_NO_STATUS, _text_of(error))
    code, message = bytes(parts.error_code), bytes(parts.error_message)
    status = _STATUS.fullmatch(code)
    said = "" if message in _NOTHING else _text_of(message)
    return RecordError(
        int(status[1]) if status else _NO_STATUS,
        said or f"Bedrock reported error {_text_of(code) if code else None}.",
        bytes(parts.expired) not in (*_NOTHING, b"false"),
    )


def _text_of(value: bytes) -> str:
    """A JSON string's text; the beginning of any other value as it is written."""
    try:
        return _decode_text(without_lone_surrogates(value) or value)
    except _UNREADABLE:
        return value[:_SHOWN].decode("utf-8", "replace")


def _read_reply(reply: str) -> "bytes | RecordError":
    try:
        data = base64.b64decode(reply, validate=True)
    except binascii.Error:
        data = b""
    data = without_lone_surrogates(data) or data
    return data if _is_json(data) else _unreadable(f"a reply of {len(data):,} bytes that is no JSON")


def _unreadable(why: str) -> RecordError:
    return RecordError(502, f"The model's output cannot be read: {why}", unreadable=True)


_check = msgspec.json.Decoder(msgspec.Raw).decode


def _is_json(data: bytes) -> bool:
    """Whether some bytes are one JSON value, in UTF-8, that says anything."""
    try:
        data.decode()
        return bytes(_check(data)) not in _NOTHING
    except _UNREADABLE:
        return False


def encode_error_line(record_id: str, status: int, message: str) -> bytes:
    """An output line with an error, as Bedrock's jobs write it: for answers obtained on demand."""
    error = {"errorCode": status, "errorMessage": LONE.sub("\ufffd", message)}
    return msgspec.json.encode({"recordId": record_id, "error": error}) + b"\n"


def encode_output_line(record_id: str, reply: bytes) -> bytes:
    """An output line with an answer, as Bedrock's jobs write it: for answers obtained on demand.

    Of any bytes: those that are no JSON are kept as they came, for `outcome` to say so.
    """
    if not _is_json(reply):
        return msgspec.json.encode({"recordId": record_id, "reply": reply}) + b"\n"
    # Between tokens only: in a string they would be no JSON.
    output = reply.replace(b"\n", b" ").replace(b"\r", b" ")
    return msgspec.json.encode({"recordId": record_id, "modelOutput": msgspec.Raw(output)}) + b"\n"
