"""The policies in deployments/iam ask for what the code calls, within the batches' folder, and for nothing else."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[1]
POLICIES = ROOT / "deployments" / "iam"
#: What a person replaces.
PLACEHOLDERS = {
    "ACCOUNT_ID",
    "REGION",
    "BUCKET",
    "PREFIX",
    "KMS_KEY_ARN",
    "INPUT_BUCKET",
    "INPUT_PREFIX",
    "OUTPUT_BUCKET",
    "OUTPUT_PREFIX",
}
#: Actions that are not named as their operations are (Service Authorization Reference), and what calls take besides.
ACTIONS = {
    "s3:HeadObject": {"s3:GetObject"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "s3:ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "s3:CreateMultipartUpload": {"s3:PutObject"},
    "s3:UploadPart": {"s3:PutObject"},
    "s3:CompleteMultipartUpload": {"s3:PutObject"},
    "bedrock:Converse": {"bedrock:InvokeModel"},
    "bedrock:CreateModelInvocationJob": {"bedrock:CreateModelInvocationJob", "bedrock:TagResource", "iam:PassRole"},
}
#: boto3's own methods on top of the operations.
TRANSFERS = {
    "download_file": "s3:GetObject",
    "download_fileobj": "s3:GetObject",
    "upload_file": "s3:PutObject",
    "upload_fileobj": "s3:PutObject",
}
#: An object encrypted with a KMS key takes these to read and to write, the parts of an upload take both.
WITH_A_KEY = {"s3:GetObject": {"kms:Decrypt"}, "s3:PutObject": {"kms:GenerateDataKey", "kms:Decrypt"}}


#: What only looks: with a policy of its own.
DOCTOR = "tasks/doctor.py"
SERVICES = {"s3": "s3", "bedrock": "bedrock", "bedrock-runtime": "bedrock"}
DOCTORS = {**SERVICES, "sts": "sts", "iam": "iam", "kms": "kms", "service-quotas": "servicequotas"}


@cache
def operations(doctor: bool = False) -> dict[str, str]:
    """The methods of the clients that the pipeline has, and their operations."""
    found = dict(TRANSFERS)
    services: dict[Any, str] = DOCTORS if doctor else SERVICES
    for service, prefix in services.items():
        client = boto3.client(service, region_name="us-east-1")
        found |= {method: f"{prefix}:{name}" for method, name in client.meta.method_to_api_mapping.items()}
    return found


def calls(doctor: bool = False) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of an operation in the pipeline, or in the doctor: the file, the operation, the call."""
    known = operations(doctor)
    for path in sorted([*ROOT.glob("tasks/**/*.py"), *ROOT.glob("flows/**/*.py")]):
        if (path == ROOT / DOCTOR) != doctor:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, call = node.func.attr, node
            if name == "paginate" and (paginator := _paginated(node.func.value)):
                name = paginator
            if name in known:
                yield str(path.relative_to(ROOT)), known[name], call
            elif name == "get_paginator" and isinstance(node.args[0], ast.Constant):
                yield str(path.relative_to(ROOT)), known[str(node.args[0].value)], ast.Call(node.func, [], [])


