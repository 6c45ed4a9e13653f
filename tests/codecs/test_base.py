"""What every codec speaks: policies, errors of one request, and JSON that loses nothing."""

import pickle
from typing import Any, Literal

import msgspec
import pytest

from tasks.codecs import all_codecs
from tasks.codecs.base import (
    UNFORESEEN,
    Chat,
    ChatCodec,
    ConversionFault,
    Policy,
    RequestError,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
    dumps,
)


def policy(unsupported: Literal["error", "drop"] = "error") -> Policy:
    return Policy(unsupported, "nova")


def test_a_field_that_cannot_be_honoured_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(RequestError) as caught:
        policy().refuse("logit_bias", "there is no equivalent.")
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", "logit_bias")
    assert error.message == (
        "'logit_bias' cannot be honoured by nova: there is no equivalent. "
        'Remove it, or run with unsupported="drop" to leave it out and count it.'
    )


def test_or_it_is_left_out_and_counted() -> None:
    lenient = policy("drop")
    lenient.refuse("messages[3].name", "x", count_as="messages[].name")
    lenient.refuse("messages[4].name", "x", count_as="messages[].name")
    lenient.refuse("seed", "x")
    assert lenient.dropped == {"messages[].name": 2, "seed": 1}


@pytest.mark.parametrize("unsupported", ["error", "drop"])
def test_what_would_change_the_question_is_refused_always(unsupported: Any) -> None:
    with pytest.raises(RequestError, match="'messages' cannot be honoured by nova: no") as caught:
        policy(unsupported).refuse_always("messages", "no")
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages")


def test_a_note_is_counted_and_no_error() -> None:
    strict = policy()
    strict.note("thinking")
    strict.note("thinking")
    assert strict.dropped == {"thinking": 2}


def test_long_names_are_cut() -> None:
    error = RequestError("m" * 601, "p" * 201)
    assert (error.message, error.param) == ("m" * 600 + "…", "p" * 200 + "…")
    exact = RequestError("m" * 600, "p" * 200)
    assert (exact.message, exact.param) == ("m" * 600, "p" * 200)
    with pytest.raises(RequestError) as caught:
        policy().refuse("x" * 1000, "why it is refused.")
    assert "why it is refused." in caught.value.message


def test_errors_cross_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(RequestError("m", "p", "c")))
    assert (str(error), error.message, error.param, error.code, error.status) == ("m", "m", "p", "c", 400)
    fault = pickle.loads(pickle.dumps(ConversionFault()))
    assert (fault.status, fault.code, fault.param) == (500, "conversion_failed", None)
    assert "not of the request" in fault.message


@pytest.mark.parametrize(
    ("chat", "uses"),
    [
        (Chat([], [Turn("user", [Text("Hi")])]), False),
        (Chat([], [], [Tool("f", None, {}, None)]), True),
        (Chat([], [Turn("user", [Text("Hi")]), Turn("assistant", [ToolCall("1", "f", b"{}")])]), True),
        (Chat([], [Turn("user", [ToolResult("1", [])])]), True),
        (Chat([], [Turn("assistant", [Thinking("hm")])]), False),
    ],
)
def test_what_uses_tools(chat: Chat, uses: bool) -> None:
    assert chat.uses_tools is uses


def test_what_data_can_raise_that_nobody_thought_of() -> None:
    """And none of what the machine, S3 or an account can: OSError, MemoryError, our own."""
    given = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    assert set(UNFORESEEN) == set(given)


def test_thoughts_are_left_out_and_counted_once() -> None:
    strict = policy()
    chat = Chat(
        [],
        [
            Turn("assistant", [Thinking("a"), Text("b"), Thinking("c")]),
            Turn("user", [Text("d")]),
            Turn("assistant", [Thinking("e"), Text("f")]),
        ],
    )
    chat.leave_out_thinking(strict)
    assert [turn.parts for turn in chat.turns] == [[Text("b")], [Text("d")], [Text("f")]]
    assert strict.dropped == {"messages[].thinking_blocks": 1}
    chat.leave_out_thinking(strict)
    assert strict.dropped == {"messages[].thinking_blocks": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, "é", None, True, 1.5]}, '{"a":[1,"é",null,true,1.5]}'),
        ({"n": 12345678901234567890123}, '{"n":12345678901234567890123}'),
        ([-(10**30), {"raw": msgspec.Raw(b'{"b": 10}')}], '[-1000000000000000000000000000000,{"raw":{"b": 10}}]'),
        ([10**30, Text("t")], '[1000000000000000000000000000000,{"type":"Text","text":"t"}]'),
    ],
)
def test_json_is_compact_and_keeps_every_digit(value: Any, text: str) -> None:
    assert dumps(value).decode() == text


def test_which_job_the_chats_of_each_family_go_to() -> None:
    """Converse's answers carry a usage where the native ones of a family do not."""
    found = {codec.family: codec.prefers for codec in all_codecs() if isinstance(codec, ChatCodec)}
    native = ["anthropic", "mistral", "nova", "openai-bodied", "titan-text", "unserved"]
    converse = ["cohere-command", "converse", "deepseek-r1", "llama", "mistral-chat", "mistral-instruct"]
    assert found == dict.fromkeys(native, "InvokeModel") | dict.fromkeys(converse, "Converse")
