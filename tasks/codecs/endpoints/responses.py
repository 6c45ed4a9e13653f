"""/v1/responses: its input to a `Chat`, and answers to a Response object. Stateful features are refused by name.

Source: https://platform.openai.com/docs/api-reference/responses.
"""

from typing import Any, Final

import msgspec

from tasks.codecs.base import (
    Answer,
    Chat,
    Context,
    JsonFormat,
    Policy,
    RequestError,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)
from tasks.codecs.endpoints._base import ChatEndpoint, sum_usage
from tasks.codecs.endpoints._content import arguments, parse_parts
from tasks.codecs.endpoints._fields import integer, parse_effort, parse_sampling
from tasks.codecs.endpoints._keys import RESPONSES_KEYS
from tasks.codecs.endpoints._thinking import seal, unseal
from tasks.codecs.endpoints._tools import json_format, parse_parallel, parse_tool, parse_tool_choice, repeated
from tasks.codecs.endpoints._turns import settle
from tasks.codecs.endpoints._words import Words, words
from tasks.openai_format.requests import RESPONSES

#: Features that live on OpenAI's servers.
_STATEFUL: Final = ("previous_response_id", "conversation", "prompt")


_REPEATED: Final = (
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "metadata",
    "parallel_tool_calls",
    "tool_choice",
    "tools",
    "text",
    "reasoning",
    "user",
)


def parse_response(body: dict[str, Any], policy: Policy) -> tuple[Chat, Context]:  # noqa: C901 (field by field)
    """The neutral form of a responses body. Raises RequestError naming the field that is wrong."""
    for field in _STATEFUL:
        if body.get(field) is not None:
            policy.refuse_always(field, "it is kept on OpenAI's servers; send the whole conversation as input.")
    if body.get("background"):
        policy.refuse("background", "a batch is in the background already.")
    if body.get("include"):
        policy.refuse("include", "there is nothing more to include.")
    if body.get("truncation") not in (None, "disabled"):
        policy.refuse("truncation", "input is not cut.")
    if body.get("max_tool_calls") is not None:
        policy.refuse("max_tool_calls", "no tools run within a batch.")
    system, turns = _parse_input(body.get("input"), policy)
    instructions = body.get("instructions")
    if instructions is not None:
        if not isinstance(instructions, str):
            raise RequestError("'instructions' must be a string.", "instructions", "invalid_type")
        system = [instructions, *system]
    system = [text for text in system if text.strip()]
    tools = _parse_tools(body.get("tools"), policy)
    conversation = settle(turns, policy, "input", system=bool(system), declared=[tool.name for tool in tools])
    chat = Chat(system, conversation.turns, tools)
    chat.max_tokens = integer(body, "max_output_tokens", 1)
    parse_sampling(body, chat)
    chat.tool_choice = _parse_choice(body.get("tool_choice"), chat.tools, policy)
    chat.parallel_tool_calls = parse_parallel(body, chat.tools)
    chat.json_format, chat.rest = _parse_text(body.get("text"))
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict):
        chat.reasoning_effort = parse_effort(reasoning.get("effort"), "reasoning.effort")
        for field in ("summary", "generate_summary"):
            if reasoning.get(field) not in (None, "auto"):
                policy.refuse(f"reasoning.{field}", "reasoning comes as it is.")
    elif reasoning is not None:
        raise RequestError("'reasoning' must be an object.", "reasoning", "invalid_type")
    return chat, Context(repeat=_repeat(body, tools), tool_names=conversation.names or None)


def _repeat(body: dict[str, Any], tools: list[Tool]) -> dict[str, Any]:
    """What the response repeats from its request: of the tools, those that were in force."""
    repeat = {field: body[field] for field in _REPEATED if body.get(field) is not None}
    if len(tools) < len(repeat.get("tools", ())):
        repeat["tools"] = [
            tool for tool in repeat["tools"] if isinstance(tool, dict) and tool.get("type") == "function"
        ]
    return repeat


