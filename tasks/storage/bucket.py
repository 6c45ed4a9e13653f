"""Whether the bucket will do, told before any work."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks import aws
from tasks.errors import ConfigurationError, PipelineError
from tasks.storage.uris import S3Uri

#: S3's name of one region from before the others had theirs.
_OLD_NAMES = {"EU": "eu-west-1", "US": "us-east-1"}


def check_bucket(root: S3Uri, owner: str | None = None) -> None:
    """Raise ConfigurationError, before any work, for a bucket that is not there, elsewhere, or closed to the caller.

    `owner` is the account that the bucket must belong to, where it was named.
    """
    expected: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}
    try:
        reply = aws.s3().head_bucket(Bucket=root.bucket, **expected)
        _require_region(root.bucket, reply["ResponseMetadata"])
        return
    except ClientError as error:
        _require_region(root.bucket, error.response.get("ResponseMetadata", {}))
        if aws.code_of(error) not in ("400", "403") and not aws.is_denied(error):
            raise _explained(root, error, owner) from error
    except BotoCoreError as error:
        raise _explained(root, error, owner) from error
    # HeadBucket takes the permission to list the whole bucket, and is told no reason; a folder is all that we list.
    try:
        aws.s3().list_objects_v2(Bucket=root.bucket, Prefix=root.join("").key, MaxKeys=1, **expected)
    except (ClientError, BotoCoreError) as error:
        raise _explained(root, error, owner) from error


def _require_region(bucket: str, reply: Any) -> None:
    """Refuse a bucket that S3 says is in another region; not every store says where it is."""
    region = str(reply.get("HTTPHeaders", {}).get("x-amz-bucket-region") or "").strip()
    region = _OLD_NAMES.get(region, region)
    # That of the jobs: an S3 client makes do without one.
    ours = aws.bedrock().meta.region_name
    if region and region != ours:
        raise ConfigurationError(
            f"The bucket {bucket!r} is in {region}, and the jobs would run in {ours}, where Bedrock reads only buckets "
            f"of {ours}: set AWS_REGION={region}, or BEDROCK_BATCH_BUCKET to a bucket in {ours}."
        )


def _explained(root: S3Uri, error: ClientError | BotoCoreError, owner: str | None) -> PipelineError:
    if aws.code_of(error) in ("404", "NoSuchBucket"):
        return ConfigurationError(
            f"The bucket {root.bucket!r} does not exist: create it in the region of the jobs, "
            "or set BEDROCK_BATCH_BUCKET to another."
        )
    if aws.is_denied(error) and not aws.is_credential_problem(error):
        other = (
            f"it is not account {owner}'s (BEDROCK_BATCH_BUCKET_OWNER, s3BucketOwner)"
            if owner
            else ("it is another account's whose bucket policy does not let the caller in")
        )
        return ConfigurationError(
            f"AWS denied access to {root}/ ({aws.message_of(error).rstrip('.')}): the caller lacks s3:ListBucket for "
            f"this folder (see IAM in deployments/docs/operating.md), or {other}."
        )
    return aws.explain(error, f"looking at the bucket {root.bucket!r}")
