"""Whether the bucket will do, told before any work and in words that help."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tasks.errors import ConfigurationError, TransientError
from tasks.storage.bucket import check_bucket
from tasks.storage.uris import S3Uri
from tests.fakes import ACCOUNT, BUCKET, REGION, Cloud, raising, refusal

ROOT = S3Uri(BUCKET, "prefix")


def test_a_bucket_that_will_do(cloud: Cloud) -> None:
    check_bucket(ROOT)
    check_bucket(ROOT, ACCOUNT)
    assert cloud.s3.calls == [
        ("HeadBucket", {"Bucket": BUCKET}),
        ("HeadBucket", {"Bucket": BUCKET, "ExpectedBucketOwner": ACCOUNT}),
    ]


def test_whoever_may_list_the_folder_only_may_go_on(cloud: Cloud) -> None:
    """HeadBucket takes the permission to list all of the bucket."""
    cloud.s3.refuse("HeadBucket", "403", 403)
    check_bucket(ROOT, ACCOUNT)
    assert cloud.s3.calls[1] == (
        "ListObjectsV2",
        {"Bucket": BUCKET, "Prefix": "prefix/", "MaxKeys": 1, "ExpectedBucketOwner": ACCOUNT},
    )


def test_another_accounts_bucket(cloud: Cloud) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_bucket(ROOT, "999999999999")
    assert str(caught.value) == (
        f"AWS denied access to s3://{BUCKET}/prefix/ (AccessDenied): the caller lacks s3:ListBucket for this folder "
        "(see IAM in deployments/docs/operating.md), or it is not account 999999999999's (BEDROCK_BATCH_BUCKET_OWNER, "
        "s3BucketOwner)."
    )


def test_a_caller_who_may_not_look(cloud: Cloud) -> None:
    cloud.s3.refuse("HeadBucket", "403", 403)
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403, "not yours.")
    with pytest.raises(ConfigurationError, match=r"\(not yours\).*another account's whose bucket policy"):
        check_bucket(ROOT)


@pytest.mark.parametrize("code", ["404", "NoSuchBucket"])
def test_a_bucket_that_is_not_there(cloud: Cloud, code: str) -> None:
    cloud.s3.refuse("HeadBucket", code, 404)
    with pytest.raises(ConfigurationError, match=r"^The bucket 'bucket' does not exist: create it"):
        check_bucket(ROOT)
    assert cloud.s3.count("ListObjectsV2") == 0


def elsewhere(region: str) -> Any:
    error = refusal("301", 301)
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": region}
    return raising(error)


@pytest.mark.parametrize(("said", "region"), [("eu-central-1", "eu-central-1"), ("EU", "eu-west-1")])
def test_a_bucket_in_another_region(cloud: Cloud, said: str, region: str) -> None:
    cloud.s3.before("HeadBucket", elsewhere(said))
    with pytest.raises(ConfigurationError) as caught:
        check_bucket(ROOT)
    assert str(caught.value) == (
        f"The bucket 'bucket' is in {region}, and the jobs would run in {REGION}, where Bedrock reads only buckets of "
        f"{REGION}: set AWS_REGION={region}, or BEDROCK_BATCH_BUCKET to a bucket in {REGION}."
    )


@pytest.mark.parametrize("said", [REGION, "", "US"])
def test_a_bucket_where_the_jobs_are_or_that_does_not_say(cloud: Cloud, said: str) -> None:
    error = refusal("403", 403)
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": said}
    cloud.s3.before("HeadBucket", raising(error))
    check_bucket(ROOT)


def test_a_network_that_is_down_passes(cloud: Cloud) -> None:
    cloud.s3.before("HeadBucket", raising(EndpointConnectionError(endpoint_url="https://x")))
    with pytest.raises(TransientError, match="looking at the bucket 'bucket'"):
        check_bucket(ROOT)
    cloud.s3.refuse("HeadBucket", "SlowDown", 503)
    with pytest.raises(TransientError, match="looking at the bucket 'bucket'"):
        check_bucket(ROOT)


def test_the_second_look_may_fail_as_well(cloud: Cloud) -> None:
    cloud.s3.refuse("HeadBucket", "403", 403)
    cloud.s3.before("ListObjectsV2", raising(EndpointConnectionError(endpoint_url="https://x")))
    with pytest.raises(TransientError, match="looking at the bucket"):
        check_bucket(ROOT)


def test_a_bucket_that_says_where_it_is_when_all_is_well(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to whoever may look at it: its jobs could not read it."""
    reply = {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": " eu-west-1 "}}}
    monkeypatch.setattr(cloud.s3.client, "head_bucket", lambda **_: reply)
    with pytest.raises(ConfigurationError, match="is in eu-west-1, and the jobs would run in"):
        check_bucket(ROOT)
    # The region of the jobs is Bedrock's: an S3 client makes do without one.
    there = SimpleNamespace(meta=SimpleNamespace(region_name="eu-west-1"))
    monkeypatch.setattr("tasks.aws.bedrock", lambda: there)
    check_bucket(ROOT)


def test_the_reason_that_a_head_request_is_not_given(cloud: Cloud) -> None:
    cloud.s3.refuse("HeadBucket", "400", 400)
    cloud.s3.refuse("ListObjectsV2", "RequestTimeTooSkewed", 403)
    with pytest.raises(ConfigurationError, match="clock is wrong"):
        check_bucket(ROOT)
    cloud.s3.refuse("HeadBucket", "400", 400)
    check_bucket(ROOT)
