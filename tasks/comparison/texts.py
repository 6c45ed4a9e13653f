"""What is in a request: its text, for people, what it repeats, and whether an answer kept the form that it wants."""

from typing import Any

import msgspec
import xxhash

from tasks.comparison.schemas import SchemaChecker


class Wanted(msgspec.Struct, frozen=True):
    """The form that a request asks of its answer: raw JSON, so that equal ones are found equal."""

    json: bool = False
    schema: bytes = b""
    #: Raw JSON Schemas of the tools' parameters, by name.
    tools: tuple[tuple[str, bytes], ...] = ()


class Asked(msgspec.Struct, frozen=True):
    """What a request asks: its text, for people, and the form it wants.

    Requests of the same `key` ask the same, word for word; 0 where that cannot be told. `metadata` is the body's own.
    """

    text: str
    wanted: Wanted
    key: int = 0
    metadata: dict[str, Any] = {}


NOTHING = Asked("", Wanted())


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    input: Any = None
    prompt: Any = None
    response_format: Any = None
    text: Any = None
    tools: Any = None
    metadata: Any = None


class _Line(msgspec.Struct):
    body: _Body


_decode = msgspec.json.Decoder(_Line).decode


def asked(line: bytes) -> Asked:
    """What a request line asks; nothing where it cannot be read, or is of another form."""
    try:
        return _asked(_decode(line).body)
    except (msgspec.DecodeError, UnicodeError, OverflowError, RecursionError):
        return NOTHING


def _asked(body: _Body) -> Asked:
    if body.messages:
        text = next((_text(m.content) for m in reversed(body.messages) if m.role == "user"), "")
    else:
        text = _text(body.input if body.input is not None else body.prompt)
    form = body.response_format or (body.text.get("format") if isinstance(body.text, dict) else None)
    whole = msgspec.json.encode([body.messages, body.input, body.prompt], order="sorted")
    key = xxhash.xxh3_64_intdigest(whole) or 1
    metadata = body.metadata if isinstance(body.metadata, dict) else {}
    return Asked(text, Wanted(*_form(form), _tools(body.tools)), key, metadata)


def _text(content: Any) -> str:
    """The text of a content, a prompt or an input; pictures and the like are named in brackets."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        if isinstance(content.get("text"), str):
            return str(content["text"])
        if "content" in content:
            return _text(content["content"])
        return f"[{content.get('type', 'object')}]"
    if isinstance(content, list):
        return "\n".join(_text(part) for part in content if not isinstance(part, int))
    return ""


def _form(form: Any) -> tuple[bool, bytes]:
    if not isinstance(form, dict) or form.get("type") not in ("json_object", "json_schema"):
        return False, b""
    inner = form.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else form.get("schema")
    return True, msgspec.json.encode(schema) if isinstance(schema, dict) else b""


def _tools(tools: Any) -> tuple[tuple[str, bytes], ...]:
    found = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found.append((function["name"], msgspec.json.encode(function.get("parameters") or {})))
    return tuple(found)


def keeps_form(
    wanted: Wanted, answer: str | None, checker: SchemaChecker | None = None
) -> tuple[bool | None, bool | None]:
    """Whether an answer is JSON, and keeps to the schema; None where that was not asked for, or cannot be told."""
    if not wanted.json:
        return None, None
    text = _encoded(answer or "")
    if text is None:
        return False, False if wanted.schema else None
    return True, _check(checker, wanted.schema, text) if wanted.schema else None


def valid_calls(wanted: Wanted, calls: str | None, checker: SchemaChecker | None = None) -> bool | None:
    """Whether every tool call names a tool that there is, with arguments of its schema.

    None without a call, and where a schema cannot be used.
    """
    if not calls:
        return None
    schemas = dict(wanted.tools)
    kept: set[bool | None] = set()
    for _, name, arguments in msgspec.json.decode(calls):
        text = _encoded(arguments or "{}")
        kept.add(name in schemas and text is not None and _check(checker, schemas[name], text))
    return False if False in kept else None if None in kept else True


def _check(checker: SchemaChecker | None, schema: bytes, text: bytes) -> bool | None:
    if checker is not None:
        return checker.check(schema, text)
    with SchemaChecker() as own:
        return own.check(schema, text)


def _encoded(text: str) -> bytes | None:
    """A text that is JSON; None where it is not."""
    encoded = text.encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return encoded
