"""Which label an answer is, and whether it is right: answers held to the labels that a reference knows."""

import functools
import re
from collections import Counter, defaultdict

import xxhash

from tasks.comparison.equality import exact, forms, normalise
from tasks.comparison.extract import Reader
from tasks.comparison.reference import Reference

#: A reference of no more different answers, each used twice on the average, is a set of labels.
_MOST_LABELS = 200
#: Results for texts up to this length are kept for the next time.
_REMEMBERED = 200
#: A label in a sentence is looked for in so many characters at its end.
_SEARCHED = 20_000
_WORD = re.compile(r"\w+")
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"


class Matcher:
    """Gives every answer a code: equal answers have the same one.

    Where the reference is a set of labels, an answer is the label that it equals in the least changed of its forms, so
    that no two labels are ever taken for one another; an answer that could be several is none of them.
    """

    def __init__(self, reference: Reference | None = None, reader: Reader | None = None) -> None:
        self.reader = reader or Reader()
        self._labels = _closed_set(reference)
        self._index: list[dict[str, set[str]]] = [defaultdict(set) for _ in range(4)]
        # Of free texts, those that only their least changed forms tell apart.
        for label in self._labels or _alike(reference):
            for known, form in zip(self._index, forms(label), strict=True):
                known[form].add(label)
        self._words = _words(self._labels)
        self._remembered = functools.lru_cache(1 << 16)(self._resolve)

    @property
    def closed(self) -> bool:
        """Whether the reference is a set of labels."""
        return bool(self._labels)

    @property
    def alike(self) -> list[str]:
        """Labels of the reference that differ in case or marks only: they are kept apart, and perhaps are one."""
        return sorted({label for labels in self._index[3].values() if len(labels) > 1 for label in labels})

    def label(self, text: str) -> str | None:
        """The label of the reference that a text is; None where it is none, or could be several."""
        if not self._index[3]:
            return None
        return self._remembered(text) if len(text) <= _REMEMBERED else self._resolve(text)

    def _resolve(self, text: str) -> str | None:
        for known, form in zip(self._index, forms(text), strict=True):
            found = known.get(form)
            if found:
                return next(iter(found)) if len(found) == 1 else None
        return None

    def inside(self, text: str) -> str | None:
        """The one label of the reference that stands in a text as a word; None where none does, or several do."""
        if self._words is None:
            return None
        found = {self.label(each) for each in self._words.findall(exact(text[-_SEARCHED:]))}
        return found.pop() if len(found) == 1 else None

    def read(self, answer: str) -> str | None:
        """What of an answer is compared; None where it is not there."""
        if self.reader.extract.includes and self.closed:
            return self.label(answer) or self.inside(answer)
        return self.reader.read(answer)

    def name(self, text: str) -> str:
        """What equal texts have in common: the label, or the text without what does not matter."""
        label = self.label(text)
        return normalise(text) if label is None else label

    def code(self, text: str) -> int:
        """A number, never 0, that equal texts have in common."""
        label = self.label(text)
        # A label's own code cannot be that of another text.
        form = f"={label}" if label is not None else f" {normalise(text)}"
        return xxhash.xxh3_64_intdigest(form.encode("utf-8", "surrogatepass")) or 1

    def right(self, text: str, accepted: tuple[str, ...]) -> bool:
        """Whether what was read of an answer is one of those that the reference accepts."""
        code = self.code(text)
        if any(code == self.code(each) or self.reader.close(text, each) for each in accepted):
            return True
        if self.reader.extract.includes and not self.closed:
            words = _spaced(text)
            return any((wanted := _spaced(each)).strip() and wanted in words for each in accepted)
        return False


def _spaced(text: str) -> str:
    """The words of a text, each between spaces."""
    return f" {' '.join(_WORD.findall(normalise(text)))} "


def _alike(reference: Reference | None) -> list[str]:
    """Single words of a reference that are different, and the same but for case or marks: symbols, codes, grades."""
    same: dict[str, set[str]] = defaultdict(set)
    for accepted in reference.answers.values() if reference is not None else ():
        for text in accepted:
            if len(text) <= _REMEMBERED and len(text.split()) == 1:
                same[normalise(text)].add(exact(text))
    return sorted(text for texts in same.values() if len(texts) > 1 for text in texts)


def _closed_set(reference: Reference | None) -> list[str]:
    if reference is None:
        return []
    counts = Counter(exact(text) for accepted in reference.answers.values() for text in accepted)
    most = min(_MOST_LABELS, max(2, len(reference.answers) // 2))
    return list(counts) if len(counts) <= most else []


def _words(labels: list[str]) -> re.Pattern[str] | None:
    """A pattern of all labels as words: the longest first, so that "not urgent" is not "urgent"."""
    texts = sorted({re.escape(label) for label in labels if label}, key=len, reverse=True)
    if not texts:
        return None
    # A sign before a number is a part of it; so is a mark behind a letter ("A-", "C#", "C++"). Chinese, Japanese and
    # Thai put no spaces between words.
    before, after = rf"(?:(?<![\w+−<>-])|(?<=[{_UNSPACED}]))", rf"(?:(?![\w#+]|-(?!\s))|(?=[{_UNSPACED}]))"
    return re.compile(rf"{before}(?:{'|'.join(texts)}){after}", re.IGNORECASE)
