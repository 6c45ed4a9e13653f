"""Pieces that several families share."""

from typing import Any

import msgspec
import pytest

from tasks.codecs.base import Chat, DecodeError, Image, Policy, Text, Turn
from tasks.codecs.families._common import (
    decode_as,
    limit_max_tokens,
    named_function,
    native_reason,
    plain_sampling,
    refuse_rest,
    refuse_unseen,
    safe_tool_id,
    sampling,
    stop_sequences,
    take,
    tool_arguments,
    unit_temperature,
)
from tests.codecs.helpers import facts, refused


def lenient() -> Policy:
    return Policy("drop", "x")


@pytest.mark.parametrize(("given", "sent"), [(None, None), (0, 0), (1, 1), (0.7, 0.7), (1.1, 1), (2, 1)])
def test_temperatures(given: Any, sent: Any) -> None:
    policy = lenient()
    assert unit_temperature(Chat([], [], temperature=given), policy) == sent
    assert policy.dropped == ({"temperature (clamped to 1)": 1} if (given or 0) > 1 else {})
    if policy.dropped:
        with refused("temperature", "it accepts 0 to 1"):
            unit_temperature(Chat([], [], temperature=given), Policy("error", "x"))


def test_what_no_one_took_is_refused() -> None:
    policy = lenient()
    chat = Chat([], [], rest={"seed": 1, "top_k": 2})
    assert (take(chat, "top_k"), take(chat, "top_k"), chat.rest) == (2, None, {"seed": 1})
    refuse_rest(chat, policy)
    assert policy.dropped == {"seed": 1}


def test_stop_sequences_of_white_space() -> None:
    policy = lenient()
    assert stop_sequences(Chat([], [], stop=["a", " \n", "b "]), policy) == ["a", "b "]
    assert policy.dropped == {"stop (white space)": 1}
    assert stop_sequences(Chat([], [], stop=["a"]), Policy("error", "x")) == ["a"]


@pytest.mark.parametrize("id", ["call_1", "a" * 64, "A-9_z"])
def test_ids_that_every_family_takes_stay(id: str) -> None:
    assert safe_tool_id(id) == id


def test_other_ids_become_safe_and_stay_distinct() -> None:
    odd = ["call:1", "call.1", "call_1 ", "é", "", "a" * 65, "a" * 66]
    safe = [safe_tool_id(id) for id in odd if id]
    assert len(set(safe)) == len(safe)
    assert all(len(id) <= 64 and id.replace("-", "_").replace("_", "a").isalnum() and id.isascii() for id in safe)
    assert safe_tool_id("call:1").startswith("call_1_")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ((None, None, None), True),
        ((1, 0, 0), True),
        ((100, 1, 1), True),
        ((101, None, None), False),
        ((0, None, None), False),
        ((None, 1.1, None), False),
        ((None, -0.1, None), False),
        ((None, None, 1.1), False),
    ],
)
def test_parameters_that_need_no_word(given: tuple[Any, Any, Any], plain: bool) -> None:
    assert plain_sampling(*given, facts(max_tokens=100)) is plain


def test_more_tokens_than_a_model_answers_with() -> None:
    for most, asked, sent in ((100, 101, 100), (100, 100, 100), (None, 101, 101), (100, None, None)):
        chat, policy = Chat([], [], max_tokens=asked), lenient()
        limit_max_tokens(chat, facts(max_tokens=most), policy)
        assert chat.max_tokens == sent
        assert policy.dropped == ({"max_tokens (cut to what the model can)": 1} if sent != asked else {})


@pytest.mark.parametrize(
    ("kind", "given", "sent", "dropped"),
    [
        ("both", (0.5, 0.5), (0.5, 0.5), {}),
        ("one", (0.5, 0.5), (0.5, None), {"top_p": 1}),
        ("one", (0.5, 1), (0.5, None), {}),
        ("one", (1, 0.5), (None, 0.5), {}),
        ("one", (None, 0.5), (None, 0.5), {}),
        ("none", (1, 1), (None, None), {}),
        ("none", (0.5, 0.5), (None, None), {"temperature": 1, "top_p": 1}),
    ],
)
def test_sampling_as_the_model_takes_it(kind: str, given: Any, sent: Any, dropped: dict[str, int]) -> None:
    policy = lenient()
    chat = Chat([], [], temperature=given[0], top_p=given[1])
    assert sampling(chat, facts(sampling=kind), policy) == sent
    assert policy.dropped == dropped


