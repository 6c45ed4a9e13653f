"""Which disagreements are kept as examples, and how much of each."""

from array import array
from collections import Counter
from typing import Any

import pytest

from tasks.comparison import disagreements
from tasks.comparison.disagreements import add_disagreement
from tasks.comparison.joined import ANSWERED, FAILED, LOST, Joined, Row
from tasks.comparison.texts import NOTHING, Asked, Wanted


def joined(labels: bool = True) -> Joined:
    return Joined([], 0, labels, {}, array("Q"), 0, {}, {}, Counter())


def row(content: str | None, **fields: Any) -> Row:
    given: dict[str, Any] = dict.fromkeys(Row.__struct_fields__)
    return Row(**(given | {"custom_id": "r1", "ok": True, "content": content} | fields))


def add(
    to: Joined,
    *answers: str,
    right: int = 0,
    codes: list[int] | None = None,
    accepted: tuple[str, ...] = (),
    scores: list[float] | None = None,
) -> None:
    own = [ord(answer[0]) for answer in answers] if codes is None else codes
    rows = [row(answer) for answer in answers]
    add_disagreement(to, Asked("q", Wanted()), accepted, right, rows, own, scores or [0.0] * len(answers))


def test_what_an_example_holds() -> None:
    found = joined()
    rows = [row("x"), row("y", custom_id="other")]
    add_disagreement(found, Asked("question", Wanted()), ("x", "z"), 1, rows, [7, 8], [1.0, 0.5])
    ((pattern, (example,)),) = found.examples.items()
    assert pattern == example.pattern == (1, 7, 8)
    assert (example.custom_id, example.request, example.reference) == ("r1", "question", "x")
    assert (example.answers, example.right, example.fates) == (["x", "y"], [True, False], [ANSWERED, ANSWERED])
    assert found.pattern_counts == {(1, 7, 8): 1}


def test_nothing_is_right_without_a_reference() -> None:
    found = joined()
    add(found, "x", "y", scores=[1.0, 1.0])
    assert found.listed[0].right == [False, False]
    assert found.listed[0].reference is None


@pytest.mark.parametrize(
    ("given", "text", "fate"),
    [
        (row(None, ok=False, error_code="rate_limit_exceeded"), None, LOST),
        (row(None, ok=False, status_code=400), None, FAILED),
        (row(None, tool_calls='[["call_1","f","{}"]]'), "f({})", ANSWERED),
        (row(""), "", ANSWERED),
    ],
)
def test_what_stands_for_an_answer(given: Row, text: str | None, fate: int) -> None:
    found = joined()
    add_disagreement(found, NOTHING, (), 0, [row("x"), given], [1, 2], [0.0, 0.0])
    assert found.listed[0].answers == ["x", text]
    assert found.listed[0].fates == [ANSWERED, fate]


def test_where_one_did_not_answer_it_is_listed_and_no_example() -> None:
    found = joined()
    add(found, "x", "y", codes=[1, 0])
    assert (found.examples, found.pattern_counts, found.listed_total) == ({}, {}, 1)


def test_three_examples_of_a_pattern_of_labels() -> None:
    found = joined()
    for _ in range(5):
        add(found, "x", "y")
    add(found, "x", "y", right=1)
    assert {pattern: len(kept) for pattern, kept in found.examples.items()} == {(0, 120, 121): 3, (1, 120, 121): 1}
    assert found.pattern_counts == {(0, 120, 121): 5, (1, 120, 121): 1}


def test_texts_are_alike_by_who_agrees_with_whom() -> None:
    found = joined(labels=False)
    add(found, "one", "two", "one", codes=[11, 12, 11])
    add(found, "three", "four", "three", codes=[13, 14, 13])
    add(found, "one", "two", "two", codes=[11, 12, 12], accepted=("two",), scores=[0.0, 1.0, 1.0])
    assert found.pattern_counts == {(0, 0, 1, 0): 2, (1, 0, 1, 1): 1}


def test_of_texts_the_least_alike_are_kept() -> None:
    found = joined(labels=False)
    # Of ten characters, from all the same to none: 24 are kept.
    for same in [*range(10, -1, -1)] * 3:
        add(found, "a" * 10, "a" * same + "b" * (10 - same), codes=[1, 2])
    (kept,) = found.examples.values()
    assert len(kept) == 24
    assert [round(each.likeness, 9) for each in kept[::3]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert found.pattern_counts.total() == 33


def test_so_many_patterns_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert disagreements._PATTERNS == 500
    monkeypatch.setattr(disagreements, "_PATTERNS", 2)
    found = joined()
    for other in "xyz":
        add(found, "a", other)
    add(found, "a", "x")
    assert [len(kept) for kept in found.examples.values()] == [2, 1]
    assert found.pattern_counts.total() == 4


def test_texts_are_cut() -> None:
    found = joined()
    rows = [row("x" * 2000, custom_id="i" * 400), row("y" * 1500)]
    add_disagreement(found, Asked("q" * 2000, Wanted()), ("l" * 400,), 0, rows, [1, 2], [0.0, 0.0])
    (example,) = found.examples[0, 1, 2]
    assert (len(example.request), [len(each or "") for each in example.answers]) == (1500, [1500, 1500])
    (listed,) = found.listed
    assert (listed.custom_id, listed.request, listed.reference) == ("i" * 300, "q" * 300, "l" * 300)
    assert listed.answers == ["x" * 300, "y" * 300]
    assert found.listed_characters == 3 * 300 + 60


def test_the_list_ends_where_its_room_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # "q", "x", "y" and 60 of a row's own.
    assert disagreements.LISTED_CHARACTERS == 4_000_000
    monkeypatch.setattr(disagreements, "LISTED_CHARACTERS", 2 * 63)
    found = joined()
    for _ in range(5):
        add(found, "x", "y")
    assert (len(found.listed), found.listed_total, found.listed_characters) == (2, 5, 126)
