"""Uploads in parts: what may begin one, which parts make the file, and that what is over stays over."""

import hashlib
import re
import time
from typing import Any

import pytest

from tasks.api.errors import CallError, ConflictError, InvalidCallError, NotFoundError, TooLargeError
from tasks.api.files import get_file, read_bytes
from tasks.api.ids import new_id
from tasks.api.tenants import Tenant
from tasks.api.uploads import MOST_PART, PartUpload, Upload, begin_upload, cancel_upload, complete_upload, get_upload
from tasks.errors import PipelineError
from tests.api.callers import LINE, tenant
from tests.conftest import CLAUDE
from tests.fakes import Cloud

GIVEN: dict[str, Any] = {"bytes": 3, "filename": "C:\\a/in.jsonl", "purpose": "batch"}


def begin(owner: Tenant, size: int = 3, kms_key: str | None = None, **body: Any) -> Upload:
    return begin_upload(owner, {**GIVEN, "bytes": size, **body}, kms_key)


def part(owner: Tenant, upload_id: str, data: bytes) -> str:
    """Send a part; returns its id."""
    sent = PartUpload(owner, upload_id)
    sent.write(data)
    return str(sent.finish()["id"])


def parts_of(cloud: Cloud, upload: Upload) -> list[str]:
    return cloud.s3.keys(f"prefix/acme/api/uploads/{upload.id}/parts/")


def test_an_upload_says_what_is_to_come(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.5)
    upload = begin(tenant())
    assert get_upload(tenant(), upload.id) == upload
    assert upload.public() == {
        "id": upload.id,
        "object": "upload",
        "bytes": 3,
        "created_at": 1_790_000_000,
        "expires_at": 1_790_003_600,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    assert begin(tenant(max_file_bytes=3)).bytes == 3
    assert begin(tenant(), 0).bytes == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"bytes": None}, "bytes"),
        ({"bytes": "3"}, "bytes"),
        ({"bytes": True}, "bytes"),
        ({"bytes": 3.0}, "bytes"),
        ({"bytes": -1}, "bytes"),
        ({"purpose": None}, "purpose"),
        ({"purpose": "fine-tune"}, "purpose"),
        ({"filename": None}, "filename"),
        ({"filename": ""}, "filename"),
        ({"filename": 5}, "filename"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after"),
    ],
)
def test_what_begins_no_upload(cloud: Cloud, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidCallError) as error:
        begin_upload(tenant(), {**GIVEN, **body})
    assert error.value.param == param
    assert not cloud.s3.keys()


def test_no_upload_is_larger_than_the_key_allows(cloud: Cloud) -> None:
    with pytest.raises(TooLargeError, match="1,234 bytes") as error:
        begin(tenant(max_file_bytes=1234), 1235)
    assert error.value.param == "bytes"
    assert not cloud.s3.keys()


def test_another_tenants_upload_is_not_there(cloud: Cloud) -> None:
    upload = begin(tenant())
    for owner, wrong in ((tenant("other"), upload.id), (tenant(), new_id("upload")), (tenant(), "../" + upload.id)):
        for call in (get_upload, PartUpload, cancel_upload):
            with pytest.raises(NotFoundError, match=re.escape(wrong)):
                call(owner, wrong)
        with pytest.raises(NotFoundError):
            complete_upload(owner, wrong, {"part_ids": [new_id("part")]})


def test_parts_are_joined_in_the_order_they_are_named(cloud: Cloud) -> None:
    owner = tenant()
    cut = len(LINE) // 2
    expiry = {"anchor": "created_at", "seconds": 3600}
    upload = begin(owner, len(LINE), expires_after=expiry)
    last, first = part(owner, upload.id, LINE[cut:]), part(owner, upload.id, LINE[:cut])
    unused = part(owner, upload.id, b"never named")
    assert len({last, first, unused}) == len(parts_of(cloud, upload)) == 3
    digest = hashlib.md5(LINE).hexdigest()
    done = complete_upload(owner, upload.id, {"part_ids": [first, last], "md5": digest.upper()})
    assert done.file is not None
    assert done.public() == {**upload.public(), "status": "completed", "file": done.file.public()}
    stored = get_file(owner, done.file.id)
    assert (stored.filename, stored.model, stored.endpoint) == ("in.jsonl", CLAUDE, "/v1/chat/completions")
    assert (stored.bytes, stored.expires_at) == (len(LINE), stored.created_at + 3600)
    assert b"".join(read_bytes(stored)) == LINE
    assert parts_of(cloud, upload) == []


