"""Mistral's three native forms."""

import copy
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
    ToolCall,
    ToolResult,
    Turn,
)
from tasks.codecs.families.mistral import CODECS
from tests.codecs.helpers import refused

INSTRUCT, CHAT, LIKE = CODECS
MIXTRAL, LARGE_2407 = "mistral.mixtral-8x7b-instruct-v0:1", "mistral.mistral-large-2407-v1:0"
LARGE_3 = "mistral.mistral-large-3-675b-instruct"
TOOLS = [Tool("f", None, {"type": "object", "properties": {}}, None), Tool("g", None, {"type": "object"}, None)]


def turns(*texts: str) -> list[Turn]:
    return [Turn("assistant" if place % 2 else "user", [Text(text)]) for place, text in enumerate(texts)]


def sent(codec: Any, model: str, *texts: str, unsupported: Any = "error", **fields: Any) -> dict[str, Any]:
    policy, system = Policy(unsupported, codec.family), fields.pop("system", ["S"])
    body: dict[str, Any] = codec.encode(Chat(system, turns(*texts), **fields), parse_model(model), policy).body
    return body


@pytest.mark.parametrize(("codec", "model"), [(INSTRUCT, MIXTRAL), (CHAT, LARGE_2407), (LIKE, LARGE_3)])
def test_whom_each_serves(codec: Any, model: str) -> None:
    assert [each.serves(parse_model(model)) for each in CODECS] == [each is codec for each in CODECS]


def test_an_instruct_prompt() -> None:
    fields: dict[str, Any] = {"max_tokens": 5, "temperature": 0, "top_p": 0.5, "stop": ["END"], "rest": {"top_k": 9}}
    assert sent(INSTRUCT, MIXTRAL, "One", "1", "Two", **fields) == {
        "prompt": "<s>[INST] S\n\nOne [/INST] 1</s>[INST] Two [/INST]",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["END"],
        "top_k": 9,
    }
    assert sent(INSTRUCT, MIXTRAL, "One", system=["S", "T"]) == {"prompt": "<s>[INST] S\n\nT\n\nOne [/INST]"}
    assert "x[/INST]" not in sent(INSTRUCT, MIXTRAL, "x[/INST]")["prompt"]


def test_an_instruct_prompt_ends_with_the_user() -> None:
    with refused("messages", "ends with a user message"):
        sent(INSTRUCT, MIXTRAL, "One", "1", unsupported="drop")


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (b'{"outputs":[{"text":" Hi","stop_reason":"stop"}]}', Answer("Hi", "stop", None)),
        (b'{"outputs":[{"text":"Hi","stop_reason":"length"}]}', Answer("Hi", "length", None)),
        (b'{"outputs":[{"text":""}]}', Answer("", "stop", None)),
    ],
)
def test_instruct_answers(output: bytes, answer: Answer) -> None:
    assert INSTRUCT.decode(output) == answer


@pytest.mark.parametrize("output", [b"{}", b'{"outputs":[]}', b'{"outputs":[{}]}'])
def test_what_is_no_instruct_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a Mistral answer \("):
        INSTRUCT.decode(output)


@pytest.mark.parametrize(
    ("choice", "named", "word"),
    [
        (None, ["f", "g"], None),
        ("auto", ["f", "g"], "auto"),
        ("required", ["f", "g"], "any"),
        ("function:g", ["g"], "any"),
    ],
)
def test_one_tool_that_must_be_called_stands_for_a_named_one(
    choice: str | None, named: list[str], word: str | None
) -> None:
    body = sent(CHAT, LARGE_2407, "Hi", tools=list(TOOLS), tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == named
    assert body.get("tool_choice") == word


def test_a_format_is_asked_for_by_a_tool() -> None:
    body = sent(CHAT, LARGE_2407, "Hi", json_format=JsonFormat("j", {"type": "object", "properties": {}}))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["json_response"]
    assert body["tool_choice"] == "any"


def test_a_chat_completion() -> None:
    assert sent(CHAT, LARGE_2407, "One", "1", "Two", max_tokens=5, temperature=0, top_p=0.5, stop=["END"]) == {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "Two"},
        ],
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["END"],
    }


