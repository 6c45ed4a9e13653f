"""Converting a line never costs another line: what is wrong with it, or with this program, is an error line of its own."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.batch.options import BatchOptions
from tasks.bedrock.models import parse_model
from tasks.codecs.base import Policy, RequestError
from tasks.codecs.dropped import DroppedFields
from tasks.codecs.families.anthropic import AnthropicCodec
from tasks.errors import ConfigurationError
from tasks.inputs.plan import size_sampler
from tasks.openai_format.faults import HALF_PAIR, MAX_DEPTH, NO_NUMBER, fault_of, first_custom_id, nests_too_deeply
from tasks.openai_format.requests import CHAT
from tasks.openai_format.results import error_line
from tests.codecs.helpers import CALL, RESULTS, TOOL, user
from tests.conftest import CLAUDE, NOVA, chat
from tests.test_fuzz_encode import converted

SECRET = "my account is 4711"


def lines(*bodies: dict[str, Any]) -> list[bytes]:
    return [json.dumps(chat(f"id-{number}", **body)).encode() for number, body in enumerate(bodies)]


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A codec that fails where it reads a certain text."""
    own = AnthropicCodec.encode

    def encode(self: Any, chat: Any, model: Any, policy: Any) -> Any:
        if SECRET in str(chat):
            raise error
        return own(self, chat, model, policy)

    monkeypatch.setattr(AnthropicCodec, "encode", encode)


FAULTS = [
    KeyError(SECRET),
    ValueError(SECRET),
    AssertionError(SECRET),
    UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET),
    OSError(SECRET),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("alike", [True, False])
