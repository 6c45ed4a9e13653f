"""What the doctor tells of AWS: each thing well, wrong, and hidden from the caller."""

from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.doctor import Diagnosis, diagnose
from tasks.settings import Settings
from tasks.storage.uris import S3Uri
from tests.fakes import ACCOUNT, BUCKET, REGION, Cloud

ROLE = f"arn:aws:iam::{ACCOUNT}:role/BedrockBatchRole"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


def look(model: str = f"us.{HAIKU}", role: str | None = ROLE, key: str | None = KEY) -> Diagnosis:
    return diagnose(Settings(S3Uri(BUCKET, "pre"), role, key), [parse_model(model)])


def states(found: Diagnosis) -> dict[str, str]:
    return {each.what: each.state for each in found.findings}


def only(found: Diagnosis, state: str) -> str:
    (one,) = [each for each in found.findings if each.state == state]
    return str(one)


def test_all_is_well(cloud: Cloud) -> None:
    found = look()
    assert set(states(found).values()) == {"ok"}, str(found)
    assert found.exit_code == 0
    assert list(states(found)) == [
        "credentials",
        "bucket",
        "KMS key",
        "role's trust",
        "role's rights",
        f"model us.{HAIKU}",
        f"quotas of us.{HAIKU}",
    ]


def test_what_may_not_be_looked_at_is_unknown(cloud: Cloud) -> None:
    for service, operation in (
        ("iam", "GetRole"),
        ("iam", "SimulatePrincipalPolicy"),
        ("kms", "DescribeKey"),
        ("bedrock", "GetInferenceProfile"),
        ("service-quotas", "ListServiceQuotas"),
    ):
        cloud.account(service).refuse(operation, "AccessDeniedException", 403)
    found = look()
    assert found.exit_code == 0
    assert [each.state for each in found.findings].count("unknown") == 5
    assert "caller-check.json" in str(found)


def test_no_credentials(cloud: Cloud) -> None:
    cloud.account("sts").refuse("GetCallerIdentity", "ExpiredToken", 403)
    assert "refresh" in only(look(), "error")


def test_no_bucket(cloud: Cloud) -> None:
    cloud.s3.refuse("HeadBucket", "404", 404)
    assert "create it in the region of the jobs" in only(look(), "error")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"Enabled": False, "KeyState": "PendingDeletion"}, "PendingDeletion"),
        ({"KeyUsage": "SIGN_VERIFY"}, "SIGN_VERIFY"),
        ({"Arn": f"arn:aws:kms:eu-west-3:{ACCOUNT}:key/1"}, "eu-west-3"),
    ],
)
def test_a_key_that_will_not_do(cloud: Cloud, key: dict[str, Any], said: str) -> None:
    usual = {"Arn": KEY, "Enabled": True, "KeyUsage": "ENCRYPT_DECRYPT"}
    cloud.account("kms").replies["DescribeKey"] = {"KeyMetadata": {**usual, **key}}
    assert said in only(look(), "error")


def trust(**changes: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": ["bedrock.amazonaws.com"]},
        "Condition": {"StringEquals": {"AWS:SourceAccount": [ACCOUNT]}},
        **changes,
    }
    return {"Role": {"AssumeRolePolicyDocument": {"Statement": statement}}}


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "ok", "for jobs of its account"),
        ({"Principal": {"Service": "lambda.amazonaws.com"}}, "error", "service-role-trust.json"),
        ({"Principal": "*"}, "error", "does not let bedrock.amazonaws.com"),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}, "error", "999999999999"),
        ({"Condition": {}}, "warning", "any account"),
    ],
)
def test_whom_the_role_trusts(cloud: Cloud, changes: dict[str, Any], state: str, said: str) -> None:
    cloud.account("iam").replies["GetRole"] = trust(**changes)
    finding = next(each for each in look().findings if each.what == "role's trust")
    assert finding.state == state
    assert said in str(finding)


def test_the_role(cloud: Cloud) -> None:
    assert "BEDROCK_BATCH_ROLE_ARN" in only(look(role=None), "error")
    assert "no role's ARN" in only(look(role="BedrockBatchRole"), "error")
    cloud.account("iam").refuse("GetRole", "NoSuchEntity", 404)
    assert "does not exist" in only(look(), "error")
    denied = [{"EvalActionName": "s3:PutObject", "EvalDecision": "implicitDeny"}]
    cloud.account("iam").replies["SimulatePrincipalPolicy"] = {"EvaluationResults": denied}
    assert "lacks s3:PutObject" in only(look(), "error")


def test_models(cloud: Cloud) -> None:
    bedrock = cloud.account("bedrock")
    usual: Any = bedrock.GetFoundationModelAvailability(HAIKU)
    nova = "amazon.nova-lite-v1:0"
    for change, said in (
        ({"regionAvailability": "NOT_AVAILABLE"}, "not in this region"),
        ({"authorizationStatus": "NOT_AUTHORIZED"}, "not authorized"),
        ({"agreementAvailability": {"status": "PENDING"}}, "no agreement"),
    ):
        bedrock.replies["GetFoundationModelAvailability"] = {**usual, **change}
        assert said in only(look(nova), "error")
    bedrock.refuse("GetFoundationModelAvailability", "ResourceNotFoundException", 404)
    assert f"Did you mean {nova}?" in only(look("amazon.nova-liet-v1:0"), "error")
    bedrock.refuse("GetInferenceProfile", "ValidationException", 400)
    assert f"Did you mean us.{nova}?" in only(look("us.amazon.nova-liet-v1:0"), "error")


def test_quotas_that_differ_from_the_plan(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = [
        {"QuotaName": "Records per batch inference job for Claude Haiku 4.5", "Value": 100_000.0},
        {"QuotaName": "Records per batch inference job for Claude Haiku 3.5", "Value": 10.0},
        {"QuotaName": "On-demand requests per minute for Claude Haiku 4.5", "Value": 10.0},
    ]
    cloud.account("service-quotas").replies["ListServiceQuotas"] = {"Quotas": quotas}
    assert "Set BEDROCK_BATCH_MAX_RECORDS_PER_JOB=100000." in only(look(), "warning")
    monkeypatch.setenv("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", "100000")
    assert look().exit_code == 0
    assert "warning" not in states(look()).values()
