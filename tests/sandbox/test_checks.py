"""The imitation's checks of Claude's, Converse's and Nova's bodies: each refuses by name what its model would refuse."""

import base64
from typing import Any

import pytest

from deployments.sandbox import checks
from deployments.sandbox.checks import Refused

HAIKU, OPUS_46, OPUS_47 = "anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-opus-4-6-v1", "claude-opus-4-7"
ASK = {"role": "user", "content": "Hi"}
SAY = {"role": "assistant", "content": "Ho"}
CLAUDE: dict[str, Any] = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5000, "messages": [ASK]}
TEXT = {"type": "text", "text": "x"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "a-1_B", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a-1_B", "content": "r"}
THINKS = {"type": "enabled", "budget_tokens": 1024}
PICTURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF",
}


def image(kind: str, data: bytes | str, source: str = "base64") -> dict[str, Any]:
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return {"type": "image", "source": {"type": source, "media_type": kind, "data": text}}


def turn(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def called(*blocks: Any) -> list[dict[str, Any]]:
    """A call, and what is answered."""
    return [ASK, turn(USE, role="assistant"), turn(*blocks)]


def format_(schema: Any, kind: str = "json_schema", **more: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": kind, "schema": schema, **more}}}


@pytest.mark.parametrize(
    ("change", "model"),
    [
        ({"system": "Be brief."}, ""),
        ({"system": [{"type": "text", "text": "Be brief."}]}, ""),
        ({"temperature": 1, "top_p": 0, "top_k": 5, "stop_sequences": ["END"], "metadata": {}}, ""),
        ({"temperature": 0}, HAIKU),
        ({"messages": [ASK, SAY, turn(TEXT, image("image/png", PICTURES["image/png"]))]}, ""),
        ({"tools": [{**TOOL, "description": "d", "strict": True}], "tool_choice": {"type": "tool", "name": "f"}}, ""),
        ({"tools": [TOOL], "messages": called(RESULT)}, ""),
        ({"tools": [TOOL], "messages": called({**RESULT, "content": [TEXT]}, TEXT)}, ""),
        ({"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, ""),
        ({"thinking": THINKS, "temperature": 1}, ""),
        ({"thinking": THINKS, "tools": [TOOL], "tool_choice": {"type": "auto"}}, ""),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, ""),
        ({"messages": [ASK, turn({"type": "thinking"}, TEXT, role="assistant")]}, ""),
        ({"messages": [turn({"type": "document", "source": {}}, TEXT)]}, ""),
        ({"messages": [ASK, SAY]}, ""),
        (format_({"type": "object", "additionalProperties": False, "enum": [{"type": "object"}]}), ""),
    ],
)
def test_what_claude_takes(change: dict[str, Any], model: str) -> None:
    checks.anthropic({**CLAUDE, **change}, model)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "x"}, "", "model: Extra inputs"),
    ({"system": None}, "", "system: must not be null"),
    ({"anthropic_version": "2023-06-01"}, "", "anthropic_version"),
    ({"max_tokens": 0}, "", "max_tokens"),
    ({"max_tokens": "5"}, "", "max_tokens"),
    ({"temperature": 1.01}, "", "temperature: range"),
    ({"temperature": -0.1}, "", "temperature: range"),
    ({"temperature": True}, "", "temperature: must be a number"),
    ({"top_p": 1.01}, "", "top_p: range"),
    *[({field: 1}, OPUS_47, "not supported by this model") for field in ("temperature", "top_p", "top_k")],
    ({"temperature": 1, "top_p": 1}, HAIKU, "cannot both"),
    ({"temperature": 1, "top_p": 1}, OPUS_46, "cannot both"),
    ({"system": []}, "", "system: must be"),
    ({"system": [{"type": "image"}]}, "", "system: only text"),
    ({"system": " \n"}, "", "non-whitespace"),
    ({"system": [{"type": "text", "text": 7}]}, "", "must be a string"),
    ({"stop_sequences": ["END", " "]}, "", "stop_sequences"),
    ({"messages": []}, "", "at least one message"),
    ({"messages": [SAY]}, "", "first message"),
    ({"messages": [ASK, {"role": "system", "content": "x"}]}, "", "messages.1.role"),
    ({"messages": [ASK, ASK]}, "", "messages.1: roles must alternate"),
    ({"messages": [{**ASK, "name": "Ann"}]}, "", "messages.0.name: Extra"),
    ({"messages": [{"role": "user", "content": []}]}, "", "messages.0.content"),
    ({"messages": [{"role": "user", "content": " "}]}, "", "non-whitespace"),
    ({"messages": [turn({"type": "text", "text": ""})]}, "", "non-whitespace"),
    ({"messages": [turn({**TEXT, "id": "x"})]}, "", "id: Extra"),
    ({"messages": [turn({"type": "video"})]}, "", "Input tag 'video'"),
    ({"messages": [ASK, {**SAY, "content": "Ho "}]}, "", "trailing whitespace"),
    ({"messages": [turn({"type": "document"})]}, "", "document.source"),
    ({"messages": [turn({"type": "thinking"})]}, "", "thinking belongs to the assistant"),
    # Tools
    ({"tools": [{**TOOL, "parameters": {}}]}, "", "tools.0.parameters: Extra"),
    ({"tools": [{**TOOL, "name": "a.b"}]}, "", "tools.0.name"),
    ({"tools": [{**TOOL, "name": "a" * 129}]}, "", "tools.0.name"),
    ({"tools": [TOOL, TOOL]}, "", "unique"),
    ({"tools": [{**TOOL, "input_schema": {"type": "array"}}]}, "", "input_schema.type"),
    ({"tool_choice": {"type": "auto"}}, "", "while providing tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "", "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "", "no such tool"),
    ({"tools": [TOOL], "tool_choice": {"type": "any", "x": 1}}, "", "tool_choice.x"),
    ({"tools": [TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}}, "", "extra input"),
    ({"messages": called(RESULT)}, "", "must define tools"),
    ({"tools": [TOOL], "messages": called(TEXT)}, "", "without `tool_result`"),
    ({"tools": [TOOL], "messages": [turn(RESULT)]}, "", "unexpected `tool_use_id`"),
    ({"tools": [TOOL], "messages": called(RESULT, {**RESULT, "tool_use_id": "b"})}, "", "unexpected `tool_use_id`"),
    ({"tools": [TOOL], "messages": [turn(USE)]}, "", "belong to the assistant"),
    ({"tools": [TOOL], "messages": [ASK, turn({**USE, "id": "a b"}, role="assistant")]}, "", "tool_use.id"),
    ({"tools": [TOOL], "messages": [ASK, turn({**USE, "input": "{}"}, role="assistant")]}, "", "tool_use.input"),
    (
        {"tools": [TOOL], "messages": called({**RESULT, "content": [{"type": "text", "text": ""}]})},
        "",
        "non-whitespace",
    ),
    # Thinking
    ({"thinking": {"type": "on"}}, "", "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "", "at least 1024"),
    ({"thinking": {"type": "enabled"}}, "", "at least 1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "", "greater than"),
    ({"thinking": THINKS, "temperature": 0.5}, "", "set to 1"),
    ({"thinking": THINKS, "top_k": 5}, "", "top_k"),
    ({"thinking": THINKS, "tools": [TOOL], "tool_choice": {"type": "any"}}, "", "forces tool use"),
    ({"output_config": {"effort": "minimal"}}, "", "output_config.effort"),
    ({"output_config": {"style": "x"}}, "", "output_config.style"),
    # Structured output
    (format_({"type": "object"}), "", "additionalProperties"),
    (format_({"type": "array", "items": {"type": "object", "additionalProperties": True}}), "", "additionalProperties"),
    (format_({"anyOf": [{"type": "string"}, {"type": "object"}]}), "", "additionalProperties"),
    (format_({}, "json_object"), "", "format.type"),
    (format_({}, name="x"), "", "format.name"),
]


@pytest.mark.parametrize(("change", "model", "said"), REFUSED)
def test_what_claude_refuses(change: dict[str, Any], model: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        checks.anthropic({**CLAUDE, **change}, model)
    assert said in caught.value.message
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_what_it_is_said_to_be(kind: str) -> None:
    checks.anthropic({**CLAUDE, "messages": [turn(image(kind, PICTURES[kind]))]})
    for other in PICTURES.keys() - {kind}:
        with pytest.raises(Refused, match="does not match the media type"):
            checks.anthropic({**CLAUDE, "messages": [turn(image(kind, PICTURES[other]))]})


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (image("image/bmp", b"BM"), "media type image/bmp is not supported"),
        (image("image/png", "not base64!"), "invalid base64"),
        (image("image/png", "https://x/y.png", "url"), "only base64"),
    ],
)
def test_pictures_that_are_none(block: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        checks.anthropic({**CLAUDE, "messages": [turn(block)]})


# Converse, and Nova's native body

USER = {"role": "user", "content": [{"text": "Hi"}]}
BOT = {"role": "assistant", "content": [{"text": "Ho"}]}
SPEC = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a.1:-", "name": "f", "input": {}}}]}
ANSWER = {"toolResult": {"toolUseId": "a.1:-", "content": [{"text": "r"}]}}
PNG = base64.b64encode(PICTURES["image/png"]).decode()


def picture(kind: str, data: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"image": {"format": kind, "source": {"bytes": data}}}]}


