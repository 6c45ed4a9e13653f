"""Strict checks of native request bodies, written from AWS's documentation of each family.

Each check raises Refused with the status and message a record or call is answered with. Sources:
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and its pages per family.
"""

import base64
import binascii
import re
from typing import Any

import botocore.session
from botocore.validate import ParamValidator


class Refused(Exception):
    """The request is answered with this status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def need(condition: object, message: str) -> None:
    if not condition:
        raise Refused(message)


def number(body: dict[str, Any], field: str, low: float, high: float, where: str = "") -> None:
    if field in body:
        value = body[field]
        need(isinstance(value, int | float) and not isinstance(value, bool), f"{where}{field}: must be a number")
        need(low <= value <= high, f"{where}{field}: range: {low}..{high}")


def only(body: Any, allowed: set[str], where: str) -> None:
    need(isinstance(body, dict), f"{where} must be an object")
    for key, value in body.items():
        need(key in allowed, f"{where}{key}: Extra inputs are not permitted")
        need(value is not None, f"{where}{key}: must not be null")


# --- Anthropic Messages -------------------------------------------------------------------------------------------

_ANTHROPIC_KEYS = {
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "system",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "stop_sequences",
    "thinking",
    "output_config",
    "metadata",
    "context_management",
}
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAGIC = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_NO_SAMPLING = re.compile(r"claude-(opus-4-[789]|(opus|sonnet|haiku|fable|mythos)-[5-9])")
_NOT_BOTH = re.compile(r"claude-(opus-4-[1-6]|(sonnet|haiku)-4-[5-9])")


def anthropic(body: dict[str, Any], model_id: str = "") -> None:
    only(body, _ANTHROPIC_KEYS, "")
    need(body.get("anthropic_version") == "bedrock-2023-05-31", "anthropic_version: Field required")
    need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] >= 1, "max_tokens: Field required")
    number(body, "temperature", 0, 1)
    number(body, "top_p", 0, 1)
    if _NO_SAMPLING.search(model_id):
        need(not body.keys() & {"temperature", "top_p", "top_k"}, "temperature: not supported by this model")
    if _NOT_BOTH.search(model_id):
        need(
            not {"temperature", "top_p"} <= body.keys(),
            "`temperature` and `top_p` cannot both be specified for this model.",
        )
    _anthropic_thinking(body)
    system = body.get("system")
    if system is not None:
        blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
        need(isinstance(blocks, list) and blocks, "system: must be a string or text blocks")
        for block in blocks:
            need(block.get("type") == "text", "system: only text blocks")
            _non_blank(block.get("text"), "system")
    for stop in body.get("stop_sequences", []):
        need(isinstance(stop, str) and stop.strip(), "stop_sequences: each stop sequence must contain non-whitespace")
    declared = _anthropic_tools(body)
    messages: Any = body.get("messages")
    need(isinstance(messages, list) and messages, "messages: at least one message is required")
    need(messages[0].get("role") == "user", "messages: first message must use the user role")
    asked: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        only(message, {"role", "content"}, f"{where}.")
        need(message.get("role") in ("user", "assistant"), f"{where}.role: Input should be 'user' or 'assistant'")
        if index:
            need(message["role"] != messages[index - 1]["role"], f"{where}: roles must alternate")
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        need(isinstance(blocks, list) and blocks, f"{where}.content: must not be empty")
        results = {b.get("tool_use_id") for b in blocks if b.get("type") == "tool_result"}
        need(not asked or asked <= results, f"{where}: `tool_use` ids were found without `tool_result` blocks after")
        need(results <= asked, f"{where}: unexpected `tool_use_id` found in `tool_result` blocks")
        asked = set()
        for block in blocks:
            _anthropic_block(block, message["role"], f"{where}.content", declared, asked)
    last = messages[-1]
    if last["role"] == "assistant" and isinstance(last["content"], str):
        need(
            last["content"] == last["content"].rstrip(),
            "messages: final assistant content cannot end with trailing whitespace",
        )


def _anthropic_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    kinds = ("enabled", "adaptive", "disabled", "between_tools")
    need(thinking.get("type") in kinds, "thinking.type: invalid")
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        need(isinstance(budget, int) and budget >= 1024, "thinking.budget_tokens: at least 1024")
        need(budget < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
        need(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
        need("top_k" not in body, "`top_k` must be unset when thinking is enabled")
        need(
            body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none"),
            "Thinking may not be enabled when tool_choice forces tool use.",
        )
    config = body.get("output_config", {})
    only(config, {"effort", "format"}, "output_config.")
    need(config.get("effort", "low") in ("low", "medium", "high", "xhigh", "max"), "output_config.effort: invalid")
    if "format" in config:
        only(config["format"], {"type", "schema"}, "output_config.format.")
        need(config["format"].get("type") == "json_schema", "output_config.format.type: json_schema")
        _closed(config["format"].get("schema"))


def _closed(node: Any) -> None:
    """Structured outputs want every object closed."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            need(
                node.get("additionalProperties") is False,
                "output_config.format.schema: For 'object' type, "
                "'additionalProperties' must be explicitly set to false",
            )
        for key, value in node.items():
            if key not in ("enum", "const"):
                _closed(value)
    elif isinstance(node, list):
        for item in node:
            _closed(item)


