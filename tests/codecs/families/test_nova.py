"""Nova's messages-v1: the body of Converse with a name, its tools, and what is refused."""

import pytest

from deployments.sandbox import checks
from tasks.codecs.base import RequestError, Usage
from tests.codecs.families.test_converse import BODY, CONVERSATION
from tests.codecs.helpers import CALL, RESULTS, TOOL, decode, encode, refused, user

NOVA = "us.amazon.nova-pro-v1:0"
TWO = "us.amazon.nova-2-lite-v1:0"


def test_a_chat() -> None:
    assert encode(NOVA, BODY) == {"schemaVersion": "messages-v1", **CONVERSATION}
    checks.nova(encode(NOVA, BODY))


def test_nova_tools() -> None:
    body = {"messages": [user(), CALL, *RESULTS, user("Thanks")], "tools": [TOOL], "tool_choice": "auto"}
    sent = encode(NOVA, body)
    checks.nova(sent)
    assert sent["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "get_weather",
                    "description": "Weather in a city",
                    "inputSchema": {"json": TOOL["function"]["parameters"]},
                }
            }
        ],
        "toolChoice": {"auto": {}},
    }
    assert sent["messages"][2]["content"][0] == {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}}


def test_nova_has_no_tool_choice_none() -> None:
    assert "toolConfig" not in encode(NOVA, {"messages": [user()], "tools": [TOOL], "tool_choice": "none"})
    with refused("tool_choice", "tool_choice"):
        encode(NOVA, {"messages": [user(), CALL, *RESULTS], "tools": [TOOL], "tool_choice": "none"})
    body = {"messages": [user(), CALL, *RESULTS], "tools": [TOOL], "tool_choice": "none"}
    assert set(encode(NOVA, body, "drop")["toolConfig"]) == {"tools"}


def test_a_nova_answer() -> None:
    output = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "max_tokens",
        "usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13, "cacheReadInputTokenCount": 1},
    }
    answer = decode(NOVA, output)
    assert (answer.content, answer.finish_reason, answer.usage) == ("Hi", "length", Usage(10, 4, 1))


def test_its_own_fields() -> None:
    sent = encode(NOVA, {"messages": [user()], "top_k": 5, "temperature": 0.5})
    assert sent["inferenceConfig"] == {"temperature": 0.5, "topK": 5}


def test_a_named_and_a_required_tool() -> None:
    for choice, sent in (
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "get_weather"}}, {"tool": {"name": "get_weather"}}),
    ):
        body = encode(NOVA, {"messages": [user()], "tools": [TOOL], "tool_choice": choice})
        assert body["toolConfig"]["toolChoice"] == sent


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "object", "minProperties": 1}, "tools[].function.parameters.minProperties"),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            "tools[].function.parameters.additionalProperties",
        ),
        ({"type": "object", "properties": {}, "additionalProperties": False, "title": "T"}, None),
    ],
)
def test_the_root_of_a_tools_schema(schema: dict[str, object], param: str | None) -> None:
    body = {"messages": [user()], "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}
    if param is not None:
        with pytest.raises(RequestError) as caught:
            encode(NOVA, body)
        assert caught.value.param == param
    (tool,) = encode(NOVA, body, "drop")["toolConfig"]["tools"]
    assert tool["toolSpec"]["inputSchema"]["json"] == {"type": "object", "properties": {}}


STRICT = {"type": "function", "function": {**TOOL["function"], "strict": True}}
OUT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def format_of(schema: object, **more: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "out", "schema": schema, **more}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [STRICT]}, "tools[].function.strict"),
        ({"response_format": format_of(OUT, strict=True)}, "response_format.json_schema.strict"),
        ({"response_format": format_of({"type": "object", "properties": {"a": {"$ref": "#"}}})}, "response_format"),
        ({"messages": [user(), CALL, *RESULTS], "tools": [TOOL], "tool_choice": "none"}, "tool_choice"),
        ({"seed": 1}, "seed"),
    ],
)
def test_what_nova_does_not_take(body: dict[str, object], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode(NOVA, {"messages": [user()], **body})
    assert caught.value.param == param
    checks.nova(encode(NOVA, {"messages": [user()], **body}, "drop"))


def test_tools_that_were_called_are_declared() -> None:
    sent = encode(NOVA, {"messages": [user(), CALL, *RESULTS]})
    empty = {"name": "get_weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert sent["toolConfig"] == {"tools": [{"toolSpec": empty}]}


def test_fields_beside_its_own() -> None:
    more = {"inferenceConfig": {"topK": 3}, "x": 1}
    sent = encode(NOVA, {"messages": [user()], "max_tokens": 5, "additionalModelRequestFields": more})
    assert (sent["x"], sent["inferenceConfig"]) == (1, {"topK": 3})


def test_at_high_effort_it_sets_its_own_length_and_sampling() -> None:
    body = {"messages": [user()], "reasoning_effort": "high", "max_tokens": 50, "temperature": 0.5}
    with refused("max_tokens", "at high reasoning effort"):
        encode(TWO, body)
    sent = encode(TWO, body, "drop")
    assert "inferenceConfig" not in sent
    assert sent["reasoningConfig"] == {"type": "enabled", "maxReasoningEffort": "high"}
    with refused("reasoning_effort", "reasoning_effort"):
        encode(NOVA, {"messages": [user()], "reasoning_effort": "low"})


@pytest.mark.parametrize("field", ["max_tokens", "temperature", "top_p"])
def test_each_field_that_high_effort_sets_itself(field: str) -> None:
    body = {"messages": [user()], "reasoning_effort": "xhigh", field: 1}
    body = body | {field: 0.5} if field != "max_tokens" else body
    with refused(field, "at high reasoning effort"):
        encode(TWO, body)
    assert "inferenceConfig" not in encode(TWO, body, "drop")
    low = encode(TWO, {**body, "reasoning_effort": "minimal"})
    assert low["reasoningConfig"] == {"type": "enabled", "maxReasoningEffort": "low"}
    assert len(low["inferenceConfig"]) == 1
    assert encode(TWO, {"messages": [user()], "reasoning_effort": "none"})["reasoningConfig"] == {"type": "disabled"}


def test_a_tool_that_is_there_twice_is_there_once() -> None:
    sent = encode(NOVA, {"messages": [user()], "tools": [TOOL, TOOL]})
    assert len(sent["toolConfig"]["tools"]) == 1


def test_nova_micro_sees_nothing() -> None:
    from tests.codecs.helpers import PNG

    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    with refused("messages[].content[].image_url", "this model takes text only"):
        encode("amazon.nova-micro-v1:0", {"messages": [user([{"type": "text", "text": "?"}, picture])]})


def test_thoughts_in_novas_text_are_taken_out() -> None:
    output = {"output": {"message": {"content": [{"text": "<thinking>Hm.</thinking>Hi"}]}}, "stopReason": "end_turn"}
    answer = decode(NOVA, output)
    assert (answer.content, answer.reasoning) == ("Hi", "Hm.")
