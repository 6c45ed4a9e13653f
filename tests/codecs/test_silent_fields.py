"""No silent field: every optional key of OpenAI's request types, at every depth, is kept, mapped or named.

The `openai` package's types are walked. Each optional key is put, alone, into a request that has but what it must, and
encoded for a model of each family. The records must then differ, or the key be refused or counted by name, or be on the
list of what has no effect. A new version of the package shows what is new.
"""

import functools
import json
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from typing_extensions import get_type_hints, is_typeddict

from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.codecs.helpers import PNG

TYPES: dict[str, Any] = {
    CHAT: chat_create_params.CompletionCreateParamsNonStreaming,
    RESPONSES: response_create_params.ResponseCreateParamsNonStreaming,
    COMPLETIONS: completion_create_params.CompletionCreateParamsNonStreaming,
    EMBEDDINGS: embedding_create_params.EmbeddingCreateParams,
}
#: One model of each family.
MODELS = [
    "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-opus-5-5", "us.amazon.nova-2-lite-v1:0",
    "us.meta.llama4-scout-17b-instruct-v1:0", "mistral.mistral-7b-instruct-v0:2", "mistral.mistral-large-2407-v1:0",
    "mistral.mistral-large-3-675b-instruct", "openai.gpt-oss-20b-1:0", "us.deepseek.r1-v1:0",
    "cohere.command-r-v1:0", "amazon.titan-text-express-v1", "acme.any-other-v1:0",
    "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0",
    "twelvelabs.marengo-embed-3-0-v1:0",
]  # fmt: skip
#: What changes nothing about the answer of a batch request, whatever its value; the table of the documentation has it.
WITHOUT_EFFECT = {
    "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream",
    "stream_options", "user", "model", "encoding_format", "echo",
    # Of a batch that makes reasoning come as it is.
    "reasoning.summary", "reasoning.generate_summary",
    # A schema without a tool is enforced anyway, and one by a tool says that it is not.
    "text.format.strict", "response_format.json_schema.strict",
    # Echoes of what OpenAI gave out.
    "input[].id", "input[].status", "input[].content[].annotations", "input[].content[].logprobs",
    "messages[].annotations",
}  # fmt: skip
#: Values that ask for what happens anyway.
DEFAULTS: list[tuple[str, Any]] = [
    ("response_format", {"type": "text"}), ("text.format", {"type": "text"}), ("truncation", "disabled"),
    ("function_call", "auto"), ("input[].type", "message"), ("input", "Hi"), ("text", {}), ("reasoning", {}),
]  # fmt: skip
#: How deep the types are followed: schemas within schemas have no end.
DEPTH = 6


def strip(kind: Any) -> tuple[Any, bool | None]:
    """A type without its wrappers, and whether it says Required."""
    required = None
    while get_origin(kind) in (Required, NotRequired, typing.Annotated):
        required = {Required: True, NotRequired: False}.get(get_origin(kind), required)
        kind = get_args(kind)[0]
    return kind, required


@functools.cache
def fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The keys of a TypedDict: their types, and whether they are required."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        inner, required = strip(hint)
        found[name] = (inner, name in kind.__required_keys__ if required is None else required)
    return found


def options(kind: Any) -> list[Any]:
    """The alternatives of a type."""
    kind, _ = strip(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return [each for inner in get_args(kind) for each in options(inner)]
    if isinstance(kind, typing.TypeVar):
        return [str]
    return [kind]


SAMPLES: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}], "url": f"data:image/png;base64,{PNG}", "arguments": "{}",
    "file_data": "JVBERi0xLjQgeA==", "input": "Hi", "prompt": "Hi", "name": "f", "data": "AAAA",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}, "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "image_url": f"data:image/png;base64,{PNG}",
}  # fmt: skip


def plausible(kind: Any, name: str, depth: int = 0) -> Any:
    """A value of a type: the last of its words, which is seldom the default."""
    kind = options(kind)[0]
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[-1]
    if is_typeddict(kind):
        return minimal(kind, depth + 1)
    if kind is str and name in SAMPLES:
        return SAMPLES[name]
    if origin in (list, Iterable, tuple, typing.Sequence) or str(origin).endswith("Iterable'>"):
        return [plausible(get_args(kind)[0], name, depth + 1)] if depth < DEPTH else []
    if origin is dict or kind is object:
        return SAMPLES.get(name, {"x": 1})
    return {bool: True, int: 7, float: 0.7}.get(kind, "zq-marker")


def minimal(kind: Any, depth: int = 0) -> dict[str, Any]:
    """A value of a TypedDict with what it must have."""
    return {name: plausible(hint, name, depth) for name, (hint, required) in fields(kind).items() if required}


Path = tuple[tuple[str, Any], ...]


