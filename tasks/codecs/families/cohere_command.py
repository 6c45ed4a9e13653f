"""Cohere Command R and R+: message, history and preamble. Their answers carry no usage, so chats go by Converse.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command-r-plus.html
"""

from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    Encoded,
    FinishReason,
    InvocationType,
    Policy,
    Tool,
    ToolCall,
)
from tasks.codecs.families._common import (
    decode_as,
    limit_max_tokens,
    native_reason,
    refuse_rest,
    take,
    tool_arguments,
    unit_temperature,
)
from tasks.codecs.families._prompts import GeneralCodec, kept, plain_text
from tasks.codecs.families._thinking import refuse_effort
from tasks.codecs.families._tools import flat_parameters, single_tools

_FINISH: Final[dict[str, FinishReason]] = {
    "complete": "stop",
    "max_tokens": "length",
    "error_limit": "length",
    "error_toxic": "content_filter",
}


_TYPES: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}


class _Call(msgspec.Struct, gc=False):
    name: str
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class _Output(msgspec.Struct, gc=False):
    text: str
    finish_reason: str | None = None
    tool_calls: list[_Call] | None = None


_decode = msgspec.json.Decoder(_Output).decode


class CohereCommandCodec(GeneralCodec):
    family = "cohere-command"
    prefers: InvocationType = "Converse"
    native_tools = True

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        if chat.json_format is not None:
            policy.refuse("response_format", "Command R has no structured output.")
        facts = capabilities_of(model)
        limit_max_tokens(chat, facts, policy)
        refuse_effort(chat, facts, policy)
        chat.tools = single_tools(chat.tools, policy)
        last = chat.turns[-1]
        if last.role != "user":
            policy.refuse_always("messages", "Command R answers a last message by the user.")
        body: dict[str, Any] = {"message": plain_text(last, "Command R", policy)}
        history = [
            {"role": "USER" if turn.role == "user" else "CHATBOT", "message": plain_text(turn, "Command R", policy)}
            for turn in chat.turns[:-1]
        ]
        body |= kept(
            chat_history=history,
            preamble="\n\n".join(chat.system) or None,
            max_tokens=chat.max_tokens,
            temperature=unit_temperature(chat, policy),
            p=chat.top_p,
            stop_sequences=chat.stop,
            k=take(chat, "top_k"),
            seed=take(chat, "seed"),
            frequency_penalty=take(chat, "frequency_penalty"),
            presence_penalty=take(chat, "presence_penalty"),
        )
        if chat.tools and chat.tool_choice != "none":
            if chat.tool_choice not in (None, "auto"):
                policy.refuse("tool_choice", "Command R chooses by itself.")
            if chat.parallel_tool_calls is False:
                policy.refuse("parallel_tool_calls", "it cannot be kept to one call.")
            body["tools"] = [_tool(tool, policy) for tool in chat.tools]
        refuse_rest(chat, policy)
        return Encoded(body)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        parsed = decode_as(_decode, output, "a Command R answer")
        calls = [
            ToolCall(f"call_{number}", call.name, tool_arguments(call.parameters))
            for number, call in enumerate(parsed.tool_calls or ())
        ]
        finish = _FINISH.get((parsed.finish_reason or "complete").lower(), "stop")
        content = parsed.text if parsed.text or not calls else None
        native = native_reason(parsed.finish_reason)
        return Answer(content, "tool_calls" if calls else finish, None, calls, native_reason=native)

    def padding(self) -> bytes:
        return b'{"message":"Hi","max_tokens":1}'


def _tool(tool: Tool, policy: Policy) -> dict[str, Any]:
    """Cohere's flat parameter definitions; what they cannot say is refused."""
    if tool.strict:
        policy.refuse("tools[].function.strict", "Command R does not enforce schemas.")
    parameters, described = flat_parameters(tool, policy)
    properties, required = parameters["properties"], parameters.get("required", [])
    definitions = {}
    for name, schema in properties.items():
        extra = sorted(schema.keys() - {"type", "description", "title"}) if isinstance(schema, dict) else ["schema"]
        if extra:
            policy.refuse(
                f"tools[].function.parameters.properties.{name}",
                f"Command R's parameters have no {', '.join(extra)}.",
                count_as="tools[].function.parameters.properties (details)",
            )
        kind = schema.get("type") if isinstance(schema, dict) else None
        definitions[name] = {
            "description": str(schema.get("description") or schema.get("title") or name)
            if isinstance(schema, dict)
            else name,
            "type": _TYPES.get(str(kind), "str"),
            "required": name in required,
        }
    return {"name": tool.name, "description": described or tool.name, "parameter_definitions": definitions}


CODEC = CohereCommandCodec()
