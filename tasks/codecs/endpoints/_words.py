"""What an endpoint calls the fields that families and shared parts name in the words of chat completions."""

import re
from typing import Final

from tasks.codecs.base import RequestError

#: Beginnings of names, in order: a pattern, and what stands in its place.
Words = tuple[tuple[re.Pattern[str], str], ...]

_INDEX: Final = r"(\[\d*\])"


def words(*pairs: tuple[str, str]) -> Words:
    """Pairs of a beginning and what stands for it; each `[]` keeps its index."""
    return tuple(
        (re.compile(re.escape(ours).replace(r"\[\]", _INDEX) + r"(?!\w)"), _with_indexes(theirs))
        for ours, theirs in pairs
    )


def _with_indexes(name: str) -> str:
    parts = name.split("[]")
    return parts[0] + "".join(rf"\{number}{part}" for number, part in enumerate(parts[1:], 1))


def renamed(name: str, words: Words) -> str:
    for ours, theirs in words:
        if found := ours.match(name):
            return found.expand(theirs) + name[found.end() :]
    return name


def in_words(error: RequestError, words: Words) -> RequestError:
    """The error in an endpoint's words; the same one where they are chat's."""
    if error.param is None or (param := renamed(error.param, words)) == error.param:
        return error
    return RequestError(error.message.replace(f"'{error.param}'", f"'{param}'", 1), param, error.code)


def counted_in(counts: dict[str, int], words: Words) -> dict[str, int]:
    """Counts by name, with an endpoint's names."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        own = renamed(name, words)
        found[own] = found.get(own, 0) + count
    return found
