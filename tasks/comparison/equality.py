"""When two answers are the same: by steps, from the very same text to one that differs in nothing that matters.

What is taken off is what a model puts around an answer: fences, paired quotes, markdown, a full stop. Signs and marks
that can be a part of a label (`-1`, `A-`, `<5`, `C#`) stay. Numbers are compared by their values, JSON too.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

#: Quotes by what closes them.
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“”", "‘": "’", "‚": "‘’", "«": "»", "»": "«", "‹": "›"}
_QUOTES |= {"「": "」", "『": "』", "＂": "＂", "＇": "＇"}
_EMPHASIS = ("***", "**", "__", "*")
_STARTS = re.compile(r"(?:[-*+•>]\s+(?=[^\W\d_])|#{1,6}\s+)")
_LANGUAGE = re.compile(r"[\w+.#-]*\s*")
#: A full stop ends a sentence anywhere; other marks do behind a letter only ("5!" is a number of its own).
_STOPS, _MARKS = ".。．｡।۔", "!！,，、;；:："
_PARENTHESES = {"(": ")", "[": "]", "（": "）"}
_CURRENCIES = "$€£¥"
_THOUSANDS = re.compile(
    rf"[-+−]?[{_CURRENCIES}]?[-+−]?\d{{1,3}}(?:(?P<mark>[,'’\u00a0\u2009\u202f])\d{{3}})(?:(?P=mark)\d{{3}})*(?:\.\d+)?"
    rf"(?:\s?[%{_CURRENCIES}])?",
    re.ASCII,
)
#: A sign, a currency, the number, and what it counts: 007 is none.
_PLAIN_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?P<before>[{_CURRENCIES}]? ?)(?P<inner>-?)"
    r"(?P<value>(?:0|[1-9]\d*)?(?:\.\d+)?(?:(?<=\d)e[-+]?\d{1,2})?)"
    rf"(?P<after> ?[%{_CURRENCIES}]?)",
    re.ASCII,
)
#: What cannot be seen: zero-width spaces, marks of byte order and direction, soft hyphens.
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
_ENDS_NUMBER = f"0123456789%{_CURRENCIES}"
#: An unwrapping may be within another so often.
_NESTED = 8


def exact(text: str) -> str:
    """A text but for its spacing; of a number, without separators of thousands."""
    found = unicodedata.normalize("NFC", text).strip()
    number = _THOUSANDS.fullmatch(found)
    return " ".join((found.replace(number["mark"], "") if number else found).split())


def normalise(text: str) -> str:
    """A text without what does not matter; JSON and numbers by their values."""
    bare = unwrapped(text)
    return _value(bare, _without_end(bare))


def forms(text: str) -> Iterator[str]:
    """A text in four forms: exact; without quotes, fences and markdown; without its full stop; without case."""
    found = exact(text)
    yield found
    bare = unwrapped(text)
    yield exact(bare)
    ended = _without_end(bare)
    yield exact(ended)
    yield _value(bare, ended)


def _value(bare: str, ended: str) -> str:
    value = _json(bare)
    if value is not None:
        return value
    if not ended.isascii() and (seen := _UNSEEN.sub("", ended).strip()) and seen != ended:
        return normalise(seen)
    if ended.isascii():
        return _number(exact(ended).casefold())
    plain = exact(unicodedata.normalize("NFKC", exact(ended)).translate(_DASHES)).casefold()
    # The wide forms may have hidden quotes and marks.
    return _number(exact(_without_end(unwrapped(plain))))


def unwrapped(text: str) -> str:
    """A text without the fences, paired quotes and markdown around it."""
    text = text.strip()
    for _ in range(_NESTED):
        inner = _inner(text).strip()
        if inner == text or not inner:
            break
        text = inner
    return text


def _inner(text: str) -> str:
    if len(text) < 3:
        return text
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        first, newline, rest = text[3:-3].partition("\n")
        return rest if newline and _LANGUAGE.fullmatch(first) else text[3:-3]
    inner = text[1:-1]
    if text[-1] in _QUOTES.get(text[0], "") and not {text[0], text[-1]} & set(inner):
        return inner
    for mark in _EMPHASIS:
        if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
            inner = text[len(mark) : -len(mark)]
            # Underscores belong to names such as __init__.
            return text if mark in inner or (mark == "__" and " " not in inner) else inner
    start = _STARTS.match(text)
    return text[start.end() :] if start and "\n" not in text else text


def _without_end(text: str) -> str:
    """A text without the marks that end a sentence, and without the parentheses of an option, as in (A) or B)."""
    for _ in range(_NESTED):
        kept = text.rstrip(_STOPS)
        marked = kept.rstrip(_MARKS)
        if marked and marked != kept and not marked[-1].isdigit():
            kept = marked
        if kept[:1] in _PARENTHESES and kept[-1:] == _PARENTHESES[kept[0]] and kept[1:2].isalpha():
            inner = kept[1:-1]
            kept = kept if set(inner) & set("()[]（）") else inner
        elif kept[-1:] == ")" and "(" not in kept and kept[:1].isalpha():
            kept = kept[:-1]
        kept = unwrapped(kept)
        if not kept or kept == text:
            return text
        text = kept
    return text


def _number(text: str) -> str:
    """A number in one form, with its currency or percent sign; any other text as it is."""
    if (
        not text
        or text[-1] not in _ENDS_NUMBER
        or (found := _PLAIN_NUMBER.fullmatch(text)) is None
        or not found["value"]
    ):
        return text
    if found["sign"] and found["inner"]:
        return text
    # Decimal keeps every digit; its exponents are small here.
    value = format(Decimal(found["value"]), "f")
    value = value.rstrip("0").rstrip(".") if "." in value else value
    sign = "-" if "-" in (found["sign"], found["inner"]) and value != "0" else ""
    return f"{sign}{found['before'].strip()}{value}{found['after'].strip()}"


def _json(text: str) -> str | None:
    """An object or a list as JSON of one form; None where the text is none."""
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return None
    try:
        value = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
        return "json:" + msgspec.json.encode(_values(value), order="sorted").decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _values(value: Any) -> Any:
    """A value whose whole numbers are integers: 1.0 is 1."""
    if isinstance(value, dict):
        return {name: _values(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_values(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
