"""Ids that sort by time, and keys that sort by it backwards.

`batch_` and `file-` ids are 12 hex digits of milliseconds since 1970 and 20 random ones. A key has the complement of
them: a page of the newest is one listing of S3 from the key of `after` on, without an index or a cursor's state.
"""

import re
import secrets
import time

_TIME_DIGITS, _DIGITS = 12, 32
_LAST = (1 << (4 * _DIGITS)) - 1
#: What may follow the digits of a file's id: the result files of a batch are named by it.
RESULTS = ("output", "errors")
_FORMS = {
    "batch": re.compile(r"batch_([0-9a-f]{32})()"),
    "file": re.compile(r"file-([0-9a-f]{32})(-output|-errors|)"),
    "upload": re.compile(r"upload_([0-9a-f]{32})()"),
    "part": re.compile(r"part_([0-9a-f]{32})()"),
}
_STARTS = {"batch": "batch_", "file": "file-", "upload": "upload_", "part": "part_"}


def new_id(kind: str, now: float | None = None) -> str:
    """A new id of a kind: batch, file, upload or part."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    return f"{_STARTS[kind]}{milliseconds:0{_TIME_DIGITS}x}{secrets.token_hex((_DIGITS - _TIME_DIGITS) // 2)}"


def is_id(kind: str, text: str) -> bool:
    """Whether a text has the form of such an id. Nothing else ever becomes part of a key."""
    return _FORMS[kind].fullmatch(text) is not None


def seconds_of(identifier: str) -> int:
    """When an id was made, in Unix seconds."""
    found = re.search(r"[-_]([0-9a-f]{12})", identifier)
    assert found
    return int(found[1], 16) // 1000


def key_of(kind: str, identifier: str) -> str:
    """The key of an id: the later it was made, the earlier it is in the order of keys."""
    found = _FORMS[kind].fullmatch(identifier)
    assert found, identifier
    return f"{_LAST - int(found[1], 16):0{_DIGITS}x}{found[2]}"


def id_of(kind: str, key: str) -> str | None:
    """The id of a key; None where it is none of ours."""
    identifier = _STARTS[kind] + key
    if not is_id(kind, identifier):
        return None
    return f"{_STARTS[kind]}{_LAST - int(key[:_DIGITS], 16):0{_DIGITS}x}{key[_DIGITS:]}"


def result_file_id(batch_id: str, which: str) -> str:
    """The id of a batch's `output` or `errors` file."""
    return f"file-{batch_id.removeprefix('batch_')}-{which}"
