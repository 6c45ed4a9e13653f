"""What a judge's reply says: A, B, a tie, or nothing that can be relied on.

Only what is a choice in so many words is read as one: the whole reply, its first line, its last one, or a sentence that
says which answer is better. A reply that says several things, or something else, is none: nothing is guessed from which
letter is mentioned ("answer B is wrong", "A loses to B").
"""

import contextlib
import json
import re
import unicodedata
from typing import Any

from tasks.comparison.equality import unwrapped

#: So much of a reply is read, from its end where it is longer.
_REPLY_CHARACTERS = 4000
_NOUN = r"(?:the\s+)?(?:answer|response|option|assistant|candidate|model)"
_SIDE = (
    rf"(?:(?:{_NOUN}\s*)?(?P<{{0}}>a|b)(?:['’]s\s+(?:answer|response))?|{_NOUN}\s*(?P<{{0}}n>1|2|one|two)"
    rf"|the\s+(?P<{{0}}o>first|second)(?:\s+(?:answer|response|option|one))?)"
)
_PLACES = {"1": "a", "one": "a", "first": "a", "2": "b", "two": "b", "second": "b"}
_X, _Y, _Z = (_SIDE.format(name) for name in "xyz")
_QUITE = (
    r"(?:(?:much|clearly|slightly|somewhat|overall|far|significantly|marginally|definitely|a\s+(?:bit|little))\s+)*"
)
_GOOD = (
    r"(?:better|best|stronger|superior|preferable|preferred"
    r"|the\s+(?:better|best|stronger|winning)(?:\s+\w+)?|the\s+winner)"
)
#: What may stand around a choice without changing it.
_BEFORE = (
    r"(?:(?:so|thus|therefore|overall|hence|in\s+conclusion|in\s+summary|i\s+(?:think|believe|would\s+say)(?:\s+that)?"
    r"|i['’]d\s+say(?:\s+that)?|this\s+is\s+a\s+close\s+call|close\s+call)\s*[,:]?\s+)*"
)
_AFTER = (
    r"(?:\s*,?\s*(?:because|since|as\s+it|overall|slightly|clearly|by\s+far|in\s+(?:every\s+way|my\s+opinion)|due\s+to)"
    r"\b.*)?"
)
_REST = r"(?:\s*,?\s*(?:and|while|whereas)?\s*(?:than\s+)?(?:the\s+other(?:\s+(?:one|answer))?|{0}(?:\s+loses)?))?"
_NAMED = (
    r"(?:(?:my|the|final|overall|your|better|best|preferred|winning|correct)\s+)*"
    r"(?:answer|response|verdict|choice|winner|preference|result|decision|judgment|judgement|conclusion"
    r"|output|pick|vote|better|best)"
    r"(?:\s+(?:answer|response|choice|verdict|one|of\s+the\s+two))?"
)
_WORDS_OF_TIE = (
    r"(?:(?:it\s+is|it['’]s|a|an|this\s+is|call\s+it|there\s+is|would\s+be)\s+)*(?:tie|tied|draw|both|equal"
    r"|no\s+difference|equally\s+(?:good|bad|strong|weak))"
    r"(?:\s+between\s+(?:them|the\s+two|both|(?:answers?\s+)?a\s+and\s+(?:answer\s+)?b))?"
    r"|neither(?:\s+(?:answer|response|one))?(?:\s+of\s+(?:them|the\s+two))?\s+is\s+better(?:\s+than\s+the\s+other)?"
    r"|(?:both|they|the\s+two|(?:both\s+|the\s+(?:two\s+)?)?(?:answers|responses)|(?:answers?\s+)?a\s+and\s+(?:answer\s+)?b)"
    r"\s+(?:are|is)\s+"
    r"(?:tied|a\s+tie|equal|equivalent|equally\s+(?:good|bad|strong|weak|correct)|of\s+equal\s+quality|(?:the\s+)?same)"
    r"|(?:answer\s+)?a\s+ties\s+with\s+(?:answer\s+)?b|a\s*={1,2}\s*b"
)


def _full(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"{_BEFORE}(?:{pattern})", re.IGNORECASE)


