"""Files in S3: there when complete, the tenant's own only, paged, and gone when their time is over."""

import gzip
import itertools
import re
import time

import pytest

from tasks.api.errors import InvalidCallError, NotFoundError, TooLargeError
from tasks.api.files import (
    MOST_LISTED,
    FileUpload,
    FirstLine,
    byte_range,
    delete_expired,
    delete_file,
    expiry,
    file_name,
    first_line,
    first_line_of,
    get_file,
    list_files,
    read_bytes,
    results_uri,
    save_file,
)
from tasks.api.ids import new_id, result_file_id, seconds_of
from tasks.errors import TransientError
from tasks.storage.uris import S3Uri, parse_input_uri
from tests.api.callers import LINE, tenant, upload
from tests.conftest import CLAUDE
from tests.fakes import BUCKET, Cloud


def test_a_file_is_kept_and_given_back(cloud: Cloud) -> None:
    stored = upload(tenant(), LINE * 3, "C:\\a\\b/my file.jsonl")
    found = get_file(tenant(), stored.id)
    assert found.public() == {
        "id": stored.id,
        "object": "file",
        "bytes": 3 * len(LINE),
        "created_at": stored.created_at,
        "expires_at": None,
        "filename": "my file.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert (found.model, found.endpoint) == (CLAUDE, "/v1/chat/completions")
    assert b"".join(read_bytes(found)) == LINE * 3
    assert b"".join(read_bytes(found, 5, 12)) == LINE[5:12]


def test_a_file_of_several_parts_and_an_empty_one(cloud: Cloud) -> None:
    body = b"x" * (11 << 20)
    assert b"".join(read_bytes(get_file(tenant(), upload(tenant(), body).id))) == body
    assert b"".join(read_bytes(get_file(tenant(), upload(tenant(), b"").id))) == b""


def test_an_upload_that_breaks_off_leaves_nothing(cloud: Cloud) -> None:
    file = FileUpload(tenant())
    file.write(b"x" * (6 << 20))
    file.abort()
    assert not cloud.s3.keys()
    assert not cloud.s3.uploads


def test_too_large_a_file_is_refused_while_it_comes(cloud: Cloud) -> None:
    file = FileUpload(tenant(max_file_bytes=10))
    file.write(b"x" * 10)
    with pytest.raises(TooLargeError, match="the 10 bytes that this key may upload") as error:
        file.write(b"x")
    assert (error.value.param, error.value.code) == ("file", "file_too_large")


def test_another_tenants_file_is_not_there(cloud: Cloud) -> None:
    stored = upload(tenant())
    for wrong in (stored.id.replace("file-", "batch_"), "file-nothing", "../" + stored.id, ""):
        with pytest.raises(NotFoundError, match=re.escape(f"No such File object: {wrong}")) as error:
            get_file(tenant(), wrong)
        assert error.value.param == "id"
    with pytest.raises(NotFoundError) as error:
        get_file(tenant(), "x" * 10_000)
    assert str(error.value) == "No such File object: " + "x" * 80
    with pytest.raises(NotFoundError):
        get_file(tenant("other"), stored.id)


def test_a_deleted_file_is_gone_with_its_bytes(cloud: Cloud) -> None:
    stored = upload(tenant())
    delete_file(tenant(), stored.id)
    with pytest.raises(NotFoundError):
        get_file(tenant(), stored.id)
    assert not cloud.s3.keys()


def test_files_are_listed_page_by_page(cloud: Cloud) -> None:
    ids = [upload(tenant(), name=f"{number}.jsonl").id for number in range(5)]
    newest = sorted(ids, reverse=True)
    for ascending, wanted in ((False, newest), (True, newest[::-1])):
        seen: list[str] = []
        more = True
        while more:
            after = seen[-1] if seen else None
            page, more = list_files(tenant(), purpose=None, limit=2, after=after, ascending=ascending)
            seen += [stored.id for stored in page]
        assert seen == wanted
    assert list_files(tenant(), purpose="batch_output", limit=9, after=None, ascending=False) == ([], False)


def test_a_file_goes_when_its_time_is_over(cloud: Cloud) -> None:
    short, long = upload(tenant(), expires_after=3600), upload(tenant(), expires_after=7200)
    now = short.created_at + 3600
    assert get_file(tenant(), short.id, now - 1)
    with pytest.raises(NotFoundError):
        get_file(tenant(), short.id, now)
    assert delete_expired(tenant(), now, frozenset([short.id])) == 0
    assert delete_expired(tenant(), now) == 1
    assert not list(filter(lambda key: short.id in key, cloud.s3.keys()))
    assert get_file(tenant(), long.id, now)


@pytest.mark.parametrize("ascending", [False, True])
def test_a_page_of_expired_files_is_not_the_end(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, ascending: bool) -> None:
    """Clients take an empty page for it."""
    clock = itertools.count(1_790_000_000)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    stay, _ = upload(tenant()), [upload(tenant(), expires_after=3600) for _ in range(5)]
    newest = upload(tenant())
    clock = itertools.count(1_790_009_000)
    first, more = list_files(tenant(), purpose=None, limit=1, after=None, ascending=ascending)
    assert more
    last, more = list_files(tenant(), purpose=None, limit=1, after=first[0].id, ascending=ascending)
    assert not more
    assert [*first, *last] == ([stay, newest] if ascending else [newest, stay])


@pytest.mark.parametrize("seconds", [3600, 2_592_000])
def test_a_file_is_kept_for_an_hour_to_thirty_days(seconds: int) -> None:
    assert expiry({"anchor": "created_at", "seconds": seconds}) == seconds


@pytest.mark.parametrize("value", [{}, {"seconds": 3600}, {"anchor": "created_at", "seconds": 3599}, "x", {"anchor": "created_at", "seconds": True}, {"anchor": "created_at", "seconds": "1e4"}, {"anchor": "created_at", "seconds": 2_592_001}])  # fmt: skip
def test_wrong_expiries_are_refused(value: object) -> None:
    with pytest.raises(InvalidCallError):
        expiry(value)
    assert expiry({"anchor": "created_at", "seconds": "3600"}) == 3600
    assert expiry(None) is None


@pytest.mark.parametrize(
    "head",
    [b"", b"\n", b"{", b"[1]", b'{"body": 5}', b"\xff\xfe{", b'{"url": "\xff"}', b'{"url": null, "body": null}'],
)
def test_a_first_line_that_says_nothing(head: bytes) -> None:
    assert first_line(head).model is None
    assert first_line(head + b"\n" + LINE).model == CLAUDE, "the next one does: bad lines may be skipped"


@pytest.mark.parametrize(("bad", "found"), [(99, CLAUDE), (101, None)])
def test_a_hundred_lines_are_looked_at(bad: int, found: str | None) -> None:
    """A file of another kind is not read through for a model that it does not have."""
    assert first_line(b"{\n" * bad + LINE).model == found


def test_the_first_line_of_a_compressed_object(cloud: Cloud) -> None:
    cloud.s3.put("in/a.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + LINE))
    assert first_line_of(S3Uri(BUCKET, "in/a.jsonl.gz")).model == CLAUDE
    cloud.s3.put("in/folder/a.jsonl", LINE)
    for key in ("in/folder", "in/*.jsonl.gz", "in/nothing"):
        with pytest.raises(InvalidCallError) as error:
            first_line_of(S3Uri(BUCKET, key))
        assert error.value.param == "input_file_id"


def test_a_first_line_of_megabytes_is_read_as_well(cloud: Cloud) -> None:
    """As of images in base64; of an upload, so much is kept in memory that all but those are known at once."""
    long = LINE.replace(b'"messages"', b'"user": "%s", "messages"' % (b"u" * 7_000_000))
    cloud.s3.put("in/long.jsonl", long)
    assert first_line_of(S3Uri(BUCKET, "in/long.jsonl")).model == CLAUDE
    assert upload(tenant(), LINE.replace(b'"x"', b'"%s"' % (b"x" * 250_000))).model == CLAUDE
    assert upload(tenant(), long).model is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"url": "/chat/completions/"}', FirstLine(None, "/v1/chat/completions")),
        (b'{"body": {"model": "m"}}', FirstLine("m", None)),
        (b'{"url": "", "body": {"model": ""}}\n{"url": "/v1/embeddings"}', FirstLine(None, "/v1/embeddings")),
    ],
)
def test_a_first_line_that_says_a_part(line: bytes, found: FirstLine) -> None:
    assert first_line(line + b"\n" + LINE) == found


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        (None, 10, None),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=2-5", 10, (2, 6)),
        ("bytes=2-500", 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=1-2,4-5", 10, None),
        ("bytes=0-,4-5", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=1-b", 10, None),
        ("bytes=-", 10, None),
        ("bytes=5", 10, None),
        ("1-2", 10, None),
        ("lines=1-2", 10, None),
    ],
)
def test_ranges(header: str | None, size: int, wanted: object) -> None:
    assert byte_range(header, size) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-2", "bytes=-0", "bytes=0-0"])
