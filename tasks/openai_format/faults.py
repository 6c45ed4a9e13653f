"""Why a strict reader refuses a JSON text: named by its place, and never by quoting it."""

import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

#: A request may nest so deep. Twice of it, and what a record adds around, is still within what every reader on the
#: way takes: ours stop at about 900 levels, less what the call stack holds.
MAX_DEPTH: Final = 200

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
#: What a field may be called to be named; other keys, and those below these fields, are the user's own words.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_OPEN: Final = frozenset({"parameters", "schema", "metadata", "logit_bias"})
#: Python reads no longer integers; nothing needs them.
_MOST_DIGITS: Final = 4300

NOT_JSON: Final = "is not parseable as valid JSON"
HALF_PAIR: Final = "holds half of a surrogate pair, which is no character: repair the text"
NO_NUMBER: Final = "holds a number that JSON or a 64-bit float cannot hold"


def fault_of(text: str | bytes) -> tuple[str | None, str | None]:
    """The place of what is wrong, as far as it has a name, and what it is; nothing where it is JSON as it should be."""
    try:
        # Not as bytes, of which Python guesses the encoding.
        value = json.loads(text if isinstance(text, str) else text.decode(), parse_int=_integer)
    except RecursionError:
        return None, "nests JSON too deeply"
    except ValueError:
        return None, NOT_JSON
    for place, found in _leaves(value):
        if isinstance(found, float) and not math.isfinite(found):
            return place, NO_NUMBER
        if isinstance(found, str) and _SURROGATE.search(found):
            return place, HALF_PAIR
    return None, None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


def _leaves(value: Any) -> Iterator[tuple[str | None, Any]]:
    """All keys and values that hold no others, in order, with their places. It does not recurse."""
    stack: list[tuple[str, bool, Any]] = [("", True, value)]
    while stack:
        place, open_, value = stack.pop()
        inner: list[tuple[str, bool, Any]] = []
        if isinstance(value, dict):
            for key, item in value.items():
                named = open_ and bool(_NAME.fullmatch(key))
                inner.append((place, False, key))
                inner.append((f"{place}.{key}" if named else place, named and key not in _OPEN, item))
        elif isinstance(value, list):
            inner += [(f"{place}[{number}]" if open_ else place, open_, item) for number, item in enumerate(value)]
        else:
            yield place.removeprefix(".") or None, value
        stack += reversed(inner)


def nests_too_deeply(text: bytes) -> bool:
    """Whether a valid JSON text nests deeper than MAX_DEPTH."""
    if len(text) <= MAX_DEPTH:
        return False
    # To see what is left without them is many times faster than to count them.
    if 2 * len(text) - len(text.replace(b"{", b"")) - len(text.replace(b"[", b"")) <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(_STEPS[bracket] for bracket in brackets), default=0) > MAX_DEPTH


#: The custom_id of a line that begins with it.
_FIRST_ID: Final = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*,')


def first_custom_id(line: bytes) -> str | None:
    """The custom_id that a line begins with, whatever follows: of one that is cut off, or that cannot be read."""
    found = _FIRST_ID.match(line)
    try:
        value = json.loads(found[1]) if found else ""
        value.encode()
    except ValueError:
        return None
    return value or None
