"""About how many tokens a request has, from its text alone: no model's tokenizer is public for all families."""

import math
from typing import Any, Final

import msgspec

from tasks.codecs.endpoints._fields import MAX_CHOICES

#: English text has about four bytes a token; other scripts have more bytes and about as many tokens.
BYTES_PER_TOKEN: Final = 4
#: An image within a request, whatever its bytes: about what a picture of 1 megapixel counts as.
IMAGE_TOKENS: Final = 1600
#: What a request without a limit of its own may answer.
DEFAULT_OUTPUT_TOKENS: Final = 4096
#: No model answers with more: a request that asks for more, or for less than one, is refused.
MOST_OUTPUT_TOKENS: Final = 1 << 31


class TokenCount(msgspec.Struct, frozen=True):
    """Of one request: its answers (`choices`), the tokens each of them reads, and the most they may write."""

    choices: int
    input: int
    max_output: int


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


def count_tokens(line: bytes) -> TokenCount | None:
    """The tokens of a request; None for a line that is not one, or that is not sent for what it asks."""
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
    limit = body.max_completion_tokens or body.max_tokens or body.max_output_tokens or DEFAULT_OUTPUT_TOKENS
    if choices > MAX_CHOICES or not 1 <= limit <= MOST_OUTPUT_TOKENS:
        return None
    output = 0 if parsed.url.endswith("/embeddings") else choices * limit
    return TokenCount(choices, choices * math.ceil(read), output)


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
