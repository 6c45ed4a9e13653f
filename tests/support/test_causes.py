"""Equal mistakes told once."""

from tasks.support.causes import Causes, listed


def test_equal_mistakes_are_one_cause() -> None:
    causes = Causes()
    causes.add("duplicate_custom_id", "'custom_id' is that of line 7.", "custom_id", 9, "a.jsonl")
    for line in range(12, 30):
        causes.add(
            "unsupported_parameter", "'logit_bias' is not honoured by this model.", "logit_bias", line, "a.jsonl"
        )
    causes.add("duplicate_custom_id", "'custom_id' is that of line 12,345.", "custom_id", 99, "a.jsonl")
    assert [str(cause) for cause in causes.ranked()] == [
        "18 lines: 'logit_bias' is not honoured by this model, first line 12",
        "2 lines: 'custom_id' is that of line 7, first line 9",
    ]


def test_what_lines_say_does_not_fill_the_memory() -> None:
    causes = Causes()
    for line in range(5000):
        causes.add("x", "about " + "".join(chr(97 + int(digit)) for digit in str(line)), None, line, "a.jsonl")
    ranked = causes.ranked()
    assert len(ranked) == 201
    assert (ranked[0].message, ranked[0].lines) == ("other causes", 4800)
    assert listed(ranked, 2)[-1] == "and 199 more causes"


def test_what_a_cause_keeps_is_that_of_its_first_line() -> None:
    causes = Causes()
    causes.add("a", "messages[3] is bad.", "messages[3]", 1234, "first.jsonl", 1)
    causes.add("a", "messages[12] is bad.", "messages[12]", 9, "second.jsonl", 1999)
    # Another code, field or sentence is another kind.
    causes.add("b", "messages[3] is bad.", "messages[3]", 5, "x")
    causes.add("a", "messages[3] is bad.", None, 6, "x")
    causes.add("a", "Messages are bad.", "messages[3]", 7, "x")
    first, *others = causes.ranked()
    assert (first.code, first.message, first.param) == ("a", "messages[3] is bad.", "messages[3]")
    assert (first.lines, first.first_line, first.file) == (2000, 1234, "first.jsonl")
    assert str(first) == "2,000 lines: messages[3] is bad, first line 1,234"
    # Of equally many, the first in the file.
    assert [(cause.lines, cause.first_line) for cause in others] == [(1, 5), (1, 6), (1, 7)]
    assert str(others[0]).startswith("1 line: ")


def test_long_messages_are_cut() -> None:
    causes = Causes()
    causes.add("a", "word " * 200, None, 1, "x")
    assert 280 < len(causes.ranked()[0].message) <= 300


def test_what_is_listed_and_how_many_more() -> None:
    causes = Causes()
    for name in "abc":
        causes.add(name, name, None, 1, "x")
    ranked = causes.ranked()
    assert len(listed(ranked, 3)) == 3
    assert listed(ranked, 2)[-1] == "and 1 more cause"
    assert listed([], 2) == []
