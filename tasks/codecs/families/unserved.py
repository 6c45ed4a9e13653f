"""Models that answer neither chats nor texts to embed: rerankers, image, video and speech models. Refused by name.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html.
"""

from typing import Any, NoReturn

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    DecodeError,
    Embeddings,
    Encoded,
    InvocationType,
    PlainForm,
    Policy,
    RequestError,
    Vectors,
)


class UnservedCodec:
    family = "unserved"
    prefers: InvocationType = "InvokeModel"
    native_tools = False
    tidy = None
    replays_thinking = False
    endpoints: frozenset[str] = frozenset()

    def serves(self, model: Model) -> bool:
        return not capabilities_of(model).codec

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        self._refuse(model)

    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        self._refuse(model)

    @staticmethod
    def _refuse(model: Model) -> NoReturn:
        kind = capabilities_of(model).kind
        raise RequestError(
            f"{model.base_id} is a model for {kind}: it takes neither chats nor texts to embed.",
            "model",
            "unsupported_parameter",
        )

    def plain_form(self, model: Model) -> PlainForm | None:
        return None

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        raise DecodeError("an answer of a model that is not served")

    def decode_embeddings(self, output: bytes) -> Vectors:
        raise DecodeError("an answer of a model that is not served")

    def padding(self) -> bytes:
        return b"{}"


CODEC = UnservedCodec()
