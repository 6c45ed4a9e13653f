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
