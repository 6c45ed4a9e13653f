"""What lies in a folder of S3."""

import pytest

from tasks.errors import PipelineError
from tasks.storage.listing import list_folder
from tasks.storage.uris import S3Uri
from tests.fakes import BUCKET, Cloud


def test_all_objects_at_any_depth_and_none_of_a_folder_beside(cloud: Cloud) -> None:
    for key in ("a/z", "a/b/c", "a", "ab/x", "b/a/y"):
        cloud.s3.put(key, key.encode())
    assert [(entry["Key"], entry["Size"]) for entry in list_folder(S3Uri(BUCKET, "a"))] == [("a/b/c", 5), ("a/z", 3)]
    assert list(list_folder(S3Uri(BUCKET, "none"))) == []


def test_more_than_one_page(cloud: Cloud) -> None:
    for number in range(1001):
        cloud.s3.put(f"a/{number:04d}", b"")
    assert [entry["Key"] for entry in list_folder(S3Uri(BUCKET, "a"))] == [f"a/{number:04d}" for number in range(1001)]


def test_a_failure_names_the_folder(cloud: Cloud) -> None:
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403)
    with pytest.raises(PipelineError, match=f"s3://{BUCKET}/a"):
        list(list_folder(S3Uri(BUCKET, "a")))
