"""What lies in an S3 folder."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks import aws
from tasks.storage.uris import S3Uri

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef


def list_folder(folder: S3Uri) -> Iterator["ObjectTypeDef"]:
    """Every object under a folder, at any depth, in the order of the keys. Raises PipelineError."""
    with aws.translated(f"listing {folder}"):
        pages = aws.s3().get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.key + "/")
        for page in pages:
            yield from page.get("Contents", [])
