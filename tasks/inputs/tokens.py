"""About how many tokens a request has, from its text alone: no model's tokenizer is public for all families."""

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.endpoints._fields import MAX_CHOICES

#: English text has about four bytes a token; other scripts have more bytes and about as many tokens.
BYTES_PER_TOKEN: Final = 4
#: An image within a request, whatever its bytes: about what a picture of 1 megapixel counts as.
IMAGE_TOKENS: Final = 1600
#: What a request without a limit of its own may answer, where nothing is known of the model.
DEFAULT_OUTPUT_TOKENS: Final = 4096
#: OpenAI's own default on /v1/completions.
_COMPLETION_TOKENS: Final = 16
#: Of what is counted from the text alone, so much is there for sure.
_SURE: Final = 0.67
#: No model answers with more: a request that asks for more, or for less than one, is refused.
MOST_OUTPUT_TOKENS: Final = 1 << 31


class TokenCount(msgspec.Struct, frozen=True):
    """Of one request: its answers (`choices`), the tokens each of them reads, and the most they may write."""

    choices: int
    input: int
    max_output: int
    #: Of a request to embed: the tokens of its longest text.
    longest: int = 0

    def exceeds(self, window: int | None) -> bool:
        """Whether what is read and written for one answer is, for sure, more than a model holds."""
        if window is None:
            return False
        if self.longest:
            return _SURE * self.longest > window
        return _SURE * self.input / self.choices + self.max_output / self.choices > window


class _Body(msgspec.Struct):
    messages: Any = None
    instructions: Any = None
    input: Any = None
    prompt: Any = None
    tools: Any = None
    response_format: Any = None
    text: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None


class _Line(msgspec.Struct):
    url: str = ""
    body: _Body = msgspec.field(default_factory=_Body)


_decode = msgspec.json.Decoder(_Line).decode


class _Config(msgspec.Struct, frozen=True):
    maxTokens: int | None = None  # noqa: N815 (Bedrock's name)
    maxTokenCount: int | None = None  # noqa: N815 (Bedrock's name)


class _ModelInput(msgspec.Struct):
    """Where the families' bodies say how long an answer may be."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_gen_len: int | None = None
    inferenceConfig: _Config = _Config()  # noqa: N815 (Bedrock's name)
    textGenerationConfig: _Config = _Config()  # noqa: N815 (Bedrock's name)


_decode_input = msgspec.json.Decoder(_ModelInput).decode


def most_written(facts: Capabilities, model_input: bytes | None = None) -> int:
    """The most tokens of an answer of which the request says nothing: what its record says, else the model's own."""
    if model_input is not None:
        try:
            found = _decode_input(model_input)
        except (msgspec.DecodeError, RecursionError):
            found = _ModelInput()
        limit = found.max_tokens or found.max_completion_tokens or found.max_gen_len
        limit = limit or found.inferenceConfig.maxTokens or found.textGenerationConfig.maxTokenCount
        if limit:
            return limit
    return facts.default_max_tokens or facts.max_tokens or DEFAULT_OUTPUT_TOKENS


def count_tokens(line: bytes, default: int | Callable[[], int] = DEFAULT_OUTPUT_TOKENS) -> TokenCount | None:
    """The tokens of a request; None for a line that is not one, or that is not sent for what it asks.

    `default` is what an answer may have of which the request does not say how long it may be.
    """
    try:
        parsed = _decode(line)
        body = parsed.body
        parts = (
            body.messages,
            body.instructions,
            body.input,
            body.prompt,
            body.tools,
            body.response_format,
            body.text,
        )
        read = sum(map(tokens_of, parts))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    choices = max(1, body.n or 1)
    limit = body.max_completion_tokens or body.max_tokens or body.max_output_tokens
    if limit is None and parsed.url.endswith("/completions") and not parsed.url.endswith("/chat/completions"):
        limit = _COMPLETION_TOKENS
    elif limit is None:
        limit = default if isinstance(default, int) else default()
    if choices > MAX_CHOICES or not 1 <= limit <= MOST_OUTPUT_TOKENS:
        return None
    if parsed.url.endswith("/embeddings"):
        texts = [
            each for each in (body.input if isinstance(body.input, list) else [body.input]) if isinstance(each, str)
        ]
        return TokenCount(choices, choices * math.ceil(read), 0, math.ceil(max(map(tokens_of, texts), default=0)))
    return TokenCount(choices, choices * math.ceil(read), choices * limit)


def tokens_of(value: Any) -> float:
    """About the tokens of a part of a request: of its texts, and of its pictures."""
    if isinstance(value, str):
        return IMAGE_TOKENS if value.startswith("data:") else len(value.encode("utf-8", "replace")) / BYTES_PER_TOKEN
    if isinstance(value, dict):
        return sum(map(tokens_of, value.values()))
    if isinstance(value, list):
        return sum(map(tokens_of, value))
    # Token ids of an embedding, and other numbers.
    return 1.0 if isinstance(value, int | float) else 0.0
