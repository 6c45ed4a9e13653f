"""The patterns and ranges of Bedrock's control plane, copied from AWS's own API model.

Source: API reference of CreateModelInvocationJob (botocore `bedrock` 2023-04-20). Nothing here is shared with the
pipeline: what is wrong there must not be wrong here in the same way.
"""

import re
from collections.abc import Iterator
from itertools import chain

JOB_NAME = re.compile(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}")
ROLE_ARN = re.compile(r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+")
TOKEN = re.compile(r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}")
S3_URI = re.compile(r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?")
ACCOUNT_ID = re.compile(r"[0-9]{12}")
VPC_ID = re.compile(r"[-0-9a-zA-Z]{0,32}")
TAG = re.compile(r"[a-zA-Z0-9\s._:/=+@-]*")
KMS_KEY = re.compile(
    r"(arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{12}:((key/[a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+)))"
    r"|([a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+)"
)
MODEL_ID = re.compile(
    r"(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:(([0-9]{12}:custom-model/[a-z0-9-]{1,63}[.]{1}[a-z0-9-:]{1,63}"
    r"/[a-z0-9]{12}$)|(:foundation-model/([a-z0-9-]{1,63}[.]{1}[a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})"
    r"([:][a-z0-9-]{1,63}){0,2})|(([0-9a-zA-Z][_-]?)+)$)|([0-9]{12}:(inference-profile|application-inference-profile)"
    r"/[a-zA-Z0-9-:.]+$)))|([a-z0-9-]{1,63}[.]{1}[a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2})"
    r"|(([0-9a-zA-Z][_-]?)+)"
)


def problem(body: dict[str, object]) -> str | None:
    """What AWS would say to a CreateModelInvocationJob body that breaks a pattern; None where all is well."""
    tags, vpc = _of_tags(body.get("tags", [])), _of_vpc(body["vpcConfig"]) if "vpcConfig" in body else ()
    return next(chain(_of_fields(body), _of_places(body), vpc, _of_values(body), tags), None)


def _of_fields(body: dict[str, object]) -> Iterator[str]:
    checks = [
        ("jobName", JOB_NAME, 63, True),
        ("roleArn", ROLE_ARN, 2048, True),
        ("modelId", MODEL_ID, 2048, True),
        ("clientRequestToken", TOKEN, 256, False),
    ]
    for field, pattern, longest, required in checks:
        value = body.get(field)
        if value is None and not required:
            continue
        if not isinstance(value, str) or not pattern.fullmatch(value) or len(value) > longest:
            yield _constraint(field, pattern)


def _of_places(body: dict[str, object]) -> Iterator[str]:
    for outer, inner in (("inputDataConfig", "s3InputDataConfig"), ("outputDataConfig", "s3OutputDataConfig")):
        config = body.get(outer)
        found = config.get(inner) if isinstance(config, dict) else None
        location = found if isinstance(found, dict) else {}
        uri = location.get("s3Uri")
        if not isinstance(uri, str) or not S3_URI.fullmatch(uri) or len(uri) > 1024:
            yield _constraint(f"{outer}.{inner}.s3Uri", S3_URI)
        key = location.get("s3EncryptionKeyId")
        if key is not None and not KMS_KEY.fullmatch(str(key)):
            yield _constraint(f"{outer}.{inner}.s3EncryptionKeyId", KMS_KEY)
        owner = location.get("s3BucketOwner")
        if owner is not None and not ACCOUNT_ID.fullmatch(str(owner)):
            yield _constraint(f"{outer}.{inner}.s3BucketOwner", ACCOUNT_ID)


def _of_vpc(config: object) -> Iterator[str]:
    found = config if isinstance(config, dict) else {}
    for field, most in (("subnetIds", 16), ("securityGroupIds", 5)):
        ids = found.get(field)
        if not isinstance(ids, list) or not 1 <= len(ids) <= most:
            yield f"Value at 'vpcConfig.{field}' failed to satisfy constraint: Member must have length 1 to {most}"
        elif not all(isinstance(each, str) and VPC_ID.fullmatch(each) for each in ids):
            yield _constraint(f"vpcConfig.{field}", VPC_ID)


def _of_values(body: dict[str, object]) -> Iterator[str]:
    hours = body.get("timeoutDurationInHours", 24)
    if not isinstance(hours, int) or not 24 <= hours <= 168:
        yield "Value at 'timeoutDurationInHours' failed to satisfy constraint: Member must be between 24 and 168"
    if body.get("modelInvocationType", "InvokeModel") not in ("InvokeModel", "Converse"):
        yield "Value at 'modelInvocationType' failed to satisfy constraint: [InvokeModel, Converse]"


def _of_tags(tags: object) -> Iterator[str]:
    if not isinstance(tags, list) or len(tags) > 200:
        yield "Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 200"
        return
    for tag in tags:
        if not (1 <= len(tag["key"]) <= 128 and len(tag["value"]) <= 256):
            yield "Value at 'tags' failed to satisfy constraint: length"
        if not (TAG.fullmatch(tag["key"]) and TAG.fullmatch(tag["value"])):
            yield _constraint("tags", TAG)
        if tag["key"].lower().startswith("aws:"):
            yield "aws: prefixed tag key names are not allowed for external use."


def _constraint(field: str, pattern: re.Pattern[str]) -> str:
    return (
        f"1 validation error detected: Value at '{field}' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {pattern.pattern}"
    )
