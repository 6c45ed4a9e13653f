"""The server over HTTP, on the fake S3: what comes back for what clients send, and for what they should not send."""

import contextlib
import hashlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from deployments.api import routes
from deployments.api.app import create_app
from deployments.api.gate import presented_key
from tasks.api.files import get_file
from tasks.api.orders import get_order, update_order
from tasks.api.tenants import Tenant, Tenants
from tasks.api.views import ended
from tests.api.callers import LINE, tenant
from tests.builders import document
from tests.conftest import CLAUDE
from tests.fakes import Cloud
from tests.waiting import until

KEY = "acme-key-0123456789"


class Dispatcher:
    """Drives nothing, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, order_id: str) -> None:
        self.told.append(order_id)

    def trouble(self) -> str | None:
        return None


def client_of(*owners: Tenant, key: str | None = KEY, dispatcher: Dispatcher | None = None) -> TestClient:
    app = create_app(Tenants(owners or (tenant(), tenant("other"))), dispatcher or Dispatcher())
    return TestClient(app, base_url="http://server/v1/", headers={"authorization": f"Bearer {key}"} if key else {})


@pytest.fixture
def client(cloud: Cloud) -> Iterator[TestClient]:
    with client_of() as ready:
        yield ready


def post_file(client: TestClient, body: bytes = LINE, name: str = "in.jsonl", **fields: str) -> dict[str, Any]:
    reply = client.post("files", files={"file": (name, body)}, data={"purpose": "batch", **fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def error_of(reply: Any, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def test_a_file_comes_and_goes(client: TestClient) -> None:
    expiry: dict[str, Any] = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = post_file(client, name="été.jsonl", **expiry)
    assert (made["filename"], made["bytes"]) == ("été.jsonl", len(LINE))
    assert made["expires_at"] == made["created_at"] + 3600
    assert client.get(f"files/{made['id']}").json() == made
    content = client.get(f"files/{made['id']}/content")
    assert content.content == LINE
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-length"] == str(len(LINE))
    assert client.get("files").json()["data"] == [made]
    assert client.get("files", params={"purpose": "batch_output"}).json()["data"] == []
    assert client.get("files", params={"purpose": "vision"}).json()["data"] == []
    assert client.delete(f"files/{made['id']}").json() == {"id": made["id"], "object": "file", "deleted": True}
    error_of(client.get(f"files/{made['id']}"), 404)


def test_ranges_of_a_file(client: TestClient) -> None:
    name = f"files/{post_file(client)['id']}/content"
    part = client.get(name, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, LINE[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(LINE)}"
    assert client.get(name, headers={"range": "bytes=2-5", "if-range": '"other"'}).content == LINE
    assert client.head(name).headers["content-length"] == str(len(LINE))
    reply = client.get(name, headers={"range": f"bytes={len(LINE)}-"})
    error_of(reply, 416)
    assert reply.headers["content-range"] == f"bytes */{len(LINE)}"


def form(*parts: bytes, end: bytes = b"--e--\r\n") -> dict[str, Any]:
    body = b"".join(b"--e\r\n" + part + b"\r\n" for part in parts) + end
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=e"}}


FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + LINE
PURPOSE = b'content-disposition: form-data; name="purpose"\r\n\r\nbatch'


def test_the_parts_of_a_form_come_in_any_order(client: TestClient) -> None:
    for parts in (
        (FILE, PURPOSE),
        (PURPOSE, FILE),
        (PURPOSE, b'Content-Disposition: form-data; name="x"\r\n\r\n1', FILE),
    ):
        assert client.post("files", **form(*parts)).json()["bytes"] == len(LINE)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (form(FILE), "purpose"),
        (form(PURPOSE), "file"),
        (form(), "purpose"),
        (form(FILE, PURPOSE.replace(b"batch", b"vision")), "purpose"),
        (form(FILE, FILE, PURPOSE), "file"),
        (form(FILE, PURPOSE, end=b""), None),
        (form(FILE, end=b"--"), None),
        (form(PURPOSE, *[PURPOSE] * 30, FILE), None),
        (form(PURPOSE, b'Content-Disposition: form-data; name="x"\r\n\r\n' + b"1" * 70_000, FILE), "x"),
        (form(PURPOSE, b"X: " + b"h" * 20_000 + b"\r\n\r\n1", FILE), None),
        ({"content": b"--e\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=e"}}, None),
        ({"content": b"rubbish", "headers": {"content-type": "multipart/form-data; boundary=e"}}, None),
        ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=e"}}, None),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, None),
        ({"json": {}}, None),
    ],
)
def test_forms_that_are_none(client: TestClient, cloud: Cloud, given: dict[str, Any], param: str | None) -> None:
    assert error_of(client.post("files", **given), 400)["param"] == param
    assert not cloud.s3.keys("prefix/acme/api/files")
    assert not cloud.s3.uploads


def test_an_upload_that_breaks_off_leaves_nothing(client: TestClient, cloud: Cloud) -> None:
    big = FILE + b"x" * (6 << 20)
    error_of(client.post("files", **form(big, PURPOSE, end=b"")), 400)
    assert not cloud.s3.keys()
    assert not cloud.s3.uploads


def test_a_batch_from_its_making_to_its_output(cloud: Cloud) -> None:
    dispatcher = Dispatcher()
    with client_of(dispatcher=dispatcher) as client:
        file = post_file(client)
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"a": "b"},
            "custom_llm_provider": "x",
        }
        reply = client.post("batches", json=body)
        made = reply.json()
        assert (made["status"], made["object"], made["metadata"]) == ("validating", "batch", {"a": "b"})
        assert reply.headers["x-ignored-parameters"] == "custom_llm_provider"
        assert dispatcher.told == [made["id"]]
        assert client.get(f"batches/{made['id']}").json() == made
        assert client.get("batches").json() == {
            "object": "list",
            "data": [made],
            "first_id": made["id"],
            "last_id": made["id"],
            "has_more": False,
        }
        for early in (client.get(f"batches/{made['id']}/output"), client.delete(f"files/{file['id']}")):
            error_of(early, 409)
            assert early.headers["x-should-retry"] == "false"
        order = get_order(tenant(), made["id"])
        end = ended(order, document(status="completed", completed_at=5).public())
        update_order(tenant(), order.id, lambda current: setattr(current, "final", end))
        assert client.get(f"batches/{made['id']}/output").content == b""
        error_of(client.post(f"batches/{made['id']}/cancel"), 409)
        assert client.post(f"batches/{made['id']}/retry").json()["status"] == "validating"


def test_equal_calls_at_once_are_one_batch(client: TestClient) -> None:
    file = post_file(client)["id"]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: client.post("batches", json={"input_file_id": file}).json()["id"], range(3)))
    assert len(set(made)) == 1


def test_ten_uploads_at_once(client: TestClient) -> None:
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda number: post_file(client, LINE * (number + 1)), range(10)))
    assert [each["bytes"] for each in made] == [len(LINE) * (number + 1) for number in range(10)]
    assert len({each["id"] for each in made}) == 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{broken", 400),
        (b"[1]", 400),
        (b"", 400),
        (b'{"input_file_id": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b" " * (2 << 20), 413),
    ],
)
def test_bodies_that_are_no_json(client: TestClient, body: bytes, status: int) -> None:
    error_of(client.post("batches", content=body), status)


@pytest.mark.parametrize(
    "identifier",
    [
        "..%2F..%2Fbatches", "%2e%2e", "file-%00", "a" * 10_000, "s3%3A%2F%2Fbucket%2Fprefix", "batch_" + "0" * 32,
        "file-" + "0" * 32, "batch_..", "%F0%9F%98%80", "file-" + "0" * 32 + "%0A",
    ],
)  # fmt: skip
def test_ids_that_are_none(client: TestClient, cloud: Cloud, identifier: str) -> None:
    for path in ("files/{}", "files/{}/content", "batches/{}", "batches/{}/output"):
        error_of(client.get(path.format(identifier)), 404)
    for path in ("batches/{}/cancel", "batches/{}/retry", "uploads/{}/cancel", "uploads/{}/complete"):
        error_of(client.post(path.format(identifier), json={"part_ids": []}), 404)
    error_of(client.delete(f"files/{identifier}"), 404)
    assert not [call for call in cloud.s3.calls if ".." in json.dumps(call, default=str)]


def test_unknown_routes_and_methods(client: TestClient) -> None:
    error_of(client.get("nothing"), 404)
    error_of(client.get("files/"), 404)
    error_of(client.delete("batches"), 405)
    error_of(client.get("http://server/"), 404)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1e2", "limit=", "after=x", "limit=٣"]
)
def test_queries_of_lists(client: TestClient, query: str) -> None:
    error_of(client.get(f"batches?{query}"), 400)


@pytest.mark.parametrize("query", ["limit=10001", "order=up", "after=../x"])
def test_queries_of_lists_of_files(client: TestClient, query: str) -> None:
    error_of(client.get(f"files?{query}"), 400)


def test_other_base_paths(client: TestClient) -> None:
    assert client.get("http://server/openai/v1/batches").json()["data"] == []


def test_keys_and_where_they_are(cloud: Cloud) -> None:
    with client_of(key=None) as client:
        error_of(client.get("batches"), 401)
        error_of(client.get("nothing"), 401)
        assert client.get("http://server/healthz").json() == {"status": "ok"}
        assert client.get("http://server/readyz").status_code == 200
        for headers in (
            {"authorization": f"Bearer {KEY}"},
            {"authorization": f"bearer {KEY}"},
            {"api-key": KEY},
            {"x-portkey-api-key": KEY, "authorization": "Bearer PLACEHOLDER_NOT_USED"},
        ):
            assert client.get("batches", headers=headers).status_code == 200
        for headers in (
            {"authorization": f"Basic {KEY}"},
            {"authorization": KEY},
            {"authorization": f"Bearer {KEY}x"},
            {"x-portkey-api-key": "wrong", "authorization": f"Bearer {KEY}"},
            {"api-key": "x" * 50_000},
        ):
            error_of(client.get("batches", headers=headers), 401)
    assert presented_key([(b"authorization", b"Bearer ")]) is None


def test_what_is_anothers_is_not_there(client: TestClient) -> None:
    file = post_file(client)["id"]
    batch = client.post("batches", json={"input_file_id": file}).json()["id"]
    with client_of(key="other-key-0123456789") as other:
        error_of(other.get(f"files/{file}"), 404)
        error_of(other.get(f"files/{file}/content"), 404)
        error_of(other.delete(f"files/{file}"), 404)
        error_of(other.get(f"batches/{batch}"), 404)
        error_of(other.post(f"batches/{batch}/cancel"), 404)
        error_of(other.post("batches", json={"input_file_id": file}), 400)
        assert other.get("files").json()["data"] == other.get("batches").json()["data"] == []


def test_a_busy_storage_is_told_as_busy(client: TestClient, cloud: Cloud) -> None:
    for operation in ("GetObject", "ListObjectsV2", "PutObject"):
        cloud.s3.refuse(operation, "SlowDown", 503, times=None)
    for reply in (
        client.get("batches"),
        client.get("files/file-" + "0" * 32),
        client.post("files", **form(FILE, PURPOSE)),
    ):
        error_of(reply, 503)
        assert reply.headers["retry-after"]
    error_of(client.get("http://server/readyz"), 503)


def test_a_fault_of_ours_names_no_place(client: TestClient, cloud: Cloud) -> None:
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403, message="User x may not s3:ListBucket bucket", times=None)
    error = error_of(client.get("batches"), 500)
    assert "bucket" not in json.dumps(error)


def test_more_than_a_key_may(cloud: Cloud) -> None:
    with client_of(tenant(max_file_bytes=1000)) as client:
        error_of(client.post("files", **form(FILE + b"x" * 1000, PURPOSE)), 413)
        error_of(client.post("files", **form(FILE + b"x" * (2 << 20), PURPOSE)), 413)
        error_of(client.post("uploads", json={"bytes": 1001, "filename": "x", "purpose": "batch"}), 413)
        assert not cloud.s3.keys()
    with client_of(tenant(requests_per_minute=8)) as client:
        assert [client.get("batches").status_code for _ in range(3)] == [200, 200, 429]
    with client_of(tenant(concurrent_uploads=1)) as client:
        app: Any = client.app
        server = app._app.state.server
        with server.uploading(tenant(concurrent_uploads=1)):
            error_of(client.post("files", **form(FILE, PURPOSE)), 429)
        assert client.post("files", **form(FILE, PURPOSE)).status_code == 200


def test_an_upload_in_parts(client: TestClient) -> None:
    body = LINE * 3
    given = {"bytes": len(body), "filename": "big.jsonl", "purpose": "batch", "mime_type": "x"}
    upload = client.post("uploads", json={**given, "expires_after": {"anchor": "created_at", "seconds": 3600}}).json()
    assert (upload["status"], upload["file"]) == ("pending", None)
    name = f"uploads/{upload['id']}"
    parts = [
        client.post(f"{name}/parts", files={"data": ("upload", body[start : start + 100])}).json()
        for start in range(0, len(body), 100)
    ]
    ids = [part["id"] for part in parts]
    assert {part["upload_id"] for part in parts} == {upload["id"]}
    error_of(client.post(f"{name}/complete", json={"part_ids": ids[:-1]}), 400)
    error_of(client.post(f"{name}/complete", json={"part_ids": [*ids[:-1], "part_" + "0" * 32]}), 400)
    error_of(client.post(f"{name}/complete", json={"part_ids": ids, "md5": "0" * 32}), 400)
    error_of(client.post(f"{name}/complete", json={"part_ids": ["../x"]}), 400)
    error_of(client.post(f"{name}/parts", **form(PURPOSE)), 400)
    done = client.post(f"{name}/complete", json={"part_ids": ids, "md5": hashlib.md5(body).hexdigest()}).json()
    assert done["status"] == "completed"
    assert done["file"]["filename"] == "big.jsonl"
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 3600
    assert client.get(f"files/{done['file']['id']}/content").content == body
    assert client.post(f"{name}/complete", json={"part_ids": ids}).json()["file"]["id"] == done["file"]["id"]
    error_of(client.post(f"{name}/cancel"), 409)
    error_of(client.post(f"{name}/parts", files={"data": ("upload", b"x")}), 409)


def test_an_upload_that_is_given_up(client: TestClient, cloud: Cloud) -> None:
    upload = client.post("uploads", json={"bytes": 5, "filename": "x", "purpose": "batch"}).json()
    client.post(f"uploads/{upload['id']}/parts", files={"data": ("upload", b"x")})
    assert client.post(f"uploads/{upload['id']}/cancel").json()["status"] == "cancelled"
    assert not cloud.s3.keys(f"prefix/acme/api/uploads/{upload['id']}/parts")
    for body in ({}, {"bytes": "5"}, {"bytes": 5, "filename": "x"}, {"bytes": 5, "purpose": "batch"}):
        error_of(client.post("uploads", json=body), 400)


def test_metrics_are_the_operators(cloud: Cloud) -> None:
    with client_of(tenant(operator=True)) as client:
        client.post("batches", json={"input_file_id": post_file(client)["id"]})
        reply = client.get("http://server/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = reply.text
    assert 'bedrock_batch_api_requests_total{method="POST",route="/files",status="200"} 1.0' in text
    assert 'bedrock_batch_api_open_batches{state="validating"} 1.0' in text
    with client_of() as client:
        assert error_of(client.get("http://server/metrics"), 403)["code"] == "not_an_operator"


def test_logs_say_who_did_what_and_nothing_of_it(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bedrock_batch.api")
    secret = {"x-portkey-aws-secret-access-key": "SECRET-OF-AWS"}
    file = post_file(client, LINE.replace(b'"x"', b'"PROMPT-TEXT"'), "NAME-OF-FILE.jsonl")
    client.post("batches", json={"input_file_id": file["id"], "metadata": {"a": "OWN-NOTE"}}, headers=secret)
    client.get("nothing%0A")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name.startswith("bedrock_batch")]
    assert [line["audit"] for line in lines if "audit" in line] == ["file.create", "batch.create"]
    assert {line["tenant"] for line in lines} == {"acme"}
    for word in (KEY, "SECRET-OF-AWS", "PROMPT-TEXT", "NAME-OF-FILE", "OWN-NOTE"):
        assert word not in caplog.text


def test_nothing_is_kept_of_aws_keys_in_headers(client: TestClient, cloud: Cloud) -> None:
    headers = {
        "x-portkey-aws-access-key-id": "AKIA-OF-A-CALLER",
        "x-portkey-aws-secret-access-key": "SECRET-OF-A-CALLER",
    }
    file = post_file(client)["id"]
    client.post("batches", json={"input_file_id": file}, headers=headers)
    stored = b"".join(each.body for each in cloud.s3.objects.values())
    assert b"OF-A-CALLER" not in stored
    assert get_file(tenant(), file).purpose == "batch"


def test_what_a_file_would_cost(client: TestClient) -> None:
    file = post_file(client, LINE * 300)["id"]
    found = client.get(f"files/{file}/cost-estimate", params={"model": "us.amazon.nova-lite-v1:0"}).json()
    assert (found["requests"], found["jobs"], found["route"], found["exact"]) == (300, 1, "batch", True)
    assert 0 < found["input_cost_usd"] < found["max_cost_usd"]
    assert client.get(f"files/{file}/cost-estimate").json()["model"] == CLAUDE
    large = post_file(client, LINE * 40_000)["id"]
    sampled = client.get(f"files/{large}/cost-estimate").json()
    assert sampled["exact"] is False
    assert abs(sampled["requests"] - 40_000) < 400
    for query in ("model=no such model", "completion_window=1h"):
        error_of(client.get(f"files/{file}/cost-estimate?{query}"), 400)
    error_of(client.get("files/file-nothing/cost-estimate?model=x"), 404)


def test_the_document_names_every_route(client: TestClient) -> None:
    found = client.get("openapi.json").json()
    served = {(method, path) for method, path, _ in routes._TABLE if path != "/openapi.json"}
    assert {(method.upper(), path) for path, methods in found["paths"].items() for method in methods} == served


def test_a_region_or_bucket_that_is_not_ours_is_refused(client: TestClient) -> None:
    file = post_file(client)["id"]
    reply = client.post("batches", json={"input_file_id": file}, headers={"x-portkey-aws-s3-bucket": "another"})
    error_of(reply, 400)


def test_a_body_that_stops_coming_is_given_up(cloud: Cloud) -> None:
    """A client that keeps its connection open and sends nothing more: it gets an answer, and leaves nothing in S3."""
    tenants = Tenants((tenant(concurrent_uploads=1),), body_seconds=0.2)
    with serving(create_app(tenants, Dispatcher())) as port, socket.create_connection(("127.0.0.1", port), 60) as slow:
        begun = b"--e\r\n" + PURPOSE + b"\r\n--e\r\n" + FILE + b"x" * (6 << 20)
        head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 99999999\r\n"
        slow.sendall(head.encode() + b"content-type: multipart/form-data; boundary=e\r\n\r\n" + begun)
        answer = b"".join(iter(lambda: slow.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"message":"The body stopped coming."' in answer
        # Its place is another's again.
        form_of_another = form(FILE, PURPOSE)
        headers = {**form_of_another["headers"], "authorization": f"Bearer {KEY}"}
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/files", content=form_of_another["content"], headers=headers)
        assert reply.status_code == 200
    assert not cloud.s3.uploads
    assert len(cloud.s3.keys("prefix/acme/api/data")) == 1


def test_a_connection_that_breaks_off_leaves_nothing(cloud: Cloud) -> None:
    with serving(create_app(Tenants((tenant(),)), Dispatcher())) as port:
        with socket.create_connection(("127.0.0.1", port), 60) as broken:
            head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 99999999\r\n"
            begun = b"--e\r\n" + PURPOSE + b"\r\n--e\r\n" + FILE + b"x" * (6 << 20)
            broken.sendall(head.encode() + b"content-type: multipart/form-data; boundary=e\r\n\r\n" + begun)
            until(lambda: cloud.s3.uploads, "an upload has begun")
        until(lambda: not cloud.s3.uploads, "it is aborted")
    assert not cloud.s3.keys()


@contextlib.contextmanager
def serving(app: Any) -> Iterator[int]:
    """A real server, on a thread: yields its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the server listens")
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
