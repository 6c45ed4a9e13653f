"""Thoughts that a model wants back: out in an answer, in from a history, sealed in between."""

from typing import Any

import pytest

from tasks.codecs.base import Thinking
from tasks.codecs.endpoints._thinking import parse_blocks, seal, thinking_blocks, unseal

SIGNED, BARE, HIDDEN = Thinking("hm", "s"), Thinking("hm"), Thinking("", redacted="x")


def test_as_anthropics_blocks() -> None:
    assert thinking_blocks([SIGNED, BARE, HIDDEN]) == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "hm"},
        {"type": "redacted_thinking", "data": "x"},
    ]


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        (None, []),
        ("text", []),
        ({"type": "thinking"}, []),
        ([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}], [SIGNED]),
        ([{"type": "redacted_thinking", "data": "x"}], [HIDDEN]),
        # Without what proves it, it is for people.
        ([{"type": "thinking", "thinking": "hm"}], []),
        ([{"type": "thinking", "thinking": 7, "signature": "s"}], []),
        ([{"type": "redacted_thinking", "data": None}, 7], []),
    ],
)
def test_from_a_history(blocks: Any, found: list[Thinking]) -> None:
    assert parse_blocks(blocks) == found


def test_sealed_and_unsealed() -> None:
    sealed = seal([SIGNED, HIDDEN])
    assert sealed.startswith("bedrock:")
    assert unseal(sealed) == [SIGNED, HIDDEN]


@pytest.mark.parametrize(
    "content", [None, 7, "", "gAAAAB", "bedrock:###", "bedrock:e30=", "bedrock:W10", "bedrock:/w=="]
)
def test_what_another_has_sealed(content: Any) -> None:
    assert unseal(content) == []
