"""The text of a request, for people: of all its messages or inputs, pictures left out."""

from typing import Any, Final

import msgspec


class _Body(msgspec.Struct):
    instructions: Any = None
    messages: Any = None
    input: Any = None
    prompt: Any = None
    tools: Any = None


class _Line(msgspec.Struct):
    custom_id: Any = None
    body: _Body = msgspec.field(default_factory=_Body)


_decode: Final = msgspec.json.Decoder(_Line).decode


def prompt_of(line: bytes) -> tuple[str | None, str]:
    """The custom_id and the text of a request; nothing of a line that is none."""
    try:
        parsed = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, ""
    body = parsed.body
    text = "\n\n".join(texts_in([body.instructions, body.messages, body.input, body.prompt]))
    return parsed.custom_id if isinstance(parsed.custom_id, str) else None, text


def prefix_of(line: bytes, most: int) -> str:
    """The beginning of what a model reads of a request, tools first; empty for a line that is none."""
    try:
        body = _decode(line).body
        tools = msgspec.json.encode(body.tools).decode() if body.tools else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return "".join(texts_in([tools, body.instructions, body.messages, body.input, body.prompt], most))[:most]


def texts_in(value: Any, most: int | None = None) -> list[str]:
    """The texts in messages or inputs in their order; those that begin after `most` characters are left out."""
    found: list[str] = []
    stack, size = [value], 0
    while stack and (most is None or size < most):
        item = stack.pop()
        if isinstance(item, str):
            found.append(item)
            size += len(item)
        elif isinstance(item, dict):
            stack += [item[name] for name in ("text", "content") if name in item]
        elif isinstance(item, list):
            stack += reversed(item)
    return found
