"""Which keys of S3 a pattern selects: those that Python's `glob` would select as local files, `**` included."""

import fnmatch
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_WILD: Final = re.compile(r"[*?]")
_WILD_OR_CLASS: Final = re.compile(r"[*?\[]")
_ANY_FOLDERS: Final = "**"


class Glob(NamedTuple):
    """One way to read a pattern."""

    #: What every key that it selects begins with.
    prefix: str
    #: The pattern between slashes, in the words of `fnmatch`.
    parts: tuple[str, ...]

    def selects(self, key: str) -> bool:
        return _fits(self.parts, key.split("/"))


def readings(pattern: str) -> Iterator[Glob]:
    """The ways to read a pattern, of which the first one that selects anything counts; none where nothing is wild.

    Brackets stand for themselves first, as a name that exists goes first, and for classes of characters after that.
    """
    parts = pattern.split("/")
    if wild := _WILD.search(pattern):
        yield Glob(pattern[: wild.start()], tuple(map(literal_brackets, parts)))
    if "[" in pattern and (wild := _WILD_OR_CLASS.search(pattern)):
        yield Glob(pattern[: wild.start()], tuple(parts))


def literal_brackets(pattern: str) -> str:
    """A pattern for `glob` whose brackets stand for themselves."""
    return pattern.replace("[", "[[]")


def _fits(parts: tuple[str, ...], names: list[str]) -> bool:
    """Whether the names of a path fit the parts of a pattern."""
    # How many of the parts the names so far may have used up.
    used = _with_no_folder({0}, parts)
    for name in names:
        following = set()
        for place in used:
            if place < len(parts) and parts[place] == _ANY_FOLDERS:
                # One more folder; or, at the end of the pattern, the file.
                following |= {place, place + 1} if _is_shown(name) else set()
            elif place < len(parts) and _is(name, parts[place]):
                following.add(place + 1)
        used = _with_no_folder(following, parts)
    return len(parts) in used


def _with_no_folder(used: set[int], parts: tuple[str, ...]) -> set[int]:
    """The same with each `**` left out too, but for one at the end: that stands for a file at least."""
    found = set(used)
    for place in range(len(parts) - 1):
        if place in found and parts[place] == _ANY_FOLDERS:
            found.add(place + 1)
    return found


def _is(name: str, part: str) -> bool:
    return (_is_shown(name) or part.startswith(".")) and fnmatch.fnmatchcase(name, part) and bool(name or not part)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")
