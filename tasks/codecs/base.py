"""What every codec speaks: the neutral requests and answers, and the errors of one request.

A codec is a pair: `encode(Chat) -> modelInput` and `decode(modelOutput) -> Answer` (`Embeddings` and `Vectors` for
embedding models). Endpoints (`chat.py`, `responses.py` …) turn OpenAI bodies into these and back, so families and
endpoints multiply without knowing each other.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, NoReturn, Protocol, runtime_checkable

import msgspec

from tasks.bedrock.models import Model
from tasks.errors import PortableError

InvocationType = Literal["InvokeModel", "Converse"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


#: OpenAI's reasoning efforts, the least first.
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_MESSAGE_CHARACTERS: Final = 600
_PARAM_CHARACTERS: Final = 200


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class RequestError(PortableError):
    """One request cannot be sent as it is: OpenAI's `code` and `param`, and what to do about it."""

    #: The HTTP status that goes with it.
    status = 400

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        # They may name what the request calls its fields, and are kept in the index.
        self.message = _cut(message, _MESSAGE_CHARACTERS)
        self.param = param and _cut(param, _PARAM_CHARACTERS)
        self.code = code


class ConversionFault(RequestError):
    """Converting a request raised what it must not. The fault is this program's; `__cause__` tells where it is."""

    status = 500

    def __init__(self) -> None:
        super().__init__(
            "The request was not sent: converting it failed by a fault of this program, not of the request. "
            "The run's log has a traceback; please report it.",
            None,
            "conversion_failed",
        )


class DecodeError(Exception):
    """A modelOutput does not have the shape that its family documents."""


#: What data can raise that nobody thought of; not what the machine, S3 or our own account can.
UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Policy:
    """What happens to a field of one request that the target cannot honour: an error, or a counted drop."""

    def __init__(
        self, unsupported: Literal["error", "drop"], family: str, fetch: Callable[[str], bytes] | None = None
    ) -> None:
        self.unsupported = unsupported
        #: The family that messages name: whose body is being written.
        self.family = family
        #: Gets the bytes of an s3:// or http(s) reference; raises RequestError where it may not or cannot.
        self.fetch = fetch
        #: The fields left out, by name.
        self.dropped: dict[str, int] = {}

    def refuse(self, field: str, why: str, *, count_as: str | None = None) -> None:
        """Raise RequestError for `field`, or count it as dropped (under `count_as`, a name without indexes)."""
        if self.unsupported == "error":
            raise RequestError(
                f"'{_cut(field, _PARAM_CHARACTERS)}' cannot be honoured by {self.family}: {why} "
                'Remove it, or run with unsupported="drop" to leave it out and count it.',
                field,
                "unsupported_parameter",
            )
        name = count_as or field
        self.dropped[name] = self.dropped.get(name, 0) + 1

    def note(self, name: str) -> None:
        """Count what reaches the model in another way than was asked: kept in words, or not enforced."""
        self.dropped[name] = self.dropped.get(name, 0) + 1

    def refuse_always(self, field: str, why: str) -> NoReturn:
        """Raise RequestError for a field whose loss would change what is asked."""
        raise RequestError(f"'{field}' cannot be honoured by {self.family}: {why}", field, "unsupported_parameter")


class Text(msgspec.Struct, frozen=True, tag=True):
    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """An inline image: its true format by content, and its bytes in base64."""

    format: Literal["png", "jpeg", "gif", "webp"]
    data: str


