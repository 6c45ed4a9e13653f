"""Amazon Nova Multimodal Embeddings, for text. One text a record.

Source: https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html
"""

from typing import Any

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families._common import decode_as
from tasks.codecs.families.titan_embeddings import check_dimensions
from tasks.openai_format.requests import EMBEDDINGS


class _Embedding(msgspec.Struct, gc=False):
    embedding: list[float]


class _Output(msgspec.Struct, rename="camel", gc=False):
    embeddings: list[_Embedding]
    input_token_count: int | None = None


_decode = msgspec.json.Decoder(_Output).decode


class NovaEmbeddingsCodec:
    family = "nova-embeddings"
    endpoints = frozenset({EMBEDDINGS})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        facts = capabilities_of(model)
        wanted = check_dimensions(request, facts.dimensions, policy)
        # Any other way cuts long texts in silence.
        truncation = request.rest.pop("truncationMode", "NONE")
        if truncation not in facts.truncation:
            raise RequestError(f"'truncationMode' must be one of {', '.join(facts.truncation)}.", "truncationMode")
        purpose = request.rest.pop("embeddingPurpose", "GENERIC_INDEX")
        for field in request.rest:
            policy.refuse(field, "there is no equivalent.")
        parameters: dict[str, Any] = {"embeddingPurpose": purpose, "embeddingDimension": wanted or facts.dimensions[-1]}
        return [
            {
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {**parameters, "text": {"value": text, "truncationMode": truncation}},
            }
            for text in request.texts
        ]

    def decode_embeddings(self, output: bytes) -> Vectors:
        found = decode_as(_decode, output, "a Nova embedding", "inputTokenCount")
        if not found.embeddings:
            raise DecodeError("not a Nova embedding (no vector)")
        return Vectors([found.embeddings[0].embedding], found.input_token_count)

    def padding(self) -> bytes:
        return (
            b'{"schemaVersion":"nova-multimodal-embed-v1","taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":'
            b'{"embeddingPurpose":"GENERIC_INDEX","embeddingDimension":256,"text":{"value":"Hi","truncationMode":"NONE"}}}'
        )


CODEC = NovaEmbeddingsCodec()
