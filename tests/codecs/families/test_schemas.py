"""Schemas as a target can hold them."""

import pickle
import re
from typing import Any

import pytest

from tasks.codecs.base import Policy, RequestError
from tasks.codecs.families._schemas import (
    Fitted,
    UnenforceableError,
    as_property,
    fit_closed,
    inline_references,
    is_plain_object,
    says_properties_only,
    with_own_root,
    without_root_alternatives,
)
from tests.codecs.helpers import refused

TEXT: dict[str, Any] = {"type": "string"}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


@pytest.mark.parametrize(
    ("schema", "inlined"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": TEXT}},
         {"type": "object", "properties": {"a": TEXT}}),
        ({"$ref": "#/definitions/a~1b~0c", "definitions": {"a/b~c": TEXT}}, TEXT),
        ({"$ref": "#/$defs/a%20b", "title": "T", "$defs": {"a b": TEXT}}, {"type": "string", "title": "T"}),
        # A property's name and a default's value are no keywords.
        ({"properties": {"$ref": TEXT}, "default": {"$ref": "#/x"}}, {"properties": {"$ref": TEXT}, "default": {"$ref": "#/x"}}),
        ({"anyOf": [{"$ref": "#/$defs/t"}, True], "items": [{"$ref": "#/$defs/t"}], "$defs": {"t": TEXT}},
         {"anyOf": [TEXT, True], "items": [TEXT]}),
    ],
)  # fmt: skip
def test_references_are_replaced(schema: dict[str, Any], inlined: dict[str, Any]) -> None:
    assert inline_references(schema, "x") == inlined


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, "'x' is recursive"),
        ({"$ref": "#"}, "'x' is recursive"),
        ({"$ref": "#/$defs/a"}, "a \\$ref to what is not in the schema"),
        ({"$ref": "https://example.com/s"}, "a \\$ref to what is not in the schema"),
    ],
)
def test_references_that_cannot_be(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(RequestError, match=why):
        inline_references(schema, "x")


def test_references_do_not_grow_without_an_end() -> None:
    definitions: dict[str, Any] = {"d0": {"enum": ["x" * 1000]}}
    for number in range(1, 30):
        both = {"$ref": f"#/$defs/d{number - 1}"}
        definitions[f"d{number}"] = {"type": "object", "properties": {"a": both, "b": both}}
    with refused("x", "grows beyond 1,000,000 bytes", "invalid_value"):
        inline_references({"$ref": "#/$defs/d29", "$defs": definitions}, "x")


@pytest.mark.parametrize(
    ("schema", "fitted", "described"),
    [
        ({"type": "object", "properties": {"a": TEXT}},
         {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}, ()),
        ({"type": "integer", "minimum": 1, "maximum": 3},
         {"type": "integer", "description": "{minimum: 1, maximum: 3}"}, ("minimum", "maximum")),
        ({"type": "string", "description": "D", "maxLength": 3},
         {"type": "string", "description": "D\n\n{maxLength: 3}"}, ("maxLength",)),
        ({"type": "array", "items": TEXT, "minItems": 1}, {"type": "array", "items": TEXT, "minItems": 1}, ()),
        ({"type": "array", "items": TEXT, "minItems": 0}, {"type": "array", "items": TEXT, "minItems": 0}, ()),
        ({"type": "array", "items": TEXT, "minItems": True},
         {"type": "array", "items": TEXT, "description": "{minItems: true}"}, ("minItems",)),
        ({"type": "array", "items": TEXT, "maxItems": 1},
         {"type": "array", "items": TEXT, "description": "{maxItems: 1}"}, ("maxItems",)),
        ({"type": "string", "pattern": 7}, {"type": "string", "description": "{pattern: 7}"}, ("pattern",)),
        ({"type": "array", "items": TEXT, "minItems": 2},
         {"type": "array", "items": TEXT, "description": "{minItems: 2}"}, ("minItems",)),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}, ()),
        ({"type": "string", "format": "phone"}, {"type": "string", "description": "{format: phone}"}, ("format",)),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"type": "string", "pattern": "^[a-z]+$"}, ()),
        ({"type": "string", "pattern": "(a|b)"}, {"type": "string", "description": "{pattern: (a|b)}"}, ("pattern",)),
        ({"oneOf": [TEXT]}, {"anyOf": [TEXT], "description": "{oneOf: exactly one of the alternatives}"}, ("oneOf",)),
        ({"allOf": [TEXT], "title": "T"}, {"type": "string", "title": "T"}, ()),
    ],
)  # fmt: skip
def test_what_is_enforced_and_what_is_only_told(
    schema: dict[str, Any], fitted: dict[str, Any], described: tuple[str, ...]
) -> None:
    assert fit_closed(schema, "x") == Fitted(fitted, described)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object", "additionalProperties": True}, "an open object"),
        ({"type": "object", "additionalProperties": TEXT}, "an open object"),
        ({"not": TEXT}, "'not'"),
        ({"type": "object", "patternProperties": {}}, "'patternProperties'"),
        ({"type": "array", "items": True}, "true or false"),
        ({"oneOf": [TEXT], "anyOf": [TEXT]}, "'oneOf' beside an 'anyOf'"),
        ({"allOf": [TEXT, TEXT]}, "'allOf' of several"),
        ({"allOf": [TEXT], "type": "string"}, "'allOf' beside what it repeats"),
        ({"title": "T"}, "says no type"),
        ({"$ref": "#"}, "is recursive"),
    ],
)
def test_what_cannot_be_enforced(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UnenforceableError, match=why):
        fit_closed(schema, "x")


