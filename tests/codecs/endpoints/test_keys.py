"""Keys of the objects within a request: read, without effect, counted, or refused by name."""

import copy
from collections import Counter
from collections.abc import Iterator
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
        (
            CHAT_KEYS,
            "messages",
            [
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "cache_control": {}}, "cache_control": {}}],
                }
            ],
            {"x[].tool_calls[].function.cache_control": 1, "x[].tool_calls[].cache_control": 1},
        ),
        (
            CHAT_KEYS,
            "tools",
            [{"type": "function", "function": {"name": "f", "cache_control": {}}, "cache_control": {}}],
            {"x[].function.cache_control": 1, "x[].cache_control": 1},
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
    if all("cache_control" in name for name in counted):
        strict = Policy("error", "nova")
        check_keys(value, keys[field], "x", strict)
        assert strict.dropped == counted, "a mark of what to cache is never refused"


def of(keys: str, **more: Any) -> dict[str, Any]:
    return {**dict.fromkeys(keys.split(), "x"), **more}


PARTS = [
    of("text", type="text"),
    of("refusal", type="refusal"),
    {"type": "image_url", "image_url": of("url")},
    {"type": "file", "file": of("file_data filename")},
]
ITEM_PARTS = [
    *PARTS,
    of("text", type="input_text"),
    of("text annotations logprobs", type="output_text"),
    of("image_url", type="input_image"),
    of("file_data filename", type="input_file"),
]
CALL = of("id type index", function=of("name arguments"))
ANSWER = "name refusal audio reasoning_content reasoning thinking_blocks content_blocks annotations"
#: Every key that is read or changes nothing, by OpenAI's reference.
KNOWN: list[tuple[Any, str, Any]] = [
    *((CHAT_KEYS, "messages", of("name", role=role, content=PARTS)) for role in ("system", "developer", "user")),
    (
        CHAT_KEYS,
        "messages",
        of(ANSWER, role="assistant", content=PARTS, tool_calls=[CALL], function_call=of("name arguments")),
    ),
    (CHAT_KEYS, "messages", of("name tool_call_id", role="tool", content=PARTS)),
    (CHAT_KEYS, "messages", of("name", role="function", content=PARTS)),
    (CHAT_KEYS, "tools", {"type": "function", "function": of("name description parameters strict")}),
    (CHAT_KEYS, "functions", of("name description parameters")),
    (CHAT_KEYS, "tool_choice", {"type": "function", "function": of("name")}),
    (CHAT_KEYS, "function_call", of("name")),
    (CHAT_KEYS, "response_format", {"type": "text"}),
    (CHAT_KEYS, "response_format", {"type": "json_object"}),
    (
        CHAT_KEYS,
        "response_format",
        {"type": "json_schema", "json_schema": of("name description schema strict")},
    ),
    (RESPONSES_KEYS, "input", of("id status", role="user", content=ITEM_PARTS)),
    (RESPONSES_KEYS, "input", of("id status", type="message", role="user", content=ITEM_PARTS)),
    (RESPONSES_KEYS, "input", of("id status call_id name arguments", type="function_call")),
    (RESPONSES_KEYS, "input", of("id status call_id", type="function_call_output", output=ITEM_PARTS)),
    (RESPONSES_KEYS, "tools", of("name description parameters strict", type="function")),
    (RESPONSES_KEYS, "tool_choice", of("name", type="function")),
    (RESPONSES_KEYS, "reasoning", of("effort summary generate_summary")),
    (RESPONSES_KEYS, "text", of("verbosity", format={"type": "text"})),
    (RESPONSES_KEYS, "text", of("verbosity", format={"type": "json_object"})),
    (RESPONSES_KEYS, "text", of("verbosity", format=of("name description schema strict", type="json_schema"))),
]


def objects(value: Any, where: str = "x") -> Iterator[tuple[dict[str, Any], str]]:
    """Each object within a value, and where it is."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item, f"{where}[]")
    elif isinstance(value, dict):
        yield value, where
        for key, item in value.items():
            yield from objects(item, f"{where}.{key}")


@pytest.mark.parametrize(("keys", "field", "value"), KNOWN)
def test_every_key_is_known_and_no_other(keys: Any, field: str, value: Any) -> None:
    assert dropped(value, keys[field]) == {}
    strange = copy.deepcopy(value)
    places = Counter[str]()
    for inner, where in list(objects(strange)):
        inner["mood"] = 1
        places[f"{where}.mood"] += 1
    assert dropped(strange, keys[field]) == places


#: Objects that clients mark for a cache; and where a detail of a picture or a file may stand.
MARKED = {
    "messages": ["x", "x.content[]", "x.tool_calls[]", "x.tool_calls[].function"],
    "tools": ["x", "x.function"],
    "functions": ["x"],
    "input": ["x", "x.content[]", "x.output[]"],
}


@pytest.mark.parametrize(("keys", "field", "value"), KNOWN)
def test_marks_for_caches_are_counted_and_never_refused(keys: Any, field: str, value: Any) -> None:
    marked, places = copy.deepcopy(value), Counter[str]()
    for inner, where in list(objects(marked)):
        if where in MARKED.get(field, []):
            inner |= {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {}}
            places.update([f"{where}.cache_control", f"{where}.prompt_cache_breakpoint"])
    strict = Policy("error", "nova")
    check_keys(marked, keys[field], "x", strict)
    assert strict.dropped == places
