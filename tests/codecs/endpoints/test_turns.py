"""Turns in the one order that every target takes."""

from typing import Any

import pytest

from tasks.codecs.base import Part, Policy, RequestError, Text, Thinking, ToolCall, ToolResult, Turn
from tasks.codecs.endpoints._turns import is_blank, settle
from tests.codecs.helpers import refused

BEGIN = Turn("user", [Text("Please begin.")])


def user(*parts: Part | str) -> Turn:
    return Turn("user", [Text(part) if isinstance(part, str) else part for part in parts])


def model(*parts: Part | str) -> Turn:
    return Turn("assistant", user(*parts).parts)


def call(id: str = "1", name: str = "f") -> ToolCall:
    return ToolCall(id, name, b"{}")


def result(id: str = "1", text: str = "r") -> ToolResult:
    return ToolResult(id, [Text(text)])


def settled(*turns: Turn, **options: Any) -> list[Turn]:
    return settle(list(turns), Policy("error", "x"), "messages", **options).turns


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([user("a"), user("b"), model("c")], [user("a", "b"), model("c")]),
        ([user("a"), model(" "), user("b")], [user("a", "b")]),
        ([user("a", "\n")], [user("a")]),
        ([model("a"), user("b")], [BEGIN, model("a"), user("b")]),
        # White space at the end of what the model goes on from.
        ([user("a"), model("b \n")], [user("a"), model("b")]),
        ([user("a"), model("b "), user("c")], [user("a"), model("b "), user("c")]),
        # Thoughts that nothing was said to.
        ([user("a"), model(Thinking("hm")), user("b")], [user("a", "b")]),
        ([user("a"), model(Thinking("hm"), "b"), user("c")], [user("a"), model(Thinking("hm"), "b"), user("c")]),
    ],
)
def test_turns_alternate_and_begin_with_the_users(given: list[Turn], kept: list[Turn]) -> None:
    assert settled(*given) == kept


def test_system_text_alone_is_enough() -> None:
    assert settled(system=True) == [BEGIN]
    with pytest.raises(RequestError, match="holds no user message with content") as caught:
        settled(user(" "))
    assert caught.value.param == "messages"


def test_calls_come_last_and_results_first() -> None:
    assert settled(user("a"), model(call(), "b"), user("c", result())) == [
        user("a"),
        model("b", call()),
        user(result(), "c"),
    ]


def test_each_call_has_an_id_of_its_own() -> None:
    turns = settled(user("a"), model(call()), user(result()), model(call()), user(result(text="s")))
    assert [part.id for turn in turns for part in turn.parts if isinstance(part, ToolCall | ToolResult)] == [
        "1",
        "1",
        "1_2",
        "1_2",
    ]


def test_several_results_of_a_call_are_one() -> None:
    turns = settled(user("a"), model(call()), user(result(), result(text="s")))
    assert turns[-1] == user(ToolResult("1", [Text("r"), Text("s")]))


def test_calls_of_one_id_are_answered_in_turn() -> None:
    turns = settled(user("a"), model(call(), call()), user(result(), result(text="s")))
    assert turns[-1] == user(result(), result("1_2", "s"))


@pytest.mark.parametrize(
    "turns",
    [
        [user("a"), model(call()), user("b")],
        [user("a"), model(call())],
        [user("a"), model(call(), call("2")), user(result())],
    ],
)
def test_a_call_without_a_result_is_refused_or_left_out(turns: list[Turn]) -> None:
    lenient = Policy("drop", "x")
    kept = settle([Turn(turn.role, list(turn.parts)) for turn in turns], lenient, "messages").turns
    calls = [part for turn in kept for part in turn.parts if isinstance(part, ToolCall)]
    assert len(calls) == sum(isinstance(part, ToolResult) for turn in turns for part in turn.parts)
    assert lenient.dropped == {"messages[].tool_calls (without a result)": 1}
    with refused("messages[].tool_calls", "each call must have its result"):
        settled(*turns)


@pytest.mark.parametrize(
    "turns",
    [
        [user(result())],
        [user("a"), model("b"), user(result())],
        [user("a"), model(call()), user(result("2"))],
        [user("a"), user(result())],
    ],
)
def test_a_result_without_a_call_is_refused(turns: list[Turn]) -> None:
    with pytest.raises(RequestError, match="did not make") as caught:
        settled(*turns)
    assert caught.value.param == "messages[].tool_call_id"


def test_names_that_no_target_takes() -> None:
    turns = [
        user("a"),
        model(call("1", "f(x)"), call("2", "f"), call("3", "f x"), call("4", "f(x)"), call("5", "é")),
        user(*(result(str(n)) for n in range(1, 6))),
    ]
    found = settle(turns, Policy("error", "x"), "messages", declared=["f_x_"])
    names = [part.name for part in found.turns[1].parts if isinstance(part, ToolCall)]
    assert names == ["f_x__2", "f", "f_x", "f_x__2", "_"]
    assert found.names == {"f_x__2": "f(x)", "f_x": "f x", "_": "é"}
    assert settle([user("a")], Policy("error", "x"), "messages").names == {}


def test_what_is_blank() -> None:
    assert is_blank(Text(" \n"))
    assert not is_blank(Text("a"))
    assert not is_blank(Thinking(""))


def test_names_without_a_letter_or_of_any_length() -> None:
    turns = [user("a"), model(call("1", ""), call("2", "x y" * 40), call("3", "x y" * 40 + "z")),
             user(*(result(str(n)) for n in (1, 2, 3)))]  # fmt: skip
    found = settle(turns, Policy("error", "x"), "messages", declared=["unnamed"])
    names = [part.name for part in found.turns[1].parts if isinstance(part, ToolCall)]
    long = ("x_y" * 40)[:60]
    assert names == ["unnamed_2", long, f"{long}_2"]
    assert found.names == {"unnamed_2": "", long: "x y" * 40, f"{long}_2": "x y" * 40 + "z"}


def test_more_results_than_calls_of_an_id_belong_to_the_last() -> None:
    turns = settled(user("a"), model(call(), call()), user(result(), result(text="s"), result(text="t")))
    assert turns[-1] == user(result(), ToolResult("1_2", [Text("s"), Text("t")]))


def test_results_and_calls_stand_where_they_must_however_little_else_is_wrong() -> None:
    """Each of these alone puts a conversation into order."""
    assert settled(user("a"), model(call()), user("c", result()))[-1] == user(result(), "c")
    assert settled(user("a"), model(call(), "b"), user(result()))[1] == model("b", call())
    assert settled(user("a"), model(call("1", "f x")), user(result()))[1] == model(call("1", "f_x"))
    assert settled(user("a"), model(call(), call()), user(result(), result()))[1] == model(call(), call("1_2"))
