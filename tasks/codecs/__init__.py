"""The codecs, found by model id. Pure: neither Prefect nor boto3 nor any I/O is imported here."""

import functools
import importlib
import pkgutil
from collections.abc import Callable

import msgspec

from tasks.bedrock.models import Model
from tasks.codecs import families
from tasks.codecs.base import Answer, ChatCodec, Codec, EmbeddingCodec, InvocationType


@functools.cache
def all_codecs() -> tuple[Codec, ...]:
    """Every family module's CODEC (or CODECS); the one that serves any model, Converse, comes last."""
    found: list[Codec] = []
    for info in pkgutil.iter_modules(families.__path__):
        module = importlib.import_module(f"{families.__name__}.{info.name}")
        found += [module.CODEC] if hasattr(module, "CODEC") else getattr(module, "CODECS", ())
    return tuple(sorted(found, key=lambda codec: codec.family == "converse"))


@functools.lru_cache
def codec_for(model: Model) -> Codec:
    """The codec of a model's family; Converse for every model that has no module of its own."""
    return next(codec for codec in all_codecs() if codec.serves(model))


def codec_of(model: Model, invocation: InvocationType) -> Codec:
    """The codec that made, and reads, the records of a type of job."""
    return all_codecs()[-1] if invocation == "Converse" else codec_for(model)


@functools.lru_cache
def chat_codec(model: Model, invocation: InvocationType = "InvokeModel") -> ChatCodec:
    """The same of a chat model. Raises TypeError for a model of another kind."""
    codec = codec_of(model, invocation)
    if not isinstance(codec, ChatCodec):
        raise TypeError(f"models of the family {codec.family} do not chat")
    return codec


@functools.lru_cache
def answer_decoder(model: Model, invocation: InvocationType) -> Callable[[bytes | msgspec.Raw], Answer]:
    """What reads the model's answers in a type of job. Raises TypeError for a model that does not chat."""
    native, codec = chat_codec(model), chat_codec(model, invocation)
    tidy = native.tidy
    if codec is native or tidy is None:
        return codec.decode

    def decode(output: bytes | msgspec.Raw) -> Answer:
        answer = codec.decode(output)
        tidy(answer)
        return answer

    return decode


@functools.lru_cache
def embedding_codec(model: Model) -> EmbeddingCodec:
    """The codec of an embedding model. Raises TypeError for a model of another kind."""
    codec = codec_for(model)
    if not isinstance(codec, EmbeddingCodec):
        raise TypeError(f"models of the family {codec.family} give no embeddings")
    return codec
