"""Which label an answer is, and whether it is right."""

import pytest

from tasks.comparison.extract import Extract, Reader
from tasks.comparison.labels import Matcher
from tasks.comparison.reference import Reference


def matcher(*labels: str) -> Matcher:
    """Of a reference in which every label stands three times."""
    return Matcher(Reference({f"r{n}": (label,) for n, label in enumerate(labels * 3)}))


TONES = matcher("Urgent", "Not urgent", "C", "C#")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Urgent", "Urgent"),
        ("urgent.", "Urgent"),
        (" not URGENT ", "Not urgent"),
        ("C#", "C#"),
        ("soon", None),
        ("", None),
    ],
)
def test_a_label_in_any_of_its_forms(text: str, label: str | None) -> None:
    assert TONES.label(text) == label
    assert TONES.closed


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("It is not urgent at all.", "Not urgent"),
        ("It is urgent.", "Urgent"),
        ("Written in C# mostly.", "C#"),
        ("Urgent or not urgent?", None),
        ("insurgent", None),
        ("nothing", None),
    ],
)
def test_the_one_label_in_a_sentence(text: str, label: str | None) -> None:
    assert TONES.inside(text) == label


def test_labels_that_differ_in_case_only_are_kept_apart() -> None:
    both = matcher("AA", "aa")
    assert (both.label("AA"), both.label("aa")) == ("AA", "aa")
    assert both.label("Aa") is None, "it could be either"
    assert both.alike == ["AA", "aa"]
    assert TONES.alike == []


def test_equal_texts_have_one_code_and_labels_one_of_their_own() -> None:
    assert TONES.code("urgent!") == TONES.code("Urgent") != TONES.code("Not urgent")
    free = Matcher()
    assert free.code("Same text") == free.code("same  text") != free.code("another")
    assert not free.closed
    assert free.label("x") is None
    assert free.inside("x") is None
    assert (TONES.name("urgent"), free.name("Same  Text")) == ("Urgent", free.name("same text"))


def test_what_is_right() -> None:
    assert TONES.right("urgent", ("Urgent",))
    assert TONES.right("urgent", ("C", "Urgent"))
    assert not TONES.right("urgent", ("Not urgent",))
    assert not TONES.right("C", ("C#",))
    assert not TONES.right("urgent", ())


def test_a_reference_of_texts_is_no_set_of_labels() -> None:
    assert not Matcher(Reference({f"r{n}": (f"answer {n}",) for n in range(10)})).closed


def free(*texts: str) -> Matcher:
    """Of a reference that is no set of labels."""
    own = [*texts, *(f"text {n} of many" for n in range(20))]
    return Matcher(Reference({f"r{n}": (text,) for n, text in enumerate(own)}), Reader(Extract(includes=True)))


def test_two_labels_are_a_set_however_few_requests_there_are() -> None:
    assert Matcher(Reference({"a": ("x",), "b": ("y",)})).closed
    assert not Matcher(Reference({"a": ("x",), "b": ("y",), "c": ("z",)})).closed
    assert Matcher(Reference({f"r{n}": (f"l{n % 200}",) for n in range(400)})).closed
    assert not Matcher(Reference({f"r{n}": (f"l{n % 201}",) for n in range(402)})).closed


def test_a_label_is_looked_for_at_the_end() -> None:
    assert TONES.inside("It is urgent. " + "x" * 19_000) == "Urgent"
    assert TONES.inside("It is not urgent. " + "x" * 30_000 + " It is urgent.") == "Urgent"
    assert TONES.inside("It is urgent. " + "x" * 30_000) is None


def test_free_texts_stand_in_an_answer_as_words() -> None:
    some = free("New York", "!!!")
    assert not some.closed
    assert some.right("It is new york, of course", ("New York",))
    assert not some.right("It is Newark, York", ("New York",))
    assert not some.right("It is new yorkish", ("New York",))
    assert not some.right("anything", ("!!!",)), "it has no word"
    assert not some.right("?", ("!!!",)), "nor have both together"
    assert not Matcher(Reference({})).right("It is New York", ("New York",))


def test_of_free_texts_only_single_words_are_kept_apart() -> None:
    assert free("AA", "aa", "New York", "new york").alike == ["AA", "aa"]
