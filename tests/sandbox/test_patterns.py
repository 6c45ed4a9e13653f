"""Of a create call, the imitation refuses just what AWS's own patterns and ranges refuse."""

from typing import Any

import pytest

from deployments.sandbox.patterns import problem

GOOD: dict[str, Any] = {
    "jobName": "a-job.1+2",
    "roleArn": "arn:aws-us-gov:iam::123456789012:role/path/x",
    "modelId": "anthropic.claude-haiku-4-5-20251001-v1:0",
    "clientRequestToken": "a-1",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket-1/in/part-00000.jsonl", "s3BucketOwner": "1" * 12}},
    "outputDataConfig": {
        "s3OutputDataConfig": {
            "s3Uri": "s3://bucket-1/out/",
            "s3EncryptionKeyId": "arn:aws:kms:us-east-1:123456789012:alias/x",
        }
    },
    "timeoutDurationInHours": 24,
    "modelInvocationType": "Converse",
    "vpcConfig": {"subnetIds": ["subnet-1"] * 16, "securityGroupIds": ["sg-1"] * 5},
    "tags": [{"key": "team", "value": "a b/c"}] * 200,
}


def at(place: str, value: Any) -> dict[str, Any]:
    """The good call with another value at a dotted place."""
    outer, _, inner = place.partition(".")
    return {**GOOD, outer: at_inner(GOOD[outer], inner, value) if inner else value}


def at_inner(found: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    outer, _, inner = place.partition(".")
    return {**found, outer: at_inner(found[outer], inner, value) if inner else value}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("jobName", "a" * 63),
        ("modelId", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"),
        ("modelId", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0"),
        ("modelId", "appclaude"),
        ("clientRequestToken", None),
        ("timeoutDurationInHours", 168),
        ("inputDataConfig.s3InputDataConfig.s3Uri", "s3://bucket-1/a!_*'().b/c"),
        ("outputDataConfig.s3OutputDataConfig.s3EncryptionKeyId", "12345678-1234-1234-1234-123456789012"),
        ("tags", [{"key": "k" * 128, "value": ""}]),
    ],
)
def test_what_is_taken(place: str, value: Any) -> None:
    assert problem(GOOD) is None
    assert problem(at(place, value)) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("jobName", "under_score"),
        ("jobName", "a" * 64),
        ("jobName", None),
        ("roleArn", "arn:aws:iam::1:role/x"),
        ("modelId", "two words"),
        ("clientRequestToken", "a_b"),
        ("inputDataConfig", None),
        ("inputDataConfig.s3InputDataConfig.s3Uri", "s3://bucket-1/a//b"),
        ("inputDataConfig.s3InputDataConfig.s3Uri", "s3://bucket-1/dt=1/b"),
        ("inputDataConfig.s3InputDataConfig.s3Uri", "s3://Bucket/b"),
        ("inputDataConfig.s3InputDataConfig.s3Uri", "s3://bucket-1/" + "a" * 1024),
        ("inputDataConfig.s3InputDataConfig.s3BucketOwner", "12a"),
        ("inputDataConfig.s3InputDataConfig.s3BucketOwner", "1" * 11),
        ("inputDataConfig.s3InputDataConfig.s3BucketOwner", "1" * 13),
        ("outputDataConfig.s3OutputDataConfig.s3BucketOwner", "1" * 11),
        ("roleArn", "arn:aws:iam::123456789012:user/x"),
        ("roleArn", None),
        ("outputDataConfig", None),
        ("outputDataConfig.s3OutputDataConfig.s3EncryptionKeyId", "a key"),
        ("timeoutDurationInHours", 23),
        ("timeoutDurationInHours", 169),
        ("timeoutDurationInHours", "24"),
        ("modelInvocationType", "Invoke"),
        ("vpcConfig", "vpc"),
        ("vpcConfig.subnetIds", ["subnet-1"] * 17),
        ("vpcConfig.securityGroupIds", []),
        ("vpcConfig.securityGroupIds", ["sg_1"]),
        ("tags", [{"key": "k", "value": "v"}] * 201),
        ("tags", [{"key": "", "value": "v"}]),
        ("tags", [{"key": "k", "value": "v" * 257}]),
        ("tags", [{"key": "k!", "value": "v"}]),
        ("tags", [{"key": "AWS:x", "value": "v"}]),
    ],
)
def test_what_is_refused_with_its_name(place: str, value: Any) -> None:
    said = problem(at(place, value))
    assert said
    named = "tag" if place == "tags" else place if value is not None else place.partition(".")[0]
    assert named in said
