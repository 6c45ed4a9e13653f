"""The table of what each family supports, asked of the code: `python -m deployments.support_table` renews its page.

Each field is put into a request and encoded for one model of the family, with unsupported="error". "kept": it is in the
modelInput under its own name with its own value; "mapped": it is there in the family's words, or has its effect in
another way; "refused": the request is an error that names it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tasks.bedrock.capabilities import all_models
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES

PAGE = Path(__file__).resolve().parent / "docs" / "models.md"
START, END = "<!-- support table: made by python -m deployments.support_table -->", "<!-- end of support table -->"

CHAT_COLUMNS = {
    "Claude 3": "anthropic.claude-3-haiku-20240307-v1:0",
    "Claude 3.7, 4": "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "Claude 4.5": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "Claude 4.6": "us.anthropic.claude-sonnet-4-6",
    "Claude 4.7, 4.8": "us.anthropic.claude-opus-4-7",
    "Claude 5": "global.anthropic.claude-opus-5",
    "Claude 5.5": "us.anthropic.claude-opus-5-5",
    "Nova": "amazon.nova-lite-v1:0",
    "Nova 2": "us.amazon.nova-2-lite-v1:0",
    "Llama": "us.meta.llama3-3-70b-instruct-v1:0",
    "Mistral instruct": "mistral.mixtral-8x7b-instruct-v0:1",
    "Mistral 24.07": "mistral.mistral-large-2407-v1:0",
    "Mistral 3": "mistral.mistral-large-3-675b-instruct",
    "gpt-oss": "openai.gpt-oss-120b-1:0",
    "Qwen, DeepSeek V3, GLM …": "qwen.qwen3-32b-v1:0",
    "Gemma": "google.gemma-3-12b-it",
    "Kimi": "moonshotai.kimi-k2.5",
    "DeepSeek R1": "us.deepseek.r1-v1:0",
    "Command R": "cohere.command-r-v1:0",
    "Jamba": "ai21.jamba-1-5-mini-v1:0",
    "Titan Text": "amazon.titan-text-express-v1",
}
EMBEDDING_COLUMNS = {
    "Titan Text v1": "amazon.titan-embed-text-v1",
    "Titan Text v2": "amazon.titan-embed-text-v2:0",
    "Titan Multimodal": "amazon.titan-embed-image-v1",
    "Cohere v3": "cohere.embed-english-v3",
    "Cohere v4": "cohere.embed-v4:0",
    "Nova Multimodal": "amazon.nova-2-multimodal-embeddings-v1:0",
    "Marengo": "twelvelabs.marengo-embed-3-0-v1:0",
}
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _PARAMETERS}}
_REF = {
    "type": "object",
    "properties": {"p": {"$ref": "#/$defs/P"}},
    "$defs": {"P": {"type": "object", "properties": {"n": {"type": "string"}}}},
}
_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": _PARAMETERS}}


def _user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, *parts]}]}


def _image(url: str) -> dict[str, Any]:
    return _user({"type": "image_url", "image_url": {"url": url}})


def _file(data: str) -> dict[str, Any]:
    return _user({"type": "file", "file": {"filename": "a", "file_data": data}})


CHAT_FIELDS: dict[str, dict[str, Any]] = {
    "system, developer": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    "image, base64 data URL": _image(f"data:image/png;base64,{_PNG}"),
    "image, http(s) without `fetch_images`": _image("https://example.com/x.png"),
    "file, PDF": _file("JVBERi0xLjQgeA=="),
    "file, text": _file("QSBub3Rl"),
    "input_audio": _user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    "message `name`": {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]},
    "tools": {"tools": [_TOOL]},
    "tools with `$defs`": {"tools": [{"type": "function", "function": {"name": "f", "parameters": _REF}}]},
    "tool calls and results": {
        "tools": [_TOOL],
        "messages": [{"role": "user", "content": "Hi"}, _CALL, {"role": "tool", "tool_call_id": "c1", "content": "r"}],
    },
    "tool `strict`": {
        "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": _PARAMETERS}}]
    },
    "tool_choice none": {"tools": [_TOOL], "tool_choice": "none"},
    "tool_choice required": {"tools": [_TOOL], "tool_choice": "required"},
    "tool_choice function": {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "parallel_tool_calls false": {"tools": [_TOOL], "parallel_tool_calls": False},
    "functions, function_call": {"functions": [_TOOL["function"]], "function_call": "auto"},
    "response_format json_schema": {"response_format": _SCHEMA},
    "response_format json_object": {"response_format": {"type": "json_object"}},
    "max_tokens": {"max_tokens": 77},
    "max_completion_tokens": {"max_completion_tokens": 77},
    "temperature 0 to 1": {"temperature": 0.77},
    "temperature above 1": {"temperature": 1.77},
    "top_p": {"top_p": 0.77},
    "top_k": {"top_k": 7},
    "stop": {"stop": ["END"]},
    "n": {"n": 2},
    "seed": {"seed": 77},
    "frequency_penalty, presence_penalty": {"frequency_penalty": 0.77, "presence_penalty": 0.77},
    "logit_bias": {"logit_bias": {"1": 2}},
    "logprobs": {"logprobs": True},
    "reasoning_effort": {"reasoning_effort": "low", "max_tokens": 4000},
    "verbosity": {"verbosity": "low"},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000},
    "additionalModelRequestFields": {"additionalModelRequestFields": {"x": 77}},
    "user, metadata, store, stream, service_tier": {"user": "u", "metadata": {}, "store": True, "stream": True},
}
EMBEDDING_FIELDS: dict[str, dict[str, Any]] = {
    "input, string": {"input": "Hi"},
    "input, list of strings": {"input": ["Hi", "Ho"]},
    "input, token ids": {"input": [1, 2]},
    "dimensions": {"input": "Hi", "dimensions": 1024},
    "encoding_format float, base64": {"input": "Hi", "encoding_format": "base64"},
    "user": {"input": "Hi", "user": "u"},
}
_BASE = {"messages": [{"role": "user", "content": "Hi"}]}
#: Fields whose effect is not in the modelInput.
_ELSEWHERE = {"n", "user, metadata, store, stream, service_tier", "user", "encoding_format float, base64"}


def outcome(model: str, endpoint: str, field: str, body: dict[str, Any]) -> str:
    """kept, mapped or refused."""
    encoder = Encoder(parse_model(model), endpoint, "error")
    try:
        encoded = encoder.encode_general(json.dumps({"custom_id": "x", "body": body}).encode())
    except RequestError:
        return "refused"
    if field in _ELSEWHERE:
        return "mapped" if field in ("n", "encoding_format float, base64") else "ignored"
    sent = json.loads(encoded.model_inputs[0])
    given = {key: value for key, value in body.items() if key != "messages"} or body
    return "kept" if all(sent.get(key) == value for key, value in given.items()) else "mapped"


def _table(columns: dict[str, str], fields: dict[str, dict[str, Any]], endpoint: str) -> list[str]:
    base = _BASE if endpoint == CHAT else {}
    lines = [f"| field | {' | '.join(columns)} |", "|---|" + ":---:|" * len(columns)]
    marks = {"kept": "●", "mapped": "◐", "refused": "–", "ignored": "○"}
    for field, body in fields.items():
        cells = [marks[outcome(model, endpoint, field, {**base, **body})] for model in columns.values()]
        lines.append(f"| {field} | {' | '.join(cells)} |")
    return lines


def _models() -> list[str]:
    """What single models take, by their rows."""
    lines = [
        "| model | batch | images | tools | strict | structured | thinks | prefill | most tokens | context | seen |",
        "|---|---|:---:|:---:|:---:|:---:|---|:---:|---:|---:|---|",
    ]
    for name, facts in all_models().items():
        takes = [facts.images, facts.forces_tools, facts.strict_tools, facts.structured_output]
        thinks = ", ".join(sorted(facts.thinking)) or "–"
        if facts.kind != "chat":
            takes, thinks = [False] * 4, facts.kind
        marks = [*("●" if taken else "–" for taken in takes), thinks, "●" if facts.prefill else "–"]
        if facts.tools and not facts.forces_tools:
            marks[1] = "◐"
        numbers = [f"{number:,}" if number else "unread" for number in (facts.max_tokens, facts.context_window)]
        batch = {"unknown": "unread", "profile": "by profile", "bare": "by bare id"}.get(facts.batch, facts.batch)
        lines.append(f"| `{name}` | {batch} | {' | '.join(marks)} | {' | '.join(numbers)} | {facts.seen} |")
    return lines


def _families() -> list[str]:
    lines = ["| model | family | endpoints | plain chats go to | tools go to |", "|---|---|---|---|---|"]
    short = {CHAT: "chat", COMPLETIONS: "completions", RESPONSES: "responses", EMBEDDINGS: "embeddings"}
    for name, model in {**CHAT_COLUMNS, **EMBEDDING_COLUMNS}.items():
        codec = codec_for(parse_model(model))
        endpoints = ", ".join(short[each] for each in short if each in codec.endpoints)
        preferred = getattr(codec, "prefers", "InvokeModel")
        taken = (
            outcome(model, CHAT, "tools", {**_BASE, **CHAT_FIELDS["tools"]}) if CHAT in codec.endpoints else "refused"
        )
        tools = "–" if taken == "refused" else "InvokeModel"
        lines.append(f"| {name} | `{codec.family}` | {endpoints} | {preferred} | {tools} |")
    return lines


def render() -> str:
    """The tables, in Markdown."""
    lines = [
        START,
        "",
        *_families(),
        "",
        "Any other chat model goes by Converse. Fields, by family: ● kept as it is · ◐ mapped to the family's own "
        "means · – refused by name (or dropped and counted) · ○ without effect in a batch.",
        "",
        *_table(CHAT_COLUMNS, CHAT_FIELDS, CHAT),
        "",
        *_table(EMBEDDING_COLUMNS, EMBEDDING_FIELDS, EMBEDDINGS),
        "",
        "Single models, as `tasks/bedrock/models.toml` has them with their sources: ● takes it · ◐ takes tools, but "
        "cannot be made to call one · – does not, or was not seen to.",
        "",
        *_models(),
        "",
        END,
    ]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """The page's text with the current table."""
    before, _, rest = text.partition(START)
    return before + render() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is current.\n")
