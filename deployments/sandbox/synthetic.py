"""Synthetic models: their answers are made up, deterministic, and shaped as each family's own.

Nothing here understands text. A model asked to choose one of some labels picks the one whose usual words occur in
the text, and errs at a rate that depends on the model's id; asked anything else it says that it is synthetic.
"""

import hashlib
import json
import re
from typing import Any

_LABELS = re.compile(r"(?:one of|labels?|categories|category)[^:\n]*:\s*([a-z_ ,/|-]+)", re.IGNORECASE)
_WORDS = {
    "billing": "charge charged invoice refund payment card bill price billed subscription fee receipt",
    "delivery": "delivery package parcel courier arrive arrived shipping tracking late address delivered",
    "account": "password login account email locked sign username profile verification delete",
    "technical": "error crash app update bug screen freezes install loading version connection",
    "product": "size colour battery material compatible warranty manual feature model spare",
    "cancellation": "cancel cancellation terminate contract unsubscribe stop renewal end notice quit",
}
#: How often a model's label is wrong, by a part of its id; the first that fits counts.
_ERROR_RATES = (("opus", 0.02), ("sonnet", 0.04), ("haiku", 0.08), ("pro", 0.10), ("lite", 0.16), ("micro", 0.24))


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def tokens(text: str) -> int:
    return max(1, len(text) // 4)


def reply(model_id: str, system: str, user: str) -> str:
    """The text of an answer."""
    if '"answer_a":' in user:
        return _judge(model_id, user)
    found = _LABELS.search(system) or _LABELS.search(user)
    if found:
        labels = [label.strip(" .") for label in re.split(r"[,/|]| or ", found[1]) if label.strip(" .")]
        if len(labels) > 1:
            return _choose(model_id, labels, user)
    return f"Synthetic answer of {model_id} to a text of {len(user.split())} words."


#: How often a judge names the first answer, whatever it says; as judges do.
_LEANS_TO_THE_FIRST = 0.06


def _judge(model_id: str, user: str) -> str:
    """Which of two answers to a ticket is better: the right label, or else the shorter text."""
    try:
        shown = json.loads(user[user.index("{") :])
    except ValueError:
        return "tie"
    request, first, second = (str(shown.get(key, "")) for key in ("request", "answer_a", "answer_b"))
    if fraction(model_id, user, "lean") < _LEANS_TO_THE_FIRST:
        return "A"
    best = _best(list(_WORDS), request)
    marks = [answer.strip().lower() == best for answer in (first, second)]
    better = (marks[0] - marks[1]) or (len(second) > len(first)) - (len(first) > len(second))
    if first in _WORDS and second in _WORDS and marks[0] == marks[1]:
        better = 0
    if fraction(model_id, user) < _error_rate(model_id):
        better = -better
    return "A" if better > 0 else "B" if better < 0 else "tie"


def _error_rate(model_id: str) -> float:
    return next((rate for part, rate in _ERROR_RATES if part in model_id), 0.12)


def _best(labels: list[str], text: str) -> str:
    words = set(re.findall(r"[a-z]+", text.lower()))
    scored = [(len(words & set(_WORDS.get(label.lower(), label.lower()).split())), label) for label in labels]
    return max(scored, key=lambda pair: (pair[0], fraction(text, pair[1])))[1]


def _choose(model_id: str, labels: list[str], text: str) -> str:
    best = _best(labels, text)
    if fraction(model_id, text) < _error_rate(model_id):
        others = [label for label in labels if label != best]
        return others[int(fraction(text, model_id, "which") * len(others))]
    return best


def value_for(schema: dict[str, Any], name: str = "") -> Any:
    """A value that fits a JSON Schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {key: value_for(properties.get(key, {}), key) for key in schema.get("required", properties)}
    if kind == "array":
        return [value_for(schema.get("items", {}), name)]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(str(kind), f"synthetic {name}".strip())


class Outcome:
    """What a synthetic model answers: text, or a tool call."""

    def __init__(self, text: str, tool: tuple[str, dict[str, Any]] | None, limit: int | None, seed: str) -> None:
        self.cut = limit is not None and tokens(text) > limit
        # As many tokens as are allowed, and not one more.
        self.text = text[: 4 * max(1, limit or 1)] if self.cut else text
        self.tool = tool
        self.id = hashlib.blake2b(seed.encode(), digest_size=10).hexdigest()


def decide(
    model_id: str,
    system: str,
    user: str,
    tools: list[tuple[str, dict[str, Any]]],
    choice: str | None,
    limit: int | None,
) -> Outcome:
    """`choice` is none, auto, any or the name of a tool; with auto, about half of the requests get a call."""
    seed = f"{model_id}\x00{system}\x00{user}"
    call = None
    if tools and choice != "none":
        named = [tool for tool in tools if tool[0] == choice]
        if named or choice == "any" or fraction(seed) < 0.5:
            name, schema = (named or tools)[0]
            call = (name, value_for(schema))
    return Outcome(reply(model_id, system, user), call, limit, seed)


def _text_of(blocks: Any) -> str:
    if isinstance(blocks, str):
        return blocks
    return "\n".join(block["text"] for block in blocks or [] if isinstance(block.get("text"), str))


def anthropic(body: dict[str, Any], model_id: str) -> dict[str, Any]:
    system, user = _text_of(body.get("system", "")), _text_of(body["messages"][-1]["content"])
    choice = body.get("tool_choice", {"type": "auto"})
    kind = choice["name"] if choice["type"] == "tool" else choice["type"]
    tools = [(tool["name"], tool["input_schema"]) for tool in body.get("tools", [])]
    outcome = decide(model_id, system, user, tools, kind, body["max_tokens"])
    text = outcome.text
    schema = body.get("output_config", {}).get("format", {}).get("schema")
    content: list[dict[str, Any]] = [{"type": "text", "text": json.dumps(value_for(schema)) if schema else text}]
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        content.insert(0, {"type": "thinking", "thinking": "Synthetic thought.", "signature": "s"})
    reason = "max_tokens" if outcome.cut else "end_turn"
    if outcome.tool:
        name, arguments = outcome.tool
        content.append({"type": "tool_use", "id": f"toolu_bdrk_{outcome.id}", "name": name, "input": arguments})
        reason = "tool_use"
    return {
        "model": model_id.rsplit(".", maxsplit=1)[-1],
        "id": f"msg_bdrk_{outcome.id}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": tokens(system) + sum(tokens(_text_of(m["content"])) for m in body["messages"]),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens(outcome.text),
        },
    }


_UNION = (
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
)


def converse(body: dict[str, Any], model_id: str, *, nulls: bool) -> dict[str, Any]:
    """Nova's native answer, too; `nulls` as a Converse batch job echoes every member of a union."""
    system, user = _text_of(body.get("system", [])), _text_of(body["messages"][-1]["content"])
    config = body.get("toolConfig") or {}
    tools = [(tool["toolSpec"]["name"], tool["toolSpec"]["inputSchema"]["json"]) for tool in config.get("tools", [])]
    choice = config.get("toolChoice", {"auto": {}})
    kind = choice["tool"]["name"] if "tool" in choice else next(iter(choice))
    outcome = decide(model_id, system, user, tools, kind, body.get("inferenceConfig", {}).get("maxTokens"))
    wanted = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema", {}).get("schema")
    text = json.dumps(value_for(json.loads(wanted))) if wanted else outcome.text
    content: list[dict[str, Any]] = [{"text": text}]
    reason = "max_tokens" if outcome.cut else "end_turn"
    if outcome.tool:
        name, arguments = outcome.tool
        content.append({"toolUse": {"toolUseId": f"tooluse_{outcome.id}", "name": name, "input": arguments}})
        reason = "tool_use"
    if nulls:
        content = [{**dict.fromkeys(_UNION), **block} for block in content]
    count = tokens(system) + sum(tokens(_text_of(m["content"])) for m in body["messages"])
    usage: dict[str, Any] = {
        "inputTokens": count,
        "outputTokens": tokens(outcome.text),
        "totalTokens": count + tokens(outcome.text),
    }
    if nulls:
        usage |= {"cacheReadInputTokens": None, "cacheWriteInputTokens": None, "cacheDetails": None}
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": usage,
        **({"metrics": {"latencyMs": 100 + len(outcome.text)}, "trace": None} if nulls else {}),
    }
