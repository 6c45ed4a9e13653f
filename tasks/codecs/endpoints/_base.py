"""What an endpoint is: how its bodies are read and written, and what else is to be known of it.

There are two kinds, by what their requests become: a `Chat`, which a ChatCodec takes, or `Embeddings`. All that
differs between the kinds stands here, and all that differs within one in the endpoint's own module.
"""

# ruff: noqa: ARG001 (one kind needs to know what the other does not)

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from tasks.bedrock.capabilities import Capabilities, capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs import answer_decoder, chat_codec, embedding_codec
from tasks.codecs.base import (
    Answer,
    Chat,
    ChatCodec,
    Context,
    DecodeError,
    Embeddings,
    InvocationType,
    Policy,
    RequestError,
    ToolCall,
    Usage,
    Vectors,
    dumps,
)
from tasks.codecs.endpoints._fields import is_default
from tasks.codecs.endpoints._keys import Keys, Kinds, check_keys
from tasks.codecs.endpoints._words import Words, counted_in, in_words
from tasks.openai_format.results import Frame

AskedT = TypeVar("AskedT", Chat, Embeddings)
OutcomeT = TypeVar("OutcomeT", Answer, Vectors)

#: More than any answer has, and few enough for the sums over all of a request's records to be exact in any reader.
_MOST_TOKENS = 1 << 36

_LARGEST = 3.4028234663852886e38

#: Fields that change nothing about the answer of a batch request, whatever their value.
_WITHOUT_EFFECT = frozenset(
    {
        "model",
        "user",
        "metadata",
        "store",
        "stream",
        "stream_options",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    }
)