def _parse_text(text: Any) -> tuple[JsonFormat | None, dict[str, Any]]:
    if text is None:
        return None, {}
    if not isinstance(text, dict):
        raise RequestError("'text' must be an object.", "text", "invalid_type")
    rest = {"text.verbosity": text["verbosity"]} if text.get("verbosity") not in (None, "medium") else {}
    wanted = text.get("format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return None, rest
    if kind == "json_object":
        return JsonFormat("json_object", None), rest
    if kind == "json_schema":
        return _read_format(wanted), rest
    raise RequestError("'text.format.type' must be text, json_object or json_schema.", "text.format.type")


def _parse_tools(tools: Any, policy: Policy) -> list[Tool]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise RequestError("'tools' must be a list.", "tools", "invalid_type")
    parsed = []
    for index, tool in enumerate(_read_tools(tools)):
        if tool is not None:
            parsed.append(tool)
        else:
            policy.refuse(f"tools[{index}]", "only function tools exist outside OpenAI.", count_as="tools[] (built-in)")
    return parsed


@repeated
def _read_tools(tools: list[Any]) -> list[Tool | None]:
    """The functions among some tools, by their places."""
    return [
        parse_tool(tool, f"tools[{index}]") if isinstance(tool, dict) and tool.get("type") == "function" else None
        for index, tool in enumerate(tools)
    ]


@repeated
def _read_format(wanted: dict[str, Any]) -> JsonFormat:
    return json_format(wanted, "text.format")


def _parse_choice(choice: Any, tools: list[Tool], policy: Policy) -> str | None:
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            policy.refuse("tool_choice", "only function tools exist outside OpenAI.")
            return None
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return parse_tool_choice(choice, tools)


def _parse_input(given: Any, policy: Policy) -> tuple[list[str], list[Turn]]:
    if isinstance(given, str):
        return [], [Turn("user", [Text(given)])]
    if not isinstance(given, list):
        raise RequestError("'input' must be a string or a list of items.", "input", "invalid_type")
    system: list[str] = []
    turns: list[Turn] = []
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise RequestError(f"'{where}' must be an object.", where, "invalid_type")
        kind = item.get("type", "message" if "role" in item else None)
        if kind == "message":
            _add_message(item, where, policy, system, turns)
        elif kind == "function_call":
            name = item.get("name")
            if not isinstance(name, str) or not item.get("call_id"):
                raise RequestError(f"'{where}' must have a call_id and a name.", where)
            call = ToolCall(str(item["call_id"]), name, arguments(item.get("arguments"), f"{where}.arguments"))
            turns.append(Turn("assistant", [call]))
        elif kind == "function_call_output":
            parts = parse_parts(item.get("output"), f"{where}.output", policy)
            kept = [part for part in parts if not (isinstance(part, Text) and not part.text.strip())]
            turns.append(Turn("user", [ToolResult(str(item.get("call_id")), kept)]))
        elif kind == "reasoning" and (thinking := unseal(item.get("encrypted_content"))):
            turns.append(Turn("assistant", [*thinking]))
        elif kind == "reasoning":
            policy.refuse(where, "its content is sealed for OpenAI's own models.", count_as="input[] (reasoning)")
        elif kind == "item_reference":
            policy.refuse_always(where, "it is kept on OpenAI's servers; send the item itself.")
        else:
            what = f"type {kind}" if isinstance(kind, str) else "no known type"
            policy.refuse_always(where, f"items of {what} exist at OpenAI only.")
    return system, turns


def _add_message(item: dict[str, Any], where: str, policy: Policy, system: list[str], turns: list[Turn]) -> None:
    role = item.get("role")
    parts = parse_parts(item.get("content"), f"{where}.content", policy)
    if role in ("system", "developer"):
        system += [part.text for part in parts if isinstance(part, Text)]
    elif role in ("user", "assistant"):
        turns.append(Turn(role, list(parts)))
    else:
        raise RequestError(f"'{where}.role' must be system, developer, user or assistant.", f"{where}.role")


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int
    cache_write_tokens: int


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int


class _ResponseUsage(msgspec.Struct, gc=False):
    input_tokens: int
    input_tokens_details: _InputDetails
    output_tokens: int
    output_tokens_details: _OutputDetails
    total_tokens: int


def build_response(
    answers: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
) -> dict[str, Any]:
    """OpenAI's Response object of one request."""
    answer = answers[0]
    repeat = (contexts[0].repeat if contexts[0] is not None else None) or {}
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish_reason)
    status = "incomplete" if reason and not answer.refusal else "completed"
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "output": list(_items(answer, id, status)),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": _usage(sum_usage(answers)),
        **({"native_finish_reason": answer.native_reason} if answer.native_reason is not None else {}),
        **repeat,
        "model": model,
    }


def _items(answer: Answer, id: str, status: str) -> Any:
    if answer.reasoning or answer.thinking:
        texts = [{"type": "reasoning_text", "text": answer.reasoning}] if answer.reasoning else []
        item = {"id": f"rs_{id}", "type": "reasoning", "summary": [], "content": texts, "status": "completed"}
        yield item | {"encrypted_content": seal(answer.thinking)} if answer.thinking else item
    content: list[dict[str, Any]] = []
    if answer.refusal:
        content.append({"type": "refusal", "refusal": answer.refusal})
    if answer.content is not None:
        content.append({"type": "output_text", "text": answer.content, "annotations": [], "logprobs": []})
    if content:
        yield {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": content}
    for number, call in enumerate(answer.tool_calls):
        yield {
            "id": f"fc_{id}_{number}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments.decode(),
            "status": "completed",
        }


def _usage(usage: Usage | None) -> _ResponseUsage | None:
    if usage is None:
        return None
    return _ResponseUsage(
        usage.prompt,
        _InputDetails(usage.cached, usage.written),
        usage.completion,
        _OutputDetails(usage.reasoning),
        usage.prompt + usage.completion,
    )


_WORDS: Final = words(
    ("messages[].tool_calls", "input[]"),
    ("input[].tool_calls", "input[]"),
    ("messages[].tool_call_id", "input[].call_id"),
    ("input[].tool_call_id", "input[].call_id"),
    ("messages[].thinking_blocks", "input[].encrypted_content"),
    ("messages", "input"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
    ("reasoning_effort", "reasoning.effort"),
    ("max_tokens", "max_output_tokens"),
    ("tools[].function", "tools[]"),
)


class Responses(ChatEndpoint):
    """Items of input, without what OpenAI keeps on its servers."""

    url = RESPONSES
    mapped = frozenset(
        {
            "input",
            "instructions",
            "max_output_tokens",
            "temperature",
            "top_p",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "reasoning",
            "background",
            "include",
            "truncation",
            "previous_response_id",
            "conversation",
            "prompt",
            "max_tool_calls",
        }
    )
    keys = RESPONSES_KEYS

    def words(self, body: dict[str, Any]) -> Words:
        return _WORDS

    def parse(self, body: dict[str, Any], policy: Policy) -> list[tuple[Chat, Context]]:
        chat, context = parse_response(body, policy)
        chat.rest |= self.leftovers(body)
        return [(chat, context)]

    def build(
        self, outcomes: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
    ) -> dict[str, Any]:
        return build_response(outcomes, contexts, id=id, created=created, model=model)

    def with_system(self, body: dict[str, msgspec.Raw], system: str) -> dict[str, msgspec.Raw]:
        return {**body, "instructions": msgspec.Raw(msgspec.json.encode(system))}


ENDPOINT = Responses()