def test_a_part_may_be_named_twice(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner, 4)
    twice = part(owner, upload.id, b"ab")
    done = complete_upload(owner, upload.id, {"part_ids": [twice, twice]})
    assert done.file is not None
    assert b"".join(read_bytes(done.file)) == b"abab"


def test_a_part_says_whose_it_is(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tenant()
    monkeypatch.setattr(time, "time", lambda: 1_790_000_000.5)
    upload = begin(owner)
    sent = PartUpload(owner, upload.id)
    assert sent.finish() == {
        "id": sent.id,
        "object": "upload.part",
        "created_at": 1_790_000_000,
        "upload_id": upload.id,
    }


def test_a_part_that_breaks_off_leaves_nothing(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    sent = PartUpload(owner, upload.id)
    sent.write(b"x" * (6 << 20))
    sent.abort()
    assert (parts_of(cloud, upload), cloud.s3.uploads) == ([], {})


def test_too_large_a_part_is_refused_while_it_comes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_PART == 64 << 20
    monkeypatch.setattr("tasks.api.uploads.MOST_PART", 10)
    owner = tenant()
    sent = PartUpload(owner, begin(owner).id)
    sent.write(b"x" * 10)
    with pytest.raises(TooLargeError) as error:
        sent.write(b"x")
    assert error.value.param == "data"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "part_ids", "in their order"),
        ({"part_ids": []}, "part_ids", "in their order"),
        ({"part_ids": "PART"}, "part_ids", "in their order"),
        ({"part_ids": ["PART", 5]}, "part_ids", "in their order"),
        ({"part_ids": ["PART", "../PART"]}, "part_ids", "in their order"),
        ({"part_ids": ["PART"] * 10_001}, "part_ids", "in their order"),
        ({"part_ids": ["PART", "part_" + "0" * 32]}, "part_ids", "no part part_0000"),
        ({"part_ids": ["part_" + "0" * 32] * 10_000}, "part_ids", "no part part_0000"),
        ({"part_ids": ["PART", "PART"]}, "part_ids", "hold 6 bytes; the upload was to have 3"),
        ({"part_ids": ["PART"], "md5": 5}, "md5", "must be text"),
        ({"part_ids": ["PART"], "md5": "0" * 32}, "md5", "another one"),
    ],
)
def test_what_makes_no_file_leaves_the_upload_open(cloud: Cloud, body: Any, param: str, message: str) -> None:
    """The caller may name other parts, or send one anew."""
    owner = tenant()
    upload = begin(owner)
    sent = part(owner, upload.id, b"abc")
    parts = body.get("part_ids")
    if isinstance(parts, list):
        body = {**body, "part_ids": [each.replace("PART", sent) if isinstance(each, str) else each for each in parts]}
    before = cloud.s3.keys()
    with pytest.raises(CallError, match=message) as error:
        complete_upload(owner, upload.id, body)
    assert error.value.param == param
    assert (cloud.s3.keys(), get_upload(owner, upload.id)) == (before, upload)
    assert complete_upload(owner, upload.id, {"part_ids": [sent], "md5": ""}).status == "completed"


