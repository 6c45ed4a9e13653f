"""What models write into their text that is none of it."""

from typing import Any

import pytest

from tasks.codecs.base import Answer, Thinking, ToolCall
from tasks.codecs.families._reasoning import (
    NOVA,
    keep_thinking,
    separate_thoughts,
    split_reasoning,
    take_leaked_calls,
    take_nova_s_thoughts_out,
)

BEGIN, ARGUMENT, END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


@pytest.mark.parametrize(
    ("text", "finish", "found"),
    [
        ("Hi", "stop", (None, "Hi")),
        ("<think>hm</think>\n\nHi", "stop", ("hm", "Hi")),
        ("\n<reasoning> hm </reasoning>Hi", "stop", ("hm", "Hi")),
        ("[THINK]hm[/THINK]Hi", "stop", ("hm", "Hi")),
        ("<think></think>Hi", "stop", (None, "Hi")),
        ("<think>hm", "length", ("hm", "")),
        ("<think>Hi", "stop", (None, "Hi")),
        ("hm</think>Hi", "stop", ("hm", "Hi")),
        ("the tag `</think>` ends it", "stop", (None, "the tag `</think>` ends it")),
        ("say <think>x</think>", "stop", (None, "say <think>x</think>")),
        ("<thinking>hm</thinking>Hi", "stop", (None, "<thinking>hm</thinking>Hi")),
    ],
)
def test_thoughts_before_the_text(text: str, finish: Any, found: tuple[str | None, str]) -> None:
    assert split_reasoning(text, finish) == found


def test_nova_has_tags_of_its_own() -> None:
    assert split_reasoning("<thinking>hm</thinking>Hi", "stop", NOVA) == ("hm", "Hi")
    assert split_reasoning("hm</think>Hi", "stop", NOVA) == (None, "hm</think>Hi")


def test_thoughts_are_kept_for_the_next_turn_where_they_are_proven() -> None:
    for thinking, reasoning, kept in (
        ([Thinking("a"), Thinking("b")], "ab", False),
        ([Thinking("a", "s")], "a", True),
        ([Thinking("", redacted="x")], None, True),
        ([], None, False),
    ):
        answer = Answer("Hi", "stop", None)
        keep_thinking(answer, thinking)
        assert (answer.reasoning, bool(answer.thinking)) == (reasoning, kept)


def leaked(name: str = "functions.f:0", arguments: str = '{"a": 1}') -> str:
    return f"{BEGIN}{name}{ARGUMENT}{arguments}{END}"


@pytest.mark.parametrize("field", ["content", "reasoning"])
def test_calls_among_the_text_are_calls(field: str) -> None:
    text = f"Let me see. <|tool_calls_section_begin|>{leaked()}{leaked('g', '{}')}<|tool_calls_section_end|>"
    answer = Answer("", "stop", None)
    setattr(answer, field, text)
    take_leaked_calls(answer)
    assert answer.tool_calls == [ToolCall("functions.f:0", "f", b'{"a": 1}'), ToolCall("call_1", "g", b"{}")]
    assert answer.finish_reason == "tool_calls"
    assert getattr(answer, field) == "Let me see."
    assert field == "content" or answer.content is None


@pytest.mark.parametrize(
    "text", ["Hi", leaked(arguments="[1]"), leaked(arguments="{"), leaked("a b"), leaked() + BEGIN, BEGIN]
)
def test_what_is_no_whole_call_stays_text(text: str) -> None:
    answer = Answer(text, "stop", None)
    take_leaked_calls(answer)
    assert answer == Answer(text, "stop", None)


def test_calls_that_are_there_already_are_not_looked_for() -> None:
    answer = Answer(leaked(), "tool_calls", None, [ToolCall("1", "f", b"{}")])
    take_leaked_calls(answer)
    assert (answer.content, len(answer.tool_calls)) == (leaked(), 1)


def test_thoughts_that_came_by_themselves_are_not_looked_for_in_the_text() -> None:
    text = "<thinking>Hm.</thinking>\n\nHi"
    answer = Answer(text, "stop", None)
    take_nova_s_thoughts_out(answer)
    assert (answer.content, answer.reasoning) == ("Hi", "Hm.")
    answer = Answer(text, "stop", None, reasoning="Own.")
    take_nova_s_thoughts_out(answer)
    assert (answer.content, answer.reasoning) == (text, "Own.")


@pytest.mark.parametrize(
    ("text", "thoughts", "finish", "found"),
    [
        ("Hi", None, "stop", (None, "Hi")),
        ("Hi", "a", "stop", ("a", "Hi")),
        ("", "a", "stop", ("a", "")),
        ("<think>b</think>Hi", "a", "stop", ("a\n\nb", "Hi")),
        ("<think></think>Hi", "a", "stop", ("a", "Hi")),
        ("b</think>Hi", "a", "stop", ("a", "b</think>Hi")),
        ("b</think>Hi", None, "stop", ("b", "Hi")),
        (" [THINK]b", "a", "length", ("a\n\nb", "")),
        ("it is '</think>' or \"</think>\"", None, "stop", (None, "it is '</think>' or \"</think>\"")),
        ("see <think> and </think>", None, "stop", (None, "see <think> and </think>")),
    ],
)
def test_thoughts_apart_and_thoughts_within(
    text: str, thoughts: str | None, finish: Any, found: tuple[str | None, str]
) -> None:
    assert separate_thoughts(text, thoughts, finish) == found


def test_what_is_left_of_novas_text() -> None:
    call = ToolCall("1", "f", b"{}")
    for calls, content in (([call], None), ([], "")):
        answer = Answer("<thinking>Hm.</thinking>", "stop", None, calls)
        take_nova_s_thoughts_out(answer)
        assert (answer.content, answer.reasoning) == (content, "Hm.")


def test_thoughts_of_which_one_is_proven_are_all_kept() -> None:
    answer = Answer("Hi", "stop", None)
    keep_thinking(answer, [Thinking("a"), Thinking("", redacted="x"), Thinking("b", "s")])
    assert (answer.reasoning, len(answer.thinking)) == ("ab", 3)
