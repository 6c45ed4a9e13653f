"""The OpenAPI document: what the routes take and give, for generators, gateways and fuzzers."""

from typing import Any

from tasks.batch.parameters import BatchParameters

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_TIME = {"type": "integer", "description": "Unix seconds."}
_MAYBE_TIME = {"type": ["integer", "null"], "description": "Unix seconds."}
_EXPIRY = {
    "type": "object",
    "required": ["anchor", "seconds"],
    "properties": {
        "anchor": {"type": "string", "enum": ["created_at"]},
        "seconds": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(properties) if required is None else required, "properties": properties}


def _list_of(name: str) -> dict[str, Any]:
    return _object(
        {
            "object": {"type": "string", "enum": ["list"]},
            "data": {"type": "array", "items": _reference(name)},
            "first_id": _MAYBE_TEXT,
            "last_id": _MAYBE_TEXT,
            "has_more": {"type": "boolean"},
        }
    )


_SCHEMAS: dict[str, Any] = {
    "Error": _object({"error": _object({"message": _TEXT, "type": _TEXT, "param": _MAYBE_TEXT, "code": _MAYBE_TEXT})}),
    "File": _object(
        {
            "id": _TEXT,
            "object": {"type": "string", "enum": ["file"]},
            "bytes": {"type": "integer", "minimum": 0},
            "created_at": _TIME,
            "expires_at": _MAYBE_TIME,
            "filename": _TEXT,
            "purpose": {"type": "string", "enum": ["batch", "batch_output"]},
            "status": {"type": "string", "enum": ["processed"]},
            "status_details": _MAYBE_TEXT,
        }
    ),
    "Deleted": _object({"id": _TEXT, "object": _TEXT, "deleted": {"type": "boolean"}}),
    "Upload": _object(
        {
            "id": _TEXT,
            "object": {"type": "string", "enum": ["upload"]},
            "bytes": {"type": "integer"},
            "created_at": _TIME,
            "expires_at": _TIME,
            "filename": _TEXT,
            "purpose": _TEXT,
            "status": {"type": "string", "enum": ["pending", "completed", "cancelled", "expired"]},
            "file": {"anyOf": [_reference("File"), {"type": "null"}]},
        }
    ),
    "Part": _object({"id": _TEXT, "object": _TEXT, "created_at": _TIME, "upload_id": _TEXT}),
    "Batch": _object(
        {
            "id": _TEXT,
            "object": {"type": "string", "enum": ["batch"]},
            "endpoint": _TEXT,
            "model": _MAYBE_TEXT,
            "errors": {"type": ["object", "null"]},
            "input_file_id": _TEXT,
            "completion_window": _TEXT,
            "status": {
                "type": "string",
                "enum": [
                    "validating",
                    "failed",
                    "in_progress",
                    "finalizing",
                    "completed",
                    "expired",
                    "cancelling",
                    "cancelled",
                ],
            },
            "output_file_id": _MAYBE_TEXT,
            "error_file_id": _MAYBE_TEXT,
            "created_at": _TIME,
            "in_progress_at": _MAYBE_TIME,
            "expires_at": _MAYBE_TIME,
            "finalizing_at": _MAYBE_TIME,
            "completed_at": _MAYBE_TIME,
            "failed_at": _MAYBE_TIME,
            "expired_at": _MAYBE_TIME,
            "cancelling_at": _MAYBE_TIME,
            "cancelled_at": _MAYBE_TIME,
            "request_counts": _object(
                {"total": {"type": "integer"}, "completed": {"type": "integer"}, "failed": {"type": "integer"}}
            ),
            "usage": {"type": ["object", "null"]},
            "metadata": {"type": "object", "additionalProperties": _TEXT},
        }
    ),
    "CreateBatch": _object(
        {
            "input_file_id": {"type": "string", "description": "The id of a file, or an allowed s3:// URI."},
            "endpoint": {
                "type": "string",
                "enum": ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"],
                "description": "That of the lines, by default.",
            },
            "completion_window": {"type": "string", "default": "24h", "description": "24h to 168h, or immediate."},
            "metadata": {
                "type": "object",
                "maxProperties": 16,
                "propertyNames": {"maxLength": 64},
                "additionalProperties": {"type": "string", "maxLength": 512},
            },
            "output_expires_after": _EXPIRY,
            "model": {"type": "string", "description": "A Bedrock id, or a name of the configuration."},
            "role_arn": _TEXT,
            "job_name": _TEXT,
            "output_data_config": {"type": "object"},
            **{
                name: {
                    "type": "string",
                    "enum": list(each.choices),
                    "default": info.default,
                    "description": each.description,
                }
                for name, info, each in BatchParameters.described()
                if each.choices
            },
            "retry_failed": {"type": "boolean"},
            "max_cost_usd": {"type": "number", "minimum": 0},
            "reuse": {"type": "boolean", "default": True, "description": "false: a fresh sample."},
        },
        ["input_file_id"],
    ),
    "CreateUpload": _object(
        {
            "bytes": {"type": "integer", "minimum": 0},
            "filename": {"type": "string", "minLength": 1},
            "purpose": {"type": "string", "enum": ["batch"]},
            "mime_type": _TEXT,
            "expires_after": _EXPIRY,
        },
        ["bytes", "filename", "purpose"],
    ),
    "CompleteUpload": _object(
        {"part_ids": {"type": "array", "items": _TEXT, "minItems": 1}, "md5": _TEXT}, ["part_ids"]
    ),
    "CostEstimate": {"type": "object"},
}
_FORM = _object(
    {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
    ["file", "purpose"],
)


def _query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _operation(
    summary: str,
    answer: dict[str, Any] | str,
    *parameters: dict[str, Any],
    body: dict[str, Any] | None = None,
    also: tuple[int, ...] = (),
) -> dict[str, Any]:
    content = answer if isinstance(answer, dict) else {"application/json": {"schema": _reference(answer)}}
    error = {"description": "An error.", "content": {"application/json": {"schema": _reference("Error")}}}
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": content}}
    responses |= {str(status): error for status in (400, 401, 403, 404, 409, 413, 429, 503, *also)}
    operation: dict[str, Any] = {"summary": summary, "parameters": list(parameters), "responses": responses}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(name)}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"multipart/form-data": {"schema": schema}}


