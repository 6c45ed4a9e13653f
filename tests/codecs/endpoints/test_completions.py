"""/v1/completions: prompts as chats of one message, answers as a text completion."""

from typing import Any

import msgspec
import pytest
from openai.types import Completion

from tasks.codecs.base import Answer, Chat, Context, Policy, RequestError, Text, ToolCall, Turn, Usage
from tasks.codecs.endpoints.completions import ENDPOINT, build_completion


def parsed(unsupported: Any = "error", **body: Any) -> tuple[list[tuple[Chat, Context]], dict[str, int]]:
    policy = Policy(unsupported, "x")
    return ENDPOINT.parse({"prompt": "P", **body}, policy), policy.dropped


def test_a_prompt() -> None:
    found, _ = parsed(temperature=0, stop=["END"], n=2, echo=True, seed=1)
    chat = Chat([], [Turn("user", [Text("P")])], max_tokens=16, temperature=0, stop=["END"], n=2, rest={"seed": 1})
    assert found == [(chat, Context(echo="P"))]
    assert parsed(n=1, best_of=1, max_tokens=1)[0][0][0].max_tokens == 1
    assert parsed(max_tokens=5, echo=False)[0][0] == (
        Chat([], [Turn("user", [Text("P")])], max_tokens=5),
        Context(),
    )


def test_a_chat_for_each_prompt() -> None:
    found, _ = parsed(prompt=["a", "b"], seed=1, echo=True, temperature=0, n=2)
    assert [chat.turns[0].parts for chat, _ in found] == [[Text("a")], [Text("b")]]
    assert [(chat.rest, chat.temperature, chat.n) for chat, _ in found] == [({"seed": 1}, 0, 2)] * 2
    assert [context.echo for _, context in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": None}, "prompt", "invalid_type"),
        ({"prompt": []}, "prompt", "invalid_type"),
        ({"prompt": " "}, "prompt", "invalid_value"),
        ({"prompt": ["a", ""]}, "prompt", "invalid_value"),
        ({"prompt": [1, 2]}, "prompt", "unsupported_parameter"),
        ({"prompt": [[1], [2]]}, "prompt", "unsupported_parameter"),
        ({"prompt": {"a": 1}}, "prompt", "invalid_type"),
        ({"prompt": ["a"] * 65, "n": 2}, "n", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"best_of": 0}, "best_of", "invalid_value"),
        ({"best_of": 2}, "best_of", "unsupported_parameter"),
        ({"suffix": "S"}, "suffix", "unsupported_parameter"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(**body)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_is_left_out() -> None:
    assert parsed("drop", best_of=2, suffix="S")[1] == {"best_of": 1, "suffix": 1}
    assert parsed(best_of=2, n=2, suffix="")[1] == {}
    assert len(parsed(prompt=["a"] * 64, n=2)[0]) == 64


def test_answers() -> None:
    answers = [
        Answer("a", "length", Usage(1, 2)),
        Answer(None, "stop", Usage(1, 2), refusal="no"),
        Answer(None, "tool_calls", Usage(1, 2), [ToolCall("1", "f", b"{}")]),
    ]
    body = build_completion(answers, [Context(echo="P"), None, None], id="1", created=7, model="m")
    found = msgspec.json.decode(msgspec.json.encode(body))
    Completion.model_validate(found, strict=True)
    assert {name: found[name] for name in ("id", "object", "created", "model")} == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 7,
        "model": "m",
    }
    assert found["usage"]["total_tokens"] == 9
    assert found["choices"][0] == {"text": "Pa", "index": 0, "logprobs": None, "finish_reason": "length"}
    odd = build_completion([Answer("a", "stop", None, native_reason="odd")], [None], id="1", created=7, model="m")
    assert (odd.choices[0].native_finish_reason, odd.usage) == ("odd", None)
    assert [(c["text"], c["index"], c["finish_reason"]) for c in found["choices"]] == [
        ("Pa", 0, "length"),
        ("no", 1, "stop"),
        ("", 2, "stop"),
    ]