def test_our_fault_is_an_error_line_and_a_traceback_without_the_prompt(
    error: Exception, alike: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Also where lines fit a template, whose own line is the one that fails."""
    broken(monkeypatch, error)
    texts = [SECRET if place in (0, 7, 30) else f"Say {place}" for place in range(60)]
    given = lines(*({"text": text, "seed": 1, **({} if alike else {"stop": [str(n)]})} for n, text in enumerate(texts)))
    with caplog.at_level(logging.ERROR):
        outcomes = converted(given, CLAUDE, CHAT, "drop", "auto", tmp_path)
    for number, (custom_id, outcome) in enumerate(outcomes):
        assert custom_id == f"id-{number}"
        if texts[number] != SECRET:
            assert outcome["messages"][0]["content"] == texts[number]
            continue
        written = json.loads(error_line("r", custom_id, outcome))["response"]
        assert written["status_code"] == 500
        assert written["body"]["error"]["type"] == "server_error"
        assert written["body"]["error"]["code"] == "conversion_failed"
        assert "fault of this program" in written["body"]["error"]["message"]
        assert SECRET not in json.dumps(written)
    (record,) = caplog.records
    said = record.getMessage()
    assert "Line 1 of in.jsonl" in said
    assert f'{Path(__file__).name}", line ' in said
    assert ", in encode\n" in said
    assert type(error).__name__ in said
    assert SECRET not in said
    assert record.exc_info is None


def test_few_places_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    names = iter(range(1000))

    def encode(*_: Any) -> Any:
        raise type(f"Error{next(names)}", (Exception,), {})(SECRET)

    monkeypatch.setattr(AnthropicCodec, "encode", encode)
    outcomes = converted(
        lines(*({"text": f"{n}", "seed": n} for n in range(60))), CLAUDE, CHAT, "drop", "auto", tmp_path
    )
    assert [outcome.status for _, outcome in outcomes] == [500] * 60
    assert len(caplog.records) == 20


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyboardInterrupt(), ConfigurationError("the credentials have expired")]
)
def test_what_would_befall_any_line_ends_the_run(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken(monkeypatch, error)
    with pytest.raises(type(error)):
        converted(lines({"text": SECRET, "seed": 1}), CLAUDE, CHAT, "drop", "auto", tmp_path)


def test_what_fails_while_shards_are_planned_is_counted_as_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, KeyError(SECRET))
    options = BatchOptions(unsupported="drop")
    call: Any = SimpleNamespace(model=parse_model(CLAUDE), options=options)
    size = size_sampler(call)
    bad, good = lines({"text": SECRET, "seed": 1}, {"text": "x", "seed": 1})
    assert size(bad, CHAT) == (0, 0)
    assert size(good, CHAT)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"a": "\\ud83d"}', HALF_PAIR),
        ('{"a": {"\\ude00": 1}}', HALF_PAIR),
        ('{"a": NaN}', NO_NUMBER),
        ('{"a": [1e999]}', NO_NUMBER),
        ('{"a": -Infinity}', NO_NUMBER),
        ('{"a": ' + "1" * 5000 + "}", NO_NUMBER),
        ("{", "not parseable"),
        ("[1]", "in a string."),
        ('"x"', "in a string."),
        ({"a": 1}, "in a string."),
        ("null", "in a string."),
        ('{"a": "\x00"}', "not parseable"),
        ('{"a":' * 300 + "1" + "}" * 300, "levels deep"),
        ('{"a":' * 3000, "nests"),
    ],
)
@pytest.mark.parametrize("model", [CLAUDE, NOVA, "openai.gpt-oss-20b-1:0", "mistral.mistral-large-2407-v1:0"])
def test_odd_arguments_are_refused_by_name(model: str, arguments: Any, why: str, tmp_path: Path) -> None:
    called = json.loads(json.dumps({**CALL, "tool_calls": CALL["tool_calls"][:1]}))  # type: ignore[index]
    called["tool_calls"][0]["function"]["arguments"] = arguments
    given = lines({"text": "a"}, {"messages": [user(), called, RESULTS[0]], "tools": [TOOL]}, {"text": "b"})
    first, (custom_id, error), last = converted(given, model, CHAT, "error", "InvokeModel", tmp_path)
    assert isinstance(first[1], dict)
    assert isinstance(last[1], dict)
    assert (custom_id, error.status, error.param) == ("id-1", 400, "messages[1].tool_calls[0].function.arguments")
    assert why in error.message


@pytest.mark.parametrize("token", ["1e999", "-1e999", "1" * 5000])
@pytest.mark.parametrize("field", ["temperature", "max_tokens", "n", "seed", "top_p", "logit_bias", "stop"])
def test_numbers_beyond_a_float_are_refused_by_name(field: str, token: str, tmp_path: Path) -> None:
    (line,) = lines({field: "NUMBER", "tools": [TOOL]})
    ((_, error),) = converted([line.replace(b'"NUMBER"', token.encode())], CLAUDE, CHAT, "drop", "auto", tmp_path)
    assert (error.status, error.param) == (400, field)
    assert NO_NUMBER in error.message


def test_what_is_no_json_is_named_and_keeps_its_custom_id(tmp_path: Path) -> None:
    bad = json.dumps(chat("a", messages=[user("x\ud83d")])).encode()
    nan = json.dumps(chat("b", temperature=float("nan"))).encode()
    deep = json.dumps(chat("c", seed="DEEP")).replace('"DEEP"', "[" * 5000 + "]" * 5000).encode()
    first, second, third = converted([bad, nan, deep], CLAUDE, CHAT, "drop", "auto", tmp_path)
    assert (first[0], first[1].code, first[1].param) == ("a", "invalid_json_line", "body.messages[0].content")
    assert (second[0], second[1].code, second[1].param) == ("b", "invalid_json_line", "body.temperature")
    assert (third[0], third[1].code) == ("c", "invalid_json_line")


def test_places_name_no_words_of_the_user() -> None:
    """They are shown in the Prefect UI."""
    for text, place in (
        (
            '{"body": {"tools": [{"parameters": {"properties": {"ssn_of_smith": "\\ud83d"}}}]}}',
            "body.tools[0].parameters",
        ),
        ('{"body": {"my secret": "\\ud83d"}}', "body"),
        ('{"body": {"metadata": {"smith": NaN}}}', "body.metadata"),
        ('{"body": {"\\ud83d": 1}}', "body"),
        ('{"a": "\\ud83d", "a": 1}', None),
        ('{"a": "\\ud83d\\ude00", "b": 1e308}', None),
    ):
        assert fault_of(text)[0] == place


def test_custom_ids_of_lines_that_cannot_be_read() -> None:
    assert first_custom_id(b' {"custom_id" : "a\\"b" , x') == 'a"b'
    for line in (
        b'{"custom_id":"a"',
        b'{"custom_id":3,',
        b'{"a":1,"custom_id":"a",',
        b'{"custom_id":"\\ud83d",',
        b'{"custom_id":"\xff",',
        b"",
    ):
        assert first_custom_id(line) is None


def test_depth_is_counted_outside_of_strings() -> None:
    assert not nests_too_deeply(b'{"a":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}')
    assert not nests_too_deeply(b"[" + b"[]," * 1000 + b"[]]")
    assert not nests_too_deeply(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert nests_too_deeply(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_references_that_multiply_are_refused(tmp_path: Path) -> None:
    """A schema of a few hundred bytes that would be one of a billion."""
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {}}
    for number in range(30):
        inner = {"$ref": f"#/$defs/d{number + 1}"}
        schema["$defs"][f"d{number}"] = {"type": "object", "properties": {"x": inner, "y": inner}}
    schema["$defs"]["d30"] = {"type": "string"}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    given = lines(
        {"tools": [tool]}, {"response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}}
    )
    for _, error in converted(given, NOVA, CHAT, "error", "auto", tmp_path):
        assert error.status == 400
        assert "by its references" in error.message


def test_names_of_dropped_fields_are_bounded() -> None:
    """They are the users' own words, and go into batch.json, the log and the report."""
    dropped = DroppedFields()
    for name in [*(f"field_{number}" for number in range(1000)), "What is the password of Mr Smith?", "x" * 5000]:
        policy = Policy("drop", "x")
        policy.refuse(name, "")
        dropped.add(policy.dropped)
    counts = dropped.as_dict()
    assert len(counts) == 201
    assert counts["other fields"] == 802
    with pytest.raises(RequestError) as caught:
        Policy("error", "x").refuse("x" * 5000, "y" * 5000)
    assert len(caught.value.message) < 1000
    assert len(caught.value.param or "") < 300
