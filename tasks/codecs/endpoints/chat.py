"""/v1/chat/completions: its request body to a `Chat`; `chat_completion` has the way back.

Source: https://platform.openai.com/docs/api-reference/chat (create).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs import answer_decoder
from tasks.codecs.base import (
    Answer,
    Chat,
    Context,
    InvocationType,
    JsonFormat,
    Part,
    Policy,
    RequestError,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from tasks.codecs.endpoints._base import ChatEndpoint
from tasks.codecs.endpoints._content import arguments, parse_parts, text_parts
from tasks.codecs.endpoints._fields import MAX_CHOICES, integer, parse_effort, parse_sampling
from tasks.codecs.endpoints._keys import CHAT_KEYS
from tasks.codecs.endpoints._thinking import THINKING_KINDS, parse_blocks
from tasks.codecs.endpoints._tools import json_format, parse_parallel, parse_tool, parse_tool_choice, repeated
from tasks.codecs.endpoints._turns import is_blank, settle
from tasks.codecs.endpoints._words import Words, words
from tasks.codecs.endpoints.chat_completion import ChatCompletion, build_chat_completion, plain_frame
from tasks.openai_format.requests import CHAT
from tasks.openai_format.results import Frame


class _Role(msgspec.Struct):
    role: str


_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_role = msgspec.json.Decoder(_Role).decode


def parse_chat(body: dict[str, Any], policy: Policy) -> tuple[Chat, Context]:
    """The neutral form of a chat completion body. Raises RequestError naming the field that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list with at least one message.", "messages")
    legacy = body.get("functions") is not None or body.get("function_call") is not None
    if legacy:
        body = _modern(body)
    system, turns = _parse_messages(messages, policy)
    tools = _parse_tools(body.get("tools"))
    conversation = settle(turns, policy, "messages", system=bool(system), declared=[tool.name for tool in tools])
    chat = Chat(system, conversation.turns, tools)
    chat.max_tokens = integer(body, "max_completion_tokens", 1)
    if chat.max_tokens is None:
        chat.max_tokens = integer(body, "max_tokens", 1)
    parse_sampling(body, chat)
    chat.tool_choice = parse_tool_choice(body.get("tool_choice"), chat.tools)
    chat.parallel_tool_calls = parse_parallel(body, chat.tools)
    chat.json_format = _parse_response_format(body.get("response_format"))
    chat.reasoning_effort = parse_effort(body.get("reasoning_effort"), "reasoning_effort")
    chat.n = integer(body, "n", 1) or 1
    if chat.n > MAX_CHOICES:
        raise RequestError(f"'n' must be at most {MAX_CHOICES}.", "n")
    return chat, Context(function_call=legacy, tool_names=conversation.names or None)


def _modern(body: dict[str, Any]) -> dict[str, Any]:
    """`functions` and `function_call` as the tools and tool_choice that took their place."""
    if body.get("tools") is not None or body.get("tool_choice") is not None:
        raise RequestError("'functions' and 'tools' cannot both be given.", "functions")
    functions, choice = body.get("functions"), body.get("function_call")
    if functions is not None and not isinstance(functions, list):
        raise RequestError("'functions' must be a list.", "functions", "invalid_type")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    tools = [{"type": "function", "function": function} for function in functions or []]
    return {**body, "tools": tools or None, "tool_choice": choice}


def _parse_response_format(value: Any) -> JsonFormat | None:
    return None if value is None else _read_response_format(value)


@repeated
def _read_response_format(value: Any) -> JsonFormat | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return JsonFormat("json_object", None)
    if kind == "json_schema":
        return json_format(value.get("json_schema"), "response_format.json_schema")
    raise RequestError("'response_format.type' must be text, json_object or json_schema.", "response_format.type")


def _parse_messages(messages: list[Any], policy: Policy) -> tuple[list[str], list[Turn]]:
    system: list[str] = []
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RequestError(f"'{where}' must be an object.", where, "invalid_type")
        role = message.get("role")
        if message.get("name") is not None and role != "tool" and role != "function":
            policy.refuse(f"{where}.name", "it has no participant names.", count_as="messages[].name")
        if role in ("system", "developer"):
            # Everything a target knows of system text is one place before the conversation.
            system += [part.text for part in text_parts(message.get("content"), f"{where}.content")]
        elif role == "user":
            turns.append(Turn("user", list(parse_parts(message.get("content"), f"{where}.content", policy))))
        elif role == "assistant":
            turns.append(Turn("assistant", _parse_assistant(message, where, policy)))
        elif role == "function":
            # The legacy form has no ids: a call and its result are told by the function's name.
            parts = list(parse_parts(message.get("content"), f"{where}.content", policy))
            turns.append(Turn("user", [ToolResult(f"call_{message.get('name')}", parts)]))
        elif role == "tool":
            call = message.get("tool_call_id")
            if not isinstance(call, str) or not call:
                raise RequestError(
                    f"'{where}.tool_call_id' must name the call that this answers.",
                    f"{where}.tool_call_id",
                    "missing_required_parameter",
                )
            parts = parse_parts(message.get("content"), f"{where}.content", policy)
            turns.append(Turn("user", [ToolResult(call, [part for part in parts if not is_blank(part)])]))
        else:
            raise RequestError(f"'{where}.role' must be system, developer, user, assistant or tool.", f"{where}.role")
    return [text for text in system if text.strip()], turns


