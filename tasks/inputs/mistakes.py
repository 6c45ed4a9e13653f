"""Files that are no OpenAI batch file as a whole: what they are instead, and the command that makes one of them.

Told from the first bytes alone. A file of some bad lines is not meant here: those are told one by one.
"""

import codecs
import csv
import json
import re
import shlex
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tasks.storage.reader import Source, read_head

_HEAD_BYTES: Final = 1 << 18
#: So many whole lines are looked at; all of them have to be of the kind.
_LINES: Final = 20
_NEW_FILE: Final = "batch.jsonl"

_ARCHIVES: Final = {
    b"PK\x03\x04": ("a zip archive (Excel's .xlsx files are, too)", "unzip -p {file} > {out}"),
    b"PAR1": (
        "a Parquet file",
        'python -c \'import pandas, sys; pandas.read_parquet(sys.argv[1]).to_json(sys.argv[2], orient="records", '
        "lines=True)' {file} {out}",
    ),
    b"\x1f\x8b": ("gzip inside of a compressed file", "gzip -dc {file} > {out}"),
    b"BZh": ("a bzip2 file", "bzip2 -dc {file} > {out}"),
    b"\xfd7zXZ": ("an xz file", "xz -dc {file} > {out}"),
    b"7z\xbc\xaf": ("a 7z archive", "7z x -so {file} > {out}"),
    b"%PDF": ("a PDF", ""),
}

_WRAP: Final = (
    'jq -nc \'foreach inputs as $body (0; . + 1; {{custom_id: "request-\\(.)", method: "POST", url: "%s", '
    "body: $body}})' {file} > {out}"
)
_ANTHROPIC: Final = (
    'jq -c \'(.requests? // [.])[] | .params as $p | {{custom_id, method: "POST", url: "/v1/chat/completions", '
    'body: ($p | del(.system) | .messages = ([$p.system // empty | {{role: "system", content: .}}] + .messages))}}\' '
    "{file} > {out}"
)
_GEMINI: Final = (
    'jq -nc \'foreach inputs as $line (0; . + 1; {{custom_id: ($line.key // "request-\\(.)"), method: "POST", '
    'url: "/v1/chat/completions", body: {{messages: ($line.request | [.systemInstruction // .system_instruction // '
    'empty | {{role: "system", content: ([.parts[].text] | join(""))}}] + [.contents[] | {{role: (if .role == "model" '
    'then "assistant" else "user" end), content: ([.parts[].text] | join(""))}}])}}}})\' {file} > {out}'
)


_TABLE: Final = (
    'python -c \'import csv, json, sys; [print(json.dumps({{"custom_id": f"row-{{i}}", "method": "POST", '
    '"url": "/v1/chat/completions", "body": {{"messages": [{{"role": "user", "content": row["prompt"]}}]}}}})) '
    'for i, row in enumerate(csv.DictReader(open(sys.argv[1]), delimiter="%s"), 1)]\' {file} > {out}'
)


def mistake_of(source: Source) -> str | None:
    """What `source` is as a whole instead of an OpenAI batch file, with a command that mends it; None where unknown.

    Raises InputFileError when it cannot be read.
    """
    head = read_head(source, _HEAD_BYTES)
    return _sentence(source, *(_kind_of_bytes(head) or _kind_of_text(head) or ("", "")))


def _sentence(source: Source, kind: str, remedy: str) -> str | None:
    if not kind:
        return None
    made = remedy.format(file=shlex.quote(source.name), out=_NEW_FILE)
    mend = f"; make one of it: `{made}`" if made else ""
    return f"{source.name} is {kind}, not an OpenAI batch file (one JSON object on each line){mend}."