def _anthropic_tools(body: dict[str, Any]) -> set[str]:
    names: set[str] = set()
    for index, tool in enumerate(body.get("tools", [])):
        only(tool, {"name", "description", "input_schema", "strict", "type", "cache_control"}, f"tools.{index}.")
        name, schema = tool.get("name"), tool.get("input_schema")
        need(isinstance(name, str) and _TOOL_NAME.fullmatch(name), f"tools.{index}.name: invalid")
        need(name not in names, f"tools: Tool names must be unique: {name}")
        need(
            isinstance(schema, dict) and schema.get("type") == "object",
            f"tools.{index}.input_schema.type: Field required",
        )
        names.add(name)
    choice = body.get("tool_choice")
    if choice is not None:
        need(body.get("tools"), "tool_choice: may only be specified while providing tools")
        only(choice, {"type", "name", "disable_parallel_tool_use"}, "tool_choice.")
        need(choice.get("type") in ("auto", "any", "tool", "none"), "tool_choice.type: invalid")
        if choice["type"] == "tool":
            need(choice.get("name") in names, "tool_choice.name: no such tool")
        need(choice["type"] != "none" or "disable_parallel_tool_use" not in choice, "tool_choice: extra input")
    return names


def _anthropic_block(block: Any, role: str, where: str, declared: set[str], asked: set[str]) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        only(block, {"type", "text", "citations", "cache_control"}, f"{where}.")
        _non_blank(block.get("text"), where)
    elif kind == "image":
        source = block.get("source", {})
        need(source.get("type") == "base64", f"{where}.image.source.type: only base64 is supported")
        _image(source.get("media_type"), source.get("data"), where)
    elif kind == "tool_use":
        need(role == "assistant", f"{where}: tool_use blocks belong to the assistant")
        need(declared, "Requests which include `tool_use` or `tool_result` blocks must define tools")
        need(_TOOL_ID.fullmatch(str(block.get("id"))), f"{where}.tool_use.id: invalid")
        need(isinstance(block.get("input"), dict), f"{where}.tool_use.input: should be an object")
        asked.add(block["id"])
    elif kind == "tool_result":
        need(role == "user", f"{where}: tool_result blocks belong to the user")
        content = block.get("content", [])
        for inner in content if isinstance(content, list) else []:
            _anthropic_block(inner, role, where, declared, set())
    elif kind in ("thinking", "redacted_thinking"):
        need(role == "assistant", f"{where}: thinking belongs to the assistant")
    elif kind == "document":
        need(isinstance(block.get("source"), dict), f"{where}.document.source: Field required")
    else:
        raise Refused(f"{where}: Input tag '{kind}' is not expected")


def _non_blank(text: Any, where: str) -> None:
    need(isinstance(text, str), f"{where}: text must be a string")
    need(text.strip(), f"{where}: text content blocks must contain non-whitespace text")


def _image(media_type: Any, data: Any, where: str) -> None:
    need(media_type in _MAGIC, f"{where}: media type {media_type} is not supported")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused(f"{where}: invalid base64 data") from None
    need(content.startswith(_MAGIC[media_type]), f"{where}: the image does not match the media type {media_type}")


# --- Converse, and Nova's native body -------------------------------------------------------------------------------

_validator = ParamValidator()
_converse_shape: Any = (
    botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
)


