"""What the doctor tells of AWS: each thing well, wrong, and hidden from the caller."""

import json
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


def said(found: Diagnosis) -> list[str]:
    return str(found).splitlines()


def of(found: Diagnosis, what: str) -> str:
    (one,) = [str(each) for each in found.findings if each.what == what]
    return one


def test_all_that_is_said_where_all_is_well(cloud: Cloud) -> None:
    nova = "amazon.nova-lite-v1:0"
    found = diagnose(Settings(S3Uri(BUCKET, "pre"), ROLE, KEY), [parse_model(f"us.{HAIKU}"), parse_model(nova)])
    assert said(found) == [
        f"ok      credentials: arn:aws:iam::{ACCOUNT}:user/me, account {ACCOUNT}, region {REGION}.",
        f"ok      bucket: s3://{BUCKET}/pre/ is there, in the region of the jobs, and may be listed.",
        "ok      KMS key: it is enabled, for encryption, and in the region.",
        "ok      role's trust: Bedrock may assume it, for jobs of its account.",
        f"ok      role's rights: it may read and write s3://{BUCKET}/pre/.",
        f"ok      model us.{HAIKU}: the inference profile is active.",
        f"ok      quotas of us.{HAIKU}: 2 of batch inference were looked at.",
        f"ok      model {nova}: it is in the region, and the account has access.",
        f"unknown quotas of {nova}: Service Quotas lists none of batch inference under its name.",
    ]
    assert found.to_dict() == {
        "findings": [
            {"what": each.what, "state": each.state, "sentence": each.sentence, "remedy": None}
            for each in found.findings
        ],
        "exit_code": 0,
    }
    assert [given for name, given in cloud.account("kms").calls if name == "DescribeKey"] == [{"KeyId": KEY}]
    asked = cloud.account("bedrock").calls
    assert ("GetInferenceProfile", {"inferenceProfileIdentifier": f"us.{HAIKU}"}) in asked
    assert ("GetFoundationModelAvailability", {"modelId": nova}) in asked
    services = [given["ServiceCode"] for name, given in cloud.account("service-quotas").calls]
    assert set(services) == {"bedrock"}


def test_without_a_key_none_is_looked_at(cloud: Cloud) -> None:
    assert "KMS key" not in states(look(key=None))
    assert not cloud.account("kms").calls


def test_what_cannot_be_looked_at_now_is_unknown(cloud: Cloud) -> None:
    cloud.account("kms").refuse("DescribeKey", "KMSInternalException", 500, times=None)
    cloud.account("sts").refuse("GetCallerIdentity", "AccessDenied", 403)
    cloud.account("service-quotas").refuse("ListServiceQuotas", "AccessDeniedException", 403)
    found = look()
    assert found.exit_code == 0
    assert of(found, "KMS key").startswith("unknown KMS key: it could not be looked at (KMSInternalException")
    assert of(found, "credentials") == (
        "unknown credentials: the caller may not look (AccessDenied). deployments/iam/caller-check.json has the "
        "permission, where you want to know."
    )
    assert of(found, f"quotas of us.{HAIKU}").startswith("unknown"), "and nothing else is said of them"


def test_a_bucket_that_is_wrong_is_not_well_too(cloud: Cloud) -> None:
    cloud.s3.refuse("HeadBucket", "404", 404)
    assert [each.state for each in look().findings if each.what == "bucket"] == ["error"]


@pytest.mark.parametrize(
    ("role", "error"),
    [
        (None, "none is set. Set BEDROCK_BATCH_ROLE_ARN, or pass role_arn; deployments/docs/operating.md"),
        ("Role", "Role is no role's ARN. It is arn:aws:iam::ACCOUNT:role/NAME."),
        (f"arn:aws:iam::{ACCOUNT}:user/me", "is no role's ARN."),
    ],
)
def test_without_a_role_nothing_else_of_it_is_looked_at(cloud: Cloud, role: str | None, error: str) -> None:
    found = look(role=role)
    assert error in of(found, "service role")
    assert found.exit_code == 1
    assert not cloud.account("iam").calls


def test_a_role_that_is_not_there(cloud: Cloud) -> None:
    cloud.account("iam").refuse("GetRole", "NoSuchEntity", 404)
    found = look()
    assert of(found, "service role") == (
        f"ERROR   service role: {ROLE} does not exist. Create it; deployments/docs/operating.md has the policies."
    )
    assert "role's rights" not in states(found)
    cloud.account("iam").refuse("GetRole", "AccessDenied", 403)
    found = look()
    assert (states(found)["service role"], states(found)["role's rights"]) == ("unknown", "ok")


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(json.dumps({"Statement": trust()["Role"]["AssumeRolePolicyDocument"]["Statement"]}), id="text"),
        pytest.param(trust()["Role"]["AssumeRolePolicyDocument"], id="one statement"),
        pytest.param({"Statement": [{"Effect": "Deny", "Principal": "*"}, trust()["Role"]["AssumeRolePolicyDocument"]["Statement"]]}, id="the second"),
        pytest.param(trust(Condition={"StringEquals": {"aws:SourceAccount": ["9" * 12, ACCOUNT]}})["Role"]["AssumeRolePolicyDocument"], id="the second account"),
        pytest.param(trust(Principal={"Service": "bedrock.amazonaws.com"})["Role"]["AssumeRolePolicyDocument"], id="one service"),
    ],
)  # fmt: skip
def test_forms_of_a_trust_policy(cloud: Cloud, statements: Any) -> None:
    cloud.account("iam").replies["GetRole"] = {"Role": {"AssumeRolePolicyDocument": statements}}
    assert of(look(), "role's trust") == "ok      role's trust: Bedrock may assume it, for jobs of its account."