def test_ranges_that_cannot_be_served(header: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        byte_range(header, 0 if header == "bytes=0-0" else 10)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "upload"),
        (None, "upload"),
        ("../../x", "x"),
        ("C:\\a\\b.jsonl", "b.jsonl"),
        ("a\r\nb\x00", "ab"),
        ("é" * 600, "é" * 512),
    ],
)
def test_names_of_files(name: str | None, shown: str) -> None:
    assert file_name(name) == shown


def test_a_file_is_encrypted_with_the_key_that_was_named(cloud: Cloud) -> None:
    file = FileUpload(tenant(), "arn:key/own")
    file.write(LINE)
    stored = file.finish("in.jsonl", None)
    assert cloud.s3.objects[parse_input_uri(stored.uri).key].options["SSEKMSKeyId"] == "arn:key/own"


def test_a_range_that_begins_where_the_file_ends_has_no_end_either() -> None:
    with pytest.raises(ValueError, match="bytes=10-20"):
        byte_range("bytes=10-20", 10)
    assert byte_range("bytes=9-20", 10) == (9, 10)


@pytest.mark.parametrize(("code", "status"), [("NoSuchKey", 404), ("PreconditionFailed", 412)])
def test_content_that_is_gone_or_another_is_not_there(cloud: Cloud, code: str, status: int) -> None:
    stored = upload(tenant())
    cloud.s3.refuse("GetObject", code, status, times=None)
    with pytest.raises(NotFoundError, match="is gone") as error:
        b"".join(read_bytes(stored))
    assert error.value.param == "id"


