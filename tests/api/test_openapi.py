"""The OpenAPI document says what the code does: fields, words and bounds are those of the modules that hold to them."""

from typing import Any, get_args

import pytest

from deployments.api import gate, routes
from deployments.api.openapi import document
from tasks.api import calls, views
from tasks.api.files import EXPIRY_SECONDS, PURPOSES
from tasks.api.uploads import Upload, begin_upload
from tasks.batch.parameters import BatchParameters
from tests.api.callers import tenant, upload
from tests.fakes import Cloud

DOCUMENT = document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def query(method: str, path: str) -> dict[str, Any]:
    return {each["name"]: each["schema"] for each in operation(method, path)["parameters"] if each["in"] == "query"}


def test_objects_have_the_fields_that_are_sent(cloud: Cloud) -> None:
    owner = tenant()
    page = {"object", "data", "first_id", "last_id", "has_more"}
    sent = {
        "File": set(upload(owner).public()),
        "Upload": set(begin_upload(owner, {"bytes": 1, "filename": "x", "purpose": "batch"}).public()),
        "Batch": set(views._FIELDS),
        "Part": {"id", "object", "created_at", "upload_id"},
        "Deleted": {"id", "object", "deleted"},
        "Error": {"error"},
        "FileList": page,
        "BatchList": page,
    }
    for name, fields in sent.items():
        assert set(SCHEMAS[name]["properties"]) == fields, name
        assert set(SCHEMAS[name]["required"]) == fields, f"{name}: every one of them is always there"
    assert set(SCHEMAS["Error"]["properties"]["error"]["required"]) == {"message", "type", "param", "code"}


def test_words_are_those_of_the_code() -> None:
    statuses = ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
    assert SCHEMAS["Batch"]["properties"]["status"]["enum"] == statuses
    own = get_args(Upload.model_fields["status"].annotation)
    assert set(SCHEMAS["Upload"]["properties"]["status"]["enum"]) == {*own, "expired"}
    assert SCHEMAS["File"]["properties"]["purpose"]["enum"] == list(PURPOSES)
    assert SCHEMAS["CreateBatch"]["properties"]["endpoint"]["enum"] == list(calls.ENDPOINTS)
    for name, info, each in BatchParameters.described():
        if each.choices:
            taken = SCHEMAS["CreateBatch"]["properties"][name]
            assert (taken["enum"], taken["default"]) == (list(each.choices), info.default)


def test_a_create_call_takes_what_the_code_takes() -> None:
    found = SCHEMAS["CreateBatch"]
    assert set(found["properties"]) == calls._TAKEN
    assert found["required"] == ["input_file_id"]
    metadata = found["properties"]["metadata"]
    bounds = metadata["maxProperties"], metadata["propertyNames"]["maxLength"], metadata["additionalProperties"]
    assert bounds == (16, 64, {"type": "string", "maxLength": 512})
    assert bounds[:2] == (calls._METADATA_ENTRIES, calls._KEY_CHARACTERS)
    assert found["properties"]["completion_window"]["default"] == "24h"
    assert found["properties"]["max_cost_usd"]["minimum"] == 0
    assert found["properties"]["reuse"]["default"] is True


def test_forms_and_uploads() -> None:
    form = operation("post", "/files")["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "purpose"]
    bounds = {"type": "integer", "minimum": EXPIRY_SECONDS[0], "maximum": EXPIRY_SECONDS[1]}
    assert form["properties"]["expires_after[seconds]"] == bounds
    expiry = SCHEMAS["CreateUpload"]["properties"]["expires_after"]
    assert (expiry["properties"]["seconds"], expiry["required"]) == (bounds, ["anchor", "seconds"])
    assert SCHEMAS["CreateBatch"]["properties"]["output_expires_after"] == expiry
    assert SCHEMAS["CreateUpload"]["required"] == ["bytes", "filename", "purpose"]
    assert SCHEMAS["CreateUpload"]["properties"]["bytes"] == {"type": "integer", "minimum": 0}
    assert SCHEMAS["CompleteUpload"]["required"] == ["part_ids"]


def test_pages_are_bounded_as_the_routes_have_it() -> None:
    assert query("get", "/batches") == {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        "after": {"type": "string"},
    }
    files = query("get", "/files")
    assert files["limit"] == {"type": "integer", "minimum": 1, "maximum": 10_000}
    assert (set(files), files["order"]["enum"]) == ({"limit", "after", "order", "purpose"}, ["asc", "desc"])
    assert set(query("get", "/files/{id}/cost-estimate")) == {"model", "completion_window"}


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("post", "/files", {"408"}),
        ("post", "/uploads/{id}/parts", {"408"}),
        ("get", "/files/{id}/content", {"416"}),
        ("get", "/batches/{id}/output", {"416"}),
        ("post", "/batches", set()),
        ("get", "/batches", set()),
        ("delete", "/files/{id}", set()),
    ],
)
def test_every_error_that_may_come_is_told(method: str, path: str, more: set[str]) -> None:
    answers = operation(method, path)["responses"]
    assert set(answers) == {"200", "400", "401", "403", "404", "409", "413", "429", "503"} | more
    errors = {each["content"]["application/json"]["schema"]["$ref"] for code, each in answers.items() if code != "200"}
    assert errors == {"#/components/schemas/Error"}


def test_where_the_server_is_and_where_keys_go() -> None:
    assert [each["url"] for each in DOCUMENT["servers"]] == [routes.BASES[0]]
    schemes = DOCUMENT["components"]["securitySchemes"]
    headers = {each["name"].encode() for each in schemes.values() if each["type"] == "apiKey"}
    assert headers == set(gate._KEY_HEADERS)
    assert {name for each in DOCUMENT["security"] for name in each} == set(schemes)
    for name in ("/files/{id}/content", "/batches/{id}/output"):
        assert list(operation("get", name)["responses"]["200"]["content"]) == [routes._BYTES]
