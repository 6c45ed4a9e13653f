"""Pieces that several families share: sampling ranges, tool ids, and the pass-through of plain text."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import Chat, DecodeError, Image, Number, Policy, RequestError

# msgspec knows no `Raw | None`: this stands for an absent tool input.
EMPTY_OBJECT = msgspec.Raw(b"{}")


_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_is_safe_id = re.compile(r"[a-zA-Z0-9_-]{0,64}").fullmatch


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
    if _is_safe_id(tool_id):
        return tool_id
    return f"{_UNSAFE.sub('_', tool_id)[:47]}_{hashlib.sha256(tool_id.encode()).hexdigest()[:16]}"


def plain_sampling(
    max_tokens: int | None, temperature: Number | None, top_p: Number | None, facts: Capabilities, highest: int = 1
) -> bool:
    """True if the parameters are within the model's ranges and need no word with the user."""
    return (
        (temperature is None or 0 <= temperature <= highest)
        and (top_p is None or 0 <= top_p <= 1)
        and (max_tokens is None or 1 <= max_tokens <= (facts.max_tokens or max_tokens))
    )


def limit_max_tokens(chat: Chat, facts: Capabilities, policy: Policy) -> None:
    """Refuse more tokens than the model answers with at most, or ask for that many."""
    most = facts.max_tokens
    if most is not None and chat.max_tokens is not None and chat.max_tokens > most:
        policy.refuse(
            "max_tokens",
            f"this model answers with {most:,} tokens at most.",
            count_as="max_tokens (cut to what the model can)",
        )
        chat.max_tokens = most


def sampling(chat: Chat, facts: Capabilities, policy: Policy) -> tuple[Number | None, Number | None]:
    """Temperature and top_p as the model takes them: both, one of them, or none. A 1 is what happens without them."""
    temperature, top_p = without_default_sampling(unit_temperature(chat, policy), chat.top_p, facts)
    if facts.sampling == "none":
        for field, value in (("temperature", temperature), ("top_p", top_p), ("top_k", take(chat, "top_k"))):
            if value is not None:
                policy.refuse(field, "this model refuses sampling parameters.")
        return None, None
    if facts.sampling == "one" and temperature is not None and top_p is not None:
        policy.refuse("top_p", "this model takes temperature or top_p, not both.")
        return temperature, None
    return temperature, top_p


def without_default_sampling(
    temperature: Number | None, top_p: Number | None, facts: Capabilities
) -> tuple[Number | None, Number | None]:
    """Leave out a 1 that the model would refuse."""
    if facts.sampling == "none":
        return (None if temperature == 1 else temperature), (None if top_p == 1 else top_p)
    if facts.sampling == "one" and temperature is not None and top_p is not None:
        if top_p == 1:
            return temperature, None
        if temperature == 1:
            return None, top_p
    return temperature, top_p


def refuse_unseen(chat: Chat, facts: Capabilities, policy: Policy) -> None:
    """Refuse images, or leave them out, where the model is not known to see."""
    if facts.images:
        return
    for turn in chat.turns:
        images = [part for part in turn.parts if isinstance(part, Image)]
        if images:
            why = "this model takes text only." if facts.known else "it is not known that this model sees."
            policy.refuse("messages[].content[].image_url", why)
            turn.parts = [part for part in turn.parts if not isinstance(part, Image)]
            if not turn.parts:
                raise RequestError("'messages' holds a message of images only, and the model takes text.", "messages")


#: Words of models for why they ended that OpenAI's finish reasons say as well.
_SAID: Final = frozenset(
    {"end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "content_filtered"}
    | {"stop", "length", "tool_calls", "function_call", "content_filter", "eos"}
    # Cohere's and Titan's, in either case.
    | {"complete", "finish", "finished", "stop_criteria_met"}
)
_REASON_CHARACTERS: Final = 100


def native_reason(reason: str | None) -> str | None:
    """A model's word for why it ended, where OpenAI has none that says the same."""
    if reason is None or reason in _SAID or reason.lower() in _SAID:
        return None
    return reason[:_REASON_CHARACTERS]


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
