"""What the doctor tells of AWS: each thing well, wrong, and hidden from the caller."""

from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.doctor import Diagnosis, Finding, diagnose
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


def test_the_owner_that_was_named_is_asked_for(cloud: Cloud) -> None:
    settings = Settings(S3Uri(BUCKET, "pre"), ROLE, None, bucket_owner="999999999999")
    assert "999999999999" in only(diagnose(settings, []), "error")
    cloud.s3.owner = "999999999999"
    assert diagnose(settings, []).exit_code == 0
    asked = [given for name, given in cloud.account("iam").calls if name == "SimulatePrincipalPolicy"]
    assert {given["ContextEntries"][0]["ContextKeyValues"][0] for given in asked} == {"999999999999"}


def test_what_the_role_is_asked_to_do_where(cloud: Cloud) -> None:
    look()
    asked = [given for name, given in cloud.account("iam").calls if name == "SimulatePrincipalPolicy"]
    things, bucket = f"arn:aws:s3:::{BUCKET}/pre/batches/x", f"arn:aws:s3:::{BUCKET}"
    assert [(given["ActionNames"], given["ResourceArns"]) for given in asked] == [
        (["s3:GetObject"], [things]),
        (["s3:PutObject"], [things]),
        (["s3:ListBucket"], [bucket]),
    ]
    assert {given["PolicySourceArn"] for given in asked} == {ROLE}
    (entries,) = {str(given["ContextEntries"]) for given in asked}
    assert "aws:ResourceAccount" in entries
    assert ACCOUNT in entries


def test_a_role_with_a_path_goes_by_its_name(cloud: Cloud) -> None:
    look(role=f"arn:aws:iam::{ACCOUNT}:role/teams/batch/BedrockBatchRole")
    look(role=f"arn:aws-us-gov:iam::{ACCOUNT}:role/BedrockBatchRole")
    asked = [given["RoleName"] for name, given in cloud.account("iam").calls if name == "GetRole"]
    assert asked == ["BedrockBatchRole"] * 2


def test_what_is_denied_is_no_trust(cloud: Cloud) -> None:
    cloud.account("iam").replies["GetRole"] = trust(Effect="Deny")
    assert "does not let bedrock.amazonaws.com" in only(look(), "error")


def test_what_is_known_of_a_model_is_said_before_the_service_is_asked(cloud: Cloud) -> None:
    found = look("amazon.titan-text-express-v1")
    doubts = [each for each in found.findings if each.what == "model amazon.titan-text-express-v1"]
    assert [each.state for each in doubts][:1] == ["warning"]


def test_a_model_without_an_entitlement(cloud: Cloud) -> None:
    bedrock = cloud.account("bedrock")
    usual: Any = bedrock.GetFoundationModelAvailability(HAIKU)
    bedrock.replies["GetFoundationModelAvailability"] = {**usual, "entitlementAvailability": "NOT_AVAILABLE"}
    assert "no agreement" in only(look("amazon.nova-lite-v1:0"), "error")


@pytest.mark.parametrize("kind", ["custom-model/amazon.nova-lite-v1:0/abc", "application-inference-profile/abc"])
def test_nothing_is_asked_of_what_is_the_accounts_own(cloud: Cloud, kind: str) -> None:
    diagnose(Settings(S3Uri(BUCKET, "pre"), ROLE, None), [parse_model(f"arn:aws:bedrock:{REGION}:{ACCOUNT}:{kind}")])
    assert not [name for name, _ in cloud.account("bedrock").calls]


@pytest.mark.parametrize(
    ("quota", "value", "variable"),
    [
        ("Minimum number of records per batch inference job for Claude Haiku 4.5", 50, "MIN_RECORDS_PER_JOB"),
        ("Records per batch inference job for Claude Haiku 4.5", 10_000, "MAX_RECORDS_PER_JOB"),
        (
            "Sum of in-progress and submitted batch inference jobs using a base model for Claude Haiku 4.5",
            5,
            "MAX_JOBS",
        ),
        (
            "Sum of in-progress and submitted batch inference jobs using a base model for Claude Haiku 4.5",
            50,
            "MAX_JOBS",
        ),
    ],
)
def test_each_quota_has_its_variable(cloud: Cloud, quota: str, value: int, variable: str) -> None:
    cloud.account("service-quotas").replies["ListServiceQuotas"] = {
        "Quotas": [{"QuotaName": quota, "Value": float(value)}]
    }
    said = only(look(), "warning")
    assert f"Set BEDROCK_BATCH_{variable}={value}." in said
    assert f"{quota}: {value:,}; a run plans with " in said


def test_quotas_that_are_as_planned_are_well(cloud: Cloud) -> None:
    quotas = {
        "Minimum number of records per batch inference job for Claude Haiku 4.5": 100.0,
        "Records per batch inference job for Claude Haiku 4.5": 50_000.0,
        "Sum of in-progress and submitted batch inference jobs using a base model for Claude Haiku 4.5": 20.0,
    }
    listed = [{"QuotaName": name, "Value": value} for name, value in quotas.items()]
    cloud.account("service-quotas").replies["ListServiceQuotas"] = {"Quotas": listed}
    (finding,) = [each for each in look().findings if each.what.startswith("quotas")]
    assert (finding.state, finding.sentence) == ("ok", "3 of batch inference were looked at.")


def test_only_errors_end_with_one() -> None:
    for state, code in (("ok", 0), ("warning", 0), ("unknown", 0), ("error", 1)):
        found = Diagnosis([Finding("x", state, "is so.", "Mend it.")])  # type: ignore[arg-type]
        assert (found.exit_code, found.to_dict()["exit_code"]) == (code, code)
    assert str(found) == "ERROR   x: is so. Mend it."
