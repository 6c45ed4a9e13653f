"""The codecs, found by model id. Pure: neither Prefect nor boto3 nor any I/O is imported here."""

import functools
import importlib
import pkgutil

from tasks.bedrock.models import Model
from tasks.codecs import families
from tasks.codecs.base import ChatCodec, Codec


@functools.cache
def all_codecs() -> tuple[Codec, ...]:
    """Every family module's CODEC (or CODECS); the one that serves any model, Converse, comes last."""
    found: list[Codec] = []
    for info in pkgutil.iter_modules(families.__path__):
        module = importlib.import_module(f"{families.__name__}.{info.name}")
        found += [module.CODEC] if hasattr(module, "CODEC") else getattr(module, "CODECS", ())
    return tuple(sorted(found, key=lambda codec: codec.family == "converse"))


def codec_for(model: Model) -> Codec:
    """The codec of a model's family; Converse for every model that has no module of its own."""
    return next(codec for codec in all_codecs() if codec.serves(model))


def converse_codec() -> ChatCodec:
    """The codec of Converse jobs, for a model of any family."""
    codec: ChatCodec = all_codecs()[-1]  # type: ignore[assignment]
    return codec
