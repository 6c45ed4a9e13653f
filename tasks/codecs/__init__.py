"""The codecs, found by model id. Pure: neither Prefect nor boto3 nor any I/O is imported here."""

import functools
import importlib
import pkgutil

from tasks.bedrock.models import Model
from tasks.codecs.base import Codec


@functools.cache
def all_codecs() -> tuple[Codec, ...]:
    """Every family module's CODEC; the one that serves any model (Converse) comes last."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    codecs = [module.CODEC for module in modules if hasattr(module, "CODEC")]
    return tuple(sorted(codecs, key=lambda codec: codec.family == "converse"))


def codec_for(model: Model) -> Codec:
    """The codec of a model's family; Converse for every model that has no module of its own."""
    return next(codec for codec in all_codecs() if codec.serves(model))
