"""Synthetic answers in the shapes of the other families: texts, ends, tokens and vectors where each has them."""

import json
from typing import Any

import pytest

from deployments.sandbox import models, native_checks
from deployments.sandbox.checks import Refused
from deployments.sandbox.native_answers import ANSWERS
from deployments.sandbox.synthetic import tokens

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"required": ["a"], "properties": {"a": {"type": "integer"}}}}}  # fmt: skip


def said(name: str) -> str:
    return f"Synthetic answer of {name} to a text of 2 words."


def ask(name: str, body: dict[str, Any]) -> dict[str, Any]:
    _, kind = native_checks.native(name)
    found: dict[str, Any] = ANSWERS[kind](body, name)
    return found


LLAMA, MIXTRAL, R1 = "meta.llama3-3-70b-instruct-v1:0", "mistral.mixtral-8x7b-instruct-v0:1", "deepseek.r1-v1:0"
COMMAND, TITAN, QWEN = "cohere.command-r-v1:0", "amazon.titan-text-express-v1", "qwen.qwen3-32b-v1:0"
GPT, LARGE = "openai.gpt-oss-120b-1:0", "mistral.mistral-large-2407-v1:0"


@pytest.mark.parametrize("limit", [None, 3])
def test_each_family_says_how_it_ended(limit: int | None) -> None:
    cut = limit is not None

    def text(name: str) -> str:
        return said(name)[: 4 * limit] if limit is not None else said(name)

    def limited(field: str) -> dict[str, Any]:
        return {} if limit is None else {field: limit}

    assert ask(LLAMA, {"prompt": "two words", **limited("max_gen_len")}) == {
        "generation": f"\n\n{text(LLAMA)}",
        "prompt_token_count": 2,
        "generation_token_count": tokens(text(LLAMA)),
        "stop_reason": "length" if cut else "stop",
    }
    assert ask(MIXTRAL, {"prompt": "two words", **limited("max_tokens")}) == {
        "outputs": [{"text": f" {text(MIXTRAL)}", "stop_reason": "length" if cut else "stop"}]
    }
    assert ask(R1, {"prompt": "two words", **limited("max_tokens")}) == {
        "choices": [{"text": f"Synthetic thought.\n</think>\n\n{text(R1)}", "stop_reason": "length" if cut else "stop"}]
    }
    assert ask(TITAN, {"inputText": "two words", "textGenerationConfig": limited("maxTokenCount")}) == {
        "inputTextTokenCount": 2,
        "results": [
            {
                "tokenCount": tokens(text(TITAN)),
                "outputText": f"\n{text(TITAN)}",
                "completionReason": "LENGTH" if cut else "FINISH",
            }
        ],
    }
    found = ask(COMMAND, {"message": "two words", **limited("max_tokens")})
    assert (found["text"], found["finish_reason"]) == (text(COMMAND), "MAX_TOKENS" if cut else "COMPLETE")
    for field in ("max_tokens", "max_completion_tokens"):
        answer = ask(QWEN, {"messages": [{"role": "user", "content": "two words"}], **limited(field)})
        (choice,) = answer["choices"]
        assert choice == {
            "index": 0,
            "message": {"role": "assistant", "content": text(QWEN)},
            "finish_reason": "length" if cut else "stop",
        }
        spent = tokens(text(QWEN))
        assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": spent, "total_tokens": 2 + spent}
    answer = ask(LARGE, {"messages": [{"role": "user", "content": "two words"}], **limited("max_tokens")})
    assert answer["choices"][0]["stop_reason"] == ("length" if cut else "stop")
    assert "usage" not in answer, "Mistral's own form has none"


