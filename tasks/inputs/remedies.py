"""Commands that make an OpenAI batch file of something else: with jq, iconv, Python's own library and the like.

A command is a pipe of steps. `@FILE` in a step is where the file goes; in a later step of a pipe, it falls away.
"""

import re
import shlex
from pathlib import Path
from typing import Final

from tasks.openai_format.requests import CHAT
from tasks.storage.sources import Source
from tasks.storage.uris import is_s3

_FILE: Final = re.compile(r" (?:< )?@FILE")
_NEW_FILES: Final = ("batch.jsonl", "mended.jsonl")

ELEMENTS: Final = "jq -c '.[]' @FILE"
#: Each value of a file onto a line of its own.
COMPACT: Final = "jq -c . @FILE"
FROM_TEXT: Final = "jq -c fromjson @FILE"
DECOMPRESS: Final = {"gzip": "gzip -dc @FILE", "zstd": "zstd -dc @FILE"}
WITHOUT_COMMAS: Final = "sed 's/,[[:space:]]*$//' @FILE"
WITHOUT_PREFIX: Final = "sed 's/^[^{]*//' @FILE"
PYTHON_LINES: Final = (
    "python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin "
    "if line.strip()]' < @FILE"
)
PYTHON_LIST: Final = "python3 -c 'import ast, json, sys; print(json.dumps(ast.literal_eval(sys.stdin.read())))' < @FILE"
PARQUET: Final = (
    "python3 -c 'import pandas, sys; print(pandas.read_parquet(sys.argv[1]).to_json(orient=\"records\", lines=True))' "
    "@FILE"
)
YAML: Final = "python3 -c 'import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))' < @FILE"

#: What is a string, and what JSON does not have outside of strings: comments, a comma before a closing bracket, numbers
#: that are none, and keys without quotes.
RELAXED: Final = (
    r'("(?:[^"\\]|\\.)*")|(//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*)|(,)(?=\s*[]}])|(-?\b(?:NaN|Infinity)\b)'
    r"|\b([A-Za-z_$][\w$]*)(?=\s*:)"
)
STRICT: Final = (
    f'python3 -c \'import re, sys; sys.stdout.write(re.sub(r"""(?sm){RELAXED}""", lambda m: m[1] or m[4] and "null" '
    'or m[5] and "\\"%s\\"" % m[5] or "", sys.stdin.read()))\' < @FILE'
)

_SPEAKERS: Final = '{human: "user", user: "user", gpt: "assistant", assistant: "assistant", system: "system"}'
#: Of a text, or of a list of parts that are texts and nothing else.
_TEXTS: Final = 'map(.text // error("a part that is no text")) | join("")'
_ANTHROPIC: Final = (
    '.system as $s | del(.system) | .messages = ([$s // empty | {role: "system", content: .}] + .messages) '
    "| if .stop_sequences then .stop = .stop_sequences | del(.stop_sequences) else . end "
    '| if .tools then .tools |= map(if .input_schema then {type: "function", function: {name, description, '
    "parameters: .input_schema}} else . end) else . end"
)
_GEMINI: Final = (
    '{messages: ([.systemInstruction // .system_instruction // empty | {role: "system", content: (.parts '
    f'| {_TEXTS})}}] + [.contents | if type == "string" then [{{parts: [{{text: .}}]}}] else . end | .[] | {{role: '
    f'(if .role == "model" then "assistant" else "user" end), content: (.parts | {_TEXTS})}}])}} + (.generationConfig '
    '// .generation_config // {} | with_entries(.key |= ({maxOutputTokens: "max_completion_tokens", topP: "top_p", '
    'stopSequences: "stop", candidateCount: "n"}[.] // .)))'
)
_BEDROCK: Final = (
    ". as $m | del(.anthropic_version, .schemaVersion, .system, .inferenceConfig) + {messages: ([$m.system // empty | "
    f'{{role: "system", content: (if type == "array" then {_TEXTS} else . end)}}] + ($m.messages | map({{role, '
    f'content: (.content | if type == "array" then {_TEXTS} else . end)}})))}} + ($m.inferenceConfig // {{}} | '
    'with_entries(.key |= ({maxTokens: "max_completion_tokens", topP: "top_p", stopSequences: "stop"}[.] // .)))'
)


