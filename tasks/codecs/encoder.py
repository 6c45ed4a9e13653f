"""From an input line to modelInputs: the short cut for plain text chats, and the general way for everything else."""

from typing import Any, Literal

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Chat, Codec, Policy, RequestError, dumps
from tasks.codecs.chat import parse_chat
from tasks.codecs.plain import PlainEncoder, plain_encoder
from tasks.openai_format.requests import CHAT


class Encoded(msgspec.Struct, gc=False):
    """What one request becomes: a modelInput per record, and what decoding its answer will need to know."""

    custom_id: str
    model_inputs: list[bytes]
    context: bytes | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    body: dict[str, Any]


#: What follows the modelInput in a record line.
RECORD_END = b"}\n"


def _never(line: bytes, prefix: bytes) -> None:  # noqa: ARG001
    return None


_decode_line = msgspec.json.Decoder(_Line).decode


class Encoder:
    """Encodes the lines of one batch. Not thread-safe: its policy counts what it drops."""

    def __init__(self, codec: Codec, model: Model, endpoint: str, unsupported: Literal["error", "drop"]) -> None:
        self.codec = codec
        self.model = model
        self.endpoint = endpoint
        self.policy = Policy(unsupported, codec.family)
        form = codec.plain_form(model) if endpoint == CHAT else None
        #: The short cut to a whole record line: from a line and the record's beginning, to custom_id and parts.
        self.encode_plain_record: PlainEncoder = plain_encoder(form, RECORD_END) if form else _never
        self._encode_plain: PlainEncoder = plain_encoder(form) if form else _never

    def encode(self, line: bytes) -> Encoded:
        """The modelInputs of a line that passed validation. Raises RequestError when it cannot be sent."""
        plain = self._encode_plain(line, b"")
        if plain is not None:
            custom_id, parts = plain
            return Encoded(custom_id, [b"".join(parts)])
        return self.encode_general(line)

    def encode_general(self, line: bytes) -> Encoded:
        """The way of everything that is not a plain chat; plain chats come out of it the same."""
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
