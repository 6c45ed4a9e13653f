"""What single models refuse: every rule of the imitation's table, by a record that has it and one that has not."""

import re
from typing import Any

import pytest

from deployments.sandbox import model_rules
from deployments.sandbox import models as sandbox_models
from deployments.sandbox.checks import Refused

HAIKU, OPUS_46, OPUS_5, OPUS_55 = (
    "anthropic.claude-haiku-4-5-20251001-v1:0",
    "anthropic.claude-opus-4-6-v1",
    "anthropic.claude-opus-5",
    "anthropic.claude-opus-5-5",
)
LLAMA, NOVA, LARGE = "meta.llama3-3-70b-instruct-v1:0", "amazon.nova-lite-v1:0", "mistral.mistral-large-3-675b-instruct"
VERSION = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9}
USER = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
SAID = {"role": "user", "content": [{"text": "Hi"}]}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "r"}


def claude(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**VERSION, "messages": [USER, *messages], **fields}


def tool(schema: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"tools": [{"name": "f", "input_schema": {"type": "object", **(schema or {})}, **fields}]}


def format_(schema: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


CLOSED = {"type": "object", "additionalProperties": False}
THOUGHT = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        (OPUS_55, claude(**tool(strict=True)), "strict: Extra inputs"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", claude(**tool(strict=True)), "strict: Extra inputs"),
        (HAIKU, claude(**format_({**CLOSED, "properties": {"a": {"type": "integer", "minimum": 1}}})), "keyword"),
        (HAIKU, claude(**format_({**CLOSED, "properties": {"a": {"$ref": "#"}}})), "keyword"),
        (HAIKU, claude(**tool({**CLOSED, "properties": {"a": {"type": "array", "maxItems": 3}}}, strict=True)), "keyword"),
        (HAIKU, claude(**format_({"type": "object"})), "additionalProperties"),
        ("anthropic.claude-opus-4-7", claude(**format_(CLOSED)), "format: Extra inputs"),
        (OPUS_55, claude(**tool(), tool_choice={"type": "any"}), "forcing tool use"),
        (OPUS_55, claude(thinking={"type": "disabled"}), "disabled"),
        (OPUS_46, claude(thinking={"type": "adaptive"}, temperature=0.2), "temperature"),
        (OPUS_46, claude(thinking={"type": "adaptive"}, top_k=5), "temperature"),
        (OPUS_46, claude(thinking={"type": "adaptive"}, top_p=0.94), "temperature"),
        (OPUS_46, claude(thinking={"type": "adaptive"}, **tool(), tool_choice={"type": "any"}), "forces tool use"),
        (OPUS_46, claude(output_config={"effort": "xhigh"}), "effort"),
        (OPUS_5, claude({"role": "assistant", "content": "{"}), "prefill"),
        (HAIKU, claude({"role": "assistant", "content": "{"}, **THOUGHT), "prefilled"),
        (HAIKU, claude({"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}, **THOUGHT), "Expected `thinking`"),
        (HAIKU, claude({"role": "assistant", "content": [USE]}, {"role": "user", "content": [USER["content"][0], RESULT]}), "immediately"),
        (HAIKU, claude({"role": "assistant", "content": [USE, USER["content"][0]]}), "immediately"),
        (HAIKU, claude({"role": "assistant", "content": [USE, USE]}), "unique"),
        (HAIKU, claude({"role": "assistant", "content": [{**USE, "name": "a.b"}]}), "should match"),
        (HAIKU, claude({"role": "assistant", "content": [{**USE, "name": "a" * 65}]}), "should match"),
        (NOVA, {"messages": [SAID, {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "a.b"}}]}]}, "should match"),
        (HAIKU, claude({"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT, RESULT]}), "immediately"),
        (HAIKU, claude(**tool({"anyOf": [{}]})), "top level"),
        (HAIKU, claude(**tool({"properties": {"$filter": {}}})), "Property keys"),
        ("anthropic.claude-3-haiku-20240307-v1:0", claude(max_tokens=8192), "4096"),
        (LLAMA, {"messages": [{"role": "user", "content": [{"document": {}}]}]}, "document"),
        (LLAMA, {"messages": [SAID], "outputConfig": {"textFormat": {}}}, "outputConfig"),
        ("deepseek.r1-v1:0", {"messages": [SAID], "outputConfig": {"textFormat": {}}}, "outputConfig"),
        ("mistral.mistral-7b-instruct-v0:2", {"messages": [SAID], "system": [{"text": "s"}]}, "system"),
        ("qwen.qwen3-32b-v1:0", {"messages": [SAID], "inferenceConfig": {"stopSequences": ["x"]}}, "stopSequences"),
        ("cohere.command-r-v1:0", {"messages": [SAID], "additionalModelRequestFields": {"top_k": 3}}, "top_k"),
        (NOVA, {"messages": [SAID], "inferenceConfig": {"maxTokens": 16_384}}, "10000"),
        (LLAMA, {"prompt": "x", "max_gen_len": 16_384}, "8192"),
        (LARGE, {"messages": [{"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "f"}}]}]}, "length of 9"),
        ("mistral.devstral-2-123b", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image"),
        ("amazon.nova-canvas-v1:0", {"messages": [SAID]}, "chat model"),
    ],
)  # fmt: skip
def test_what_a_model_refuses(model: str, body: dict[str, Any], words: str) -> None:
    assert words in (model_rules.problem(body, model) or "")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (HAIKU, claude(**tool(CLOSED, strict=True))),
        (OPUS_5, claude(**tool(CLOSED, strict=True))),
        ("anthropic.claude-opus-5-1", claude(**tool(), tool_choice={"type": "any"})),
        (HAIKU, claude(**format_({**CLOSED, "properties": {"minimum": {"type": "integer"}, "pattern": {"type": "string"}}}))),
        (HAIKU, claude(**tool({"properties": {"a": {"type": "integer", "minimum": 1}}}))),
        (OPUS_46, claude(thinking={"type": "adaptive"}, temperature=1, top_p=0.97)),
        (HAIKU, claude({"role": "assistant", "content": "{"})),
        (HAIKU, claude({"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT, USER["content"][0]]})),
        (LLAMA, {"messages": [{"role": "user", "content": [{"document": {}}, {"text": "x"}]}]}),
        ("mistral.mistral-large-3-675b-instruct", {"messages": [SAID], "outputConfig": {"textFormat": {}}}),
        (NOVA, {"messages": [SAID], "inferenceConfig": {"maxTokens": 10_000}}),
    ],
)  # fmt: skip
def test_what_a_model_takes(model: str, body: dict[str, Any]) -> None:
    assert model_rules.problem(body, model) is None


def test_a_thinking_that_one_model_alone_takes() -> None:
    body = claude(thinking={"type": "between_tools"})
    assert sandbox_models.answer("anthropic.claude-sonnet-5-5", body, "InvokeModel", batch=True)
    with pytest.raises(Refused, match=r"thinking\.type"):
        sandbox_models.answer(OPUS_55, body, "InvokeModel", batch=True)


def test_every_condition_is_a_rule_s_and_every_rule_has_its_source() -> None:
    assert {rule["refuses"] for rule in model_rules._RULES} == set(model_rules.CONDITIONS)
    for rule in model_rules._RULES:
        assert rule["source"]
        assert rule["message"]


CLAUDES = {
    "3-haiku-20240307-v1:0",
    "3-sonnet-20240229-v1:0",
    "3-7-sonnet-20250219-v1:0",
    "sonnet-4-20250514-v1:0",
    "opus-4-1-20250805-v1:0",
    "haiku-4-5-20251001-v1:0",
    "opus-4-6-v1",
    "sonnet-4-6",
    "opus-4-7",
    "opus-4-8",
    "sonnet-5",
    "opus-5",
    "opus-5-5",
    "sonnet-5-5",
    "haiku-5-5",
    "fable-5",
    "fable-5-1",
    "mythos-5",
}
OLD = {name for name in CLAUDES if name.endswith("-v1:0") and not name.startswith("haiku-4-5")}
NEWEST = {"opus-5-5", "sonnet-5-5", "fable-5-1"}
LLAMAS = {f"meta.llama{name}-v1:0" for name in (
    "3-8b-instruct", "3-1-70b-instruct", "3-2-11b-instruct", "3-3-70b-instruct", "4-scout-17b-instruct",
)}  # fmt: skip
NOVAS = {f"amazon.nova-{name}-v1:0" for name in ("micro", "lite", "pro", "2-lite", "canvas")}
PROMPTED = {"mistral.mistral-7b-instruct-v0:2", "mistral.mixtral-8x7b-instruct-v0:1"}
MISTRALS = {
    *PROMPTED,
    "mistral.mistral-large-2407-v1:0",
    "mistral.mistral-large-3-675b-instruct",
    "mistral.devstral-2-123b",
}
DEEPSEEKS = {"deepseek.r1-v1:0", "deepseek.v3-v1:0"}
GPT, QWEN = "openai.gpt-oss-120b-1:0", "qwen.qwen3-32b-v1:0"
TITAN, COMMAND, JAMBA = "amazon.titan-text-express-v1", "cohere.command-r-v1:0", "ai21.jamba-1-5-mini-v1:0"
GEMMA, MARENGO = "google.gemma-3-12b-it", "twelvelabs.marengo-embed-3-0-v1:0"


def claudes(names: set[str] = CLAUDES) -> set[str]:
    return {f"anthropic.claude-{name}" for name in names}


EVERY = claudes() | LLAMAS | NOVAS | MISTRALS | DEEPSEEKS | {GPT, QWEN, TITAN, COMMAND, JAMBA, GEMMA, MARENGO}
#: Of each condition, with what it is held against: the models that refuse it.
REFUSING: dict[tuple[str, ...], set[str]] = {
    ("strict tools",): claudes(OLD | NEWEST | {"opus-4-7", "opus-4-8", "sonnet-5", "fable-5"}),
    ("constraints in an enforced schema",): claudes(),
    ("an open object in an enforced schema",): claudes(),
    ("output_config.format",): claudes(OLD | {"opus-4-7", "opus-4-8", "sonnet-5"}),
    ("a forced tool",): claudes(NEWEST),
    ("thinking disabled",): claudes(NEWEST),
    ("thinking between tools",): claudes(CLAUDES - {"sonnet-5-5"}),
    ("sampling beside thinking",): claudes(),
    ("a forced tool beside thinking",): claudes(),
    ("an effort other", "low", "medium", "high", "max"): claudes({"opus-4-6-v1", "sonnet-4-6"}),
    ("prefill",): claudes(CLAUDES - OLD - {"haiku-4-5-20251001-v1:0"}),
    ("prefill beside thinking or a format",): claudes(),
    ("tool use without the thinking before it",): claudes(),
    ("blocks out of order",): claudes(),
    ("a tool id twice",): claudes(),
    ("an odd tool name in the conversation",): claudes() | NOVAS,
    ("a combination at the root of a tool's schema",): claudes(),
    ("an odd key of a tool's schema",): claudes(),
    ("more max_tokens", "4096"): claudes({"3-haiku-20240307-v1:0", "3-sonnet-20240229-v1:0"}),
    ("more max_tokens", "10000"): {f"amazon.nova-{name}-v1:0" for name in ("micro", "lite", "pro")},
    ("more max_tokens", "8192"): {"meta.llama3-3-70b-instruct-v1:0"},
    ("a document without text",): EVERY,
    ("outputConfig",): LLAMAS | NOVAS | PROMPTED
    | {TITAN, "mistral.mistral-large-2407-v1:0", "deepseek.r1-v1:0", COMMAND, JAMBA},
    ("system by Converse",): {TITAN, *PROMPTED},
    ("stopSequences by Converse",): {GPT, QWEN, *DEEPSEEKS},
    ("top_k by Converse",): {*LLAMAS, COMMAND},
    ("a tool id other", "[a-zA-Z0-9]{9}"): MISTRALS,
    ("images",): DEEPSEEKS | {GPT, "amazon.nova-micro-v1:0", "mistral.devstral-2-123b"}
    | {f"meta.llama{name}-v1:0" for name in ("3-8b-instruct", "3-1-70b-instruct", "3-3-70b-instruct")},
    ("Converse",): {"amazon.nova-canvas-v1:0", MARENGO},
}  # fmt: skip


def test_which_models_refuse_it() -> None:
    """A rule that lost a model would let records pass that AWS refuses."""
    found: dict[tuple[str, ...], set[str]] = {}
    for rule in model_rules._RULES:
        models = {name for name in EVERY if re.fullmatch(f"(?:{rule['models']}){model_rules._VERSION.pattern}", name)}
        found.setdefault((rule["refuses"], *map(str, rule.get("than", []))), set()).update(models)
    assert found == REFUSING


SCHEMAS = [
    *({"type": "integer", name: 1} for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    *({"type": "string", name: 1} for name in ("minLength", "maxLength")),
    *({"type": "array", name: 2} for name in ("minItems", "maxItems", "uniqueItems")),
    *({"type": "string", name: {}} for name in ("contains", "propertyNames", "if", "then", "else", "not")),
    {**CLOSED, "minProperties": 1},
    {**CLOSED, "maxProperties": 1},
    {**CLOSED, "patternProperties": {}},
    {"oneOf": [{"type": "string"}]},
    {"type": "array", "items": [{"type": "string"}]},
    {"enum": [{"a": 1}]},
    {"type": "string", "pattern": "(?=x)y"},
    {"$ref": "#"},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_every_keyword_that_an_enforced_schema_must_not_have(schema: dict[str, Any]) -> None:
    whole = {**CLOSED, "properties": {"a": {"type": "array", "items": schema}}}
    assert "keyword" in (model_rules.problem(claude(**format_(whole)), HAIKU) or "")
    assert "keyword" in (model_rules.problem(claude(**tool(whole, strict=True)), HAIKU) or "")
    # Of a tool that is not strict, it is a hint.
    assert model_rules.problem(claude(**tool(whole)), HAIKU) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"enum": ["a", 1, None]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/$defs/A"},
    ],
    ids=str,
)
def test_what_an_enforced_schema_may_have(schema: dict[str, Any]) -> None:
    whole = {**CLOSED, "properties": {"a": schema}, "$defs": {"A": {"type": "string"}}}
    assert model_rules.problem(claude(**format_(whole)), HAIKU) is None