class Endpoint(ABC, Generic[AskedT, OutcomeT]):
    """One of OpenAI's endpoints; an endpoint module's ENDPOINT."""

    url: ClassVar[str]
    #: Fields that `parse` maps, or refuses itself where they ask for what there is not.
    mapped: ClassVar[frozenset[str]]
    #: Fields that change nothing about the answer, whatever their value.
    without_effect: ClassVar[frozenset[str]] = _WITHOUT_EFFECT
    #: The keys of the objects within a body, by the field they stand in.
    keys: ClassVar[Mapping[str, Keys | Kinds]] = {}
    #: Whether `tasks.fast` may take its plain lines, which are messages of text.
    plain_lines: ClassVar[bool] = False

    def read(self, body: dict[str, Any], policy: Policy) -> list[tuple[AskedT, Context]]:
        """The neutral form of a body, of which nothing vanishes. Raises RequestError naming the field that is wrong."""
        asked = self.parse(body, policy)
        for field, keys in self.keys.items():
            if field in body:
                check_keys(body[field], keys, field, policy)
        return asked

    @abstractmethod
    def parse(self, body: dict[str, Any], policy: Policy) -> list[tuple[AskedT, Context]]:
        """The neutral form of a body. Raises RequestError naming the field that is wrong."""

    def words(self, body: dict[str, Any]) -> Words:
        """What a body calls the fields that families name in the words of chat completions; nothing for a chat."""
        return ()

    def leftovers(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields that ask for something and that the endpoint has not mapped, for the family to take or refuse."""
        return {
            field: value
            for field, value in body.items()
            if value is not None
            and field not in self.mapped
            and field not in self.without_effect
            and not is_default(field, value)
        }

    @abstractmethod
    def build(
        self, outcomes: list[OutcomeT], contexts: list[Context | None], *, id: str, created: int, model: str
    ) -> Any:
        """The response body of one request, of all its records' outcomes in order, to be encoded as JSON."""

    @abstractmethod
    def writer(self, model: Model, wanted: Literal["auto", "InvokeModel", "Converse"]) -> "Writer":
        """What turns bodies into modelInputs, for a wanted type of job."""

    @abstractmethod
    def reader(self, model: Model, invocation: InvocationType) -> Callable[[bytes, Context | None], OutcomeT]:
        """What reads a modelOutput of a type of job. It raises DecodeError for what is none of the family's."""

    @abstractmethod
    def usage(self, outcomes: list[OutcomeT]) -> Usage | None:
        """The tokens of a request; None where the family reports none."""

    def plain_reader(
        self,
        model: Model,
        invocation: InvocationType,
    ) -> Callable[[msgspec.Raw], Answer] | None:
        """What reads a modelOutput without a context, for answers that may fit the frame; None where there is none."""
        return None

    def plain_frame(self, key: bytes, created: int, model: str) -> Frame:
        """What `build` makes of a plain answer, with gaps; only of an endpoint with a plain reader."""
        raise NotImplementedError(self.url)

    def with_system(self, body: dict[str, msgspec.Raw], system: str) -> dict[str, msgspec.Raw] | None:
        """The body with another system prompt; None where the endpoint has none."""
        return None


class ChatEndpoint(Endpoint[Chat, Answer]):
    """An endpoint whose requests are chats, and whose answers are texts and tool calls."""

    def writer(self, model: Model, wanted: Literal["auto", "InvokeModel", "Converse"]) -> "Writer":
        return _ChatWriter(self, model, wanted)

    def reader(self, model: Model, invocation: InvocationType) -> Callable[[bytes, Context | None], Answer]:
        decode = answer_decoder(model, invocation)

        def read(output: bytes, context: Context | None) -> Answer:
            answer = decode(output)
            usage = answer.usage
            if usage is not None and not (
                0 <= usage.prompt <= _MOST_TOKENS
                and 0 <= usage.completion <= _MOST_TOKENS
                and 0 <= usage.cached <= _MOST_TOKENS
                and 0 <= usage.reasoning <= _MOST_TOKENS
                and 0 <= usage.written <= _MOST_TOKENS
            ):
                answer.usage = None
            if context is not None and context.json_tool is not None:
                _unwrap(answer, context.json_tool, context.json_key)
            if context is not None and context.wrapped is not None:
                _take_arguments_out(answer, context.wrapped)
            if context is not None and context.tool_names is not None:
                _give_names_back(answer, context.tool_names)
            if answer.tool_calls and answer.finish_reason == "stop":
                answer.finish_reason = "tool_calls"
            elif not answer.tool_calls and answer.finish_reason == "tool_calls":
                # Clients that are told of calls look for them.
                answer.finish_reason = "stop"
            return answer

        return read

    def usage(self, outcomes: list[Answer]) -> Usage | None:
        return sum_usage(outcomes)


class EmbeddingEndpoint(Endpoint[Embeddings, Vectors]):
    """An endpoint whose requests are texts, and whose answers are vectors."""

    def writer(self, model: Model, wanted: Literal["auto", "InvokeModel", "Converse"]) -> "Writer":
        return _EmbeddingWriter(self, model)

    def reader(
        self,
        model: Model,
        invocation: InvocationType,
    ) -> Callable[[bytes, Context | None], Vectors]:
        decode = embedding_codec(model).decode_embeddings

        def read(output: bytes, context: Context | None) -> Vectors:
            found = decode(output)
            _check_vectors(found.vectors)
            if found.tokens is not None and not 0 <= found.tokens <= _MOST_TOKENS:
                found.tokens = None
            return found

        return read

    def usage(self, outcomes: list[Vectors]) -> Usage | None:
        total = total_tokens(outcomes)
        return None if total is None else Usage(total, 0)


class Writer(Protocol):
    """Turns the bodies of an endpoint into the modelInputs of one model."""

    #: The type of job that plain requests go to.
    plain_invocation: InvocationType

    def write(self, body: dict[str, Any], policy: Policy) -> "Written":
        """The modelInputs of a body. Raises RequestError for what cannot be sent."""


class Written(NamedTuple):
    """What a body becomes: for one type of job, modelInputs, each with the Context of its answer, encoded."""

    invocation: InvocationType
    records: list[tuple[bytes, bytes | None]]


class _ChatWriter:
    def __init__(
        self, endpoint: ChatEndpoint, model: Model, wanted: Literal["auto", "InvokeModel", "Converse"]
    ) -> None:
        native = chat_codec(model)
        self._endpoint, self._model = endpoint, model
        self._codecs: dict[InvocationType, ChatCodec] = {
            "InvokeModel": native,
            "Converse": chat_codec(model, "Converse"),
        }
        facts = capabilities_of(model)
        # Tools go into native bodies only, so do formats that are asked for by a tool; Converse's answers carry usage
        # that some native ones lack.
        self.plain_invocation = _job(native.prefers, wanted, facts)
        self._for_tools = _job("InvokeModel" if native.native_tools else native.prefers, wanted, facts)
        self._structured = facts.structured_output

    def write(self, body: dict[str, Any], policy: Policy) -> Written:
        words = self._endpoint.words(body)
        if not words:
            return self._write(body, policy)
        try:
            written = self._write(body, policy)
        except RequestError as error:
            raise in_words(error, words) from error.__cause__
        policy.dropped = counted_in(policy.dropped, words)
        return written

    def _write(self, body: dict[str, Any], policy: Policy) -> Written:
        asked = self._endpoint.read(body, policy)
        tools = any(chat.uses_tools or (chat.json_format and not self._structured) for chat, _ in asked)
        invocation = self._for_tools if tools else self.plain_invocation
        codec = self._codecs[invocation]
        policy.family = codec.family
        records: list[tuple[bytes, bytes | None]] = []
        for chat, context in asked:
            if not codec.replays_thinking:
                chat.leave_out_thinking(policy)
            encoded = codec.encode(chat, self._model, policy)
            context.json_tool, context.json_key = encoded.json_tool, encoded.json_key
            context.wrapped = encoded.wrapped
            known = encode_context(context)
            seed = encoded.body.get("seed")
            if chat.n > 1 and isinstance(seed, int):
                # With one seed, the same answer would come n times.
                records += [(dumps({**encoded.body, "seed": seed + number}), known) for number in range(chat.n)]
            else:
                records += [(dumps(encoded.body), known)] * chat.n
        return Written(invocation, records)


def _job(
    preferred: InvocationType, wanted: Literal["auto", "InvokeModel", "Converse"], facts: Capabilities
) -> InvocationType:
    """The type of job: the wanted one, else the preferred one if the model takes it, else the other."""
    if wanted != "auto":
        return wanted
    return preferred if preferred in facts.jobs else next(iter(facts.jobs))


class _EmbeddingWriter:
    plain_invocation: InvocationType = "InvokeModel"

    def __init__(self, endpoint: EmbeddingEndpoint, model: Model) -> None:
        self._endpoint, self._model = endpoint, model

    def write(self, body: dict[str, Any], policy: Policy) -> Written:
        codec = embedding_codec(self._model)
        records = [
            (dumps(model_input), encode_context(context))
            for asked, context in self._endpoint.read(body, policy)
            for model_input in codec.encode_embeddings(asked, self._model, policy)
        ]
        return Written("InvokeModel", records)


_NOTHING = msgspec.json.encode(Context())


def encode_context(context: Context) -> bytes | None:
    """For the index; None where there is nothing to know."""
    text = msgspec.json.encode(context)
    return None if text == _NOTHING else text


def _unwrap(answer: Answer, tool: str, key: str | None) -> None:
    """Turn the call of the forced tool back into the content that it stands for: its arguments, or one of them."""
    found = [call for call in answer.tool_calls if call.name == tool]
    if found:
        answer.content, answer.tool_calls = _content(found[0].arguments, key), []
        if answer.finish_reason == "tool_calls":
            answer.finish_reason = "stop"


def _give_names_back(answer: Answer, names: dict[str, str]) -> None:
    """Call tools what the request called them."""
    answer.tool_calls = [
        ToolCall(call.id, names.get(call.name, call.name), call.arguments) for call in answer.tool_calls
    ]


def _take_arguments_out(answer: Answer, wrapped: dict[str, str]) -> None:
    """Give the arguments of tools whose own were put into one. Where the model did not keep to it, all of them."""
    answer.tool_calls = [
        ToolCall(call.id, call.name, _inner(call.arguments, wrapped[call.name])) if call.name in wrapped else call
        for call in answer.tool_calls
    ]


def _inner(arguments: bytes, key: str) -> bytes:
    try:
        inner = bytes(_decode_arguments(arguments)[key])
    except (msgspec.DecodeError, KeyError, RecursionError):
        return arguments
    return inner if inner.startswith(b"{") else arguments


_decode_arguments: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _content(arguments: bytes, key: str | None) -> str:
    """The content in a forced tool's arguments. Where the model did not keep to the key, all of them are it."""
    if key is None:
        return arguments.decode()
    try:
        fields = _decode_arguments(arguments)
        written = bytes(fields[key])
        # Some write the JSON as a text.
        return msgspec.json.decode(written, type=str) if written.startswith(b'"{') else written.decode()
    except (msgspec.DecodeError, KeyError, RecursionError):
        return arguments.decode()


def sum_usage(answers: list[Answer]) -> Usage | None:
    """The usage of all answers together; None unless each has one."""
    if len(answers) == 1:
        return answers[0].usage
    usages = [answer.usage for answer in answers if answer.usage is not None]
    if len(usages) < len(answers):
        return None
    return Usage(
        sum(usage.prompt for usage in usages),
        sum(usage.completion for usage in usages),
        sum(usage.cached for usage in usages),
        sum(usage.reasoning for usage in usages),
        sum(usage.written for usage in usages),
    )


def _check_vectors(vectors: list[list[float]]) -> None:
    """Raises DecodeError for what no client can take: the table and the base64 form are of float32."""
    if not vectors or not all(vectors):
        raise DecodeError("an embedding without numbers")
    if max(max(map(abs, vector)) for vector in vectors) > _LARGEST:
        raise DecodeError("an embedding of numbers that are no float32")


def total_tokens(found: list[Vectors]) -> int | None:
    """The tokens of all records together; None unless each was counted."""
    counts = [each.tokens for each in found if each.tokens is not None]
    return sum(counts) if len(counts) == len(found) else None
