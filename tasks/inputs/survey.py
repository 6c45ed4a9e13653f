"""What one model would make of an input, line by line and without sending anything: refused, dropped, mapped, tokens.

The conversion is the pipeline's own: what is said here is what a run does.
"""

import base64
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs import codec_for
from tasks.codecs.base import Context, RequestError
from tasks.codecs.dropped import DroppedFields
from tasks.codecs.encoder import EncodedRequest, Encoder
from tasks.fast.line import encoder_for
from tasks.inputs.tokens import BYTES_PER_TOKEN, count_tokens, most_written
from tasks.openai_format.prompts import prefix_of
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES
from tasks.support.causes import Causes
from tasks.support.words import counted

#: Of a prompt, so much is compared with others; so many beginnings are told apart, by their first characters.
_PREFIX_CHARACTERS: Final = 1 << 16
_MOST_PREFIXES: Final = 64
_HEAD_CHARACTERS: Final = 64

#: Stands for an image that is not read: one pixel.
_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

_decode_context = msgspec.json.Decoder(Context).decode


class Prefix(msgspec.Struct):
    """A beginning that prompts share: how many, and of how many bytes."""

    requests: int
    text: str
    #: Prompts that were compared.
    seen: int

    @property
    def tokens(self) -> int:
        return len(self.text.encode("utf-8", "replace")) // BYTES_PER_TOKEN


