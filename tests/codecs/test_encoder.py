"""A line to modelInputs: what is wrong is that line's, and what would befall any other passes through."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import ConversionFault, RequestError
from tasks.codecs.encoder import EncodedRequest, Encoder
from tasks.errors import PipelineError
from tests.codecs.helpers import user
from tests.conftest import CLAUDE, NOVA

PICTURE = {"messages": [user([{"type": "image_url", "image_url": {"url": "s3://b/k.png"}}])]}


def encoder(unsupported: Any = "error", model: str = CLAUDE, **options: Any) -> Encoder:
    return Encoder(parse_model(model), "/v1/chat/completions", unsupported, **options)


def line(**body: Any) -> bytes:
    return json.dumps({"custom_id": "a", "body": {"messages": [user()], **body}}).encode()


def test_a_line() -> None:
    found = encoder().encode(line(max_tokens=5))
    (body,) = found.model_inputs
    assert found == EncodedRequest("a", "InvokeModel", [body], [None], {})
    assert json.loads(body) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_several_answers_are_a_record_each() -> None:
    found = encoder().encode(line(n=3))
    assert len(found.model_inputs) == len(found.contexts) == 3
    assert len(set(found.model_inputs)) == 1


@pytest.mark.parametrize(
    ("text", "param", "code", "why"),
    [
        (b"{", "body", "invalid_json_line", "is not parseable as valid JSON"),
        (b'{"custom_id":"a","body":[]}', "body", "invalid_json_line", "is not parseable as valid JSON"),
        (b'{"body":{}}', "body", "invalid_json_line", "is not parseable"),
        (b'{"custom_id":"a","body":{"temperature":NaN}}', "temperature", "invalid_json_line", "64-bit float"),
        (rb'{"custom_id":"a","body":{"user":"\ud800"}}', "user", "invalid_json_line", "surrogate pair"),
        (
            b'{"custom_id":"a","body":{"x":' + b"[" * 199 + b"]" * 199 + b"}}",
            "body",
            "invalid_value",
            "200 levels deep",
        ),
        (
            b'{"custom_id":"a","body":{"x":' + b"[" * 9999 + b"]" * 9999 + b"}}",
            "body",
            "invalid_json_line",
            "too deeply",
        ),
        (b'{"custom_id":"a","body":{}}', "messages", "invalid_value", "at least one message"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(text: bytes, param: str, code: str, why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        encoder().encode(text)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_is_left_out_is_counted_where_a_line_is_encoded_and_not_where_it_is_drafted() -> None:
    lenient = encoder("drop")
    assert lenient.draft(line(seed=1)).dropped == {"seed": 1}
    assert lenient.dropped.as_dict() == {}
    lenient.encode(line(seed=1))
    lenient.encode(line(seed=2))
    assert lenient.dropped.as_dict() == {"seed": 2}


def test_a_fault_of_this_program_is_that_lines_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = encoder()

    def fail(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(broken, "_draft", fail)
    with pytest.raises(ConversionFault) as caught:
        broken.encode(line())
    assert isinstance(caught.value.__cause__, KeyError)

    def sink(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(broken, "_draft", sink)
    with pytest.raises(RequestError, match="more than 200 levels deep"):
        broken.encode(line())


@pytest.mark.parametrize("error", [PipelineError("S3 is out of reach"), MemoryError()])
def test_what_would_befall_any_line_passes_through(error: BaseException) -> None:
    def fetch(url: str) -> bytes:
        raise error

    with pytest.raises(type(error)):
        encoder(model=NOVA, fetch=fetch).encode(line(**PICTURE))


def test_what_may_not_be_fetched_is_the_lines_error() -> None:
    def fetch(url: str) -> bytes:
        raise RequestError("its bucket is not allowed.")

    with pytest.raises(RequestError, match=r"its bucket is not allowed\.") as caught:
        encoder(model=NOVA, fetch=fetch).encode(line(**PICTURE))
    assert caught.value.param == "messages[0].content[0].image_url.url"


def test_an_endpoint_that_there_is_not() -> None:
    with pytest.raises(KeyError):
        Encoder(parse_model(CLAUDE), "/v1/moderations", "error")


ODD = {"type": "object", "properties": {"a b": {"type": "string"}}, "anyOf": [{"required": ["a b"]}]}


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_what_is_made_once_of_tools_is_counted_and_written_for_each_line(model: str) -> None:
    function = {"name": "f", "parameters": ODD, "strict": True}
    functions = [function, {**function, "description": "D"}]
    lines = [line(tools=[{"type": "function", "function": each}]) for each in functions]
    ours = encoder("drop", model)
    first, _, again = (ours.encode(each) for each in (*lines, lines[0]))
    assert again == first
    assert first.dropped
    assert ours.dropped.as_dict()["tools[].function.parameters (anyOf in the description)"] == 3


def test_jobs_of_a_type_that_the_models_row_has_not_are_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert encoder().encode(line()).invocation == "InvokeModel"
    rows = tmp_path / "models.toml"
    row = f'id = "{CLAUDE}"\nseen = "2026-11-26"\nsource = "here"\njobs = ["Converse"]\n'
    rows.write_text(f"[[model]]\n{row}")
    monkeypatch.setenv("BEDROCK_BATCH_MODELS", str(rows))
    found = encoder().encode(line())
    assert found.invocation == "Converse"
    assert json.loads(found.model_inputs[0])["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]


def test_the_beginning_of_an_answer_keeps_the_space_before_it() -> None:
    messages = [user(), {"role": "assistant", "content": "  { \n"}]
    (body,) = encoder(model="anthropic.claude-3-haiku-20240307-v1:0").encode(line(messages=messages)).model_inputs
    assert json.loads(body)["messages"][-1] == {"role": "assistant", "content": "  {"}


@pytest.mark.parametrize(("effort", "budget"), [("minimal", 1024), ("low", 2048), ("medium", 4000)])
def test_a_budget_is_the_efforts_and_at_most_half_of_the_answer(effort: str, budget: int) -> None:
    model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    (body,) = encoder(model=model).encode(line(reasoning_effort=effort, max_tokens=8000)).model_inputs
    assert json.loads(body)["thinking"] == {"type": "enabled", "budget_tokens": budget}
