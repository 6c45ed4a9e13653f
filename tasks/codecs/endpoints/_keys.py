"""The keys of every object within a request: nothing vanishes without a word.

Each object has its list: what is read, what changes nothing, and what is counted. All else is refused by name, or
dropped and counted. The top of a body is told by `Endpoint.mapped` and `without_effect`, and by the family.
`tests/codecs/test_silent_fields.py` holds the lists to the `openai` package's request types.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tasks.codecs.base import Policy
from tasks.codecs.endpoints._fields import unindexed


class Keys(msgspec.Struct, frozen=True):
    """The keys of one kind of object."""

    #: Read, and kept, mapped or refused by whoever reads them.
    read: frozenset[str]
    #: What changes nothing about the answer: echoes of OpenAI's own objects.
    without_effect: frozenset[str] = frozenset()
    #: What asks for cheaper or finer work and not for another answer: counted where it is not what happens anyway.
    counted: frozenset[str] = frozenset()
    #: What is in them, by key.
    within: Mapping[str, "Keys | Kinds"] = {}

    # By identity, for what is made of them once.
    __hash__ = object.__hash__


class Kinds(msgspec.Struct, frozen=True):
    """Objects told apart by one of their keys. Whoever reads them refuses those of no kind that is here."""

    key: str
    kinds: Mapping[str, Keys]
    #: The kind of those that do not say.
    default: str | None = None

    __hash__ = object.__hash__


#: Values of counted keys that ask for what happens anyway.
_DEFAULTS = {"detail": "auto"}


def check_keys(value: Any, keys: Keys | Kinds, where: str, policy: Policy) -> None:
    """Refuse, or count, the keys that nobody reads in an object or in each of a list. Raises RequestError."""
    if not _all_read(keys)(value):
        _check(value, keys, where, policy)


def _of_kind(value: dict[str, Any], keys: Keys | Kinds) -> Keys | None:
    """The keys of one object; None where it is of no kind that is known."""
    if isinstance(keys, Keys):
        return keys
    kind = value.get(keys.key, keys.default)
    return keys.kinds.get(kind) if isinstance(kind, str) else None


@functools.cache
def _all_read(keys: Keys | Kinds) -> Callable[[Any], bool]:
    """What tells whether every key in an object, or in each of a list, is one that is read: so in nearly every request.

    A walk that need not know where it is, with all that it asks for put together beforehand, since each line takes it.
    """
    if isinstance(keys, Kinds):
        kinds, name, default, only = (
            {kind: _part(own) for kind, own in keys.kinds.items()},
            keys.key,
            keys.default,
            None,
        )
    else:
        kinds, name, default, only = {}, "", None, _part(keys)

    def all_read(value: Any) -> bool:
        for item in value if value.__class__ is list else (value,):
            if item.__class__ is not dict:
                continue
            part = only
            if part is None:
                kind = item.get(name, default)
                part = kinds.get(kind) if kind.__class__ is str else None
                if part is None:
                    continue
            covers, within = part
            if not covers(item):
                return False
            for key, inner in within:
                below = item.get(key)
                if below.__class__ is not str and below is not None and not inner(below):
                    return False
        return True

    return all_read


def _part(keys: Keys) -> tuple[Callable[[dict[str, Any]], bool], list[tuple[str, Callable[[Any], bool]]]]:
    return keys.read.issuperset, [(key, _all_read(inner)) for key, inner in keys.within.items()]


def _check(value: Any, keys: Keys | Kinds, where: str, policy: Policy) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                _check(item, keys, f"{where}[{index}]", policy)
        return
    if not isinstance(value, dict) or (own := _of_kind(value, keys)) is None:
        return
    for key, item in value.items():
        if key in own.read:
            if key in own.within:
                _check(item, own.within[key], f"{where}.{key}", policy)
        elif item is None or key in own.without_effect:
            continue
        elif key in own.counted:
            if _DEFAULTS.get(key) != item:
                policy.note(unindexed(f"{where}.{key}"))
        else:
            policy.refuse(f"{where}.{key}", "no model reads it.", count_as=unindexed(f"{where}.{key}"))


def _keys(read: str, *, without_effect: str = "", counted: str = "", **within: Keys | Kinds) -> Keys:
    return Keys(frozenset(read.split()), frozenset(without_effect.split()), frozenset(counted.split()), within)


#: Marks for caches, by clients of Anthropic's and of OpenAI's: a batch reads and writes none.
_CACHE = "cache_control prompt_cache_breakpoint"

_CALL = _keys(
    "id type function", without_effect="index", counted=_CACHE, function=_keys("name arguments", counted=_CACHE)
)
_PART = Kinds(
    "type",
    {
        "text": _keys("type text", counted=_CACHE),
        "refusal": _keys("type refusal", counted=_CACHE),
        "image_url": _keys("type image_url", counted=_CACHE, image_url=_keys("url", counted="detail")),
        "file": _keys("type file", counted=_CACHE, file=_keys("file_data filename")),
    },
)
_FUNCTION = _keys("name description parameters strict", counted=_CACHE)
_FORMAT = _keys("name description schema strict")

#: Within a chat completion body.
CHAT_KEYS: Mapping[str, Keys | Kinds] = {
    "messages": Kinds(
        "role",
        {
            "system": _keys("role name content", counted=_CACHE, content=_PART),
            "developer": _keys("role name content", counted=_CACHE, content=_PART),
            "user": _keys("role name content", counted=_CACHE, content=_PART),
            "assistant": _keys(
                "role name content refusal audio tool_calls function_call "
                "reasoning_content reasoning thinking_blocks content_blocks",
                # As answers have them.
                without_effect="annotations",
                counted=_CACHE,
                content=_PART,
                tool_calls=_CALL,
                function_call=_keys("name arguments"),
            ),
            "tool": _keys("role name tool_call_id content", counted=_CACHE, content=_PART),
            "function": _keys("role name content", counted=_CACHE, content=_PART),
        },
    ),
    "tools": Kinds("type", {"function": _keys("type function", counted=_CACHE, function=_FUNCTION)}),
    "functions": _keys("name description parameters", counted=_CACHE),
    "tool_choice": Kinds("type", {"function": _keys("type function", function=_keys("name"))}),
    "function_call": _keys("name"),
    "response_format": Kinds(
        "type",
        {
            "text": _keys("type"),
            "json_object": _keys("type"),
            "json_schema": _keys("type json_schema", json_schema=_FORMAT),
        },
    ),
}

#: What OpenAI puts on the items that it gives out, and gets back in the next request.
_ECHOED = "id status"
_ITEM_PART = Kinds(
    "type",
    {
        "input_text": _keys("type text", counted=_CACHE),
        "text": _keys("type text", counted=_CACHE),
        "output_text": _keys("type text", without_effect="annotations logprobs", counted=_CACHE),
        "refusal": _keys("type refusal", counted=_CACHE),
        "input_image": _keys("type image_url file_id", counted=f"{_CACHE} detail"),
        "image_url": _keys("type image_url", counted=_CACHE, image_url=_keys("url", counted="detail")),
        "input_file": _keys("type file_data filename", counted=f"{_CACHE} detail"),
        "file": _keys("type file", counted=_CACHE, file=_keys("file_data filename")),
    },
)

#: Within a responses body.
RESPONSES_KEYS: Mapping[str, Keys | Kinds] = {
    "input": Kinds(
        "type",
        {
            "message": _keys(
                "type role content", without_effect=_ECHOED, counted=f"{_CACHE} phase", content=_ITEM_PART
            ),
            "function_call": _keys("type call_id name arguments", without_effect=_ECHOED, counted=_CACHE),
            "function_call_output": _keys(
                "type call_id output", without_effect=_ECHOED, counted=_CACHE, output=_ITEM_PART
            ),
        },
        "message",
    ),
    "tools": Kinds("type", {"function": _keys("type name description parameters strict", counted=_CACHE)}),
    "tool_choice": Kinds("type", {"function": _keys("type name")}),
    "reasoning": _keys("effort summary generate_summary"),
    "text": _keys(
        "format verbosity",
        format=Kinds(
            "type",
            {
                "text": _keys("type"),
                "json_object": _keys("type"),
                "json_schema": _keys("type name description schema strict"),
            },
        ),
    ),
}
