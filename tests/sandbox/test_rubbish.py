"""Spoiled answers are spoiled as they are called, and by nothing else."""

import json
from typing import Any

import pytest

from deployments.sandbox.rubbish import KINDS, spoiled, spoiled_line

ANSWER: dict[str, Any] = {
    "text": "é an answer",
    "id": "x",
    "usage": {"input_tokens": 3, "outputTokens": 4},
    "list": [1],
}
#: What a strict reader makes of each; None where it can make nothing of it.
READ: dict[str, Any] = {
    "lone surrogate": {**ANSWER, "text": "\ud800é an answer"},
    "line separators": {**ANSWER, "text": "\u2028\u2029\x85é an answer"},
    "pretty": ANSWER,
    "null usage": {**ANSWER, "usage": {"input_tokens": None, "outputTokens": None}},
    "object usage": {**ANSWER, "usage": {"input_tokens": {"n": 1}, "outputTokens": {"n": 1}}},
    "null": None,
    "list": [ANSWER],
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind(kind: str) -> None:
    reply = spoiled(kind, ANSWER)
    if kind in READ:
        assert json.loads(reply) == READ[kind]
    else:
        with pytest.raises(ValueError, match=r"Expecting|Invalid control|codec can't decode|Unterminated"):
            json.loads(reply.decode())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_line_of_output(kind: str) -> None:
    line = json.dumps({"modelInput": {"x": 1}, "modelOutput": ANSWER, "recordId": "r1"}).encode()
    found = spoiled_line(kind, line)
    assert found.startswith(b'{"recordId":"r1","modelInput":{},"modelOutput":')
    assert b"\n" not in found
    assert found.endswith(b"}") == (kind not in ("cut off", "broken off"))
    if kind in READ:
        assert json.loads(found)["modelOutput"] == READ[kind]
