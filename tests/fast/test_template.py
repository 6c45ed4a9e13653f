"""What a template is learned from a line, and that it is learned from no line of which anything is uncertain."""

import json
from typing import Any

import pytest

from tasks.fast.template import Template, learn
from tests.conftest import chat


def template(line: bytes, slots: Any = "last text") -> Template:
    found = learn(line, slots)
    assert found is not None
    return found


LINE = b'{"custom_id":"a","method":"POST","body":{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5}}'


def test_a_line_in_pieces() -> None:
    assert template(LINE) == Template(
        fixed=(
            b'{"custom_id":"',
            b'","method":"POST","body":{"messages":[{"role":"user","content":"',
            b'"}],"max_tokens":5}}\n',
        ),
        strings=(1, 9),
        id_slot=0,
        text_slots=(1,),
        quotes=22,
        line=LINE,
        text_size=2,
    )


def test_the_custom_id_may_come_last() -> None:
    found = template(b'{"body":{"messages":[{"content":"Hi!","role":"user"}]},"custom_id":"a"}')
    assert (found.id_slot, found.text_slots, found.text_size) == (1, (0,), 3)
    assert found.fixed[-1] == b'"}\n'


CONVERSATION = json.dumps(
    chat(
        "a",
        messages=[
            {"role": "system", "content": "s" * 300},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": [{"type": "text", "text": "two\\"}]},
            {"role": "user", "content": 'th"ree'},
        ],
        user="u-1",
    )
).encode()


def test_only_the_last_text_varies_or_all_do() -> None:
    one, all_ = template(CONVERSATION), template(CONVERSATION, "all")
    assert one.texts() == [b'th\\"ree']
    assert (one.id_slot, one.text_slots, one.text_size) == (0, (1,), 7)
    assert all_.texts() == [b"s" * 300, b"one", b"two\\\\", b'th\\"ree']
    # The user is a slot, and no text.
    assert (all_.id_slot, all_.text_slots, all_.text_size) == (0, (1, 2, 3, 4), 315)
    assert len(all_.strings) == 6
    assert one.quotes == all_.quotes == CONVERSATION.count(b'"') - 1


def test_that_line_with_other_texts() -> None:
    texts = [b"", b"x" * 400, b'\\"', b"last"]
    changed = json.loads(template(CONVERSATION, "all").with_texts(texts))
    contents = [message["content"] for message in changed["body"]["messages"]]
    assert contents == ["", "x" * 400, [{"type": "text", "text": '"'}], "last"]
    assert (changed["custom_id"], changed["body"]["user"]) == ("a", "u-1")
    assert template(LINE).with_texts([b"Hi"]) == LINE


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"custom_id":"a","body":{"messages":[]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"assistant","content":"Hi"}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":null}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":"Hi","name":"x"}]}}',
        b'{"custom_id":7,"body":{"messages":[{"role":"user","content":"Hi"}]}}',
        b'{"custom_id":"a","custom_id":"b","body":{"messages":[{"role":"user","content":"Hi"}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":"Hi","content":"Ho"}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":[]}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":'
        b'[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]}}',
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":'
        b'[{"type":"image_url","image_url":{"url":"data:"}}]}]}}',
        # The same messages twice: which of them counts is not looked into.
        b'{"custom_id":"a","body":{"messages":[{"role":"user","content":"Hi"}],"x":[{"role":"user","content":"Hi"}]}}',
        b'{"custom_id":"a","body":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
)
@pytest.mark.parametrize("slots", ["last text", "all"])
def test_no_template_of_any_other_line(line: bytes, slots: Any) -> None:
    assert learn(line, slots) is None


def test_a_key_in_a_text_is_no_key() -> None:
    line = json.dumps(chat("a", '"content": "x", "custom_id": "b"')).encode()
    assert template(line).texts() == [b'\\"content\\": \\"x\\", \\"custom_id\\": \\"b\\"']


def test_a_user_that_is_no_text_is_no_slot() -> None:
    with_text, without = (template(json.dumps(chat("a", user=user)).encode(), "all") for user in ("u", None))
    assert [len(found.strings) for found in (with_text, without)] == [3, 2]
