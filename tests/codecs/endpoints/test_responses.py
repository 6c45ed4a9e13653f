"""/v1/responses: what comes first in the system prompt, and which count of tokens goes where."""

import json
from typing import Any

import msgspec

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Usage
from tasks.codecs.encoder import Encoder
from tasks.codecs.endpoints.responses import build_response
from tasks.openai_format.requests import RESPONSES
from tests.conftest import CLAUDE, NOVA


def encode(model: str, **body: Any) -> Any:
    line = json.dumps({"custom_id": "a", "body": {"model": "m", **body}}).encode()
    return json.loads(Encoder(parse_model(model), RESPONSES, "error").encode(line).model_inputs[0])


def test_instructions_come_before_the_developers_items() -> None:
    given = [
        {"role": "developer", "content": "second"},
        {"role": "system", "content": "third"},
        {"role": "user", "content": "Hi"},
    ]
    assert encode(NOVA, input=given, instructions="first")["system"] == [
        {"text": "first"},
        {"text": "second"},
        {"text": "third"},
    ]


def test_counts_of_tokens_are_where_openai_has_them() -> None:
    usage = Usage(100, 40, 30, 4, written=20)
    answer = Answer("Hi", "stop", usage)
    body = json.loads(msgspec.json.encode(build_response([answer], [None], id="x", created=1, model=CLAUDE)))
    assert body["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 140,
    }


def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    body = build_response([Answer("Hi", "length", None)], [None], id="x", created=1, model=CLAUDE)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["usage"] is None
