"""OpenAI's endpoints: a module each turns request bodies into neutral ones, and neutral answers into bodies."""

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.codecs.endpoints._base import Endpoint


@functools.cache
def all_endpoints() -> dict[str, "Endpoint[Any, Any]"]:
    """Every endpoint module's ENDPOINT, by its path."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = [module.ENDPOINT for module in modules if hasattr(module, "ENDPOINT")]
    return {endpoint.url: endpoint for endpoint in found}


def endpoint_at(path: str) -> "Endpoint[Any, Any]":
    """The endpoint of a path such as "/v1/responses". Raises KeyError for one that has no module here."""
    return all_endpoints()[path]
