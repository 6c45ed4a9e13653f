"""Whether the bucket will do, told before any work."""

from collections.abc import Mapping
from typing import Any

from tasks import aws
from tasks.errors import AccessDeniedError, ConfigurationError, PipelineError
from tasks.storage.uris import S3Uri

#: S3's name of one region from before the others had theirs.
_OLD_NAMES = {"EU": "eu-west-1", "US": "us-east-1"}


def check_bucket(root: S3Uri, owner: str | None = None) -> None:
    """Raise ConfigurationError, before any work, for a bucket that is not there, elsewhere, or closed to the caller.

    `owner` is the account that the bucket must belong to, where it was named.
    """
    expected: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}
    doing, client = f"looking at the bucket {root.bucket!r}", aws.s3()
    try:
        with aws.translated(doing):
            headers: Mapping[str, str] = client.head_bucket(Bucket=root.bucket, **expected)["ResponseMetadata"].get(
                "HTTPHeaders", {}
            )
    except PipelineError as error:
        _require_region(root.bucket, aws.headers_of(error))
        if aws.code_of(error) != "400" and not isinstance(error, AccessDeniedError):
            _explain(root, error, owner)
            raise
    else:
        _require_region(root.bucket, headers)
        return
    # HeadBucket takes the permission to list the whole bucket, and is told no reason; a folder is all that we list.
    try:
        with aws.translated(doing):
            client.list_objects_v2(Bucket=root.bucket, Prefix=root.join("").key, MaxKeys=1, **expected)
    except PipelineError as error:
        _explain(root, error, owner)
        raise


def _require_region(bucket: str, headers: Mapping[str, str]) -> None:
    """Refuse a bucket that S3 says is in another region; not every store says where it is."""
    region = str(headers.get("x-amz-bucket-region") or "").strip()
    region = _OLD_NAMES.get(region, region)
    # That of the jobs: an S3 client makes do without one.
    ours = aws.bedrock().meta.region_name
    if region and region != ours:
        raise ConfigurationError(
            f"The bucket {bucket!r} is in {region}, and the jobs would run in {ours}, where Bedrock reads only buckets "
            f"of {ours}: set AWS_REGION={region}, or BEDROCK_BATCH_BUCKET to a bucket in {ours}."
        )


def _explain(root: S3Uri, error: PipelineError, owner: str | None) -> None:
    """Raise ConfigurationError where more is known of an error than that AWS refused a call."""
    if aws.code_of(error) in ("404", "NoSuchBucket"):
        raise ConfigurationError(
            f"The bucket {root.bucket!r} does not exist: create it in the region of the jobs, "
            "or set BEDROCK_BATCH_BUCKET to another."
        ) from error
    if isinstance(error, AccessDeniedError):
        other = (
            f"it is not account {owner}'s (BEDROCK_BATCH_BUCKET_OWNER, s3BucketOwner)"
            if owner
            else ("it is another account's whose bucket policy does not let the caller in")
        )
        raise ConfigurationError(
            f"AWS denied access to {root}/ ({aws.message_of(error).rstrip('.')}): the caller lacks s3:ListBucket for "
            f"this folder (see IAM in deployments/docs/operating.md), or {other}."
        ) from error
