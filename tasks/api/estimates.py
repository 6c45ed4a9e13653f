"""What a file would cost on a model, from a sample of its lines: an answer in a request's time, whatever its size."""

import math
from typing import Any

import msgspec

from tasks.api.errors import InvalidCallError
from tasks.api.files import StoredFile
from tasks.bedrock.limits import limits_for
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.inputs.estimate import TOKENS_ERROR, estimate
from tasks.inputs.survey import Survey
from tasks.storage.reader import read_blocks, read_head
from tasks.storage.sources import Source, source_at
from tasks.storage.uris import parse_input_uri

#: So many stretches of so many bytes are looked at, spread over the file.
_STRETCHES, _STRETCH_BYTES = 16, 256 << 10
#: So much is read in all of lines that begin in a stretch and end beyond it: images in base64 make long ones.
_REST_BYTES = 64 << 20


class _Url(msgspec.Struct):
    url: str = ""


def cost_estimate(stored: StoredFile, model: str, *, immediate: bool = False) -> dict[str, Any]:
    """What a batch of the file would take on a model. Raises InvalidCallError for a model that is none."""
    try:
        parsed = parse_model(model)
        limits = limits_for(parsed)
    except ValueError as error:
        raise InvalidCallError(str(error), param="model") from None
    source = source_at(parse_input_uri(stored.uri))
    lines, share = _sample(source)
    survey = Survey(parsed, "drop")
    served = codec_for(parsed).endpoints
    for number, line in enumerate(lines, 1):
        endpoint = _endpoint(line)
        if endpoint in served:
            survey.add(line, endpoint, number, stored.id)
    requests = math.ceil(survey.lines / share) if share else 0
    found = estimate(survey, requests, limits, immediate=immediate)
    return {
        "object": "file.cost_estimate",
        "file_id": stored.id,
        "model": model,
        "requests": found.requests,
        "jobs": found.jobs,
        "route": found.route,
        "input_tokens": found.input_tokens,
        "max_output_tokens": found.max_output_tokens,
        "input_cost_usd": found.input_cost_usd,
        "max_cost_usd": found.max_cost_usd,
        "batch_cost_usd": found.batch_cost_usd,
        "on_demand_cost_usd": found.on_demand_cost_usd,
        "rate": msgspec.to_builtins(found.rate),
        #: Whether every line was looked at.
        "exact": share == 1.0,
        "accuracy": TOKENS_ERROR,
    }


def _endpoint(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=_Url).url
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _sample(source: Source) -> tuple[list[bytes], float]:
    """Lines of a file, and which share of its bytes they are."""
    if read_head(source, 4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        raise InvalidCallError("The file is compressed: its cost can be told of a plain one only.", param="id")
    size = source.bytes
    if size <= _STRETCHES * _STRETCH_BYTES:
        data = read_head(source, size) if size else b""
        return data.split(b"\n"), 1.0
    step = (size - _STRETCH_BYTES) // (_STRETCHES - 1)
    lines: list[bytes] = []
    most = _REST_BYTES
    for start in range(0, step * _STRETCHES, step):
        block = _read(source, start, _STRETCH_BYTES)
        # The lines that begin here, whatever their length: whole ones alone would be the short ones.
        begun = block.partition(b"\n")[2] if start else block
        if begun and not begun.endswith(b"\n"):
            end = start + len(block)
            rest = _rest(source, end, most)
            most -= len(rest)
            begun += rest
            if not rest.endswith(b"\n") and end + len(rest) < size:
                begun = begun[: begun.rfind(b"\n") + 1]
        lines += [line for line in begun.split(b"\n") if line.strip()]
    taken = sum(len(line) + 1 for line in lines)
    return lines, taken / size


def _read(source: Source, start: int, size: int) -> bytes:
    (block,) = read_blocks(source, [(start, min(size, source.bytes - start))])
    return block


def _rest(source: Source, start: int, most: int) -> bytes:
    """What follows of a line that goes on at a place: to its end, or to where it becomes too long."""
    found, size = b"", _STRETCH_BYTES
    while start < source.bytes and len(found) < most:
        block = _read(source, start, size)
        line, end, _ = block.partition(b"\n")
        found += line + end
        if end:
            break
        start, size = start + len(block), 2 * size
    return found
