"""Titan Text: one inputText, turns by name."""

from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Chat, DecodeError, JsonFormat, Policy, RequestError, Text, Tool, Turn, Usage
from tasks.codecs.families.titan_text import CODEC

MODEL = parse_model("amazon.titan-text-express-v1")


def sent(*texts: str, system: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    turns = [Turn("assistant" if place % 2 else "user", [Text(text)]) for place, text in enumerate(texts)]
    return CODEC.encode(Chat(list(system), turns, **fields), MODEL, Policy("error", "titan-text")).body


def test_a_conversation() -> None:
    assert sent("One", "1", "Two", system=("S", "T")) == {"inputText": "S\n\nT\n\nUser: One\nBot: 1\nUser: Two\nBot:"}
    assert sent("Hi", max_tokens=5, temperature=0.5, top_p=0.1, stop=["END"]) == {
        "inputText": "User: Hi\nBot:",
        "textGenerationConfig": {"maxTokenCount": 5, "temperature": 0.5, "topP": 0.1, "stopSequences": ["END"]},
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rest": {"top_k": 1}}, "top_k"),
        ({"temperature": 1.1}, "temperature"),
        ({"tools": [Tool("f", None, {}, None)]}, "tools"),
        ({"json_format": JsonFormat("j", None)}, "response_format"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent("Hi", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (
            b'{"inputTextTokenCount":3,"results":[{"tokenCount":2,"outputText":"\\nHi","completionReason":"FINISH"}]}',
            Answer("Hi", "stop", Usage(3, 2)),
        ),
        (
            b'{"inputTextTokenCount":3,"results":[{"outputText":"Hi","completionReason":"LENGTH"}]}',
            Answer("Hi", "length", None),
        ),
        (
            b'{"results":[{"tokenCount":2,"outputText":"","completionReason":"CONTENT_FILTERED"}]}',
            Answer("", "content_filter", None),
        ),
        (b'{"inputTextTokenCount":"x","results":[{"tokenCount":"y","outputText":"Hi"}]}', Answer("Hi", "stop", None)),
    ],
)
def test_answers(output: bytes, answer: Answer) -> None:
    assert CODEC.decode(output) == answer


@pytest.mark.parametrize("output", [b"{}", b'{"results":[]}', b'{"results":[{}]}', b"7"])
def test_what_is_no_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a Titan Text answer \("):
        CODEC.decode(output)
