"""S3's bad days, around an application that answers everything: what is refused, hidden, cut off, or let through."""

from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from deployments.sandbox.faults import Faults, Journal
from deployments.sandbox.faulty_s3 import OWN_KEY, FaultyS3

SIGNED = "AWS4-HMAC-SHA256 Credential={key}/20261102/{region}/s3/aws4_request, SignedHeaders=host, Signature=0"


def store(environ: dict[str, Any], start_response: Any) -> Any:
    """Has `there`, and no other object."""
    missing = Request(environ).path.startswith("/bucket/") and not environ["PATH_INFO"].endswith("/there")
    return Response(b"0123456789", 404 if missing and environ["REQUEST_METHOD"] in ("GET", "HEAD") else 200)(
        environ, start_response
    )


class S3:
    def __init__(self, **faults: Any) -> None:
        self.faults, self.journal = Faults(), Journal()
        self.faults.set(faults)
        self.client = Client(FaultyS3(store, self.faults, self.journal))

    def __call__(
        self, method: str, path: str, key: str = "k", region: str = "us-east-1", **headers: str
    ) -> tuple[int, str]:
        reply = self.client.open(
            path, method=method, headers={"Authorization": SIGNED.format(key=key, region=region), **headers}
        )
        code = reply.text.partition("<Code>")[2].partition("</Code>")[0]
        return reply.status_code, code


def test_nothing_goes_wrong_unless_it_is_said() -> None:
    s3 = S3()
    assert [s3(method, "/bucket/there")[0] for method in ("GET", "HEAD", "PUT", "DELETE")] == [200] * 4
    assert s3("GET", "/bucket/none") == (404, "")
    assert s3.journal.calls == {"S3": 5}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"expired_token": True}, 400, "ExpiredToken"),
        ({"s3_refused": "RequestTimeTooSkewed"}, 403, "RequestTimeTooSkewed"),
        ({"s3_throttle": 1.0}, 503, "SlowDown"),
        ({"s3_error": 1.0}, 500, "InternalError"),
        ({"bucket_region": "eu-west-1"}, 301, "PermanentRedirect"),
    ],
)
def test_a_bad_day_is_everybodys_but_the_imitations(fault: dict[str, Any], status: int, code: str) -> None:
    s3 = S3(**fault)
    assert s3("GET", "/bucket/there") == (status, code)
    assert s3("HEAD", "/bucket/there") == (status, ""), "a HEAD request is given no reason"
    assert s3("GET", "/bucket/there", key=OWN_KEY) == (200, "")


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("HEAD", "/bucket", "HeadBucket"),
        ("GET", "/bucket?list-type=2", "ListBucket"),
        ("GET", "/bucket?uploads", "ListMultipartUploads"),
        ("GET", "/bucket/a/b", "GetObject"),
        ("PUT", "/bucket/a", "PutObject"),
        ("PUT", "/bucket/a?partNumber=1&uploadId=x", "UploadPart"),
        ("POST", "/bucket/a?uploads", "CreateMultipartUpload"),
        ("POST", "/bucket/a?uploadId=x", "CompleteMultipartUpload"),
        ("DELETE", "/bucket/a?uploadId=x", "AbortMultipartUpload"),
        ("DELETE", "/bucket/a", "DeleteObject"),
        ("POST", "/bucket?delete", "DeleteObject"),
    ],
)
def test_an_operation_is_denied_and_no_other(method: str, path: str, operation: str) -> None:
    denied = S3(s3_denied=[operation])
    assert denied(method, path)[0] == 403
    others = ["HeadBucket", "ListBucket", "ListMultipartUploads", "GetObject", "PutObject", "UploadPart"]
    assert S3(s3_denied=[each for each in others if each != operation])(method, path)[0] != 403


def test_who_may_list_one_folder_is_told_of_no_other() -> None:
    s3 = S3(s3_list_prefix="ours")
    assert s3("GET", "/bucket?prefix=ours/x")[0] == 200
    assert s3("GET", "/bucket?prefix=ours")[0] == 200
    for query in ("", "?prefix=", "?prefix=oursandmore"):
        assert s3("GET", f"/bucket{query}") == (403, "AccessDenied"), query
    assert s3("HEAD", "/bucket") == (403, "")
    assert s3("GET", "/bucket/there") == (200, "")
    assert s3("GET", "/bucket/none") == (403, "AccessDenied"), "what is not there is denied as well"


def test_writes_without_a_key_of_kms_are_denied() -> None:
    s3 = S3(s3_require_kms=True)
    assert s3("PUT", "/bucket/a")[0] == 403
    assert s3("POST", "/bucket/a?uploads")[0] == 403
    assert s3("PUT", "/bucket/a", **{"x-amz-server-side-encryption": "aws:kms"})[0] == 200
    assert s3("PUT", "/bucket/a?partNumber=1&uploadId=x")[0] == 200


def test_a_bucket_has_one_owner_and_one_region() -> None:
    s3 = S3(bucket_owner="1" * 12, bucket_region="eu-west-1")
    assert s3("GET", "/bucket/there", region="eu-west-1", **{"x-amz-expected-bucket-owner": "2" * 12})[0] == 403
    assert s3("GET", "/bucket/there", region="eu-west-1", **{"x-amz-expected-bucket-owner": "1" * 12})[0] == 200
    reply = s3.client.head("/bucket", headers={"Authorization": SIGNED.format(key="k", region="eu-west-1")})
    assert reply.headers["x-amz-bucket-region"] == "eu-west-1"


def test_connections_break_before_and_in_the_middle() -> None:
    with pytest.raises(ConnectionAbortedError):
        S3(s3_drop=1.0)("GET", "/bucket/there")
    reply = S3(s3_truncate=1.0).client.get("/bucket/there")
    assert reply.data == b"01234"
    assert reply.headers["Content-Length"] == "10"
