"""For `make bench`: validate + convert beside the floor, for files of other shapes than the plain one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.codecs.helpers import PNG

SCHEMA = {
    "type": "object",
    "properties": {"team": {"type": "string"}, "text": {"type": "string"}},
    "required": ["team"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "route", "description": "Hand it over", "parameters": SCHEMA}}

Line = dict[str, Any]


def _with(line: Line, **body: Any) -> Line:
    return {**line, "body": {**line["body"], **body}}


def _say(line: Line, *messages: tuple[str, Any]) -> Line:
    return _with(line, messages=[{"role": role, "content": content} for role, content in messages])


def _texts(line: Line) -> tuple[str, str]:
    system, user = (message["content"] for message in line["body"]["messages"])
    return system, user


def _in_turns(line: Line) -> Line:
    system, text = _texts(line)
    third = len(text) // 3
    parts = text[:third], text[third : 2 * third], text[2 * third :]
    return _say(line, ("system", system), ("user", parts[0]), ("assistant", parts[1]), ("user", f"And {parts[2]}"))


def _with_document(line: Line) -> Line:
    system, text = _texts(line)
    half = len(text) // 2
    return _say(line, ("system", f"{system}\n{text[:half]}"), ("user", f"Well? {text[half:]}"))


def _with_image(line: Line) -> Line:
    system, text = _texts(line)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    return _say(line, ("system", system), ("user", [{"type": "text", "text": text}, image]))


def _escaped(line: Line) -> Line:
    system, text = _texts(line)
    return _say(line, ("system", system), ("user", f"\t{text} 😀 C:\\new"))


#: The line of some number in the shape, and whether all but ASCII is escaped.
SHAPES: dict[str, tuple[Callable[[Line, int], Line], bool]] = {
    "escapes: emoji, tabs, backslashes": (lambda line, _: _escaped(line), True),
    "content in parts, one text each": (
        lambda line, _: _say(
            line, *((m["role"], [{"type": "text", "text": m["content"]}]) for m in line["body"]["messages"])
        ),
        False,
    ),
    "tools": (lambda line, _: _with(line, tools=[TOOL]), False),
    "response_format, a JSON schema": (
        lambda line, _: _with(
            line, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        ),
        False,
    ),
    "a document in each system prompt": (lambda line, _: _with_document(line), False),
    "a user in each line": (lambda line, number: _with(line, user=f"user-{number}"), False),
    "conversations of three turns": (lambda line, _: _in_turns(line), False),
    "another max_tokens in each line": (lambda line, number: _with(line, max_tokens=100 + number % 97), False),
    "an image in each line": (lambda line, _: _with_image(line), False),
}


def write(name: str, source: Path, target: Path) -> None:
    """The lines of a file in another shape."""
    shape, ascii_only = SHAPES[name]
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for number, line in enumerate(lines):
            out.write(json.dumps(shape(json.loads(line), number), ensure_ascii=ascii_only) + "\n")
