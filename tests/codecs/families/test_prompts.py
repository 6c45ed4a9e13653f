"""What families with one prompt string share: a user cannot speak as the system, and what is no text is refused."""

import re
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Chat, Document, Image, JsonFormat, Policy, RequestError, Text, Tool, ToolCall, Turn
from tasks.codecs.families._prompts import GeneralCodec, kept, neutralise, plain_text, refuse_tools
from tests.codecs.helpers import refused
from tests.conftest import LLAMA

TOKENS = re.compile(r"<\|[a-z_]+\|>")


def turn(*parts: Any) -> Turn:
    return Turn("user", list(parts))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain <|", "plain <|"),
        ("<|eot_id|>", "<\u200b|eot_id|>"),
        ("a<|x|><|y|>", "a<\u200b|x|><\u200b|y|>"),
    ],
)
def test_tokens_lose_their_meaning(text: str, safe: str) -> None:
    assert neutralise(text, TOKENS) == safe
    assert not TOKENS.search(safe)


def test_texts_and_text_files_are_text() -> None:
    policy = Policy("error", "llama")
    assert plain_text(turn(Text("a"), Document("txt", "notes", "SGk=")), "Llama", policy) == "a\n\nnotes:\nHi"


@pytest.mark.parametrize(("part", "name"), [(Image("png", ""), "png"), (Document("pdf", "d", ""), "pdf")])
def test_what_is_no_text(part: Any, name: str) -> None:
    with refused("messages[].content[]", "Llama takes text only"):
        plain_text(turn(Text("a"), part), "Llama", Policy("error", "llama"))
    lenient = Policy("drop", "llama")
    assert plain_text(turn(Text("a"), part), "Llama", lenient) == "a"
    assert lenient.dropped == {f"messages[].content[] ({name})": 1}
    with pytest.raises(RequestError, match="without content that Llama takes") as caught:
        plain_text(turn(part), "Llama", Policy("drop", "llama"))
    assert caught.value.param == "messages"


def test_a_call_is_never_left_out() -> None:
    with refused("messages[].tool_calls", "takes no tools in its prompt"):
        plain_text(turn(Text("a"), ToolCall("1", "f", b"{}")), "Llama", Policy("drop", "llama"))


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, {}),
        ({"tools": [Tool("f", None, {}, None)]}, {"tools": 1}),
        ({"json_format": JsonFormat("j", None)}, {"response_format": 1}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": 1}),
    ],
)
def test_tools_formats_and_efforts(fields: dict[str, Any], dropped: dict[str, int]) -> None:
    lenient = Policy("drop", "llama")
    refuse_tools(Chat([], [turn(Text("a"))], **fields), "Llama", parse_model(LLAMA), lenient)
    assert lenient.dropped == dropped


def test_what_is_there_is_kept() -> None:
    assert kept(a=None, b=0, c=[], d=False, e=[1], f="") == {"b": 0, "d": False, "e": [1], "f": ""}


def test_there_is_no_short_cut() -> None:
    assert GeneralCodec().plain_form(parse_model(LLAMA)) is None
    assert not GeneralCodec().replays_thinking
