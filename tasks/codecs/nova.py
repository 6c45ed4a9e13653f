"""Amazon Nova understanding models: the messages-v1 body, as InvokeModel takes it.

Source: https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html
"""

import re
from typing import Any, Final

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, Chat, InvocationType, PlainForm, Policy, Tool, ToolCall
from tasks.codecs.common import named_function, refuse_rest
from tasks.codecs.converse import decode_response, encode_conversation, encode_inference_config, plain_form
from tasks.openai_format.requests import CHAT

_UNDERSTANDING: Final = re.compile(r"nova-(?:\d-)?(?:micro|lite|pro|premier|omni)")
#: What Nova takes at the root of a tool's schema.
_ROOT_KEYS: Final = frozenset({"type", "properties", "required"})
#: Root keys that say nothing a model acts on.
_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$comment", "title", "description", "examples", "default"})


class NovaCodec:
    family = "nova"
    invocation: InvocationType = "InvokeModel"
    endpoints = frozenset({CHAT})

    def serves(self, model: Model) -> bool:
        return model.provider == "amazon" and bool(_UNDERSTANDING.match(model.name))

    def encode(self, chat: Chat, model: Model, policy: Policy) -> dict[str, Any]:
        config = encode_inference_config(chat, policy)
        refuse_rest(chat, policy)
        body: dict[str, Any] = {"schemaVersion": "messages-v1", **encode_conversation(chat)}
        if config:
            body["inferenceConfig"] = config
        tools = _encode_tools(chat, policy)
        if tools:
            body["toolConfig"] = tools
        return body

    def plain_form(self, model: Model) -> PlainForm:
        return plain_form(b'{"schemaVersion":"messages-v1",')

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        return decode_response(output, "a Nova response")

    def padding(self) -> bytes:
        return (
            b'{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"Hi"}]}],'
            b'"inferenceConfig":{"maxTokens":1}}'
        )


def _encode_tools(chat: Chat, policy: Policy) -> dict[str, Any] | None:
    if not chat.uses_tools:
        return None
    used = {part.name: None for turn in chat.turns for part in turn.parts if isinstance(part, ToolCall)}
    if chat.tool_choice == "none" and not used:
        # Nova has no "none"; without calls to explain, tools that must not be called need not be there.
        return None
    if chat.tool_choice == "none" and chat.tools:
        policy.refuse("tool_choice", 'it has no "none", and earlier tool calls need their tools declared.')
    if chat.parallel_tool_calls is False:
        policy.refuse("parallel_tool_calls", "it cannot be kept to one call.")
    declared = {tool.name for tool in chat.tools}
    tools = list(chat.tools) + [
        Tool(name, None, {"type": "object", "properties": {}}, None) for name in used if name not in declared
    ]
    encoded: dict[str, Any] = {"tools": [_encode_tool(tool, policy) for tool in tools]}
    choice = chat.tool_choice
    if choice == "required":
        encoded["toolChoice"] = {"any": {}}
    elif choice == "auto":
        encoded["toolChoice"] = {"auto": {}}
    elif choice is not None and choice != "none":
        encoded["toolChoice"] = {"tool": {"name": named_function(choice)}}
    return encoded


def _encode_tool(tool: Tool, policy: Policy) -> dict[str, Any]:
    if tool.strict:
        policy.refuse("tools[].function.strict", "it does not enforce schemas.")
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema = {"type": "object", "properties": {}, **tool.parameters}
    for key in schema.keys() - _ROOT_KEYS - _ANNOTATIONS:
        policy.refuse(f"tools[].function.parameters.{key}",
                      "at the root of a tool's schema it takes type, properties and required only.")  # fmt: skip
    spec["inputSchema"] = {"json": {key: value for key, value in schema.items() if key in _ROOT_KEYS}}
    return {"toolSpec": spec}


CODEC = NovaCodec()
