"""The fake S3 answers as moto does, which the sandbox has."""

from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import moto
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from tests.fakes import BUCKET, REGION, Cloud

PART = 5 << 20


def outcomes(client: Any) -> list[Any]:
    """What becomes of many operations: their errors, or what matters in their replies."""
    seen: list[Any] = []

    def put(key: str, body: bytes = b"x", **condition: Any) -> Any:
        return client.put_object(Bucket=BUCKET, Key=key, Body=body, **condition)["ETag"]

    def got(key: str, **options: Any) -> Any:
        reply = client.get_object(Bucket=BUCKET, Key=key, **options)
        return reply["ContentLength"], reply["Body"].read()

    def head(key: str, **options: Any) -> Any:
        reply = client.head_object(Bucket=BUCKET, Key=key, **options)
        return reply["ETag"], reply["ContentLength"]

    def note(action: Callable[[], Any]) -> None:
        try:
            seen.append(action())
        except ClientError as error:
            seen.append((error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]))

    etag = put("a/1", b"0123456789")
    other = put("a/2", b"y")
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": other}, {"IfMatch": etag}, {"IfMatch": etag}):
        note(partial(put, "a/1", b"abcdefghij", **condition))
    note(lambda: put("a/new", IfMatch=etag))
    note(lambda: put("a/new", IfNoneMatch="*"))
    note(lambda: put("a/new", IfNoneMatch="*"))
    for options in (
        {},
        {"Range": "bytes=2-4"},
        {"Range": "bytes=7-"},
        {"Range": "bytes=5-99"},
        {"Range": "bytes=10-"},
        {"IfMatch": etag},
    ):
        note(partial(got, "a/1", **options))
    for key in ("a/1", "none"):
        note(partial(head, key))
        note(partial(got, key))
        note(partial(head, key, IfMatch=other))
    note(lambda: client.get_object(Bucket="no-such-bucket", Key="a")["ETag"])
    note(lambda: client.put_object(Bucket="no-such-bucket", Key="a")["ETag"])
    for key in ("b/x/1", "b/x/2", "b/y", "b0"):
        put(key)
    for where in ({"Prefix": "b/"}, {"Prefix": "b/", "Delimiter": "/"}, {"Prefix": "b"}, {"Prefix": "none/"}):
        pages = list(
            client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **where, PaginationConfig={"PageSize": 2})
        )
        seen.append([[entry["Key"] for entry in page.get("Contents", [])] for page in pages])
        seen.append([entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])])
    note(lambda: client.list_objects_v2(Bucket=BUCKET, Prefix="b/", MaxKeys=1)["Contents"][0]["Size"])
    note(
        lambda: client.delete_object(Bucket=BUCKET, Key="b0") and client.delete_object(Bucket=BUCKET, Key="b0") and None
    )
    note(lambda: client.head_object(Bucket=BUCKET, Key="b0"))
    seen += uploads(client, note)
    return seen


def uploads(client: Any, note: Callable[[Callable[[], Any]], None]) -> list[Any]:
    place = {"Bucket": BUCKET, "Key": "c/large"}
    upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
    parts = [
        {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate([b"a" * PART, b"b"], 1)
    ]
    listed = [each["Key"] for each in client.list_multipart_uploads(Bucket=BUCKET, Prefix="c/").get("Uploads", [])]
    note(lambda: client.head_object(**place))
    wrong = [parts[0], {**parts[1], "ETag": parts[0]["ETag"]}]
    note(lambda: client.complete_multipart_upload(**upload, MultipartUpload={"Parts": wrong})["ETag"])
    note(lambda: client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"])
    small = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
    parts = [
        {"PartNumber": number, "ETag": client.upload_part(**small, PartNumber=number, Body=b"a")["ETag"]}
        for number in (1, 2)
    ]
    note(lambda: client.complete_multipart_upload(**small, MultipartUpload={"Parts": parts})["ETag"])
    note(lambda: client.abort_multipart_upload(**small) and None)
    note(lambda: client.abort_multipart_upload(**small) and None)
    left = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [listed, left, client.get_object(**place, Range=f"bytes={PART - 1}-")["Body"].read()]


def test_s3_is_as_motos(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with moto.mock_aws():
        client = boto3.client("s3", region_name=REGION)
        client.create_bucket(Bucket=BUCKET)
        expected = outcomes(client)
    assert outcomes(cloud.s3.client) == expected


def test_parameters_are_checked_as_boto3_checks_them(cloud: Cloud) -> None:
    with pytest.raises(ParamValidationError, match="Kee"):
        cloud.s3.client.put_object(Bucket=BUCKET, Kee="a")
    with pytest.raises(ParamValidationError, match="roleArn"):
        cloud.bedrock.client.create_model_invocation_job(jobName="a")


def test_replies_are_dated_and_objects_too(cloud: Cloud) -> None:
    cloud.s3.put("a", b"x")
    cloud.clock.advance(90)
    head = cloud.s3.client.head_object(Bucket=BUCKET, Key="a")
    assert head["ResponseMetadata"]["HTTPHeaders"]["date"] == "Mon, 02 Nov 2026 09:31:30 GMT"
    assert (cloud.clock.now - head["LastModified"]).total_seconds() == 90
