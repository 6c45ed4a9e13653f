"""What the service says may echo a prompt: logs, artifacts and exceptions name its cause without its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import aws
from tasks.bedrock import runtime
from tasks.bedrock.causes import LEFT_OUT, record_cause, said
from tests.fakes import refusal
from tests.occurring import happened, occurring

SECRETS = ["hunter2-in-the-prompt", "Patientin", "4111111111111111", "s3://my-secret/folder", "alice@example.com", "Ö§"]


@pytest.mark.parametrize(
    ("message", "about"),
    [
        ("Too many tokens, please wait before trying again.", "throttled"),
        ("slow down", "throttled"),
        ("prompt is too long: 210000 tokens > 200000 maximum", "the input or max_tokens is beyond the model's limit"),
        ("Malformed input request: #: required key [x] not found", "malformed input request"),
        ("Output blocked by content filtering policy", "refused for its content"),
        ("Could not process image", "an image is refused"),
        ("The model returned the following errors: x", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_record_is_known_by_code_status_and_class(message: str, about: str | None, secret: str) -> None:
    cause = record_cause(400, "invalid_request_error", f"{message} {secret}")
    assert secret not in cause
    assert cause == "invalid_request_error (status 400)" + (f": {about}" if about else "")


CLASSES = [
    "throttled",
    "too long",
    "malformed input request",
    "on-demand throughput",
    "model id",
    "guardrail",
    "image",
    "tool",
    "schema",
    "forbidden",
    "timed out",
    "expired",
    "unsupported",
    "not ready",
]


@occurring(classed=20)
@given(st.text() | st.tuples(st.text(), st.sampled_from(CLASSES), st.text()).map("".join))
def test_no_word_of_a_record_is_in_its_cause(text: str) -> None:
    known = {record_cause(None, "c", "")} | {record_cause(None, "c", words) for words in CLASSES}
    assert record_cause(None, "c", text) in known
    happened("classed", record_cause(None, "c", text) != record_cause(None, "c", ""))


@pytest.mark.parametrize(
    "message",
    [
        "The role cannot read the bucket.",
        "The service had a fault.",
        "part-00000.jsonl: line 3 is not a JSON object.",
        "The job has 3 records; the minimum is 100.",
        "S3 denied GetObject or the input is not there (AccessDenied).",
        "The provided model identifier is invalid.",
        "User is not authorized to perform: kms:Decrypt on resource.",
    ],
)
def test_the_services_own_words_are_kept(message: str) -> None:
    assert said(message) == message
    for secret in SECRETS:
        for echo in (
            f"{message} {secret}",
            f"{secret}: {message}",
            f'{message} "{secret} is it"',
            f"{message}({secret})",
            f"{message} {{'text': '{secret} and the role'}}",
            f"{message}\n{secret}\n",
        ):
            assert secret not in said(echo)
            assert LEFT_OUT in said(echo)


@occurring(several=20)
@given(st.lists(st.from_regex(r"[a-zäöü0-9]{7,20}\d{7}", fullmatch=True), min_size=1, max_size=18))
def test_other_words_never_are(words: list[str]) -> None:
    happened("several", len(words) > 1)
    assert said(" ".join(words)) == LEFT_OUT
    assert said(said(" ".join(["The", *words, "failed"]))) == f"The {LEFT_OUT} failed"
    # And where more was said than is shown.
    assert said(" ".join(words * 40)) == LEFT_OUT


@pytest.mark.parametrize(
    ("message", "fatal"),
    [
        ("The provided model identifier is invalid.", True),
        ("Invocation of model ID a.b-v1:0 with on-demand throughput isn’t supported. Retry …", True),
        ("Malformed input request: what is a model identifier? And on-demand throughput of a model id?", False),
    ],
)
def test_a_prompt_about_models_ends_no_run(message: str, fatal: bool) -> None:
    """What one record is refused with may echo its prompt: only how Bedrock begins counts."""
    assert runtime._is_fatal(aws.explain(refusal("ValidationException", message=message), "asking")) is fatal
