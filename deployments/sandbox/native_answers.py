"""Synthetic answers in the other families' own shapes."""

import json
from typing import Any

from deployments.sandbox.synthetic import decide, fraction, tokens, value_for


def _embedding(text: str, size: int) -> list[float]:
    return [round(fraction(text, str(place)) * 2 - 1, 6) for place in range(size)]


def titan_embed(body: dict[str, Any], name: str) -> dict[str, Any]:
    size = body.get("dimensions") or body.get("embeddingConfig", {}).get("outputEmbeddingLength")
    vector = _embedding(body["inputText"], size or (1536 if "text-v1" in name else 1024))
    answer: dict[str, Any] = {"embedding": vector, "inputTextTokenCount": tokens(body["inputText"])}
    return answer | ({"message": None} if "image" in name else {"embeddingsByType": {"float": vector}})


def nova_embed(body: dict[str, Any], name: str) -> dict[str, Any]:
    params = body["singleEmbeddingParams"]
    vector = _embedding(params["text"]["value"], params["embeddingDimension"])
    return {"embeddings": [{"embeddingType": "TEXT", "embedding": vector}]}


def cohere_embed(body: dict[str, Any], name: str) -> dict[str, Any]:
    size = body.get("output_dimension") or (1536 if "v4" in name else 1024)
    vectors = [_embedding(text, size) for text in body["texts"]]
    typed = "embedding_types" in body
    return {
        "id": "e",
        "embeddings": {"float": vectors} if typed else vectors,
        "texts": body["texts"],
        "response_type": "embeddings_by_type" if typed else "embeddings_floats",
    }


def marengo(body: dict[str, Any], name: str) -> dict[str, Any]:
    old = "embed-2-" in name
    return {
        "data": [
            {"embedding": _embedding(body["inputText"] if old else body["text"]["inputText"], 1024 if old else 512)}
        ]
    }


def titan_text(body: dict[str, Any], name: str) -> dict[str, Any]:
    text = body["inputText"]
    outcome = decide(name, "", text, [], None, body.get("textGenerationConfig", {}).get("maxTokenCount"))
    result = {
        "tokenCount": tokens(outcome.text),
        "outputText": f"\n{outcome.text}",
        "completionReason": "LENGTH" if outcome.cut else "FINISH",
    }
    return {"inputTextTokenCount": tokens(text), "results": [result]}


def llama(body: dict[str, Any], name: str) -> dict[str, Any]:
    outcome = decide(name, "", body["prompt"], [], None, body.get("max_gen_len"))
    return {
        "generation": f"\n\n{outcome.text}",
        "prompt_token_count": tokens(body["prompt"]),
        "generation_token_count": tokens(outcome.text),
        "stop_reason": "length" if outcome.cut else "stop",
    }


def mistral_prompt(body: dict[str, Any], name: str) -> dict[str, Any]:
    outcome = decide(name, "", body["prompt"], [], None, body.get("max_tokens"))
    return {"outputs": [{"text": f" {outcome.text}", "stop_reason": "length" if outcome.cut else "stop"}]}


def r1(body: dict[str, Any], name: str) -> dict[str, Any]:
    outcome = decide(name, "", body["prompt"], [], None, body.get("max_tokens"))
    text = f"Synthetic thought.\n</think>\n\n{outcome.text}"
    return {"choices": [{"text": text, "stop_reason": "length" if outcome.cut else "stop"}]}


def command_r(body: dict[str, Any], name: str) -> dict[str, Any]:
    tools: list[tuple[str, dict[str, Any]]] = [(tool["name"], {"properties": {}}) for tool in body.get("tools", [])]
    outcome = decide(name, body.get("preamble", ""), body["message"], tools, "auto", body.get("max_tokens"))
    answer: dict[str, Any] = {
        "response_id": "r",
        "generation_id": "g",
        "text": outcome.text,
        "chat_history": [],
        "finish_reason": "MAX_TOKENS" if outcome.cut else "COMPLETE",
    }
    if outcome.tool:
        answer["tool_calls"] = [{"name": outcome.tool[0], "parameters": outcome.tool[1]}]
    return answer


def openai(body: dict[str, Any], name: str, *, stop_reason: bool = False) -> dict[str, Any]:
    texts = {role: "\n".join(_texts(body, role)) for role in ("system", "user")}
    tools = [(tool["function"]["name"], tool["function"].get("parameters", {})) for tool in body.get("tools", [])]
    choice = body.get("tool_choice", "auto")
    choice = choice["function"]["name"] if isinstance(choice, dict) else "any" if choice == "required" else choice
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    outcome = decide(name, texts["system"], texts["user"], tools, choice, limit)
    text = outcome.text
    if (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
        schema = body["response_format"].get("json_schema", {}).get("schema", {"type": "object"})
        text = json.dumps(value_for(schema))
    if name.startswith(("openai.", "moonshot")):
        text = f"<reasoning>Synthetic thought.</reasoning>{text}"
    message: dict[str, Any] = {"role": "assistant", "content": text}
    finish = "length" if outcome.cut else "stop"
    if outcome.tool:
        call = {"name": outcome.tool[0], "arguments": json.dumps(outcome.tool[1])}
        message |= {"content": None, "tool_calls": [{"id": f"call_{outcome.id}", "type": "function", "function": call}]}
        finish = "tool_calls"
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{outcome.id}",
        "object": "chat.completion",
        "created": 1,
        "model": name,
        "choices": [{"index": 0, "message": message, "stop_reason" if stop_reason else "finish_reason": finish}],
    }
    if not stop_reason:
        prompt, completion = tokens(texts["system"] + texts["user"]), tokens(text)
        answer["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
    return answer


def mistral_chat(body: dict[str, Any], name: str) -> dict[str, Any]:
    choice = "required" if body.get("tool_choice") == "any" else body.get("tool_choice", "auto")
    return openai({**body, "tool_choice": choice}, name, stop_reason=True)


def _texts(body: dict[str, Any], role: str) -> list[str]:
    found = []
    for message in body["messages"]:
        if message["role"] == role:
            content = message["content"]
            found += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return found


ANSWERS = {name: function for name, function in globals().items() if callable(function) and not name.startswith("_")}
