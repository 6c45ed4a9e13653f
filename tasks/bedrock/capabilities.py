"""What one model takes: the typed reader of `models.toml`, and of a user's own file of the same form.

Support follows neither family nor generation, so each fact is a row's, with its date and source. Codecs, limits and
warnings ask here. A model without a row is held to the most careful of its family, and is said to be unknown.
`BEDROCK_BATCH_MODELS` names a TOML file whose rows add to ours or go before them, field by field.
"""

import datetime
import functools
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from tasks.bedrock.models import Model, parse_model
from tasks.errors import ConfigurationError

#: A TOML file of models that go before ours.
MODELS_VARIABLE = "BEDROCK_BATCH_MODELS"
_OURS: Final = Path(__file__).with_name("models.toml")

Positive = Annotated[int, msgspec.Meta(gt=0)]
Kind = Literal["chat", "embeddings", "rerank", "image", "video", "speech"]
Thinking = Literal["budget", "adaptive", "between_tools", "effort", "always"]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model takes, and what is known of it; None and empty where nothing has been read."""

    #: The row's name, or its family's where the model has none; `known` tells which.
    id: str
    known: bool
    #: The day on which the facts were read, and where.
    seen: str
    source: str
    #: The family module that speaks its body; empty for what takes neither chats nor texts to embed.
    codec: str
    kind: Kind = "chat"

    images: bool = False
    documents: bool = False
    tools: bool = False
    #: The forms of tool_choice.
    tool_choice: frozenset[Literal["auto", "none", "required", "named"]] = frozenset()
    #: Whether ids of tool calls must be of exactly nine letters and digits.
    short_tool_ids: bool = False
    #: Whether `strict` may stand on a tool.
    strict_tools: bool = False
    #: Whether a JSON schema may be asked for without a tool: output_config, response_format or outputConfig.
    structured_output: bool = False
    #: What an enforced schema may hold: "closed" as Claude's, "nova" as Nova's tools, "open" for what was not read.
    schemas: Literal["open", "closed", "nova"] = "open"
    #: Whether Converse takes `system` and `stopSequences`; whether the native body takes stop sequences.
    system_by_converse: bool = True
    stop_by_converse: bool = True
    stop: bool = True
    #: The model's own name of top_k in Converse's additional fields; empty where it has none.
    top_k: str = ""
    penalties: bool = False
    #: Its highest temperature, where its body is OpenAI's.
    temperature: Literal[1, 2] = 2
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    #: temperature and top_p: both, one of them in a request, or none.
    sampling: Literal["both", "one", "none"] = "both"
    #: Whether a conversation may end with the assistant's turn, for the model to go on from.
    prefill: bool = False

    #: How it can be made to think; "always" cannot be helped.
    thinking: frozenset[Thinking] = frozenset()
    #: How it is kept from thinking: by saying nothing, by saying so, or not at all.
    thinking_off: Literal["omit", "disabled", "never"] = "omit"
    thinking_by_default: bool = False
    #: Its words of effort, the least first.
    efforts: tuple[Literal["minimal", "low", "medium", "high", "xhigh", "max"], ...] = ()

    #: The most output tokens of an answer, and what to ask for where the body wants a number.
    max_tokens: Positive | None = None
    default_max_tokens: Positive | None = None
    context_window: Positive | None = None

    #: Sizes of embeddings, the default where there is one size; words for what is done with long texts.
    dimensions: tuple[Positive, ...] = ()
    truncation: tuple[str, ...] = ()

    #: Batch inference: by any id, through an inference profile only, by the bare id only, not at all.
    batch: Literal["yes", "profile", "bare", "no", "unknown"] = "unknown"
    #: The types of job that take its records; its own body's goes before Converse's, where a choice is open.
    jobs: Annotated[frozenset[Literal["InvokeModel", "Converse"]], msgspec.Meta(min_length=1)] = frozenset(
        {"InvokeModel", "Converse"}
    )
    min_records_per_job: Annotated[int, msgspec.Meta(ge=0)]
    max_records_per_job: Positive
    max_bytes_per_file: Positive
    max_jobs: Positive

    @property
    def forces_tools(self) -> bool:
        """Whether one certain tool can be called for."""
        return "named" in self.tool_choice


class _Table(msgspec.Struct, frozen=True):
    """The rows as they stand, by name; families by the beginnings of ids."""

    default: dict[str, Any]
    families: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]


def capabilities_of(model: Model) -> Capabilities:
    """What a model takes. Raises ConfigurationError for a user's file that cannot be read."""
    # Asked for each request: to look first is faster than to get what is not there.
    path = os.environ[MODELS_VARIABLE].strip() if MODELS_VARIABLE in os.environ else ""
    # An application inference profile tells no model by its name; a user's row may have the ARN.
    return _capabilities(model.base_id or model.id, path)


def unknown_warning(model: Model) -> str | None:
    """What a user should know of a model without a row; None where there is one."""
    known = capabilities_of(model)
    if known.known:
        return None
    return (
        f"{model.base_id or model.id} is not in the table of models: it is treated as the most careful of its family "
        f"({known.id}). {MODELS_VARIABLE} can name a TOML file with a row of it."
    )


@functools.lru_cache(maxsize=256)
def _capabilities(base_id: str, path: str) -> Capabilities:
    table = _table(path)
    for name in _names(base_id):
        if name in table.models:
            return _read(name, base_id, table)
    return _read(None, base_id, table)


