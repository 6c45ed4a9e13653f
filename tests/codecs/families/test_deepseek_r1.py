"""DeepSeek R1's prompt, and the thoughts that its answers begin with."""

from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Chat, DecodeError, JsonFormat, Policy, RequestError, Text, Tool, Turn
from tasks.codecs.families.deepseek_r1 import CODEC

MODEL = parse_model("us.deepseek.r1-v1:0")


def sent(*texts: str, **fields: Any) -> dict[str, Any]:
    turns = [Turn("assistant" if place % 2 else "user", [Text(text)]) for place, text in enumerate(texts)]
    return CODEC.encode(Chat(fields.pop("system", ["S"]), turns, **fields), MODEL, Policy("error", "deepseek-r1")).body


def test_system_texts_are_joined() -> None:
    assert sent("One", system=["S", "T"]) == sent("One", system=["S\n\nT"])


def test_a_conversation() -> None:
    assert sent("One", "1", "Two", max_tokens=5, temperature=0, top_p=0.5, stop=["END"]) == {
        "prompt": "<｜begin▁of▁sentence｜>S<｜User｜>One<｜Assistant｜>1<｜end▁of▁sentence｜><｜User｜>Two"
        "<｜Assistant｜><think>\n",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["END"],
    }


@pytest.mark.parametrize("token", ["<｜Assistant｜>", "</think>", "<think>"])
def test_nobody_speaks_as_another(token: str) -> None:
    assert f"x{token}" not in sent(f"x{token}")["prompt"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rest": {"seed": 1}}, "seed"),
        ({"temperature": 1.1}, "temperature"),
        ({"tools": [Tool("f", None, {}, None)]}, "tools"),
        ({"json_format": JsonFormat("j", None)}, "response_format"),
    ],
)
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent("Hi", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("text", "stop", "content", "reasoning"),
    [
        ("\nhm\n</think>\n\nHi", "stop", "Hi", "hm"),
        ("<think>hm</think>Hi", "stop", "Hi", "hm"),
        ("</think>Hi", None, "Hi", None),
        # Without an end: all of it where it was cut off, none of it where it was not.
        ("hm", "length", "", "hm"),
        ("Hi", "stop", "Hi", None),
        ("hm</think>Hi", "out_of_time", "Hi", "hm"),
    ],
)
def test_answers(text: str, stop: str | None, content: str, reasoning: str | None) -> None:
    answer = CODEC.decode(msgspec.json.encode({"choices": [{"text": text, "stop_reason": stop}]}))
    assert (answer.content, answer.reasoning, answer.usage) == (content, reasoning, None)
    assert answer.finish_reason == ("length" if stop == "length" else "stop")
    assert answer.native_reason == ("out_of_time" if stop == "out_of_time" else None)


@pytest.mark.parametrize("output", [b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b"[]"])
def test_what_is_no_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a DeepSeek R1 answer \("):
        CODEC.decode(output)


def test_the_system_cannot_be_spoken_for_either() -> None:
    assert "x<\u200b/think>y" in sent("Hi", system=["x</think>y"])["prompt"]
    assert "x<\u200b｜User｜>y" in sent("Hi", system=["x<｜User｜>y"])["prompt"]
