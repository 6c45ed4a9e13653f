"""Replies and output lines as models, proxies and bad connections leave them: paid for, and not what they should be."""

import json
from collections.abc import Iterator
from typing import Any

_MARK = "<here>"


def _marked(answer: Any) -> str:
    """The answer as JSON, its longest text begun with a mark."""
    longest = max(_texts(answer), key=len)
    return json.dumps(answer, ensure_ascii=False).replace(
        json.dumps(longest, ensure_ascii=False)[:-1], f'"{_MARK}{longest}', 1
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _with(answer: Any, text: bytes) -> bytes:
    return _marked(answer).encode().replace(_MARK.encode(), text)


def _without_counts(value: Any, instead: Any) -> Any:
    """The answer with something else for every number of tokens."""
    if isinstance(value, dict):
        return {
            key: instead if "token" in key.lower() and isinstance(item, int) else _without_counts(item, instead)
            for key, item in value.items()
        }
    return [_without_counts(item, instead) for item in value] if isinstance(value, list) else value


#: How to spoil an answer, by name. Of "broken off", the connection ends with the bytes.
KINDS: dict[str, Any] = {
    "lone surrogate": lambda answer: _with(answer, rb"\ud800"),
    "raw surrogate": lambda answer: _with(answer, b"\xed\xa0\x80"),
    "line separators": lambda answer: _with(answer, "\u2028\u2029\x85".encode()),
    "pretty": lambda answer: json.dumps(answer, indent=2).encode(),
    "null usage": lambda answer: json.dumps(_without_counts(answer, None)).encode(),
    "object usage": lambda answer: json.dumps(_without_counts(answer, {"n": 1})).encode(),
    "html": lambda _: b"<html><body>Please log in to the proxy.</body></html>",
    "empty": lambda _: b"",
    "null": lambda _: b"null",
    "list": lambda answer: b"[%b]" % json.dumps(answer).encode(),
    "cut off": lambda answer: json.dumps(answer).encode()[:-20],
    "broken off": lambda answer: json.dumps(answer).encode()[:-20],
    "raw tab": lambda answer: _with(answer, b"\t"),
    "invalid utf-8": lambda answer: _with(answer, b"\xff"),
}


def spoiled(kind: str, answer: Any) -> bytes:
    return KINDS[kind](answer)  # type: ignore[no-any-return]


def spoiled_line(kind: str, line: bytes) -> bytes:
    """An output line whose modelOutput is spoiled; one that is cut off ends there."""
    record = json.loads(line)
    output = spoiled(kind, record["modelOutput"])
    start = b'{"recordId":"%b","modelInput":{},"modelOutput":%b' % (record["recordId"].encode(), output)
    return start.replace(b"\n", b" ") + (b"" if kind in ("cut off", "broken off") else b"}")
