"""What single models refuse: the conditions that `model_rules.toml` names, and the look-up by model.

A condition tells of one record, native or Converse's, whether it has what the rule's models refuse.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Body = dict[str, Any]

_RULES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["rule"]
#: What may stand behind the name of a model in its id: a date and a version.
_VERSION = re.compile(r"(-\d{8})?(-v\d+)?(:\d+)?(:\w+)?")
_CONSTRAINTS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems"}
    | {"uniqueItems", "minProperties", "maxProperties", "contains", "oneOf", "patternProperties", "propertyNames"}
    | {"if", "then", "else", "not"}
)
_SIMPLE_PATTERN = re.compile(r"\^?[\w\s\[\]\-.+*?{},|\\]*\$?", re.ASCII)


def problem(body: Body, model: str) -> str | None:
    """What AWS would say to a record for this base model id; None where no rule speaks against it."""
    for rule in _RULES:
        if not re.fullmatch(f"(?:{rule['models']}){_VERSION.pattern}", model):
            continue
        condition = CONDITIONS[rule["refuses"]]
        if condition(body, rule.get("than", [])):
            return str(rule["message"])
    return None


def _is_converse(body: Body) -> bool:
    return "anthropic_version" not in body and any(isinstance(m.get("content"), list) for m in _messages(body))


def _messages(body: Body) -> list[Body]:
    return [message for message in body.get("messages", []) if isinstance(message, dict)]


def _blocks(message: Body) -> list[Body]:
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _enforced(body: Body) -> Iterator[Body]:
    """The schemas that the model is to keep to without fail."""
    if "format" in body.get("output_config", {}):
        yield body["output_config"]["format"].get("schema", {})
    yield from (tool.get("input_schema", {}) for tool in body.get("tools", []) if tool.get("strict"))


def _nodes(schema: Any) -> Iterator[Body]:
    """Every schema within a schema; the names of a map of schemas are no keywords."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        for inner in schema.get(key, {}).values() if isinstance(schema.get(key), dict) else ():
            yield from _nodes(inner)
    for key in ("items", "additionalProperties", "not"):
        yield from _nodes(schema.get(key))
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, []) if isinstance(schema.get(key), list) else ():
            yield from _nodes(inner)


def _constrained(node: Body) -> bool:
    if node.keys() & _CONSTRAINTS or node.get("minItems", 0) > 1 or isinstance(node.get("items"), list):
        return True
    if any(isinstance(value, dict | list) for value in node.get("enum", [])):
        return True
    return "pattern" in node and not _SIMPLE_PATTERN.fullmatch(str(node["pattern"]))


def _recursive(schema: Body) -> bool:
    """Whether a reference leads back to where it stands."""

    def leads(node: Body, path: tuple[str, ...]) -> bool:
        for inner in _nodes({key: value for key, value in node.items() if key not in ("$defs", "definitions")}):
            reference = inner.get("$ref")
            if not isinstance(reference, str):
                continue
            if reference == "#" or reference in path:
                return True
            target: Any = schema
            for part in reference.removeprefix("#/").split("/"):
                target = target.get(part, {}) if isinstance(target, dict) else {}
            if leads(target, (*path, reference)):
                return True
        return False

    return leads(schema, ())


def _constraints(body: Body, than: list[Any]) -> bool:
    return any(_recursive(schema) or any(map(_constrained, _nodes(schema))) for schema in _enforced(body))


def _open_object(body: Body, than: list[Any]) -> bool:
    return any(
        node.get("additionalProperties") is not False
        for schema in _enforced(body)
        for node in _nodes(schema)
        if "object" in node.get("type", "")
    )


def _forces(body: Body) -> bool:
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def _thinks(body: Body) -> bool:
    return body.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _sampling_beside_thinking(body: Body, than: list[Any]) -> bool:
    odd = body.get("temperature", 1) != 1 or "top_k" in body or not 0.95 <= body.get("top_p", 1) <= 1
    return _thinks(body) and odd


def _prefill(body: Body) -> bool:
    return bool(_messages(body)) and _messages(body)[-1].get("role") == "assistant"


def _prefill_beside(body: Body, than: list[Any]) -> bool:
    return _prefill(body) and (_thinks(body) or "format" in body.get("output_config", {}))