def test_the_error_crosses_processes() -> None:
    assert str(pickle.loads(pickle.dumps(UnenforceableError("has 'not'")))) == "has 'not'"


def test_what_is_only_told_is_counted() -> None:
    policy = Policy("error", "x")
    Fitted({}, ("minimum", "format")).note("schema", policy)
    assert policy.dropped == {"schema (minimum in the description)": 1, "schema (format in the description)": 1}


def test_a_root_of_its_own() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/node", "title": "T"}, "node": NODE}}
    assert with_own_root(schema, "x") == {**NODE, "title": "T", "$defs": schema["$defs"]}
    with pytest.raises(UnenforceableError, match="recursive"):
        with_own_root({"$ref": "#"}, "x")


def test_as_a_property() -> None:
    assert as_property({"type": "array"}, "p", "x") == {
        "type": "object", "properties": {"p": {"type": "array"}}, "required": ["p"],
    }  # fmt: skip
    recursive = {"type": "array", "items": {"$ref": "#/$defs/node"}, "$defs": {"node": NODE}}
    assert as_property(recursive, "p", "x")["$defs"] == {"node": NODE}


def test_what_refers_to_its_root_is_a_definition_of_the_object_around_it() -> None:
    schema = {"type": "object", "properties": {"a b": {"$ref": "#"}, "c": {"$ref": "#/properties/a b"}}}
    assert as_property(schema, "p", "x") == {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/root"}},
        "required": ["p"],
        "$defs": {
            "root": {
                "type": "object",
                "properties": {"a b": {"$ref": "#/$defs/root"}, "c": {"$ref": "#/$defs/root/properties/a b"}},
            }
        },
    }
    beside = {"items": {"$ref": "#"}, "$defs": {"root": {"not": {"$ref": "#/$defs/root"}}}}
    assert as_property(beside, "p", "x")["$defs"] == {
        "root": {"not": {"$ref": "#/$defs/root"}},
        "root_": {"items": {"$ref": "#/$defs/root_"}},
    }


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({}, True),
        ({"type": "object"}, True),
        ({"type": "array"}, False),
        ({"type": ["object", "null"]}, False),
        *(({key: []}, False) for key in ("anyOf", "oneOf", "allOf", "$ref", "not")),
    ],
)
def test_what_can_be_a_tools_schema(schema: dict[str, Any], plain: bool) -> None:
    assert is_plain_object(schema) is plain