#: Each a whole sentence: `x` is the better one, `y` the other, `z` the worse one where only that one is named first.
_BARE = _full(rf"{_X}(?:\s*\(?(?:slightly|clearly|by\s+far)\)?)?")
_PREFERRED = [
    _full(rf"{_NAMED}\s*(?:is|[:=-]|would\s+be)?\s*[:=]?\s*{_X}{_AFTER}"),
    _full(rf"{_X}\s+(?:(?:clearly|narrowly|slightly)\s+)?(?:wins|won|is\s+{_QUITE}{_GOOD}){_REST.format(_Y)}{_AFTER}"),
    _full(rf"{_X}\s+(?:wins\s+over|beats|outperforms|is\s+preferred\s+(?:over|to)|>{{1,3}})\s*{_Y}{_AFTER}"),
    _full(rf"{_Z}\s*<{{1,3}}\s*{_X}"),
    _full(rf"{_X}\s*>{{1,3}}\s*{_Y}"),
    _full(
        rf"i\s*(?:['’]d|\s+would)?\s*(?:prefer|choose|chose|pick|picked|select|go\s+with|vote\s+for|favou?r)\s+{_X}"
        rf"(?:\s+(?:over|to|rather\s+than)\s+{_Y})?{_AFTER}"
    ),
]
_TIE = _full(rf"(?:{_NAMED}\s*(?:is|[:=-]|would\s+be)?\s*[:=]?\s*)?(?:{_WORDS_OF_TIE}){_AFTER}")
#: A choice that more is said of: "A, because …", "B - it is concise".
_EXPLAINED = re.compile(
    rf"(?:{_X}|(?P<tie>tie|draw))\s*(?:[:,]\s+|\s[–—-]\s+|\(|\s(?=because\b|since\b)).*", re.IGNORECASE
)
_VERDICT_LAST = re.compile(
    rf"(?:^|[,:;]\s*|\s[–—-]\s){_BEFORE}{_NAMED}\s*(?:is|[:=]|is\s*:)\s*(?:{_X}|(?P<tie>(?:a\s+)?(?:tie|draw)))",
    re.IGNORECASE,
)
#: Words that take back or deny what was said.
_TURNS = re.compile(
    r"\b(?:but|however|although|though|except|unless|if|actually|wait|reconsider\w*|instead|correction|not|never|cannot|"
    r"hmm|rather|no|only|hardly|loser?s?|worst|worse|neither|nor|reject\w*|avoid\w*)\b|n['’]t\b|[?❌✗✘]",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(r"<(think|thinking|reasoning|thought|analysis)>.*?</\1>", re.IGNORECASE | re.DOTALL)
_FRAMES = re.compile(
    r"</?(?:answer|verdict|choice|winner|b|i|em|strong|p|output|result)\s*/?>|\\(?:boxed|text)\b", re.IGNORECASE
)
_OBJECT = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", re.DOTALL)
#: Words of a key that names the better answer, and of one that names the worse one, or says something else.
_STRONG = re.compile(
    r"\b(?:win(?:ner|ning|s)|verdict|choice|chosen|prefer(?:red|ence)?|better|best|decision|select(?:ed|ion)|judge?ment"
    r"|pick(?:ed)?|final|vote|conclusion)\b"
)
_WEAK = re.compile(r"\b(?:answer|response|result|output|label|evaluation)\b(?!\s+[ab12]\b)")
_OPPOSITE = re.compile(
    r"\b(?:not|non|worse|worst|loser|losing|loses|reject(?:ed)?|weaker|inferior|less|least|bad|wrong)\b"
)


def read_choice(reply: str, *, cut_off: bool = False) -> str | None:
    """What a judge chose: "a", "b" or "tie", by the reply as a whole; None where it says several things or nothing.

    A reply that was cut off at its limit says what its finished lines say.
    """
    text = unicodedata.normalize("NFKC", _THOUGHTS.sub("\n", reply[-_REPLY_CHARACTERS:]))
    if re.search(r"<(?:think|thinking|reasoning)>", text, re.IGNORECASE):
        return None
    found = _in_json(text)
    if found is not None:
        return found[0]
    parts = _parts(_FRAMES.sub(" ", text))
    if len(reply) > _REPLY_CHARACTERS:
        # The first one is the end of a sentence: "B" of "is worse than B".
        parts = parts[1:]
    if cut_off:
        # The last one may have gone on: "A" is the beginning of "A tie", and of "A is worse".
        parts = parts[:-1]
    return _of_parts(parts) if parts else None


def _parts(text: str) -> list[str]:
    """The sentences and lines of a reply without marks."""
    plain = re.sub(r"[*_`\"“”„#\\${}\[\]]|(?<!\w)['‘’]|['‘’](?!\w)", " ", unwrapped(text))
    found = []
    for line in plain.splitlines():
        for sentence in re.split(r"(?<=[.!;。!])\s+|(?<=\w)[.](?=\s|$)", line):
            bare = " ".join(sentence.split()).strip(" .!;。:>✅✓✔()").removeprefix("- ").removesuffix(" -").strip()
            if "?" in sentence or "❌" in sentence:
                bare = " ".join(sentence.split())
            if bare:
                found.append(bare)
    return found


def _of_parts(parts: list[str]) -> str | None:
    whole = [_stated(part) for part in parts]
    if len(parts) == 1:
        return whole[0] or _explained(parts[0]) or _named_last(parts[0])
    chosen = {each for each in whole if each is not None}
    if len(chosen) > 1:
        return None
    first = whole[0] or _explained(parts[0])
    if first is not None and chosen <= {first}:
        # The choice comes first; what follows may explain it, and not take it back.
        return first if not any(_retracts(part) for part in parts[1:]) else None
    last = whole[-1] or _named_last(parts[-1])
    if last is not None and chosen <= {last}:
        return last
    if len(chosen) == 1 and not any(_TURNS.search(part) for part in parts):
        return chosen.pop()
    return None


def _retracts(part: str) -> bool:
    return (
        re.match(
            r"(?:wait|no|actually|hmm|on\s+reflection|however|but|correction|rather|instead)\b", part, re.IGNORECASE
        )
        is not None
    )


def _stated(part: str) -> str | None:
    """What a sentence states as a whole."""
    if _TIE.fullmatch(part):
        return None if _turned(part, _WORDS_OF_TIE) else "tie"
    for pattern in (_BARE, *_PREFERRED):
        found = pattern.fullmatch(part)
        if found is not None:
            sides = found.groupdict()
            choice = _side(sides, "x")
            others = [_side(sides, name) for name in "yz"]
            if choice in others or _TURNS.search(part):
                return None
            return choice
    return None


def _turned(part: str, said: str) -> bool:
    """Whether there is a turn in what a sentence says besides the tie itself."""
    return _TURNS.search(re.sub(said, " ", part, count=1, flags=re.IGNORECASE)) is not None


def _explained(part: str) -> str | None:
    found = _EXPLAINED.fullmatch(part)
    if found is None:
        return None
    choice = "tie" if found["tie"] else _side(found.groupdict(), "x")
    rest = part[found.end("tie") if found["tie"] else (found.end("x") if found["x"] else 0) :]
    turned = re.search(
        r"\b(?:but|however|although|though|except|unless|if|no|not|rather|actually|wait|or|and)\b", rest, re.IGNORECASE
    )
    other = re.search(r"\b(?:is|was)\s+\w*\s*better\b|:\s*\d|^\W*\d", rest, re.IGNORECASE)
    # A tie that leans to one of them is none.
    leans = found["tie"] and re.search(r"\b[AB]\b", rest)
    return None if turned or other or leans else choice


def _named_last(part: str) -> str | None:
    """The verdict at a sentence's end: "…, final answer: B"."""
    found = _VERDICT_LAST.search(part)
    if found is None or found.end() != len(part) or _TURNS.search(found[0]):
        return None
    return "tie" if found["tie"] else _side(found.groupdict(), "x")


def _side(found: dict[str, Any], name: str) -> str | None:
    given = found.get(name) or _PLACES.get((found.get(f"{name}n") or found.get(f"{name}o") or "").lower())
    return given.lower() if given else None


def _in_json(text: str) -> tuple[str | None] | None:
    """What the one JSON object in a reply says, as a tuple of one; None where there is no object."""
    objects = _OBJECT.findall(text)
    values = []
    for each in objects:
        with contextlib.suppress(ValueError, RecursionError):
            values.append(json.loads(each))
    if not values:
        return None
    return (_of_object(values[-1]) if len(values) == 1 else None,)


def _of_object(value: dict[str, Any]) -> str | None:
    strong, weak = [], []
    for key, each in value.items():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", key).lower()
        found = _of_object(each) if isinstance(each, dict) else each
        if _OPPOSITE.search(name):
            continue
        if _STRONG.search(name):
            strong.append(found)
        elif _WEAK.search(name):
            weak.append(found)
    said = {_of_value(each) for each in strong or weak}
    return said.pop() if len(said) == 1 else None


def _of_value(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    parts = _parts(_FRAMES.sub(" ", value))
    return _of_parts(parts) if parts else None