@pytest.mark.parametrize(
    ("body", "batch"),
    [
        ({"messages": [USER, BOT, USER], "system": [{"text": "s"}]}, True),
        ({"messages": [USER], "inferenceConfig": {"temperature": 1, "topP": 0, "maxTokens": 1}}, True),
        ({"messages": [picture("png", PNG)]}, True),
        ({"messages": [USER, CALL, {"role": "user", "content": [ANSWER]}], "toolConfig": {"tools": [SPEC]}}, False),
        ({"messages": [{"role": "user", "content": [{"text": "x"}, {"cachePoint": {"type": "default"}}]}]}, False),
    ],
)
def test_what_converse_takes(body: dict[str, Any], batch: bool) -> None:
    checks.converse(body, batch=batch)


CONVERSE_REFUSES: list[tuple[dict[str, Any], bool, str]] = [
    ({"messages": [USER], "modelId": "m"}, False, "modelId"),
    ({"messages": [USER], "toolConfig": {"tools": [SPEC]}}, True, "Tool use is not supported in batch"),
    ({"messages": [USER], "guardrailConfig": {}}, True, "Guardrails are not supported"),
    (
        {"messages": [{"role": "user", "content": [{"text": "x"}, {"cachePoint": {"type": "default"}}]}]},
        True,
        "caching",
    ),
    ({"messages": [USER], "system": [{"cachePoint": {"type": "default"}}]}, True, "caching"),
    ({"messages": [USER], "temperature": 1}, True, "Unknown parameter"),
    ({"messages": [USER], "inferenceConfig": {"maxTokens": "5"}}, True, "Invalid type"),
    ({"messages": [USER], "inferenceConfig": {"temperature": 1.1}}, True, "temperature: range"),
    ({"messages": [USER], "inferenceConfig": {"topP": 1.1}}, True, "topP: range"),
    ({"messages": [USER], "inferenceConfig": {"maxTokens": 0}}, True, "maxTokens"),
    ({"messages": []}, True, "at least one message"),
    ({"messages": [BOT]}, True, "must start with a user"),
    ({"messages": [USER, USER]}, True, "must alternate"),
    ({"messages": [{"role": "user", "content": []}]}, True, "must not be empty"),
    ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, True, "is blank"),
    ({"messages": [picture("jpeg", PNG)]}, True, "does not match"),
    ({"messages": [picture("png", "!")]}, True, "base64"),
    ({"messages": [USER, CALL, {"role": "user", "content": [ANSWER]}]}, False, "toolConfig field must be defined"),
    ({"messages": [USER, CALL, USER], "toolConfig": {"tools": [SPEC]}}, False, "must answer the toolUse"),
    ({"messages": [{"role": "user", "content": [ANSWER]}], "toolConfig": {"tools": [SPEC]}}, False, "must answer"),
    ({"messages": [{"role": "user", "content": [ANSWER]}]}, False, "must answer"),
]


