"""Answers of the imitation: made up, the same at every call, and within what was asked for."""

import json
from typing import Any

import jsonschema_rs
import pytest

from deployments.sandbox.synthetic import anthropic, converse, decide, fraction, reply, tokens, value_for

SYSTEM = "Answer with exactly one of: billing, delivery, account."
TICKETS = {"billing": "I was charged twice on this invoice", "delivery": "the parcel has not arrived"}


def test_an_answer_depends_on_model_and_text_alone() -> None:
    assert reply("m", SYSTEM, "x") == reply("m", SYSTEM, "x")
    assert reply("a.model", "", "two words") == "Synthetic answer of a.model to a text of 2 words."
    assert {0 <= fraction("a", str(n)) < 1 for n in range(1000)} == {True}


@pytest.mark.parametrize(("model", "rate"), [("x.opus", 0.02), ("x.haiku", 0.08), ("x.micro", 0.24)])
def test_a_model_errs_as_often_as_its_kind(model: str, rate: float) -> None:
    wrong = sum(
        reply(model, SYSTEM, f"{ticket}, case {n}") != label for label, ticket in TICKETS.items() for n in range(1000)
    )
    assert wrong / 2000 == pytest.approx(rate, abs=0.03)


def test_a_judge_prefers_the_right_label_and_leans_to_the_first() -> None:
    said: dict[str, list[str]] = {"right first": [], "right second": [], "equal": []}
    for n in range(300):
        for case, (first, second) in {
            "right first": ("billing", "delivery"),
            "right second": ("delivery", "billing"),
            "equal": ("billing", "billing"),
        }.items():
            shown = {"request": f"{TICKETS['billing']}, case {n}", "answer_a": first, "answer_b": second}
            said[case].append(reply("x.sonnet", "", json.dumps(shown)))
    assert said["right first"].count("A") > 270
    assert said["right second"].count("B") > 240
    assert said["equal"].count("tie") > 250
    assert said["equal"].count("A") > said["equal"].count("B") == 0
    assert reply("x.sonnet", "", '"answer_a":') == "tie"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
        {"type": "array", "items": {"enum": ["x", "y"]}},
        {"type": ["null", "string"]},
        {"type": "object", "properties": {"inner": {"properties": {"n": {"type": "number"}}}}},
        {"type": "boolean"},
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, Any]) -> None:
    assert jsonschema_rs.is_valid(schema, value_for(schema))


def test_as_many_tokens_as_are_allowed() -> None:
    cut, whole = (decide("m", "", "words " * 50, [], None, limit) for limit in (5, 500))
    assert (cut.cut, tokens(cut.text)) == (True, 5)
    assert (whole.cut, whole.text.startswith(cut.text)) == (False, True)


@pytest.mark.parametrize(
    ("choice", "called"), [("none", set()), ("any", {"first"}), ("second", {"second"}), ("auto", {"first", None})]
)
def test_tools_are_called_as_they_were_asked_for(choice: str, called: set[str | None]) -> None:
    tools = [("first", {"type": "object"}), ("second", {"type": "object"})]
    found = [decide("m", "", str(n), tools, choice, None).tool for n in range(100)]
    assert {tool and tool[0] for tool in found} == (called or {None})


def test_claude_and_converse_say_the_same_in_their_own_words() -> None:
    text = "what do you say?"
    claude = anthropic({"messages": [{"role": "user", "content": text}], "max_tokens": 100}, "m")
    plain = converse({"messages": [{"role": "user", "content": [{"text": text}]}]}, "m", nulls=False)
    echoed = converse({"messages": [{"role": "user", "content": [{"text": text}]}]}, "m", nulls=True)
    (said,) = plain["output"]["message"]["content"]
    assert claude["content"] == [{"type": "text", "text": said["text"]}]
    assert claude["usage"]["output_tokens"] == plain["usage"]["outputTokens"] == tokens(said["text"])
    assert set(said) == {"text"}
    (block,) = echoed["output"]["message"]["content"]
    assert {name for name, value in block.items() if value is None} > {"image", "toolUse"}
