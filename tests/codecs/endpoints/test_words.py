"""What an endpoint calls a field that families name in the words of chat completions."""

from typing import Any

import pytest

from tasks.codecs.base import RequestError
from tasks.codecs.endpoints._words import Words, counted_in, in_words, renamed, words
from tasks.codecs.endpoints.chat import ENDPOINT as CHAT
from tasks.codecs.endpoints.completions import ENDPOINT as COMPLETIONS
from tasks.codecs.endpoints.responses import ENDPOINT as RESPONSES

LEGACY: dict[str, Any] = {"functions": []}
CASES = [
    (RESPONSES, {}, "messages", "input"),
    (RESPONSES, {}, "messages[3].content[1].image_url", "input[3].content[1].image_url"),
    (RESPONSES, {}, "messages[].tool_calls", "input[]"),
    (RESPONSES, {}, "messages[2].tool_calls[0].function", "input[2][0].function"),
    (RESPONSES, {}, "input[2].tool_calls", "input[2]"),
    (RESPONSES, {}, "messages[2].tool_call_id", "input[2].call_id"),
    (RESPONSES, {}, "input[2].tool_call_id", "input[2].call_id"),
    (RESPONSES, {}, "messages[].thinking_blocks", "input[].encrypted_content"),
    (RESPONSES, {}, "response_format", "text.format"),
    (RESPONSES, {}, "response_format.json_schema.schema", "text.format.schema"),
    (RESPONSES, {}, "verbosity", "text.verbosity"),
    (RESPONSES, {}, "reasoning_effort", "reasoning.effort"),
    (RESPONSES, {}, "max_tokens", "max_output_tokens"),
    (RESPONSES, {}, "tools[1].function.strict", "tools[1].strict"),
    (RESPONSES, {}, "temperature", "temperature"),
    (COMPLETIONS, {}, "messages", "prompt"),
    (COMPLETIONS, {}, "max_tokens", "max_tokens"),
    (CHAT, LEGACY, "tools", "functions"),
    (CHAT, LEGACY, "tools[1].function.name", "functions[1].name"),
    (CHAT, LEGACY, "tool_choice", "function_call"),
    (CHAT, LEGACY, "messages[1].tool_calls", "messages[1].function_call"),
    (CHAT, {"functions": [], "tools": []}, "tool_choice", "tool_choice"),
    (CHAT, {"functions": [], "tools": None}, "tool_choice", "function_call"),
    (CHAT, {}, "tool_choice", "tool_choice"),
]


@pytest.mark.parametrize(("endpoint", "body", "name", "own"), CASES)
def test_a_field_has_the_name_that_its_body_has_for_it(
    endpoint: Any, body: dict[str, Any], name: str, own: str
) -> None:
    assert renamed(name, endpoint.words(body)) == own


def ours() -> Words:
    return words(("messages", "prompt"), ("a[].b", "c[]"), ("d", "e"), ("f[].g[].h", "i[].j[]"))


def test_a_name_is_renamed_at_its_beginning_and_as_a_whole() -> None:
    assert [renamed(name, ours()) for name in ("messages_more", "x.messages", "a[].b", "a[7].b.d", "f[1].g[2].h")] == [
        "messages_more",
        "x.messages",
        "c[]",
        "c[7].d",
        "i[1].j[2]",
    ]


def test_an_error_is_in_the_words_of_the_body() -> None:
    error = in_words(RequestError("'messages' and 'messages' are bad.", "messages", "some_code"), ours())
    assert (error.message, error.param, error.code) == ("'prompt' and 'messages' are bad.", "prompt", "some_code")
    for same in (RequestError("'x' is bad.", "x"), RequestError("Bad.", None)):
        assert in_words(same, ours()) is same


def test_counts_of_one_name_are_added_up() -> None:
    assert counted_in({"d": 1, "e": 2, "f": 3}, ours()) == {"e": 3, "f": 3}
