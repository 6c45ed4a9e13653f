"""Values that are no requests: what a file of them is, and that nothing is said of what nobody knows."""

from typing import Any

import pytest

from tasks.inputs import remedies
from tasks.inputs.foreign import Kind, around, first_value, is_message, of_values, value_of, wrapped_in
from tasks.openai_format.requests import COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.conftest import chat

ASKED = {"role": "user", "content": "x"}
ANSWERED = {"role": "assistant", "content": "y"}
BARE = {"messages": [ASKED]}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ('"x"', "x"),
        ("5", None),
        ("true", None),
        ("null", None),
        ("", None),
        ('{"a": 1} {}', None),
        ("{'a': 1}", None),
        ('"\ud800"', None),
        ("[" * 100_000, None),
    ],
)
def test_the_value_of_a_line(line: str, value: Any) -> None:
    assert value_of(line) == value


def test_the_first_value_of_a_text() -> None:
    assert first_value('{"a": 1}{"b": 2}') == ({"a": 1}, 8)
    assert first_value("5,") == (5, 1)
    for text in ("", " {}", '{"a"', "[" * 100_000):
        assert first_value(text) is None


def test_a_message_has_a_role_and_a_content() -> None:
    assert is_message(ASKED)
    for value in ({"role": "user"}, {"content": "x"}, ["role", "content"], "role content", None):
        assert not is_message(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"data": [chat("a")]}, "data"),
        ({"object": "list", "data": [chat("a")], "more": {"a": 1}}, "data"),
        ({"batch": {"input": {"requests": [{"request": {}}]}}}, "batch.input.requests"),
        ({"data": [{"modelInput": {}}]}, "data"),
        ({"data": [{"name": "x"}]}, ""),
        ({"data": []}, ""),
        ({"data": ["x"]}, ""),
        ({"one": [chat("a")], "two": [chat("a")]}, ""),
        ({"one": {"x": 1}, "two": {"x": 1}}, ""),
        ({"no name": [chat("a")]}, ""),
        (BARE, ""),
        (chat("a"), ""),
        ({"a": {"a": {"a": {"a": {"a": [BARE]}}}}}, "a.a.a.a.a"),
        ({"a": {"a": {"a": {"a": {"a": {"a": [BARE]}}}}}}, ""),
        ([chat("a")], ""),
        ("data", ""),
    ],
)
def test_the_path_to_requests_within_an_object(value: Any, path: str) -> None:
    found, first = wrapped_in(value)
    assert found == path
    assert (first is None) == (not path)


def test_the_path_in_an_object_that_is_longer_than_what_was_read() -> None:
    assert wrapped_in(None, '{ "data" : [ {"prompt": "x"}, {"prom') == ("data", {"prompt": "x"})
    for text in (
        "",
        '{"data": [{"prompt"',
        '{"messages": [{"role": "user"}, ',
        '{"a b": [{"prompt": "x"}',
        '{"data": ["x",',
    ):
        assert wrapped_in(None, text) == ("", None)


