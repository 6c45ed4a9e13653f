"""Nova's multimodal embeddings, for text: one text a record."""

import json
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import DecodeError, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.families.nova_embeddings import CODEC

MODEL = "amazon.nova-2-multimodal-embeddings-v1:0"


def sent(*texts: str, model: str = MODEL, unsupported: Any = "error", **fields: Any) -> list[dict[str, Any]]:
    return CODEC.encode_embeddings(Embeddings(list(texts), **fields), parse_model(model), Policy(unsupported, "x"))


def test_a_text() -> None:
    first, second = sent("a", "b", dimensions=256)
    assert first == {
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 256,
            "text": {"value": "a", "truncationMode": "NONE"},
        },
    }
    assert second["singleEmbeddingParams"]["text"]["value"] == "b"


def test_its_own_fields() -> None:
    (record,) = sent("a", rest={"truncationMode": "END", "embeddingPurpose": "CLASSIFICATION"})
    parameters = record["singleEmbeddingParams"]
    assert (parameters["text"]["truncationMode"], parameters["embeddingPurpose"]) == ("END", "CLASSIFICATION")
    assert parameters["embeddingDimension"] == 3072


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rest": {"truncationMode": "MIDDLE"}}, "truncationMode"),
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
        ({"embeddings": [{"embedding": [1.0]}], "inputTokenCount": 3}, Vectors([[1.0]], 3)),
        ({"embeddings": [{"embedding": [1.0]}], "inputTokenCount": "x"}, Vectors([[1.0]])),
    ],
)
def test_answers(output: Any, vectors: Vectors) -> None:
    assert CODEC.decode_embeddings(json.dumps(output).encode()) == vectors


@pytest.mark.parametrize("output", [{}, {"embeddings": []}, {"embeddings": [[1.0]]}])
def test_what_is_no_answer(output: Any) -> None:
    with pytest.raises(DecodeError, match=r"^not a Nova embedding \("):
        CODEC.decode_embeddings(json.dumps(output).encode())
