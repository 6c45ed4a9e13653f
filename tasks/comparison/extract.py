"""How an answer is read out of a longer text: `extract`, and a scorer of the user's own."""

import importlib
import inspect
import math
import re
from collections import deque
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from tasks.comparison.equality import unwrapped
from tasks.errors import ConfigurationError

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])", re.ASCII)
_FENCED = re.compile(r"```[\w+.#-]*[ \t]*\n(.*?)```", re.S)
_SCORED = ("answer", "reference", "request", "custom_id")
_FORMS = (
    'extract must be "includes", "last_number", {"regex": "…"}, {"json": "path.to.label"} or {"scorer": '
    '"package.module:function"}, with "tolerance" (0.01 or "1%") where numbers are compared'
)

Scorer = Callable[..., Any]


class Extract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of an answer is compared; nothing named, all of it."""

    includes: bool = False
    last_number: bool = False
    regex: str | None = None
    json: str | None = None
    scorer: str | None = None
    #: Numbers that differ by no more are equal: an amount, or a share such as "1%".
    tolerance: float | str | None = None


class Reader:
    """Reads answers as an `Extract` says."""

    def __init__(self, extract: Extract | None = None) -> None:
        self.extract = extract or Extract()
        self._pattern = re.compile(self.extract.regex) if self.extract.regex is not None else None
        self._path: Any = jmespath.compile(_path(self.extract.json)) if self.extract.json is not None else None
        self.scorer = _scorer(self.extract.scorer) if self.extract.scorer is not None else None
        self._absolute, self._relative = _tolerance(self.extract.tolerance)

    def read(self, answer: str) -> str | None:
        """What of an answer is compared; None where it is not there."""
        if self.extract.last_number:
            numbers = _NUMBER.findall(answer)
            return _plain(numbers[-1]) if numbers else None
        if self._pattern is not None:
            # The last one: models think first, and answer then.
            found = deque(self._pattern.finditer(answer), maxlen=1)
            if not found:
                return None
            # The first group that took part: "Answer: (A)|Option (B)".
            return next((each for each in found[0].groups() if each is not None), found[0][0])
        if self._path is not None:
            return self._at_path(answer)
        return answer

    def _at_path(self, answer: str) -> str | None:
        fenced = _FENCED.findall(answer)
        for text in (unwrapped(answer), *fenced[-1:]):
            try:
                value = self._path.search(msgspec.json.decode(text.encode("utf-8", "surrogatepass")))
            except (msgspec.DecodeError, UnicodeError, RecursionError, JMESPathError):
                continue
            return None if value is None else as_text(value)
        return None

    def close(self, text: str, reference: str) -> bool:
        """Whether both are numbers that are equal within the tolerance."""
        if not (self._absolute or self._relative):
            return False
        one, other = _float(text), _float(reference)
        if one is None or other is None:
            return False
        return abs(one - other) <= max(self._absolute, self._relative * abs(other)) * (1 + 1e-12)


def as_text(value: Any) -> str:
    """A value out of JSON or a table as the text of a label."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        # A column of days is one of midnights.
        return str(value.date() if value.time() == time() and value.tzinfo is None else value)
    if isinstance(value, date | time | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)


def read_extract(extract: str | dict[str, Any] | None) -> Extract | None:
    """What a call says of reading answers. Raises ConfigurationError."""
    if extract is None:
        return None
    given: Any = {extract: True} if extract in ("includes", "last_number") else extract
    try:
        if isinstance(given, str) and given.lstrip().startswith("{"):
            # From the command line and from Prefect's form.
            given = msgspec.json.decode(given)
        if not isinstance(given, dict):
            raise ValueError(f"not {str(extract)[:80]!r}")
        found = msgspec.convert(given, Extract)
        ways = [name for name in ("includes", "last_number", "regex", "json", "scorer") if getattr(found, name)]
        if len(ways) > 1 or not (ways or found.tolerance is not None):
            raise ValueError("it must name one way")
        Reader(found)
    except (msgspec.DecodeError, ValueError, re.error, JMESPathError) as error:
        raise ConfigurationError(f"{_FORMS}: {error}.") from None
    return found


def _path(text: str) -> str:
    # JSONPath's root is JMESPath's beginning.
    return text.removeprefix("$.") or "@"


def _scorer(name: str) -> Scorer:
    """The function that a name such as "package.module:function" stands for.

    It must take `answer` and `reference` by these names: no function that was not meant as a scorer is ever called.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f'scorer {name[:120]!r} cannot be imported ({error}): name it "package.module:function", importable where '
            "the flow runs."
        ) from None
    if not inspect.isfunction(found) or not {"answer", "reference"} <= set(inspect.signature(found).parameters):
        raise ConfigurationError(f"scorer {name[:120]!r} must be a Python function of `answer` and `reference`.")
    return found


def score(scorer: Scorer, answer: str, reference: str | tuple[str, ...], request: str, custom_id: str) -> float:
    """What a scorer says of one answer: from 0 (wrong) to 1 (right). Raises ConfigurationError for anything else."""
    values = (answer, reference, request, custom_id)
    taken = inspect.signature(scorer).parameters
    try:
        said = scorer(**{name: value for name, value in zip(_SCORED, values, strict=True) if name in taken})
        # A text that is a number by chance is no score.
        found = math.nan if isinstance(said, str | bytes) else float(said)
    except Exception as error:
        # The error's text may be the answer's.
        raise ConfigurationError(
            f"The scorer {scorer.__module__}:{scorer.__name__} failed with {type(error).__name__} on request "
            f"{custom_id!r}."
        ) from error
    if not 0 <= found <= 1:
        raise ConfigurationError(f"The scorer {scorer.__module__}:{scorer.__name__} must return True, False or 0 to 1.")
    return found


def _tolerance(tolerance: float | str | None) -> tuple[float, float]:
    if tolerance is None:
        return 0.0, 0.0
    relative = isinstance(tolerance, str) and tolerance.strip().endswith("%")
    value = float(tolerance.strip().rstrip("%")) / 100 if relative else float(tolerance)  # type: ignore[union-attr]
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError("tolerance must be a number that is not negative")
    return (0.0, value) if relative else (value, 0.0)


def _plain(number: str) -> str:
    return number.replace(",", "").replace("−", "-")


def _float(text: str) -> float | None:
    try:
        value = float(_plain(unwrapped(text).rstrip(".").lstrip("$€£").removesuffix("%").strip()))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
