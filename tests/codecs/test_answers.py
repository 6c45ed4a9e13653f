"""What models say beside their text: thoughts, their signatures, leaked markers, refusals, citations, counts."""

import json
from typing import Any

import msgspec
import openai.types
import openai.types.chat
import openai.types.responses
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import Answer, Thinking
from tasks.codecs.decoder import Decoder, build
from tasks.codecs.encoder import Encoder
from tasks.codecs.families._reasoning import NOVA as NOVA_TAGS
from tasks.codecs.families._reasoning import split_reasoning
from tasks.openai_format.requests import CHAT, EMBEDDINGS, RESPONSES
from tests.codecs.helpers import decode
from tests.conftest import CLAUDE, NOVA

KIMI, MAGISTRAL, GLM = "moonshotai.kimi-k2.5", "mistral.magistral-small-2509", "zai.glm-4.7"
LEAKED = (
    "Let me look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city": "Oslo"}<|tool_call_end|><|tool_call_begin|>functions.get_time:1<|tool_call_argument_begin|>{}'
    "<|tool_call_end|><|tool_calls_section_end|>"
)


def completion(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 3, "completion_tokens": 5, **usage}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": counts}


def claude(*content: dict[str, Any], stop_reason: str = "end_turn", **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 9, **fields.pop("usage", {})}
    return {"content": list(content), "stop_reason": stop_reason, "usage": usage, **fields}


def converse(*content: dict[str, Any], stop_reason: str = "end_turn") -> dict[str, Any]:
    usage = {"inputTokens": 3, "outputTokens": 9}
    return {"output": {"message": {"content": list(content)}}, "stopReason": stop_reason, "usage": usage}


def body_of(endpoint: str, model: str, output: dict[str, Any]) -> Any:
    """The response body, held to the type of OpenAI's own package."""
    decoder = Decoder(parse_model(model), endpoint, "InvokeModel")
    outcome = decoder.decode(json.dumps(output).encode(), None)
    body = json.loads(msgspec.json.encode(build(endpoint, [outcome], [None], id="1", created=1, model=model)))
    types: dict[str, Any] = {
        CHAT: openai.types.chat.ChatCompletion,
        RESPONSES: openai.types.responses.Response,
        EMBEDDINGS: openai.types.CreateEmbeddingResponse,
    }
    types[endpoint].model_validate(body)
    return body


@pytest.mark.parametrize(
    ("text", "finish", "reasoning", "content"),
    [
        ("<think>Hm.</think>\n\n4", "stop", "Hm.", "4"),
        ("\n<reasoning>Hm.</reasoning>4", "stop", "Hm.", "4"),
        ("[THINK]Hm.[/THINK]4", "stop", "Hm.", "4"),
        ("Hm. So it is four.\n</think>\n\n4", "stop", "Hm. So it is four.", "4"),
        ("<think></think>4", "stop", None, "4"),
        ("<think>Hm. So", "length", "Hm. So", ""),
        ("<think>4", "stop", None, "4"),
        ("Close it with `</think>`.", "stop", None, "Close it with `</think>`."),
        ("It writes <think>x</think> first.", "stop", None, "It writes <think>x</think> first."),
        ("4", "stop", None, "4"),
    ],
)
def test_thoughts_in_the_text(text: str, finish: str, reasoning: str | None, content: str) -> None:
    assert split_reasoning(text, finish) == (reasoning, content)  # type: ignore[arg-type]
    answer = decode(GLM, completion({"content": text}, finish))
    assert (answer.reasoning, answer.content) == (reasoning, content)


def test_novas_thinking() -> None:
    assert split_reasoning("<thinking> I look. </thinking>\n\nRain.", "stop", NOVA_TAGS) == ("I look.", "Rain.")
    answer = decode(NOVA, converse({"text": "<thinking> I look. </thinking>\n\nRain."}))
    assert (answer.reasoning, answer.content) == ("I look.", "Rain.")
    use = {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {}}}
    answer = decode(NOVA, converse({"text": "<thinking>I look.</thinking>"}, use, stop_reason="tool_use"))
    assert (answer.reasoning, answer.content, answer.finish_reason) == ("I look.", None, "tool_calls")
    # Whoever asks Claude for such tags gets them.
    asked = decode(CLAUDE, claude({"type": "text", "text": "<thinking>a</thinking>b"}))
    assert (asked.reasoning, asked.content) == (None, "<thinking>a</thinking>b")


def test_magistrals_parts() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "4"}]
    answer = decode(MAGISTRAL, completion({"content": content}))
    assert (answer.reasoning, answer.content) == ("Hm.", "4")


def test_kimis_leaked_calls() -> None:
    answer = decode(KIMI, completion({"content": LEAKED}))
    assert (answer.content, answer.finish_reason) == ("Let me look.", "tool_calls")
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [
        ("functions.get_weather:0", "get_weather", b'{"city": "Oslo"}'),
        ("functions.get_time:1", "get_time", b"{}"),
    ]
    thought = decode(KIMI, completion({"content": "", "reasoning_content": LEAKED}))
    assert (thought.content, thought.reasoning, len(thought.tool_calls)) == (None, "Let me look.", 2)


