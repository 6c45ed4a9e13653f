"""Cohere's embeddings: up to 96 texts a record."""

import json
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families.cohere_embed import CODEC

V3, V4 = "cohere.embed-english-v3", "cohere.embed-v4:0"


def sent(*texts: str, model: str = V4, unsupported: Any = "error", **fields: Any) -> list[dict[str, Any]]:
    return CODEC.encode_embeddings(Embeddings(list(texts), **fields), parse_model(model), Policy(unsupported, "x"))


def test_so_many_texts_a_record() -> None:
    records = sent(*map(str, range(97)), model=V3)
    assert [len(record["texts"]) for record in records] == [96, 1]
    assert records[1] == {"texts": ["96"], "input_type": "search_document", "embedding_types": ["float"]}


def test_its_own_fields() -> None:
    (record,) = sent("a", dimensions=512, rest={"input_type": "classification", "truncate": "NONE"})
    assert record == {
        "texts": ["a"],
        "input_type": "classification",
        "embedding_types": ["float"],
        "truncate": "NONE",
        "output_dimension": 512,
    }
    # Version 3 has one size, and no field for it.
    assert "output_dimension" not in sent("a", model=V3, dimensions=1024)[0]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rest": {"input_type": "image"}}, "input_type"),
        ({"rest": {"truncate": "MIDDLE"}}, "truncate"),
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
        ({"embeddings": {"float": [[1.0], [2.0]]}}, Vectors([[1.0], [2.0]])),
        ({"embeddings": [[1.0]], "meta": {"billed_units": {"input_tokens": 3}}}, Vectors([[1.0]], 3)),
        ({"embeddings": [[1.0]], "meta": "x"}, Vectors([[1.0]])),
    ],
)
def test_answers(output: Any, vectors: Vectors) -> None:
    assert CODEC.decode_embeddings(json.dumps(output).encode()) == vectors


@pytest.mark.parametrize(
    "output", [{}, {"embeddings": {"int8": [[1]]}}, {"embeddings": [[1.0]] * 97}, {"embeddings": "x"}]
)
def test_what_is_no_answer(output: Any) -> None:
    with pytest.raises(DecodeError, match=r"^not a Cohere embedding \("):
        CODEC.decode_embeddings(json.dumps(output).encode())
