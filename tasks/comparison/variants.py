"""What is compared: a model, with its label and what it does differently; and each variant's own input."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tasks.batch.parameters import BatchParameters
from tasks.bedrock.models import parse_model
from tasks.codecs import codec_for
from tasks.codecs.endpoints import all_endpoints
from tasks.errors import ConfigurationError
from tasks.openai_format.requests import canonical_endpoint
from tasks.storage.reader import read_lines
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer

#: What a variant may set of its batch; everything else is the same for all.
BATCH_OPTIONS = frozenset(BatchParameters.names("variant"))
#: Fields of a request that an override must not touch: they are the dataset, or the pipeline's.
_FIXED = frozenset({"model", "messages", "input", "prompt", "stream"})
_LABEL_CHARACTERS = 80


class Variant(msgspec.Struct, frozen=True):
    """One side of a comparison.

    `overrides` replace fields of every request's body (null removes one); its "system" replaces the system prompt.
    """

    model: str
    label: str
    overrides: dict[str, Any] = {}
    options: dict[str, Any] = {}

    @property
    def endpoints(self) -> frozenset[str]:
        """The endpoints that the model's family serves."""
        return codec_for(parse_model(self.model)).endpoints


def read_variants(
    models: Sequence[str | dict[str, Any]], more: Sequence[dict[str, Any]] | None = None
) -> list[Variant]:
    """The variants that a call names: models, and `variants` beside them.

    Raises ConfigurationError naming the entry that is wrong.
    """
    if isinstance(models, str | dict) or not (models or more):
        raise ConfigurationError(
            'models must be a list of at least one model id or {"model": …}; two make an A/B test.'
        )
    places = [f"models[{number}]" for number in range(len(models))]
    places += [f"variants[{number}]" for number in range(len(more or ()))]
    variants = [_variant(entry, place) for entry, place in zip([*models, *(more or ())], places, strict=True)]
    seen: dict[str, int] = {}
    for number, variant in enumerate(variants):
        if variant.label in seen:
            raise ConfigurationError(
                f"{places[seen[variant.label]]} and {places[number]} are both called {variant.label!r}: "
                'give each its own "label".'
            )
        seen[variant.label] = number
    for number, variant in enumerate(variants):
        for earlier in range(number):
            other = variants[earlier]
            if (other.model, other.overrides, other.options) == (variant.model, variant.overrides, variant.options):
                raise ConfigurationError(
                    f"{places[earlier]} and {places[number]} are the same: there is no A/B in that."
                )
    return variants


def _variant(entry: Any, where: str) -> Variant:
    if isinstance(entry, str):
        entry = {"model": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        raise ConfigurationError(f'{where} must be a model id or {{"model": …}}.')
    given = dict(entry)
    model, label, overrides = given.pop("model"), given.pop("label", None), given.pop("overrides", None) or {}
    try:
        model = parse_model(model).id
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    label = model if label is None else label
    if not isinstance(label, str) or not label.strip() or len(label) > max(_LABEL_CHARACTERS, len(model)):
        raise ConfigurationError(f"{where}: label must be text of 1 to {_LABEL_CHARACTERS} characters.")
    if not isinstance(overrides, dict) or _FIXED & overrides.keys():
        raise ConfigurationError(
            f"{where}: overrides must be fields of a request's body, but for {', '.join(sorted(_FIXED))}."
        )
    if not _is_json(overrides):
        raise ConfigurationError(f"{where}: overrides must be what JSON can hold, with finite numbers.")
    if "system" in overrides and not isinstance(overrides["system"], str):
        raise ConfigurationError(f"{where}: overrides.system must be text.")
    if unknown := given.keys() - BATCH_OPTIONS:
        raise ConfigurationError(
            f"{where}: {', '.join(sorted(unknown))} cannot be set for one model; "
            f"{', '.join(sorted(BATCH_OPTIONS))} can."
        )
    try:
        for name, value in given.items():
            BatchParameters.require_valid(name, value)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return Variant(model, label.strip(), overrides, given)


def _is_json(value: Any) -> bool:
    """Whether a value is the same after it was written as JSON: NaN, for one, would be null."""
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(value)) == value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return False


def slug(label: str, number: int) -> str:
    """A label as part of an S3 key, unique by its number."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-')[:60] or 'variant'}"


_decode_text = msgspec.json.Decoder(str).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def write_input(
    variant: Variant, sources: list[Source], target: S3Uri, kms_key: str | None, endpoint: str | None = None
) -> None:
    """Write the variant's own input: every line of the input with the overrides put in, and no line more or fewer.

    Lines that are no requests go through as they are: each variant's batch says what is wrong with them.
    """
    change = changer(variant.overrides, endpoint)
    with S3Writer(target, kms_key) as out:
        for source in sources:
            for block in read_lines(source):
                out.write(b"".join(change(line) + b"\n" for line in block.lines))


def changer(overrides: dict[str, Any], endpoint: str | None = None) -> Callable[[bytes], bytes]:
    """A function from a request line to the same line with the overrides put in.

    Lines of another endpoint than the given one, which no batch takes, stay as they are.
    """
    system = overrides.get("system")
    removed = {name for name, value in overrides.items() if value is None}
    fields = {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in overrides.items()
        if name != "system" and name not in removed
    }

    def change(line: bytes) -> bytes:
        if not line or line.isspace():
            return line
        try:
            whole = _decode_object(line)
            url, given = _decode_text(whole["url"]), _decode_object(whole["body"])
            if endpoint is not None and canonical_endpoint(url) != endpoint:
                return line
            body = {name: value for name, value in given.items() if name not in removed} | fields
            if system is not None:
                body = _with_system(body, url, system)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            return line
        whole["body"] = msgspec.Raw(msgspec.json.encode(body))
        return msgspec.json.encode(whole)

    return change


def _with_system(body: dict[str, msgspec.Raw], url: str, system: str) -> dict[str, msgspec.Raw]:
    endpoint = all_endpoints().get(canonical_endpoint(url))
    if endpoint is None:
        return body
    changed = endpoint.with_system(body, system)
    if changed is None:
        raise ConfigurationError(
            f"overrides.system needs chat or responses requests; {endpoint.url} has no system prompt."
        )
    return changed


def lines_of(sources: list[Source]) -> Iterator[bytes]:
    """The requests of an input, blank lines left out."""
    for source in sources:
        for block in read_lines(source):
            yield from (line for line in block.lines if line and not line.isspace())
