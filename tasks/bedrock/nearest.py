"""Model ids that are mistyped: the nearest one that Bedrock has."""

import functools
import re
from pathlib import Path
from typing import Final

from rapidfuzz import fuzz, process

from tasks.bedrock.models import Model, parse_model

_IDS: Final = Path(__file__).with_name("model_ids.txt")
#: Of 100: below it, two ids have nothing to do with each other.
_ALIKE: Final = 80
#: What a new version of a model differs in.
_VERSION: Final = re.compile(r"[\d.:-]|v\d")
#: The same model with a longer context.
_CONTEXT: Final = re.compile(r":\d+k$|:mm$")


@functools.cache
def known_ids() -> tuple[str, ...]:
    """Base ids of the models that were known on the day of the list."""
    lines = _IDS.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def is_known(model: Model) -> bool:
    """Whether the list has a model. True for what only the service can tell: a custom model, a profile of one's own."""
    if not model.base_id or (model.id.startswith("arn:") and "." not in model.base_id):
        return True
    return _CONTEXT.sub("", model.base_id) in known_ids()


def nearest(model: Model, among: tuple[str, ...] | None = None) -> str | None:
    """The id that was meant, with the prefix that was given; None for a known one, or where none is like it.

    `among`: the ids that there are, where somebody has listed them.
    """
    if among is None and is_known(model):
        return None
    # As other tools write them: bedrock/… and anthropic/….
    written = model.base_id.lower().replace("/", ".")
    found = process.extractOne(written, among or known_ids(), scorer=fuzz.WRatio, score_cutoff=_ALIKE)
    if found is None:
        return None
    name = model.id.rsplit("/", 1)[-1]
    prefix = name.removesuffix(model.base_id) if name.endswith(model.base_id) else ""
    return f"{prefix}{found[0]}"


def is_of_bedrock(model: Model) -> bool:
    """Whether an id begins as Bedrock's do, with the name of whoever made the model."""
    vendor, dot, _ = model.base_id.lower().partition(".")
    if is_known(model) or model.id.startswith("arn:"):
        return True
    return bool(dot and vendor in {each.partition(".")[0] for each in known_ids()})


def mistyped(model: Model) -> str | None:
    """The id that was meant, of one that is surely mistyped: more than a version's number is different."""
    meant = nearest(model)
    if meant is None or _VERSION.sub("", parse_model(meant).base_id) == _VERSION.sub("", model.base_id):
        return None
    return meant