def test_an_upload_is_completed_once(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    named = {"part_ids": [part(owner, upload.id, b"abc")]}
    done = complete_upload(owner, upload.id, named)
    assert complete_upload(owner, upload.id, named) == complete_upload(owner, upload.id, {}) == done
    for call in (PartUpload, cancel_upload):
        with pytest.raises(ConflictError, match="The upload is completed"):
            call(owner, upload.id)
    assert len(cloud.s3.keys("prefix/acme/api/data/")) == 1


def test_a_cancelled_upload_takes_nothing_more(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    sent = part(owner, upload.id, b"abc")
    assert cancel_upload(owner, upload.id).public() == {**upload.public(), "status": "cancelled"}
    assert parts_of(cloud, upload) == []
    assert cancel_upload(owner, upload.id).status == "cancelled"
    with pytest.raises(ConflictError, match="The upload is cancelled"):
        PartUpload(owner, upload.id)
    with pytest.raises(ConflictError, match="The upload is cancelled"):
        complete_upload(owner, upload.id, {"part_ids": [sent]})


def test_an_upload_expires_after_an_hour(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tenant()
    upload = begin(owner)
    sent = part(owner, upload.id, b"abc")
    monkeypatch.setattr(time, "time", lambda: upload.expires_at - 1)
    assert upload.public()["status"] == "pending"
    monkeypatch.setattr(time, "time", lambda: upload.expires_at)
    assert get_upload(owner, upload.id).public()["status"] == "expired"
    with pytest.raises(ConflictError, match="The upload is expired"):
        PartUpload(owner, upload.id)
    with pytest.raises(ConflictError, match="The upload is expired"):
        complete_upload(owner, upload.id, {"part_ids": [sent]})
    done = upload.model_copy(update={"status": "completed"})
    assert done.public()["status"] == "completed"


def test_a_file_that_s3_refuses_leaves_the_upload_open(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    named = {"part_ids": [part(owner, upload.id, b"abc")]}
    cloud.s3.refuse("PutObject", "AccessDenied", 403, on="api/data/")
    with pytest.raises(PipelineError, match="AccessDenied"):
        complete_upload(owner, upload.id, named)
    assert (len(parts_of(cloud, upload)), cloud.s3.keys("prefix/acme/api/data/")) == (1, [])
    assert complete_upload(owner, upload.id, named).status == "completed"


def test_whoever_cancels_while_the_parts_are_joined_is_obeyed(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    named = {"part_ids": [part(owner, upload.id, b"abc")]}
    cloud.s3.after("PutObject", lambda: cancel_upload(owner, upload.id), on="api/data/")
    assert complete_upload(owner, upload.id, named).public()["status"] == "cancelled"
    assert cloud.s3.keys("prefix/acme/api/data/") == cloud.s3.keys("prefix/acme/api/files/") == []


def test_of_two_that_complete_at_once_one_file_is_left(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner)
    named = {"part_ids": [part(owner, upload.id, b"abc")]}
    others: list[Any] = []
    cloud.s3.after("PutObject", lambda: others.append(complete_upload(owner, upload.id, named)), on="api/data/")
    assert complete_upload(owner, upload.id, named) == others[0]
    assert len(cloud.s3.keys("prefix/acme/api/data/")) == len(cloud.s3.keys("prefix/acme/api/files/")) == 1


def test_parts_and_file_are_encrypted_as_the_upload_was_begun(cloud: Cloud) -> None:
    owner = tenant()
    upload = begin(owner, kms_key="mine")
    sent = part(owner, upload.id, b"abc")
    assert cloud.s3.objects[parts_of(cloud, upload)[0]].options["SSEKMSKeyId"] == "mine"
    done = complete_upload(owner, upload.id, {"part_ids": [sent]})
    assert done.file is not None
    assert cloud.s3.objects[f"prefix/acme/api/data/{done.file.id}"].options["SSEKMSKeyId"] == "mine"


def test_a_large_file_of_wrong_parts_is_not_left_half_written(cloud: Cloud) -> None:
    """S3 bills the parts of an upload that nobody completes or aborts."""
    owner = tenant()
    size = 6 << 20
    upload = begin(owner, size)
    sent = part(owner, upload.id, b"x" * size)
    with pytest.raises(InvalidCallError):
        complete_upload(owner, upload.id, {"part_ids": [sent], "md5": "0" * 32})
    assert cloud.s3.count("CreateMultipartUpload", on="api/data/") == 1
    assert cloud.s3.uploads == {}


@pytest.mark.parametrize(("size", "said"), [(4, "hold 3 bytes; the upload was to have 4"), (2, "hold 3 bytes")])
def test_a_file_is_of_the_size_that_was_said(cloud: Cloud, size: int, said: str) -> None:
    """Also where a part is missing: half a dataset would run without a word."""
    owner = tenant()
    upload = begin(owner, size)
    sent = part(owner, upload.id, b"abc")
    with pytest.raises(InvalidCallError, match=said):
        complete_upload(owner, upload.id, {"part_ids": [sent]})
    assert get_upload(owner, upload.id).status == "pending"