@pytest.mark.parametrize(
    ("schema", "only"),
    [
        ({"properties": {"a": {}}}, True),
        ({"properties": {"a": {}}, "required": ["a"], "type": "object", "title": "T", "$defs": {}}, True),
        ({"properties": {"a": {}}, "additionalProperties": False}, True),
        ({"properties": {"a": {}}, "additionalProperties": True}, True),
        ({"properties": {"a": {}}, "additionalProperties": {}}, False),
        ({"properties": {"a": {}}, "minProperties": 1}, False),
        ({"properties": {"a": {}}, "minProperties": 1, "additionalProperties": False}, False),
        ({"properties": {}}, False),
        ({}, False),
    ],
)
def test_objects_of_properties_and_nothing_else(schema: dict[str, Any], only: bool) -> None:
    assert says_properties_only(schema) is only


@pytest.mark.parametrize(
    ("key", "required"), [("anyOf", ["own", "a"]), ("oneOf", ["own", "a"]), ("allOf", ["own", "a", "b"])]
)
def test_alternatives_at_the_root(key: str, required: list[str]) -> None:
    branches = [{"properties": {"a": TEXT}, "required": ["a", "b"]}, {"properties": {"b": TEXT}, "required": ["a"]}]
    fitted = without_root_alternatives({"type": "object", "required": ["own"], key: branches})
    assert fitted.described == (key,)
    assert (fitted.schema["required"], fitted.schema["properties"]) == (required, {"a": TEXT, "b": TEXT})
    assert fitted.schema["description"].startswith(f"{{{key}: [{{")
    assert without_root_alternatives(NODE) == Fitted(NODE)


WORDS = (
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength minItems maxItems uniqueItems "
    "minProperties maxProperties pattern format"
)
BEYOND = (
    "not if then else patternProperties propertyNames contains minContains maxContains dependentSchemas "
    "dependentRequired dependencies prefixItems additionalItems unevaluatedItems unevaluatedProperties $dynamicRef "
    "$recursiveRef"
)
FORMATS = "date-time time date duration email hostname uri ipv4 ipv6 uuid"


@pytest.mark.parametrize("keyword", WORDS.split())
def test_each_constraint_that_is_only_told(keyword: str) -> None:
    fitted = fit_closed({"type": "string", keyword: 7}, "x")
    assert fitted == Fitted({"type": "string", "description": f"{{{keyword}: 7}}"}, (keyword,))


@pytest.mark.parametrize("keyword", BEYOND.split())
def test_each_keyword_that_changes_what_is_meant(keyword: str) -> None:
    with pytest.raises(UnenforceableError, match=re.escape(f"has {keyword!r}, which this model does not enforce")):
        fit_closed({"type": "object", "properties": {"a": {"type": "string", keyword: {}}}}, "x")


def test_each_format_that_is_enforced() -> None:
    for name in FORMATS.split():
        assert fit_closed({"type": "string", "format": name}, "x").described == ()


@pytest.mark.parametrize(
    ("pattern", "simple"),
    [
        (r"^\d{4}-[A-Z]+\.?$", True),
        (r"a|b", True),
        (r"^(a|b)$", False),
        (r"(?=a)b", False),
        (r"\1", False),
        (r"\bword\b", False),
    ],
)
def test_patterns_that_are_enforced(pattern: str, simple: bool) -> None:
    assert (fit_closed({"type": "string", "pattern": pattern}, "x").described == ()) is simple


