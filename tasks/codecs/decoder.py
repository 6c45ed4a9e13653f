"""From modelOutputs to the response body of a request, at any endpoint."""

from collections.abc import Callable
from typing import Any

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs.base import Answer, Context, DecodeError, InvocationType, Vectors
from tasks.codecs.endpoints import endpoint_at
from tasks.support.surrogates import without_lone_surrogates

_decode_context = msgspec.json.Decoder(Context).decode

Outcome = Answer | Vectors


class Decoder:
    """Decodes the records of one type of job, for one endpoint."""

    def __init__(self, model: Model, endpoint: str, invocation: InvocationType) -> None:
        at = endpoint_at(endpoint)
        self._read: Callable[[bytes, Context | None], Outcome] = at.reader(model, invocation)
        #: The same for a record without a context, where plain answers have a frame. Raises DecodeError.
        self.decode_plain = at.plain_reader(model, invocation)

    def decode(self, output: bytes, context: bytes | None) -> Outcome:
        """One record's answer. Raises DecodeError for what does not have the family's shape.

        Lone surrogates become U+FFFD, and counts of tokens that there cannot be are left out.
        """
        known = read_context(context)
        try:
            return self._read(output, known)
        except DecodeError:
            repaired = without_lone_surrogates(output)
            if repaired is None:
                raise
        return self._read(repaired, known)


def read_context(context: bytes | None) -> Context | None:
    """What the index keeps of a request for decoding."""
    return None if context is None else _decode_context(context)


def build(
    endpoint: str, outcomes: list[Outcome], contexts: list[bytes | None], *, id: str, created: int, model: str
) -> Any:
    """The response body of one request, of all its records' outcomes in order."""
    known = [read_context(context) for context in contexts]
    return endpoint_at(endpoint).build(outcomes, known, id=id, created=created, model=model)