def wrapped(body: str, url: str = CHAT, custom_id: str = "", inputs: str = "inputs", flags: str = "-nc") -> str:
    """A step that makes a request of each value: `$x` in `body` and `custom_id`. Without an id it is numbered."""
    id_ = f'({custom_id} // "request-\\(.)" | tostring)' if custom_id else '"request-\\(.)"'
    made = f'{{custom_id: {id_}, method: "POST", url: "{url}", body: {body}}}'
    return f"jq {flags} 'foreach {inputs} as $x (0; . + 1; {made})' @FILE"


ANTHROPIC: Final = wrapped(f"($x.params | {_ANTHROPIC})", custom_id="$x.custom_id")
GEMINI: Final = wrapped(f"($x.request | {_GEMINI})", custom_id="$x.key // $x.metadata.key // $x.id")
GEMINI_BODIES: Final = wrapped(f"($x | {_GEMINI})")
BEDROCK: Final = wrapped(f"($x.modelInput | {_BEDROCK})", custom_id="$x.recordId")
PROMPTS: Final = wrapped('{messages: [{role: "user", content: $x}]}')
TEXT_LINES: Final = wrapped(
    '{messages: [{role: "user", content: $x}]}', inputs='(inputs | select(test("\\\\S")))', flags="-Rnc"
)
CONVERSATIONS: Final = wrapped("{messages: $x}")
CONVERSATION: Final = (
    f'jq -c \'{{custom_id: "request-1", method: "POST", url: "{CHAT}", body: {{messages: .}}}}\' @FILE'
)
FINE_TUNING: Final = wrapped('($x | if .messages[-1].role == "assistant" then .messages |= .[:-1] else . end)')
SHARED_CHATS: Final = wrapped(
    f'{{messages: ($x.conversations | if .[-1].from == "gpt" then .[:-1] else . end | map({{role: {_SPEAKERS}[.from], '
    "content: .value}))}"
)
INSTRUCTIONS: Final = wrapped(
    '{messages: [{role: "user", content: ([$x.instruction, $x.input // empty | select(. != "")] | join("\\n\\n"))}]}'
)
FLAT: Final = wrapped("($x | del(.custom_id))", custom_id="$x.custom_id")


def prompts_of(field: str) -> str:
    """A step that makes a request of one field of each object."""
    return wrapped(f'{{messages: [{{role: "user", content: $x.{field}}}]}}', custom_id="$x.custom_id // $x.id")


def envelope(url: str) -> str:
    """A step that gives requests with a body the fields that they lack; a body that is text is read."""
    body = '($x.body | if type == "string" then fromjson else . end)'
    step = wrapped(body, url, custom_id="$x.custom_id // $x.customId // $x.id")
    return step.replace(f'url: "{url}"', f'url: ($x.url // "{url}")')


def table(separator: str, prompt: str, custom_id: str) -> str:
    """A step that makes a request of each row of a table; `prompt` and `custom_id` are Python, of `row` and `i`."""
    body = f'{{"messages": [{{"role": "user", "content": {prompt}}}]}}'
    return _rows(separator, custom_id, f'"{CHAT}"', body)


def table_of_requests(separator: str) -> str:
    """A step that makes requests of a table that has their fields in its columns, the body as JSON."""
    return _rows(separator, 'row["custom_id"]', f'row.get("url") or "{CHAT}"', 'json.loads(row["body"])')


def _rows(separator: str, custom_id: str, url: str, body: str) -> str:
    return (
        f'python3 -c \'import csv, json; [print(json.dumps({{"custom_id": {custom_id}, "method": "POST", "url": {url}, '
        f'"body": {body}}})) for i, row in enumerate(csv.DictReader(open(0, encoding="utf-8-sig", newline=""), '
        f'delimiter="{separator}"), 1)]\' < @FILE'
    )


def command(source: Source, steps: tuple[str, ...]) -> str:
    """The steps as one command for a file, as a shell takes it; it never writes over the file."""
    first, *rest = steps
    # A backslash in a path is none of the pattern's.
    made = _FILE.sub(lambda found: found[0].replace("@FILE", _place(source)), first, count=1)
    pipe = " | ".join([made, *(_FILE.sub("", step) for step in rest)])
    return f"{pipe} > {next(name for name in _NEW_FILES if name != source.name)}"


def _place(source: Source) -> str:
    """Where the file is, for a shell: as short as it can be told from here."""
    if is_s3(source.uri):
        return shlex.quote(source.name)
    path = Path(source.uri)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    text = shlex.quote(str(path))
    return f"./{text}" if text.startswith("-") else text