def converse(body: dict[str, Any], model_id: str = "", *, batch: bool = False) -> None:
    """Converse's own API model, and what it does not say: alternation, blank text, no tools in a batch."""
    need("modelId" not in body, "modelId: unexpected")
    if batch:
        need("toolConfig" not in body, "Tool use is not supported in batch inference with the Converse API")
        need("guardrailConfig" not in body, "Guardrails are not supported in batch inference")
        blocks = [*body.get("system", []), *(b for m in body.get("messages", []) for b in m.get("content", []))]
        cached = any(isinstance(block, dict) and "cachePoint" in block for block in blocks)
        need(not cached, "Prompt caching is not supported in batch inference")
    report = _validator.validate({"modelId": model_id or "m", **_with_bytes(body)}, _converse_shape)
    need(not report.has_errors(), report.generate_report())
    _conversation(body, tools=bool(body.get("toolConfig")))
    config = body.get("inferenceConfig", {})
    number(config, "temperature", 0, 1)
    number(config, "topP", 0, 1)
    need(config.get("maxTokens", 1) >= 1, "inferenceConfig.maxTokens: must be at least 1")


def nova(body: dict[str, Any]) -> None:
    only(body, {"schemaVersion", "system", "messages", "inferenceConfig", "toolConfig", "reasoningConfig"}, "")
    need(body.get("schemaVersion", "messages-v1") == "messages-v1", "schemaVersion: messages-v1")
    for part in body.get("system", []):
        only(part, {"text"}, "system.")
        _non_blank(part.get("text"), "system")
    config = body.get("inferenceConfig", {})
    only(
        config,
        {"maxTokens", "max_new_tokens", "temperature", "topP", "topK", "stopSequences", "reasoningConfig"},
        "inferenceConfig.",
    )
    number(config, "temperature", 0, 1, "inferenceConfig.")
    number(config, "topP", 0, 1, "inferenceConfig.")
    number(config, "maxTokens", 1, 65_536, "inferenceConfig.")
    tools = body.get("toolConfig")
    if tools is not None:
        only(tools, {"tools", "toolChoice"}, "toolConfig.")
        need(tools.get("tools"), "toolConfig.tools: must not be empty")
        for tool in tools["tools"]:
            spec = tool.get("toolSpec", {})
            need(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(spec.get("name"))), "toolSpec.name: invalid")
            schema = spec.get("inputSchema", {}).get("json")
            need(isinstance(schema, dict) and schema.get("type") == "object", "toolSpec.inputSchema.json: type object")
            only(schema, {"type", "properties", "required"}, "toolSpec.inputSchema.json.")
        choice = tools.get("toolChoice", {"auto": {}})
        need(len(choice) == 1 and choice.keys() <= {"auto", "any", "tool"}, "toolConfig.toolChoice: invalid")
    _conversation(body, tools=tools is not None)


def _conversation(body: dict[str, Any], tools: bool) -> None:
    messages: Any = body.get("messages")
    need(isinstance(messages, list) and messages, "messages: at least one message is required")
    need(messages[0].get("role") == "user", "A conversation must start with a user message.")
    asked: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        only(message, {"role", "content"}, f"{where}.")
        need(message["role"] in ("user", "assistant"), f"{where}.role: invalid")
        if index:
            need(
                message["role"] != messages[index - 1]["role"],
                "A conversation must alternate between user and assistant roles.",
            )
        need(isinstance(message.get("content"), list) and message["content"], f"{where}.content: must not be empty")
        results = {block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block}
        need(results == asked, f"{where}: toolResult blocks must answer the toolUse blocks of the previous turn")
        asked = set()
        for block in message["content"]:
            need(isinstance(block, dict) and len(block) == 1, f"{where}.content: one member of the union at a time")
            if "text" in block:
                need(
                    isinstance(block["text"], str) and block["text"].strip(),
                    f"{where}: The text field in the ContentBlock object is blank.",
                )
            elif "image" in block:
                image = block["image"]
                _image(f"image/{image.get('format')}", image.get("source", {}).get("bytes"), where)
            elif "toolUse" in block:
                need(tools, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")
                need(re.fullmatch(r"[a-zA-Z0-9_.:-]{1,64}", block["toolUse"]["toolUseId"]), f"{where}: toolUseId")
                need(isinstance(block["toolUse"].get("input"), dict), f"{where}: toolUse.input must be an object")
                asked.add(block["toolUse"]["toolUseId"])
            elif "toolResult" in block:
                need(tools, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _with_bytes(value: Any) -> Any:
    """Botocore's model wants blobs as bytes where JSON has base64."""
    if isinstance(value, dict):
        return {k: _decoded(v) if k == "bytes" and isinstance(v, str) else _with_bytes(v) for k, v in value.items()}
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("bytes: invalid base64") from None