@pytest.mark.parametrize(
    ("codec", "model", "fields", "param"),
    [
        (INSTRUCT, MIXTRAL, {"rest": {"seed": 1}}, "seed"),
        (INSTRUCT, MIXTRAL, {"temperature": 1.5}, "temperature"),
        (INSTRUCT, MIXTRAL, {"tools": list(TOOLS)}, "tools"),
        (INSTRUCT, MIXTRAL, {"json_format": JsonFormat("j", None)}, "response_format"),
        (INSTRUCT, MIXTRAL, {"reasoning_effort": "low"}, "reasoning_effort"),
        (CHAT, LARGE_2407, {"rest": {"seed": 1}}, "seed"),
        (CHAT, LARGE_2407, {"temperature": 1.5}, "temperature"),
        (CHAT, LARGE_2407, {"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_what_it_does_not_take(codec: Any, model: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent(codec, model, "Hi", **fields)
    assert caught.value.param == param


def test_ids_of_calls_are_short() -> None:
    called = [
        Turn("user", [Text("Hi")]),
        Turn("assistant", [ToolCall("call_1", "f", b"{}")]),
        Turn("user", [ToolResult("call_1", [Text("r")])]),
    ]
    for codec, model in ((CHAT, LARGE_2407), (LIKE, LARGE_3)):
        body = codec.encode(Chat([], copy.deepcopy(called), list(TOOLS)), parse_model(model), Policy("error", "x")).body
        id = body["messages"][1]["tool_calls"][0]["id"]
        assert (len(id), id.isalnum(), body["messages"][2]["tool_call_id"]) == (9, True, id)


def test_calls_cannot_be_kept_to_one() -> None:
    with pytest.raises(RequestError) as caught:
        sent(CHAT, LARGE_2407, "Hi", tools=list(TOOLS), parallel_tool_calls=False)
    assert caught.value.param == "parallel_tool_calls"


def test_a_chat_completion_with_stop_reason() -> None:
    output = b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"stop_reason":"length"}]}'
    assert CHAT.decode(output) == Answer("Hi", "length", None)
    with pytest.raises(DecodeError, match=r"^not a Mistral chat completion \("):
        CHAT.decode(b"{}")


@pytest.mark.parametrize(
    "token",
    ["<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]",
     "[IMG]", "[TOOL_CONTENT]"],
)  # fmt: skip
def test_nobody_speaks_as_another(token: str) -> None:
    for prompt in (
        sent(INSTRUCT, MIXTRAL, f"x{token}y")["prompt"],
        sent(INSTRUCT, MIXTRAL, "x", system=[f"x{token}y"])["prompt"],
    ):
        assert f"x{token[0]}\u200b{token[1:]}y" in prompt


def test_a_chat_completion_enforces_no_tool_and_sees_nothing() -> None:
    strict = [Tool("f", None, {"type": "object"}, True)]
    with refused("tools[].function.strict", "does not enforce"):
        sent(CHAT, LARGE_2407, "Hi", tools=strict)
    (tool,) = sent(CHAT, LARGE_2407, "Hi", tools=strict, unsupported="drop")["tools"]
    assert "strict" not in tool["function"]
    seen = Chat([], [Turn("user", [Text("?"), Image("png", "")])])
    with refused("messages[].content[]", "it takes text only"):
        CHAT.encode(seen, parse_model(LARGE_2407), Policy("error", "mistral-chat"))


def test_a_format_that_is_no_object_is_a_property_of_the_tool() -> None:
    chat = Chat([], turns("Hi"), json_format=JsonFormat("j", {"type": "array"}))
    encoded = CHAT.encode(chat, parse_model(LARGE_2407), Policy("error", "mistral-chat"))
    assert (encoded.json_tool, encoded.json_key) == ("json_response", "response")
