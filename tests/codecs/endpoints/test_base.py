"""What endpoints have in common: records of a body, and answers put right by what is known of their request."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Context, DecodeError, Policy, RequestError, ToolCall, Usage, Vectors
from tasks.codecs.endpoints import endpoint_at
from tasks.codecs.endpoints._base import encode_context, sum_usage, total_tokens
from tests.codecs.helpers import TOOL, user
from tests.conftest import CLAUDE, NOVA

CHAT, EMBEDDINGS = endpoint_at("/v1/chat/completions"), endpoint_at("/v1/embeddings")
COMMAND_R, TITAN, GPT_OSS = "cohere.command-r-v1:0", "amazon.titan-embed-text-v2:0", "openai.gpt-oss-20b-1:0"


def write(model: str, wanted: Any = "auto", **body: Any) -> Any:
    return CHAT.writer(parse_model(model), wanted).write({"messages": [user()], **body}, Policy("error", "x"))


@pytest.mark.parametrize(
    ("model", "wanted", "body", "invocation"),
    [
        (CLAUDE, "auto", {}, "InvokeModel"),
        (CLAUDE, "Converse", {}, "Converse"),
        (COMMAND_R, "auto", {}, "Converse"),
        (COMMAND_R, "auto", {"tools": [TOOL]}, "InvokeModel"),
        (COMMAND_R, "InvokeModel", {}, "InvokeModel"),
    ],
)
def test_what_a_request_needs_decides_its_job(model: str, wanted: Any, body: dict[str, Any], invocation: str) -> None:
    assert write(model, wanted, **body).invocation == invocation


def test_with_a_seed_each_answer_has_one_of_its_own() -> None:
    records = write(GPT_OSS, n=3, seed=7).records
    assert [json.loads(body)["seed"] for body, _ in records] == [7, 8, 9]
    assert len({body for body, _ in write(CLAUDE, n=3).records}) == 1
    (only,) = write(GPT_OSS, seed=7).records
    assert json.loads(only[0])["seed"] == 7


def test_what_decoding_needs_goes_into_the_index() -> None:
    assert encode_context(Context()) is None
    assert encode_context(Context(echo="P")) == b'{"echo":"P"}'
    ((_, context),) = write(CLAUDE, response_format={"type": "json_object"}).records
    assert context == b'{"json_tool":"json_response"}'
    ((_, context),) = write(NOVA, response_format={"type": "json_object"}).records
    assert context == b'{"json_tool":"json_response","json_key":"response"}'
    listed = {"type": "json_schema", "json_schema": {"name": "j", "schema": {"type": "array", "items": {}}}}
    for model in (CLAUDE, NOVA, "mistral.mistral-large-2407-v1:0", "ai21.jamba-1-5-large-v1:0"):
        ((_, context),) = write(model, response_format=listed).records
        assert context == b'{"json_tool":"json_response","json_key":"response"}', model
    schema = {"type": "object", "properties": {"a b": {"type": "string"}}}
    ((_, context),) = write(
        CLAUDE, tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]
    ).records
    assert context == b'{"wrapped":{"f":"arguments"}}'


def test_a_format_needs_another_job_only_where_it_is_asked_for_by_a_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = {"response_format": {"type": "json_schema", "json_schema": {"name": "j", "schema": {"type": "string"}}}}
    with pytest.raises(RequestError, match="Command R has no structured output"):
        write(COMMAND_R, **asked)
    rows = tmp_path / "models.toml"
    row = f'id = "{COMMAND_R}"\nseen = "2026-11-26"\nsource = "here"\nstructured_output = true\n'
    rows.write_text(f"[[model]]\n{row}")
    monkeypatch.setenv("BEDROCK_BATCH_MODELS", str(rows))
    written = write(COMMAND_R, **asked)
    assert written.invocation == "Converse"
    assert "outputConfig" in json.loads(written.records[0][0])


def test_the_policy_names_the_family_whose_body_is_written() -> None:
    with pytest.raises(RequestError, match="cannot be honoured by nova"):
        CHAT.writer(parse_model(NOVA), "auto").write({"messages": [user()], "seed": 1}, Policy("error", "?"))


def test_thoughts_are_left_out_where_the_family_does_not_send_them_back() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = {"role": "assistant", "content": "A", "thinking_blocks": [thought]}
    policy = Policy("error", "x")
    writer = CHAT.writer(parse_model(NOVA), "auto")
    ((body, _),) = writer.write({"messages": [user(), said, user("B")]}, policy).records
    assert b"hm" not in body
    assert policy.dropped == {"messages[].thinking_blocks": 1}


def test_texts_are_records() -> None:
    written = EMBEDDINGS.writer(parse_model(TITAN), "auto").write({"input": ["a", "b"]}, Policy("error", "x"))
    assert written.invocation == "InvokeModel"
    assert written.records == [(b'{"inputText":"a"}', None), (b'{"inputText":"b"}', None)]


def read(context: Context | None = None, **output: Any) -> Answer:
    whole = {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", **output}
    found: Answer = CHAT.reader(parse_model(CLAUDE), "InvokeModel")(json.dumps(whole).encode(), context)
    return found


def called(name: str, **arguments: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "1", "name": name, "input": arguments}
    return {"content": [use], "stop_reason": "tool_use"}


def test_the_call_of_a_forced_tool_is_the_content() -> None:
    answer = read(Context(json_tool="json_response"), **called("json_response", a=1))
    assert (json.loads(answer.content or ""), answer.tool_calls, answer.finish_reason) == ({"a": 1}, [], "stop")
    cut = read(Context(json_tool="json_response"), **called("json_response", a=1) | {"stop_reason": "max_tokens"})
    assert cut.finish_reason == "length"
    other = read(Context(json_tool="json_response"), **called("f", a=1))
    assert (other.content, len(other.tool_calls)) == (None, 1)


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        ({"response": [1, 2]}, [1, 2]),
        # Some write the JSON as a text.
        ({"response": '{"a": 1}'}, {"a": 1}),
        ({"response": "plain"}, "plain"),
        ({"other": 1}, {"other": 1}),
    ],
)
def test_or_one_of_its_arguments_is(arguments: dict[str, Any], content: Any) -> None:
    answer = read(Context(json_tool="json_response", json_key="response"), **called("json_response", **arguments))
    assert json.loads(answer.content or "") == content


def test_tools_are_called_what_the_request_called_them() -> None:
    answer = read(Context(tool_names={"f_x_": "f(x)"}), **called("f_x_"))
    assert answer.tool_calls == [ToolCall("1", "f(x)", b"{}")]
    assert read(Context(tool_names={"f_x_": "f(x)"}), **called("g")).tool_calls[0].name == "g"


def test_calls_beside_stop_are_calls() -> None:
    assert read(**called("f") | {"stop_reason": "end_turn"}).finish_reason == "tool_calls"
    assert read(**called("f") | {"stop_reason": "max_tokens"}).finish_reason == "length", "they may be cut off"
    assert read(stop_reason="tool_use").finish_reason == "stop", "there is no call to look for"


def test_arguments_are_taken_out_by_the_name_that_was_sent() -> None:
    known = Context(tool_names={"f_x_": "f(x)"}, wrapped={"f_x_": "arguments"})
    assert read(known, **called("f_x_", arguments={"a b": 1})).tool_calls == [ToolCall("1", "f(x)", b'{"a b": 1}')]
    for kept in ({"arguments": "text"}, {"arguments": [1]}, {"a b": 1}):
        (call,) = read(known, **called("f_x_", **kept)).tool_calls
        assert json.loads(call.arguments) == kept, "the model did not keep to it"
    assert read(known, **called("g", arguments={"a": 1})).tool_calls[0].arguments == b'{"arguments": {"a": 1}}'


def test_of_two_calls_of_the_forced_tool_the_first_is_the_content() -> None:
    calls = [{"type": "tool_use", "id": f"{n}", "name": "json_response", "input": {"n": n}} for n in (1, 2)]
    answer = read(Context(json_tool="json_response"), content=calls, stop_reason="tool_use")
    assert (answer.content, answer.tool_calls, answer.finish_reason) == ('{"n": 1}', [], "stop")


@pytest.mark.parametrize(("tokens", "kept"), [(0, True), (1 << 36, True), ((1 << 36) + 1, False), (-1, False)])
def test_counts_that_there_cannot_be(tokens: int, kept: bool) -> None:
    assert (read(usage={"input_tokens": tokens, "output_tokens": 1}).usage is not None) is kept
    vectors = EMBEDDINGS.reader(parse_model(TITAN), "InvokeModel")
    output = msgspec.json.encode({"embedding": [1.0], "inputTextTokenCount": tokens})
    assert vectors(output, None) == Vectors([[1.0]], tokens if kept else None)


@pytest.mark.parametrize(("tokens", "kept"), [(0, True), (1 << 36, True), ((1 << 36) + 1, False), (-1, False)])
@pytest.mark.parametrize(
    "place",
    [("prompt",), ("completion",), ("prompt", "cached"), ("completion", "reasoning"), ("prompt", "cache_write")],
)
def test_no_count_of_an_answer_is_beyond_the_bounds(place: tuple[str, ...], tokens: int, kept: bool) -> None:
    usage: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 1}
    if len(place) == 1:
        usage[f"{place[0]}_tokens"] = tokens
    else:
        usage[f"{place[0]}_tokens_details"] = {f"{place[1]}_tokens": tokens}
    output = {"choices": [{"message": {"content": "Hi"}}], "usage": usage}
    answer = CHAT.reader(parse_model(GPT_OSS), "InvokeModel")(msgspec.json.encode(output), None)
    assert (answer.content, answer.usage is not None) == ("Hi", kept)


@pytest.mark.parametrize("embedding", [[], [1e39], [1.0, -1e300]])
def test_vectors_that_no_client_can_take(embedding: list[float]) -> None:
    read_vectors = EMBEDDINGS.reader(parse_model(TITAN), "InvokeModel")
    with pytest.raises(DecodeError):
        read_vectors(msgspec.json.encode({"embedding": embedding}), None)


@pytest.mark.parametrize("embeddings", [[], [[]], [[1.0], []]])
def test_no_vector_is_empty(embeddings: list[list[float]]) -> None:
    read_vectors = EMBEDDINGS.reader(parse_model("cohere.embed-english-v3"), "InvokeModel")
    with pytest.raises(DecodeError, match="an embedding without numbers"):
        read_vectors(msgspec.json.encode({"embeddings": embeddings}), None)


def test_sums() -> None:
    whole = Answer("a", "stop", Usage(1, 2, 3, 4, 5))
    assert sum_usage([whole]) == Usage(1, 2, 3, 4, 5)
    assert sum_usage([whole, whole]) == Usage(2, 4, 6, 8, 10)
    assert sum_usage([whole, Answer("b", "stop", None)]) is None
    assert total_tokens([Vectors([], 1), Vectors([], 2)]) == 3
    assert total_tokens([Vectors([], 1), Vectors([])]) is None
    assert CHAT.usage([whole]) == Usage(1, 2, 3, 4, 5)
    assert EMBEDDINGS.usage([Vectors([], 3)]) == Usage(3, 0)
    assert EMBEDDINGS.usage([Vectors([])]) is None


def test_fields_that_ask_for_nothing_are_no_leftovers() -> None:
    body = {"model": "m", "stream": True, "user": None, "messages": [], "logprobs": False, "seed": 1, "top_logprobs": 2}
    assert CHAT.leftovers(body) == {"seed": 1, "top_logprobs": 2}
    words = (
        "model user metadata store stream stream_options service_tier safety_identifier prompt_cache_key "
        "prompt_cache_options prompt_cache_retention"
    )
    for url in ("chat/completions", "completions", "responses", "embeddings"):
        assert endpoint_at(f"/v1/{url}").without_effect == set(words.split())


def test_an_endpoint_has_a_frame_and_a_system_prompt_or_has_not() -> None:
    assert EMBEDDINGS.plain_reader(parse_model(TITAN), "InvokeModel") is None
    assert EMBEDDINGS.with_system({}, "S") is None
    with pytest.raises(NotImplementedError):
        EMBEDDINGS.plain_frame(b"", 1, "m")