def document() -> dict[str, Any]:
    """The document, version 3.1."""
    limit, after = _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}), _query("after", _TEXT)
    files_limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000})
    order, purpose = _query("order", {"type": "string", "enum": ["asc", "desc"]}), _query("purpose", _TEXT)
    data = _object({"data": {"type": "string", "format": "binary"}})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenAI's Batch API on Amazon Bedrock",
            "version": "1",
            "description": "Files, Uploads and Batches as OpenAI's clients know them.",
        },
        "servers": [{"url": "/v1"}],
        "security": [{"bearer": []}, {"portkey": []}, {"azure": []}],
        "paths": {
            "/files": {
                "post": _operation("Upload a file.", "File", body=_form(_FORM), also=(408,)),
                "get": _operation("List files.", "FileList", files_limit, after, order, purpose),
            },
            "/files/{id}": {
                "get": _operation("Retrieve a file.", "File", _ID),
                "delete": _operation("Delete a file.", "Deleted", _ID),
            },
            "/files/{id}/content": {
                "get": _operation("The bytes of a file, or a range of them.", _BYTES, _ID, also=(416,))
            },
            "/files/{id}/cost-estimate": {
                "get": _operation(
                    "What a batch of the file would cost on a model.",
                    "CostEstimate",
                    _ID,
                    _query("model", _TEXT),
                    _query("completion_window", _TEXT),
                )
            },
            "/uploads": {"post": _operation("Begin an upload in parts.", "Upload", body=_json("CreateUpload"))},
            "/uploads/{id}/parts": {"post": _operation("Add a part.", "Part", _ID, body=_form(data), also=(408,))},
            "/uploads/{id}/complete": {
                "post": _operation("Join the parts to a file.", "Upload", _ID, body=_json("CompleteUpload"))
            },
            "/uploads/{id}/cancel": {"post": _operation("Give an upload up.", "Upload", _ID)},
            "/batches": {
                "post": _operation("Create a batch.", "Batch", body=_json("CreateBatch")),
                "get": _operation("List batches, the newest first.", "BatchList", limit, after),
            },
            "/batches/{id}": {"get": _operation("Retrieve a batch.", "Batch", _ID)},
            "/batches/{id}/cancel": {"post": _operation("Cancel a batch.", "Batch", _ID)},
            "/batches/{id}/retry": {
                "post": _operation("A new batch for the requests of a finished one that have no answer.", "Batch", _ID)
            },
            "/batches/{id}/output": {
                "get": _operation(
                    "The output; of a batch that runs, what is finished, with the header x-incomplete.",
                    _BYTES,
                    _ID,
                    also=(416,),
                )
            },
        },
        "components": {
            "schemas": {**_SCHEMAS, "FileList": _list_of("File"), "BatchList": _list_of("Batch")},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "portkey": {"type": "apiKey", "in": "header", "name": "x-portkey-api-key"},
                "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }
