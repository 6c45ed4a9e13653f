"""OpenAI's own body, as open-weight models have it on Bedrock: messages, tools, formats, and answers of many servers."""

from typing import Any

import msgspec
import pytest

from tasks.codecs.base import (
    Answer,
    Chat,
    DecodeError,
    Document,
    Image,
    Policy,
    RequestError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)
from tasks.codecs.families.openai_bodied import CODEC, decode_completion, encode_messages, encode_tools
from tests.codecs.helpers import TOOL, encode, encoder_for, refused, user

GPT_OSS = "openai.gpt-oss-20b-1:0"
USER = Turn("user", [Text("Hi")])


def messages(
    *turns: Turn, images: bool = True, unsupported: Any = "error"
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    policy = Policy(unsupported, "openai-bodied")
    return encode_messages(Chat(["S", "T"], list(turns)), policy, images=images), policy.dropped


def test_messages() -> None:
    turns = [
        Turn("user", [Text("a"), Text("b")]),
        Turn("assistant", [Text("c"), ToolCall("1", "f", b'{"a":1}')]),
        Turn("user", [ToolResult("1", [Text("r"), Text("s")]), Text("d"), Image("png", "AAAA")]),
        Turn("assistant", [ToolCall("2", "f", b"{}")]),
        Turn("user", [ToolResult("2", [])]),
    ]
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert messages(*turns)[0] == [
        {"role": "system", "content": "S\n\nT"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c", "tool_calls": [{"id": "1", **call}]},
        {"role": "tool", "tool_call_id": "1", "content": "r\ns"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "d"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "2", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "2", "content": "{}"},
    ]


@pytest.mark.parametrize(
    ("part", "images", "name"), [(Image("png", ""), False, "png"), (Document("pdf", "d", ""), True, "pdf")]
)
def test_what_is_no_text(part: Any, images: bool, name: str) -> None:
    with refused("messages[].content[]", "it takes text only"):
        messages(Turn("user", [Text("a"), part]), images=images)
    kept, dropped = messages(Turn("user", [Text("a"), part]), images=images, unsupported="drop")
    assert (kept[1]["content"], dropped) == ("a", {f"messages[].content[] ({name})": 1})
    with refused("messages", "no user message with content that this model takes", "invalid_value"):
        messages(Turn("user", [part]), images=images, unsupported="drop")


def test_a_picture_in_a_tools_result() -> None:
    turns = [USER, Turn("assistant", [ToolCall("1", "f", b"{}")]), Turn("user", [ToolResult("1", [Image("png", "")])])]
    with refused("messages[].content[]", "tool results are text"):
        messages(*turns)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "any"),
        ("function:f", {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools(choice: str | None, sent: Any) -> None:
    tool = Tool("f", "D", {"type": "object"}, True)
    body = encode_tools(Chat([], [USER], [tool], choice), required="any")
    function = {"name": "f", "parameters": {"type": "object"}, "description": "D", "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body.get("tool_choice") == sent
    assert encode_tools(Chat([], [USER])) == {}


def test_a_body() -> None:
    sent = encode(GPT_OSS, {"messages": [user()], "max_tokens": 5, "temperature": 0, "seed": 1, "tools": [TOOL]})
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert (sent["temperature"], sent["seed"], len(sent["tools"])) == (0, 1, 1)
    with pytest.raises(RequestError) as caught:
        encode(GPT_OSS, {"messages": [user()], "logit_bias": {"1": 1}})
    assert caught.value.param == "logit_bias"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "j", "schema": {"type": "object"}, "strict": True}},
            {"type": "json_schema", "json_schema": {"name": "j", "schema": {"type": "object"}, "strict": True}},
        ),
        ({"type": "text"}, None),
    ],
)
def test_formats(given: dict[str, Any], sent: Any) -> None:
    body = encode("qwen.qwen3-32b-v1:0", {"messages": [user()], "response_format": given})
    assert body.get("response_format") == sent


KIMI, JAMBA = "moonshotai.kimi-k2.5", "ai21.jamba-1-5-large-v1:0"


@pytest.mark.parametrize(
    ("model", "fields", "param", "dropped"),
    [
        (KIMI, {"stop": ["END"]}, "stop", "stop"),
        (KIMI, {"temperature": 1.5}, "temperature", "temperature (clamped to 1)"),
        (KIMI, {"tools": [TOOL], "tool_choice": "required"}, "tool_choice", "tool_choice"),
        (JAMBA, {"frequency_penalty": 1}, "frequency_penalty", "frequency_penalty"),
        (JAMBA, {"presence_penalty": 1}, "presence_penalty", "presence_penalty"),
        (JAMBA, {"reasoning_effort": "low"}, "reasoning_effort", "reasoning_effort"),
        ("google.gemma-3-27b-it", {"tools": [TOOL]}, "tools", "tools"),
        (GPT_OSS, {"logit_bias": {"1": 1}}, "logit_bias", "logit_bias"),
    ],
)
def test_what_a_model_does_not_take(model: str, fields: dict[str, Any], param: str, dropped: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode(model, {"messages": [user()], **fields})
    assert caught.value.param == param
    line = msgspec.json.encode({"custom_id": "x", "body": {"messages": [user()], **fields}})
    encoded = encoder_for(model, "drop").encode(line)
    body = msgspec.json.decode(encoded.model_inputs[0])
    # It is left out, or has the value that is said; nothing else is.
    assert body.get(param) in (None, "auto", 1)
    assert encoded.dropped == {dropped: 1}


def test_every_field_by_its_name() -> None:
    fields = {"stop": ["END"], "frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 1, "top_p": 0.5}
    fields |= {"logprobs": True, "top_logprobs": 2, "temperature": 1.5, "parallel_tool_calls": False, "tools": [TOOL]}
    sent = encode("qwen.qwen3-32b-v1:0", {"messages": [user()], "max_tokens": 5, **fields})
    assert {name: value for name, value in sent.items() if name not in ("messages", "tools")} == {
        "max_tokens": 5,
        **{name: value for name, value in fields.items() if name != "tools"},
    }
    assert encode(GPT_OSS, {"messages": [user()], "max_tokens": 5, "reasoning_effort": "high"}) == {
        "messages": [user()],
        "max_completion_tokens": 5,
        "reasoning_effort": "high",
    }


def decoded(message: dict[str, Any], **choice: Any) -> Answer:
    usage = choice.pop("usage", None)
    return CODEC.decode(msgspec.json.encode({"choices": [{"message": message, **choice}], "usage": usage}))


@pytest.mark.parametrize(
    ("message", "choice", "answer"),
    [
        ({"content": "Hi"}, {"finish_reason": "stop"}, Answer("Hi", "stop", None)),
        ({"content": "Hi"}, {"stop_reason": "length"}, Answer("Hi", "length", None)),
        ({"content": "Hi"}, {"finish_reason": "later"}, Answer("Hi", "stop", None, native_reason="later")),
        ({"content": None}, {}, Answer("", "stop", None)),
        ({"content": "Hi", "reasoning_content": "hm"}, {}, Answer("Hi", "stop", None, reasoning="hm")),
        ({"content": "Hi", "reasoning": "hm"}, {}, Answer("Hi", "stop", None, reasoning="hm")),
        ({"content": "<think>hm</think>Hi"}, {}, Answer("Hi", "stop", None, reasoning="hm")),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "Hi"}]},
            {},
            Answer("Hi", "stop", None, reasoning="hm"),
        ),
        (
            {"content": [{"type": "thinking", "thinking": "hm", "text": "x"}, {"text": "H"}, {"text": "i"}]},
            {},
            Answer("Hi", "stop", None, reasoning="hm"),
        ),
        ({"content": None, "refusal": "no"}, {}, Answer(None, "stop", None, refusal="no")),
        (
            {
                "tool_calls": [
                    {"function": {"name": "f", "arguments": '{"a": 1}'}},
                    {"id": "x", "function": {"name": "g"}},
                ]
            },
            {"finish_reason": "tool_calls"},
            Answer(None, "tool_calls", None, [ToolCall("call_0", "f", b'{"a": 1}'), ToolCall("x", "g", b"{}")]),
        ),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"finish_reason": "tool_calls"},
            Answer(None, "tool_calls", None, [ToolCall("call_0", "f", b'{"a":1}')]),
        ),
        ({"content": "Hi"}, {"logprobs": "x"}, Answer("Hi", "stop", None)),
    ],
)
def test_answers(message: dict[str, Any], choice: dict[str, Any], answer: Answer) -> None:
    assert decoded(message, **choice) == answer


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({}, Usage(3, 2)),
        ({"prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 4}}, Usage(3, 2, 1, 0, 4)),
        ({"completion_tokens_details": {"reasoning_tokens": 1}}, Usage(3, 2, 0, 1)),
        ({"cached_tokens": 1, "reasoning_tokens": 2}, Usage(3, 2, 1, 2)),
        ({"prompt_cache_hit_tokens": 1}, Usage(3, 2, 1)),
        ({"prompt_tokens": "x"}, None),
    ],
)
def test_counts_wherever_a_server_puts_them(more: dict[str, Any], usage: Usage | None) -> None:
    assert decoded({"content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 2, **more}).usage == usage


@pytest.mark.parametrize(
    "output", [b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[{"message":{"content":7}}]}']
)
def test_what_is_no_answer(output: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not a thing \("):
        decode_completion(output, "a thing")
    with pytest.raises(DecodeError, match=r"^not a chat completion \("):
        CODEC.decode(output)


def completion(finish: str | None = "stop", **message: Any) -> Answer:
    body = {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}]}
    return decode_completion(msgspec.json.encode(body), "a chat completion")


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("stop", "stop", None),
        ("length", "length", None),
        ("tool_calls", "tool_calls", None),
        ("function_call", "tool_calls", None),
        ("content_filter", "content_filter", None),
        ("model_length", "length", "model_length"),
        ("insufficient_system_resource", "length", "insufficient_system_resource"),
        ("new_one", "stop", "new_one"),
        (None, "stop", None),
    ],
)
def test_finish_reasons(reason: str | None, finish: str, native: str | None) -> None:
    answer = completion(reason, content="Hi")
    assert (answer.finish_reason, answer.native_reason) == (finish, native)


def test_answers_of_servers_that_do_as_they_like() -> None:
    both = completion(content="<think>b</think>hi", reasoning_content="a")
    assert (both.reasoning, both.content) == ("a\n\nb", "hi")
    said = completion(content="use </think> here", reasoning_content="a")
    assert (said.reasoning, said.content) == ("a", "use </think> here")
    legacy = completion(content=None, function_call={"name": "f", "arguments": ""})
    assert (legacy.content, legacy.tool_calls) == (None, [ToolCall("call_0", "f", b"{}")])
    refused = completion(content=None, refusal="No.")
    assert (refused.content, refused.refusal) == (None, "No.")
    assert completion(content="").content == ""


def test_of_several_choices_the_first_is_the_answer() -> None:
    body = {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}
    assert decode_completion(msgspec.json.encode(body), "it").content == "a"


def test_a_refusal_beside_a_text() -> None:
    answer = completion(content="I would say:", refusal="No.")
    assert (answer.content, answer.refusal) == ("I would say:", "No.")


def test_logprobs_are_kept_as_openai_has_them() -> None:
    top = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    given = {"content": [{**top, "top_logprobs": [top]}], "refusal": None}
    found = decoded({"content": "Hi"}, logprobs=given)
    assert msgspec.to_builtins(found.logprobs) == given


def test_calls_of_a_model_without_tools_are_never_left_out() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = [user(), {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "r"}]
    with refused("messages[].tool_calls", "this model takes no tools"):
        encode("google.gemma-3-27b-it", {"messages": asked, "tools": [TOOL]}, "drop")


def test_a_picture_in_a_tools_result_is_counted_by_its_place() -> None:
    turns = [USER, Turn("assistant", [ToolCall("1", "f", b"{}")]),
             Turn("user", [ToolResult("1", [Image("png", ""), Text("r")])])]  # fmt: skip
    sent, dropped = messages(*turns, unsupported="drop")
    assert (sent[-1]["content"], dropped) == ("r", {"messages[].content[] (tool)": 1})


def test_a_format_keeps_its_words_or_becomes_a_tool() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "j", "description": "D", "schema": schema, "strict": False},
    }
    assert encode("qwen.qwen3-32b-v1:0", {"messages": [user()], "response_format": wanted})["response_format"] == wanted
    sent = encode(JAMBA, {"messages": [user()], "response_format": wanted})
    assert "response_format" not in sent
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "json_response"}}
    assert [(tool["function"]["name"], tool["function"]["description"]) for tool in sent["tools"]] == [
        ("json_response", "D")
    ]


@pytest.mark.parametrize("effort", ["none", None])
def test_no_effort_is_no_field(effort: str | None) -> None:
    assert "reasoning_effort" not in encode(JAMBA, {"messages": [user()], "reasoning_effort": effort})


def test_fields_beside_its_own() -> None:
    more = {"x": 1, "temperature": 0.25}
    sent = encode(GPT_OSS, {"messages": [user()], "temperature": 2, "additionalModelRequestFields": more})
    assert (sent["x"], sent["temperature"]) == (1, 0.25)
    assert encode(GPT_OSS, {"messages": [user()], "temperature": 2})["temperature"] == 2
