"""JSON Schemas, cut to what a family takes, with nothing lost: references resolved, objects closed."""

import copy
from typing import Any

from tasks.codecs.base import RequestError, dumps

_MAX_DEPTH = 40


#: What references may add to a schema, in bytes: a few that name each other twice over would grow beyond any memory.
_MOST_BYTES = 1_000_000


def inline_references(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """The schema without `$defs`: every local reference replaced by what it names.

    Raises RequestError for a recursive schema, which has no finite form, and for references that lead nowhere.
    """
    resolved = _Resolver(schema, where).resolve(schema, ())
    return {key: value for key, value in resolved.items() if key not in ("$defs", "definitions")}


class _Resolver:
    """Resolves the references of one schema."""

    def __init__(self, root: dict[str, Any], where: str) -> None:
        self._root, self._where = root, where
        self._sizes: dict[str, int] = {}
        self._left = _MOST_BYTES

    def resolve(self, node: Any, path: tuple[str, ...]) -> Any:
        """A node with its references replaced; `path` are those that lead to it."""
        if isinstance(node, list):
            return [self.resolve(item, path) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in path or len(path) > _MAX_DEPTH:
                raise RequestError(
                    f"'{self._where}' is recursive, which this model's schemas cannot be.",
                    self._where,
                    "unsupported_parameter",
                )
            target = self._look_up(reference)
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return self.resolve({**target, **rest}, (*path, reference))
        return {
            key: value if key in ("$defs", "definitions", "enum", "const") else self.resolve(value, path)
            for key, value in node.items()
        }

    def _look_up(self, reference: str) -> dict[str, Any]:
        node: Any = self._root
        if reference != "#":
            for part in reference.removeprefix("#/").split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                node = node.get(name) if isinstance(node, dict) and reference.startswith("#/") else None
        if not isinstance(node, dict):
            raise RequestError(f"'{self._where}' has a $ref to what is not in the schema.", self._where)
        if reference not in self._sizes:
            self._sizes[reference] = len(dumps(node))
        self._left -= self._sizes[reference]
        if self._left < 0:
            raise RequestError(f"'{self._where}' grows beyond {_MOST_BYTES:,} bytes by its references.", self._where)
        return node


def close_objects(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema with `additionalProperties: false` on every object, as structured outputs want it.

    None where an object is explicitly open: then it would no longer say the same.
    """
    closed = copy.deepcopy(schema)
    return closed if _close(closed) else None


def _close(node: Any) -> bool:
    if isinstance(node, list):
        return all([_close(item) for item in node])  # noqa: C419 (all are to be visited)
    if not isinstance(node, dict):
        return True
    if node.get("type") == "object" or "properties" in node:
        if node.get("additionalProperties", False) is not False:
            return False
        node["additionalProperties"] = False
    return all([_close(value) for key, value in node.items() if key not in ("enum", "const")])  # noqa: C419
