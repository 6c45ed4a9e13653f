"""Amazon Nova understanding models: the messages-v1 body, as InvokeModel takes it.

Source: https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html
"""

from typing import Any

import msgspec

from tasks.bedrock.capabilities import Capabilities, capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, Chat, Encoded, InvocationType, PlainForm, Policy, Tool, ToolCall
from tasks.codecs.families._common import named_function, refuse_rest, refuse_unseen, take
from tasks.codecs.families._reasoning import take_nova_s_thoughts_out
from tasks.codecs.families._schemas import ROOT_KEYS
from tasks.codecs.families._thinking import refuse_effort
from tasks.codecs.families._tools import flat_parameters, force_json_tool, format_error, single_tools
from tasks.codecs.families.converse import (
    decode_response,
    encode_conversation,
    encode_inference_config,
    plain_form,
    reasoning_config,
)
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES


class NovaCodec:
    family = "nova"
    prefers: InvocationType = "InvokeModel"
    native_tools = True
    tidy = staticmethod(take_nova_s_thoughts_out)
    replays_thinking = False
    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        facts = capabilities_of(model)
        refuse_unseen(chat, facts, policy)
        _check_format(chat, policy)
        chat.tools = single_tools(chat.tools, policy)
        json_tool = force_json_tool(chat, facts, policy, told=True)
        reasoning = _reasoning(chat, facts, policy)
        config = encode_inference_config(chat, facts, policy)
        top_k = take(chat, "top_k")
        if top_k is not None:
            config["topK"] = top_k
        extra = take(chat, "additionalModelRequestFields")
        refuse_rest(chat, policy)
        body: dict[str, Any] = {"schemaVersion": "messages-v1", **encode_conversation(chat)}
        if config:
            body["inferenceConfig"] = config
        tools = _encode_tools(chat, policy)
        if tools:
            body["toolConfig"] = tools
        if reasoning:
            body["reasoningConfig"] = reasoning
        if isinstance(extra, dict):
            body |= extra
        return Encoded(body, json_tool.json_tool, json_tool.json_key)

    def plain_form(self, model: Model) -> PlainForm | None:
        return plain_form(b'{"schemaVersion":"messages-v1",', capabilities_of(model))

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        answer = decode_response(output, "a Nova response")
        take_nova_s_thoughts_out(answer)
        return answer

    def padding(self) -> bytes:
        return (
            b'{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"Hi"}]}],'
            b'"inferenceConfig":{"maxTokens":1}}'
        )


def _check_format(chat: Chat, policy: Policy) -> None:
    """Refuse, or leave out, a response_format whose schema Nova's tools cannot hold, or do not enforce."""
    if chat.json_format is None or chat.json_format.schema is None:
        return
    if chat.json_format.strict:
        policy.refuse("response_format.json_schema.strict", "it does not enforce schemas.")
    error = format_error(chat.json_format)
    if error is not None:
        policy.refuse("response_format", error)
        chat.json_format = None


def _reasoning(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any] | None:
    effort = chat.reasoning_effort
    if effort is None or not facts.thinking:
        refuse_effort(chat, facts, policy)
        return None
    return reasoning_config(effort, chat, facts, policy)


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
    schema, description = flat_parameters(tool, policy)
    spec: dict[str, Any] = {"name": tool.name}
    if description:
        spec["description"] = description
    spec["inputSchema"] = {"json": {key: value for key, value in schema.items() if key in ROOT_KEYS}}
    return {"toolSpec": spec}


CODEC = NovaCodec()
