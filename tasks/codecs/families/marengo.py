"""TwelveLabs Marengo embeddings, for text. One text a record.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-marengo.html (2.7) and …-marengo-3.html,
as litellm 1.110.2 writes their bodies.
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


class _Output(msgspec.Struct, gc=False):
    data: list[_Embedding] | _Embedding | None = None
    embedding: list[float] | None = None


_decode = msgspec.json.Decoder(_Output).decode


class MarengoCodec:
    family = "marengo"
    endpoints = frozenset({EMBEDDINGS})

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        facts = capabilities_of(model)
        check_dimensions(request, facts.dimensions, policy)
        truncate = request.rest.pop("textTruncate", None)
        if truncate is not None and truncate not in facts.truncation:
            raise RequestError(
                f"'textTruncate' must be one of {', '.join(facts.truncation)}."
                if facts.truncation
                else "'textTruncate' is not taken by this model.",
                "textTruncate",
            )
        for field in request.rest:
            policy.refuse(field, "there is no equivalent.")
        if "marengo-embed-2" not in model.base_id:
            return [{"inputType": "text", "text": {"inputText": text}} for text in request.texts]
        # Left alone, it cuts long texts in silence.
        shape = {"textTruncate": truncate or "none"}
        return [{"inputType": "text", "inputText": text, **shape} for text in request.texts]

    def decode_embeddings(self, output: bytes) -> Vectors:
        parsed = decode_as(_decode, output, "a Marengo embedding")
        found = parsed.data[0] if isinstance(parsed.data, list) and parsed.data else parsed.data
        vector = found.embedding if isinstance(found, _Embedding) else parsed.embedding
        if vector is None:
            raise DecodeError("not a Marengo embedding (no vector)")
        # Its body counts no tokens.
        return Vectors([vector], None)

    def padding(self) -> bytes:
        return b'{"inputType":"text","text":{"inputText":"Hi"}}'


CODEC = MarengoCodec()
