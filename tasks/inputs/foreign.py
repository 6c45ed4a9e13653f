"""Values that are no requests: what a file of them is, and the steps that make requests of them."""

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from tasks.inputs import remedies
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES

#: Names of the column, or field, that holds the prompts; the first that is there is taken.
PROMPT_FIELDS: Final = (
    *("prompt", "question", "query", "user_prompt", "user_message", "message", "user", "text", "content"),
    *("instruction", "input", "request", "ticket"),
)
_OTHER_FILE: Final = "give the file that was its input"


class Kind(NamedTuple):
    """What a file is; the steps of the command that mends it, or advice where none does."""

    what: str
    steps: tuple[str, ...] = ()
    advice: str = ""

    def and_(self, inner: "Kind | None") -> "Kind":
        """What is left after these steps is something else again."""
        if inner is None:
            return self
        steps = self.steps + inner.steps if inner.steps or not inner.advice else ()
        return Kind(f"{self.what}, and {inner.what}" if inner.what else self.what, steps, inner.advice)


def value_of(line: str) -> Any:
    """The JSON of a line; None of what is none, and of numbers and the like."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def first_value(text: str) -> tuple[Any, int] | None:
    """The first value of a text, and where it ends."""
    try:
        return json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None


def wrapped_in(value: Any, text: str = "") -> tuple[str, Any]:
    """The path to a list of objects within an object that is no request itself, and the first of them."""
    if value is None:
        # Longer than what was read.
        begun = re.match(r'\{\s*"([A-Za-z_]\w*)"\s*:\s*\[\s*(?=\{)', text)
        found = first_value(text[begun.end() :]) if begun else None
        return (begun[1], found[0]) if begun and found and begun[1] != "messages" else ("", None)
    path: list[str] = []
    while isinstance(value, dict) and not {"body", "messages", "contents", "params", "prompt"} & value.keys():
        below = [
            (key, item)
            for key, item in value.items()
            if isinstance(item, dict) or (isinstance(item, list) and item and isinstance(item[0], dict))
        ]
        # A list beside others, or the one way down.
        lists = [(key, item) for key, item in below if isinstance(item, list)]
        chosen = lists or below
        if len(chosen) != 1 or not re.fullmatch(r"[A-Za-z_]\w*", chosen[0][0]) or len(path) > 4:
            break
        path.append(chosen[0][0])
        if lists:
            first = lists[0][1][0]
            asks = {"body", "messages", "params", "request", "contents", "prompt", "custom_id", "modelInput"}
            return (".".join(path), first) if asks & first.keys() else ("", None)
        value = chosen[0][1]
    return "", None


def is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and "content" in value


def _is_bare(*fields: str) -> Callable[[dict[str, Any]], bool]:
    return lambda value: all(field in value for field in fields) and not {"body", "custom_id"} & value.keys()


def _has(*path: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an object has a field within a field."""

    def has(value: Any) -> bool:
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return True

    return has


def _ends_with_answer(value: dict[str, Any]) -> bool:
    messages = value.get("messages")
    return (
        _is_bare("messages")(value)
        and not value.keys() & {"model", "max_tokens", "max_completion_tokens"}
        and isinstance(messages, list)
        and len(messages) > 1
        and isinstance(messages[-1], dict)
        and messages[-1].get("role") == "assistant"
    )


def _is_embedding(value: dict[str, Any]) -> bool:
    named = "embed" in str(value.get("model", "")).lower()
    texts = isinstance(value.get("input"), list) and all(isinstance(each, str) for each in value["input"])
    return _is_bare("input")(value) and (named or texts)


def _is_flat(value: dict[str, Any]) -> bool:
    return "custom_id" in value and "body" not in value and "messages" in value


def _lacks_envelope(value: dict[str, Any]) -> bool:
    body = value.get("body")
    asks = isinstance(body, dict) or (isinstance(body, str) and body.lstrip().startswith("{"))
    return asks and (isinstance(body, str) or not {"custom_id", "method", "url"} <= value.keys())


def _url_of(value: dict[str, Any]) -> str:
    """The endpoint that takes such a body."""
    body = value.get("body", value)
    if not isinstance(body, dict) or "messages" in body:
        return CHAT
    if _is_embedding({"input": body.get("input"), "model": body.get("model")}):
        return EMBEDDINGS
    return RESPONSES if "input" in body else COMPLETIONS if "prompt" in body else CHAT