def _thoughtless(body: Body, than: list[Any]) -> bool:
    """Enabled thinking over a history whose last call was made without a thought."""
    messages = _messages(body)
    if body.get("thinking", {}).get("type") != "enabled" or len(messages) < 2:
        return False
    kinds = [block.get("type") for block in _blocks(messages[-2])]
    answered = any(block.get("type") == "tool_result" for block in _blocks(messages[-1]))
    return answered and "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def _out_of_order(body: Body, than: list[Any]) -> bool:
    """Results behind other blocks of a user's turn, text behind calls of an assistant's, a call answered twice."""
    for message in _messages(body):
        kinds = [block.get("type") for block in _blocks(message)]
        for late, early in (("tool_result", {"text", "image", "document"}), ("text", {"tool_use"})):
            first = next((place for place, kind in enumerate(kinds) if kind in early), len(kinds))
            if late in kinds[first:]:
                return True
        answered = [block["tool_use_id"] for block in _blocks(message) if block.get("type") == "tool_result"]
        if len(answered) != len(set(answered)):
            return True
    return False


def _calls(body: Body) -> Iterator[tuple[str, str]]:
    """Ids and names of the calls in the conversation."""
    for message in _messages(body):
        for block in _blocks(message):
            if block.get("type") == "tool_use":
                yield str(block.get("id")), str(block.get("name"))
            elif "toolUse" in block:
                yield str(block["toolUse"].get("toolUseId")), str(block["toolUse"].get("name"))
        for call in message.get("tool_calls") or []:
            yield str(call.get("id")), str(call.get("function", {}).get("name"))


def _twice(body: Body, than: list[Any]) -> bool:
    ids = [id for id, _ in _calls(body)]
    return len(ids) != len(set(ids))


def _odd_name(body: Body, than: list[Any]) -> bool:
    return any(not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for _, name in _calls(body))


def _odd_id(body: Body, than: list[Any]) -> bool:
    return any(not re.fullmatch(than[0], id) for id, _ in _calls(body))


def _combined_root(body: Body, than: list[Any]) -> bool:
    roots = (tool.get("input_schema", {}).keys() for tool in body.get("tools", []))
    return any(root & {"anyOf", "oneOf", "allOf"} for root in roots)


def _odd_key(body: Body, than: list[Any]) -> bool:
    keys = (key for tool in body.get("tools", []) for key in tool.get("input_schema", {}).get("properties", {}))
    return any(not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", key) for key in keys)


def _too_long(body: Body, than: list[Any]) -> bool:
    config = body.get("inferenceConfig", {})
    wanted = (
        body.get("max_tokens") or body.get("max_gen_len") or config.get("maxTokens") or config.get("max_new_tokens")
    )
    return isinstance(wanted, int) and wanted > than[0]


def _lone_document(body: Body, than: list[Any]) -> bool:
    return any(
        any("document" in block for block in _blocks(message))
        and not any("text" in block for block in _blocks(message))
        for message in _messages(body)
        if _is_converse(body)
    )


def _sees(body: Body, than: list[Any]) -> bool:
    return any(
        "image" in block or block.get("type") in ("image", "image_url")
        for message in _messages(body)
        for block in _blocks(message)
    )


Condition = Callable[[Body, list[Any]], bool]

CONDITIONS: dict[str, Condition] = {
    "strict tools": lambda body, _: any("strict" in tool for tool in body.get("tools", [])),
    "constraints in an enforced schema": _constraints,
    "an open object in an enforced schema": _open_object,
    "output_config.format": lambda body, _: "format" in body.get("output_config", {}),
    "a forced tool": lambda body, _: _forces(body),
    "thinking between tools": lambda body, _: body.get("thinking", {}).get("type") == "between_tools",
    "thinking disabled": lambda body, _: body.get("thinking", {}).get("type") == "disabled",
    "sampling beside thinking": _sampling_beside_thinking,
    "a forced tool beside thinking": lambda body, _: _thinks(body) and _forces(body),
    "an effort other": lambda body, than: body.get("output_config", {}).get("effort", than[0]) not in than,
    "prefill": lambda body, _: _prefill(body),
    "prefill beside thinking or a format": _prefill_beside,
    "tool use without the thinking before it": _thoughtless,
    "blocks out of order": _out_of_order,
    "a tool id twice": _twice,
    "an odd tool name in the conversation": _odd_name,
    "a tool id other": _odd_id,
    "a combination at the root of a tool's schema": _combined_root,
    "an odd key of a tool's schema": _odd_key,
    "more max_tokens": _too_long,
    "a document without text": _lone_document,
    "outputConfig": lambda body, _: "textFormat" in body.get("outputConfig", {}),
    "system by Converse": lambda body, _: "prompt" not in body and "inputText" not in body and "system" in body,
    "stopSequences by Converse": lambda body, _: "stopSequences" in body.get("inferenceConfig", {}),
    "top_k by Converse": lambda body, _: "top_k" in body.get("additionalModelRequestFields", {}),
    "images": _sees,
    "Converse": lambda body, _: _is_converse(body),
}
