"""The plainest lines take the short cut; turned off, none does."""

import json

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.encoder import Encoder
from tasks.errors import ConfigurationError
from tasks.fast.line import FastEncoder, encoder_for
from tasks.fast.match import Templates
from tasks.openai_format.requests import CHAT
from tests.conftest import CLAUDE, LLAMA, NOVA, chat

LINE = json.dumps(chat("req-1", "Hello", max_tokens=5)).encode()


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_plain_lines_take_it(model: str) -> None:
    encoder = encoder_for(parse_model(model), CHAT, "error")
    assert isinstance(encoder, FastEncoder)
    taken = encoder.encode_plain_record(LINE, b'{"recordId":"r1","modelInput":')
    assert taken is not None
    assert taken[0] == "req-1"
    assert encoder.encode(LINE).model_inputs == [b"".join(taken[1][1:]).removesuffix(b"}\n")]


def test_lines_that_are_alike_fit_one_template() -> None:
    lines = [json.dumps(chat(f"req-{i}", f"Question {i}")).encode() for i in range(50)]
    block = Templates(lambda _: True).find(b"\n".join(lines) + b"\n")
    assert block is not None
    assert block.shapes.tolist() == [1] * 50


def test_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", "0")
    encoder = encoder_for(parse_model(CLAUDE), CHAT, "error")
    assert type(encoder) is Encoder
    assert json.loads(encoder.encode(LINE).model_inputs[0])["messages"]
    monkeypatch.setenv("BEDROCK_BATCH_FAST", "yes")
    with pytest.raises(ConfigurationError, match="must be 1"):
        encoder_for(parse_model(CLAUDE), CHAT, "error")