_BARE: Final = "a file of bare bodies, without `custom_id` and `url`"
#: A test of one object, and what a file of such objects is.
_OBJECTS: Final[tuple[tuple[Callable[[dict[str, Any]], bool], Kind], ...]] = (
    (
        _has("params", "messages"),
        Kind("a file in Anthropic's batch format (`params`)", (remedies.ANTHROPIC,)),
    ),
    (
        _has("request", "contents"),
        Kind("a file in Gemini's batch format (`request.contents`)", (remedies.GEMINI,)),
    ),
    (_is_bare("contents"), Kind("a file of bare bodies of Gemini (`contents`)", (remedies.GEMINI_BODIES,))),
    (_has("modelOutput"), Kind("the output of a Bedrock job (`modelOutput`)", advice=_OTHER_FILE)),
    (
        lambda value: "modelInput" in value and "error" in value,
        Kind("the output of a Bedrock job (`error`)", advice=_OTHER_FILE),
    ),
    (
        lambda value: bool(_has("modelInput", "messages")(value) and value["modelInput"]["messages"]),
        Kind("a file in Bedrock's own batch format (`modelInput`)", (remedies.BEDROCK,)),
    ),
    (
        _has("modelInput"),
        Kind(
            "a file in Bedrock's own batch format (`modelInput`)",
            advice="Bedrock's create-model-invocation-job takes it as it is; or give the file that it was made from",
        ),
    ),
    (
        lambda value: "response" in value and "custom_id" in value and "body" not in value,
        Kind("the output of a batch (`response`), not its input", advice=_OTHER_FILE),
    ),
    (_has("result", "type"), Kind("the results of a batch of Anthropic (`result`)", advice=_OTHER_FILE)),
    (_has("response", "candidates"), Kind("the output of a batch of Gemini (`candidates`)", advice=_OTHER_FILE)),
    (
        lambda value: value.get("object") == "batch" and "input_file_id" in value,
        Kind("OpenAI's object of a batch", advice="give the file that its `input_file_id` names"),
    ),
    (
        lambda value: "choices" in value and str(value.get("object", "")).startswith(("chat.completion", "text_")),
        Kind("a file of answers (`choices`), not of requests", advice=_OTHER_FILE),
    ),
    (_has("totalRecordCount"), Kind("the manifest of a Bedrock job", advice=_OTHER_FILE)),
    (_has("error", "message"), Kind("an API's error, perhaps instead of a file", advice="download the file again")),
    (
        _has("nbformat"),
        Kind("a Jupyter notebook", advice="run it, and have it write the requests as JSON lines"),
    ),
    (
        _ends_with_answer,
        Kind(
            "a file of fine-tuning data (`messages` that end with the answer, which is left out)",
            (remedies.FINE_TUNING,),
        ),
    ),
    (_has("conversations"), Kind("a file of fine-tuning data (`conversations`)", (remedies.SHARED_CHATS,))),
    (_is_bare("instruction"), Kind("a file of fine-tuning data (`instruction`)", (remedies.INSTRUCTIONS,))),
    (
        _is_bare("prompt", "completion"),
        Kind("a file of fine-tuning data (`prompt`, `completion`)", (remedies.prompts_of("prompt"),)),
    ),
    (
        _is_bare("messages"),
        Kind("a file of bare chat bodies, without `custom_id` and `url`", (remedies.wrapped("$x"),)),
    ),
    (_is_flat, Kind("a file of chat bodies with their `custom_id` beside the messages", (remedies.FLAT,))),
    (_is_embedding, Kind(_BARE, (remedies.wrapped("$x", EMBEDDINGS),))),
    (_is_bare("input"), Kind(_BARE, (remedies.wrapped("$x", RESPONSES),))),
    (_is_bare("prompt"), Kind(_BARE, (remedies.wrapped("$x", COMPLETIONS),))),
)


def of_values(values: list[Any]) -> Kind | None:
    """What a file of such values is, where they are no requests."""
    if not values:
        return None
    if all(isinstance(value, str) for value in values):
        return _of_texts(values)
    if all(isinstance(value, list) and value and all(map(is_message, value)) for value in values):
        return Kind("a file of conversations (lists of messages)", (remedies.CONVERSATIONS,))
    if not all(isinstance(value, dict) for value in values):
        return None
    known = next((kind for test, kind in _OBJECTS if all(test(value) for value in values)), None)
    return known or _of_one(values) or _of_incomplete(values) or _of_prompts(values)


def _of_texts(texts: list[str]) -> Kind:
    inside = [value_of(text) for text in texts]
    if not all(isinstance(value, dict) for value in inside):
        return Kind("a file of prompts", (remedies.PROMPTS,))
    return Kind("JSON within JSON (each object is a text again)", (remedies.FROM_TEXT,)).and_(of_values(inside))


def _of_one(values: list[dict[str, Any]]) -> Kind | None:
    path, element = wrapped_in(values[0]) if len(values) == 1 else ("", None)
    return around(path, element) if path else None


def around(path: str, element: Any) -> Kind:
    """One object around all requests, the first of which is given."""
    step = f"jq -c '.{path}[]' @FILE"
    return Kind(f"one JSON object with all requests in `{path}`", (step,)).and_(of_values([element]))


def _of_incomplete(values: list[dict[str, Any]]) -> Kind | None:
    if not all(_lacks_envelope(value) for value in values):
        return None
    missing = [f"`{name}`" for name in ("custom_id", "method", "url") if not all(name in value for value in values)]
    what = f"without {' and '.join(missing)}" if missing else "whose `body` is text"
    return Kind(f"a file of requests {what}", (remedies.envelope(_url_of(values[0])),))


def _of_prompts(values: list[dict[str, Any]]) -> Kind | None:
    """Objects that have their prompt in a field of a usual name, and nothing of a request."""
    if any({"body", "url", "method"} & value.keys() for value in values):
        return None
    for field in PROMPT_FIELDS:
        if all(isinstance(value.get(field), str) for value in values):
            what = f"a file of objects with their prompts in `{field}`"
            return Kind(what, (remedies.prompts_of(field),))
    return None
