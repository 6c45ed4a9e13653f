"""From an input line to modelInputs."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs import codec_for
from tasks.codecs.base import ConversionFault, InvocationType, Policy, RequestError
from tasks.codecs.dropped import DroppedFields
from tasks.codecs.endpoints import endpoint_at
from tasks.errors import PipelineError
from tasks.openai_format.faults import MAX_DEPTH, NOT_JSON, fault_of, nests_too_deeply

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
    #: The fields that were left out, with how often.
    dropped: dict[str, int]


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


class Encoder:
    """Encodes the lines of one batch. Not thread-safe: it counts what it drops."""

    def __init__(
        self,
        model: Model,
        endpoint: str,
        unsupported: Literal["error", "drop"],
        invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.model = model
        self.endpoint = endpoint_at(endpoint)
        self._writer = self.endpoint.writer(model, invocation)
        self.dropped = DroppedFields()
        self._unsupported, self._fetch = unsupported, fetch
        #: Whose body it is as long as nobody knows which type of job a request needs.
        self._family = codec_for(model).family
        #: The type of job that plain requests go to.
        self.plain_invocation = self._writer.plain_invocation

    def encode(self, line: bytes) -> EncodedRequest:
        """The modelInputs of a line that passed validation. Raises RequestError when it cannot be sent."""
        return self.encode_general(line)

    def encode_general(self, line: bytes) -> EncodedRequest:
        """The same for every line; `tasks.fast.line` has a short cut for some, which comes to the same."""
        encoded = self.draft(line)
        if encoded.dropped:
            self.dropped.add(encoded.dropped)
        return encoded

    def draft(self, line: bytes) -> EncodedRequest:
        """The same without counting what is dropped.

        Whatever is wrong with a line, or with this program, is a RequestError of that line alone. What would befall
        any other line as well passes through: a PipelineError of fetching, and a lack of memory.
        """
        try:
            return self._draft(_read_line(line))
        except (RequestError, PipelineError, MemoryError):
            raise
        except RecursionError:
            raise _too_deep() from None
        except Exception as error:
            raise ConversionFault from error

    def _draft(self, line: _Line) -> EncodedRequest:
        policy = Policy(self._unsupported, self._family, self._fetch)
        invocation, records = self._writer.write(line.body, policy)
        inputs, contexts = [body for body, _ in records], [context for _, context in records]
        return EncodedRequest(line.custom_id, invocation, inputs, contexts, policy.dropped)
