"""Reasoning effort and thinking, in a model's own words."""

from typing import Any

import pytest

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import Chat, Policy, RequestError
from tasks.codecs.families._thinking import (
    _BUDGETS,
    _ROOM_TO_THINK,
    LEAST_BUDGET,
    claude_thinking,
    effort_word,
    refuse_effort,
)
from tests.codecs.helpers import facts, refused

BUDGET = facts(thinking=("budget",), max_tokens=64_000, default_max_tokens=8192)
ADAPTIVE = facts(thinking=("adaptive",), efforts=("low", "high"), thinking_off="disabled", max_tokens=128_000)
NOTHING = facts()


@pytest.mark.parametrize(
    ("efforts", "asked", "word"),
    [
        (("low", "high"), "low", "low"),
        (("low", "high"), "medium", "low"),
        (("low", "high"), "max", "high"),
        (("low", "high"), "minimal", "low"),
        ((), "low", None),
    ],
)
def test_the_models_own_word(efforts: tuple[str, ...], asked: str, word: str | None) -> None:
    assert effort_word(asked, facts(efforts=efforts)) == word


@pytest.mark.parametrize(
    ("effort", "off", "why"),
    [
        (None, "omit", None),
        ("none", "omit", None),
        ("none", "never", "cannot be kept from thinking"),
        ("low", "omit", "has no such setting"),
    ],
)
def test_an_effort_that_cannot_be_given(effort: Any, off: Any, why: str | None) -> None:
    chat = Chat([], [], reasoning_effort=effort)
    if why is None:
        refuse_effort(chat, facts(thinking_off=off), Policy("error", "x"))
        return
    with pytest.raises(RequestError, match=why):
        refuse_effort(chat, facts(thinking_off=off), Policy("error", "x"))


def think(known: Capabilities, policy: Policy, forced: bool = False, **fields: Any) -> tuple[Any, dict[str, Any], Chat]:
    chat, output = Chat([], [], **fields), dict[str, Any]()
    return claude_thinking(chat, known, policy, output, forced=forced), output, chat


@pytest.mark.parametrize(
    ("effort", "most", "budget", "tokens"),
    [
        ("low", None, 2048, 10_240),
        ("medium", None, 8192, 16_384),
        ("high", None, 16_384, 24_576),
        ("max", None, 49_152, 57_344),
        ("high", 4096, 2048, 4096),
        ("high", 1025, 1024, 1025),
    ],
)
def test_an_effort_is_a_budget_that_leaves_room_for_the_answer(
    effort: str, most: int | None, budget: int, tokens: int
) -> None:
    thinking, output, chat = think(BUDGET, Policy("error", "x"), reasoning_effort=effort, max_tokens=most)
    assert thinking == {"type": "enabled", "budget_tokens": budget}
    assert (output, chat.max_tokens) == ({}, tokens)


def test_an_effort_is_a_word() -> None:
    thinking, output, chat = think(ADAPTIVE, Policy("error", "x"), reasoning_effort="medium")
    assert (thinking, output, chat.max_tokens) == ({"type": "adaptive"}, {"effort": "low"}, 32_000)
    thinking, output, _ = think(ADAPTIVE, Policy("error", "x"), reasoning_effort="none")
    assert (thinking, output) == ({"type": "disabled"}, {})
    assert think(BUDGET, Policy("error", "x"))[0] is None
    wordless = facts(thinking=("adaptive",), max_tokens=128_000)
    assert think(wordless, Policy("error", "x"), reasoning_effort="low")[:2] == ({"type": "adaptive"}, {})


