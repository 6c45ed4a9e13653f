"""S3 URIs: what they name, and which of them Bedrock takes."""

import pytest

from tasks.errors import ConfigurationError, InputFileError
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri, parse_location, within


def test_the_text_of_a_uri_and_what_lies_in_it() -> None:
    assert str(S3Uri("b", "k/x")) == "s3://b/k/x"
    assert S3Uri("b", "k/").join("x", "y") == S3Uri("b", "k/x/y")
    assert S3Uri("b", "").join("x") == S3Uri("b", "x")


@pytest.mark.parametrize(
    ("uri", "folder", "inside"),
    [
        ("k/x", "k", True),
        ("k/x", "k/", True),
        ("k", "k", True),
        ("k", "k/", True),
        ("kx", "k", False),
        ("x/k", "k", False),
        ("k", "k/x", False),
        ("x", "", True),
    ],
)
def test_within_a_folder(uri: str, folder: str, inside: bool) -> None:
    assert within(S3Uri("b", uri), [S3Uri("c", uri), S3Uri("b", folder)]) is inside
    assert not within(S3Uri("b", uri), [S3Uri("c", folder)])
    assert not within(S3Uri("b", uri), [])


@pytest.mark.parametrize(
    ("text", "known"),
    [("s3://b/k", True), ("s3%3A%2F%2Fb%2Fk", True), ("s3%3a%2f%2fb", True), ("S3://b/k", False), ("/s3://b", False)],
)
def test_is_s3(text: str, known: bool) -> None:
    assert is_s3(text) is known


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://b/a/b.jsonl", S3Uri("b", "a/b.jsonl")),
        ("s3://b", S3Uri("b", "")),
        ("s3%3A%2F%2Fb%2Fa%20b.jsonl", S3Uri("b", "a b.jsonl")),
        # A key is what it is: only a URI that is encoded as a whole is decoded.
        ("s3://b/a%20b.jsonl", S3Uri("b", "a%20b.jsonl")),
    ],
)
def test_what_is_read(text: str, uri: S3Uri) -> None:
    assert parse_input_uri(text) == uri


def test_a_uri_without_a_bucket() -> None:
    with pytest.raises(InputFileError, match="'s3:///k' names no bucket"):
        parse_input_uri("s3:///k")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://bucket", S3Uri("bucket", "")),
        ("s3://bucket//a/b/", S3Uri("bucket", "a/b")),
        ("s3://my.bucket-1/A_z!*'()-.9", S3Uri("my.bucket-1", "A_z!*'()-.9")),
    ],
)
def test_where_bedrock_reads_and_writes(text: str, uri: S3Uri) -> None:
    assert parse_location(text, "The prefix") == uri


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/folder", "The prefix must be an S3 URI .*, not '/folder'"),
        ("s3://Bucket/a", "The prefix: 'Bucket' is not a bucket name"),
        ("s3://ab", "'ab' is not a bucket name"),
        ("s3://my_bucket/a", "'my_bucket' is not a bucket name"),
        ("s3://-bucket/a", "'-bucket' is not a bucket name"),
        ("s3://bucket./a", "'bucket.' is not a bucket name"),
        (f"s3://{'b' * 64}/a", "is not a bucket name"),
        ("s3://bucket/a b/c", "The prefix: Bedrock refuses the folder name 'a b'"),
        ("s3://bucket/a/é", "folder name 'é'"),
        ("s3://bucket/a//b", "folder name ''"),
    ],
)
def test_where_it_does_not(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_location(text, "The prefix")
