"""Tenants on the fake S3, for unit tests of the API."""

import hashlib
from typing import Any

from tasks.api.calls import read_call
from tasks.api.files import FileUpload, StoredFile
from tasks.api.orders import Order, place_order
from tasks.api.tenants import Tenant
from tasks.settings import Settings
from tasks.storage.uris import S3Uri
from tests.builders import ROLE
from tests.conftest import CLAUDE
from tests.fakes import BUCKET

LINE = (
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"model": "%s", "messages": [{"role": "user", "content": "x"}]}}\n'
) % CLAUDE.encode()


def tenant(name: str = "acme", **fields: Any) -> Tenant:
    root = S3Uri(BUCKET, f"prefix/{name}")
    return Tenant(
        **{
            "name": name,
            "keys": (hashlib.sha256(f"{name}-key-0123456789".encode()).hexdigest(),),
            "settings": Settings(root, ROLE, None),
            "role_arns": (ROLE,),
            "inputs": (S3Uri(BUCKET, "in"),),
            "outputs": (S3Uri(BUCKET, "out"),),
            "closed": (S3Uri(BUCKET, "prefix"),),
            **fields,
        }
    )


def upload(owner: Tenant, body: bytes = LINE, name: str = "in.jsonl", expires_after: int | None = None) -> StoredFile:
    file = FileUpload(owner)
    file.write(body)
    return file.finish(name, expires_after)


def create(owner: Tenant, file_id: str, key: str | None = None, **body: Any) -> Order:
    return place_order(owner, read_call(owner, {"input_file_id": file_id, **body}, {}), key)