@pytest.mark.parametrize(
    ("known", "fields", "param"),
    [
        (BUDGET, {"reasoning_effort": "low", "max_tokens": 1024}, "reasoning_effort"),
        (NOTHING, {"reasoning_effort": "low"}, "reasoning_effort"),
        (BUDGET, {"reasoning_effort": "low", "forced": True}, "reasoning_effort"),
        (BUDGET, {"rest": {"thinking": {"type": "adaptive"}}}, "thinking"),
        (BUDGET, {"rest": {"thinking": {"type": "x"}}}, "thinking"),
        (BUDGET, {"rest": {"thinking": "yes"}}, "thinking"),
        (ADAPTIVE, {"rest": {"thinking": {"type": "enabled", "budget_tokens": 2048}}}, "thinking"),
        (BUDGET, {"rest": {"thinking": {"type": "enabled"}}}, "thinking.budget_tokens"),
        (BUDGET, {"rest": {"thinking": {"type": "enabled", "budget_tokens": 1023}}}, "thinking.budget_tokens"),
        (BUDGET, {"rest": {"thinking": {"type": "enabled", "budget_tokens": True}}}, "thinking.budget_tokens"),
        (
            BUDGET,
            {"rest": {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "max_tokens": 2000},
            "thinking.budget_tokens",
        ),
        (BUDGET, {"rest": {"thinking": {"type": "enabled", "budget_tokens": 64_000}}}, "thinking.budget_tokens"),
        (BUDGET, {"reasoning_effort": "low", "temperature": 0.5}, "temperature"),
        (BUDGET, {"reasoning_effort": "low", "top_p": 0.9}, "top_p"),
        (BUDGET, {"reasoning_effort": "low", "rest": {"top_k": 5}}, "top_k"),
    ],
)
def test_what_may_not_be(known: Capabilities, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        think(known, Policy("error", "x"), **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("known", "what"), [(ADAPTIVE, '{"type": "adaptive"} and reasoning_effort'), (NOTHING, "nothing of the kind")]
)
def test_it_is_said_what_a_model_takes_instead_of_a_budget(known: Capabilities, what: str) -> None:
    with refused("thinking", f"it takes {what}"):
        think(known, Policy("error", "x"), rest={"thinking": {"type": "enabled", "budget_tokens": 2048}})


def test_keys_that_no_model_reads() -> None:
    policy = Policy("drop", "x")
    given = {"type": "adaptive", "display": "omitted", "mood": "good"}
    assert think(ADAPTIVE, policy, rest={"thinking": given})[0] == {"type": "adaptive", "display": "omitted"}
    assert policy.dropped == {"thinking.mood": 1}


def test_thinking_as_it_was_given() -> None:
    given = {"type": "enabled", "budget_tokens": 2048}
    thinking, _, chat = think(BUDGET, Policy("error", "x"), rest={"thinking": given}, top_p=0.96, temperature=1)
    assert (thinking, chat.rest, chat.max_tokens) == (given, {}, 10_240)
    assert (chat.top_p, chat.temperature) == (0.96, None)
    lenient = Policy("drop", "x")
    assert think(BUDGET, lenient, rest={"thinking": given}, reasoning_effort="low")[0] == given
    assert lenient.dropped == {"reasoning_effort": 1}
    off = {"type": "disabled"}
    assert think(ADAPTIVE, Policy("error", "x"), rest={"thinking": off}, temperature=0.5)[0] == off
    assert think(BUDGET, Policy("error", "x"), rest={"thinking": off})[0] is None


def test_the_budgets() -> None:
    assert (LEAST_BUDGET, _ROOM_TO_THINK) == (1024, 32_000)
    assert _BUDGETS == {
        "minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 49_152,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "fields", "thinking", "tokens"),
    [
        # What the model answers with at most holds thoughts and answer.
        (facts(thinking=("budget",), max_tokens=32_000, default_max_tokens=8192), {"reasoning_effort": "max"},
         {"type": "enabled", "budget_tokens": 23_808}, 32_000),
        (facts(thinking=("budget",)), {"reasoning_effort": "max"}, {"type": "enabled", "budget_tokens": 49_152}, 57_344),
        (facts(thinking=("adaptive",), max_tokens=20_000), {"reasoning_effort": "low"}, {"type": "adaptive"}, 20_000),
        (facts(thinking=("adaptive",), default_max_tokens=50_000), {"reasoning_effort": "low"},
         {"type": "adaptive"}, 50_000),
        (facts(thinking=("adaptive",)), {"reasoning_effort": "low", "max_tokens": 7}, {"type": "adaptive"}, 7),
        # A model that has both is left to itself.
        (facts(thinking=("adaptive", "budget")), {"reasoning_effort": "low"}, {"type": "adaptive"}, 32_000),
        (facts(thinking=("adaptive", "between_tools")), {"rest": {"thinking": {"type": "between_tools"}}},
         {"type": "between_tools"}, 32_000),
        (facts(thinking=("budget",)), {"rest": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
         {"type": "enabled", "budget_tokens": 1024}, 9216),
    ],
)  # fmt: skip
def test_how_long_an_answer_may_be_that_is_thought_about(
    known: Capabilities, fields: dict[str, Any], thinking: dict[str, Any], tokens: int
) -> None:
    found, _, chat = think(known, Policy("error", "x"), **fields)
    assert (found, chat.max_tokens) == (thinking, tokens)


@pytest.mark.parametrize("kind", ["adaptive", "between_tools"])
def test_a_way_to_think_that_a_model_has_not(kind: str) -> None:
    policy = Policy("drop", "x")
    assert think(BUDGET, policy, rest={"thinking": {"type": kind}})[0] is None
    assert policy.dropped == {"thinking": 1}


@pytest.mark.parametrize("ways", [("adaptive",), ("adaptive", "between_tools")])
def test_what_cannot_be_kept_from_thinking(ways: tuple[str, ...]) -> None:
    never = facts(thinking=ways, thinking_off="never")
    with refused("reasoning_effort", "cannot be kept from thinking"):
        think(never, Policy("error", "x"), reasoning_effort="none")
    with pytest.raises(RequestError, match="cannot be kept from thinking") as caught:
        think(never, Policy("error", "x"), rest={"thinking": {"type": "disabled"}})
    assert ('{"type": "between_tools"}' in caught.value.message) == ("between_tools" in ways)
    policy = Policy("drop", "x")
    assert think(never, policy, rest={"thinking": {"type": "disabled"}}, temperature=0.5)[0] is None
    assert policy.dropped == {"thinking": 1}


def test_a_forced_call_goes_before_thinking() -> None:
    for fields, name in (
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"rest": {"thinking": {"type": "adaptive"}}}, "thinking"),
    ):
        policy = Policy("drop", "x")
        thinking, output, chat = think(ADAPTIVE, policy, forced=True, temperature=0.5, **fields)
        assert (thinking, output, chat.temperature, chat.max_tokens) == (None, {}, 0.5, None)
        assert policy.dropped == {name: 1}
    off = {"type": "disabled"}
    assert think(ADAPTIVE, Policy("error", "x"), forced=True, rest={"thinking": off})[0] == off


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"temperature": 1, "top_p": 1}, {}),
        ({"top_p": 0.95}, {}),
        ({"top_p": 0.94}, {"top_p": 1}),
        ({"temperature": 0}, {"temperature": 1}),
        ({"rest": {"top_k": 0}}, {"top_k": 1}),
        ({"temperature": 0.5, "top_p": 0.5, "rest": {"top_k": 5}}, {"temperature": 1, "top_p": 1, "top_k": 1}),
    ],
)
def test_what_stands_beside_thinking(fields: dict[str, Any], dropped: dict[str, int]) -> None:
    policy = Policy("drop", "x")
    chat = think(ADAPTIVE, policy, reasoning_effort="low", **fields)[2]
    assert policy.dropped == dropped
    assert (chat.temperature, chat.rest) == (None, {})
    assert chat.top_p == (0.95 if fields.get("top_p") == 0.95 else None)


def test_an_effort_beside_adaptive_thinking_as_it_was_given() -> None:
    given = {"type": "adaptive", "display": "omitted"}
    thinking, output, _ = think(ADAPTIVE, Policy("error", "x"), rest={"thinking": given}, reasoning_effort="high")
    assert (thinking, output) == (given, {"effort": "high"})