def _paginated(receiver: ast.expr) -> str | None:
    """The operation in `client.get_paginator("operation").paginate(…)`."""
    match receiver:
        case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=name)]):
            return str(name)
    return None


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((POLICIES / name).read_text(encoding="utf-8"))
    assert policy["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = policy["Statement"]
    assert all(statement["Effect"] == "Allow" for statement in found)
    return found


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def actions(name: str) -> set[str]:
    return {action for statement in statements(name) for action in listed(statement["Action"])}


def test_the_caller_may_do_what_the_code_does_and_nothing_else() -> None:
    needed: set[str] = set()
    for _, operation, _ in calls():
        needed |= ACTIONS.get(operation, {operation})
    assert {"s3:GetObject", "bedrock:StopModelInvocationJob", "bedrock:InvokeModel"} <= needed
    needed |= {more for action in needed for more in WITH_A_KEY.get(action, ())}
    assert actions("caller-policy.json") == needed


def test_what_the_doctor_looks_at() -> None:
    needed = {operation for _, operation, _ in calls(doctor=True)}
    # It takes no permission.
    assert "sts:GetCallerIdentity" in needed
    assert actions("caller-check.json") == needed - {"sts:GetCallerIdentity"}
    # It changes nothing.
    assert all(re.match(r"(Get|List|Describe|Simulate)", operation.partition(":")[2]) for operation in needed)


def test_every_listing_names_a_prefix() -> None:
    """A caller who may list one folder only is denied a listing without."""
    seen = 0
    for file, operation, call in calls():
        if operation in ("s3:ListObjectsV2", "s3:ListMultipartUploads", "s3:ListObjects") and call.keywords:
            assert any(keyword.arg == "Prefix" for keyword in call.keywords), f"{file}:{call.lineno}"
            seen += 1
    assert seen >= 5


def test_every_write_carries_the_key() -> None:
    """A bucket policy may demand `aws:kms` of every object, the smallest as well."""
    seen = 0
    for file, operation, call in calls():
        if operation in ("s3:PutObject", "s3:CreateMultipartUpload", "s3:CopyObject"):
            spread = {ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None}
            source = (ROOT / file).read_text(encoding="utf-8")
            found = any("encryption(" in text for text in spread) or any(
                re.search(rf"{re.escape(text)}\b.*= .*encryption\(", source) for text in spread
            )
            assert found, f"{file}:{call.lineno} writes without encryption(kms_key)"
            seen += 1
    assert seen >= 5


def test_the_caller_keeps_to_the_folder() -> None:
    for statement in statements("caller-policy.json"):
        for action in listed(statement["Action"]):
            resources, condition = listed(statement["Resource"]), statement.get("Condition", {})
            if action == "s3:ListBucket":
                assert resources == ["arn:aws:s3:::BUCKET"]
                assert condition == {"StringLike": {"s3:prefix": ["PREFIX", "PREFIX/*"]}}
            elif action == "s3:ListBucketMultipartUploads":
                # It knows no condition on the prefix.
                assert resources == ["arn:aws:s3:::BUCKET"]
            elif action.startswith("s3:"):
                assert resources == ["arn:aws:s3:::BUCKET/PREFIX/*"]
            elif action.startswith("kms:"):
                assert resources == ["KMS_KEY_ARN"]
                assert condition == {"StringEquals": {"kms:ViaService": "s3.REGION.amazonaws.com"}}
            elif action == "iam:PassRole":
                assert resources == ["arn:aws:iam::ACCOUNT_ID:role/BedrockBatchRole"]
                assert condition == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
            elif action == "bedrock:ListModelInvocationJobs":
                # It knows no resource.
                assert resources == ["*"]
            else:
                assert all(re.match(r"arn:aws:bedrock:(REGION|\*):(ACCOUNT_ID)?:[a-z-]+/\*$", r) for r in resources)


def test_the_service_role() -> None:
    assert actions("service-role-policy.json") == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "bedrock:InvokeModel",
        "kms:Decrypt",
        "kms:GenerateDataKey",
    }
    for statement in statements("service-role-policy.json"):
        for action in listed(statement["Action"]):
            if action.startswith("s3:"):
                assert statement["Condition"]["StringEquals"] == {"aws:ResourceAccount": "ACCOUNT_ID"}
                bucket_only = action == "s3:ListBucket"
                assert statement["Resource"] == "arn:aws:s3:::BUCKET" + ("" if bucket_only else "/PREFIX/batches/*")


