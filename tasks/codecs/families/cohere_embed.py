"""Cohere Embed v3 and v4: up to 96 texts a record.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html and …-embed-v4.html
"""

from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families._common import decode_as
from tasks.codecs.families.titan_embeddings import check_dimensions
from tasks.openai_format.requests import EMBEDDINGS

_MOST_TEXTS: Final = 96


_INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering")


class _Billed(msgspec.Struct, gc=False):
    #: Some of Cohere's servers write 3.0.
    input_tokens: int | float | None = None


class _Meta(msgspec.Struct, gc=False):
    billed_units: _Billed | None = None


class _Output(msgspec.Struct, gc=False):
    embeddings: list[list[float]] | dict[str, list[list[float]]]
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Output).decode


class CohereEmbedCodec:
    family = "cohere-embed"
    endpoints = frozenset({EMBEDDINGS})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        facts = capabilities_of(model)
        wanted = check_dimensions(request, facts.dimensions, policy)
        kind = request.rest.pop("input_type", "search_document")
        if kind not in _INPUT_TYPES:
            raise RequestError(f"'input_type' must be one of {', '.join(_INPUT_TYPES)}.", "input_type")
        shape: dict[str, Any] = {"input_type": kind, "embedding_types": ["float"]}
        truncate = request.rest.pop("truncate", None)
        if truncate is not None:
            if truncate not in facts.truncation:
                raise RequestError(f"'truncate' must be one of {', '.join(facts.truncation)}.", "truncate")
            shape["truncate"] = truncate
        if wanted is not None and len(facts.dimensions) > 1:
            shape["output_dimension"] = wanted
        for field in request.rest:
            policy.refuse(field, "there is no equivalent.")
        starts = range(0, len(request.texts), _MOST_TEXTS)
        return [{"texts": request.texts[start : start + _MOST_TEXTS], **shape} for start in starts]

    def decode_embeddings(self, output: bytes) -> Vectors:
        parsed = decode_as(_decode, output, "a Cohere embedding", "meta")
        found = parsed.embeddings
        vectors = found.get("float") if isinstance(found, dict) else found
        if vectors is None:
            raise DecodeError("not a Cohere embedding (no floats)")
        if len(vectors) > _MOST_TEXTS:
            raise DecodeError("not a Cohere embedding (more of them than texts were sent)")
        # Version 4 counts; version 3 does so in a header, which no batch job has.
        billed = parsed.meta.billed_units if parsed.meta is not None else None
        tokens = billed.input_tokens if billed is not None else None
        return Vectors(vectors, int(tokens) if tokens is not None else None)

    def padding(self) -> bytes:
        return b'{"texts":["Hi"],"input_type":"search_document"}'


CODEC = CohereEmbedCodec()
