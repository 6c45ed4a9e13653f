"""From an input line to modelInputs: the one way for plain text chats, and the general way for everything else."""

from typing import Any, Literal

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Chat, Codec, Policy, RequestError, dumps
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
_MANY = 10_000


class Encoder:
    """Encodes the lines of one batch. Not thread-safe: its policy counts what it drops."""

    def __init__(self, codec: Codec, model: Model, endpoint: str, unsupported: Literal["error", "drop"]) -> None:
        self.codec = codec
        self.model = model
        self.endpoint = endpoint
        self.policy = Policy(unsupported, codec.family)
        self._form = codec.plain_form(model) if endpoint == CHAT else None
        self._parameters: dict[tuple[Any, ...], bytes | None] = {}

    def encode(self, line: bytes) -> Encoded:
        """The modelInputs of a line that passed validation. Raises RequestError when it cannot be sent."""
        plain = self.encode_plain(line)
        if plain is not None:
            custom_id, parts = plain
            return Encoded(custom_id, [b"".join(parts)])
        return self.encode_general(line)

    def encode_plain(self, line: bytes) -> tuple[str, list[bytes]] | None:
        """The short cut for a chat of plain text: its custom_id, and its modelInput in parts to be joined.

        The text is not decoded but passed on as the JSON string that it is: msgspec has checked its escapes here,
        validation its UTF-8. At anything unusual this gives way, by returning None, to the general way; a property
        test holds the two to the same result.
        """
        form = self._form
        if form is None:
            return None
        try:
            parsed = _decode_plain(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        body = parsed.body
        ending = self._ending(body)
        if ending is None:
            return None
        parts = [form.opening]
        expected, separator = "user", b'"messages":['
        for message in body.messages:
            role, content = message.role, bytes(message.content)
            if content[0] != _QUOTE or content[1] not in _SURELY_TEXT:
                return None
            if role == expected:
                before, after = form.user if role == "user" else form.assistant
                parts += (separator, before, content, after)
                expected, separator = "assistant" if role == "user" else "user", b","
            elif len(parts) == 1 and (role == "system" or role == "developer"):
                before, after = form.system
                parts += (before, content, after)
            else:
                return None
        if separator != b",":
            return None
        parts.append(ending)
        return parsed.custom_id, parts

    def _ending(self, body: _PlainBody) -> bytes | None:
        """The parameters as JSON; most files use the same ones on every line."""
        most = body.max_completion_tokens
        if most is None:
            most = body.max_tokens
        # The types tell 1 from 1.0, which are equal and written differently.
        temperature, top_p = body.temperature, body.top_p
        key = (most, temperature, top_p, type(temperature), type(top_p))
        if key not in self._parameters:
            assert self._form is not None
            if len(self._parameters) >= _MANY:
                self._parameters.clear()
            self._parameters[key] = self._form.parameters(most, temperature, top_p)
        return self._parameters[key]

    def encode_general(self, line: bytes) -> Encoded:
        """The way of everything else."""
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
