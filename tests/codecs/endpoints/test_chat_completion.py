"""/v1/chat/completions: answers as its body. That plain ones have a frame: `test_plain_completion.py`."""

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from tasks.codecs.base import Answer, Context, Thinking, ToolCall, Usage
from tasks.codecs.endpoints.chat_completion import build_chat_completion, is_plain, usage_of


def built(*answers: Answer, context: Context | None = None) -> dict[str, Any]:
    body = build_chat_completion(list(answers), [context] * len(answers), id="1", created=7, model="m")
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    ChatCompletion.model_validate(found, strict=True)
    return found


def test_an_answer() -> None:
    assert built(Answer("Hi", "stop", Usage(3, 2, 1, 1))) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_several_answers_are_choices_and_their_usage_one() -> None:
    body = built(Answer("a", "stop", Usage(3, 2)), Answer("b", "length", Usage(3, 4, written=5)))
    assert [(choice["index"], choice["finish_reason"]) for choice in body["choices"]] == [(0, "stop"), (1, "length")]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (6, 6)
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 5}
    assert built(Answer("a", "stop", Usage(3, 2)), Answer("b", "stop", None))["usage"] is None
    assert usage_of(None) is None


CALLS = Answer(None, "tool_calls", None, [ToolCall("1", "f", b'{"a":1}')])


def test_calls() -> None:
    (choice,) = built(CALLS)["choices"]
    assert choice["message"]["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    (legacy,) = built(CALLS, context=Context(function_call=True))["choices"]
    assert legacy["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in legacy["message"]
    assert legacy["finish_reason"] == "function_call"
    (text,) = built(Answer("Hi", "length", None), context=Context(function_call=True))["choices"]
    assert (text["message"]["content"], text["finish_reason"]) == ("Hi", "length")


def test_what_only_some_models_give() -> None:
    answer = Answer("Hi", "stop", None, reasoning="hm", refusal="no", thinking=[Thinking("hm", "s")])
    (choice,) = built(answer)["choices"]
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["refusal"] == "no"
    assert choice["message"]["thinking_blocks"] == [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    assert "native_finish_reason" not in choice
    (choice,) = built(Answer(None, "stop", None, reasoning="hm", native_reason="odd", logprobs={"content": None}))[
        "choices"
    ]
    assert (choice["native_finish_reason"], choice["logprobs"]) == ("odd", {"content": None})
    assert choice["message"]["reasoning_content"] == "hm"
    (choice,) = built(Answer("Hi", "stop", None, thinking=[Thinking("", redacted="x")]))["choices"]
    assert choice["message"]["thinking_blocks"] == [{"type": "redacted_thinking", "data": "x"}]
    assert "reasoning_content" not in choice["message"]


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        ({}, True),
        ({"content": ""}, True),
        ({"content": None}, False),
        ({"usage": None}, False),
        ({"usage": Usage(1, 1, written=1)}, False),
        ({"reasoning": ""}, False),
        ({"refusal": "no"}, False),
        ({"logprobs": []}, False),
        ({"tool_calls": CALLS.tool_calls}, False),
        ({"thinking": [Thinking("")]}, False),
        ({"native_reason": "odd"}, False),
        ({"finish_reason": "tool_calls"}, False),
        ({"finish_reason": "content_filter"}, True),
    ],
)
def test_what_is_text_and_nothing_else(change: dict[str, Any], plain: bool) -> None:
    assert is_plain(msgspec.structs.replace(Answer("Hi", "stop", Usage(1, 1)), **change)) is plain