#: A version and a context size, a further version, a date: what stands behind a model's name in its id.
_SUFFIXES: Final = (re.compile(r"(:\d+)?(:\w+)?$"), re.compile(r"-v\d+$"), re.compile(r"-\d{8}$"))


def _names(base_id: str) -> list[str]:
    """The id, and what is left of it without version and date: the names that a row may have for it, longest first."""
    names = [base_id]
    for suffix in _SUFFIXES:
        names.append(suffix.sub("", names[-1], count=1))
    return names


def _read(name: str | None, base_id: str, table: _Table) -> Capabilities:
    start = max((start for start in table.families if base_id.startswith(start)), key=len)
    family = table.families[start]
    facts = {**table.default, **family}
    facts["id"] = facts.pop("name")
    if name is not None:
        facts |= {**_inherited(name, table), "id": name}
    del facts["ids"]
    return _convert(facts | {"known": name is not None})


def _inherited(name: str, table: _Table, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a row, over those of the row that it is like: one of a version is like its model's."""
    row = dict(table.models[name])
    like = row.pop("like", next((each for each in _names(name) if each != name and each in table.models), None))
    if like is None:
        return row
    if like not in table.models or like in path:
        raise ConfigurationError(f"The model {name!r} is like {like!r}, which leads to no other row.")
    return _inherited(like, table, (*path, name)) | row


def _convert(facts: dict[str, Any]) -> Capabilities:
    try:
        return msgspec.convert(facts, Capabilities)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"The table of models has a wrong row, {facts['id']!r}: {error}.") from None


@functools.lru_cache(maxsize=4)
def _table(path: str) -> _Table:
    ours = _parse(_OURS.read_text(encoding="utf-8"), str(_OURS))
    if not path:
        return ours
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{MODELS_VARIABLE} names {path!r}, which cannot be read ({error}).") from None
    theirs = _parse(text, path)
    table = _Table(
        ours.default | theirs.default,
        ours.families | theirs.families,
        ours.models | {name: ours.models.get(name, {}) | row for name, row in theirs.models.items()},
    )
    try:
        _check(table, {row["codec"] for row in ours.families.values()})
    except ConfigurationError as error:
        # Ours have been read before.
        raise ConfigurationError(f"{path!r}: {error}") from None
    return table


def _check(table: _Table, codecs: set[str]) -> None:
    """Read every row once: a mistake in the file is said before a batch is opened, whatever model it is for."""
    rows = [_read(None, start, table) for start in table.families] + [_read(name, name, table) for name in table.models]
    for row in rows:
        if row.codec not in codecs:
            known = ", ".join(sorted(filter(None, codecs)))
            raise ConfigurationError(
                f"The table of models has a wrong row, {row.id!r}: codec must be one of {known}, not {row.codec!r}."
            )


def _parse(text: str, path: str) -> _Table:
    """The rows of a file. Raises ConfigurationError for what is no TOML, and for a row without date and source."""
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path!r} is no TOML: {error}.") from None
    unknown = parsed.keys() - {"default", "family", "model"}
    if unknown:
        raise ConfigurationError(f"{path!r} has {', '.join(sorted(unknown))} beside [[family]] and [[model]].")
    default = parsed.get("default", {})
    if not isinstance(default, dict):
        raise ConfigurationError(f"{path!r}: default must be a table, [default].")
    rows = {"family": parsed.get("family", []), "model": parsed.get("model", [])}
    for kind, key in (("family", "name"), ("model", "id")):
        if not isinstance(rows[kind], list):
            raise ConfigurationError(f"{path!r}: each {kind} must be a table of its own, [[{kind}]].")
        for row in rows[kind]:
            _check_row(row, kind, key, path)
    families = {start: row for row in rows["family"] for start in _beginnings(row, path)}
    models: dict[str, dict[str, Any]] = {}
    for row in rows["model"]:
        name = _base_id(row["id"])
        if name in models:
            raise ConfigurationError(f"{path!r} has two rows of {name!r}.")
        models[name] = {**row, "id": name}
    return _Table(default, families, models)


def _check_row(row: Any, kind: str, key: str, path: str) -> None:
    """Refuse a row without its name, or without date and source."""
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise ConfigurationError(f"{path!r} has a [[{kind}]] without its {key!r}.")
    if isinstance(row.get("seen"), datetime.date):
        row["seen"] = row["seen"].isoformat()[:10]
    for field in ("seen", "source"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise ConfigurationError(
                f"{path!r}: [[{kind}]] {row[key]!r} must say {field!r}, "
                f"{'the day it was read (2026-10-15)' if field == 'seen' else 'where it was read'}."
            )
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["seen"]):
        raise ConfigurationError(f"{path!r}: 'seen' of {row[key]!r} must be a day such as '2026-10-15'.")


def _beginnings(family: dict[str, Any], path: str) -> list[str]:
    ids = family.get("ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(each, str) for each in ids):
        raise ConfigurationError(
            f"{path!r}: 'ids' of [[family]] {family['name']!r} must be a list of beginnings of model ids."
        )
    return ids


def _base_id(name: str) -> str:
    """The name of a row, of what may be the id of an inference profile."""
    try:
        return parse_model(name).base_id or name
    except ValueError:
        return name


def all_models(path: str = "") -> dict[str, Capabilities]:
    """Every row of the table, by its name."""
    table = _table(path)
    return {name: _read(name, name, table) for name in table.models}
