"""The records of a block of lines that fit a template: the bytes that the encoder writes one by one."""

import json
from typing import Any

import numpy as np
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.encoder import RECORD_END
from tasks.codecs.families.anthropic import AnthropicCodec
from tasks.errors import PipelineError
from tasks.fast.line import FastEncoder, encoder_for
from tasks.fast.match import LineBlock, Templates
from tasks.fast.records import PlainRecords, RecordForm, form_of
from tasks.fast.template import learn
from tasks.openai_format.requests import CHAT
from tests.conftest import CLAUDE, LLAMA, NOVA, chat


def encoder(model: str = CLAUDE, unsupported: Any = "error") -> FastEncoder:
    found = encoder_for(parse_model(model), "/v1/chat/completions", unsupported, "auto", None)
    assert isinstance(found, FastEncoder)
    return found


def matched(lines: list[bytes]) -> tuple[bytes, LineBlock, Templates]:
    data = b"".join(line + b"\n" for line in lines)
    templates = Templates(lambda _: True)
    block = templates.find(data)
    assert block is not None
    return data, block, templates


def lines_of(*texts: str, **body: Any) -> list[bytes]:
    return [json.dumps(chat(f"req-{n}", text, **body), ensure_ascii=False).encode() for n, text in enumerate(texts)]


TEXTS = [f'Question {n} é "quoted" \\ {"x" * n}' for n in range(30)]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CLAUDE, {"max_tokens": 5}),
        (NOVA, {"temperature": 0.5}),
        (LLAMA, {}),
        (CLAUDE, {"response_format": {"type": "json_object"}}),
    ],
)
def test_a_block_of_records_is_what_the_encoder_writes(model: str, body: dict[str, Any]) -> None:
    lines, one_by_one = lines_of(*TEXTS, **body), encoder(model)
    data, block, templates = matched(lines)
    forms = [form_of(template, encoder(model)) for template in templates.known]
    assert forms[0] is not None, "the plainest lines take the short cut"
    requests = np.arange(100, 100 + len(lines))
    records = PlainRecords(data, block, requests, templates.known, forms)
    written = bytes(records.between(0, len(lines))).splitlines(keepends=True)
    assert records.sizes.tolist() == list(map(len, written))
    assert records.custom_ids.to_pylist() == [f"req-{n}" for n in range(len(lines))]
    for number, (record, line) in enumerate(zip(written, lines, strict=True), 100):
        encoded = one_by_one.draft(line)
        assert json.loads(record) == {
            "recordId": f"r{number:09d}",
            "modelInput": json.loads(encoded.model_inputs[0]),
        }
        assert (forms[0].invocation, forms[0].context) == (encoded.invocation, encoded.contexts[0])
    assert bytes(records.between(3, 5)) == written[3] + written[4]
    assert bytes(records.between(7, 7)) == b""


def test_records_of_two_kinds_of_lines_keep_the_order_of_the_lines() -> None:
    lines = [line for pair in zip(lines_of(*TEXTS), lines_of(*TEXTS, temperature=0.5), strict=True) for line in pair]
    data, block, templates = matched(lines)
    assert len(templates.known) == 2
    forms = [form_of(template, encoder()) for template in templates.known]
    records = PlainRecords(data, block, np.arange(len(lines)), templates.known, forms)
    each = [bytes(records.between(number, number + 1)) for number in range(len(lines))]
    assert [json.loads(record)["recordId"] for record in each] == [f"r{number:09d}" for number in range(len(lines))]


def test_other_lines_have_no_record() -> None:
    lines = lines_of(*TEXTS)
    lines[4] = json.dumps(chat("odd", "x", seed=1)).encode()
    data, block, templates = matched(lines)
    forms = [form_of(template, encoder()) for template in templates.known]
    assert forms[0] is not None
    formed = np.where([True, *(form is not None for form in forms)], np.arange(len(forms) + 1), 0)
    block = LineBlock(block.starts, block.ends, formed[block.shapes].astype(np.uint8), block.sizes)
    records = PlainRecords(data, block, np.arange(len(lines)), templates.known, forms)
    assert records.sizes[4] == 0
    assert all(records.sizes[:4])
    assert b'"recordId":"r000000005"' in bytes(records.between(4, 6))


