"""Fields that several endpoints have: their ranges, and what is no value of them."""

from typing import Any

import pytest

from tasks.codecs.base import Chat, RequestError
from tasks.codecs.endpoints._fields import (
    MAX_CHOICES,
    integer,
    is_default,
    number,
    parse_effort,
    parse_sampling,
    unindexed,
)


@pytest.mark.parametrize("value", [None, 0, 2, 1.5, 0.0])
def test_numbers(value: Any) -> None:
    assert number({"temperature": value}, "temperature", 0, 2) == value
    assert number({}, "temperature", 0, 2) is None


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        (-0.1, "invalid_value", "must be between 0 and 2"),
        (2.1, "invalid_value", "must be between 0 and 2"),
        (True, "invalid_type", "must be a number"),
        ("1", "invalid_type", "must be a number"),
        ([1], "invalid_type", "must be a number"),
    ],
)
def test_what_is_no_number_of_a_field(value: Any, code: str, why: str) -> None:
    with pytest.raises(RequestError, match=f"'temperature' {why}") as caught:
        number({"temperature": value}, "temperature", 0, 2)
    assert (caught.value.param, caught.value.code) == ("temperature", code)


def test_whole_numbers() -> None:
    assert integer({"n": 1}, "n", 1) == 1
    assert integer({"n": None}, "n", 1) is integer({}, "n", 1) is None
    for value, why in ((0, "at least 1"), (True, "a whole number"), (1.0, "a whole number"), ("1", "a whole number")):
        with pytest.raises(RequestError, match=f"'n' must be {why}"):
            integer({"n": value}, "n", 1)


@pytest.mark.parametrize(
    ("stop", "kept"), [(None, []), ("END", ["END"]), (["a", "", " "], ["a", " "]), ("", []), ([], [])]
)
def test_sampling(stop: Any, kept: list[str]) -> None:
    chat = Chat([], [])
    parse_sampling({"temperature": 2, "top_p": 1, "stop": stop}, chat)
    assert (chat.temperature, chat.top_p, chat.stop) == (2, 1, kept)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"temperature": 2.01}, "temperature", "invalid_value"),
        ({"top_p": 1.01}, "top_p", "invalid_value"),
        ({"top_p": -1}, "top_p", "invalid_value"),
        ({"stop": 7}, "stop", "invalid_type"),
        ({"stop": ["a", 7]}, "stop", "invalid_type"),
        ({"stop": {}}, "stop", "invalid_type"),
    ],
)
def test_what_is_no_sampling(body: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse_sampling(body, Chat([], []))
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize(
    ("field", "value", "default"),
    [
        ("logprobs", False, True),
        ("logprobs", True, False),
        ("logprobs", 0, False),
        ("frequency_penalty", 0.0, True),
        ("frequency_penalty", False, False),
        ("presence_penalty", 0.1, False),
        ("top_logprobs", 0, True),
        ("logit_bias", {}, True),
        ("logit_bias", {"1": 1}, False),
        ("modalities", ["text"], True),
        ("modalities", ["text", "audio"], False),
        ("verbosity", "medium", True),
        ("verbosity", "low", False),
        ("seed", 0, False),
    ],
)
def test_what_happens_anyway(field: str, value: Any, default: bool) -> None:
    assert is_default(field, value) is default


def test_efforts() -> None:
    for effort in (None, "none", "minimal", "low", "medium", "high", "xhigh", "max"):
        assert parse_effort(effort, "reasoning_effort") == effort
    for bad in ("huge", "", 3, ["low"]):
        with pytest.raises(RequestError, match=r"'reasoning.effort' must be one of none, minimal, low") as caught:
            parse_effort(bad, "reasoning.effort")
        assert caught.value.param == "reasoning.effort"


def test_places_without_their_numbers() -> None:
    assert unindexed("messages[3].content[12].file") == "messages[].content[].file"
    assert unindexed("properties.a[b]") == "properties.a[b]"


@pytest.mark.parametrize(
    ("value", "code"), [(0, "invalid_value"), (-5, "invalid_value"), (True, "invalid_type"), ("1", "invalid_type")]
)
def test_the_code_of_what_is_no_whole_number(value: Any, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        integer({"max_tokens": value}, "max_tokens", 1)
    assert (caught.value.param, caught.value.code) == ("max_tokens", code)


def test_openais_own_limit_of_answers() -> None:
    assert MAX_CHOICES == 128
