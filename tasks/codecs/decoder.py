"""From modelOutputs to the response body of a request, at any endpoint."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, ChatCodec, Context, DecodeError, EmbeddingCodec, InvocationType, Usage, Vectors
from tasks.codecs.encoder import codec_of
from tasks.codecs.endpoints.chat_completion import build_chat_completion, sum_usage
from tasks.codecs.endpoints.completions import build_completion
from tasks.codecs.endpoints.embeddings import build_embeddings, total_tokens
from tasks.codecs.endpoints.responses import build_response
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS
from tasks.support.surrogates import without_lone_surrogates

_decode_context = msgspec.json.Decoder(Context).decode

#: More than any answer has, and few enough for the sums over all of a request's records to be exact in any reader.
_MOST_TOKENS = 1 << 36

_LARGEST = 3.4028234663852886e38

Outcome = Answer | Vectors


def _no_chat(output: msgspec.Raw) -> Answer:  # noqa: ARG001
    raise DecodeError("an embedding")


class Decoder:
    """Decodes the records of one type of job, for one endpoint."""

    def __init__(self, model: Model, endpoint: str, invocation: InvocationType) -> None:
        self._codec = codec_of(model, invocation)
        self._endpoint = endpoint
        self._chat_codec = cast(ChatCodec, self._codec)
        #: `decode` for a chat's record without a context. Raises DecodeError.
        self.decode_plain: Callable[[msgspec.Raw], Answer] = getattr(self._codec, "decode", _no_chat)

    def decode(self, output: bytes, context: bytes | None) -> Outcome:
        """One record's answer. Raises DecodeError for what does not have the family's shape.

        Lone surrogates become U+FFFD, and counts of tokens that there cannot be are left out.
        """
        try:
            return self._decode(output, context)
        except DecodeError:
            repaired = without_lone_surrogates(output)
            if repaired is None:
                raise
        return self._decode(repaired, context)

    def _decode(self, output: bytes, context: bytes | None) -> Outcome:
        if self._endpoint == EMBEDDINGS:
            vectors = cast(EmbeddingCodec, self._codec).decode_embeddings(output)
            _check_vectors(vectors.vectors)
            if vectors.tokens is not None and not _possible(vectors.tokens):
                vectors.tokens = None
            return vectors
        answer = self._chat_codec.decode(output)
        if answer.usage is not None and not _possible(*msgspec.structs.astuple(answer.usage)):
            answer.usage = None
        if context is not None:
            tool = _decode_context(context).json_tool
            if tool is not None:
                _unwrap(answer, tool)
        return answer


def _possible(*counts: int) -> bool:
    return min(counts) >= 0 and max(counts) <= _MOST_TOKENS


def _check_vectors(vectors: list[list[float]]) -> None:
    """Raises DecodeError for what no client can take: the table and the base64 form are of float32."""
    if not vectors or not all(vectors):
        raise DecodeError("an embedding without numbers")
    if max(max(map(abs, vector)) for vector in vectors) > _LARGEST:
        raise DecodeError("an embedding of numbers that are no float32")


def _unwrap(answer: Answer, tool: str) -> None:
    """Turn the call of the forced tool back into the content that it stands for."""
    found = [call for call in answer.tool_calls if call.name == tool]
    if found:
        answer.content, answer.tool_calls = found[0].arguments.decode(), []
        if answer.finish_reason == "tool_calls":
            answer.finish_reason = "stop"


def build(
    endpoint: str, outcomes: list[Outcome], contexts: list[bytes | None], *, id: str, created: int, model: str
) -> Any:
    """The response body of one request, of all its records' outcomes in order."""
    if endpoint == EMBEDDINGS:
        first = _decode_context(contexts[0]) if contexts[0] is not None else None
        return build_embeddings(cast(list[Vectors], outcomes), model=model, context=first)
    answers = cast(list[Answer], outcomes)
    decoded = [_decode_context(context) if context is not None else None for context in contexts]
    builder: Any = {CHAT: build_chat_completion, COMPLETIONS: build_completion}.get(endpoint, build_response)
    return builder(answers, id=id, created=created, model=model, contexts=decoded)


def usage_of(outcomes: list[Outcome]) -> Usage | None:
    """The tokens of a request; None where the family reports none."""
    if isinstance(outcomes[0], Vectors):
        total = total_tokens(cast(list[Vectors], outcomes))
        return None if total is None else Usage(total, 0)
    return sum_usage(cast(list[Answer], outcomes))
