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

GPT_OSS = "openai.gpt-oss-20b-1:0"
LINE = json.dumps(chat("req-1", "Hello", max_tokens=5)).encode()


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_plain_lines_take_it(model: str) -> None:
    encoder = encoder_for(parse_model(model), CHAT, "error")
    assert isinstance(encoder, FastEncoder)
    taken = encoder.encode_plain_record(LINE, b'{"recordId":"r1","modelInput":')
    assert taken is not None
    assert taken[0] == "req-1"
    assert encoder.encode(LINE).model_inputs == [b"".join(taken[1][1:]).removesuffix(b"}\n")]


SYSTEM, USER, MODEL = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
DEVELOPER = {**SYSTEM, "role": "developer"}


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA, GPT_OSS])
@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ([USER], {}),
        ([SYSTEM, USER], {}),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], {}),
        ([DEVELOPER, USER], {}),
        ([USER, MODEL, USER], {}),
        ([SYSTEM, USER, MODEL, USER, MODEL, USER], {"max_tokens": 5}),
        ([USER], {"max_tokens": 7, "max_completion_tokens": 5, "temperature": 0.5}),
        ([USER], {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "user": "u", "model": "gpt-4o"}),
    ],
)
def test_what_most_files_are_made_of_takes_it(
    model: str, messages: list[dict[str, object]], fields: dict[str, object]
) -> None:
    encoder = FastEncoder(parse_model(model), CHAT, "error")
    line = json.dumps({"custom_id": "x", "body": {"messages": messages, **fields}}).encode()
    taken = encoder._encode_plain(line, b"")
    assert taken is not None
    assert json.loads(b"".join(taken[1])) == json.loads(encoder.encode_general(line).model_inputs[0])


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA, GPT_OSS])
@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ([], {}),
        ([SYSTEM], {}),
        ([MODEL], {}),
        ([USER, MODEL], {}),
        ([USER, USER], {}),
        ([MODEL, USER], {}),
        ([SYSTEM, SYSTEM, USER], {}),
        ([USER, SYSTEM], {}),
        ([USER, SYSTEM, MODEL, USER], {}),
        ([{"role": "user", "content": " \n"}], {}),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}], {}),
        ([{**USER, "name": "n"}], {}),
        ([USER], {"n": 2}),
        ([USER], {"n": 0}),
        ([USER], {"frequency_penalty": 1}),
        ([USER], {"presence_penalty": 0.5}),
        ([USER], {"stop": "x"}),
    ],
)
def test_anything_else_is_left_to_the_general_way(
    model: str, messages: list[object], fields: dict[str, object]
) -> None:
    encoder = FastEncoder(parse_model(model), CHAT, "error")
    line = json.dumps({"custom_id": "x", "body": {"messages": messages, **fields}}).encode()
    assert encoder._encode_plain(line, b"") is None


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


def test_a_number_is_written_as_the_line_has_it() -> None:
    """1 and 1.0 are equal, and not the same bytes; the second line is no copy of the first."""
    encoder = FastEncoder(parse_model(NOVA), CHAT, "error")
    for given in (1, 1.0, 1):
        line = json.dumps(chat("x", "Hello", temperature=given)).encode()
        taken = encoder._encode_plain(line, b"")
        assert taken is not None
        assert b"".join(taken[1]).removesuffix(b"}\n") == encoder.encode_general(line).model_inputs[0]
