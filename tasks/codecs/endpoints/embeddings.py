"""/v1/embeddings: inputs to texts, and vectors to OpenAI's list of embeddings.

Source: https://platform.openai.com/docs/api-reference/embeddings.
"""

import base64
import sys
from array import array
from typing import Any, Final

import msgspec

from tasks.codecs.base import Context, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.endpoints._base import EmbeddingEndpoint, total_tokens
from tasks.codecs.endpoints._fields import integer
from tasks.openai_format.requests import EMBEDDINGS

#: OpenAI's own limit on the inputs of one request.
MAX_INPUTS: Final = 2048


def parse_embeddings(body: dict[str, Any]) -> tuple[Embeddings, Context]:
    """The texts of an embeddings body. Raises RequestError naming the field that is wrong."""
    given = body.get("input")
    texts: list[Any] = given if isinstance(given, list) else [given]
    if any(isinstance(item, int | list) for item in texts):
        raise RequestError(
            "'input' holds token ids, which only the tokenizer of the OpenAI model can read; give text.",
            "input",
            "unsupported_parameter",
        )
    if not texts or not all(isinstance(item, str) for item in texts):
        raise RequestError("'input' must be a string or a list of strings.", "input", "invalid_type")
    if not all(item.strip() for item in texts):
        raise RequestError("'input' must not hold blank text.", "input")
    if len(texts) > MAX_INPUTS:
        raise RequestError(f"'input' must hold at most {MAX_INPUTS:,} texts.", "input")
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise RequestError("'encoding_format' must be float or base64.", "encoding_format")
    request = Embeddings(texts, integer(body, "dimensions", 1))
    return request, Context(base64=encoding == "base64")


class _Embedding(msgspec.Struct, gc=False):
    object: str
    index: int
    embedding: list[float] | str


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, gc=False):
    object: str
    data: list[_Embedding]
    model: str
    usage: _Usage


def build_embeddings(answers: list[Vectors], *, model: str, context: Context | None) -> EmbeddingList:
    """OpenAI's embeddings response.

    Its type has no word for tokens that nobody counted: there they are 0, and the batch's report says so.
    """
    vectors = [vector for answer in answers for vector in answer.vectors]
    as_text = context is not None and context.base64
    data = [
        _Embedding("embedding", index, _base64(vector) if as_text else vector) for index, vector in enumerate(vectors)
    ]
    total = total_tokens(answers) or 0
    return EmbeddingList("list", data, model, _Usage(total, total))


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients decode it."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


class EmbeddingsOf(EmbeddingEndpoint):
    """Texts, each to become a vector."""

    url = EMBEDDINGS
    mapped = frozenset({"input", "dimensions", "encoding_format"})

    def parse(self, body: dict[str, Any], policy: Policy) -> list[tuple[Embeddings, Context]]:
        request, context = parse_embeddings(body)
        request.rest = self.leftovers(body)
        return [(request, context)]

    def build(
        self,
        outcomes: list[Vectors],
        contexts: list[Context | None],
        *,
        id: str,
        created: int,
        model: str,
    ) -> EmbeddingList:
        return build_embeddings(outcomes, model=model, context=contexts[0])


ENDPOINT = EmbeddingsOf()
