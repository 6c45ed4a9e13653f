"""Keys of the objects within a request: read, without effect, counted, or refused by name."""

from typing import Any

import pytest

from tasks.codecs.base import Policy, RequestError
from tasks.codecs.endpoints._keys import CHAT_KEYS, RESPONSES_KEYS, Keys, Kinds, check_keys

INNER = Keys(frozenset({"a"}))
OUTER = Keys(frozenset({"type", "kept"}), frozenset({"echo"}), frozenset({"detail", "cache"}), {"kept": INNER})


def dropped(value: Any, keys: Keys | Kinds = OUTER) -> dict[str, int]:
    lenient = Policy("drop", "nova")
    check_keys(value, keys, "x", lenient)
    return lenient.dropped


@pytest.mark.parametrize(
    ("value", "counted"),
    [
        ({"type": "t", "kept": {"a": 1}, "echo": 1}, {}),
        ({"other": None}, {}),
        ({"other": 1}, {"x.other": 1}),
        ([{"other": 1}, {"kept": [{"b": 1}, {"b": 2}]}, "text"], {"x[].other": 1, "x[].kept[].b": 2}),
        # Counted where it is not what happens anyway.
        ({"detail": "auto", "cache": None}, {}),
        ({"detail": "high", "cache": {}}, {"x.detail": 1, "x.cache": 1}),
        ("text", {}),
        (None, {}),
    ],
)
def test_what_nobody_reads(value: Any, counted: dict[str, int]) -> None:
    assert dropped(value) == counted


def test_it_is_refused_by_its_place() -> None:
    with pytest.raises(RequestError, match=r"'x\[1\]\.kept\.b' cannot be honoured by nova: no model reads it"):
        check_keys([{}, {"kept": {"b": 1}}], OUTER, "x", Policy("error", "nova"))
    strict = Policy("error", "nova")
    check_keys({"detail": "high"}, OUTER, "x", strict)
    assert strict.dropped == {"x.detail": 1}, "what asks for cheaper work is counted, and never refused"


def test_objects_of_several_kinds() -> None:
    kinds = Kinds("type", {"one": INNER, "two": OUTER}, "one")
    assert dropped({"type": "two", "kept": {"a": 1}}, kinds) == {}
    assert dropped({"a": 1, "b": 1}, kinds) == {"x.b": 1}
    # Whoever reads them refuses those.
    assert dropped({"type": "three", "b": 1}, kinds) == {}
    assert dropped({"type": ["one"], "b": 1}, kinds) == {}
    assert dropped({"b": 1}, Kinds("type", {"one": INNER})) == {}


@pytest.mark.parametrize(
    ("keys", "field", "value", "counted"),
    [
        (CHAT_KEYS, "messages", [{"role": "user", "content": "Hi", "mood": "good"}], {"x[].mood": 1}),
        (
            CHAT_KEYS,
            "messages",
            [{"role": "user", "content": [{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}]}],
            {"x[].content[].cache_control": 1},
        ),
        (
            CHAT_KEYS,
            "tools",
            [{"type": "function", "function": {"name": "f", "strict": True, "x": 1}}],
            {"x[].function.x": 1},
        ),
        (CHAT_KEYS, "response_format", {"type": "text", "schema": {}}, {"x.schema": 1}),
        (CHAT_KEYS, "response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": {"any": 1}}}, {}),
        (RESPONSES_KEYS, "input", [{"role": "user", "content": "Hi", "id": "msg_1", "status": "completed"}], {}),
        (RESPONSES_KEYS, "input", [{"type": "function_call", "call_id": "1", "namespace": "n"}], {"x[].namespace": 1}),
        (RESPONSES_KEYS, "text", {"verbosity": "low", "format": {"type": "text", "name": "n"}}, {"x.format.name": 1}),
    ],
)
def test_the_keys_of_openais_objects(keys: Any, field: str, value: Any, counted: dict[str, int]) -> None:
    assert dropped(value, keys[field]) == counted
