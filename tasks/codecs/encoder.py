"""From an input line to modelInputs: the short cut for plain text chats, and the general way for everything else."""

from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs import codec_for, converse_codec
from tasks.codecs.base import (
    Chat,
    ChatCodec,
    Codec,
    Context,
    ConversionFault,
    EmbeddingCodec,
    InvocationType,
    Policy,
    RequestError,
    dumps,
)
from tasks.codecs.chat import parse_chat
from tasks.codecs.completions import parse_completion
from tasks.codecs.embeddings import parse_embeddings
from tasks.codecs.plain import PlainEncoder, plain_encoder
from tasks.codecs.responses import parse_response
from tasks.errors import PipelineError
from tasks.openai_format.faults import MAX_DEPTH, NOT_JSON, fault_of, nests_too_deeply
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS

#: What follows the modelInput in a record line.
RECORD_END = b"}\n"
#: A request's answers are put together from so many records at most.
MAX_RECORDS = 9999


class EncodedRequest(msgspec.Struct, gc=False):
    """What one request becomes: a modelInput per record, for one type of job, and what decoding will need to know."""

    custom_id: str
    invocation: InvocationType
    model_inputs: list[bytes]
    contexts: list[bytes | None]


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    body: dict[str, Any]


_decode_line = msgspec.json.Decoder(_Line).decode


def _read_line(line: bytes) -> _Line:
    try:
        parsed = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        place, why = fault_of(line)
        field = (place or "body").removeprefix("body.")
        raise RequestError(f"'{field}' {why or NOT_JSON}.", field, "invalid_json_line") from None
    if nests_too_deeply(line):
        raise _too_deep()
    return parsed


def _too_deep() -> RequestError:
    return RequestError(f"The body nests more than {MAX_DEPTH} levels deep.", "body")


def _never(line: bytes, prefix: bytes) -> None:  # noqa: ARG001
    return None


def codec_of(model: Model, invocation: InvocationType) -> Codec:
    """The codec that made, and reads, the records of a type of job."""
    return converse_codec() if invocation == "Converse" else codec_for(model)


class Encoder:
    """Encodes the lines of one batch. Not thread-safe: its policy counts what it drops."""

    def __init__(
        self,
        model: Model,
        endpoint: str,
        unsupported: Literal["error", "drop"],
        invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.codec = codec_for(model)
        self.policy = Policy(unsupported, self.codec.family, fetch)
        self._wanted = invocation
        #: The type of job that plain chats go to.
        self.plain_invocation: InvocationType = "InvokeModel"
        form = None
        if endpoint == CHAT:
            self.plain_invocation = self._choose([])
            form = cast(ChatCodec, codec_of(model, self.plain_invocation)).plain_form(model)
        #: The short cut to a whole record line: from a line and the record's beginning, to custom_id and parts.
        self.encode_plain_record: PlainEncoder = plain_encoder(form, RECORD_END) if form else _never
        #: Whether there is such a short cut at all.
        self.has_plain = form is not None
        self._encode_plain: PlainEncoder = plain_encoder(form) if form else _never

    def encode(self, line: bytes) -> EncodedRequest:
        """The modelInputs of a line that passed validation. Raises RequestError when it cannot be sent."""
        plain = self._encode_plain(line, b"")
        if plain is not None:
            custom_id, parts = plain
            return EncodedRequest(custom_id, self.plain_invocation, [b"".join(parts)], [None])
        return self.encode_general(line)

    def encode_general(self, line: bytes) -> EncodedRequest:
        """The way of everything that is not a plain chat; plain chats come out of it the same.

        Whatever is wrong with a line, or with this program, is a RequestError of that line alone. What would befall
        any other line as well passes through: a PipelineError of fetching, and a lack of memory.
        """
        try:
            parsed = _read_line(line)
            if self.endpoint == EMBEDDINGS:
                return self._encode_embeddings(parsed)
            return self._encode_chats(parsed)
        except (RequestError, PipelineError, MemoryError):
            raise
        except RecursionError:
            raise _too_deep() from None
        except Exception as error:
            raise ConversionFault from error

    def _encode_embeddings(self, line: _Line) -> EncodedRequest:
        request, context = parse_embeddings(line.body)
        bodies = cast(EmbeddingCodec, self.codec).encode_embeddings(request, self.model, self.policy)
        inputs = [dumps(body) for body in bodies]
        return EncodedRequest(line.custom_id, "InvokeModel", inputs, [_context(context)] * len(inputs))

    def _encode_chats(self, line: _Line) -> EncodedRequest:
        # Until it is known which type of job the request needs; not what the one before it needed.
        self.policy.family = self.codec.family
        if self.endpoint == CHAT:
            chats = [parse_chat(line.body, self.policy)]
        elif self.endpoint == COMPLETIONS:
            chats = parse_completion(line.body, self.policy)
        else:
            chats = [parse_response(line.body, self.policy)]
        invocation = self._choose([chat for chat, _ in chats])
        codec = cast(ChatCodec, codec_of(self.model, invocation))
        self.policy.family = codec.family
        inputs: list[bytes] = []
        contexts: list[bytes | None] = []
        for chat, context in chats:
            encoded = codec.encode(chat, self.model, self.policy)
            context.json_tool = encoded.json_tool
            inputs += [dumps(encoded.body)] * chat.n
            contexts += [_context(context)] * chat.n
        return EncodedRequest(line.custom_id, invocation, inputs, contexts)

    def _choose(self, chats: list[Chat]) -> InvocationType:
        """The type of job: what the user wants, else what the request needs, else what the family prefers.

        Tools go into native bodies only; Converse's answers carry usage that some native ones lack.
        """
        if self._wanted != "auto":
            return self._wanted
        codec = cast(ChatCodec, self.codec)
        if codec.native_tools and any(chat.uses_tools for chat in chats):
            return "InvokeModel"
        return codec.prefers


_NOTHING = msgspec.json.encode(Context())


def _context(context: Context) -> bytes | None:
    text = msgspec.json.encode(context)
    return None if text == _NOTHING else text
