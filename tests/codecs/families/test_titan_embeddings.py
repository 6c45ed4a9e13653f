"""Titan's embeddings, of texts: one text a record."""

import json
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families.titan_embeddings import CODEC
from tests.codecs.helpers import refused

V2, IMAGE = "amazon.titan-embed-text-v2:0", "amazon.titan-embed-image-v1"


def sent(*texts: str, model: str = V2, unsupported: Any = "error", **fields: Any) -> list[dict[str, Any]]:
    return CODEC.encode_embeddings(Embeddings(list(texts), **fields), parse_model(model), Policy(unsupported, "x"))


def test_texts() -> None:
    assert sent("a", "b") == [{"inputText": "a"}, {"inputText": "b"}]
    assert sent("a", dimensions=256, rest={"normalize": False}) == [
        {"inputText": "a", "dimensions": 256, "normalize": False}
    ]
    assert sent("a", model=IMAGE, dimensions=384) == [
        {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}}
    ]


def test_sizes() -> None:
    with refused("dimensions", "this model takes 256, 512, 1024"):
        sent("a", dimensions=300)
    with refused("dimensions", "this model has one size only"):
        sent("a", model="amazon.titan-embed-text-v1", dimensions=256)
    assert sent("a", dimensions=300, unsupported="drop") == [{"inputText": "a"}]


@pytest.mark.parametrize(("fields", "param"), [({"dimensions": 7}, "dimensions"), ({"rest": {"seed": 1}}, "seed")])
def test_what_it_does_not_take(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent("a", **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("output", "vectors"),
    [
        ({"embedding": [1.0], "inputTextTokenCount": 3}, Vectors([[1.0]], 3)),
        ({"embeddingsByType": {"float": [1.0]}}, Vectors([[1.0]])),
        ({"embedding": [1.0], "inputTextTokenCount": {}, "message": 7}, Vectors([[1.0]])),
    ],
)
def test_answers(output: Any, vectors: Vectors) -> None:
    assert CODEC.decode_embeddings(json.dumps(output).encode()) == vectors


@pytest.mark.parametrize("output", [{}, {"embeddingsByType": {"binary": [1]}}, {"message": "no"}, {"embedding": "x"}])
def test_what_is_no_answer(output: Any) -> None:
    with pytest.raises(DecodeError, match=r"^not a Titan embedding \("):
        CODEC.decode_embeddings(json.dumps(output).encode())