@pytest.mark.parametrize("cut", [-30, 60, LEAKED.index('{"city') + 4])
def test_what_is_no_whole_call_stays_text(cut: int) -> None:
    text = LEAKED[:cut].replace("<|tool_calls_section_end|>", "")
    answer = decode(KIMI, completion({"content": text}, "length"))
    assert (answer.content, answer.tool_calls, answer.finish_reason) == (text, [], "length")


def test_calls_beside_stop_are_calls() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}
    body = body_of(CHAT, GLM, completion({"content": None, "tool_calls": [call]}))
    assert body["choices"][0]["finish_reason"] == "tool_calls"


def test_claudes_thoughts_go_out_with_their_signatures() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    sealed = {"type": "redacted_thinking", "data": "x9"}
    output = claude(
        thought, sealed, {"type": "text", "text": "4"}, usage={"output_tokens_details": {"thinking_tokens": 7}}
    )
    message = body_of(CHAT, CLAUDE, output)["choices"][0]["message"]
    assert (message["reasoning_content"], message["thinking_blocks"]) == ("Hm.", [thought, sealed])
    usage = body_of(CHAT, CLAUDE, output)["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 7}
    item, text = body_of(RESPONSES, CLAUDE, output)["output"]
    assert item["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert item["encrypted_content"].startswith("bedrock:")
    assert text["content"][0]["text"] == "4"


def test_empty_thoughts_are_no_reasoning_but_are_kept_for_the_next_turn() -> None:
    output = claude({"type": "thinking", "thinking": "", "signature": "EqQB"}, {"type": "text", "text": "4"})
    answer = decode(CLAUDE, output)
    assert (answer.reasoning, answer.thinking) == (None, [Thinking("", "EqQB")])
    assert "reasoning_content" not in body_of(CHAT, CLAUDE, output)["choices"][0]["message"]


def test_converse_gives_signatures_and_cited_text() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "EqQB"}}}
    cited = {"citationsContent": {"content": [{"text": "Four"}, {"text": "."}], "citations": [{"title": "a"}]}}
    answer = decode(CLAUDE, converse(thought, {"text": "So: "}, cited), "Converse")
    assert (answer.content, answer.reasoning, answer.thinking) == ("So: Four.", "Hm.", [Thinking("Hm.", "EqQB")])


