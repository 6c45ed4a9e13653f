"""JSON Schemas, cut to what a family takes, with nothing lost: references resolved, objects closed."""

import copy
from typing import Any

from tasks.codecs.base import RequestError

_MAX_DEPTH = 40


def inline_references(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """The schema without `$defs`: every local reference replaced by what it names.

    Raises RequestError for a recursive schema, which has no finite form, and for references that lead nowhere.
    """
    resolved = _resolve(schema, schema, (), where)
    return {key: value for key, value in resolved.items() if key not in ("$defs", "definitions")}


def _resolve(node: Any, root: dict[str, Any], path: tuple[str, ...], where: str) -> Any:
    if isinstance(node, list):
        return [_resolve(item, root, path, where) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference in path or len(path) > _MAX_DEPTH:
            raise RequestError(f"'{where}' is recursive, which this model's schemas cannot be.", where,
                               "unsupported_parameter")  # fmt: skip
        target = _look_up(root, reference, where)
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve({**target, **rest}, root, (*path, reference), where)
    return {
        key: value if key in ("$defs", "definitions", "enum", "const") else _resolve(value, root, path, where)
        for key, value in node.items()
    }


def _look_up(root: dict[str, Any], reference: str, where: str) -> dict[str, Any]:
    node: Any = root
    if reference != "#":
        for part in reference.removeprefix("#/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            node = node.get(name) if isinstance(node, dict) and reference.startswith("#/") else None
    if not isinstance(node, dict):
        raise RequestError(f"'{where}' refers to {reference!r}, which is not in the schema.", where)
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
