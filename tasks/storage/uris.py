"""S3 URIs and keys, within the characters that Bedrock's own `s3Uri` pattern allows."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from tasks.errors import ConfigurationError, InputFileError

#: One path segment of Bedrock's s3Uri pattern (botocore `bedrock`, shape `S3Uri`).
_SEGMENT = re.compile(r"[-!_*'().a-z0-9A-Z]+")
_BUCKET = re.compile(r"[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]")


class S3Uri(NamedTuple):
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def join(self, *parts: str) -> "S3Uri":
        return S3Uri(self.bucket, "/".join([*filter(None, [self.key.rstrip("/")]), *parts]))


def within(uri: S3Uri, folders: Iterable[S3Uri]) -> bool:
    """Whether an object, or a folder, lies in one of some folders, or is one of them."""
    return any(
        uri.bucket == folder.bucket and (not folder.key or f"{uri.key}/".startswith(folder.key.rstrip("/") + "/"))
        for folder in folders
    )


def is_s3(text: str) -> bool:
    """True for s3:// URIs and for the URL-encoded ones that Portkey hands out as file ids."""
    return text.startswith("s3://") or text.lower().startswith("s3%3a%2f%2f")


def parse_input_uri(text: str) -> S3Uri:
    """Any S3 object or prefix to read from; a URL-encoded URI is decoded. Raises InputFileError."""
    if not text.startswith("s3://"):
        text = unquote(text)
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise InputFileError(f"{text!r} names no bucket; write s3://BUCKET/KEY.")
    return S3Uri(bucket, key)


def parse_location(text: str, what: str) -> S3Uri:
    """An S3 folder that Bedrock is to read or write. Raises ConfigurationError naming the offending part."""
    if not text.startswith("s3://"):
        raise ConfigurationError(f"{what} must be an S3 URI such as s3://my-bucket/folder, not {text!r}.")
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(f"{what}: {bucket!r} is not a bucket name that Bedrock accepts.")
    key = key.strip("/")
    for segment in key.split("/") if key else []:
        if not _SEGMENT.fullmatch(segment):
            raise ConfigurationError(
                f"{what}: Bedrock refuses the folder name {segment!r}; it allows letters, digits and -!_*'(). only."
            )
    return S3Uri(bucket, key)
