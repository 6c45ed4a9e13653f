"""Objects copied by way of this machine, to whatever key and bucket."""

import pytest

from tasks.errors import PipelineError
from tasks.storage.copying import copy_object
from tasks.storage.uris import S3Uri
from tests.fakes import ACCOUNT, BUCKET, Cloud

SOURCE, TARGET = S3Uri(BUCKET, "a"), S3Uri(BUCKET, "b")


@pytest.mark.parametrize("size", [0, 1, 20 << 20])
def test_a_copy_is_whole_and_under_its_own_key(cloud: Cloud, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    cloud.s3.put("a", body[:size])
    copy_object(SOURCE, TARGET, "key", ACCOUNT)
    assert cloud.s3.objects["b"].body == body[:size]
    assert cloud.s3.objects["b"].options["SSEKMSKeyId"] == "key"
    writes = [given for name, given in cloud.s3.calls if name.startswith(("Put", "Create", "Upload", "Complete"))]
    assert {given["ExpectedBucketOwner"] for given in writes} == {ACCOUNT}


def test_trouble_leaves_nothing(cloud: Cloud) -> None:
    with pytest.raises(PipelineError, match=r"s3://bucket/a"):
        copy_object(SOURCE, TARGET, None)
    cloud.s3.put("a", b"x" * (20 << 20))
    cloud.s3.refuse("UploadPart", "AccessDenied", 403, times=None)
    with pytest.raises(PipelineError):
        copy_object(SOURCE, TARGET, None)
    assert (cloud.s3.keys(), cloud.s3.uploads) == (["a"], {})
    cloud.s3.put("a", b"x")
    with pytest.raises(PipelineError):
        copy_object(SOURCE, TARGET, None, owner="999999999999")
