"""What clients read of an answer besides its body: statuses, headers, codes, limits; and what logs and metrics say."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from anyio import to_thread
from starlette.requests import Request
from starlette.testclient import TestClient

from deployments.api.app import create_app
from deployments.api.gate import Gate, Rates
from deployments.api.metrics import Metrics
from deployments.api.server import Server
from deployments.api.wire import SlowBodyError, answer_of, chunks, error_answer, json_body
from tasks.api.errors import (
    CallError,
    ConflictError,
    ForbiddenError,
    InvalidCallError,
    NotFoundError,
    TooLargeError,
    TooManyError,
)
from tasks.api.files import get_file, save_file
from tasks.api.ids import new_id, result_file_id
from tasks.api.orders import Order, cancel_order, get_order, update_order
from tasks.api.tenants import Tenants
from tasks.api.views import ended, failed
from tasks.batch.paths import BatchRef
from tasks.errors import PipelineError, TransientError
from tests.api.callers import LINE, create, tenant, upload
from tests.api.test_server import FILE, PURPOSE, Dispatcher, client_of, error_of, form, post_file
from tests.builders import document, store
from tests.conftest import CLAUDE
from tests.fakes import Cloud


@pytest.fixture
def client(cloud: Cloud) -> Iterator[TestClient]:
    with client_of() as ready:
        yield ready


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "headers"),
    [
        (InvalidCallError("m", "p"), 400, "invalid_request_error", None, {}),
        (ForbiddenError("m", "p", "c"), 403, "permission_error", "c", {}),
        (NotFoundError("m", "p"), 404, "invalid_request_error", None, {}),
        (SlowBodyError("m"), 408, "invalid_request_error", None, {"connection": "close"}),
        (ConflictError("m", "p", "c"), 409, "invalid_request_error", "c", {"x-should-retry": "false"}),
        (TooLargeError("m", "p", "c"), 413, "invalid_request_error", "c", {}),
        (TooManyError("m", "p", "c"), 429, "rate_limit_error", "c", {"retry-after": "5"}),
        (PipelineError("s3://bucket/secret"), 500, "server_error", "storage_error", {}),
        (KeyError("secret"), 500, "server_error", "internal_error", {}),
        (TransientError("s3://bucket/secret"), 503, "server_error", "service_unavailable", {"retry-after": "5"}),
    ],
)
def test_every_fault_has_its_status_and_type(
    error: Exception, status: int, kind: str, code: str | None, headers: dict[str, str]
) -> None:
    answer = answer_of(error)
    told = json.loads(bytes(answer.body))["error"]
    assert (answer.status_code, told["type"], told["code"]) == (status, kind, code)
    assert "secret" not in told["message"]
    assert {name: value for name, value in answer.headers.items() if not name.startswith("content-")} == headers
    assert told["param"] == (error.param if isinstance(error, CallError) else None)


def test_an_answer_of_nobodys_key_is_401() -> None:
    told = json.loads(bytes(error_answer(401, "m", code="invalid_api_key").body))["error"]
    assert told == {"message": "m", "type": "authentication_error", "param": None, "code": "invalid_api_key"}


def test_codes_at_the_gate(cloud: Cloud) -> None:
    with client_of(key=None) as client:
        for path in ("batches", "files/healthz", "files/readyz", "openapi.json", "http://server/metrics"):
            assert error_of(client.get(path), 401)["code"] == "invalid_api_key"
    with client_of(tenant(requests_per_minute=4)) as client:
        client.get("batches")
        reply = client.get("batches")
        assert error_of(reply, 429)["code"] == "rate_limit_exceeded"
        assert reply.headers["retry-after"] == "5"


def test_a_rate_is_of_a_minute_and_a_burst_a_quarter_of_it() -> None:
    rates, one, other = Rates(), tenant(requests_per_minute=120), tenant("other", requests_per_minute=1)
    for _ in range(30):
        rates.take(one, 1000.0)
    with pytest.raises(TooManyError):
        rates.take(one, 1000.0)
    rates.take(other, 1000.0)
    rates.take(one, 1000.5)
    with pytest.raises(TooManyError):
        rates.take(one, 1000.9)
    rates.take(one, 1001.0)
    with pytest.raises(TooManyError):
        rates.take(other, 1059.0)
    rates.take(other, 1060.0)
    for _ in range(1000):
        rates.take(tenant("free"), 1000.0)


def test_headers_of_a_files_content(client: TestClient) -> None:
    made = post_file(client)
    name = f"files/{made['id']}/content"
    etag = get_file(tenant(), made["id"]).etag
    whole = client.get(name)
    for reply in (whole, client.head(name)):
        assert reply.status_code == 200
        assert reply.headers["etag"] == etag
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-length"] == str(len(LINE))
    part = client.get(name, headers={"range": "bytes=2-5", "if-range": etag})
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "4", LINE[2:6])
    head = client.head(name, headers={"range": "bytes=2-5"})
    assert (head.status_code, head.headers["content-length"], head.content) == (206, "4", b"")


def test_a_head_reads_nothing(client: TestClient, cloud: Cloud) -> None:
    made = post_file(client)
    cloud.s3.calls.clear()
    client.head(f"files/{made['id']}/content")
    assert not [given for _, given in cloud.s3.calls if "/data/" in given.get("Key", "")]


def test_pages_have_twenty_batches_and_the_newest_files_come_first(client: TestClient) -> None:
    file = post_file(client)["id"]
    made = [
        client.post("batches", json={"input_file_id": file, "metadata": {"n": str(n)}}).json()["id"] for n in range(21)
    ]
    page = client.get("batches").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (made[:0:-1], True)
    assert (page["first_id"], page["last_id"]) == (made[-1], made[1])
    assert client.get("batches?limit=100").json()["has_more"] is False
    other = post_file(client)["id"]
    assert [each["id"] for each in client.get("files").json()["data"]] == [other, file]
    assert [each["id"] for each in client.get("files?order=asc").json()["data"]] == [file, other]
    assert client.get("files?limit=10000").status_code == 200
    assert client.get("files?purpose=vision").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    error_of(client.get("batches?limit=" + "1" * 30), 400)
    error_of(client.get("batches?limit=" + "0" * 30 + "1"), 400)


def test_a_purpose_that_no_file_has_reads_nothing(client: TestClient, cloud: Cloud) -> None:
    client.get("files?purpose=vision")
    assert not cloud.s3.calls


def test_a_file_goes_once_no_open_batch_needs_it(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bedrock_batch.api")
    file = post_file(client)["id"]
    batch = client.post("batches", json={"input_file_id": file}).json()["id"]
    assert error_of(client.delete(f"files/{file}"), 409)["param"] == "id"
    end = ended(get_order(tenant(), batch), document(status="completed", completed_at=5).public())
    update_order(tenant(), batch, lambda current: setattr(current, "final", end))
    assert client.delete(f"files/{file}").json()["deleted"] is True
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name.endswith("audit")]
    assert [line["audit"] for line in lines] == ["file.create", "batch.create", "file.delete"]
    assert lines[-1] == {"audit": "file.delete", "tenant": "acme", "id": file, "request_id": lines[-1]["request_id"]}


def test_the_room_for_a_form_is_no_part_of_a_file(cloud: Cloud) -> None:
    with client_of(tenant(max_file_bytes=len(LINE))) as client:
        assert post_file(client)["bytes"] == len(LINE)
        assert error_of(client.post("files", **form(FILE + b"x", PURPOSE)), 413)["code"] == "file_too_large"
        fields = [b'Content-Disposition: form-data; name="x%d"\r\n\r\n' % n + b"1" * 60_000 for n in range(15)]
        assert client.post("files", **form(FILE, PURPOSE, *fields)).status_code == 200


def test_params_of_queries(client: TestClient) -> None:
    file = post_file(client, LINE.replace(b'"model"', b'"other"'))["id"]
    for query, param in (
        ("files?order=up", "order"),
        ("files?after=../x", "after"),
        ("files?limit=0", "limit"),
        ("batches?after=../x", "after"),
        (f"files/{file}/cost-estimate?model=m&completion_window=1h", "completion_window"),
        (f"files/{file}/cost-estimate", "model"),
    ):
        assert error_of(client.get(query), 400)["param"] == param


def test_the_key_of_kms_that_a_header_names_encrypts_what_is_uploaded(cloud: Cloud) -> None:
    headers = {"x-amzn-bedrock-outputencryptionkeyid": "arn:key/own"}
    with client_of(tenant(kms_keys=("arn:key/own",))) as client:
        file = client.post("files", files={"file": ("x", LINE)}, data={"purpose": "batch"}, headers=headers).json()
        begun = client.post("uploads", json={"bytes": 1, "filename": "x", "purpose": "batch"}, headers=headers).json()
        part = client.post(f"uploads/{begun['id']}/parts", files={"data": ("x", b"x")}).json()
        for key in (f"data/{file['id']}", f"uploads/{begun['id']}/parts/{part['id']}"):
            assert cloud.s3.objects[f"prefix/acme/api/{key}"].options["SSEKMSKeyId"] == "arn:key/own"
        refused = {"x-amzn-bedrock-outputencryptionkeyid": "arn:key/anothers"}
        for reply in (
            client.post("files", files={"file": ("x", LINE)}, data={"purpose": "batch"}, headers=refused),
            client.post("uploads", json={"bytes": 1, "filename": "x", "purpose": "batch"}, headers=refused),
        ):
            assert error_of(reply, 403)["code"] == "kms_key_not_allowed"


def test_every_change_is_noted(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Who did what to which object: a line for each, of the request that it came by."""
    caplog.set_level(logging.INFO, "bedrock_batch.api.audit")
    file = post_file(client)["id"]
    batch = client.post("batches", json={"input_file_id": file}).json()["id"]
    client.post(f"batches/{batch}/cancel")
    end = ended(get_order(tenant(), batch), document(status="completed", completed_at=5).public())
    update_order(tenant(), batch, lambda current: setattr(current, "final", end))
    again = client.post(f"batches/{batch}/retry").json()["id"]
    given = {"bytes": 1, "filename": "x", "purpose": "batch"}
    one, other = (client.post("uploads", json=given).json()["id"] for _ in range(2))
    part = client.post(f"uploads/{one}/parts", files={"data": ("x", b"x")}).json()["id"]
    client.post(f"uploads/{one}/complete", json={"part_ids": [part]})
    reply = client.post(f"uploads/{other}/cancel")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name.endswith("audit")]
    assert [(line["audit"], line["id"]) for line in lines] == [
        ("file.create", file),
        ("batch.create", batch),
        ("batch.cancel", batch),
        ("batch.retry", again),
        ("upload.create", one),
        ("upload.create", other),
        ("upload.part", part),
        ("upload.complete", one),
        ("upload.cancel", other),
    ]
    assert {line["tenant"] for line in lines} == {"acme"}
    assert lines[-1]["request_id"] == reply.headers["x-request-id"]


