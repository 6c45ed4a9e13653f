"""How often the requests of a batch had a field left out, by the field's name."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

#: What the name of a dropped field looks like, with a remark in brackets; how many of them are told apart.
_FIELD: Final = re.compile(r"[A-Za-z_][\w.$\[\]-]{0,99}(?: \([\w ]{1,40}\))?", re.ASCII)
_MOST_NAMES: Final = 200
_OTHER_FIELDS: Final = "other fields"


class DroppedFields:
    """Counts the fields that were left out of requests.

    Names come from requests, and go into batch.json, the log and the report: what is no name of a field, and more of
    them than anybody reads, is counted together.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, fields: Mapping[str, int], times: int = 1) -> None:
        """Count what so many requests left out, each of them as often as `fields` says."""
        counts = self._counts
        for name, count in fields.items():
            known = name in counts or (len(counts) < _MOST_NAMES and _FIELD.fullmatch(name))
            counts[name if known else _OTHER_FIELDS] += count * times

    def as_dict(self) -> dict[str, int]:
        return dict(self._counts)
