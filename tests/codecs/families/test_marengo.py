"""TwelveLabs' Marengo: one text a record, in two forms."""

import json
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families.marengo import CODEC

V2, V3 = "us.twelvelabs.marengo-embed-2-7-v1:0", "us.twelvelabs.marengo-embed-3-0-v1:0"


def sent(*texts: str, model: str = V3, unsupported: Any = "error", **fields: Any) -> list[dict[str, Any]]:
    return CODEC.encode_embeddings(Embeddings(list(texts), **fields), parse_model(model), Policy(unsupported, "x"))


def test_both_forms() -> None:
    assert sent("a", "b") == [{"inputType": "text", "text": {"inputText": text}} for text in "ab"]
    assert sent("a", model=V2) == [{"inputType": "text", "inputText": "a", "textTruncate": "none"}]
    assert sent("a", model=V2, rest={"textTruncate": "end"})[0]["textTruncate"] == "end"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rest": {"textTruncate": "end"}}, "textTruncate"),
        ({"rest": {"textTruncate": "middle"}, "model": V2}, "textTruncate"),
        ({"dimensions": 7}, "dimensions"),
        ({"rest": {"seed": 1}}, "seed"),
    ],
)
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent("a", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("output", "vectors"),
    [
        ({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}, Vectors([[1.0]])),
        ({"data": {"embedding": [1.0]}}, Vectors([[1.0]])),
        ({"embedding": [1.0]}, Vectors([[1.0]])),
    ],
)
def test_answers(output: Any, vectors: Vectors) -> None:
    assert CODEC.decode_embeddings(json.dumps(output).encode()) == vectors


@pytest.mark.parametrize("output", [{}, {"data": []}, {"data": None}, {"embedding": ["x"]}])
def test_what_is_no_answer(output: Any) -> None:
    with pytest.raises(DecodeError, match=r"^not a Marengo embedding \("):
        CODEC.decode_embeddings(json.dumps(output).encode())
