"""What of an answer is compared: numbers, patterns, paths, scorers, and calls that cannot be read so."""

from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import pytest

from tasks.comparison.extract import Extract, Reader, as_text, read_extract, score
from tasks.errors import ConfigurationError


def read(answer: str, **extract: Any) -> str | None:
    return Reader(Extract(**extract)).read(answer)


def test_nothing_named_is_all_of_it() -> None:
    assert Reader().read(" x ") == " x "
    assert read("x", includes=True) == "x"


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("first 3, then 1,234.50", "1234.50"),
        ("\u22125", "-5"),
        ("1e-3 in all.", "1e-3"),
        ("It is 42.", "42"),
        ("$1,000,000", "1000000"),
        # Not the thousands of a list, and no part of a word or a version.
        ("1,23", "23"),
        ("x4 5a 6_", None),
        ("no", None),
        ("", None),
    ],
)
def test_the_last_number(answer: str, number: str | None) -> None:
    assert read(answer, last_number=True) == number


@pytest.mark.parametrize(
    ("pattern", "answer", "found"),
    [
        (r"Answer: (\w)", "Answer: A … no. Answer: B", "B"),
        (r"\d", "1 2 3", "3"),
        (r"Answer: (\w)|Option (\w)", "Option C", "C"),
        (r"x(y)?", "x", "x"),
        (r"Answer: (\w*)", "Answer: ", ""),
        (r"Answer: (\w)", "none", None),
    ],
)
def test_the_last_match_of_a_pattern(pattern: str, answer: str, found: str | None) -> None:
    assert read(answer, regex=pattern) == found


@pytest.mark.parametrize(
    ("path", "answer", "found"),
    [
        ("label", '{"label": "x"}', "x"),
        ("$.a.b", '{"a": {"b": 2.0}}', "2"),
        ("$.", '["x"]', '["x"]'),
        ("a[1]", '{"a": [1, true]}', "true"),
        ("label", '```json\n{"label": "x"}\n```', "x"),
        ("label", 'So:\n```\n{"label": "x"}\n```\nor\n```json\n{"label": "y"}\n```\n.', "y"),
        ("label", '{"label": null}', None),
        ("other", '{"label": "x"}', None),
        ("label", "no JSON", None),
        # A function that does not take what is there.
        ("abs(label)", '{"label": "x"}', None),
        ("label", "[" * 100_000, None),
        ("label", "\ud83d", None),
    ],
)
def test_a_path_in_json(path: str, answer: str, found: str | None) -> None:
    assert read(answer, json=path) == found


@pytest.mark.parametrize(
    ("tolerance", "text", "reference", "close"),
    [
        (0.1, "1.1", "1.0", True),
        (0.1, "1.11", "1.0", False),
        ("0.1", "0.9", "1", True),
        ("1%", "99", "100", True),
        ("1%", "98.9", "100", False),
        ("1 %", "-101", "-100", True),
        ("1%", "$1,005.", "€1000", True),
        (0.1, "50%", "50", True),
        (0.1, "x", "1", False),
        (0.1, "inf", "inf", False),
        (None, "1", "1", False),
        (0, "1", "1", False),
    ],
)
def test_numbers_that_are_close(tolerance: Any, text: str, reference: str, close: bool) -> None:
    assert Reader(Extract(tolerance=tolerance)).close(text, reference) is close


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (1.0, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": [1]}, '{"a":[1]}'),
        (datetime(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3), "2026-01-02 03:00:00"),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02 00:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (Decimal("1.10"), "1.10"),
        (b"x\xff", "x\ufffd"),
        (2j, "2j"),
    ],
)
def test_values_as_texts(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_what_a_call_says() -> None:
    assert read_extract(None) is None
    assert read_extract("includes") == Extract(includes=True)
    assert read_extract("last_number") == Extract(last_number=True)
    assert read_extract(' {"json": "a"}') == Extract(json="a")
    assert read_extract({"tolerance": "2%"}) == Extract(tolerance="2%")
    assert read_extract({"last_number": True, "tolerance": 0}) == Extract(last_number=True, tolerance=0)


@pytest.mark.parametrize(
    ("extract", "why"),
    [
        ("include", "not 'include'"),
        ({}, "it must name one way"),
        ({"regex": "x", "json": "y"}, "it must name one way"),
        ({"includes": False}, "it must name one way"),
        ({"regexp": "x"}, "unknown field `regexp`"),
        ({"regex": "("}, "unterminated subpattern"),
        ({"json": "a["}, "Invalid jmespath expression|Incomplete expression"),
        ({"tolerance": -1}, "not negative"),
        ({"tolerance": "nan"}, "not negative"),
        ({"tolerance": "inf%"}, "not negative"),
        ({"tolerance": "much"}, "could not convert"),
        ("{", "truncated"),
    ],
)
def test_what_a_call_cannot_say(extract: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"(?s)extract must be .*: .*({why})"):
        read_extract(extract)


def equal(answer: str, reference: str) -> bool:
    return answer == reference


def other(text: str, reference: str) -> bool:
    return text == reference


class Scored:
    def __init__(self, answer: str, reference: str) -> None:
        self.right = answer == reference


def echo(answer: str, reference: str, custom_id: str, request: str) -> float:
    return float(answer) if (reference, request, custom_id) == ("ref", "req", "id") else 1


@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        ("no.such.module:f", "cannot be imported"),
        ("json:none", "cannot be imported"),
        ("json", "cannot be imported"),
        (":f", "cannot be imported"),
        ("json:JSONDecoder", "must be a Python function of `answer` and `reference`"),
        (f"{__name__}:other", "must be a Python function of `answer` and `reference`"),
        (f"{__name__}:Scored", "must be a Python function of `answer` and `reference`"),
    ],
)
def test_scorers_that_are_none(scorer: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read_extract({"scorer": scorer})


def test_a_scorer_gets_what_it_names() -> None:
    assert score(equal, "a", "a", "", "") == 1.0
    assert score(equal, "a", "b", "", "") == 0.0
    assert score(echo, "0.25", "ref", "req", "id") == 0.25


@pytest.mark.parametrize("said", ["1.5", "-0.1", "nan"])
def test_a_score_is_from_0_to_1(said: str) -> None:
    with pytest.raises(ConfigurationError, match=r":echo must return True, False or 0 to 1\.$"):
        score(echo, said, "ref", "req", "id")


def test_a_scorer_that_fails_does_not_tell_the_answer() -> None:
    with pytest.raises(ConfigurationError) as caught:
        score(echo, "secret", "ref", "req", "id")
    assert str(caught.value) == f"The scorer {__name__}:echo failed with ValueError on request 'id'."
