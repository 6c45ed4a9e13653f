"""Lines of the output file and of the error file, to the byte."""

import json

import pytest

from tasks.openai_format.results import (
    HttpError,
    RunError,
    answered_frame,
    decode_http_error,
    encode_error,
    error_line,
    error_type,
    escape_line_ends,
    http_error,
    output_line,
    unreadable_output,
)


def test_an_answer() -> None:
    assert output_line("7", 'a"b', b'{"id":"x"}') == (
        b'{"id":"batch_req_7","custom_id":"a\\"b","response":{"status_code":200,"request_id":"req_7",'
        b'"body":{"id":"x"}},"error":null}\n'
    )
    assert json.loads(output_line("7", None, b"{}"))["custom_id"] is None


def test_the_frame_is_the_line_with_gaps() -> None:
    filled = {"record": b"7", "custom_id": b"a", "text": b"Hi"}
    frame = answered_frame(b"k", (b'{"content":"', "text", b'"}'))
    joined = b"".join(part if isinstance(part, bytes) else filled[part] for part in frame)
    assert joined == output_line("k7", "a", b'{"content":"Hi"}')


def test_an_http_error() -> None:
    assert error_line("7", "a", HttpError(400, "too long", "invalid_request_error", "c", "p")) == (
        b'{"id":"batch_req_7","custom_id":"a","response":{"status_code":400,"request_id":"req_7","body":{"error":'
        b'{"message":"too long","type":"invalid_request_error","param":"p","code":"c"}}},"error":null}\n'
    )


def test_a_line_has_the_status_of_its_error() -> None:
    for status in (408, 429, 500, 502):
        assert json.loads(error_line("7", "a", http_error(status, "m")))["response"]["status_code"] == status


def test_a_request_that_was_never_answered() -> None:
    assert error_line("7", None, RunError("batch_expired", "too late")) == (
        b'{"id":"batch_req_7","custom_id":null,"response":null,"error":{"code":"batch_expired","message":"too late"}}\n'
    )


@pytest.mark.parametrize("end", ["\u0085", "\u2028", "\u2029"])
def test_no_client_cuts_a_line_in_two(end: str) -> None:
    body = json.dumps({"content": f"a{end}b"}, ensure_ascii=False).encode()
    for written in (output_line("7", f"i{end}", body), error_line("7", f"i{end}", http_error(400, f"m{end}"))):
        assert len(written.decode().splitlines()) == 1
        assert json.loads(written)["custom_id"] == f"i{end}"
    assert escape_line_ends(end.encode()) == b"\\u%04x" % ord(end)


def test_their_neighbours_stay() -> None:
    text = "é…‒\u2027\u202a\u0084\u0086\u00c2".encode()
    assert escape_line_ends(text) == text


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "authentication_error", None),
        (403, "permission_error", None),
        (404, "not_found_error", None),
        (408, "server_error", None),
        (413, "invalid_request_error", None),
        (418, "invalid_request_error", None),
        (422, "invalid_request_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (499, "invalid_request_error", None),
        (500, "server_error", None),
        (503, "server_error", None),
    ],
)
def test_the_type_of_a_status(status: int, type_: str, code: str | None) -> None:
    assert error_type(status) == type_
    assert http_error(status, "m") == HttpError(status, "m", type_, code)


def test_an_answer_that_cannot_be_read_is_no_fault_of_the_request() -> None:
    assert unreadable_output("m") == HttpError(502, "m", "server_error", "invalid_model_output")


def test_errors_come_back_from_the_index() -> None:
    error = HttpError(429, "slow\u2028down", "rate_limit_error", "c", "p")
    assert decode_http_error(encode_error(error)) == error
