"""Plain answers in columns and the general way give the same bytes."""

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.codecs.base import Answer, Thinking, ToolCall, Usage
from tasks.codecs.endpoints.chat_completion import build_chat_completion, is_plain, plain_frame
from tasks.fast.answers import escape, fill
from tasks.openai_format.requests import custom_id_of
from tasks.openai_format.results import HttpError, RunError, answered_frame, error_line, escape_line_ends, output_line
from tests.occurring import happened, occurring

KEY = "0123456789abcdef"
counts = st.integers(0, 2**40)
#: The line ends of `str.splitlines()`, and characters that share bytes with them.
texts = st.text(st.characters(codec="utf-8")) | st.text(
    st.sampled_from('\x85\u2028\u2029\n\x0b\x1c\u20a8\u2085\xc5\xa8a\\"')
)
answers = st.builds(
    Answer,
    content=st.none() | texts,
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts, st.sampled_from([0, 5])),
    tool_calls=st.lists(st.just(ToolCall("i", "f", b"{}")), max_size=1),
    reasoning=st.none() | texts,
    refusal=st.none() | texts,
    thinking=st.sampled_from([[], [Thinking("", "signature")]]),
)
plain = st.builds(
    Answer,
    content=texts,
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    usage=st.builds(Usage, counts, counts, counts, counts),
)


@occurring(plain=8, unusual=20)
@given(answers | plain)
def test_a_plain_answer_is_text_and_nothing_else(answer: Answer) -> None:
    unusual: object = answer.tool_calls or answer.reasoning is not None or answer.refusal is not None
    unusual = unusual or answer.thinking or (answer.usage is not None and answer.usage.written)
    unusual = unusual or answer.native_reason is not None or answer.finish_reason == "tool_calls"
    happened("plain" if is_plain(answer) else "unusual")
    assert is_plain(answer) != bool(unusual or answer.content is None or answer.usage is None)


@occurring(several=30, escaped=20)
@given(st.lists(st.tuples(plain, texts), max_size=5), texts)
def test_lines_are_those_of_the_general_way(answered: list[tuple[Answer, str]], model: str) -> None:
    usages = [answer.usage or Usage(0, 0) for answer, _ in answered]
    happened("several", len(answered) > 1)
    happened("escaped", any(set(answer.content or "") & set('\u2028\u2029\x85"\\') for answer, _ in answered))
    columns = {
        "record": pa.array([f"r{number:09d}" for number in range(len(answered))], pa.string()),
        "custom_id": escape(pa.array([custom_id for _, custom_id in answered], pa.string())),
        "content": escape(pa.array([answer.content for answer, _ in answered], pa.string())),
        "finish_reason": pa.array([answer.finish_reason for answer, _ in answered], pa.string()),
        "prompt_tokens": pa.array([usage.prompt for usage in usages], pa.int64()),
        "completion_tokens": pa.array([usage.completion for usage in usages], pa.int64()),
        "total_tokens": pa.array([usage.prompt + usage.completion for usage in usages], pa.int64()),
        "cached_tokens": pa.array([usage.cached for usage in usages], pa.int64()),
        "reasoning_tokens": pa.array([usage.reasoning for usage in usages], pa.int64()),
    }
    lines = fill(answered_frame(KEY.encode(), plain_frame(KEY.encode(), 17, model)), columns)
    general = []
    for number, (answer, custom_id) in enumerate(answered):
        id = f"{KEY}r{number:09d}"
        built = build_chat_completion([answer], [None], id=id, created=17, model=model)
        general.append(output_line(id, custom_id, msgspec.json.encode(built)))
    assert [line.encode() for line in lines.to_pylist()] == general
    assert len(b"".join(general).decode().splitlines()) == len(answered)


@occurring(ends=20)
@given(texts, texts, st.none() | texts)
def test_a_line_is_one_line_to_every_reader(custom_id: str, message: str, model: str | None) -> None:
    """And says the same: the escapes are JSON's own."""
    lines = [
        output_line("x", custom_id, msgspec.json.encode({message: [model]})),
        error_line("x", custom_id, RunError(message, message)),
        error_line("x", custom_id, HttpError(400, message, "type", message, model)),
    ]
    happened("ends", len(f"{custom_id}{message}".splitlines()) > 1)
    for line in lines:
        assert len(line.decode().splitlines()) == 1
        assert custom_id_of(line) == (custom_id or None)
    assert msgspec.json.decode(lines[0])["response"]["body"] == {message: [model]}
    assert msgspec.json.decode(lines[1])["error"] == {"code": message, "message": message}
    assert msgspec.json.decode(lines[2])["response"]["body"]["error"]["param"] == model


@occurring(escaped=20)
@given(st.lists(texts), st.integers(0, 3))
def test_texts_are_escaped_as_lines_are(some: list[str], first: int) -> None:
    escaped = escape(pa.array(some, pa.string()).slice(first)).to_pylist()
    written = [escape_line_ends(msgspec.json.encode(text)) for text in some[first:]]
    happened(
        "escaped", any(len(line) > len(text.encode()) + 2 for line, text in zip(written, some[first:], strict=True))
    )
    assert [f'"{text}"'.encode() for text in escaped] == written


def test_every_control_character_is_escaped() -> None:
    every = "".join(map(chr, [*range(0x100), *range(0x2000, 0x2100)]))
    escaped = f'"{escape(pa.array([every]))[0].as_py()}"'
    assert escaped.encode() == escape_line_ends(msgspec.json.encode(every))
    assert escaped.splitlines() == [escaped]
