"""Small inputs of which it is known what is right, case by case: ours, and the shared ones where they are there.

A case says what the record must be like in neutral words, which refusals are right as well, and which field must be named
where it is not kept. Whatever is sent, the sandbox's own rules of single models must have nothing against.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import model_rules
from deployments.sandbox.models import base_model
from tasks.bedrock.models import parse_model
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tests.codecs import neutral

OURS = Path(__file__).with_name("cases")
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
#: A model of each kind that differs in what it takes.
MODELS = [
    "anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-opus-4-7", "us.anthropic.claude-opus-5",
    "us.anthropic.claude-opus-5-5", "us.anthropic.claude-haiku-5-5", "us.anthropic.claude-opus-6",
    "us.amazon.nova-micro-v1:0", "us.amazon.nova-lite-v1:0", "us.amazon.nova-2-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0", "us.meta.llama4-scout-17b-instruct-v1:0", "mistral.mistral-7b-instruct-v0:2",
    "mistral.mistral-large-2407-v1:0", "mistral.mistral-large-3-675b-instruct", "mistral.devstral-2-123b",
    "openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0", "moonshotai.kimi-k2.5", "google.gemma-3-12b-it",
    "nvidia.nemotron-nano-12b-v2", "us.deepseek.r1-v1:0", "deepseek.v3-v1:0", "cohere.command-r-v1:0",
    "amazon.titan-text-express-v1", "us.writer.palmyra-x5-v1:0",
]  # fmt: skip


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _cases() -> Iterator[Any]:
    for whose, folder in (("ours", OURS), ("shared", SHARED)):
        for path in sorted(folder.glob("encode*.jsonl")):
            for case in _read(path):
                yield pytest.param(case, id=f"{whose}-{case['id']}")


def _lines() -> Iterator[Any]:
    for whose, folder in (("ours", OURS), ("shared", SHARED)):
        for path in sorted(folder.glob("[0-9]*.jsonl")):
            for line in _read(path):
                name = f"{path.name[:2]}-{line['custom_id'][:40]}"
                yield pytest.param(line, id=f"{whose}-{name}")


def _encode(model: str, endpoint: str, body: Any, unsupported: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The records of a body, and what was counted."""
    encoder = Encoder(parse_model(model), endpoint, unsupported)  # type: ignore[arg-type]
    encoded = encoder.encode_general(json.dumps({"custom_id": "x", "body": body}).encode())
    return [json.loads(each) for each in encoded.model_inputs], Counter(encoded.dropped)


def _named(field: str, names: Any) -> bool:
    return any(re.search(rf"(?<![a-z]){re.escape(field)}(?![a-z])", neutral.unindexed(name)) for name in names)


@pytest.mark.parametrize("unsupported", ["error", "drop"])
@pytest.mark.parametrize("case", _cases())
def test_a_case(case: dict[str, Any], unsupported: str) -> None:
    expect, allowed = case["expect"], case.get("refusal_ok") or []
    try:
        bodies, counted = _encode(case["model"], case["endpoint"], case["body"], unsupported)
    except RequestError as error:
        assert error.param, error.message
        assert expect.get("refused") or _refusal_is_right(error, allowed, expect), error.message
        return
    name = expect.get("or_named")
    assert not (expect.get("refused") and unsupported == "error"), "it had to be refused"
    assert name is None or _named(name, counted) or f'"{name}"' in json.dumps(bodies), f"{name} vanished"
    assert "records" not in expect or len(bodies) == expect["records"]
    for body in bodies:
        assert model_rules.problem(body, base_model(case["model"])) is None
        _hold(body, expect)


def _refusal_is_right(error: RequestError, allowed: list[str], expect: dict[str, Any]) -> bool:
    param = neutral.unindexed(error.param)
    fields = [*allowed, *([expect["or_named"]] if "or_named" in expect else [])]
    return any(
        param == field or param.startswith((f"{field}.", f"{field}[")) or _named(field, [param]) for field in fields
    )


def _hold(body: dict[str, Any], expect: dict[str, Any]) -> None:  # noqa: C901, PLR0912, PLR0915 (a word a case)
    """Hold a record to what a case expects, key by key."""
    for key, wanted in expect.items():
        match key:
            case "system":
                assert "\n".join(neutral.system(body)) == "\n".join(wanted)
            case "turns":
                assert [[role, kinds] for role, kinds in neutral.turns(body)] == wanted
            case "max_tokens" | "temperature" | "top_p" | "stop":
                assert neutral.parameter(body, key) == wanted
            case "tools":
                assert [tool["name"] for tool in neutral.tools(body)] == wanted
            case "tool_choice":
                assert neutral.tool_choice(body) == wanted
            case "strict":
                assert [tool["strict"] or None for tool in neutral.tools(body)] == [wanted]
            case "thinking":
                assert neutral.thinking(body) == wanted
            case "effort":
                assert neutral.effort(body) == wanted
            case "effort_in":
                assert neutral.effort(body) in wanted
            case "not_together":
                assert not (neutral.thinking(body) and neutral.forces_tool(body))
            case "no_forced_tool":
                assert not neutral.forces_tool(body)
            case "native_format":
                assert neutral.native_format(body) is not None
            case "no_native_format":
                assert neutral.native_format(body) is None
            case "schema_without":
                schemas = [
                    neutral.native_format(body),
                    *(tool["schema"] for tool in neutral.tools(body) if tool["strict"]),
                ]
                assert not neutral.keywords(schemas) & set(wanted)
            case "no_strict_with":
                assert not any(t["strict"] and neutral.keywords(t["schema"]) & set(wanted) for t in neutral.tools(body))
            case "tool_ids_match":
                assert all(re.fullmatch(wanted, id) for id, _ in neutral.calls(body))
            case "tool_names_valid":
                assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for _, name in neutral.calls(body))
            case "no_converse_system":
                assert "prompt" in body or "system" not in body
            case "body_absent":
                assert not body.keys() & set(wanted)
            case "body_present":
                assert body.keys() >= set(wanted)
            case "raw":
                assert body == wanted
            case "raw_subset":
                assert wanted.items() <= body.items()
            case "described":
                assert all(word in json.dumps(body) for word in wanted)
            case "refused" | "or_named" | "records":
                pass
            case _:
                raise AssertionError(f"a case expects {key!r}, which this test does not know")


@pytest.mark.parametrize("unsupported", ["error", "drop"])
@pytest.mark.parametrize("line", _lines())
def test_a_line_on_every_kind_of_model(line: dict[str, Any], unsupported: str) -> None:
    """What is sent, no rule of the service speaks against; what is not, names its field."""
    for model in MODELS:
        try:
            bodies, _ = _encode(model, line["url"], line["body"], unsupported)
        except RequestError as error:
            assert error.param, (model, error.message)
            assert error.status == 400, (model, error.message)
            continue
        for body in bodies:
            problem = model_rules.problem(body, base_model(model))
            assert problem is None, (model, problem)
