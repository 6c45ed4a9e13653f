"""The short cut for plain answers and the general way give the same bytes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tasks.codecs.base import Answer, ToolCall, Usage
from tasks.codecs.chat import build_chat_completion, plain_completion

counts = st.integers(0, 2**40)
answers = st.builds(
    Answer,
    content=st.none() | st.text(),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts, counts),
    tool_calls=st.lists(st.just(ToolCall("i", "f", b"{}")), max_size=1),
    reasoning=st.none() | st.text(),
    refusal=st.none() | st.text(),
)


@given(answers, st.text(st.characters(codec="utf-8"), max_size=20))
def test_plain_completions_are_those_of_the_general_way(answer: Answer, model: str) -> None:
    body = plain_completion(17, model)(answer, "0123456789abcdef", "r000000042")
    built = build_chat_completion([answer], id="0123456789abcdefr000000042", created=17, model=model, contexts=[None])
    unusual = answer.tool_calls or answer.reasoning is not None or answer.refusal is not None
    assert (body is None) == bool(unusual or answer.content is None or answer.usage is None)
    assert body is None or body == msgspec.json.encode(built)
