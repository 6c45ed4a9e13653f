"""When answers are equal, which label they are, and how they are read out of longer texts."""

from typing import Any

import pytest

from tasks.comparison.equality import exact, normalise, unwrapped
from tasks.comparison.extract import Extract, Reader, read_extract, score
from tasks.comparison.joined import STRICT, read_options
from tasks.comparison.labels import Matcher
from tasks.comparison.reference import Reference
from tasks.errors import ConfigurationError


def matcher(*labels: str, extract: Extract | None = None, copies: int = 4) -> Matcher:
    answers: dict[str, tuple[str, ...]] = {f"{label}-{n}": (label,) for label in labels for n in range(copies)}
    return Matcher(Reference(answers), Reader(extract))


EQUAL = [
    ("billing", "“billing”"),
    ("billing", "billing。"),
    ("billing", "Billing."),
    ("billing", "**Billing**"),
    ("billing", "```\nbilling\n```"),
    ("billing", '```json\n"billing"\n```'),
    ("billing", "`billing`."),
    ("billing", "- billing"),
    ("billing", "## Billing"),
    ("billing", '"Billing."'),
    ("billing", "ｂｉｌｌｉｎｇ"),
    ("billing issue", "Billing\n  issue!"),
    ("A", "(A)"),
    ("A", "A)"),
    ("A", "[a]."),
    ("1000", "1,000"),
    ("-1000.5", "-1,000.50"),
    ("1", "1.0"),
    ("1", "+1"),
    ("0.5", ".5"),
    ("0", "-0"),
    ("-1", "−1"),
    ("5", "5."),
    ('{"a": 1, "b": [1, 2]}', '{"b":[1.0,2],"a":1}'),
    ('{"a": 1}', '```json\n{"a":1}\n```'),
    ("[1, 2]", "[1,2]"),
    ("1000", "1e3"),
    ("1000", "1'000"),
    ("1000", "1\u202f000"),
    ("$1000", "$1,000.00"),
    ("-$5", "$-5"),
    ("50%", "50.0 %"),
    ("5€", "5 €"),
    ("billing", "\ufeffbilling\u200b"),
    ("billing", "> billing"),
    ("हाँ", "हाँ।"),
]
DIFFERENT = [
    ("-1", "1"),
    ("A-", "A"),
    ("A+", "A"),
    ("<5", ">5"),
    ("<5", "5"),
    ("C#", "C"),
    ("C++", "C"),
    ("#1", "1"),
    ("*", "+"),
    ("?", "!"),
    (".", "..."),
    ("5!", "5"),
    ("(5)", "5"),
    ("50%", "50"),
    ("007", "7"),
    ("__init__", "init"),
    ("no", "not"),
    ("1,00", "100"),
    ("1.000,50", "1,000.50"),
    ("1 000", "1000"),
    ("$5", "5"),
    ("$5", "€5"),
    ("%", "$"),
    ("--5", "-5"),
    ("1e", "1"),
    (">5", "> 5"),
    ("123456789012345678901", "123456789012345678902"),
    ('{"a": 123456789012345678901}', '{"a": 123456789012345678902}'),
    ("[1, 2]", "[2, 1]"),
    ('{"a": "x"}', '{"a": "X"}'),
    ('"a" and "b"', 'a" and "b'),
    ("x" * 30_000, "x" * 30_000 + "y"),
    ("a " * 20_000 + "first", "a " * 20_000 + "other"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_does_not_matter(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert matcher(one, "zzz").label(other) == (one if len(one) < 100 else None)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_does_matter(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    found = Matcher()
    assert found.code(one) != found.code(other)


LABELS = [
    ("-1", "0", "1"),
    ("A-", "A", "A+", "a"),
    ("<5", ">5", "5", "5+"),
    ("C", "C#", "C++", "F#"),
    ("1.1", "1.10", "1.1.0"),
    ("yes", "Yes", "YES."),
    ("*", "**", "***"),
    ("!", "?", ".", "..."),
    ("_x_", "x", "__x__"),
    ('"x"', "x", "'x'"),
    ("#1", "1", "1."),
    ("m²", "m2"),
    ("(a)", "a", "a)"),
    ("a:b", "a:", "a"),
    ("N/A", "None", "nan", "null", "NaN"),
    ("１", "1", "①", "+1", "1.0"),
    ("1e3", "1000", "1000.50", "1.000,50"),
    ("007", "07", "7"),
    ("50%", "50", "0.5"),
    ('{"a":1}', '{"a":1.0}', '{"a": 1}'),
    ("ß", "ss", "SS"),
    (":)", ":(", "):"),
]


@pytest.mark.parametrize("labels", LABELS)
def test_no_two_labels_of_a_reference_are_one(labels: tuple[str, ...]) -> None:
    found = matcher(*labels)
    assert [found.label(label) for label in labels] == list(labels)
    assert len({found.code(label) for label in labels}) == len(labels)
    for label in labels:
        assert [found.right(label, (other,)) for other in labels] == [label == other for other in labels]


def test_no_two_words_of_a_long_reference_are_one() -> None:
    """Symbols and codes are labels also where there are too many of them for a set."""
    answers: dict[str, tuple[str, ...]] = {str(n): (f"id{n}",) for n in range(300)}
    found = Matcher(Reference(answers | {"x": ("Co",), "y": ("CO",), "z": ("co.",)}))
    assert not found.closed
    assert [found.right("CO", (label,)) for label in ("Co", "CO", "co.")] == [False, True, False]
    assert found.right("**Co**", ("Co",))
    assert found.right("ID7.", ("id7",))
    assert found.alike == ["CO", "Co", "co."]


def test_answers_that_could_be_several_labels_are_none() -> None:
    found = matcher("yes", "Yes", "no")
    assert found.label("YES") is None
    assert found.label("Yes.") == "Yes"
    assert found.label("NO!") == "no"
    assert found.alike == ["Yes", "yes"]
    assert matcher("yes", "no").alike == []


def test_free_texts_are_no_labels() -> None:
    answers: dict[str, tuple[str, ...]] = {str(n): (f"The {n}th of May",) for n in range(100)}
    found = Matcher(Reference(answers | {"x": ("the 3th of may",)}))
    assert not found.closed
    assert found.right("the 3th of May.", ("The 3th of May",))
    assert not found.right("the 4th of May.", ("The 3th of May",))


@pytest.mark.parametrize(
    ("extract", "answer", "want"),
    [
        ("last_number", "First 3, then 4: so it is $1,234.50.", "1234.50"),
        ("last_number", "minus −3", "-3"),
        ("last_number", "none", None),
        ("last_number", "v2 of GPT-4o", None),
        ({"regex": r"Answer:\s*(\w+)"}, "Answer: A? No. Answer: B", "B"),
        ({"regex": r"[A-D]\b"}, "It is C", "C"),
        ({"regex": "x"}, "y", None),
        ({"regex": "Answer: (A)|Option (B)"}, "Option B", "B"),
        ({"json": "label"}, '{"label": "x", "why": "…"}', "x"),
        ({"json": "$.a.b[0]"}, 'Here:\n```json\n{"a": {"b": [2.0]}}\n```\nDone.', "2"),
        ({"json": "a"}, '{"b": 1}', None),
        ({"json": "a"}, "no JSON", None),
        ({"tolerance": 0.1}, "anything", "anything"),
    ],
)
def test_ways_to_read_an_answer(extract: Any, answer: str, want: str | None) -> None:
    assert Reader(read_extract(extract)).read(answer) == want


def test_a_label_in_a_sentence() -> None:
    found = matcher("billing", "not urgent", "urgent", "-1", "1", "C", "C#", extract=Extract(includes=True))
    for answer, want in [
        ("The category is billing.", "billing"),
        ("This is not urgent", "not urgent"),
        ("I'd say **urgent**, clearly", "urgent"),
        ("billing or urgent", None),
        ("rebilling", None),
        ("The answer is -1", "-1"),
        ("The answer is 1.", "1"),
        ("Written in C#", "C#"),
        ("It's C-like", None),
    ]:
        read = found.read(answer)
        assert (read if read is None else found.label(read)) == want, answer
    chinese = matcher("账单", "快递", extract=Extract(includes=True))
    assert chinese.read("分类是账单。") == "账单"
    assert chinese.read("账单或快递") is None
    free = Matcher(Reference({"1": ("Paris",)}), Reader(Extract(includes=True)))
    free._labels = []
    assert free.right("It is Paris, of course", ("Paris",))
    assert not free.right("It is Parisian", ("Paris",))


@pytest.mark.parametrize(
    ("tolerance", "right"), [(0.01, ["3.14", "3.15"]), ("1%", ["3.14", "3.15", "3.16"]), (None, ["3.14"])]
)
def test_numbers_within_a_tolerance(tolerance: Any, right: list[str]) -> None:
    found = matcher("3.14", "7", extract=Extract(last_number=True, tolerance=tolerance), copies=1)
    assert [each for each in ("3.14", "3.15", "3.16", "3.3", "x") if found.right(each, ("3.14",))] == right


def starts_alike(answer: str, reference: str) -> bool:
    return answer[:1] == reference[:1]


def as_text(answer: str, reference: str) -> str:
    return "1"


def nothing(answer: str, reference: str) -> None:
    return None


def not_a_number(answer: str, reference: str) -> float:
    return float("nan")


def with_request(answer: str, reference: str, request: str) -> float:
    return 0.5 if request in answer else 7


def test_a_scorer_of_ones_own() -> None:
    reader = Reader(read_extract({"scorer": f"{__name__}:starts_alike"}))
    assert reader.scorer is not None
    assert score(reader.scorer, "abc", "axe", "?", "r1") == 1.0
    with pytest.raises(ConfigurationError, match=r"must return True, False or 0 to 1"):
        score(with_request, "secret", "y", "no", "r1")
    for bad in (as_text, nothing, not_a_number):
        with pytest.raises(ConfigurationError, match=r"The scorer .* (must return|failed with TypeError)"):
            score(bad, "x", "y", "no", "r1")
    with pytest.raises(ConfigurationError, match=r"TypeError on request 'r1'") as caught:
        score(starts_alike, "secret", 3, "", "r1")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_what_a_call_may_say() -> None:
    assert read_options(None, "first", None, None, None) == STRICT
    found = read_options('{"regex": "x (.)", "tolerance": "1%"}', "any", 2, " user ", "lang, tier,lang,")
    assert found.extract == Extract(regex="x (.)", tolerance="1%")
    assert (found.margin, found.cluster_by, found.slice_by) == (0.02, "user", ("lang", "tier"))
    assert found.fields == ("user", "lang", "tier")
    with pytest.raises(ConfigurationError, match="extract must be"):
        read_options("{", "first", None, None, None)


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        {},
        {"regex": "("},
        {"regex": "a", "json": "b"},
        {"json": "a["},
        {"scorer": "os:system"},
        {"scorer": "subprocess:getoutput"},
        {"scorer": "no.such.module:f"},
        {"scorer": "nothing"},
        {"tolerance": -1},
        {"tolerance": "x"},
        {"last_number": True, "more": 1},
    ],
)
def test_what_cannot_be_read_so(bad: Any) -> None:
    with pytest.raises(ConfigurationError):
        read_extract(bad)


def test_what_is_wrapped_eight_times_is_unwrapped_and_no_more() -> None:
    text = "x"
    for start, end in ('""', "''", "``", "“”", "‘’", "«»", "‹›", "「」"):
        text = f"{start}{text}{end}"
    assert unwrapped(text) == "x"
    assert unwrapped(f"『{text}』") == '"x"'


@pytest.mark.parametrize("text", ["- a\n- b", "# a\nb", "* a\n* b"])
def test_a_list_is_no_line_with_a_mark(text: str) -> None:
    assert unwrapped(text) == text


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("```json\nyes```", "yes"),
        ("```It is\nyes```", "It is\nyes"),
        ("```c++ \nyes\n```", "yes"),
        ("```yes```", "yes"),
    ],
)
def test_the_first_line_of_a_fence_may_be_a_language(text: str, inner: str) -> None:
    assert unwrapped(text) == inner


@pytest.mark.parametrize(
    ("one", "other"),
    [("e\u0301", "é"), ("STRASSE", "Straße"), ("[1e15]", "[1000000000000000]"), ("[1e300]", "[1.0e300]")],
)
def test_spellings_of_one_text(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert exact("e\u0301") == "é"


def test_json_that_is_too_deep_is_a_text() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert normalise(deep) == deep