def _kind_of_bytes(head: bytes) -> tuple[str, str] | None:
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            return kind
    encoding = _wide_encoding(head)
    if encoding:
        return f"text in {encoding}", f"iconv -f {encoding} -t UTF-8 {{file}} > {{out}}"
    return None


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its byte order mark, or by zeros where ASCII has them."""
    for mark, name in (
        (codecs.BOM_UTF32_LE, "UTF-32"),
        (codecs.BOM_UTF32_BE, "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ):
        if head.startswith(mark):
            return name
    start = head[:64]
    if len(start) >= 4 and not any(start[1::2]):
        return "UTF-16LE"
    if len(start) >= 4 and not any(start[0::2]):
        return "UTF-16BE"
    return None


def _kind_of_text(head: bytes) -> tuple[str, str] | None:
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip()
    if not text:
        return None
    whole = len(head) < _HEAD_BYTES
    lines = [line for line in text.split("\n") if line.strip()]
    # The last line may be cut off.
    lines = (lines if whole else lines[:-1] or lines)[:_LINES]
    if text.startswith("["):
        return _of_array(text)
    objects = [_object(line) for line in lines]
    if all(value is not None for value in objects):
        return _of_objects([value for value in objects if value is not None])
    if objects[0] is None and text.startswith("{") and _first_value_spans_lines(text):
        return _of_pretty(text)
    if _trailing_commas(lines):
        return "a file of JSON lines with a comma at the end of each", "sed 's/,[[:space:]]*$//' {file} > {out}"
    separator = None if any(objects) else _separator(lines)
    if separator:
        return "a table (CSV), here with its prompts in a column `prompt`", _TABLE % separator
    return None


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _first_value(text: str) -> tuple[Any, int] | None:
    try:
        return json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None


def _first_value_spans_lines(text: str) -> bool:
    found = _first_value(text)
    if found is not None:
        return "\n" in text[: found[1]]
    # One that is longer than what was read: a brace, and a key on a line of its own.
    return re.match(r'\{\s*\n\s*"[^"\n]*"\s*:', text) is not None


def _of_array(text: str) -> tuple[str, str] | None:
    start = text[1:].lstrip()
    if not start.startswith("{"):
        return None
    found = _first_value(start)
    element = found[0] if found else None
    further = _of_objects([element]) if isinstance(element, dict) else None
    if further is None:
        return "one JSON array", "jq -c '.[]' {file} > {out}"
    kind, remedy = further
    return f"one JSON array, and {kind}", "jq -c '.[]' {file} | " + remedy.replace(" {file}", "", 1)


def _of_pretty(text: str) -> tuple[str, str]:
    found = _first_value(text)
    further = _of_objects([found[0]]) if found and isinstance(found[0], dict) else None
    if further is None:
        return "JSON over several lines (pretty-printed)", "jq -c . {file} > {out}"
    kind, remedy = further
    return f"{kind}, over several lines (pretty-printed)", remedy


def _trailing_commas(lines: list[str]) -> bool:
    with_comma = [line for line in lines if line.rstrip().endswith(",")]
    return bool(with_comma) and all(_object(line.rstrip().rstrip(",")) is not None for line in lines)


def _separator(lines: list[str]) -> str | None:
    """What stands between the columns, where names of columns come first and all rows are as wide as they."""
    for separator, name in ((",", ","), ("\t", "\\t"), (";", ";")):
        try:
            names, *rows = csv.reader(lines, delimiter=separator)
        except csv.Error:
            continue
        # The last row may be cut off.
        if len(names) > 1 and len(rows) > 0 and all(len(row) == len(names) for row in rows[:-1] or rows):
            return name
    return None


def _is_bare(*fields: str) -> Callable[[dict[str, Any]], bool]:
    return lambda value: any(field in value for field in fields) and not {"body", "custom_id"} & value.keys()


def _is_anthropic(value: dict[str, Any]) -> bool:
    requests = value.get("requests")
    first = requests[0] if isinstance(requests, list) and requests else value
    return isinstance(first, dict) and isinstance(first.get("params"), dict) and "messages" in first["params"]


def _is_gemini(value: dict[str, Any]) -> bool:
    return isinstance(value.get("request"), dict) and "contents" in value["request"]


#: A test of one object, what a file of such objects is, and its remedy.
_OBJECTS: Final[tuple[tuple[Callable[[dict[str, Any]], bool], str, str], ...]] = (
    (_is_anthropic, "a file in Anthropic's batch format (`params`)", _ANTHROPIC),
    (_is_gemini, "a file in Gemini's batch format (`request.contents`)", _GEMINI),
    (lambda value: "modelOutput" in value, "the output of a Bedrock job (`modelOutput`)", ""),
    (lambda value: "modelInput" in value, "a file in Bedrock's own batch format (`modelInput`)", ""),
    (
        lambda value: "response" in value and "custom_id" in value and "body" not in value,
        "the output of a batch (`response`), not its input",
        "",
    ),
    (_is_bare("messages"), "a file of bare chat bodies, without `custom_id` and `url`", _WRAP % "/v1/chat/completions"),
    (_is_bare("input"), "a file of bare bodies, without `custom_id` and `url`", _WRAP % "/v1/responses"),
    (_is_bare("prompt"), "a file of bare bodies, without `custom_id` and `url`", _WRAP % "/v1/completions"),
)


def _of_objects(values: list[dict[str, Any]]) -> tuple[str, str] | None:
    for test, kind, remedy in _OBJECTS:
        if all(test(value) for value in values):
            return kind, remedy
    return None