def test_content_that_cannot_be_read_now_is_no_file_that_is_gone(cloud: Cloud) -> None:
    stored = upload(tenant())
    cloud.s3.refuse("GetObject", "SlowDown", 503, times=None)
    with pytest.raises(TransientError):
        b"".join(read_bytes(stored))


def test_what_expires_first_is_removed_first(cloud: Cloud) -> None:
    """By its name, which S3 sorts as a text: the numbers of all times have as many digits."""
    early, late = upload(tenant(), expires_after=3600), upload(tenant(), expires_after=7200)
    marks = cloud.s3.keys("prefix/acme/api/expiring/")
    assert [mark.rsplit("/", 1)[-1] for mark in marks] == [
        f"{early.created_at + 3600:012x}-{early.id}",
        f"{late.created_at + 7200:012x}-{late.id}",
    ]
    home = "prefix/acme/api/expiring/"
    for name in ("000000000001-../../elsewhere", "000000000001-", " rubbish", "rubbish"):
        cloud.s3.put(home + name, b"")
    cloud.s3.calls.clear()
    assert delete_expired(tenant(), early.created_at + 3600) == 1
    assert not [given for name, given in cloud.s3.calls if name == "DeleteObject" and ".." in given["Key"]]


def test_a_result_file_that_expires_goes_with_its_copy(cloud: Cloud) -> None:
    """The batch's own output stays: others may stand on it."""
    stored = upload(tenant())
    result_id = result_file_id(new_id("batch"), "output")
    place = results_uri(tenant(), result_id)
    for key in (place.key, "of/the/batch.jsonl"):
        cloud.s3.put(key, b"{}")
    more = {"id": result_id, "purpose": "batch_output", "expires_at": 5, "uri": str(place)}
    save_file(tenant(), stored.model_copy(update=more))
    assert delete_expired(tenant(), 5) == 1
    assert not list(filter(lambda key: result_id in key, cloud.s3.keys()))
    save_file(tenant(), stored.model_copy(update={**more, "uri": f"s3://{BUCKET}/of/the/batch.jsonl"}))
    assert delete_expired(tenant(), 4) == 0
    assert delete_expired(tenant(), 5) == 1
    assert "of/the/batch.jsonl" in cloud.s3.objects
    assert get_file(tenant(), stored.id)


def test_a_page_of_what_is_none_of_ours_is_the_end(cloud: Cloud) -> None:
    cloud.s3.put("prefix/acme/api/files/batch/ rubbish.json", b"{}")
    upload(tenant())
    assert list_files(tenant(), purpose=None, limit=1, after=None, ascending=False) == ([], False)
    assert MOST_LISTED == 1000


def test_a_page_has_no_more_files_than_may_be_listed_and_none_that_is_not_ours(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.api.files.MOST_LISTED", 2)
    ids = sorted((upload(tenant()).id for _ in range(3)), reverse=True)
    cloud.s3.put("prefix/acme/api/files/batch/rubbish.json", b"{}")
    found, more = list_files(tenant(), purpose="batch", limit=10_000, after=None, ascending=False)
    assert (len(found), more) == (2, True)
    seen = [stored.id for stored in found]
    while more:
        found, more = list_files(tenant(), purpose="batch", limit=10_000, after=seen[-1], ascending=False)
        assert len(found) <= 2
        seen += [stored.id for stored in found]
    assert seen == ids


def test_a_file_is_as_old_as_its_upload_and_may_be_kept_anew(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tenant()
    stored = upload(owner)
    file = FileUpload(owner)
    file.write(LINE)
    monkeypatch.setattr("tasks.api.files.time.time", lambda: 4_000_000_000.0)
    found = file.finish("late.jsonl", None)
    assert found.created_at == seconds_of(file.id) < 4_000_000_000
    save_file(owner, stored.model_copy(update={"expires_at": 5_000_000_000}))
    assert get_file(owner, stored.id).expires_at == 5_000_000_000