def test_a_batch_that_is_over_is_one_read(client: TestClient, cloud: Cloud) -> None:
    batch = client.post("batches", json={"input_file_id": post_file(client)["id"]}).json()["id"]
    update_order(tenant(), batch, lambda current: setattr(current, "batch_id", "batch_" + "a" * 32))
    end = failed(get_order(tenant(), batch), "internal_error", "x")
    update_order(tenant(), batch, lambda current: setattr(current, "final", end))
    cloud.s3.calls.clear()
    assert client.get(f"batches/{batch}").json()["status"] == "failed"
    assert [name for name, _ in cloud.s3.calls] == ["GetObject"]
    assert error_of(client.get(f"batches/{batch}/output"), 404)["param"] == "id", "it will never have one"


def test_a_body_that_its_client_does_not_end_is_no_fault_of_ours(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bedrock_batch.api")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer acme-key-0123456789")]
    scope: Any = {"type": "http", "method": "POST", "path": "/v1/batches", "query_string": b"", "headers": headers}

    async def call() -> None:
        await create_app(Tenants((tenant(),)), Dispatcher())(scope, receive, send)

    asyncio.run(call())
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert (line["status"], line["route"], sent[0]["status"]) == (499, "/batches", 499)


def test_idempotency_keys(client: TestClient) -> None:
    file = post_file(client)["id"]
    call = {"input_file_id": file}
    made = client.post("batches", json=call, headers={"idempotency-key": "k" * 256}).json()["id"]
    assert client.post("batches", json=call, headers={"idempotency-key": "k" * 256}).json()["id"] == made
    assert client.post("batches", json=call, headers={"idempotency-key": "l"}).json()["id"] != made
    for key in ("", "k" * 257):
        reply = client.post("batches", json=call, headers={"idempotency-key": key})
        assert error_of(reply, 400)["param"] == "Idempotency-Key"
    reply = client.post("batches", json={**call, "metadata": {"a": "b"}}, headers={"idempotency-key": "l"})
    assert error_of(reply, 409)["code"] == "idempotency_key_in_use"


