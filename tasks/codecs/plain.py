"""The short cut for the common case: chats of plain text, whose text is passed on undecoded."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tasks.codecs.base import PlainForm
from tasks.openai_format.requests import SURELY_TEXT, SURELY_TEXT_PAIRS
from tasks.openai_format.texts import text_of


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant"]
    content: msgspec.Raw


# Undecoded, as msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"")


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Message]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | int | None = None
    top_p: float | int | None = None
    # What many clients send along, each with the one value that asks for nothing.
    n: int | None = None
    frequency_penalty: float | int | None = None
    presence_penalty: float | int | None = None
    # Without effect in a batch, whatever their value (`tasks.codecs.chat`).
    user: msgspec.Raw = _ABSENT
    metadata: msgspec.Raw = _ABSENT
    store: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT
    stream_options: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT
    safety_identifier: msgspec.Raw = _ABSENT
    prompt_cache_key: msgspec.Raw = _ABSENT
    prompt_cache_retention: msgspec.Raw = _ABSENT


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    body: _Body


_MANY = 10_000

_decode_text = msgspec.json.Decoder(str).decode


def _is_blank(content: bytes) -> bool:
    """Whether a JSON string holds white space only, or cannot be read."""
    try:
        return not _decode_text(content).strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True


PlainEncoder = Callable[[bytes, bytes], "tuple[str, list[bytes]] | None"]


def plain_encoder(form: PlainForm, suffix: bytes = b"") -> PlainEncoder:
    """A function from a line, and what to put before, to its custom_id and its modelInput; None for any unusual line.

    The modelInput comes in parts to be joined: the prefix given with the line first, `suffix` last.

    The text goes from input to output as the JSON string that it is: msgspec has checked its escapes here, validation
    its UTF-8. Whatever is not a plain alternating chat is left to the general way, and a property test holds the two
    to the same result. It is a closure, with all that surrounds the texts joined beforehand, because this runs once a
    line: attribute look-ups and calls would be half of its time.
    """
    first_user = b'"messages":[' + form.user[0]
    if form.system is not None:
        before_system, before_user_after_system = form.opening + form.system[0], form.system[1] + first_user
    else:
        before_system = form.opening + b'"messages":[{"role":"system","content":'
        before_user_after_system = b"}," + form.user[0]
    before_first_user = form.opening + first_user
    before_user, before_assistant = form.assistant[1] + b"," + form.user[0], form.user[1] + b"," + form.assistant[0]
    after_user, after_assistant = form.user[1], form.assistant[1]
    decode = msgspec.json.Decoder(_Line).decode
    is_blank = _is_blank
    # Most files have the same parameters on every line. The types tell 1 from 1.0, which are equal.
    endings: dict[tuple[Any, ...], bytes] = {}

    def encode(line: bytes, prefix: bytes) -> tuple[str, list[bytes]] | None:
        try:
            parsed = decode(line)
            body = parsed.body
            if body.frequency_penalty or body.presence_penalty or (body.n != 1 and body.n is not None):
                return None
            most, temperature, top_p = body.max_completion_tokens, body.temperature, body.top_p
            if most is None:
                most = body.max_tokens
            key = (most, temperature, top_p, type(temperature), type(top_p))
            ending = endings.get(key)
            if ending is None:
                ending = form.parameters(most, temperature, top_p)
                if ending is None:
                    return None
                if len(endings) >= _MANY:
                    endings.clear()
                ending = endings[key] = ending + suffix
            parts = [prefix]
            before, after, expected = before_first_user, b"", "user"
            for message in body.messages:
                content, role = text_of(bytes(message.content)), message.role
                if content is None:
                    return None
                if content[1] not in SURELY_TEXT and content[1:3] not in SURELY_TEXT_PAIRS and is_blank(content):
                    return None
                if role == expected:
                    parts += (before, content)
                    if role == "user":
                        before, after, expected = before_assistant, after_user, "assistant"
                    else:
                        before, after, expected = before_user, after_assistant, "user"
                elif len(parts) == 1 and (role == "system" or role == "developer"):
                    parts += (before_system, content)
                    before = before_user_after_system
                else:
                    return None
            if expected == "user":
                # No user turn at all, or a last one by the assistant: a beginning for the model to go on from.
                return None
            parts += (after, ending)
            return parsed.custom_id, parts
        except Exception:
            # It cannot be read, or not by this way: the general one says what is wrong.
            return None

    return encode
