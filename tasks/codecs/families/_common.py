"""Pieces that several families share: sampling ranges, tool ids, and the pass-through of plain text."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Chat, DecodeError, Image, Number, Policy, RequestError, Tool

# msgspec knows no `Raw | None`: this stands for an absent tool input.
EMPTY_OBJECT = msgspec.Raw(b"{}")


_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")


def unit_temperature(chat: Chat, policy: Policy) -> float | int | None:
    """OpenAI's temperature of 0..2 for a target of 0..1: equal up to 1; above it refused, or clamped and counted."""
    if chat.temperature is not None and chat.temperature > 1:
        policy.refuse(
            "temperature", "it accepts 0 to 1; more than 1 cannot be expressed.", count_as="temperature (clamped to 1)"
        )
        return 1
    return chat.temperature


def refuse_rest(chat: Chat, policy: Policy) -> None:
    """Refuse every field that no one took."""
    for field in chat.rest:
        policy.refuse(field, "there is no equivalent.")


def stop_sequences(chat: Chat, policy: Policy) -> list[str]:
    """Stop sequences for a target that refuses those of white space only."""
    kept = [text for text in chat.stop if text.strip()]
    if len(kept) < len(chat.stop):
        policy.refuse("stop", "it refuses stop sequences of white space only.", count_as="stop (white space)")
    return kept


def safe_tool_id(tool_id: str) -> str:
    """The id within [a-zA-Z0-9_-]{1,64}, as every family takes it; distinct ids stay distinct."""
    if len(tool_id) <= 64 and not _UNSAFE.search(tool_id):
        return tool_id
    return f"{_UNSAFE.sub('_', tool_id)[:47]}_{hashlib.sha256(tool_id.encode()).hexdigest()[:16]}"


def plain_sampling(max_tokens: int | None, temperature: Number | None, top_p: Number | None) -> bool:
    """True if the parameters are within every 0..1 target's ranges and need no word with the user."""
    return (
        (temperature is None or 0 <= temperature <= 1)
        and (top_p is None or 0 <= top_p <= 1)
        and (max_tokens is None or max_tokens >= 1)
    )


#: The tool whose arguments become the content, where a family has no structured output of its own.
JSON_TOOL = "json_response"


def force_json_tool(chat: Chat, policy: Policy) -> str | None:
    """Ask for response_format by a tool that must be called; returns its name, for the answer to be unwrapped."""
    wanted = chat.json_format
    if wanted is None:
        return None
    chat.json_format = None
    if chat.uses_tools:
        policy.refuse("response_format", "it has no structured output beside tools.")
        return None
    # Without a schema the model must be told that the object is open, or it gives an empty one.
    schema = {"type": "object", **(wanted.schema or {"properties": {}, "additionalProperties": True})}
    if schema["type"] != "object":
        policy.refuse("response_format", "a schema must be of type object.")
        return None
    description = wanted.description or (
        "Gives the answer. Put the whole JSON object that was asked for into this input, with every one of its fields."
    )
    chat.tools = [Tool(JSON_TOOL, description, schema, None)]
    chat.tool_choice = f"function:{JSON_TOOL}"
    return JSON_TOOL


#: Models that see nothing, among those whose chats may go by Converse.
_TEXT_ONLY = re.compile(
    r"meta\.llama(?:2|3-(?:8b|70b|1-|3-|2-[13]b))|mistral\.(?:mistral-(?:7b|large-240|small-240)|mixtral)|deepseek\.|"
    r"cohere\.command|amazon\.(?:nova-micro|titan-t)|openai\.gpt-oss|ai21\."
)


def refuse_unseen(chat: Chat, model: Model, policy: Policy) -> None:
    """Refuse images, or leave them out, where the model is known to take text only."""
    if not _TEXT_ONLY.match(model.base_id):
        return
    for turn in chat.turns:
        images = [part for part in turn.parts if isinstance(part, Image)]
        if images:
            policy.refuse("messages[].content[].image_url", "this model takes text only.")
            turn.parts = [part for part in turn.parts if not isinstance(part, Image)]
            if not turn.parts:
                raise RequestError("'messages' holds a message of images only, and the model takes text.", "messages")


_T = TypeVar("_T")


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_as(decode: Callable[[bytes | msgspec.Raw], _T], output: bytes | msgspec.Raw, what: str, *extras: str) -> _T:
    """Decode a modelOutput. Raises DecodeError where it is not `what` the family documents.

    The answer does not depend on its `extras`, fields that count its tokens: where they cannot be read, they are left
    out.
    """
    try:
        return decode(output)
    except _UNREADABLE:
        pass
    try:
        fields = _decode_fields(output)
        return decode(msgspec.json.encode({name: value for name, value in fields.items() if name not in extras}))
    except _UNREADABLE as error:
        raise DecodeError(f"not {what} ({error})") from None


def take(chat: Chat, field: str) -> Any:
    """One of the fields that only some families honour, taken out of the rest; None where it was not given."""
    return chat.rest.pop(field, None)


def tool_arguments(value: msgspec.Raw) -> bytes:
    """The arguments of a tool call as the model gave them: JSON, untouched but for null. Raises DecodeError."""
    text = bytes(value)
    try:
        text.decode()
    except UnicodeDecodeError:
        raise DecodeError("a tool call's arguments are no UTF-8") from None
    return b"{}" if text == b"null" else text


def named_function(tool_choice: str) -> str:
    return tool_choice.removeprefix("function:")