def test_whom_a_trust_lets_in_instead(cloud: Cloud) -> None:
    accounts = {"StringEquals": {"aws:SourceAccount": ["9" * 12, "8" * 12]}}
    for changes, line in (
        (
            {"Condition": accounts},
            f"ERROR   role's trust: it lets Bedrock in for account {'9' * 12}, {'8' * 12}, not for {ACCOUNT}. "
            "Mend aws:SourceAccount in its trust policy.",
        ),
        (
            {"Condition": {"ArnLike": {"aws:SourceArn": "x"}}},
            "warning role's trust: Bedrock may assume it for jobs of any account. Add a condition on "
            "aws:SourceAccount, as in deployments/iam/service-role-trust.json.",
        ),
    ):
        cloud.account("iam").replies["GetRole"] = trust(**changes)
        assert of(look(), "role's trust") == line


def test_what_the_role_may_not(cloud: Cloud) -> None:
    denied = [
        {"EvalActionName": "s3:GetObject", "EvalDecision": "allowed"},
        {"EvalActionName": "s3:PutObject", "EvalDecision": "implicitDeny"},
        {"EvalActionName": "s3:ListBucket", "EvalDecision": "explicitDeny"},
    ]
    replies = iter([denied[:1], denied[1:2], denied[2:]])
    iam: Any = cloud.account("iam")
    iam.SimulatePrincipalPolicy = lambda **_: {"EvaluationResults": next(replies)}
    assert of(look(), "role's rights") == (
        f"ERROR   role's rights: it lacks s3:PutObject, s3:ListBucket for s3://{BUCKET}/pre/. Give it "
        "deployments/iam/service-role-policy.json."
    )


def test_a_model_that_the_region_has_under_another_name(cloud: Cloud) -> None:
    """The nearest is one of those that the region lists, where it may be asked for them."""
    bedrock = cloud.account("bedrock")
    bedrock.replies["ListFoundationModels"] = {"modelSummaries": [{"modelId": "amazon.nova-light-v9:0"}]}
    for service_error in ("ValidationException", "ResourceNotFoundException"):
        bedrock.refuse("GetFoundationModelAvailability", service_error, 400)
        line = only(look("amazon.nova-liet-v1:0"), "error")
        assert line == (
            "ERROR   model amazon.nova-liet-v1:0: Bedrock has no such model here. Did you mean amazon.nova-light-v9:0?"
        )
        bedrock.refuse("GetInferenceProfile", service_error, 400)
        assert "Did you mean us.amazon.nova-light-v9:0?" in only(look("us.amazon.nova-liet-v1:0"), "error")
    bedrock.refuse("GetFoundationModelAvailability", "ResourceNotFoundException", 404)
    bedrock.refuse("ListFoundationModels", "AccessDeniedException", 403)
    assert "Did you mean amazon.nova-lite-v1:0?" in str(look("amazon.nova-liet-v1:0"))
    bedrock.refuse("GetFoundationModelAvailability", "ResourceNotFoundException", 404)
    assert "Look it up in the model catalog" in str(look("qqqq.zzzz"))


def test_a_model_by_the_arn_of_its_own(cloud: Cloud) -> None:
    arn = f"arn:aws:bedrock:{REGION}::foundation-model/amazon.nova-lite-v1:0"
    assert states(look(arn))[f"model {arn}"] == "ok"
    assert ("GetFoundationModelAvailability", {"modelId": "amazon.nova-lite-v1:0"}) in cloud.account("bedrock").calls


def test_a_quota_of_calls_on_demand_is_none_of_jobs(cloud: Cloud) -> None:
    quotas = [
        {"QuotaName": "Records per batch inference job for Claude Haiku 4.5", "Value": 50_000.0},
        {"QuotaName": "On-demand requests per minute for Claude Haiku 4.5", "Value": 0.0},
    ]
    cloud.account("service-quotas").replies["ListServiceQuotas"] = {"Quotas": quotas}
    assert of(look(), f"quotas of us.{HAIKU}").endswith(": 1 of batch inference were looked at.")


def test_quotas_of_nothing(cloud: Cloud) -> None:
    """An account that may run none: the number is said, and not that all is well."""
    quotas = [
        {"QuotaName": "Records per batch inference job for Claude Haiku 4.5", "Value": 0.0},
        {
            "QuotaName": "Job size of batch inference for Claude Haiku 4.5, the sum of in-progress and submitted",
            "Value": 5.0,
        },
    ]
    cloud.account("service-quotas").replies["ListServiceQuotas"] = {"Quotas": quotas}
    found = [str(each) for each in look().findings if each.what == f"quotas of us.{HAIKU}"]
    assert found == [
        f"warning quotas of us.{HAIKU}: Records per batch inference job for Claude Haiku 4.5: 0; a run plans with "
        "50,000. Set BEDROCK_BATCH_MAX_RECORDS_PER_JOB=0."
    ]
