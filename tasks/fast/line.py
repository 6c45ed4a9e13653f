"""The short cut for one line: chats of plain text, whose text is passed on undecoded."""

import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs import chat_codec
from tasks.codecs.base import PlainForm
from tasks.codecs.encoder import RECORD_END, EncodedRequest, Encoder
from tasks.fast.texts import text_of
from tasks.openai_format.requests import SURELY_TEXT, SURELY_TEXT_PAIRS
from tasks.settings import fast_enabled


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant"]
    content: msgspec.Raw


# Undecoded, as msgspec knows no `Raw | None`.
_ABSENT = msgspec.Raw(b"")


class _Fields(msgspec.Struct, gc=False):
    """The fields of a plain body that have an effect."""

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


class _Line(Protocol):
    custom_id: str
    body: _Fields


@functools.cache
def _decoder(without_effect: frozenset[str]) -> Callable[[bytes], _Line]:
    """What reads a line of these fields, and of those without effect: they stay undecoded, whatever their value."""
    unread = [(name, msgspec.Raw, _ABSENT) for name in sorted(without_effect - set(_Fields.__struct_fields__))]
    body = msgspec.defstruct("_Body", unread, bases=(_Fields,), forbid_unknown_fields=True, gc=False)
    line: Any = msgspec.defstruct("_Line", [("custom_id", str), ("body", body)], gc=False)
    decode: Callable[[bytes], _Line] = msgspec.json.Decoder(line).decode
    return decode


_MANY = 10_000


_decode_text = msgspec.json.Decoder(str).decode


def _is_blank(content: bytes) -> bool:
    """Whether a JSON string holds white space only, or cannot be read."""
    try:
        return not _decode_text(content).strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True


PlainEncoder = Callable[[bytes, bytes], "tuple[str, list[bytes]] | None"]


def plain_encoder(  # noqa: C901 (a closure, for speed: see below)
    form: PlainForm, without_effect: frozenset[str], suffix: bytes = b""
) -> PlainEncoder:
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
    decode = _decoder(without_effect)
    is_blank = _is_blank
    # Most files have the same parameters on every line. The types tell 1 from 1.0, which are equal.
    endings: dict[tuple[Any, ...], bytes] = {}

    def encode(line: bytes, prefix: bytes) -> tuple[str, list[bytes]] | None:  # noqa: C901, PLR0912 (once a line)
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


def _never(line: bytes, prefix: bytes) -> None:  # noqa: ARG001
    return None


class FastEncoder(Encoder):
    """The encoder with the short cut before the general way."""

    def __init__(
        self,
        model: Model,
        endpoint: str,
        unsupported: Literal["error", "drop"],
        invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        super().__init__(model, endpoint, unsupported, invocation, fetch)
        form = chat_codec(model, self.plain_invocation).plain_form(model) if self.endpoint.plain_lines else None
        ignored = self.endpoint.without_effect
        #: The short cut to a whole record line: from a line and the record's beginning, to custom_id and parts.
        self.encode_plain_record: PlainEncoder = plain_encoder(form, ignored, RECORD_END) if form else _never
        self._encode_plain: PlainEncoder = plain_encoder(form, ignored) if form else _never

    def encode(self, line: bytes) -> EncodedRequest:
        plain = self._encode_plain(line, b"")
        if plain is not None:
            custom_id, parts = plain
            return EncodedRequest(custom_id, self.plain_invocation, [b"".join(parts)], [None], {})
        return self.encode_general(line)


def encoder_for(
    model: Model,
    endpoint: str,
    unsupported: Literal["error", "drop"],
    invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
    fetch: Callable[[str], bytes] | None = None,
) -> Encoder:
    """An encoder: one with the short cut, unless the short cuts are turned off."""
    return (FastEncoder if fast_enabled() else Encoder)(model, endpoint, unsupported, invocation, fetch)