def _parse_assistant(message: dict[str, Any], where: str, policy: Policy) -> list[Part]:
    content = message.get("content")
    thinking, content = _parse_thinking(message, content, policy)
    parts: list[Part] = [*thinking]
    if content is not None:
        parts += text_parts(content, f"{where}.content")
    if message.get("refusal") is not None:
        parts += text_parts(message["refusal"], f"{where}.refusal")
    if message.get("audio") is not None:
        policy.refuse(f"{where}.audio", "earlier audio cannot be referred to.", count_as="messages[].audio")
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        name = str(legacy.get("name"))
        given = arguments(legacy.get("arguments"), f"{where}.function_call.arguments")
        parts.append(ToolCall(f"call_{name}", name, given))
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RequestError(f"'{where}.tool_calls' must be a list.", f"{where}.tool_calls", "invalid_type")
    for number, call in enumerate(calls):
        at = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not call.get("id"):
            raise RequestError(f"'{at}' must have an id and a function with a name.", at)
        given = arguments(function.get("arguments"), f"{at}.function.arguments")
        parts.append(ToolCall(str(call["id"]), function["name"], given))
    return parts


def _parse_thinking(message: dict[str, Any], content: Any, policy: Policy) -> tuple[list[Thinking], Any]:
    """The thoughts of an earlier answer that can be sent again, and its content without any.

    They stand in `thinking_blocks`, in Anthropic's own blocks, or among the parts of the content. What has no
    signature is for people: no model takes it as its own.
    """
    blocks = message.get("thinking_blocks") or message.get("content_blocks")
    if isinstance(content, list):
        own = [part for part in content if isinstance(part, dict) and part.get("type") in THINKING_KINDS]
        content = [part for part in content if part not in own] or None if own else content
        blocks = blocks or own
    thinking = parse_blocks(blocks)
    if not content and isinstance(message.get("content_blocks"), list):
        # Portkey's answers have their text in both; some clients send back the blocks alone.
        content = [
            block for block in message["content_blocks"] if isinstance(block, dict) and block.get("type") == "text"
        ]
    if not thinking:
        for field in ("thinking_blocks", "reasoning_content", "reasoning"):
            if message.get(field):
                policy.note(f"messages[].{field}")
                break
    return thinking, content


def _parse_tools(tools: Any) -> list[Tool]:
    return [] if tools is None else [*_read_tools(tools)]


@repeated
def _read_tools(tools: Any) -> list[Tool]:
    if not isinstance(tools, list):
        raise RequestError("'tools' must be a list.", "tools", "invalid_type")
    parsed = []
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict):
            raise RequestError(f"'{at}' must be of type function.", f"{at}.type")
        parsed.append(parse_tool(function, f"{at}.function"))
    return parsed


#: Of the form that `functions` have.
_LEGACY: Final = words(
    ("tools[].function", "functions[]"),
    ("tools", "functions"),
    ("tool_choice", "function_call"),
    ("messages[].tool_calls", "messages[].function_call"),
)


class ChatCompletions(ChatEndpoint):
    """Chats as OpenAI's messages."""

    url = CHAT
    mapped = frozenset(
        {
            "messages",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "stop",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "functions",
            "function_call",
            "response_format",
            "reasoning_effort",
            "n",
        }
    )
    keys = CHAT_KEYS
    plain_lines = True

    def words(self, body: dict[str, Any]) -> Words:
        return _LEGACY if "functions" in body and body.get("tools") is None else ()

    def parse(self, body: dict[str, Any], policy: Policy) -> list[tuple[Chat, Context]]:
        chat, context = parse_chat(body, policy)
        chat.rest = self.leftovers(body)
        return [(chat, context)]

    def build(
        self, outcomes: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
    ) -> ChatCompletion:
        return build_chat_completion(outcomes, contexts, id=id, created=created, model=model)

    def plain_reader(self, model: Model, invocation: InvocationType) -> Callable[[msgspec.Raw], Answer]:
        return answer_decoder(model, invocation)

    def plain_frame(self, key: bytes, created: int, model: str) -> Frame:
        return plain_frame(key, created, model)

    def with_system(self, body: dict[str, msgspec.Raw], system: str) -> dict[str, msgspec.Raw]:
        messages = _decode_messages(body.get("messages", msgspec.Raw(b"[]")))
        kept = [message for message in messages if _decode_role(message).role not in ("system", "developer")]
        first = msgspec.Raw(msgspec.json.encode({"role": "system", "content": system}))
        return {**body, "messages": msgspec.Raw(msgspec.json.encode([first, *kept]))}


ENDPOINT = ChatCompletions()
