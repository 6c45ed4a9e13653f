"""Amazon Titan embeddings: Text v1 and v2, Multimodal G1. One text a record.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and …-embed-mm.html
"""

from typing import Any

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import DecodeError, Embeddings, Policy, Vectors
from tasks.codecs.families._common import decode_as
from tasks.openai_format.requests import EMBEDDINGS


class _Output(msgspec.Struct, rename="camel", gc=False):
    embedding: list[float] | None = None
    embeddings_by_type: dict[str, list[float]] | None = None
    input_text_token_count: int | None = None
    message: str | None = None


_decode = msgspec.json.Decoder(_Output).decode


class TitanEmbeddingsCodec:
    family = "titan-embeddings"
    endpoints = frozenset({EMBEDDINGS})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        wanted = check_dimensions(request, capabilities_of(model).dimensions, policy)
        shape: dict[str, Any] = {}
        if wanted is not None:
            image = "titan-embed-image" in model.base_id
            shape = {"embeddingConfig": {"outputEmbeddingLength": wanted}} if image else {"dimensions": wanted}
        normalize = request.rest.pop("normalize", None)
        if normalize is not None:
            shape["normalize"] = normalize
        for field in request.rest:
            policy.refuse(field, "there is no equivalent.")
        return [{"inputText": text, **shape} for text in request.texts]

    def decode_embeddings(self, output: bytes) -> Vectors:
        parsed = decode_as(_decode, output, "a Titan embedding", "inputTextTokenCount", "message")
        vector = parsed.embedding or (parsed.embeddings_by_type or {}).get("float")
        if vector is None:
            raise DecodeError(f"not a Titan embedding ({parsed.message or 'no vector'})")
        return Vectors([vector], parsed.input_text_token_count)

    def padding(self) -> bytes:
        return b'{"inputText":"Hi"}'


def check_dimensions(request: Embeddings, allowed: tuple[int, ...], policy: Policy) -> int | None:
    """The wanted dimensions if the model has them; refused else, and then its default."""
    wanted = request.dimensions
    if wanted is None or wanted in allowed:
        return wanted
    choices = f"takes {', '.join(map(str, allowed))}" if allowed else "has one size only"
    policy.refuse("dimensions", f"this model {choices}.")
    return None


CODEC = TitanEmbeddingsCodec()