#: An object of a file, what the file is, and the step that mends it; or the advice, where none does.
KINDS: list[tuple[dict[str, Any], str, str]] = [
    ({"custom_id": "a", "params": BARE}, "Anthropic's batch format", remedies.ANTHROPIC),
    ({"key": "a", "request": {"contents": []}}, "Gemini's batch format", remedies.GEMINI),
    ({"contents": []}, "bare bodies of Gemini", remedies.GEMINI_BODIES),
    ({"recordId": "1", "modelInput": BARE}, "Bedrock's own batch format", remedies.BEDROCK),
    ({"recordId": "1", "modelInput": {"messages": []}}, "Bedrock's own batch format", "as it is"),
    ({"recordId": "1", "modelInput": {"inputText": "x"}}, "Bedrock's own batch format", "as it is"),
    ({"recordId": "1", "modelInput": BARE, "modelOutput": {}}, "output of a Bedrock job (`modelOutput`)", "its input"),
    ({"recordId": "1", "modelInput": BARE, "error": {}}, "output of a Bedrock job (`error`)", "its input"),
    ({"id": "x", "custom_id": "a", "response": {}, "error": None}, "output of a batch (`response`)", "its input"),
    ({"custom_id": "a", "result": {"type": "errored"}}, "results of a batch of Anthropic", "its input"),
    ({"key": "a", "response": {"candidates": []}}, "output of a batch of Gemini", "its input"),
    ({"object": "batch", "input_file_id": "f"}, "OpenAI's object of a batch", "`input_file_id` names"),
    ({"object": "chat.completion", "choices": []}, "file of answers", "its input"),
    ({"object": "text_completion", "choices": []}, "file of answers", "its input"),
    ({"totalRecordCount": 1}, "manifest of a Bedrock job", "its input"),
    ({"error": {"message": "x"}}, "an API's error", "download the file again"),
    ({"nbformat": 4, "cells": []}, "Jupyter notebook", "write the requests as JSON lines"),
    ({"messages": [ASKED, ANSWERED]}, "fine-tuning data (`messages`", remedies.FINE_TUNING),
    ({"conversations": []}, "fine-tuning data (`conversations`)", remedies.SHARED_CHATS),
    ({"instruction": "x", "output": "y"}, "fine-tuning data (`instruction`)", remedies.INSTRUCTIONS),
    ({"prompt": "x", "completion": "y"}, "fine-tuning data (`prompt`", remedies.prompts_of("prompt")),
    (BARE, "bare chat bodies", remedies.wrapped("$x")),
    ({"messages": [ASKED, ANSWERED], "max_tokens": 5}, "bare chat bodies", remedies.wrapped("$x")),
    ({"messages": [ANSWERED]}, "bare chat bodies", remedies.wrapped("$x")),
    ({"custom_id": "a", **BARE}, "`custom_id` beside the messages", remedies.FLAT),
    ({"input": ["x", "y"]}, "bare bodies", remedies.wrapped("$x", EMBEDDINGS)),
    ({"input": "x", "model": "text-Embedding-3"}, "bare bodies", remedies.wrapped("$x", EMBEDDINGS)),
    ({"input": "x", "model": "gpt-5"}, "bare bodies", remedies.wrapped("$x", RESPONSES)),
    ({"input": [ASKED]}, "bare bodies", remedies.wrapped("$x", RESPONSES)),
    ({"prompt": "x"}, "bare bodies", remedies.wrapped("$x", COMPLETIONS)),
    ({"body": BARE}, "without `custom_id` and `method` and `url`", remedies.envelope("/v1/chat/completions")),
    ({"custom_id": "a", "method": "POST", "body": {"input": "x"}}, "without `url`", remedies.envelope(RESPONSES)),
    ({"custom_id": "a", "body": {"input": ["x"]}}, "without `method` and `url`", remedies.envelope(EMBEDDINGS)),
    ({"custom_id": "a", "url": "x", "body": {"prompt": "x"}}, "without `method`", remedies.envelope(COMPLETIONS)),
    ({**chat("a"), "body": ' {"messages": []}'}, "`body` is text", remedies.envelope("/v1/chat/completions")),
    ({"id": 1, "question": "x", "answer": "y"}, "prompts in `question`", remedies.prompts_of("question")),
    ({"text": "x", "user_prompt": "y"}, "prompts in `user_prompt`", remedies.prompts_of("user_prompt")),
]


@pytest.mark.parametrize(("value", "what", "remedy"), KINDS, ids=[f"{n}-{kind[1]}" for n, kind in enumerate(KINDS)])
def test_what_a_file_of_such_objects_is(value: dict[str, Any], what: str, remedy: str) -> None:
    kind = of_values([value, value])
    assert kind is not None
    assert what in kind.what
    if kind.advice:
        assert kind.steps == ()
        assert remedy in kind.advice
    else:
        assert kind.steps == (remedy,)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [chat("a")],
        [chat("a"), BARE],
        [BARE, "x"],
        [BARE, [ASKED]],
        [[ASKED], []],
        [[ASKED, "x"]],
        [[1, 2]],
        [{}],
        [{"name": "x"}],
        [{"prompt": 5, "body": 5}],
        [{"question": "x"}, {"question": 5}],
        [{"question": "x", "url": "y"}],
        [{"body": "plain text", "custom_id": "a"}],
        [{"response": {}}, {"totalRecordCount": 1}],
    ],
)
def test_nothing_is_said_of_what_nobody_knows(values: list[Any]) -> None:
    assert of_values(values) is None


def test_texts_and_conversations() -> None:
    assert of_values(["x", "5"]) == Kind("a file of prompts", (remedies.PROMPTS,))
    assert of_values([[ASKED], [ASKED, ANSWERED]]) == Kind(
        "a file of conversations (lists of messages)", (remedies.CONVERSATIONS,)
    )


def test_json_within_json_is_mended_in_two_steps() -> None:
    inside = of_values(['{"messages": []}', '{"messages": []}'])
    assert inside is not None
    assert inside.steps == (remedies.FROM_TEXT, remedies.wrapped("$x"))
    assert inside.what.startswith("JSON within JSON")
    assert inside.what.endswith("and a file of bare chat bodies, without `custom_id` and `url`")
    assert of_values(['{"messages": []}', "x"]) == Kind("a file of prompts", (remedies.PROMPTS,))


def test_one_object_around_all_requests() -> None:
    whole = Kind("one JSON object with all requests in `data`", ("jq -c '.data[]' @FILE",))
    assert of_values([{"data": [chat("a")]}]) == around("data", chat("a")) == whole
    assert of_values([{"data": [chat("a")]}] * 2) is None
    assert around("a.b", BARE).steps == ("jq -c '.a.b[]' @FILE", remedies.wrapped("$x"))


def test_steps_lead_to_a_batch_file_or_are_left_out() -> None:
    outer = Kind("one", ("first",))
    assert outer.and_(None) == outer
    assert outer.and_(Kind("two", ("second",))) == Kind("one, and two", ("first", "second"))
    assert outer.and_(Kind("", ("second",))) == Kind("one", ("first", "second"))
    assert outer.and_(Kind("two", advice="give another")) == Kind("one, and two", (), "give another")
    assert outer.and_(Kind("two")) == Kind("one, and two", ("first",))