@pytest.mark.parametrize(("body", "batch", "said"), CONVERSE_REFUSES)
def test_what_converse_refuses(body: dict[str, Any], batch: bool, said: str) -> None:
    with pytest.raises(Refused) as caught:
        checks.converse(body, batch=batch)
    assert said in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": "messages-v1", "system": [{"text": "s"}]},
        {"inferenceConfig": {"maxTokens": 5, "temperature": 1, "topP": 1, "topK": 5, "stopSequences": ["x"]}},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ],
)
def test_what_nova_takes(change: dict[str, Any]) -> None:
    checks.nova({"messages": [USER], **change})


def spec(**fields: Any) -> dict[str, Any]:
    return {"toolConfig": {"tools": [{"toolSpec": {**SPEC["toolSpec"], **fields}}]}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": 3}, "max_tokens: Extra"),
        ({"inferenceConfig": {"max_tokens": 3}}, "max_tokens: Extra"),
        ({"inferenceConfig": {"temperature": 1.1}}, "temperature: range"),
        ({"inferenceConfig": {"topP": 1.1}}, "topP: range"),
        ({"messages": [USER, USER]}, "alternate"),
        ({"messages": [USER, CALL]}, "toolConfig"),
        ({"toolConfig": {"tools": []}}, "must not be empty"),
        (spec(name="a.b"), "toolSpec.name"),
        (spec(name="a" * 65), "toolSpec.name"),
        (spec(inputSchema={"json": {"type": "array"}}), "type object"),
        (spec(inputSchema={"json": {"type": "object", "$defs": {}}}), "$defs: Extra"),
        ({"toolConfig": {"tools": [SPEC], "toolChoice": {"required": {}}}}, "toolChoice"),
        ({"toolConfig": {"tools": [SPEC], "toolChoice": {}}}, "toolChoice"),
        ({"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, "one member of the union"),
        ({"messages": [{**USER, "name": "Ann"}]}, "messages.0.name"),
        ({"messages": [USER, {"role": "tool", "content": [{"text": "x"}]}]}, "messages.1.role"),
    ],
)
def test_what_nova_refuses(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        checks.nova({"messages": [USER], **change})
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"toolUseId": "a b", "name": "f", "input": {}}, "toolUseId"),
        ({"toolUseId": "a" * 65, "name": "f", "input": {}}, "toolUseId"),
        ({"toolUseId": "a", "name": "f", "input": "{}"}, "input must be an object"),
    ],
)
def test_calls_that_nova_refuses(call: dict[str, Any], said: str) -> None:
    body = {"messages": [USER, {"role": "assistant", "content": [{"toolUse": call}]}], "toolConfig": {"tools": [SPEC]}}
    with pytest.raises(Refused, match=said):
        checks.nova(body)
