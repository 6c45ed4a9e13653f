"""What every codec speaks: the neutral chat request, the neutral answer, and the errors of one request.

A codec is a pair: `encode(Chat) -> modelInput` and `decode(modelOutput) -> Answer`. Endpoints (`chat.py` …) turn
OpenAI bodies into `Chat` and `Answer`s into OpenAI bodies, so families and endpoints multiply without knowing
each other.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NoReturn, Protocol

import msgspec

from tasks.bedrock.models import Model

InvocationType = Literal["InvokeModel", "Converse"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class RequestError(Exception):
    """One request cannot be sent as it is: OpenAI's `code` and `param`, and what to do about it."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class DecodeError(Exception):
    """A modelOutput does not have the shape that its family documents."""


class Policy:
    """What happens to a field that the target cannot honour: an error, or a counted drop.

    One Policy serves many requests; `dropped` counts the fields left out, by name.
    """

    def __init__(self, unsupported: Literal["error", "drop"], family: str) -> None:
        self.unsupported = unsupported
        self.family = family
        self.dropped: Counter[str] = Counter()

    def refuse(self, field: str, why: str, *, count_as: str | None = None) -> None:
        """Raise RequestError for `field`, or count it as dropped (under `count_as`, a name without indexes)."""
        if self.unsupported == "error":
            raise RequestError(
                f"'{field}' cannot be honoured by {self.family}: {why} "
                'Remove it, or run with unsupported="drop" to leave it out and count it.',
                field,
                "unsupported_parameter",
            )
        self.dropped[count_as or field] += 1

    def refuse_always(self, field: str, why: str) -> NoReturn:
        """Raise RequestError for a field whose loss would change what is asked."""
        raise RequestError(f"'{field}' cannot be honoured by {self.family}: {why}", field, "unsupported_parameter")


class Text(msgspec.Struct, frozen=True, tag=True):
    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """An inline image: its true format by content, and its bytes in base64."""

    format: Literal["png", "jpeg", "gif", "webp"]
    data: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A call the model made. `arguments` is a JSON object, compact, exactly as it will be sent or given back."""

    id: str
    name: str
    arguments: bytes


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    id: str
    parts: list[Text | Image]


Part = Text | Image | ToolCall | ToolResult


class Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    parts: list[Part]


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool | None


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
    rest: dict[str, Any] = {}

    @property
    def uses_tools(self) -> bool:
        return bool(self.tools) or any(
            isinstance(part, ToolCall | ToolResult) for turn in self.turns for part in turn.parts
        )


Number = float | int


class PlainForm(msgspec.Struct, frozen=True):
    """How a family writes the common case, alternating turns of plain text, around the text itself.

    The text is put in as the raw JSON string that it is in the input, undecoded. `parameters` writes max_tokens,
    temperature and top_p after the messages and closes the object, or returns None where they need the general way.
    """

    opening: bytes
    system: tuple[bytes, bytes]
    user: tuple[bytes, bytes]
    assistant: tuple[bytes, bytes]
    parameters: Callable[[int | None, Number | None, Number | None], bytes | None]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer; `prompt` includes cached ones, as OpenAI counts."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


class Answer(msgspec.Struct, gc=False):
    content: str | None
    finish_reason: FinishReason
    usage: Usage | None
    tool_calls: list[ToolCall] = []
    reasoning: str | None = None
    refusal: str | None = None


class Codec(Protocol):
    """One family of models that share a native body."""

    family: str
    invocation: InvocationType
    endpoints: frozenset[str]

    def serves(self, model: Model) -> bool:
        """True if models of this id speak this family's body."""

    def encode(self, chat: Chat, model: Model, policy: Policy) -> dict[str, Any]:
        """The modelInput of a chat. Raises RequestError for what cannot be sent."""

    def plain_form(self, model: Model) -> PlainForm | None:
        """The same for plain text, as a form to fill; None where there is no such short cut."""

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        """The answer in a modelOutput. Raises DecodeError for anything else."""

    def padding(self) -> bytes:
        """The cheapest modelInput that the family accepts."""


def dumps(value: Any) -> bytes:
    """Compact JSON; integers of any size keep their digits."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return _dumps_slowly(value)


def _dumps_slowly(value: Any) -> bytes:
    plain = msgspec.to_builtins(_unraw(value))
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def _unraw(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    if isinstance(value, dict):
        return {k: _unraw(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unraw(v) for v in value]
    return value
