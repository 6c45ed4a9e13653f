"""JSON Schemas as a target can hold them: references inlined, objects closed, constraints told in words.

The names within `properties` or `$defs` are a request's own and no keywords, whatever they are called; the values of
`enum`, `const`, `default` and `examples` are no schemas.
"""

import re
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tasks.codecs.base import Policy, RequestError, dumps
from tasks.errors import PortableError

_MAX_DEPTH: Final = 40
#: What references may add to a schema, in bytes: a few that name each other twice over would grow beyond any memory.
_MOST_BYTES: Final = 1_000_000

_DEFINITIONS: Final = ("$defs", "definitions")
#: Keywords whose value is a map of names to schemas, a list of schemas, or a schema.
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", *_DEFINITIONS})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
#: What may not stand at the root of a tool's schema.
_ROOT: Final = ("anyOf", "oneOf", "allOf")
_SCHEMAS: Final = frozenset(
    {"items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"}
    | {"propertyNames", "not", "if", "then", "else", "contentSchema"}
)
#: What Claude's structured outputs do not enforce, and Anthropic's own SDK tells the model in the description:
#: https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs (limitations of JSON Schema).
_CONSTRAINTS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
    | {"minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "pattern", "format"}
)
#: What changes which objects are meant, and cannot be told in a few words.
_BEYOND_WORDS: Final = frozenset(
    {"not", "if", "then", "else", "patternProperties", "propertyNames", "contains", "minContains", "maxContains"}
    | {"dependentSchemas", "dependentRequired", "dependencies", "prefixItems", "additionalItems"}
    | {"unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"}
)
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
#: Anchors, classes, escapes of a class and quantifiers: no groups, no look-around, no references.
_SIMPLE_PATTERN: Final = re.compile(r"\^?(?:[^()\\]|\\[dDwWsS.\-+*?/\[\]{}|^$])*\$?")


#: What Nova takes at the root of a tool's schema.
ROOT_KEYS: Final = frozenset({"type", "properties", "required"})
#: Root keys that hold a model to nothing; some of them tell it something.
ANNOTATIONS: Final = frozenset({"$schema", "$id", "$comment", "title", "description", "examples", "default"})


class UnenforceableError(PortableError):
    """A schema that a target cannot be held to; the message says what it has, and goes on from "its schema"."""


class Fitted(msgspec.Struct, frozen=True):
    """A schema that a target enforces, and the keywords of the original that stand in its descriptions instead."""

    schema: dict[str, Any]
    described: tuple[str, ...] = ()

    def note(self, where: str, policy: Policy) -> None:
        """Count what is only described."""
        for keyword in self.described:
            policy.note(f"{where} ({keyword} in the description)")


