"""The short way for plain chats' answers, which are one text and five numbers: blocks of them in columns.

A property test holds it to the bytes of the general way.
"""

from collections.abc import Callable, Iterable
from typing import get_args

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bedrock.records import OutputRecord
from tasks.codecs.base import UNFORESEEN, Answer, DecodeError, FinishReason
from tasks.codecs.endpoints.chat_completion import is_plain
from tasks.openai_format.results import LINE_ENDS, Frame, escape_line_ends
from tasks.support.columns import Bytes, Offsets

FINISH_REASONS: tuple[str, ...] = get_args(FinishReason)


COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


_MOST_TOKENS = 1 << 31


#: What JSON escapes beside the control characters below the space; the escapes hold the first of them.
_ESCAPED, _SPACE = (ord("\\"), ord('"')), 0x20


class PlainAnswers:
    """What is known of a range's plain answers but their text: 17 bytes a record, by its row in the range's index.

    `decoders` are the ways to decode, and `ways` says for each row which it takes, from 1; 0 is the general way.
    """

    def __init__(self, ways: Bytes, decoders: list[Callable[[msgspec.Raw], Answer]]) -> None:
        # The last one is that of row -1, nobody's.
        self._ways = ways.tobytes() + b"\0"
        self._decoders = decoders
        #: The place of the finish reason in FINISH_REASONS, from 1; 0 where the answer is no plain one.
        self.finish = np.zeros(len(ways), dtype=np.uint8)
        self.counts = np.zeros((len(COUNTS), len(ways)), dtype=np.int32)

    def take(self, records: list[OutputRecord], rows: Offsets) -> tuple[list[int], pa.LargeStringArray]:
        """Decode the plain answers among some records; their places there, and their texts.

        `rows` says which each record answers, -1 for one to leave alone. This is the hot loop of normalising.
        """
        ways, decoders = self._ways, self._decoders
        places: list[int] = []
        answers: list[Answer] = []
        for place, (record, row) in enumerate(zip(records, rows.tolist(), strict=True)):
            way = ways[row]
            if way and not record.has_error:
                try:
                    answer = decoders[way - 1](record.model_output)
                except (DecodeError, *UNFORESEEN):
                    # It is decoded again in the general way, and its error said there.
                    continue
                if is_plain(answer):
                    places.append(place)
                    answers.append(answer)
        usages = [answer.usage for answer in answers if answer.usage is not None]
        try:
            counts = np.array(
                [
                    [usage.prompt for usage in usages],
                    [usage.completion for usage in usages],
                    [usage.cached for usage in usages],
                    [usage.reasoning for usage in usages],
                ],
                dtype=np.int64,
            )
        except OverflowError:
            return [], pa.array([], pa.large_string())
        if counts.size and (counts.max() >= _MOST_TOKENS or counts.min() < 0):
            return [], pa.array([], pa.large_string())
        taken = rows[places]
        self.counts[:, taken] = counts
        self.finish[taken] = [_CODES[answer.finish_reason] for answer in answers]
        return places, pa.array([answer.content for answer in answers], pa.large_string())

    def columns(self, rows: Offsets) -> dict[str, pa.Array]:
        """The finish reasons and counts of some rows, all of them plain answers'."""
        counts = {name: self.counts[place, rows].astype(np.int64) for place, name in enumerate(COUNTS)}
        counts["total_tokens"] = counts["prompt_tokens"] + counts["completion_tokens"]
        columns = {name: pa.array(column) for name, column in counts.items()}
        columns["finish_reason"] = pa.array(FINISH_REASONS).take(pa.array(self.finish[rows] - 1))
        return columns


_CODES = {reason: code for code, reason in enumerate(FINISH_REASONS, 1)}


def fill(frame: Frame, columns: dict[str, pa.Array]) -> pa.StringArray:
    """A text for every row: the frame, with the row's values in its gaps."""
    parts: list[pa.Array | pa.Scalar] = []
    for fixed, gap in _runs(frame):
        parts += (pa.scalar(fixed), columns[gap].cast(pa.string())) if gap else (pa.scalar(fixed),)
    return pc.binary_join_element_wise(*parts, "")


def _runs(frame: Frame) -> Iterable[tuple[str, str]]:
    """Fixed texts, neighbours put together, and the gap that follows each; none follows the last."""
    fixed = b""
    for part in frame:
        if isinstance(part, bytes):
            fixed += part
        else:
            yield fixed.decode(), part
            fixed = b""
    yield fixed.decode(), ""


def escape(texts: pa.StringArray) -> pa.StringArray:
    """Texts as they stand between the quotes of a JSON string in a line of the result files; none may be null."""
    data = _data(texts)
    found = [chr(code) for code in _ESCAPED if (data == code).any()]
    found += map(chr, np.unique(data[data < _SPACE]).tolist())
    found += [end for end in LINE_ENDS if _occurs(end.encode(), data)]
    for character in found:
        escaped = escape_line_ends(msgspec.json.encode(character))[1:-1].decode()
        texts = pc.replace_substring(texts, character, escaped)
    return texts


def _occurs(encoded: bytes, data: Bytes) -> bool:
    """Whether some bytes occur in others, by the places of the last: texts have fewer of those than of the first."""
    if not (data == encoded[0]).any():
        return False
    places = np.flatnonzero(data[len(encoded) - 1 :] == encoded[-1])
    for offset, byte in enumerate(encoded[:-1]):
        places = places[data[places + offset] == byte]
    return bool(len(places))


def _data(texts: pa.StringArray) -> Bytes:
    """The bytes of all texts."""
    _, offsets, data = texts.buffers()
    if data is None:
        return np.zeros(0, dtype=np.uint8)
    bounds = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]]