def test_ignored_parameters_are_names_only(client: TestClient) -> None:
    """A header takes no line ends and no texts of others."""
    body = {"input_file_id": post_file(client)["id"], "b": 1, "a": 2, "x\r\nset-cookie: y": 3, "é": 4}
    assert client.post("batches", json=body).headers["x-ignored-parameters"] == "a, b"
    del body["a"], body["b"]
    assert "x-ignored-parameters" not in client.post("batches", json=body).headers


def test_the_output_of_a_batch_that_runs_says_that_it_is_not_whole(
    client: TestClient, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = client.post("batches", json={"input_file_id": post_file(client)["id"]}).json()["id"]
    ref = BatchRef(tenant().settings.root, "batch_" + "a" * 32)
    update_order(tenant(), batch, lambda current: setattr(current, "batch_id", ref.batch_id))
    store(cloud, document(id=ref.batch_id), ref)
    monkeypatch.setattr("deployments.api.routes.results_so_far", lambda ref: iter([b"{}\n", b"[]\n"]))
    for reply in (client.get(f"batches/{batch}/output"), client.head(f"batches/{batch}/output")):
        assert reply.status_code == 200
        assert (reply.headers["x-incomplete"], reply.headers["cache-control"]) == ("true", "no-store")
        assert reply.content == (b"{}\n[]\n" if reply.request.method == "GET" else b"")
    monkeypatch.setattr("deployments.api.routes.results_so_far", lambda ref: iter([]))
    error_of(client.get(f"batches/{batch}/output"), 409)


def test_an_estimate_is_of_the_models_that_a_key_may_use(cloud: Cloud) -> None:
    owner = tenant(models=("us.*",), model_names={CLAUDE: "us.amazon.nova-lite-v1:0"})
    with client_of(owner) as client:
        file = post_file(client)["id"]
        assert client.get(f"files/{file}/cost-estimate").json()["model"] == "us.amazon.nova-lite-v1:0"
        reply = client.get(f"files/{file}/cost-estimate?model=amazon.nova-pro-v1:0")
        assert error_of(reply, 403)["code"] == "model_not_allowed"


def test_not_ready_says_so(client: TestClient, cloud: Cloud) -> None:
    cloud.s3.refuse("ListObjectsV2", "SlowDown", 503, times=None)
    assert error_of(client.get("http://server/readyz"), 503)["code"] == "not_ready"


def test_readiness_looks_at_s3_every_five_seconds(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    server = Server(Tenants((tenant(),)), Dispatcher())
    for at, listings in ((100.0, 1), (105.0, 1), (105.5, 2)):
        now[0] = at
        assert server.trouble() is None
        assert cloud.s3.count("ListObjectsV2") == listings


def test_a_hundred_requests_wait_for_s3_at_once(client: TestClient) -> None:
    async def threads() -> float:
        return to_thread.current_default_thread_limiter().total_tokens

    assert client.portal is not None
    assert client.portal.call(threads) == 100


def test_what_a_page_needs_is_read_at_once() -> None:
    all_there = threading.Barrier(32, timeout=20)
    server = Server(Tenants((tenant(),)), Dispatcher())
    assert sorted(server.side_by_side(lambda _: all_there.wait(20), range(32))) == list(range(32))


def test_a_fault_of_ours_is_in_the_log_by_its_type_and_place(
    client: TestClient, cloud: Cloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403, message="not yours")
    reply = client.get("batches")
    error_of(reply, 500)
    assert [f"Request {reply.headers['x-request-id']}" in caplog.text, "AccessDenied" in caplog.text] == [True, True]
    caplog.clear()

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("TEXT OF A REQUEST")

    monkeypatch.setattr("deployments.api.routes.list_orders", broken)
    assert error_of(client.get("batches"), 500)["code"] == "internal_error"
    assert "KeyError at " in caplog.text
    assert "test_app.py:" in caplog.text
    assert "TEXT OF A REQUEST" not in caplog.text
    caplog.clear()
    error_of(client.get("batches/batch_x"), 404)
    assert "Request req_" not in caplog.text, "what callers do wrong is no fault of ours"


def test_a_part_counts_as_an_upload_and_leaves_nothing_where_it_breaks_off(cloud: Cloud) -> None:
    with client_of(tenant(concurrent_uploads=1)) as client:
        upload_ = client.post("uploads", json={"bytes": 5, "filename": "x", "purpose": "batch"}).json()
        path = f"uploads/{upload_['id']}/parts"
        app: Any = client.app
        server = app._app.state.server
        with server.uploading(tenant(concurrent_uploads=1)):
            assert error_of(client.post(path, files={"data": ("upload", b"x")}), 429)["code"] == "too_many_uploads"
        data = b'Content-Disposition: form-data; name="data"; filename="a"\r\n\r\n' + b"x" * (6 << 20)
        error_of(client.post(path, **form(data, end=b"")), 400)
        assert not cloud.s3.uploads
        assert b"bedrock_batch_api_uploads 0.0" in server.metrics.text(Tenants((tenant(),)))


def test_metrics_count_requests_bytes_and_orders(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, owner = Metrics(), tenant()
    metrics.count("GET", "/files", 200, 10, 20, 0.5)
    metrics.count("BREW", "unknown", 404, 1, 2, 0.5)
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.0)
    file = upload(owner).id
    orders = [create(owner, file, metadata={"n": str(n)}) for n in range(4)]
    cancel_order(owner, orders[1].id)

    def change(current: Order) -> None:
        current.batch_id = "batch_" + "a" * 32

    update_order(owner, orders[2].id, change)
    update_order(owner, orders[0].id, lambda current: setattr(current, "created_at", 1_789_999_000))
    end = ended(orders[3], document(status="completed", completed_at=5).public())
    update_order(owner, orders[3].id, lambda current: setattr(current, "final", end))
    monkeypatch.setattr(time, "time", lambda: 1_790_000_005.0)
    create(owner, file, metadata={"n": "young"})
    monkeypatch.setattr(time, "time", lambda: 1_790_000_010.0)
    lines = metrics.text(Tenants((owner,))).decode().splitlines()
    for line in (
        'bedrock_batch_api_requests_total{method="GET",route="/files",status="200"} 1.0',
        'bedrock_batch_api_requests_total{method="other",route="unknown",status="404"} 1.0',
        "bedrock_batch_api_received_bytes_total 11.0",
        "bedrock_batch_api_sent_bytes_total 22.0",
        'bedrock_batch_api_open_batches{state="validating"} 2.0',
        'bedrock_batch_api_open_batches{state="cancelling"} 1.0',
        'bedrock_batch_api_open_batches{state="in_progress"} 1.0',
        'bedrock_batch_api_open_batches{state="ended"} 1.0',
        "bedrock_batch_api_queue_age_seconds 1010.0",
    ):
        assert line in lines, line


def _request(*blocks: bytes, headers: list[tuple[bytes, bytes]] | None = None, body_seconds: float = 60.0) -> Request:
    """A request whose body comes in blocks; without a last one, it stops coming."""
    waiting = list(blocks)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or body_seconds < 1}

    app = type(
        "App",
        (),
        {"state": type("State", (), {"server": Server(Tenants((tenant(),), None, body_seconds), Dispatcher())})()},
    )()
    return Request({"type": "http", "method": "POST", "headers": headers or [], "app": app}, receive)


async def _all(request: Request, most: int) -> list[bytes]:
    return [block async for block in chunks(request, most)]


def test_bodies_are_bounded_as_they_say_and_as_they_come() -> None:
    assert asyncio.run(_all(_request(b"ab", b"cd"), 4)) == [b"ab", b"cd", b""]
    with pytest.raises(TooLargeError, match="larger than 3 bytes"):
        asyncio.run(_all(_request(b"ab", b"cd"), 3))
    with pytest.raises(TooLargeError):
        asyncio.run(_all(_request(headers=[(b"content-length", b"4")]), 3))
    assert asyncio.run(_all(_request(b"abc", headers=[(b"content-length", b"3")]), 3)) == [b"abc", b""]
    with pytest.raises(SlowBodyError):
        asyncio.run(_all(_request(b"ab", body_seconds=0.01), 3))


def test_each_block_of_a_body_has_the_time_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for, given = asyncio.wait_for, []

    def noted(coming: Any, seconds: float) -> Any:
        given.append(seconds)
        return wait_for(coming, seconds)

    monkeypatch.setattr(asyncio, "wait_for", noted)
    asyncio.run(_all(_request(b"ab", b"cd", body_seconds=7.0), 9))
    assert set(given) == {7.0}


def test_a_body_that_need_not_be_there() -> None:
    assert asyncio.run(json_body(_request(b" \n"), required=False)) == {}
    with pytest.raises(InvalidCallError, match="it is empty"):
        asyncio.run(json_body(_request(b" \n")))
    with pytest.raises(InvalidCallError, match="line 2, column 1"):
        asyncio.run(json_body(_request(b"{\n]")))
    with pytest.raises(TooLargeError, match="1,048,576"):
        asyncio.run(json_body(_request(b" " * ((1 << 20) + 1))))


async def _through(gate: Gate, path: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"12345"}

    async def send(message: Any) -> None:
        sent.append(message)

    key = b"Bearer acme-key-0123456789"
    headers = [(b"authorization", key), (b"user-agent", b"a client"), (b"x-secret", b"SECRET")]
    scope: Any = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": ("10.1.2.3", 5)}
    await gate(scope, receive, send)
    return sent


def test_the_access_log_has_a_line_for_each_request(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bedrock_batch.api.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"123"})

    sent = asyncio.run(_through(Gate(app, Tenants((tenant(),)), Metrics()), "/v1/" + "x" * 500))
    (record,) = [record for record in caplog.records if record.name.endswith("access")]
    line = json.loads(record.getMessage())
    assert line.pop("ms") >= 0
    assert line == {
        "request_id": line["request_id"],
        "tenant": "acme",
        "client": "10.1.2.3",
        "method": "GET",
        "route": "unknown",
        "path": ("/v1/" + "x" * 500)[:200],
        "status": 200,
        "bytes_in": 5,
        "bytes_out": 3,
        "user_agent": "a client",
    }
    assert (b"x-request-id", line["request_id"].encode()) in sent[0]["headers"]