def form(unsupported: Any = "error", **body: Any) -> RecordForm | None:
    _, _, templates = matched(lines_of(*TEXTS, **body))
    return form_of(templates.known[0], encoder(unsupported=unsupported))


def test_what_the_lines_leave_out_is_kept_with_their_form() -> None:
    found = form("drop", seed=1)
    assert found is not None
    assert found.dropped == {"seed": 1}
    assert found.fixed[-1].endswith(RECORD_END)


@pytest.mark.parametrize("body", [{"seed": 1}, {"temperature": "hot"}, {"n": 2}])
def test_lines_that_go_one_by_one_have_no_form(body: dict[str, Any]) -> None:
    """Each says what is wrong with it, or becomes several records."""
    assert form(**body) is None


def test_the_first_texts_may_be_the_same_in_all_lines() -> None:
    system = {"role": "system", "content": "Be brief."}
    lines = [
        json.dumps(chat(f"req-{n}", messages=[system, {"role": "user", "content": text}])).encode()
        for n, text in enumerate(TEXTS)
    ]
    data, block, templates = matched(lines)
    forms = [form_of(template, encoder(NOVA)) for template in templates.known]
    assert forms[0] is not None
    written = bytes(PlainRecords(data, block, np.arange(30), templates.known, forms).between(0, 30)).splitlines()
    one_by_one = encoder(NOVA)
    assert [json.loads(record)["modelInput"] for record in written] == [
        json.loads(one_by_one.draft(line).model_inputs[0]) for line in lines
    ]


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_texts_may_stand_in_another_order_than_in_the_line(model: str) -> None:
    """A system text that comes late: in the record it is the first."""
    roles = ("user", "system", "user")
    lines = [
        json.dumps(chat(f"req-{n}", messages=[{"role": role, "content": f"{role} {text}"} for role in roles])).encode()
        for n, text in enumerate(TEXTS)
    ]
    data, block, templates = matched(lines)
    (template,) = templates.known
    found = form_of(template, encoder(model))
    assert found is not None
    assert (template.text_slots, found.slots) == ((1, 2, 3), (2, 1, 3))
    written = bytes(PlainRecords(data, block, np.arange(30), [template], [found]).between(0, 30)).splitlines()
    assert [json.loads(record)["modelInput"] for record in written] == [
        json.loads(encoder(model).draft(line).model_inputs[0]) for line in lines
    ]


def test_a_form_that_does_not_give_the_lines_own_record_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that takes this text otherwise than the next."""
    encode = AnthropicCodec.encode

    def other(self: AnthropicCodec, *given: Any) -> Any:
        encoded = encode(self, *given)
        if "Question 0" in json.dumps(encoded.body):
            encoded.body["max_tokens"] = 1
        return encoded

    assert form("drop", seed=1) is not None
    monkeypatch.setattr(AnthropicCodec, "encode", other)
    assert form("drop", seed=1) is None


def test_a_template_that_fails_has_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines_of("x", seed=1)
    template = learn(line, "last text")
    assert template is not None
    encoder = FastEncoder(parse_model(CLAUDE), CHAT, "drop")
    assert form_of(template, encoder) is not None

    def fail(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(AnthropicCodec, "encode", fail)
    assert form_of(template, encoder) is None


@pytest.mark.parametrize("error", [PipelineError("x"), MemoryError()], ids=["pipeline", "memory"])
def test_what_no_line_is_to_blame_for_is_raised(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines_of("x", seed=1)
    template = learn(line, "last text")
    assert template is not None

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(FastEncoder, "draft", fail)
    with pytest.raises(type(error)):
        form_of(template, FastEncoder(parse_model(CLAUDE), CHAT, "drop"))


def test_a_template_whose_records_grow_much_has_no_form() -> None:
    """A block of two million bytes of its lines would be a thousand million bytes of records."""
    inner: dict[str, Any] = {"type": "string", "description": "x" * 500}
    for copies, fits in ((1, True), (400, False)):
        properties = {f"p{n}": {"$ref": "#/$defs/d"} for n in range(copies)}
        schema = {"type": "object", "properties": properties, "$defs": {"d": inner}}
        (line,) = lines_of("x", tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])
        template = learn(line, "last text")
        assert template is not None
        assert (form_of(template, FastEncoder(parse_model(NOVA), CHAT, "drop")) is not None) is fits