def test_a_refusal_keeps_its_explanation() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It could do harm."}
    output = claude(stop_reason="refusal", stop_details=details)
    message = body_of(CHAT, CLAUDE, output)["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "It could do harm.")
    begun = claude({"type": "text", "text": "First, take"}, stop_reason="refusal", stop_details=details)
    answer = decode(CLAUDE, begun)
    assert (answer.content, answer.refusal) == ("First, take", "It could do harm.")
    (item,) = body_of(RESPONSES, CLAUDE, begun)["output"]
    assert [part["type"] for part in item["content"]] == ["refusal", "output_text"]
    assert decode(CLAUDE, claude(stop_reason="refusal")).refusal == "The model declined to answer."
    # What it said is why, where no explanation stands beside it.
    said = decode(CLAUDE, claude({"type": "text", "text": "I will not."}, stop_reason="refusal"))
    assert (said.content, said.refusal) == (None, "I will not.")


def test_cache_writes_are_counted_where_there_are_any() -> None:
    text = {"type": "text", "text": "4"}
    usage = body_of(CHAT, CLAUDE, claude(text, usage={"cache_creation_input_tokens": 20}))["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 20}
    assert usage["prompt_tokens"] == 23
    assert body_of(CHAT, CLAUDE, claude(text))["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 4}}, 2, 4),
        ({"cached_tokens": 2}, 2, 0),
        ({"prompt_cache_hit_tokens": 2, "reasoning_tokens": 4}, 2, 4),
        ({"prompt_tokens_details": None}, 0, 0),
    ],
)
def test_counts_wherever_the_family_puts_them(usage: dict[str, Any], cached: int, reasoning: int) -> None:
    found = decode(GLM, completion({"content": "4"}, **usage)).usage
    assert found is not None
    assert (found.cached, found.reasoning) == (cached, reasoning)


@pytest.mark.parametrize(
    ("model", "output", "tokens"),
    [
        ("cohere.embed-v4:0", {"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 6}}}, 6),
        ("cohere.embed-english-v3", {"embeddings": [[0.5]]}, 0),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"embeddings": [{"embedding": [0.5]}], "inputTokenCount": 6}, 6),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"embeddings": [{"embedding": [0.5]}]}, 0),
        ("amazon.titan-embed-text-v2:0", {"embedding": [0.5], "inputTextTokenCount": 6}, 6),
    ],
)
def test_embeddings_have_a_usage(model: str, output: dict[str, Any], tokens: int) -> None:
    assert body_of(EMBEDDINGS, model, output)["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_an_answer_without_thoughts_has_none() -> None:
    assert decode(CLAUDE, claude({"type": "text", "text": "4"})).thinking == Answer("4", "stop", None).thinking == []


@pytest.mark.parametrize(
    ("model", "output", "finish", "native"),
    [
        (CLAUDE, claude({"type": "text", "text": "x"}, stop_reason="pause_turn"), "stop", "pause_turn"),
        (CLAUDE, claude({"type": "text", "text": "x"}, stop_reason="new_one"), "stop", "new_one"),
        (
            CLAUDE,
            claude({"type": "text", "text": "x"}, stop_reason="model_context_window_exceeded"),
            "length",
            "model_context_window_exceeded",
        ),
        (CLAUDE, claude({"type": "text", "text": "x"}, stop_reason="max_tokens"), "length", None),
        (CLAUDE, claude({"type": "text", "text": "x"}, stop_reason="refusal"), "content_filter", None),
        (NOVA, converse({"text": "x"}, stop_reason="malformed_tool_use"), "stop", "malformed_tool_use"),
        (NOVA, converse({"text": "x"}, stop_reason="guardrail_intervened"), "content_filter", "guardrail_intervened"),
        (NOVA, converse({"text": "x"}, stop_reason="content_filtered"), "content_filter", None),
        (GLM, completion({"content": "x"}, "model_length"), "length", "model_length"),
        (GLM, completion({"content": "x"}, "eos"), "stop", None),
    ],
)
def test_why_a_model_ended_is_not_lost(model: str, output: dict[str, Any], finish: str, native: str | None) -> None:
    choice = body_of(CHAT, model, output)["choices"][0]
    assert (choice["finish_reason"], choice.get("native_finish_reason")) == (finish, native)
    assert body_of(RESPONSES, model, output).get("native_finish_reason") == native


@pytest.mark.parametrize(
    ("model", "output"),
    [
        (CLAUDE, claude({"type": "text", "text": "x"}, stop_reason="tool_use")),
        (NOVA, converse({"text": "x"}, stop_reason="tool_use")),
        (GLM, completion({"content": "x"}, "tool_calls")),
    ],
)
def test_no_calls_are_promised_that_are_not_there(model: str, output: dict[str, Any]) -> None:
    choice = body_of(CHAT, model, output)["choices"][0]
    assert (choice["finish_reason"], choice["message"].get("tool_calls")) == ("stop", None)


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"arguments": {"first name": "Ada"}}, {"first name": "Ada"}),
        # What the model makes of it otherwise is not lost.
        ({"first name": "Ada"}, {"first name": "Ada"}),
        ({"arguments": "Ada"}, {"arguments": "Ada"}),
    ],
)
def test_arguments_with_odd_names_come_back_as_they_were_declared(given: Any, arguments: Any) -> None:
    parameters = {"type": "object", "properties": {"first name": {"type": "string"}}}
    function = {"name": "greet", "parameters": parameters}
    body = {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function", "function": function}]}
    encoded = Encoder(parse_model(CLAUDE), CHAT, "error").encode(json.dumps({"custom_id": "x", "body": body}).encode())
    output = claude({"type": "tool_use", "id": "t", "name": "greet", "input": given}, stop_reason="tool_use")
    outcome = Decoder(parse_model(CLAUDE), CHAT, "InvokeModel").decode(json.dumps(output).encode(), encoded.contexts[0])
    assert isinstance(outcome, Answer)
    assert json.loads(outcome.tool_calls[0].arguments) == arguments


@pytest.mark.parametrize(
    ("model", "text", "reasoning", "content", "calls"),
    [
        (NOVA, "<thinking>Hm.</thinking>Rain", "Hm.", "Rain", []),
        (GLM, "<think>Hm.</think>Rain", "Hm.", "Rain", []),
        (KIMI, LEAKED, None, "Let me look.", ["get_weather", "get_time"]),
        # A user may have asked Claude for just that.
        (CLAUDE, "<thinking>Hm.</thinking>Rain", None, "<thinking>Hm.</thinking>Rain", []),
    ],
)
def test_what_models_write_into_their_text_by_converse(
    model: str, text: str, reasoning: str | None, content: str, calls: list[str]
) -> None:
    decoder = Decoder(parse_model(model), CHAT, "Converse")
    output = json.dumps(converse({"text": text})).encode()
    found = decoder.decode(output, None)
    assert isinstance(found, Answer)
    assert (found.reasoning, found.content, [call.name for call in found.tool_calls]) == (reasoning, content, calls)
    assert decoder.decode_plain is not None
    plain = decoder.decode_plain(msgspec.Raw(output))
    assert (plain.reasoning, plain.content) == (found.reasoning, found.content)


def test_billed_tokens_that_are_written_as_a_float() -> None:
    output = {"embeddings": {"float": [[1, 2]]}, "meta": {"billed_units": {"input_tokens": 3.0}}}
    assert body_of(EMBEDDINGS, "cohere.embed-v4:0", output)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
