"""Encoding and decoding one body, for tests."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tasks.bedrock.capabilities import Capabilities
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_of
from tasks.codecs.base import Answer, RequestError
from tasks.codecs.encoder import Encoder
from tasks.fast.line import FastEncoder

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}},
        {
            "id": "call:2",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"n": 12345678901234567890123}'},
        },
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "sun"}]},
]


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def encode(model: str, body: dict[str, Any], unsupported: str = "error") -> dict[str, Any]:
    """The modelInput of a body."""
    encoder = encoder_for(model, unsupported)
    line = json.dumps({"custom_id": "x", "body": body}).encode()
    model_input: dict[str, Any] = json.loads(encoder.encode(line).model_inputs[0])
    return model_input


def encoder_for(model: str, unsupported: str = "error") -> Encoder:
    return FastEncoder(parse_model(model), "/v1/chat/completions", unsupported)  # type: ignore[arg-type]


def decode(model: str, output: Any, invocation: str = "") -> Answer:
    """The answer in a modelOutput, of the job type that plain chats of the model go to."""
    invocation = invocation or encoder_for(model).plain_invocation
    codec: Any = codec_of(parse_model(model), invocation)  # type: ignore[arg-type]
    answer: Answer = codec.decode(json.dumps(output).encode())
    return answer


@contextlib.contextmanager
def refused(param: str, why: str, code: str = "unsupported_parameter") -> Iterator[None]:
    """The request is refused by a field, with a reason and a code."""
    with pytest.raises(RequestError, match=why) as caught:
        yield
    assert (caught.value.param, caught.value.code) == (param, code)


def facts(**fields: Any) -> Capabilities:
    """What is known of a model that there is not: nothing but what is given."""
    given = {"id": "x", "known": True, "seen": "today", "source": "here", "codec": "x", **fields}
    needed = [each.name for each in msgspec.structs.fields(Capabilities) if each.required]
    return Capabilities(**{**dict.fromkeys(needed), **given})
