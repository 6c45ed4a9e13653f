"""What the lines of a file have in common, learned from one of them."""

from typing import Literal

import msgspec

from tasks.fast.texts import text_of


class Template(msgspec.Struct, frozen=True):
    """A line but for its slots, the strings that vary: the custom_id, and messages' texts."""

    #: What stands before the first slot, between one and the next, and behind the last, with the line end. The quotes
    #: of the slots belong to it.
    fixed: tuple[bytes, ...]
    #: Which of the line's strings, counted from 0, the slots are.
    strings: tuple[int, ...]
    #: Which slot is the custom_id, and which are texts that go into the record, in the order of the messages.
    id_slot: int
    text_slots: tuple[int, ...]
    #: The quotes of a line that are not escaped.
    quotes: int
    #: The line it was learned from, and how long its texts are together.
    line: bytes
    text_size: int

    def texts(self) -> list[bytes]:
        """The texts of the line it was learned from, as JSON has them between the quotes."""
        slots = self._contents()
        return [slots[slot] for slot in self.text_slots]

    def with_texts(self, texts: list[bytes]) -> bytes:
        """That line with other texts."""
        slots = self._contents()
        for slot, text in zip(self.text_slots, texts, strict=True):
            slots[slot] = text
        return b"".join(part for pair in zip(self.fixed, [*slots, b""], strict=True) for part in pair).rstrip(b"\n")

    def _contents(self) -> list[bytes]:
        """What that line has in the slots."""
        strings = _strings(self.line)
        return [self.line[start + 1 : end] for start, end in (strings[number] for number in self.strings)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    custom_id: msgspec.Raw
    body: msgspec.Raw


class _Body(msgspec.Struct, gc=False):
    messages: msgspec.Raw
    #: What a user is called differs from line to line, and means nothing to a batch.
    user: msgspec.Raw = msgspec.Raw(b"")


_decode_line = msgspec.json.Decoder(_Line).decode


_decode_body = msgspec.json.Decoder(_Body).decode


_decode_messages = msgspec.json.Decoder(list[_Message]).decode


def learn(line: bytes, slots: Literal["last text", "all"] = "last text") -> Template | None:
    """The template of a chat line whose messages are plain text, the last one the user's; None for any other line.

    Its slots are the custom_id and the last text; or all texts, and the `user`.
    """
    try:
        parsed = _decode_line(line)
        body = _decode_body(parsed.body)
        messages = _decode_messages(body.messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    outer, inner = _region(line, bytes(parsed.body)), _region(line, bytes(body.messages))
    if not messages or messages[-1].role != "user" or not outer or not inner:
        return None
    strings = _strings(line)
    # A slot must be what it is taken for: there may be no other value of its key in its place.
    around = ((0, outer[0]), (outer[1], len(line)))
    ids = [number for part in around for number in _values_of(line, strings, b'"custom_id"', part)]
    if len(ids) != 1 or not _are(line, strings, ids, [bytes(parsed.custom_id)]):
        return None
    contents, parts = (_values_of(line, strings, key, inner) for key in (b'"content"', b'"text"'))
    # A content may be a list of one part; then its text is the next one.
    following = iter(parts)
    texts = [number if number >= 0 else next(following, -1) for number in contents]
    values = [text_of(bytes(message.content)) for message in messages]
    if next(following, None) is not None or not _are(line, strings, texts, values):
        return None
    all_texts, texts = texts, texts[-1:]
    chosen = {ids[0], *texts}
    if slots == "all":
        texts = all_texts
        users = _values_of(line, strings, b'"user"', outer)
        known = _are(line, strings, users, [bytes(body.user)])
        chosen = {ids[0], *texts, *(users if known else [])}
    ordered = sorted(chosen)
    bounds = [strings[number] for number in ordered]
    # From one slot's closing quote to the next one's opening quote.
    begins, ends = [0, *(end for _, end in bounds)], [*(start + 1 for start, _ in bounds), len(line)]
    fixed = [line[begin:end] for begin, end in zip(begins, ends, strict=True)]
    fixed[-1] += b"\n"
    sizes = [end - start - 1 for start, end in (strings[number] for number in texts)]
    return Template(
        tuple(fixed),
        tuple(ordered),
        ordered.index(ids[0]),
        tuple(ordered.index(number) for number in texts),
        2 * len(strings),
        line,
        sum(sizes),
    )


def _are(line: bytes, strings: list[tuple[int, int]], numbers: list[int], values: list[bytes | None]) -> bool:
    """Whether some strings of a line, by their numbers, are these values."""
    if -1 in numbers:
        return False
    return [line[start : end + 1] for start, end in (strings[number] for number in numbers)] == values


def _strings(line: bytes) -> list[tuple[int, int]]:
    """The opening and closing quotes of all strings of a line of valid JSON."""
    found = []
    place = line.find(b'"')
    while place >= 0:
        end = line.find(b'"', place + 1)
        while end >= 0 and (end - len(line[place + 1 : end].rstrip(b"\\")) - place - 1) % 2:
            end = line.find(b'"', end + 1)
        found.append((place, end))
        place = line.find(b'"', end + 1) if end >= 0 else -1
    return found


def _region(line: bytes, value: bytes) -> tuple[int, int] | None:
    """Where a value stands in a line; None where that is not certain."""
    start = line.find(value)
    return (start, start + len(value)) if line.find(value, start + 1) < 0 else None


def _values_of(line: bytes, strings: list[tuple[int, int]], key: bytes, region: tuple[int, int]) -> list[int]:
    """The numbers of the strings that are values of a key in a part of the line; -1 for a value that is no string."""
    values = []
    for number, (start, end) in enumerate(strings):
        if not region[0] <= start < region[1]:
            continue
        if line[start : end + 1] == key and line[end + 1 :].lstrip().startswith(b":"):
            follows = number + 1 < len(strings) and line[end + 1 : strings[number + 1][0]].strip() == b":"
            values.append(number + 1 if follows else -1)
    return values
