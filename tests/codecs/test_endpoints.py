"""OpenAI's endpoints, found by their path, and what each knows of itself."""

import json
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tasks.codecs.endpoints import all_endpoints, endpoint_at
from tasks.fast.line import FastEncoder
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, REQUIRED_BODY_FIELD, RESPONSES
from tests.conftest import CLAUDE, chat

TITAN = "amazon.titan-embed-text-v2:0"


def test_every_endpoint_with_a_required_field_has_a_module() -> None:
    assert set(all_endpoints()) == set(REQUIRED_BODY_FIELD) == {CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS}
    for path, endpoint in all_endpoints().items():
        assert endpoint_at(path) is endpoint
        assert REQUIRED_BODY_FIELD[path] in endpoint.mapped
        assert not endpoint.mapped & endpoint.without_effect


def test_fields_without_effect_take_the_short_cut() -> None:
    """All of them, whatever their value: the list stands in one place."""
    ignored: dict[str, Any] = {field: {"any": ["thing"]} for field in endpoint_at(CHAT).without_effect - {"model"}}
    line = json.dumps(chat("a", "Hello", **ignored)).encode()
    encoder = FastEncoder(parse_model(CLAUDE), CHAT, "error")
    assert encoder.encode_plain_record(line, b"") is not None
    (short,), (general,) = encoder.encode(line).model_inputs, encoder.encode_general(line).model_inputs
    assert json.loads(short) == json.loads(general)


def test_a_system_prompt_is_put_where_the_endpoint_has_it() -> None:
    body = {"messages": msgspec.Raw(b'[{"role":"developer","content":"old"},{"role":"user","content":"Hi"}]')}
    changed = endpoint_at(CHAT).with_system(body, "new")
    assert changed is not None
    assert json.loads(bytes(changed["messages"])) == [
        {"role": "system", "content": "new"},
        {"role": "user", "content": "Hi"},
    ]
    changed = endpoint_at(RESPONSES).with_system({"input": msgspec.Raw(b'"Hi"')}, "new")
    assert changed is not None
    assert bytes(changed["instructions"]) == b'"new"'
    assert endpoint_at(COMPLETIONS).with_system({}, "new") is None
    assert endpoint_at(EMBEDDINGS).with_system({}, "new") is None


@pytest.mark.parametrize(("path", "field"), [(CHAT, "messages"), (RESPONSES, "input")])
def test_an_error_names_the_endpoints_own_field(path: str, field: str) -> None:
    body = {field: [{"role": "user", "content": " "}]}
    with pytest.raises(RequestError) as caught:
        Encoder(parse_model(CLAUDE), path, "error").encode(json.dumps({"custom_id": "a", "body": body}).encode())
    assert caught.value.param == field


def test_a_model_of_another_kind_costs_its_requests_and_no_more() -> None:
    line = json.dumps({"custom_id": "a", "body": {"prompt": "Hi", "input": "Hi"}}).encode()
    with pytest.raises(TypeError, match="titan-embeddings do not chat"):
        Encoder(parse_model(TITAN), COMPLETIONS, "error")
    with pytest.raises(RequestError) as caught:
        Encoder(parse_model(CLAUDE), EMBEDDINGS, "error").encode(line)
    assert isinstance(caught.value.__cause__, TypeError)


def test_each_request_has_a_policy_of_its_own_and_the_encoder_sums_up() -> None:
    encoder = Encoder(parse_model(CLAUDE), CHAT, "drop")
    line = json.dumps(chat("a", "Hello", seed=1, logit_bias={"1": 2})).encode()
    encoded = encoder.encode(line)
    assert encoded.dropped == {"seed": 1, "logit_bias": 1}
    assert encoder.draft(line).dropped == encoded.dropped
    assert encoder.dropped.as_dict() == {"seed": 1, "logit_bias": 1}
    encoder.encode(line)
    assert encoder.dropped.as_dict() == {"seed": 2, "logit_bias": 2}


def test_what_is_not_sent_drops_nothing() -> None:
    encoder = Encoder(parse_model(CLAUDE), CHAT, "drop")
    with pytest.raises(RequestError):
        encoder.encode(json.dumps({"custom_id": "a", "body": {"messages": [], "seed": 1}}).encode())
    assert encoder.dropped.as_dict() == {}
