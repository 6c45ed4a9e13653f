"""A modelOutput to a response body, at any endpoint."""

from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Context, DecodeError, Usage, Vectors
from tasks.codecs.decoder import Decoder, build, read_context
from tests.conftest import LLAMA

CHAT = "/v1/chat/completions"


def llama(text: str | bytes = "Hi", **fields: Any) -> bytes:
    body = msgspec.json.encode({"generation": "TEXT", **fields})
    return body.replace(b'"TEXT"', text if isinstance(text, bytes) else msgspec.json.encode(text))


def decoder(endpoint: str = CHAT) -> Decoder:
    return Decoder(parse_model(LLAMA), endpoint, "InvokeModel")


def test_an_answer() -> None:
    found = decoder().decode(llama(prompt_token_count=3, generation_token_count=2, stop_reason="length"), None)
    assert found == Answer("Hi", "length", Usage(3, 2))


@pytest.mark.parametrize("raw", [rb'"a\ud800b"', b'"a\xed\xa0\x80b"'])
def test_half_a_surrogate_pair_is_repaired(raw: bytes) -> None:
    found = decoder().decode(llama(raw), None)
    assert isinstance(found, Answer)
    assert found.content == "a\ufffdb"


@pytest.mark.parametrize("output", [b"{}", b"[]", b"null", b"", b'{"generation":7}', b'{"generation":"\xff"}'])
def test_what_is_no_answer_of_the_family(output: bytes) -> None:
    with pytest.raises(DecodeError, match="not a Llama answer"):
        decoder().decode(output, None)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ((0, 0), Usage(0, 0)),
        ((1 << 36, 1), Usage(1 << 36, 1)),
        (((1 << 36) + 1, 1), None),
        ((1, -1), None),
        (("3", 2), None),
        ((1.5, 2), None),
    ],
)
def test_counts_that_there_cannot_be_are_left_out(counts: tuple[Any, Any], usage: Usage | None) -> None:
    found = decoder().decode(llama(prompt_token_count=counts[0], generation_token_count=counts[1]), None)
    assert isinstance(found, Answer)
    assert (found.content, found.usage) == ("Hi", usage)


def test_a_context_from_the_index() -> None:
    assert read_context(None) is None
    assert read_context(b'{"echo":"P","base64":true}') == Context(echo="P", base64=True)


def test_a_body_of_several_records() -> None:
    answers: list[Any] = [Answer("a", "stop", Usage(1, 2)), Answer("b", "length", Usage(1, 3))]
    body = msgspec.to_builtins(build(CHAT, answers, [None, None], id="1", created=7, model="m"))
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "b"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert (body["id"], body["created"], body["model"]) == ("chatcmpl-1", 7, "m")
    assert body["usage"]["total_tokens"] == 7
    echo = build("/v1/completions", answers[:1], [b'{"echo":"P"}'], id="1", created=7, model="m")
    assert msgspec.to_builtins(echo)["choices"][0]["text"] == "Pa"
    vectors = build("/v1/embeddings", [Vectors([[1.0]], 2)], [None], id="1", created=7, model="m")
    assert msgspec.to_builtins(vectors)["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0]}]


def test_plain_answers_have_a_reader_of_their_own_where_there_is_a_frame() -> None:
    plain = decoder().decode_plain
    assert plain is not None
    assert plain(msgspec.Raw(llama())) == Answer("Hi", "stop", None)
    assert decoder("/v1/completions").decode_plain is None
