"""Lines held against templates: where their slots are, and what fits none."""

import json
from typing import Any

import numpy as np
import pytest

from tasks.fast.match import MOST_ID_BYTES, LineBlock, Templates
from tasks.inputs.layout import Layout
from tests.conftest import chat

#: So many lines make a template worth learning.
MANY = [json.dumps(chat(f"many-{i}", f"Question {i}")).encode() for i in range(20)]


def find(lines: list[bytes], templates: Templates | None = None) -> tuple[LineBlock, Templates]:
    templates = templates or Templates(lambda _: True)
    block = templates.find(b"".join(line + b"\n" for line in lines))
    assert block is not None
    return block, templates


def shape(line: bytes) -> int:
    """The shape of a line behind many plain ones."""
    block, _ = find([*MANY, line])
    assert block.shapes[:-1].tolist() == [1] * len(MANY)
    return int(block.shapes[-1])


def like(custom_id: bytes = b"x", text: bytes = b"y", after: bytes = b"") -> bytes:
    """A line that is like the many; what goes in is JSON already."""
    return json.dumps(chat("CUSTOM", "TEXT")).encode().replace(b"CUSTOM", custom_id).replace(b"TEXT", text) + after


def slots_of(lines: list[bytes], block: LineBlock, templates: Templates) -> list[list[bytes]]:
    """What the lines have in their slots; nothing for one that fits no template."""
    data = b"".join(line + b"\n" for line in lines)
    found = []
    for row, number in enumerate(block.shapes.tolist()):
        bounds = block.slots(np.array([row]), templates.known[number - 1]) if number else []
        found.append([data[int(begin[0]) : int(end[0])] for begin, end in bounds])
    return found


@pytest.mark.parametrize(
    "line",
    [
        like(),
        like(custom_id=b"x" * MOST_ID_BYTES),
        like(text=b"\\n\\t a"),
        like(text=b'say \\"Hi\\"'),
        like(text=b"\\\\ a"),
        like(text="é\u3000".encode()),
        like(text=b"\\u00e9\\u3000"),
        like(text=b"\\ud83d\\ude00"),
        like(text=b"x" * 70_000),
    ],
)
def test_what_fits(line: bytes) -> None:
    json.loads(line)
    assert shape(line) == 1


@pytest.mark.parametrize(
    "line",
    [
        like(custom_id=b""),
        like(custom_id=b"x" * (MOST_ID_BYTES + 1)),
        like(custom_id=b"\\u0041"),
        like(text=b""),
        like(text=b"  "),
        like(text="\u3000".encode()),
        like(text=b"\\u3000"),
        like(text=b"\\n"),
        like(text=b"\\q"),
        like(text=b"\\u12g4"),
        like(text=b"\\ud83d"),
        like(text=b"\\ude00\\ud83d"),
        like(text=b'a"b'),
        like(text=b'a","b":"c'),
        like(text=b"a\\"),
        like()[:-1],
        b"{}",
        b"",
    ],
)
def test_what_fits_none(line: bytes) -> None:
    """No line of an invalid escape, or of a blank text."""
    assert shape(line) == 0


@pytest.mark.parametrize("line", [like(after=b" "), b" " + like(), like().replace(b"POST", b"PUT")])
def test_one_byte_else_is_another_shape(line: bytes) -> None:
    assert shape(line) == 2


def test_where_id_and_text_are() -> None:
    lines = [*MANY, b"{}", like(b"i" * 200, b"t" * 900), like(b"j", b"u")]
    block, templates = find(lines)
    assert len(templates.known) == 1
    assert slots_of(lines, block, templates)[-4:] == [
        [b"many-19", b"Question 19"],
        [],
        [b"i" * 200, b"t" * 900],
        [b"j", b"u"],
    ]
    # The text is what is left of the line.
    assert block.sizes[-3:].tolist() == [[0], [200], [1]]
    starts, ends = block.custom_ids(templates.known)
    assert (ends - starts)[-4:].tolist() == [7, 0, 200, 1]
    assert list(block.runs()) == [(0, 20), (21, 23)]
    assert list(block.take(slice(19, 22)).runs()) == [(0, 1), (2, 3)]


def conversations(count: int) -> list[bytes]:
    """Lines whose system prompts vary, and are longer than a byte can count."""
    return [
        json.dumps(
            chat(
                f"id-{number}",
                messages=[
                    {"role": "system", "content": chr(97 + number) * (300 + 5 * number)},
                    {"role": "user", "content": f"Question {number}"},
                ],
            )
        ).encode()
        for number in range(count)
    ]


def test_long_texts_before_the_last_slot() -> None:
    lines = conversations(20)
    block, templates = find(lines)
    assert block.shapes.tolist() == [1] * 20
    assert [found[1:] for found in slots_of(lines, block, templates)] == [
        [(chr(97 + number) * (300 + 5 * number)).encode(), f"Question {number}".encode()] for number in range(20)
    ]


@pytest.mark.parametrize("lines", [conversations(20), MANY])
def test_they_are_as_long_when_they_are_handed_over(lines: list[bytes]) -> None:
    block, templates = find(lines)
    layout = Layout(templates.known, [])
    layout.add(0, 0, b"".join(line + b"\n" for line in lines), block)
    handed = layout.stretches[0].block()
    assert handed is not None
    assert slots_of(lines, handed, templates) == slots_of(lines, block, templates)
    assert handed.sizes.tolist() == block.sizes.tolist()


def test_another_block_of_the_same_input_is_held_against_what_is_known() -> None:
    _, templates = find(MANY)
    block, _ = find([b"{}", like()], templates)
    assert block.shapes.tolist() == [0, 1]
    assert len(templates.known) == 1


def test_several_shapes() -> None:
    warm = [json.dumps(chat(f"w-{i}", f"Question {i}", temperature=1)).encode() for i in range(20)]
    block, templates = find([*warm[:10], *MANY, *warm[10:]])
    assert block.shapes.tolist() == [1] * 10 + [2] * 20 + [1] * 10
    assert len(templates.known) == 2


def test_a_shape_of_few_lines_is_none() -> None:
    rare = json.dumps(chat("rare", temperature=1)).encode()
    block, templates = find([rare, *MANY])
    assert block.shapes.tolist() == [0] + [1] * 20
    assert len(templates.known) == 1


def test_nothing_is_learned_from_lines_that_are_not_accepted() -> None:
    seen: list[bytes] = []

    def accept(line: bytes) -> bool:
        seen.append(line)
        return len(seen) == 3

    block, _ = find(MANY, Templates(accept))
    # Those before are seen in order, and not those that fit what is learned.
    assert seen == MANY[:3]
    assert block.shapes.tolist() == [1] * 20


def test_after_some_tries_nothing_more_is_tried() -> None:
    seen: list[bytes] = []

    def refuse(line: bytes) -> bool:
        seen.append(line)
        return False

    templates = Templates(refuse)
    lines = MANY * 2
    assert templates.find(b"".join(line + b"\n" for line in lines)) is not None
    assert seen == lines[:24]
    assert templates.find(MANY[0] + b"\n") is None


@pytest.mark.parametrize("odd", [b"a\tb", b"a\rb", b"\xff", b"\xed\xa0\x80"])
def test_a_block_out_of_the_ordinary_goes_the_general_way(odd: Any) -> None:
    assert Templates(lambda _: True).find(b"".join(line + b"\n" for line in [*MANY, like(text=odd)])) is None
    # Nor does one without a last line end.
    assert Templates(lambda _: True).find(b"\n".join(MANY)) is None