def test_calls_of_tools_and_structured_texts() -> None:
    ask_for = {"messages": [{"role": "user", "content": "two words"}], "tools": [TOOL]}
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        (found,) = ask(QWEN, {**ask_for, "tool_choice": choice})["choices"]
        (call,) = found["message"]["tool_calls"]
        assert (found["finish_reason"], found["message"]["content"]) == ("tool_calls", None)
        assert (call["type"], call["function"]["name"]) == ("function", "f")
        assert json.loads(call["function"]["arguments"]) == {"a": 1}
    assert "tool_calls" not in ask(QWEN, {**ask_for, "tool_choice": "none"})["choices"][0]["message"]
    (found,) = ask(LARGE, {**ask_for, "tool_choice": "any"})["choices"]
    assert found["stop_reason"] == "tool_calls"
    schema = {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "object", "properties": {"n": {"type": "null"}}}},
    }
    found = ask(QWEN, {"messages": [{"role": "user", "content": "x"}], "response_format": schema})
    assert json.loads(found["choices"][0]["message"]["content"]) == {"n": None}
    found = ask(GPT, {"messages": [{"role": "user", "content": "two words"}]})
    assert found["choices"][0]["message"]["content"] == f"<reasoning>Synthetic thought.</reasoning>{said(GPT)}"


@pytest.mark.parametrize(
    ("name", "body", "place", "size"),
    [
        ("amazon.titan-embed-text-v1", {"inputText": "x"}, ("embedding",), 1536),
        ("amazon.titan-embed-text-v2:0", {"inputText": "x"}, ("embedding",), 1024),
        ("amazon.titan-embed-text-v2:0", {"inputText": "x", "dimensions": 256}, ("embeddingsByType", "float"), 256),
        ("amazon.titan-embed-image-v1", {"inputText": "x", "embeddingConfig": {"outputEmbeddingLength": 384}}, ("embedding",), 384),
        ("cohere.embed-english-v3", {"texts": ["x"]}, ("embeddings", 0), 1024),
        ("cohere.embed-v4:0", {"texts": ["x"], "embedding_types": ["float"]}, ("embeddings", "float", 0), 1536),
        ("cohere.embed-v4:0", {"texts": ["x"], "output_dimension": 256}, ("embeddings", 0), 256),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"singleEmbeddingParams": {"text": {"value": "x"}, "embeddingDimension": 256}}, ("embeddings", 0, "embedding"), 256),
        ("twelvelabs.marengo-embed-2-7-v1:0", {"inputText": "x"}, ("data", 0, "embedding"), 1024),
        ("twelvelabs.marengo-embed-3-0-v1:0", {"text": {"inputText": "x"}}, ("data", 0, "embedding"), 512),
    ],
)  # fmt: skip
def test_vectors_have_the_size_that_was_asked_for(
    name: str, body: dict[str, Any], place: tuple[Any, ...], size: int
) -> None:
    found: Any = ask(name, body)
    for step in place:
        found = found[step]
    assert len(found) == size
    assert all(-1 <= number <= 1 for number in found)
    assert len(set(found)) > size // 2


# Which model it is


@pytest.mark.parametrize("prefix", ["", "us-gov.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "sa.", "in.", "global."])
def test_a_profile_stands_for_its_model(prefix: str) -> None:
    for account in ("", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"):
        assert models.base_model(f"{account}{prefix}{LLAMA}") == LLAMA


def test_what_is_no_model() -> None:
    assert models.base_model("appclaude") == "anthropic.claude-haiku-4-5-20251001-v1:0"
    for name in ("gpt-4o", "xx.meta.llama3-3-70b-instruct-v1:0", "us.us.amazon.nova-lite-v1:0", "meta.llama3 8b", ""):
        with pytest.raises(Refused, match="model identifier is invalid"):
            models.base_model(name)


TURNS = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
SPEC = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}


def test_a_job_is_held_to_more_than_a_call() -> None:
    assert models.answer(LLAMA, {**TURNS, "toolConfig": SPEC}, "Converse", batch=False)
    with pytest.raises(Refused, match="not supported in batch"):
        models.answer(LLAMA, {**TURNS, "toolConfig": SPEC}, "Converse", batch=True)


@pytest.mark.parametrize(
    ("name", "body", "invocation"),
    [
        ("amazon.titan-embed-text-v1", TURNS, "Converse"),
        (LLAMA, [], "InvokeModel"),
        (LLAMA, {"messages": 7}, "InvokeModel"),
        (LLAMA, TURNS, "InvokeModel"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", TURNS, "InvokeModel"),
        ("amazon.nova-lite-v1:0", {"prompt": "x"}, "InvokeModel"),
    ],
)
def test_a_body_of_another_kind_is_refused(name: str, body: Any, invocation: str) -> None:
    with pytest.raises(Refused):
        models.answer(name, body, invocation, batch=True)