def test_top_k_is_sampling_too() -> None:
    policy = lenient()
    assert sampling(Chat([], [], rest={"top_k": 5}), facts(sampling="none"), policy) == (None, None)
    assert policy.dropped == {"top_k": 1}


def test_pictures_for_a_model_that_does_not_see() -> None:
    def chat(*parts: Any) -> Chat:
        return Chat([], [Turn("user", list(parts))])

    seen = chat(Image("png", ""), Text("a"))
    refuse_unseen(seen, facts(images=True), Policy("error", "x"))
    assert len(seen.turns[0].parts) == 2
    with refused("messages[].content[].image_url", "takes text only"):
        refuse_unseen(seen, facts(images=False, known=True), Policy("error", "x"))
    with refused("messages[].content[].image_url", "it is not known that this model sees"):
        refuse_unseen(seen, facts(images=False, known=False), Policy("error", "x"))
    refuse_unseen(seen, facts(images=False), lenient())
    assert seen.turns[0].parts == [Text("a")]
    with refused("messages", "a message of images only", "invalid_value"):
        refuse_unseen(chat(Image("png", "")), facts(images=False), lenient())


class _Output(msgspec.Struct):
    text: str
    count: int | None = None


def test_an_answer_does_not_depend_on_its_counts() -> None:
    decode = msgspec.json.Decoder(_Output).decode
    assert decode_as(decode, b'{"text":"a","count":3}', "it", "count") == _Output("a", 3)
    assert decode_as(decode, b'{"text":"a","count":"x"}', "it", "count") == _Output("a")
    for output in (b'{"text":7,"count":3}', b"[]", b"{", b"\xff", b'{"a":' * 5000):
        with pytest.raises(DecodeError, match=r"^not it"):
            decode_as(decode, output, "it", "count")
    with pytest.raises(DecodeError):
        decode_as(decode, b'{"text":"a","count":"x"}', "it")


def test_arguments_stay_as_they_were_given() -> None:
    assert tool_arguments(msgspec.Raw(b'{"a": 1.0}')) == b'{"a": 1.0}'
    assert tool_arguments(msgspec.Raw(b"null")) == b"{}"
    with pytest.raises(DecodeError, match="no UTF-8"):
        tool_arguments(msgspec.Raw(b'{"a":"\xff"}'))


def test_the_name_of_a_choice() -> None:
    assert named_function("function:f") == "f"
    assert named_function("function:function:f") == "function:f"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (None, None),
        *((word, None) for word in (
            "end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "content_filtered", "stop", "length",
            "tool_calls", "function_call", "content_filter", "eos", "complete", "finish", "finished",
            "stop_criteria_met", "COMPLETE", "FINISH", "Stop",
        )),
        ("pause_turn", "pause_turn"),
        ("ERROR_LIMIT", "ERROR_LIMIT"),
        ("x" * 101, "x" * 100),
    ],
)  # fmt: skip
def test_a_models_own_word_is_shown_where_openais_says_less(reason: str | None, shown: str | None) -> None:
    assert native_reason(reason) == shown


def test_some_take_a_temperature_of_two() -> None:
    assert plain_sampling(None, 2, None, facts(), highest=2)
    assert not plain_sampling(None, 2.1, None, facts(), highest=2)
    assert not plain_sampling(None, 1.1, None, facts())
    assert plain_sampling(1 << 30, None, None, facts()), "nothing is known of a limit"


def test_every_field_that_no_one_took_is_counted() -> None:
    policy = lenient()
    refuse_rest(Chat([], [], rest={"seed": 1, "top_k": 2, "x": 3}), policy)
    assert policy.dropped == {"seed": 1, "top_k": 1, "x": 1}


def test_a_long_id_is_as_long_as_it_may_be() -> None:
    assert len(safe_tool_id("x" * 500)) == 64
    assert safe_tool_id("x" * 500) != safe_tool_id("x" * 501)
    assert len({safe_tool_id("call:1"), safe_tool_id("call.1"), safe_tool_id("call_1")}) == 3
