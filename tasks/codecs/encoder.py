"""From an input line to modelInputs: the one way for plain text chats, and the general way for everything else."""

from typing import Any, Literal

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Chat, Codec, PlainChat, Policy, RequestError, dumps
from tasks.codecs.chat import parse_chat
from tasks.openai_format.requests import CHAT


class Encoded(msgspec.Struct, gc=False):
    """What one request becomes: a modelInput per record, and what decoding its answer will need to know."""

    custom_id: str
    model_inputs: list[bytes]
    context: bytes | None = None


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant"]
    content: msgspec.Raw


class _PlainBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_PlainMessage]
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | int | None = None
    top_p: float | int | None = None


class _PlainLine(msgspec.Struct, gc=False):
    custom_id: str
    body: _PlainBody


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    body: dict[str, Any]


_decode_plain = msgspec.json.Decoder(_PlainLine).decode
_decode_line = msgspec.json.Decoder(_Line).decode

#: First bytes of a JSON string that is surely not blank: printable ASCII, no escape, not the closing quote.
_SURELY_TEXT = frozenset(range(0x21, 0x7F)) - {ord('"'), ord("\\")}
_QUOTE = ord('"')


class Encoder:
    """Encodes the lines of one batch. Not thread-safe: its policy counts what it drops."""

    def __init__(self, codec: Codec, model: Model, endpoint: str, unsupported: Literal["error", "drop"]) -> None:
        self.codec = codec
        self.model = model
        self.endpoint = endpoint
        self.policy = Policy(unsupported, codec.family)
        self._has_plain_form = endpoint == CHAT

    def encode(self, line: bytes) -> Encoded:
        """The modelInputs of a line that passed validation. Raises RequestError when it cannot be sent.

        A chat of plain text takes a short cut: its text is not decoded, but passed on as the JSON string it is
        (msgspec has checked its escapes, validation its UTF-8). The short cut gives way, by returning None, to the
        general way at anything unusual; a property test holds the two to the same result.
        """
        if self._has_plain_form:
            encoded = self.encode_plain(line)
            if encoded is not None:
                return encoded
        return self.encode_general(line)

    def encode_plain(self, line: bytes) -> Encoded | None:
        try:
            parsed = _decode_plain(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        body = parsed.body
        chat = _plain_chat(body)
        if chat is None:
            return None
        model_input = self.codec.encode_plain(chat, self.model)
        return None if model_input is None else Encoded(parsed.custom_id, [model_input])

    def encode_general(self, line: bytes) -> Encoded:
        try:
            parsed = _decode_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(f"The body cannot be read: {error}", "body", "invalid_json_line") from None
        chat = self._parse(parsed.body)
        try:
            return Encoded(parsed.custom_id, [dumps(self.codec.encode(chat, self.model, self.policy))])
        except RecursionError:
            raise RequestError("The body nests too deeply.", "body") from None

    def _parse(self, body: dict[str, Any]) -> Chat:
        return parse_chat(body, self.policy)


def _plain_chat(body: _PlainBody) -> PlainChat | None:
    system: msgspec.Raw | None = None
    turns: list[tuple[str, msgspec.Raw]] = []
    expected = "user"
    for message in body.messages:
        content = message.content
        view = memoryview(content)
        if view[0] != _QUOTE or view[1] not in _SURELY_TEXT:
            return None
        role = message.role
        if role == expected:
            turns.append((role, content))
            expected = "assistant" if role == "user" else "user"
        elif not turns and system is None and (role == "system" or role == "developer"):
            system = content
        else:
            return None
    if not turns:
        return None
    most = body.max_completion_tokens
    return PlainChat(system, turns, body.max_tokens if most is None else most, body.temperature, body.top_p)