def test_only_this_accounts_jobs_take_the_service_role() -> None:
    (trust,) = statements("service-role-trust.json")
    assert (trust["Principal"], trust["Action"]) == ({"Service": "bedrock.amazonaws.com"}, "sts:AssumeRole")
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "ACCOUNT_ID"},
        "ArnEquals": {"aws:SourceArn": "arn:aws:bedrock:REGION:ACCOUNT_ID:model-invocation-job/*"},
    }


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.json")), ids=lambda path: path.name)
def test_placeholders_are_spelled_alike(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\b[A-Z][A-Z_]{3,}\b", text)) <= PLACEHOLDERS
    assert "*" not in {action for statement in statements(path.name) for action in listed(statement["Action"])}


PROFILES = [
    "arn:aws:bedrock:*:ACCOUNT_ID:inference-profile/*",
    "arn:aws:bedrock:*:ACCOUNT_ID:application-inference-profile/*",
]
INVOKED = ["arn:aws:bedrock:*::foundation-model/*", *PROFILES]
JOBS = [
    "arn:aws:bedrock:REGION:ACCOUNT_ID:model-invocation-job/*",
    *INVOKED,
    "arn:aws:bedrock:*:ACCOUNT_ID:custom-model/*",
]
THIS_ACCOUNT: dict[str, Any] = {"StringEquals": {"aws:ResourceAccount": "ACCOUNT_ID"}}
BY_S3 = {"StringEquals": {"kms:ViaService": "s3.REGION.amazonaws.com"}}
#: What each action is allowed on, and when: neither wider nor narrower.
ALLOWED: dict[str, dict[str, tuple[list[str], dict[str, Any]]]] = {
    "caller-policy.json": {
        "bedrock:CreateModelInvocationJob": (JOBS, {}),
        "bedrock:GetModelInvocationJob": (JOBS, {}),
        "bedrock:StopModelInvocationJob": (JOBS, {}),
        "bedrock:TagResource": (JOBS, {}),
        "bedrock:ListModelInvocationJobs": (["*"], {}),
        "bedrock:GetInferenceProfile": (PROFILES, {}),
        "bedrock:InvokeModel": (INVOKED, {}),
        "iam:PassRole": (
            ["arn:aws:iam::ACCOUNT_ID:role/BedrockBatchRole"],
            {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
        ),
        "s3:ListBucket": (["arn:aws:s3:::BUCKET"], {"StringLike": {"s3:prefix": ["PREFIX", "PREFIX/*"]}}),
        "s3:ListBucketMultipartUploads": (["arn:aws:s3:::BUCKET"], {}),
        "s3:GetObject": (["arn:aws:s3:::BUCKET/PREFIX/*"], {}),
        "s3:PutObject": (["arn:aws:s3:::BUCKET/PREFIX/*"], {}),
        "s3:DeleteObject": (["arn:aws:s3:::BUCKET/PREFIX/*"], {}),
        "s3:AbortMultipartUpload": (["arn:aws:s3:::BUCKET/PREFIX/*"], {}),
        "kms:Decrypt": (["KMS_KEY_ARN"], BY_S3),
        "kms:GenerateDataKey": (["KMS_KEY_ARN"], BY_S3),
    },
    "caller-check.json": {
        "bedrock:GetFoundationModelAvailability": (["*"], {}),
        "bedrock:ListFoundationModels": (["*"], {}),
        "servicequotas:ListServiceQuotas": (["*"], {}),
        "bedrock:GetInferenceProfile": (PROFILES[:1], {}),
        "iam:GetRole": (["arn:aws:iam::ACCOUNT_ID:role/BedrockBatchRole"], {}),
        "iam:SimulatePrincipalPolicy": (["arn:aws:iam::ACCOUNT_ID:role/BedrockBatchRole"], {}),
        "kms:DescribeKey": (["KMS_KEY_ARN"], {}),
    },
    "caller-input-elsewhere.json": {
        "s3:ListBucket": (
            ["arn:aws:s3:::INPUT_BUCKET"],
            {"StringLike": {"s3:prefix": ["INPUT_PREFIX", "INPUT_PREFIX/*"]}},
        ),
        "s3:GetObject": (["arn:aws:s3:::INPUT_BUCKET/INPUT_PREFIX/*"], {}),
    },
    "caller-output-elsewhere.json": {
        "s3:PutObject": (["arn:aws:s3:::OUTPUT_BUCKET/OUTPUT_PREFIX/*"], {}),
        "s3:AbortMultipartUpload": (["arn:aws:s3:::OUTPUT_BUCKET/OUTPUT_PREFIX/*"], {}),
        "s3:ListBucketMultipartUploads": (["arn:aws:s3:::OUTPUT_BUCKET"], {}),
    },
    "service-role-policy.json": {
        "s3:ListBucket": (
            ["arn:aws:s3:::BUCKET"],
            {**THIS_ACCOUNT, "StringLikeIfExists": {"s3:prefix": "PREFIX/batches/*"}},
        ),
        "s3:GetObject": (["arn:aws:s3:::BUCKET/PREFIX/batches/*"], THIS_ACCOUNT),
        "s3:PutObject": (["arn:aws:s3:::BUCKET/PREFIX/batches/*"], THIS_ACCOUNT),
        "bedrock:InvokeModel": (INVOKED, {}),
        "kms:Decrypt": (["KMS_KEY_ARN"], BY_S3),
        "kms:GenerateDataKey": (["KMS_KEY_ARN"], BY_S3),
    },
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_each_action_is_allowed_on(name: str) -> None:
    found = [
        (action, (listed(statement["Resource"]), statement.get("Condition", {})))
        for statement in statements(name)
        for action in listed(statement["Action"])
    ]
    assert len(found) == len(dict(found)), "each action stands once"
    assert dict(found) == ALLOWED[name]


def test_every_policy_is_held_to_what_it_allows() -> None:
    assert {path.name for path in POLICIES.iterdir()} == {*ALLOWED, "service-role-trust.json"}
    # IAM takes letters and digits for a Sid, and each once.
    for name in ALLOWED:
        ids = [statement["Sid"] for statement in statements(name)]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[A-Za-z0-9]+", each) for each in ids)
    (trust,) = statements("service-role-trust.json")
    assert set(trust) == {"Effect", "Principal", "Action", "Condition"}
