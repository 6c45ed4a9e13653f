"""Models that answer neither chats nor texts: refused by name, and a request costs itself only."""

from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Chat, DecodeError, Embeddings, Policy, RequestError
from tasks.codecs.families.unserved import CODEC

RERANK = parse_model("cohere.rerank-v3-5:0")


@pytest.mark.parametrize("unsupported", ["error", "drop"])
def test_whatever_is_asked_is_refused(unsupported: Any) -> None:
    policy = Policy(unsupported, "unserved")
    for ask in (
        lambda: CODEC.encode(Chat([], []), RERANK, policy),
        lambda: CODEC.encode_embeddings(Embeddings([]), RERANK, policy),
    ):
        with pytest.raises(
            RequestError, match=r"cohere\.rerank-v3-5:0 is a model for .*neither chats nor texts"
        ) as caught:
            ask()
        assert (caught.value.param, caught.value.code) == ("model", "unsupported_parameter")


def test_whom_it_serves() -> None:
    assert CODEC.serves(RERANK)
    assert not CODEC.serves(parse_model("amazon.nova-lite-v1:0"))
    assert not CODEC.serves(parse_model("acme.unknown-v1"))
    assert (CODEC.endpoints, CODEC.plain_form(RERANK)) == (frozenset(), None)


def test_no_output_is_an_answer() -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(b"{}")
    with pytest.raises(DecodeError):
        CODEC.decode_embeddings(b"{}")
