"""What a model does not take of a conversation's history."""

from typing import Any

import pytest

from tasks.codecs.base import Chat, Part, Policy, RequestError, Text, Thinking, ToolCall, ToolResult, Turn
from tasks.codecs.families._conversation import begins_answer, check_beginning, continue_thinking, shorten_tool_ids
from tests.codecs.helpers import facts

BUDGET = {"type": "enabled", "budget_tokens": 1024}
THOUGHT, CALL, RESULT = Thinking("hm", "s"), ToolCall("1", "f", b"{}"), ToolResult("1", [])


def chat(*turns: list[Part]) -> Chat:
    return Chat([], [Turn("assistant" if place % 2 else "user", list(parts)) for place, parts in enumerate(turns)])


HI: list[Part] = [Text("Hi")]


@pytest.mark.parametrize(
    ("turns", "thinking", "kept", "dropped"),
    [
        ([HI], BUDGET, BUDGET, {}),
        ([HI, [THOUGHT, CALL], [RESULT]], BUDGET, BUDGET, {}),
        ([HI, [CALL], [RESULT]], BUDGET, None, {"reasoning_effort": 1}),
        # An adaptive model goes on without.
        ([HI, [CALL], [RESULT]], {"type": "adaptive"}, {"type": "adaptive"}, {}),
        # The turn before that is over.
        ([HI, [CALL], [RESULT], HI, HI], BUDGET, BUDGET, {}),
        ([HI, HI], BUDGET, None, {"reasoning_effort": 1}),
        ([HI, [THOUGHT, *HI], HI], None, None, {"messages[].thinking_blocks": 1}),
        ([HI, [THOUGHT, *HI], HI], {"type": "disabled"}, {"type": "disabled"}, {"messages[].thinking_blocks": 1}),
    ],
)
def test_thinking_as_the_history_allows_it(
    turns: list[list[Part]], thinking: Any, kept: Any, dropped: dict[str, int]
) -> None:
    policy = Policy("drop", "x")
    assert continue_thinking(chat(*turns), thinking, policy) == kept
    assert policy.dropped == dropped


def test_the_refusal_names_what_was_given() -> None:
    with pytest.raises(RequestError, match="thinking_blocks") as caught:
        continue_thinking(chat(HI, [CALL], [RESULT]), BUDGET, Policy("error", "x"), "thinking")
    assert caught.value.param == "thinking"


@pytest.mark.parametrize(
    ("prefill", "formatted", "turns", "why"),
    [
        (True, False, 2, None),
        (False, False, 1, None),
        (False, False, 2, "must be the user's"),
        (True, True, 2, "beside a response_format"),
    ],
)
def test_the_beginning_of_an_answer(prefill: bool, formatted: bool, turns: int, why: str | None) -> None:
    known = facts(prefill=prefill)
    asked = chat(*[HI] * turns)
    assert begins_answer(asked) is (turns == 2)
    if why is None:
        check_beginning(asked, known, Policy("error", "x"), formatted=formatted)
        assert len(asked.turns) == turns
        return
    with pytest.raises(RequestError, match=why):
        check_beginning(asked, known, Policy("error", "x"), formatted=formatted)
    lenient = Policy("drop", "x")
    check_beginning(asked, known, lenient, formatted=formatted)
    assert (len(asked.turns), lenient.dropped) == (1, {"messages[] (beginning of the answer)": 1})


def test_ids_of_nine_characters() -> None:
    asked = chat(HI, [ToolCall("call_1", "f", b"{}"), ToolCall("abcDEF123", "f", b"{}")], [ToolResult("call_1", [])])
    shorten_tool_ids(asked)
    first, second = asked.turns[1].parts
    (answered,) = asked.turns[2].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert isinstance(answered, ToolResult)
    assert len(first.id) == 9
    assert first.id.isalnum()
    assert answered.id == first.id
    assert second.id == "abcDEF123"


def test_thoughts_stay_where_the_model_thinks() -> None:
    asked, policy = chat(HI, [THOUGHT, *HI], HI), Policy("error", "x")
    assert continue_thinking(asked, BUDGET, policy) == BUDGET
    assert (asked.turns[1].parts, policy.dropped) == ([THOUGHT, *HI], {})
    asked = chat(HI, [THOUGHT, *HI], HI)
    continue_thinking(asked, {"type": "disabled"}, policy)
    assert asked.turns[1].parts == HI
    with pytest.raises(RequestError, match="from the beginning of an answer") as caught:
        continue_thinking(chat(HI, HI), {"type": "adaptive"}, Policy("error", "x"), "thinking")
    assert caught.value.param == "thinking"
    assert continue_thinking(chat(HI, HI), {"type": "disabled"}, Policy("error", "x")) == {"type": "disabled"}


@pytest.mark.parametrize(
    ("id", "stays"),
    [("abcDEF123", True), ("abcDEF1234", False), ("abcDEF12", False), ("abc_EF123", False), ("", False)],
)
def test_which_ids_are_of_nine_characters(id: str, stays: bool) -> None:
    asked = chat(HI, [ToolCall(id, "f", b"{}")], [ToolResult(id, [])])
    shorten_tool_ids(asked)
    (called,), (answered,) = asked.turns[1].parts, asked.turns[2].parts
    assert isinstance(called, ToolCall)
    assert isinstance(answered, ToolResult)
    assert (called.id == id) is stays
    assert (len(called.id), called.id.isalnum(), answered.id) == (9, True, called.id)
