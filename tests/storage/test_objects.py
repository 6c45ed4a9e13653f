"""Single objects, to a caller who may list one folder only, and to one who may not delete."""

import logging

import pytest

from tasks import aws
from tasks.errors import AccessDeniedError, ConfigurationError, MissingObjectError
from tasks.storage.objects import delete_object, head_object, read_object
from tasks.storage.uris import S3Uri
from tests.conftest import Sandbox


@pytest.mark.parametrize("read", [read_object, head_object])
def test_what_is_not_there(sandbox: Sandbox, prefix: str, read: object) -> None:
    """S3 says 403 and no more; a listing of the folder tells that there is nothing."""
    place = S3Uri(sandbox.bucket, f"{prefix}/a")
    sandbox.s3.put_object(Bucket=place.bucket, Key=f"{prefix}/ab", Body=b"x")
    sandbox.faults(s3_list_prefix=prefix)
    for uri, kind in ((place, MissingObjectError), (S3Uri(sandbox.bucket, "elsewhere/a"), AccessDeniedError)):
        with pytest.raises(kind):
            read(uri)  # type: ignore[operator]
    sandbox.faults(s3_denied=["GetObject", "HeadObject"])
    with pytest.raises(AccessDeniedError):
        read(S3Uri(sandbox.bucket, f"{prefix}/ab"))  # type: ignore[operator]


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "ExpiredToken"])
def test_the_reason_that_a_head_request_is_not_given(sandbox: Sandbox, prefix: str, code: str) -> None:
    sandbox.faults(s3_refused=code)
    with pytest.raises(ConfigurationError) as caught:
        head_object(S3Uri(sandbox.bucket, f"{prefix}/a"))
    assert aws.code_of(caught.value) == code


def test_deleting_is_best_effort(
    sandbox: Sandbox, prefix: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is said once in a run, and all tests are outside of any.
    monkeypatch.setattr("tasks.storage.objects._said", set())
    uri = S3Uri(sandbox.bucket, f"{prefix}/a")
    sandbox.s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=b"x")
    sandbox.faults(s3_denied=["DeleteObject"])
    with caplog.at_level(logging.WARNING):
        assert [delete_object(uri) for _ in range(3)] == [False] * 3
    (said,) = [record.getMessage() for record in caplog.records if "could not be deleted" in record.getMessage()]
    assert "s3:DeleteObject" in said
    sandbox.faults(s3_denied=[])
    assert delete_object(uri)
    assert not sandbox.keys(prefix)
