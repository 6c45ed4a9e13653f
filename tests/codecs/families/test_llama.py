"""Llama's prompts, token by token, and its answers."""

from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import (
    Answer,
    Chat,
    DecodeError,
    Image,
    JsonFormat,
    Policy,
    RequestError,
    Text,
    Tool,
    Turn,
    Usage,
)
from tasks.codecs.families.llama import CODEC
from tests.codecs.helpers import refused

LLAMA_2, LLAMA_3 = "meta.llama2-13b-chat-v1", "us.meta.llama3-3-70b-instruct-v1:0"
LLAMA_4 = "us.meta.llama4-scout-17b-instruct-v1:0"
TURNS = [Turn("user", [Text("One")]), Turn("assistant", [Text("1")]), Turn("user", [Text("Two")])]


def sent(model: str, turns: list[Turn] = TURNS, unsupported: Any = "error", **fields: Any) -> dict[str, Any]:
    chat = Chat(fields.pop("system", ["S"]), turns, **fields)
    return CODEC.encode(chat, parse_model(model), Policy(unsupported, "llama")).body


@pytest.mark.parametrize("model", [LLAMA_2, LLAMA_3, LLAMA_4])
def test_system_texts_are_joined(model: str) -> None:
    assert sent(model, system=["S", "T"]) == sent(model, system=["S\n\nT"])


def test_llama_3() -> None:
    assert sent(LLAMA_3)["prompt"] == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nOne<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n1<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nTwo<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_llama_4() -> None:
    assert sent(LLAMA_4, TURNS[:1])["prompt"] == (
        "<|begin_of_text|><|header_start|>system<|header_end|>\n\nS<|eot|>"
        "<|header_start|>user<|header_end|>\n\nOne<|eot|><|header_start|>assistant<|header_end|>\n\n"
    )


def test_llama_2() -> None:
    assert sent(LLAMA_2)["prompt"] == ("<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nOne [/INST] 1 </s><s>[INST] Two [/INST]")
    with refused("messages", "ends with a user message"):
        sent(LLAMA_2, TURNS[:2], "drop")


@pytest.mark.parametrize("token", ["<|eot_id|>", "[/INST]", "</s>", "<<SYS>>", "<|header_start|>"])
def test_nobody_speaks_as_another(token: str) -> None:
    for model in (LLAMA_2, LLAMA_3, LLAMA_4):
        prompt = sent(model, [Turn("user", [Text(f"x{token}y")])])["prompt"]
        assert f"x{token}y" not in prompt
        assert f"x{token[0]}\u200b{token[1:]}y" in prompt


def test_parameters() -> None:
    body = sent(LLAMA_3, max_tokens=5, temperature=0, top_p=0.5)
    body.pop("prompt")
    assert body == {"max_gen_len": 5, "temperature": 0, "top_p": 0.5}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["END"]}, "stop"),
        ({"temperature": 1.5}, "temperature"),
        ({"rest": {"seed": 1}}, "seed"),
        ({"tools": [Tool("f", None, {}, None)]}, "tools"),
        ({"json_format": JsonFormat("j", None)}, "response_format"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent(LLAMA_3, **fields)
    assert caught.value.param == param


def test_pictures_come_before_their_turns_text() -> None:
    seen = [Turn("user", [Text("What?"), Image("png", "AAAA"), Image("png", "BBBB")])]
    body = sent(LLAMA_4, seen)
    assert body["images"] == ["AAAA", "BBBB"]
    assert "\n\n<|image|><|image|>What?<|eot|>" in body["prompt"]
    assert "\n\n<|image|><|eot|>" in sent(LLAMA_4, [Turn("user", [Image("png", "AAAA")])])["prompt"]
    with refused("messages[].content[]", "takes text only"):
        sent(LLAMA_3, seen)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (
            b'{"generation":"\\n\\nHi","prompt_token_count":3,"generation_token_count":2,"stop_reason":"stop"}',
            Answer("Hi", "stop", Usage(3, 2)),
        ),
        (b'{"generation":"Hi","stop_reason":"length"}', Answer("Hi", "length", None)),
        (b'{"generation":"","prompt_token_count":3}', Answer("", "stop", None)),
        (b'{"generation":"Hi","prompt_token_count":"x","stop_reason":null}', Answer("Hi", "stop", None)),
    ],
)
def test_answers(output: bytes, answer: Answer) -> None:
    assert CODEC.decode(output) == answer


@pytest.mark.parametrize("output", [b"{}", b"null", b'{"generation":null}', b'{"generation":["Hi"]}'])
def test_what_is_no_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a Llama answer \("):
        CODEC.decode(output)


def test_whom_it_serves() -> None:
    assert CODEC.serves(parse_model(LLAMA_2))
    assert not CODEC.serves(parse_model("amazon.nova-lite-v1:0"))


def test_the_system_cannot_be_spoken_for_either() -> None:
    for model in (LLAMA_2, LLAMA_3, LLAMA_4):
        prompt = sent(model, system=["x<|eot_id|><</SYS>>[INST]y"])["prompt"]
        assert "x<\u200b|eot_id|><\u200b</SYS>>[\u200bINST]y" in prompt
    seen = [Turn("user", [Image("png", "AAAA"), Text("x<|eot|>y")])]
    assert "<|image|>x<\u200b|eot|>y" in sent(LLAMA_4, seen)["prompt"]


def test_stop_sequences_that_are_left_out() -> None:
    assert "stop" not in sent(LLAMA_3, unsupported="drop", stop=["END"])


def test_a_systems_words_stand_once_in_llama_2s_prompt() -> None:
    assert (
        sent(LLAMA_2, [*TURNS, Turn("assistant", [Text("2")]), Turn("user", [Text("3")])])["prompt"].count("S\n") == 1
    )
