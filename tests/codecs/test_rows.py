"""Every row of the table of models is true of what is sent: what it says the model takes is kept, all else is refused.

A model that is added by a row is tested here without a word more; a row's values are held to their source by whoever adds
it, and by the imitation's own rules (`test_cases.py`).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import model_rules
from deployments.sandbox.models import base_model
from tasks.bedrock.capabilities import MODELS_VARIABLE, Capabilities, all_models
from tasks.bedrock.models import parse_model
from tasks.codecs import chat_codec, codec_for
from tasks.codecs.base import Chat, Policy, RequestError, Text, Turn
from tasks.codecs.encoder import Encoder
from tasks.openai_format.requests import CHAT, EMBEDDINGS
from tests.codecs import neutral
from tests.codecs.helpers import PNG, TOOL

ROWS = all_models()
CHATS = {name: facts for name, facts in ROWS.items() if facts.kind == "chat"}
USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "out", "schema": SCHEMA}}
STRICT = {"type": "function", "function": {**TOOL["function"], "strict": True}}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def sent(name: str, endpoint: str = CHAT, **fields: Any) -> dict[str, Any] | str:
    """The record of a request, or the field by which it is refused."""
    body = {"messages": [USER], **fields} if endpoint == CHAT else fields
    encoder = Encoder(parse_model(name), endpoint, "error")
    try:
        encoded = encoder.encode_general(json.dumps({"custom_id": "x", "body": body}).encode())
    except RequestError as error:
        assert error.param, error.message
        return error.param
    record: dict[str, Any] = json.loads(encoded.model_inputs[0])
    assert model_rules.problem(record, base_model(name)) is None
    return record


def kept(record: dict[str, Any] | str) -> bool:
    return isinstance(record, dict)


def by_tools(facts: Capabilities) -> bool:
    """Whether the model's own body takes tools."""
    codec: Any = codec_for(parse_model(facts.id))
    return facts.tools and bool(codec.native_tools)


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_model_takes_what_its_row_says(name: str) -> None:
    facts = CHATS[name]
    content = [{"type": "text", "text": "?"}, PICTURE]
    assert kept(sent(name, messages=[{"role": "user", "content": content}])) == facts.images
    assert kept(sent(name, tools=[TOOL])) == by_tools(facts)
    strict = sent(name, tools=[STRICT])
    assert kept(strict) == (by_tools(facts) and facts.strict_tools)
    assert not isinstance(strict, dict) or neutral.tools(strict)[0]["strict"]
    if facts.max_tokens is not None:
        assert sent(name, max_tokens=facts.max_tokens + 1) == "max_tokens"
        assert neutral.parameter(_record(sent(name, max_tokens=facts.max_tokens)), "max_tokens") == facts.max_tokens


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_model_answers_in_a_format_as_its_row_says(name: str) -> None:
    facts = CHATS[name]
    record = sent(name, response_format=FORMAT)
    if facts.structured_output:
        assert neutral.native_format(_record(record)) is not None
    elif facts.forces_tools and by_tools(facts):
        assert neutral.tool_choice(_record(record)) in ("json_response", "required")
    else:
        assert record == "response_format"


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("form", ["auto", "required", "named"])
def test_a_chat_model_is_made_to_call_tools_as_its_row_says(name: str, form: str) -> None:
    facts = CHATS[name]
    if not by_tools(facts):
        pytest.skip("it takes no tools")
    choice = {"type": "function", "function": {"name": "get_weather"}} if form == "named" else form
    record = sent(name, tools=[TOOL], tool_choice=choice)
    assert kept(record) == (form in facts.tool_choice)
    assert not isinstance(record, dict) or form == "auto" or neutral.forces_tool(record)


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_model_thinks_as_its_row_says(name: str) -> None:
    facts = CHATS[name]
    record = sent(name, reasoning_effort="low", max_tokens=4000)
    assert kept(record) == bool(facts.thinking - {"always"})
    if isinstance(record, dict):
        assert neutral.thinking(record) or neutral.effort(record)
    off = sent(name, reasoning_effort="none")
    assert kept(off) == (facts.thinking_off != "never")
    assert not isinstance(off, dict) or neutral.thinking(off) is None


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_model_samples_as_its_row_says(name: str) -> None:
    facts = CHATS[name]
    assert kept(sent(name, temperature=0.5)) == (facts.sampling != "none")
    assert kept(sent(name, temperature=0.5, top_p=0.5)) == (facts.sampling == "both")


@pytest.mark.parametrize("name", [name for name, facts in ROWS.items() if facts.kind == "embeddings"])
def test_an_embedding_model_has_the_sizes_of_its_row(name: str) -> None:
    for size in ROWS[name].dimensions:
        assert kept(sent(name, EMBEDDINGS, input="Hi", dimensions=size))
    assert sent(name, EMBEDDINGS, input="Hi", dimensions=7) == "dimensions"


#: A chat model of each family module.
BY_CODEC = {facts.codec: name for name, facts in CHATS.items() if facts.codec}


@pytest.mark.parametrize("codec", sorted(BY_CODEC))
@pytest.mark.parametrize("invocation", ["InvokeModel", "Converse"])
def test_a_limit_that_a_user_adds_holds_in_every_family(
    codec: str, invocation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "models.toml"
    own.write_text(f'[[model]]\nid = "{BY_CODEC[codec]}"\nseen = "2026-11-26"\nsource = "ours"\nmax_tokens = 2000\n')
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    model = parse_model(BY_CODEC[codec])
    for most, param in ((2000, None), (2001, "max_tokens")):
        chat = Chat([], [Turn("user", [Text("Hi")])], max_tokens=most)
        lenient = Policy("drop", codec)
        chat_codec(model, invocation).encode(chat, model, lenient)
        assert lenient.dropped == ({} if param is None else {"max_tokens (cut to what the model can)": 1})
        assert chat.max_tokens == 2000


def _record(record: dict[str, Any] | str) -> dict[str, Any]:
    assert isinstance(record, dict), f"it was refused by {record}"
    return record
