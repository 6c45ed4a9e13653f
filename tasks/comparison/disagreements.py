"""Requests on which the variants disagree: the most telling as examples, and all that there is room for."""

import msgspec
from rapidfuzz.distance import Indel

from tasks.comparison.joined import Example, Joined, Row
from tasks.comparison.texts import Asked

#: Disagreements kept as examples, by what the variants answered, and characters of each text.
_PATTERNS, _PER_PATTERN, EXAMPLE_CHARACTERS = 500, 3, 1500
#: Of all disagreements: characters in the page, and of each text.
LISTED_CHARACTERS, _LISTED_EACH = 4_000_000, 300


def add_disagreement(
    joined: Joined,
    question: Asked,
    accepted: tuple[str, ...],
    right: int,
    rows: list[Row],
    codes: list[int],
    scores: list[float],
) -> None:
    reference = accepted[0] if accepted else None
    texts = [row.content if row.content is not None or not row.ok else row.text for row in rows]
    example = Example(
        rows[0].custom_id or "",
        question.text[:EXAMPLE_CHARACTERS],
        reference,
        [None if text is None else text[:EXAMPLE_CHARACTERS] for text in texts],
        (),
        right=[bool(accepted) and each >= 1 for each in scores],
        fates=[row.fate for row in rows],
    )
    _list(joined, example)
    if not all(codes):
        return
    # Labels tell which disagreements are alike; of longer texts, only who agrees with whom.
    pattern = tuple(codes) if joined.labels else tuple(codes.index(code) for code in codes)
    pattern = (right if joined.labels else int(any(example.right)), *pattern)
    joined.pattern_counts[pattern] += 1
    kept = joined.examples.get(pattern)
    if kept is None:
        if len(joined.examples) >= _PATTERNS:
            return
        kept = joined.examples[pattern] = []
    example.pattern = pattern
    if not joined.labels:
        example.likeness = Indel.normalized_similarity(example.answers[0] or "", example.answers[-1] or "")
    if len(kept) >= (_PER_PATTERN if joined.labels else 8 * _PER_PATTERN):
        if joined.labels or example.likeness >= kept[-1].likeness:
            return
        kept.pop()
    kept.append(example)
    if not joined.labels:
        kept.sort(key=lambda each: each.likeness)


def _list(joined: Joined, example: Example) -> None:
    """Keep a disagreement for the page, shortened, while there is room."""
    joined.listed_total += 1
    if joined.listed_characters >= LISTED_CHARACTERS:
        return
    short = msgspec.structs.replace(
        example,
        custom_id=example.custom_id[:_LISTED_EACH],
        request=example.request[:_LISTED_EACH],
        reference=None if example.reference is None else example.reference[:_LISTED_EACH],
        answers=[None if text is None else text[:_LISTED_EACH] for text in example.answers],
    )
    joined.listed_characters += len(short.request) + sum(len(text or "") for text in short.answers) + 60
    joined.listed.append(short)