class Document(msgspec.Struct, frozen=True, tag=True):
    """An inline PDF or text document, in base64."""

    format: Literal["pdf", "txt"]
    name: str
    data: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A call the model made. `arguments` is a JSON object, compact, exactly as it will be sent or given back."""

    id: str
    name: str
    arguments: bytes


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    id: str
    parts: list[Text | Image | Document]


class Thinking(msgspec.Struct, frozen=True, tag=True):
    """What a model thought, with what proves that it was it; or, `redacted`, in a form that only it can read."""

    text: str
    signature: str | None = None
    redacted: str | None = None


Part = Text | Image | Document | ToolCall | ToolResult | Thinking


class Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    parts: list[Part]


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool | None

    # By identity, for what is made of it once: lines that repeat a tool share it.
    __hash__ = object.__hash__


class JsonFormat(msgspec.Struct, frozen=True):
    """`response_format`: JSON of a schema, or any JSON object where `schema` is None."""

    name: str
    schema: dict[str, Any] | None
    description: str | None = None
    strict: bool | None = None

    __hash__ = object.__hash__


class Chat(msgspec.Struct):
    """One chat request, endpoint and family left out.

    Turns alternate, start with the user's and hold no blank text. `rest` holds the fields that only some families
    honour, by their OpenAI names; a codec takes what it maps, and what is left over is refused.
    """

    system: list[str]
    turns: list[Turn]
    tools: list[Tool] = []
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | int | None = None
    top_p: float | int | None = None
    stop: list[str] = []
    json_format: JsonFormat | None = None
    reasoning_effort: str | None = None
    #: How many answers are wanted; each is a record of its own.
    n: int = 1
    rest: dict[str, Any] = {}

    @property
    def uses_tools(self) -> bool:
        if self.tools:
            return True
        for turn in self.turns:
            for part in turn.parts:
                if type(part) is ToolCall or type(part) is ToolResult:
                    return True
        return False

    def leave_out_thinking(self, policy: Policy) -> None:
        """Leave earlier thoughts out, and count it: a model that is not to think does not know them again."""
        left_out = False
        for turn in self.turns:
            for part in turn.parts:
                if type(part) is Thinking:
                    turn.parts = [part for part in turn.parts if type(part) is not Thinking]
                    left_out = True
                    break
        if left_out:
            policy.note("messages[].thinking_blocks")


Number = float | int


class PlainForm(msgspec.Struct, frozen=True):
    """How a family writes the common case, alternating turns of plain text, around the text itself.

    The text is put in as the raw JSON string that it is in the input, undecoded. `parameters` writes max_tokens,
    temperature and top_p after the messages and closes the object, or returns None where they need the general way.
    """

    opening: bytes
    #: None where the system text is a message like the others.
    system: tuple[bytes, bytes] | None
    user: tuple[bytes, bytes]
    assistant: tuple[bytes, bytes]
    parameters: Callable[[int | None, Number | None, Number | None], bytes | None]


class Context(msgspec.Struct, omit_defaults=True):
    """What decoding an answer needs to know of its request; kept in the index."""

    #: The forced tool whose arguments are the content that response_format asked for.
    json_tool: str | None = None
    #: The argument of that tool which holds the content; None where all of them are it.
    json_key: str | None = None
    #: Text that /v1/completions echoes before the answer.
    echo: str | None = None
    #: Names of tools that the conversation had to be sent without: the one that was sent, and the one that was given.
    tool_names: dict[str, str] | None = None
    #: Tools whose arguments were put into one of this name.
    wrapped: dict[str, str] | None = None
    #: Embeddings as base64 of little-endian float32.
    base64: bool = False
    #: Legacy `functions`: a tool call is given back as `function_call`.
    function_call: bool = False
    #: Fields that a response repeats from its request.
    repeat: dict[str, Any] | None = None


class Encoded(msgspec.Struct):
    """What a codec makes of a chat."""

    body: dict[str, Any]
    json_tool: str | None = None
    json_key: str | None = None
    wrapped: dict[str, str] | None = None


class Embeddings(msgspec.Struct):
    """An embeddings request: texts, and what is wanted of their vectors."""

    texts: list[str]
    dimensions: int | None = None
    rest: dict[str, Any] = {}


class Vectors(msgspec.Struct):
    """The vectors of one record, in the order of its texts; `tokens` is None where the family does not count."""

    vectors: list[list[float]]
    tokens: int | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer; `prompt` includes cached ones, as OpenAI counts."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0
    #: Prompt tokens that were written to a cache.
    written: int = 0


class Answer(msgspec.Struct, gc=False):
    content: str | None
    finish_reason: FinishReason
    usage: Usage | None
    tool_calls: list[ToolCall] = []
    reasoning: str | None = None
    refusal: str | None = None
    logprobs: Any = None
    #: The thoughts as the model wants them back in the next turn, where it signs them.
    thinking: list[Thinking] = []
    #: The model's own word for why it ended, where `finish_reason` says less.
    native_reason: str | None = None


class Codec(Protocol):
    """One family of models that share a native body; a family module's CODEC.

    Beside this, a codec of chat models is a ChatCodec, one of embedding models an EmbeddingCodec.
    """

    family: str
    endpoints: frozenset[str]

    def serves(self, model: Model) -> bool:
        """True if models of this id speak this family's body."""

    def padding(self) -> bytes:
        """The cheapest modelInput that the family accepts."""


@runtime_checkable
class EmbeddingCodec(Codec, Protocol):
    def encode_embeddings(self, request: Embeddings, model: Model, policy: Policy) -> list[dict[str, Any]]:
        """The modelInputs of a request, its texts in order. Raises RequestError for what cannot be sent."""

    def decode_embeddings(self, output: bytes) -> Vectors:
        """The vectors in a modelOutput. Raises DecodeError for anything else."""


@runtime_checkable
class ChatCodec(Codec, Protocol):
    #: The job type for chats that need no other: what carries usage, and what keeps most fields.
    prefers: InvocationType
    #: Whether tools go into the native body; a Converse job takes none.
    native_tools: bool
    #: What a family's models write into their text that is none of it is taken out, in whichever type of job they
    #: wrote it; None where there is nothing of the kind.
    tidy: Callable[[Answer], None] | None
    #: Whether `encode` sees to the thoughts of earlier turns; else they are left out beforehand, and counted.
    replays_thinking: bool

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        """The modelInput of a chat. Raises RequestError for what cannot be sent."""

    def plain_form(self, model: Model) -> PlainForm | None:
        """The same for plain text, as a form to fill; None where there is no such short cut."""

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        """The answer in a modelOutput. Raises DecodeError for anything else."""


def dumps(value: Any) -> bytes:
    """Compact JSON; integers of any size keep their digits."""
    return msgspec.json.encode(value)