def test_an_answer_that_breaks_off_breaks_the_connection(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """Part of it is out: whoever reads it must not take it for the whole."""
    caplog.set_level(logging.INFO, "bedrock_batch.api.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("TEXT OF A REQUEST")

    with pytest.raises(RuntimeError, match="an answer broke off"):
        asyncio.run(_through(Gate(app, Tenants((tenant(),)), Metrics()), "/v1/files"))
    line = json.loads(caplog.records[-1].getMessage())
    assert line["error"] == "KeyError"
    assert f"Request {line['request_id']}: KeyError at " in caplog.text
    assert "TEXT OF A REQUEST" not in caplog.text


def test_a_caller_that_went_away_is_499(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bedrock_batch.api.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import ClientDisconnect

        raise ClientDisconnect

    assert asyncio.run(_through(Gate(app, Tenants((tenant(),)), Metrics()), "/v1/files")) == []
    assert json.loads(caplog.records[-1].getMessage())["status"] == 499


def test_a_method_that_is_none_says_which_are(client: TestClient) -> None:
    assert client.delete("batches").headers["allow"]


def test_the_content_of_a_result_file_comes_by_its_batch(client: TestClient, cloud: Cloud) -> None:
    file = post_file(client)["id"]
    batch = client.post("batches", json={"input_file_id": file}).json()["id"]
    stored = get_file(tenant(), file)
    result = stored.model_copy(update={"id": result_file_id(batch, "output"), "purpose": "batch_output"})
    save_file(tenant(), result)
    errors = get_file(tenant(), post_file(client, LINE * 2)["id"])
    save_file(tenant(), errors.model_copy(update={"id": result_file_id(batch, "errors"), "purpose": "batch_output"}))
    files: dict[str, Any] = {"output_file": stored.uri, "error_file": errors.uri}
    end = ended(get_order(tenant(), batch), document(status="completed", completed_at=5, **files).public())
    update_order(tenant(), batch, lambda current: setattr(current, "final", end))
    assert client.get(f"batches/{batch}/output").content == LINE
    assert client.get(f"batches/{batch}/output", headers={"range": "bytes=0-0"}).content == LINE[:1]
    assert new_id("batch") > batch