class Survey:
    """What was learned of the lines it was shown. Memory does not grow with their number."""

    def __init__(
        self,
        model: Model,
        unsupported: Literal["error", "drop"],
        invocation: Literal["auto", "InvokeModel", "Converse"] = "auto",
        fetch_images: bool = False,
        change: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`change` makes a variant's own line of a line of the input."""
        self.model = model
        self.unsupported: Final = unsupported
        self._invocation: Literal["auto", "InvokeModel", "Converse"] = invocation
        self._fetch_images, self._change = fetch_images, change
        self.family: Final[str] = codec_for(model).family
        self.clear()

    def clear(self) -> None:
        """Forget all lines."""
        # Left out and counted, so that all of a line's fields are seen, not the first that is refused.
        self._lenient: dict[str, Encoder] = {}
        self._strict: dict[str, Encoder] = {}
        self._reasons: dict[str, str] = {}
        self.lines = self.refused = self.records = 0
        #: Requests that are more, read and written, than the model holds.
        self.too_long = 0
        #: Whether each line stands for itself.
        self.exact = True
        self.causes = Causes()
        self._dropped = DroppedFields()
        #: Requests by what of them is sent as something else.
        self.mapped: Counter[str] = Counter()
        self.input_tokens = self.max_output_tokens = 0
        self._prefixes: dict[str, Prefix] = {}

    def add(self, line: bytes, endpoint: str, number: int, file: str, weight: int = 1) -> None:
        """Take one request; `number` is its line in `file`, from 1. It stands for `weight` requests."""
        self.lines += weight
        self.exact = self.exact and weight == 1
        if self._change is not None:
            line = self._change(line)
        encoder = self._encoder(self._lenient, endpoint, "drop")
        try:
            encoded = encoder.encode(line)
        except RequestError as error:
            self.refused += weight
            self.causes.add(error.code, error.message, error.param, number, file, weight)
            return
        if encoded.dropped:
            named = DroppedFields()
            named.add(encoded.dropped)
            fields = list(named.as_dict())
            self._dropped.add(dict.fromkeys(fields, weight))
            if self.unsupported == "error":
                self.refused += weight
                for field in fields:
                    why = self._why(field, line, endpoint, alone=len(fields) == 1)
                    self.causes.add("unsupported_parameter", why, field, number, file, weight)
                return
        self.mapped.update(dict.fromkeys(_mapped(encoded, encoder), weight))
        self.records += weight * len(encoded.model_inputs)
        self._count(line, endpoint, weight, encoded)

    @property
    def dropped(self) -> dict[str, int]:
        """Requests by the name of a field that is left out, or for which they are refused."""
        return dict(sorted(self._dropped.as_dict().items(), key=lambda item: -item[1]))

    def _encoder(self, known: dict[str, Encoder], endpoint: str, unsupported: Literal["error", "drop"]) -> Encoder:
        if endpoint not in known:
            known[endpoint] = encoder_for(self.model, endpoint, unsupported, self._invocation, self._fetch)
        return known[endpoint]

    def _fetch(self, url: str) -> bytes:
        """Stands for what a run would fetch: nothing is, here."""
        if url.startswith("s3://") or self._fetch_images:
            return _PIXEL
        raise RequestError("a batch job fetches nothing.")

    def _why(self, field: str, line: bytes, endpoint: str, *, alone: bool) -> str:
        """Why a field is refused: the message that its request would get, where this field is the first."""
        if field not in self._reasons:
            self._reasons[field] = f"'{field}' cannot be honoured by {self.family}"
            try:
                self._encoder(self._strict, endpoint, "error").encode(line)
            except RequestError as error:
                if alone or error.param == field:
                    self._reasons[field] = error.message
        return self._reasons[field]

    def _count(self, line: bytes, endpoint: str, weight: int, encoded: EncodedRequest) -> None:
        facts = capabilities_of(self.model)
        record = encoded.model_inputs[0] if encoded.model_inputs else None
        tokens = count_tokens(line, lambda: most_written(facts, record))
        if tokens is None:
            return
        if tokens.exceeds(facts.context_window):
            self.too_long += weight
        self.input_tokens += weight * tokens.input
        self.max_output_tokens += weight * tokens.max_output
        if endpoint in (CHAT, RESPONSES, COMPLETIONS):
            self._compare(line, weight)

    def _compare(self, line: bytes, weight: int) -> None:
        """Hold the beginning of a prompt against those that begin alike."""
        text = prefix_of(line, _PREFIX_CHARACTERS)
        known = self._prefixes.get(text[:_HEAD_CHARACTERS])
        if known is None:
            if len(self._prefixes) < _MOST_PREFIXES:
                self._prefixes[text[:_HEAD_CHARACTERS]] = Prefix(weight, text, 1)
            return
        known.requests += weight
        known.seen += 1
        if not text.startswith(known.text):
            known.text = _common(known.text, text)

    @property
    def window_warning(self) -> str | None:
        """What a user should know of requests that the model cannot hold; None where there are none."""
        window = capabilities_of(self.model).context_window
        if not self.too_long or window is None:
            return None
        about = "" if self.exact else "about "
        return (
            f"{about}{counted(self.too_long, 'request')} with its answer may be longer than the {window:,} tokens that "
            f"{self.model.base_id or self.model.id} holds: it may refuse them, or cut their answers. Lower max_tokens, "
            "or shorten them."
        )

    @property
    def prefixes(self) -> list[Prefix]:
        """The beginnings that at least two prompts share."""
        return [prefix for prefix in self._prefixes.values() if prefix.seen > 1]


def _common(first: str, second: str) -> str:
    """The longest common beginning of two texts."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return first[:low]


def _mapped(encoded: EncodedRequest, encoder: Encoder) -> list[str]:
    """What of a request is sent as something else, or comes back in another way than the model gives it."""
    found = []
    if len(encoded.model_inputs) > 1:
        found.append("several answers, texts or prompts: a record each")
    if encoded.invocation != encoder.plain_invocation:
        found.append(f"sent by {encoded.invocation} for what the request needs")
    context = encoded.contexts[0] if encoded.contexts else None
    if context is not None:
        known = _decode_context(context)
        if known.json_tool is not None:
            found.append("response_format: asked for as a tool that the model must call")
        if known.wrapped is not None:
            found.append("tools: arguments of other names than the model takes, as one argument")
        if known.function_call:
            found.append("functions: sent as tools")
        if known.echo is not None:
            found.append("echo: put before the answer by the pipeline")
        if known.base64:
            found.append("encoding_format: made of the model's floats")
    return found
