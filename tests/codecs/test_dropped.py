"""Counts of fields that were left out, bounded whatever requests call theirs."""

import pytest

from tasks.codecs.dropped import DroppedFields


def test_requests_are_added_up() -> None:
    found = DroppedFields()
    found.add({"seed": 1, "messages[].name": 2})
    found.add({"seed": 1}, 10)
    assert found.as_dict() == {"seed": 11, "messages[].name": 2}


def test_what_is_given_out_is_a_copy() -> None:
    found = DroppedFields()
    found.as_dict()["seed"] = 1
    assert found.as_dict() == {}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("seed", True),
        ("tools[].function.parameters.$defs", True),
        ("stop (white space)", True),
        ("x" * 100, True),
        ("x" * 101, False),
        ("hunter2 in the prompt", False),
        ("schlüssel", False),
        ("<script>", False),
        ("9lives", False),
        ("", False),
        ("stop (white space) (twice)", False),
    ],
)
def test_what_is_no_name_of_a_field_is_counted_together(name: str, known: bool) -> None:
    found = DroppedFields()
    found.add({name: 3})
    assert found.as_dict() == {name if known else "other fields": 3}


def test_more_names_than_anybody_reads_are_counted_together() -> None:
    found = DroppedFields()
    for number in range(250):
        found.add({f"field_{number}": 1})
    found.add({"field_0": 1})
    counts = found.as_dict()
    assert len(counts) == 201
    assert (counts["field_0"], counts["field_199"], counts["other fields"]) == (2, 1, 50)
