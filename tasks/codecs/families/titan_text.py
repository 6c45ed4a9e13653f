"""Amazon Titan Text: one inputText, turns by name.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html
"""

import contextlib
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    DecodeError,
    Encoded,
    FinishReason,
    InvocationType,
    Policy,
    Usage,
)
from tasks.codecs.families._common import decode_as, limit_max_tokens, native_reason, refuse_rest, unit_temperature
from tasks.codecs.families._prompts import GeneralCodec, kept, plain_text, refuse_tools

_FINISH: Final[dict[str, FinishReason]] = {"LENGTH": "length", "CONTENT_FILTERED": "content_filter"}


class _Result(msgspec.Struct, rename="camel", gc=False):
    output_text: str
    #: Undecoded: what it counts may be no number.
    token_count: msgspec.Raw = msgspec.Raw(b"")
    completion_reason: str | None = None


class _Output(msgspec.Struct, rename="camel", gc=False):
    results: list[_Result]
    input_text_token_count: int | None = None


_decode = msgspec.json.Decoder(_Output).decode


_decode_count = msgspec.json.Decoder(int).decode


class TitanTextCodec(GeneralCodec):
    family = "titan-text"
    prefers: InvocationType = "InvokeModel"
    native_tools = False

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        limit_max_tokens(chat, capabilities_of(model), policy)
        refuse_tools(chat, "Titan Text", model, policy)
        refuse_rest(chat, policy)
        text = "\n\n".join(chat.system) + "\n\n" if chat.system else ""
        for turn in chat.turns:
            text += f"{'User' if turn.role == 'user' else 'Bot'}: {plain_text(turn, 'Titan Text', policy)}\n"
        body: dict[str, Any] = {"inputText": text + "Bot:"}
        config = kept(
            maxTokenCount=chat.max_tokens,
            temperature=unit_temperature(chat, policy),
            topP=chat.top_p,
            stopSequences=chat.stop,
        )
        if config:
            body["textGenerationConfig"] = config
        return Encoded(body)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        parsed = decode_as(_decode, output, "a Titan Text answer", "inputTextTokenCount")
        if not parsed.results:
            raise DecodeError("not a Titan Text answer (no results)")
        first = parsed.results[0]
        usage = None
        with contextlib.suppress(msgspec.DecodeError):
            if parsed.input_text_token_count is not None:
                usage = Usage(parsed.input_text_token_count, _decode_count(first.token_count))
        finish, native = _FINISH.get(first.completion_reason or "", "stop"), native_reason(first.completion_reason)
        return Answer(first.output_text.strip(), finish, usage, native_reason=native)

    def padding(self) -> bytes:
        return b'{"inputText":"Hi","textGenerationConfig":{"maxTokenCount":1}}'


CODEC = TitanTextCodec()