def inline_references(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """The schema without `$defs`: every local reference replaced by what it names.

    Raises RequestError for a recursive schema, which has no finite form, and for references that lead nowhere.
    """
    try:
        return _inlined(schema, where)
    except UnenforceableError as error:
        raise RequestError(f"'{where}' {error}.", where, "unsupported_parameter") from None


def fit_closed(schema: dict[str, Any], where: str) -> Fitted:
    """The schema as Claude's structured outputs and Converse's enforce it: inlined, closed, without constraints.

    Raises UnenforceableError for what has no such form, and RequestError for references that lead nowhere.
    """
    described: dict[str, None] = {}
    fitted = _closed(_inlined(schema, where), described)
    return Fitted(fitted, tuple(described))


def _mapped(node: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    """The node with the function's results in place of the schemas directly within it."""
    mapped: dict[str, Any] = {}
    for key, value in node.items():
        if key in _MAPS and isinstance(value, dict):
            mapped[key] = {name: function(inner) for name, inner in value.items()}
        elif (key in _LISTS or key == "items") and isinstance(value, list):
            mapped[key] = [function(inner) for inner in value]
        elif key in _SCHEMAS:
            mapped[key] = function(value)
        else:
            mapped[key] = value
    return mapped


def _inlined(schema: dict[str, Any], where: str) -> dict[str, Any]:
    resolved: dict[str, Any] = _Resolver(schema, where).resolve(schema, ())
    return resolved


class _Resolver:
    """Resolves the references of one schema."""

    def __init__(self, root: dict[str, Any], where: str) -> None:
        self._root, self._where = root, where
        self._sizes: dict[str, int] = {}
        self._left = _MOST_BYTES

    def resolve(self, node: Any, path: tuple[str, ...]) -> Any:
        """A node with its references replaced; `path` are those that lead to it."""
        if not isinstance(node, dict):
            return node
        node = {key: value for key, value in node.items() if key not in _DEFINITIONS}
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in path or len(path) > _MAX_DEPTH:
                raise UnenforceableError("is recursive, which this model's schemas cannot be")
            target = self.look_up(reference)
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return self.resolve({**target, **rest}, (*path, reference))
        return _mapped(node, lambda inner: self.resolve(inner, path))

    def look_up(self, reference: str) -> dict[str, Any]:
        """What a reference names. Raises RequestError where that is not in the schema."""
        node: Any = self._root
        if reference != "#":
            for part in urllib.parse.unquote(reference).removeprefix("#/").split("/"):
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


def _closed(node: Any, described: dict[str, None]) -> Any:
    """One schema, and those within it, as they are enforced; `described` gathers what is only told."""
    if not isinstance(node, dict):
        raise UnenforceableError("has a schema that is true or false, and no object")
    for keyword in node.keys() & _BEYOND_WORDS:
        raise UnenforceableError(f"has {keyword!r}, which this model does not enforce")
    if isinstance(node.get("items"), list):
        raise UnenforceableError("has 'items' by their places, which this model does not enforce")
    if any(isinstance(value, dict | list) for value in _list(node.get("enum"))):
        raise UnenforceableError("has an 'enum' of objects or lists, which this model does not enforce")
    node = dict(node)
    words: dict[str, Any] = {}
    if "oneOf" in node:
        # One of them and any of them differ for what fits several.
        words["oneOf"] = "exactly one of the alternatives"
        alternatives = node.pop("oneOf")
        if "anyOf" in node or not isinstance(alternatives, list):
            raise UnenforceableError("has a 'oneOf' beside an 'anyOf', which this model does not enforce")
        node["anyOf"] = alternatives
    if "allOf" in node:
        node = _merged(node)
    words |= {key: node.pop(key) for key in [*node] if key in _CONSTRAINTS and not _enforced(key, node[key])}
    kind = node.get("type")
    if kind == "object" or "properties" in node or (isinstance(kind, list) and "object" in kind):
        if node.get("additionalProperties", False) is not False:
            # Closed, it would no longer say the same.
            raise UnenforceableError("has an open object, which this model does not enforce")
        # What may be null as well stays so.
        node |= {"type": kind or "object", "additionalProperties": False}
    elif not node.keys() & {"type", "anyOf", "enum", "const"}:
        raise UnenforceableError("has a schema that says no type")
    if words:
        described |= dict.fromkeys(words)
        node["description"] = _told(node.get("description"), words)
    return _mapped(node, lambda inner: inner if inner is False else _closed(inner, described))


def _enforced(key: str, value: Any) -> bool:
    """Whether a constraint is among the few that are enforced."""
    if key == "minItems":
        return value in (0, 1) and not isinstance(value, bool)
    if key == "pattern":
        return isinstance(value, str) and _SIMPLE_PATTERN.fullmatch(value) is not None
    return key == "format" and value in _FORMATS


def _merged(node: dict[str, Any]) -> dict[str, Any]:
    """A node with an allOf of one: the two together. Each of several would be closed against the others' fields."""
    inner = node.pop("allOf")
    if not isinstance(inner, list) or len(inner) != 1 or not isinstance(inner[0], dict):
        raise UnenforceableError("has an 'allOf' of several, which this model does not enforce")
    if inner[0].keys() & node.keys() - {"description", "title"}:
        raise UnenforceableError("has an 'allOf' beside what it repeats, which this model does not enforce")
    return {**inner[0], **node}


def root_words(schema: dict[str, Any]) -> str:
    """What a root tells a model beside its properties: its description, a default and examples."""
    told: dict[str, Any] = {key: schema[key] for key in ("default", "examples") if key in schema}
    description = schema.get("description")
    return _told(description, told) if told else description if isinstance(description, str) else ""


def _told(description: Any, words: dict[str, Any]) -> str:
    """A description with what the model is asked to keep to, as Anthropic's SDK writes it."""
    texts = {key: value if isinstance(value, str) else dumps(value).decode() for key, value in words.items()}
    told = ", ".join(f"{key}: {text}" for key, text in texts.items())
    return f"{description}\n\n{{{told}}}" if isinstance(description, str) and description else f"{{{told}}}"


def with_own_root(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """The schema with the reference at its root replaced, and all others left. Raises as `inline_references` does."""
    resolver, seen = _Resolver(schema, where), 0
    while isinstance(schema.get("$ref"), str):
        seen += 1
        if seen > _MAX_DEPTH:
            raise UnenforceableError("is recursive, which this model's schemas cannot be")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**resolver.look_up(schema["$ref"]), **rest}
    return schema


def as_property(schema: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """An object with the schema as its one property. Raises RequestError for references that lead nowhere."""
    try:
        inner, definitions = _inlined(schema, where), dict[str, Any]()
    except UnenforceableError:
        # Recursive: the definitions keep their place at the root, where the references look for them.
        if any(not _to_definitions(reference) for reference in _references(schema)):
            schema = _as_definition(schema)
        definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
        inner = {key: value for key, value in schema.items() if key not in _DEFINITIONS}
    return {"type": "object", "properties": {name: inner}, "required": [name], **definitions}


def _to_definitions(reference: str) -> bool:
    return reference.startswith(tuple(f"#/{key}/" for key in _DEFINITIONS))


def _as_definition(schema: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema, which is now among its definitions, so that what refers to its root finds it there."""
    own = "root"
    while own in schema.get("$defs", {}):
        own += "_"

    def moved(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str) and not _to_definitions(reference):
            node = {**node, "$ref": f"#/$defs/{own}{reference.removeprefix('#')}"}
        return _mapped(node, moved)

    whole = moved(schema)
    definitions = {key: whole.pop(key) for key in _DEFINITIONS if key in whole}
    return {**definitions, "$ref": f"#/$defs/{own}", "$defs": {**definitions.get("$defs", {}), own: whole}}


def _references(schema: dict[str, Any]) -> list[str]:
    found: list[str] = []

    def look(node: Any) -> Any:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.append(node["$ref"])
            _mapped(node, look)
        return node

    look(schema)
    return found


def is_plain_object(schema: dict[str, Any]) -> bool:
    """Whether a schema can be a tool's: an object, with no alternatives at its root."""
    return schema.get("type", "object") == "object" and not schema.keys() & {"anyOf", "oneOf", "allOf", "$ref", "not"}


def says_properties_only(schema: dict[str, Any]) -> bool:
    """Whether an object has properties, and all that its root says of them is which are required."""
    described = schema.keys() - ROOT_KEYS - ANNOTATIONS - {*_DEFINITIONS}
    open_or_closed = isinstance(schema.get("additionalProperties", False), bool)
    return bool(schema.get("properties")) and described <= {"additionalProperties"} and open_or_closed


def root_alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas in anyOf, oneOf and allOf at the root."""
    lists = [schema[key] for key in _ROOT if isinstance(schema.get(key), list)]
    return [branch for branches in lists for branch in branches if isinstance(branch, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def without_root_alternatives(schema: dict[str, Any]) -> Fitted:
    """A tool's schema without anyOf, oneOf and allOf at its root.

    Their properties become the tool's own, required where all of them do, and what they said stands in the description.
    """
    found: dict[str, Any] = {key: schema[key] for key in _ROOT if key in schema}
    if not found:
        return Fitted(schema)
    plain = {key: value for key, value in schema.items() if key not in found}
    properties = dict(plain.get("properties", {}))
    required = list(plain.get("required", []))
    for key, value in found.items():
        branches = root_alternatives({key: value})
        for branch in branches:
            more = branch.get("properties")
            properties = {**(more if isinstance(more, dict) else {}), **properties}
        needed = [{name for name in _list(branch.get("required")) if isinstance(name, str)} for branch in branches]
        if needed:
            common = set.union(*needed) if key == "allOf" else set.intersection(*needed)
            required += sorted(common.difference(name for name in required if isinstance(name, str)))
    if required:
        plain["required"] = required
    plain["properties"] = properties
    plain["description"] = _told(plain.get("description"), found)
    return Fitted(plain, tuple(found))
