"""Equal mistakes of many lines told once: how many lines, and where the first of them stands."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from tasks.support.words import counted, cut

#: So many kinds are told apart; what comes after is counted together.
_MOST_KINDS: Final = 200
_MESSAGE_CHARACTERS: Final = 300
#: What differs between mistakes of one kind: counts, sizes, positions.
_NUMBERS: Final = re.compile(r"\d[\d,.]*")


class Cause(msgspec.Struct):
    """One kind of mistake. `message` is that of the first line that has it."""

    code: str
    message: str
    param: str | None
    lines: int
    first_line: int
    file: str

    def __str__(self) -> str:
        return f"{counted(self.lines, 'line')}: {self.message.rstrip('.')}, first line {self.first_line:,}"


class Causes:
    """Counts mistakes by kind, in memory that is bounded whatever the lines say."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], Cause] = {}

    def add(self, code: str, message: str, param: str | None, line: int, file: str, lines: int = 1) -> None:
        """Count a mistake of a line; of the same kind is what differs in numbers only."""
        key = (code, _NUMBERS.sub("0", param or ""), _NUMBERS.sub("0", message))
        known = self._kinds.get(key)
        if known is None and len(self._kinds) >= _MOST_KINDS:
            key, message, param = ("other", "", ""), "other causes", None
            known = self._kinds.get(key)
        if known is None:
            self._kinds[key] = Cause(code, cut(message, _MESSAGE_CHARACTERS), param, lines, line, file)
        else:
            known.lines += lines

    def ranked(self) -> list[Cause]:
        """The kinds, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda cause: (-cause.lines, cause.first_line))


def listed(causes: Iterable[Cause], most: int) -> list[str]:
    """The first of some causes as sentences, and how many more there are."""
    every = list(causes)
    more = len(every) - most
    return [str(cause) for cause in every[:most]] + ([f"and {counted(more, 'more cause')}"] if more > 0 else [])
