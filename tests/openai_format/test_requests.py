"""What is checked of one line: the urls it may have, and the code of everything that can be wrong with it."""

import json
import pickle
from typing import Any

import pytest

from tasks.openai_format.requests import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    KNOWN_ENDPOINTS,
    MAX_LINE_BYTES,
    RESPONSES,
    Envelope,
    LineError,
    canonical_endpoint,
    check_line,
    custom_id_of,
)

SERVED = frozenset({CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS})
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def line(**fields: Any) -> bytes:
    """A valid line but for these fields; None leaves one out."""
    whole = {"custom_id": "a", "method": "POST", "url": CHAT, "body": BODY, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def error(data: bytes, endpoint: str | None = CHAT, served: frozenset[str] = SERVED) -> LineError:
    with pytest.raises(LineError) as caught:
        check_line(data, endpoint, served, "m")
    return caught.value


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (CHAT, CHAT),
        (CHAT + "/", CHAT),
        (CHAT + "//", CHAT),
        ("/chat/completions", CHAT),
        ("/chat/completions/", CHAT),
        ("/embeddings", EMBEDDINGS),
        ("/responses", RESPONSES),
        ("/other", "/other"),
        ("/v1/other/", "/v1/other"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_one_endpoint_has_several_spellings(url: str, endpoint: str) -> None:
    assert canonical_endpoint(url) == endpoint


@pytest.mark.parametrize("url", [CHAT, CHAT + "/", "/chat/completions"])
@pytest.mark.parametrize("endpoint", [CHAT, None])
def test_a_line_is_taken_under_each(url: str, endpoint: str | None) -> None:
    assert check_line(line(url=url), endpoint, SERVED, "m") == Envelope("a", CHAT, "m")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (COMPLETIONS, {"prompt": "Hi"}),
        (RESPONSES, {"input": "Hi"}),
        (EMBEDDINGS, {"input": ["Hi"]}),
    ],
)
def test_other_endpoints_need_other_fields(url: str, body: dict[str, Any]) -> None:
    assert check_line(line(url=url, body=body), None, SERVED, None) == Envelope("a", url, None)
    bad = error(line(url=url, body=BODY), url)
    assert (bad.code, bad.param) == ("missing_required_parameter", f"body.{next(iter(body))}")


@pytest.mark.parametrize(
    ("fields", "code", "param", "custom_id"),
    [
        ({"custom_id": ""}, "missing_required_parameter", "custom_id", None),
        ({"custom_id": None}, "missing_required_parameter", "custom_id", None),
        ({"custom_id": 7}, "invalid_type", "custom_id", None),
        ({"method": "GET"}, "invalid_method", "method", "a"),
        ({"method": "post"}, "invalid_method", "method", "a"),
        ({"method": None}, "missing_required_parameter", "method", "a"),
        ({"method": 1}, "invalid_type", "method", "a"),
        ({"url": None}, "missing_required_parameter", "url", "a"),
        ({"url": []}, "invalid_type", "url", "a"),
        ({"url": "/v2/chat/completions"}, "invalid_url", "url", "a"),
        ({"url": "https://api.openai.com/v1/chat/completions"}, "invalid_url", "url", "a"),
        ({"url": EMBEDDINGS}, "mismatched_url", "url", "a"),
        # Of several mistakes, the first in this order.
        ({"url": "/v1/videos"}, "mismatched_url", "url", "a"),
        ({"url": "/v1/nothing", "method": "GET"}, "invalid_method", "method", "a"),
        ({"custom_id": "", "method": "GET"}, "missing_required_parameter", "custom_id", None),
        ({"body": None}, "missing_required_parameter", "body", "a"),
        ({"body": "Hi"}, "invalid_type", "body", "a"),
        ({"body": {"model": "m"}}, "missing_required_parameter", "body.messages", "a"),
        ({"body": {"messages": []}}, "missing_required_parameter", "body.messages", "a"),
        ({"body": {"messages": None}}, "missing_required_parameter", "body.messages", "a"),
        ({"body": {**BODY, "model": 3}}, "invalid_type", "body.model", "a"),
        ({"body": {**BODY, "model": "n"}}, "mismatched_model", "body.model", "a"),
    ],
)
def test_what_is_wrong_has_openais_code(
    fields: dict[str, Any], code: str, param: str | None, custom_id: str | None
) -> None:
    bad = error(line(**fields))
    assert (bad.code, bad.param, bad.custom_id) == (code, param, custom_id)


def test_an_endpoint_that_the_model_does_not_serve_is_named_with_those_that_it_does() -> None:
    bad = error(line(), None, frozenset({RESPONSES, COMPLETIONS}))
    assert (bad.code, bad.param, bad.custom_id) == ("invalid_url", "url", "a")
    assert bad.message == f"{CHAT} is not served by the chosen model; it serves {COMPLETIONS}, {RESPONSES}."
    # Known to OpenAI, served by no family here.
    assert error(line(url="/v1/videos"), None).code == "invalid_url"


def test_a_line_without_a_model_is_of_any() -> None:
    assert check_line(line(body={"messages": BODY["messages"]}), CHAT, SERVED, "m").model is None
    assert check_line(line(), CHAT, SERVED, None).model == "m"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"custom_id":"\xff"}', "not valid UTF-8 (byte 15)"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nests JSON too deeply"),
        (b"[1]", "not a JSON object"),
        (b"{", "truncated"),
    ],
)
def test_what_is_no_json_object(data: bytes, message: str) -> None:
    bad = error(data)
    assert (bad.code, bad.custom_id) == ("invalid_json_line", None)
    assert message in bad.message


def test_what_json_cannot_hold_is_named_by_its_place() -> None:
    bad = error(b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"temperature":NaN}}')
    assert (bad.code, bad.param) == ("invalid_json_line", "body.temperature")
    assert bad.message.startswith("'body.temperature' holds a number that JSON or a 64-bit float cannot hold (")


def test_the_endpoints_that_openais_batches_know() -> None:
    words = "chat/completions completions responses embeddings moderations images/generations images/edits videos"
    assert {f"/v1/{word}" for word in words.split()} == KNOWN_ENDPOINTS


def test_the_longest_line() -> None:
    assert MAX_LINE_BYTES == 25_000_000
    longest = line() + b" " * (MAX_LINE_BYTES - len(line()))
    assert check_line(longest, CHAT, SERVED, "m").custom_id == "a"
    assert error(longest + b" ").code == "request_too_large"


def test_an_error_is_the_same_in_another_process() -> None:
    bad = error(line(method="GET"))
    copied = pickle.loads(pickle.dumps(bad))
    assert isinstance(copied, LineError)
    assert (copied.code, copied.message, copied.param, copied.custom_id) == (
        "invalid_method",
        "'method' must be \"POST\".",
        "method",
        "a",
    )


@pytest.mark.parametrize(
    ("data", "custom_id"),
    [
        (line(), "a"),
        (line(custom_id=""), None),
        (line(custom_id=7), None),
        (line(custom_id=None), None),
        (b'{"custom_id": "b", "body": {', "b"),
        (b"no JSON", None),
    ],
)
def test_the_id_of_any_line(data: bytes, custom_id: str | None) -> None:
    assert custom_id_of(data) == custom_id
