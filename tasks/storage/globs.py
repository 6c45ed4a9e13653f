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
    if not parts or not names:
        return not parts and not names
    first, rest = parts[0], parts[1:]
    if first != _ANY_FOLDERS:
        return _is(names[0], first) and _fits(rest, names[1:])
    if not rest:
        return all(map(_is_shown, names))
    if rest[0] == _ANY_FOLDERS:
        return _fits(rest, names)
    # No folder, one, or more of them; of the hidden ones none.
    return _fits(rest, names) or (_is_shown(names[0]) and _fits(parts, names[1:]))


def _is(name: str, part: str) -> bool:
    return (_is_shown(name) or part.startswith(".")) and fnmatch.fnmatchcase(name, part) and bool(name or not part)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")
