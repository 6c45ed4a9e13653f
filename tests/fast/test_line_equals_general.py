"""The short cut for plain chats and the general way give the same modelInput, and the service's check accepts it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.sandbox import checks, native_checks
from tasks.bedrock.models import parse_model
from tasks.codecs.base import RequestError
from tasks.fast.line import FastEncoder
from tests.conftest import CLAUDE, LLAMA, NOVA
from tests.occurring import happened, occurring

GPT_OSS, KIMI = "openai.gpt-oss-20b-1:0", "moonshotai.kimi-k2.5"
CHECKS: dict[str, Callable[[Any], None]] = {
    CLAUDE: checks.anthropic,
    NOVA: checks.nova,
    LLAMA: checks.converse,
    GPT_OSS: lambda body: native_checks.openai(body, GPT_OSS),
    KIMI: lambda body: native_checks.openai(body, KIMI),
}

text = st.text(max_size=40) | st.sampled_from(
    ["", " ", "\n", "\u00a0", "\u2028x", 'a"b\\c', "\x00", "😀", "\ufeff", "\n\tx", "  y", "\u3000z", "£9", "“q”"]
)
part = st.fixed_dictionaries({"type": st.sampled_from(["text", "text", "input_text"]), "text": text | st.none()})
message = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant"]),
        "content": text | st.lists(part, max_size=2),
    }
)
body = st.fixed_dictionaries(
    {"messages": st.lists(message, max_size=6)},
    optional={
        "model": st.just("gpt-4o"),
        "max_tokens": st.none() | st.integers(-1, 4096),
        "max_completion_tokens": st.none() | st.integers(0, 4096),
        "temperature": st.none() | st.integers(0, 3) | st.floats(-0.5, 2.5) | st.just(True),
        "top_p": st.none() | st.floats(0, 1) | st.integers(0, 1),
        "user": st.sampled_from(["u", None, 3]),
        "n": st.sampled_from([1, None, 0, 2, 1.0, True]),
        "frequency_penalty": st.sampled_from([0, 0.0, -0.0, 0.5, None, False]),
        "presence_penalty": st.sampled_from([0, 0.0, None, 1]),
        "metadata": st.sampled_from([{"a": "b"}, None]),
        "stream": st.sampled_from([False, True]),
        "service_tier": st.just("flex"),
    },
)


#: What most files are made of: a system text or none, turns that alternate, and a limit.
some_text = st.text(min_size=1, max_size=40).filter(str.strip) | st.sampled_from(['a"b\\c', "\n\tx", "\u3000z", "“q”"])
plain_body = st.builds(
    lambda system, texts, options: {
        "messages": [
            *({"role": "system", "content": text} for text in system),
            *({"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)),
        ],
        **options,
    },
    st.lists(some_text, max_size=1),
    st.integers(0, 2).flatmap(lambda n: st.lists(some_text, min_size=2 * n + 1, max_size=2 * n + 1)),
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 4096),
            "temperature": st.sampled_from([0, 0.5, 1, 1.0]),
            "user": st.just("u"),
        },
    ),
)


def happened_in(body: dict[str, Any], line: bytes) -> None:
    """What the short cut has to get right occurs where it is taken."""
    happened("system", body["messages"][0]["role"] != "user")
    happened("turns", len(body["messages"]) > 2)
    happened("parameters", len(body) > 1)
    happened("sampling", body.get("temperature") is not None or body.get("top_p") is not None)
    happened("escapes", b"\\" in line)
    happened("others", not line.isascii())


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA, GPT_OSS, KIMI, "anthropic.claude-haiku-4-5-20251001-v1:0"])
@occurring(short=60, refused=50, general=10, system=25, turns=40, parameters=20, sampling=8, escapes=50, others=25)
@settings(max_examples=400)
@given(body=body | plain_body, escape=st.booleans())
def test_plain_equals_general(model: str, body: dict[str, Any], escape: bool) -> None:
    parsed = parse_model(model)
    encoder = FastEncoder(parsed, "/v1/chat/completions", "error")
    line = json.dumps({"custom_id": "x", "body": body}, ensure_ascii=escape).encode("utf-8", "surrogatepass")
    short = encoder._encode_plain(line, b"")
    try:
        general = encoder.encode_general(line)
    except RequestError:
        assert short is None, "the short cut sent what the general way refuses"
        happened("refused")
        return
    happened("general" if short is None else "short")
    if short is not None:
        happened_in(body, line)
    sent = json.loads(general.model_inputs[0])
    if short is not None:
        assert short[0] == general.custom_id
        joined = b"".join(short[1])
        assert json.loads(joined) == sent
        # 1 and 1.0 are equal to Python and different to a service.
        assert json.dumps(json.loads(joined), sort_keys=True) == json.dumps(sent, sort_keys=True)
    check: Callable[[Any], None] = CHECKS.get(model, checks.anthropic)
    check(sent)
    record = encoder.encode_plain_record(line, b'{"recordId":"r1","modelInput":')
    assert (record is None) == (short is None)
    if record is not None:
        assert json.loads(b"".join(record[1])) == {"recordId": "r1", "modelInput": sent}
