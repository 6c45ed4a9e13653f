"""A Bedrock record in neutral words: what any family's body says of a request, for tests that hold it to a case."""

import json
import re
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]


def system(body: Body) -> list[str]:
    found = body.get("system", [])
    texts = [found] if isinstance(found, str) else [block["text"] for block in found if "text" in block]
    messages = [message for message in body.get("messages", []) if message.get("role") == "system"]
    return texts + [_text(message["content"]) for message in messages]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def turns(body: Body) -> list[tuple[str, list[str]]]:
    """Roles, and the kinds of blocks in each turn."""
    return [(m["role"], [*_kinds(m)]) for m in body.get("messages", []) if m["role"] != "system"]


def _kinds(message: Body) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield "tool_result" if message["role"] == "tool" else "text"
    for block in content if isinstance(content, list) else ():
        kind = block.get("type") or next(key for key in block if key in _KINDS)
        yield _KINDS.get(kind, kind)
    yield from ("tool_use" for _ in message.get("tool_calls") or ())


_KINDS = {"text": "text", "image": "image", "image_url": "image", "document": "document", "toolUse": "tool_use", "toolResult": "tool_result", "reasoningContent": "thinking"}  # fmt: skip


def parameter(body: Body, name: str) -> Any:
    """max_tokens, temperature, top_p or stop."""
    config = body.get("inferenceConfig") or body.get("textGenerationConfig") or {}
    other = {"max_tokens": ("maxTokens", "max_gen_len", "maxTokenCount", "max_completion_tokens"), "top_p": ("topP", "p"),
             "stop": ("stopSequences", "stop_sequences"), "temperature": ()}  # fmt: skip
    names = (name, *other[name])
    return next((place[each] for place in (body, config) for each in names if each in place), None)


def tools(body: Body) -> list[Body]:
    """Name, schema and strict of each tool."""
    found = body.get("tools") or body.get("toolConfig", {}).get("tools", [])
    return [_tool(tool.get("function") or tool.get("toolSpec") or tool) for tool in found]


def _tool(tool: Body) -> Body:
    schema = tool.get("input_schema") or tool.get("parameters") or tool.get("inputSchema", {}).get("json", {})
    return {"name": tool.get("name"), "schema": schema, "strict": tool.get("strict")}


def tool_choice(body: Body) -> str | None:
    """auto, none, required, or a name."""
    choice: Any = body.get("tool_choice", body.get("toolConfig", {}).get("toolChoice"))
    if not isinstance(choice, dict):
        return "required" if choice == "any" else choice
    kind = str(choice.get("type") or next(iter(choice)))
    inner: Body = choice.get("function") or choice.get("tool") or {}
    name = choice.get("name") or inner.get("name")
    return "required" if kind == "any" else name or kind


def forces_tool(body: Body) -> bool:
    return tool_choice(body) not in (None, "auto", "none")


def thinking(body: Body) -> str | None:
    """The type of thinking that is asked for."""
    found = body.get("thinking") or body.get("reasoningConfig") or {}
    return None if found.get("type") == "disabled" else found.get("type")


def effort(body: Body) -> str | None:
    config: str | None = body.get("reasoningConfig", {}).get("maxReasoningEffort")
    return body.get("output_config", {}).get("effort") or body.get("reasoning_effort") or config


def native_format(body: Body) -> Any:
    """The schema that is asked for without a tool; None where there is none."""
    if "format" in body.get("output_config", {}):
        return body["output_config"]["format"]["schema"]
    if "textFormat" in body.get("outputConfig", {}):
        return json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    given = body.get("response_format")
    return given.get("json_schema", {}).get("schema", {}) if given else None


def calls(body: Body) -> list[tuple[str, str]]:
    """Ids and names of all calls in the conversation."""
    found = []
    for message in body.get("messages", []):
        for block in message["content"] if isinstance(message.get("content"), list) else ():
            use = block.get("toolUse") or (block if block.get("type") == "tool_use" else None)
            if use:
                found.append((use.get("toolUseId") or use["id"], use["name"]))
        found += [(call["id"], call["function"]["name"]) for call in message.get("tool_calls") or ()]
    return found


def keywords(schema: Any) -> set[str]:
    """The keywords in a schema, at any depth; names of properties are none."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            found |= set().union(*map(keywords, value.values())) if value else set()
        elif key not in ("enum", "const", "default", "examples"):
            found |= keywords(value)
    return found


def unindexed(field: str | None) -> str:
    return re.sub(r"\[\d*\]", "[]", field or "")
