"""/v1/embeddings: inputs as texts, vectors as OpenAI's list."""

import base64
import struct
from typing import Any

import msgspec
import pytest
from openai.types import CreateEmbeddingResponse

from tasks.codecs.base import Context, Embeddings, Policy, RequestError, Vectors
from tasks.codecs.endpoints.embeddings import ENDPOINT, build_embeddings


def parsed(**body: Any) -> tuple[Embeddings, Context]:
    (found,) = ENDPOINT.parse({"input": "a", **body}, Policy("error", "x"))
    return found


@pytest.mark.parametrize(
    ("body", "request_", "context"),
    [
        ({}, Embeddings(["a"]), Context()),
        ({"input": ["a", "b"], "dimensions": 256}, Embeddings(["a", "b"], 256), Context()),
        (
            {"encoding_format": "base64", "input_type": "query"},
            Embeddings(["a"], None, {"input_type": "query"}),
            Context(base64=True),
        ),
        ({"encoding_format": "float", "user": "u"}, Embeddings(["a"]), Context()),
        ({"input": ["a"] * 2048}, Embeddings(["a"] * 2048), Context()),
    ],
)
def test_a_body(body: dict[str, Any], request_: Embeddings, context: Context) -> None:
    assert parsed(**body) == (request_, context)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": None}, "input", "invalid_type"),
        ({"input": []}, "input", "invalid_type"),
        ({"input": ["a", None]}, "input", "invalid_type"),
        ({"input": ["a", " "]}, "input", "invalid_value"),
        ({"input": [1, 2]}, "input", "unsupported_parameter"),
        ({"input": [[1]]}, "input", "unsupported_parameter"),
        ({"input": ["a"] * 2049}, "input", "invalid_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"dimensions": "256"}, "dimensions", "invalid_type"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(**body)
    assert (caught.value.param, caught.value.code) == (param, code)


def built(*answers: Vectors, context: Context | None = None) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(build_embeddings(list(answers), model="m", context=context))
    )
    return found


def test_vectors() -> None:
    found = built(Vectors([[1.0], [2.0]], 3), Vectors([[3.5]], 4))
    CreateEmbeddingResponse.model_validate(found, strict=True)
    assert [(each["index"], each["embedding"]) for each in found["data"]] == [(0, [1.0]), (1, [2.0]), (2, [3.5])]
    assert found["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert built(Vectors([[1.0]], 3), Vectors([[1.0]]))["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_in_base64() -> None:
    (each,) = built(Vectors([[1.0, -2.5]]), context=Context(base64=True))["data"]
    assert struct.unpack("<2f", base64.b64decode(each["embedding"])) == (1.0, -2.5)