CLOSED: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "fitted"),
    [
        # Whatever is an object is closed, and what may be null as well stays so.
        ({"properties": {"a": TEXT}}, CLOSED),
        ({"type": ["object", "null"], "properties": {"a": TEXT}}, {**CLOSED, "type": ["object", "null"]}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": False}),
        ({"type": "object"}, {"type": "object", "additionalProperties": False}),
        ({"anyOf": [{"properties": {"a": TEXT}}, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"type": "array", "items": {"properties": {"a": TEXT}}}, {"type": "array", "items": CLOSED}),
        ({"allOf": [{"properties": {"a": TEXT}, "title": "I"}], "title": "O"}, {**CLOSED, "title": "O"}),
        ({"const": {"a": 1}}, {"const": {"a": 1}}),
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"type": "object", "properties": {"minimum": TEXT, "not": TEXT, "$defs": TEXT}},
         {**CLOSED, "properties": {"minimum": TEXT, "not": TEXT, "$defs": TEXT}}),
        ({"type": "object", "properties": {"a": {"$ref": "#/definitions/t"}}, "definitions": {"t": TEXT}}, CLOSED),
    ],
)  # fmt: skip
def test_objects_are_closed_at_every_depth(schema: dict[str, Any], fitted: dict[str, Any]) -> None:
    assert fit_closed(schema, "x").schema == fitted


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array", "items": [TEXT]}, "'items' by their places"),
        ({"enum": [{"a": 1}]}, "an 'enum' of objects or lists"),
        ({"enum": [[1]]}, "an 'enum' of objects or lists"),
        ({"oneOf": TEXT}, "'oneOf' beside an 'anyOf'"),
        ({"allOf": []}, "'allOf' of several"),
        ({"allOf": [True]}, "'allOf' of several"),
    ],
)
def test_what_else_cannot_be_enforced(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UnenforceableError, match=why):
        fit_closed(schema, "x")


@pytest.mark.parametrize(("depth", "fits"), [(40, True), (41, False)])
def test_references_of_references_have_an_end(depth: int, fits: bool) -> None:
    definitions: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(depth)} | {f"d{depth}": TEXT}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions}
    if fits:
        assert inline_references(schema, "x") == TEXT
        return
    with refused("x", "is recursive", "unsupported_parameter"):
        inline_references(schema, "x")


def test_what_stands_beside_a_reference_goes_before_what_it_names() -> None:
    schema = {"$ref": "#/$defs/t", "description": "mine", "$defs": {"t": {**TEXT, "description": "its", "title": "T"}}}
    assert inline_references(schema, "x") == {**TEXT, "description": "mine", "title": "T"}
    assert with_own_root(schema, "x")["description"] == "mine"


def test_a_property_of_the_tools_own_goes_before_an_alternatives() -> None:
    own, other = {"type": "string"}, {"type": "integer"}
    schema = {"properties": {"a": own}, "description": "D", "anyOf": [{"properties": {"a": other, "b": other}}]}
    fitted = without_root_alternatives(schema)
    assert fitted.schema["properties"] == {"a": own, "b": other}
    assert fitted.schema["description"].startswith("D\n\n{anyOf: [{")
    assert "anyOf" not in fitted.schema


@pytest.mark.parametrize("keyword", ["properties", "patternProperties", "dependentSchemas"])
def test_references_are_replaced_within_every_map_of_schemas(keyword: str) -> None:
    given = {keyword: {"a": {"$ref": "#/$defs/t"}, "enum": {"$ref": "#/$defs/t"}}, "$defs": {"t": TEXT}}
    assert inline_references(given, "x") == {keyword: {"a": TEXT, "enum": TEXT}}


@pytest.mark.parametrize(
    "keyword",
    [
        "items",
        "additionalItems",
        "additionalProperties",
        "unevaluatedItems",
        "unevaluatedProperties",
        "contains",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    ],
)
def test_references_are_replaced_within_every_schema(keyword: str) -> None:
    assert inline_references({keyword: {"$ref": "#/$defs/t"}, "$defs": {"t": TEXT}}, "x") == {keyword: TEXT}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf", "prefixItems"])
def test_references_are_replaced_within_every_list(keyword: str) -> None:
    assert inline_references({keyword: [{"$ref": "#/$defs/t"}], "$defs": {"t": TEXT}}, "x") == {keyword: [TEXT]}


@pytest.mark.parametrize("keyword", ["enum", "const", "default", "examples", "example"])
def test_values_are_no_schemas(keyword: str) -> None:
    given = {"type": "object", keyword: [{"$ref": "#/x", "minimum": 1}]}
    assert inline_references(given, "x") == given
