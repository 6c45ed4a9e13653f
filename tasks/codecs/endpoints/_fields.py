"""Fields that several endpoints have: numbers, sampling, effort, and those that nobody mapped."""

import re
from typing import Any, Final

from tasks.codecs.base import EFFORTS, Chat, RequestError

#: Values that ask for what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}

#: OpenAI's own limit on `n`.
MAX_CHOICES: Final = 128


def parse_sampling(body: dict[str, Any], chat: Chat) -> None:
    """temperature, top_p and stop, which several endpoints share."""
    chat.temperature = number(body, "temperature", 0, 2)
    chat.top_p = number(body, "top_p", 0, 1)
    chat.stop = _parse_stop(body.get("stop"))


def _parse_stop(stop: Any) -> list[str]:
    if stop is None:
        return []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise RequestError("'stop' must be a string or a list of strings.", "stop", "invalid_type")
    return [text for text in stops if text]


def is_default(field: str, value: Any) -> bool:
    """Whether a value asks for what happens anyway; 0.0 is 0, but False is not."""
    return any(
        value == default and (isinstance(value, bool) is isinstance(default, bool))
        for default in _DEFAULTS.get(field, ())
    )


def parse_effort(value: Any, where: str) -> str | None:
    """One of OpenAI's reasoning efforts, or None."""
    if value is None:
        return None
    if not isinstance(value, str) or value not in EFFORTS:
        raise RequestError(f"'{where}' must be one of {', '.join(EFFORTS)}.", where)
    return value


def number(body: dict[str, Any], field: str, low: float, high: float) -> float | int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"'{field}' must be a number.", field, "invalid_type")
    if not low <= value <= high:
        raise RequestError(f"'{field}' must be between {low} and {high}.", field)
    return value


def integer(body: dict[str, Any], field: str, low: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"'{field}' must be a whole number.", field, "invalid_type")
    if value < low:
        raise RequestError(f"'{field}' must be at least {low}.", field)
    return value


def unindexed(where: str) -> str:
    """A field's place without the numbers in it, to be counted by: `messages[].content[].file`."""
    return re.sub(r"\[\d+\]", "[]", where)