def optional_keys(kind: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each optional key at every depth: its name, an object without it, and the same object with it.

    What must be there and may be null asks for nothing as a null.
    """
    base = minimal(kind, depth)
    for name, (hint, required) in fields(kind).items():
        nullable = type(None) in options(hint)
        for alternative in options(hint):
            if alternative is not type(None) and (nullable or not required):
                without = {**base, name: None} if required else base
                yield name, without, {**base, name: plausible(alternative, name, depth)}
            yield from nested(name, alternative, base, depth)


def nested(
    name: str, kind: Any, base: dict[str, Any], depth: int
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The optional keys of what is in a field."""
    if depth >= DEPTH:
        return
    if is_typeddict(kind):
        for path, without, value in optional_keys(kind, depth + 1):
            yield f"{name}.{path}", {**base, name: without}, {**base, name: value}
        return
    if "Iterable" not in str(get_origin(kind)) and get_origin(kind) is not list:
        return
    for item in options(get_args(kind)[0]):
        if is_typeddict(item):
            for path, without, value in optional_keys(item, depth + 1):
                yield f"{name}[].{path}", {**base, name: [without]}, {**base, name: [value]}
        elif get_origin(item) is not None and get_args(item):
            continue


def sent(model: str, endpoint: str, body: dict[str, Any]) -> tuple[Any, Any] | None:
    """The records of a body and what was counted; None where it is refused."""
    encoder = Encoder(parse_model(model), endpoint, "drop")
    try:
        encoded = encoder.encode_general(json.dumps({"custom_id": "x", "body": completed(endpoint, body)}).encode())
    except RequestError as error:
        assert error.param, error.message
        assert error.status == 400, error.message
        return None
    return encoded.model_inputs, encoded.dropped


def completed(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """A body of which the key alone would be refused for what is not there beside it."""
    body = dict(body)
    if body.get("response_format", {}).get("type") == "json_schema":
        given = body["response_format"]["json_schema"]
        body["response_format"] = {
            **body["response_format"],
            "json_schema": {"schema": {"type": "object", "properties": {}}, **given},
        }
    if "function_call" in body:
        body.setdefault("functions", [{"name": "f"}])
    if "tool_choice" in body or "parallel_tool_calls" in body:
        parameters = {"type": "object", "properties": {"a": {"type": "string"}}}
        function = {"name": "f", "parameters": parameters}
        body.setdefault(
            "tools",
            [{"type": "function", "function": function} if endpoint == CHAT else {"type": "function", **function}],
        )
    if endpoint == CHAT and not any(m.get("role") == "user" for m in body.get("messages", [])):
        role = body["messages"][0].get("role")
        before: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
        if role == "tool":
            call = {
                "id": body["messages"][0]["tool_call_id"],
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            }
            before.append({"role": "assistant", "content": None, "tool_calls": [call]})
        if role == "function":
            before.append({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}})
        after = [] if role in ("tool", "function") else [{"role": "user", "content": "Go on"}]
        body["messages"] = [*before, *body["messages"], *after]
    if endpoint == RESPONSES and isinstance(body.get("input"), list):
        item = body["input"][0]
        before = [{"role": "user", "content": "Hi"}]
        if item.get("type") == "function_call_output":
            before.append(
                {"type": "function_call", "call_id": str(item.get("call_id")), "name": "f", "arguments": "{}"}
            )
        body["input"] = [*before, item, {"role": "user", "content": "Go on"}]
    if endpoint == RESPONSES:
        body.setdefault("input", "Hi")
    return body


@functools.cache
def cases(endpoint: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """All optional keys of an endpoint's request, each once for each value that can hold it."""
    found: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {}
    for path, without, value in optional_keys(TYPES[endpoint]):
        found.setdefault(json.dumps([path, value], sort_keys=True, default=str), (path, without, value))
    return list(found.values())


def _asks_nothing(path: str, value: dict[str, Any]) -> bool:
    """Whether the value at a path is one that asks for what happens anyway."""
    at: Any = value
    for name in path.split("."):
        at = at[name.removesuffix("[]")]
        at = at[0] if name.endswith("[]") else at
    return (path, at) in DEFAULTS


def _is_named(path: str, counted: Any) -> bool:
    """Whether what the key stands in was left out as a whole, and counted."""
    names = [name.partition(" (")[0] for name in counted]
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in names)


def silent(model: str, endpoint: str) -> dict[str, str]:
    """The keys that vanish without a word, and the value with which they do."""
    found = {}
    for path, without, value in cases(endpoint):
        if path in WITHOUT_EFFECT or path.split(".")[0] in WITHOUT_EFFECT or _asks_nothing(path, value):
            continue
        plain = sent(model, endpoint, without)
        with_key = sent(model, endpoint, value)
        if plain is not None and with_key == plain and not _is_named(path, plain[1]):
            found[path] = json.dumps(value)[:200]
    return found


PAIRS = [
    pytest.param(model, endpoint, id=f"{model}-{endpoint.removeprefix('/v1/')}")
    for model in MODELS
    for endpoint in TYPES
    if endpoint in codec_for(parse_model(model)).endpoints
]


@pytest.mark.parametrize(("model", "endpoint"), PAIRS)
def test_no_field_vanishes(model: str, endpoint: str) -> None:
    assert silent(model, endpoint) == {}


def test_the_types_are_walked() -> None:
    """Few cases would mean that the walk has lost its way."""
    paths = {endpoint: {path for path, _, _ in cases(endpoint)} for endpoint in TYPES}
    assert len(paths[CHAT]) > 60
    assert len(paths[RESPONSES]) > 150
    assert {
        "tools[].function.strict",
        "messages[].content[].image_url.detail",
        "response_format.json_schema.strict",
    } <= paths[CHAT]
    assert {"input[].content[].detail", "reasoning.effort", "tools[].defer_loading", "tools[].strict"} <= paths[
        RESPONSES
    ]
