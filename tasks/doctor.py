"""Whether AWS is ready for a batch, as far as the caller may look: one line each, with a remedy. It changes nothing.

The permissions that it takes beside the caller's own are in deployments/iam/caller-check.json; what may not be looked
at is said to be unknown, and is no mistake.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

from tasks import aws
from tasks.bedrock.limits import Limits, availability_warning, limits_for
from tasks.bedrock.models import Model
from tasks.bedrock.nearest import nearest
from tasks.errors import AccessDeniedError, ConfigurationError, PipelineError
from tasks.settings import Settings
from tasks.storage.bucket import check_bucket

_IAM_PAGE: Final = "deployments/docs/operating.md has the policies"
#: What the jobs' role does in the bucket.
_ROLE_ACTIONS: Final = ("s3:GetObject", "s3:PutObject", "s3:ListBucket")
#: Names of Service Quotas' entries that say what batch jobs may be.
_BATCH_QUOTA: Final = re.compile(r"batch inference", re.IGNORECASE)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `unknown`: the caller may not look, or nobody answers."""

    what: str
    state: Literal["ok", "warning", "error", "unknown"]
    sentence: str
    remedy: str | None = None

    def __str__(self) -> str:
        mark = {"ok": "ok", "warning": "warning", "error": "ERROR", "unknown": "unknown"}[self.state]
        return f"{mark:<8}{self.what}: {self.sentence}" + (f" {self.remedy}" if self.remedy else "")


class Diagnosis(msgspec.Struct):
    """What the doctor found. `exit_code`: 0 where nothing is known to be wrong, else 1."""

    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        return int(any(finding.state == "error" for finding in self.findings))

    def to_dict(self) -> dict[str, Any]:
        return {"findings": msgspec.to_builtins(self.findings), "exit_code": self.exit_code}

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))


def diagnose(settings: Settings, models: list[Model]) -> Diagnosis:
    """Look at credentials, bucket, key and role, and for each model at access, batch inference and quotas.

    Raises ValueError for a limit in the environment that is no number.
    """
    findings = [*_credentials(), *_bucket(settings), *_key(settings), *_role(settings)]
    for model in models:
        findings += [*_model(model), *_quotas(model, limits_for(model))]
    return Diagnosis(findings)


def _asked(what: str, ask: Callable[[], Any]) -> tuple[Any, list[Finding]]:
    """The reply of a call, or what its failure means."""
    try:
        with aws.translated(f"looking at the {what}"):
            return ask(), []
    except AccessDeniedError as error:
        remedy = "deployments/iam/caller-check.json has the permission, where you want to know."
        return None, [Finding(what, "unknown", f"the caller may not look ({aws.name_of(error)}).", remedy)]
    except ConfigurationError as error:
        return None, [Finding(what, "error", str(error))]
    except PipelineError as error:
        return None, [Finding(what, "unknown", f"it could not be looked at ({aws.name_of(error)}).")]


def _credentials() -> Iterator[Finding]:
    reply, failed = _asked("credentials", lambda: aws.looker("sts").get_caller_identity())
    yield from failed
    if reply:
        region = aws.bedrock().meta.region_name
        yield Finding("credentials", "ok", f"{reply['Arn']}, account {reply['Account']}, region {region}.")


def _bucket(settings: Settings) -> Iterator[Finding]:
    root = settings.root
    try:
        check_bucket(root, settings.bucket_owner)
    except PipelineError as error:
        yield Finding("bucket", "error", str(error))
        return
    yield Finding("bucket", "ok", f"{root}/ is there, in the region of the jobs, and may be listed.")


def _key(settings: Settings) -> Iterator[Finding]:
    if not settings.kms_key:
        return
    reply, failed = _asked("KMS key", lambda: aws.looker("kms").describe_key(KeyId=settings.kms_key))
    yield from failed
    if not reply:
        return
    key = reply["KeyMetadata"]
    region = str(key.get("Arn", "")).split(":")[3:4]
    if not key.get("Enabled", True):
        yield Finding("KMS key", "error", f"it is {key.get('KeyState', 'disabled')}.", "Enable it, or name another.")
    elif key.get("KeyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        yield Finding("KMS key", "error", f"it is for {key['KeyUsage']}, not for encryption.", "Name a symmetric key.")
    elif region and region[0] not in ("", aws.bedrock().meta.region_name):
        yield Finding("KMS key", "error", f"it is in {region[0]}.", "S3 takes keys of the bucket's region only.")
    else:
        yield Finding("KMS key", "ok", "it is enabled, for encryption, and in the region.")


def _role(settings: Settings) -> Iterator[Finding]:
    arn = settings.role_arn
    if not arn:
        yield Finding(
            "service role", "error", "none is set.", f"Set BEDROCK_BATCH_ROLE_ARN, or pass role_arn; {_IAM_PAGE}."
        )
        return
    found = re.fullmatch(r"arn:aws[\w-]*:iam::(\d{12}):role/(?:.+/)?([\w+=,.@-]+)", arn)
    if found is None:
        yield Finding("service role", "error", f"{arn} is no role's ARN.", "It is arn:aws:iam::ACCOUNT:role/NAME.")
        return
    reply, failed = _asked("service role", lambda: aws.looker("iam").get_role(RoleName=found[2]))
    if failed and failed[0].state == "unknown" and "NoSuchEntity" in failed[0].sentence:
        yield Finding("service role", "error", f"{arn} does not exist.", f"Create it; {_IAM_PAGE}.")
        return
    yield from failed
    if reply:
        yield from _trust(reply["Role"].get("AssumeRolePolicyDocument"), found[1])
    yield from _rights(arn, settings)


def _trust(policy: Any, account: str) -> Iterator[Finding]:
    """Whether Bedrock may assume the role, for jobs of the account."""
    document = json.loads(policy) if isinstance(policy, str) else policy or {}
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        services = statement.get("Principal", {})
        services = services.get("Service", []) if isinstance(services, dict) else []
        services = [services] if isinstance(services, str) else services
        if statement.get("Effect") != "Allow" or "bedrock.amazonaws.com" not in services:
            continue
        accounts = _values(statement.get("Condition", {}), "aws:SourceAccount")
        if accounts and account not in accounts:
            yield Finding(
                "role's trust",
                "error",
                f"it lets Bedrock in for account {', '.join(accounts)}, not for {account}.",
                "Mend aws:SourceAccount in its trust policy.",
            )
            return
        if not accounts:
            yield Finding(
                "role's trust",
                "warning",
                "Bedrock may assume it for jobs of any account.",
                "Add a condition on aws:SourceAccount, as in deployments/iam/service-role-trust.json.",
            )
            return
        yield Finding("role's trust", "ok", "Bedrock may assume it, for jobs of its account.")
        return
    yield Finding(
        "role's trust",
        "error",
        "it does not let bedrock.amazonaws.com assume it.",
        "Give it the trust policy of deployments/iam/service-role-trust.json.",
    )


def _values(conditions: Any, key: str) -> list[str]:
    """The values that a policy's conditions ask of a key, whose case does not matter."""
    found: list[str] = []
    for tests in conditions.values() if isinstance(conditions, dict) else ():
        for name, value in tests.items():
            if name.lower() == key.lower():
                found += [value] if isinstance(value, str) else value
    return found


def _rights(arn: str, settings: Settings) -> Iterator[Finding]:
    """Whether the role may read and write the folder, as IAM simulates it: without the bucket's own policy."""
    bucket = f"arn:aws:s3:::{settings.root.bucket}"
    things = f"{bucket}/{settings.root.join('batches/x').key}"

    def ask() -> list[dict[str, Any]]:
        iam = aws.looker("iam")
        results = []
        for action in _ROLE_ACTIONS:
            resource = bucket if action == "s3:ListBucket" else things
            context = [
                {
                    "ContextKeyName": "aws:ResourceAccount",
                    "ContextKeyValues": [settings.bucket_owner or arn.split(":")[4]],
                    "ContextKeyType": "string",
                }
            ]
            reply = iam.simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource], ContextEntries=context
            )
            results += reply["EvaluationResults"]
        return results

    results, failed = _asked("role's rights", ask)
    yield from failed
    if results:
        denied = [each["EvalActionName"] for each in results if each["EvalDecision"] != "allowed"]
        if denied:
            yield Finding(
                "role's rights",
                "error",
                f"it lacks {', '.join(denied)} for {settings.root}/.",
                "Give it deployments/iam/service-role-policy.json.",
            )
        else:
            yield Finding("role's rights", "ok", f"it may read and write {settings.root}/.")


def _model(model: Model) -> Iterator[Finding]:
    """Whether there is such a model in the region, and whether the account may use it."""
    what = f"model {model.id}"
    doubt = availability_warning(model)
    if doubt:
        yield Finding(what, "warning", doubt)
    if model.id.startswith("arn:") and "foundation-model/" not in model.id:
        return
    if model.id != model.base_id and not model.id.startswith("arn:"):
        reply, failed = _asked(
            what, lambda: aws.looker("bedrock").get_inference_profile(inferenceProfileIdentifier=model.id)
        )
        if failed and _is_missing(failed[0]):
            yield from _missing(what, model)
            return
        yield from failed
        if reply:
            yield Finding(what, "ok", f"the inference profile is {reply.get('status', 'there').lower()}.")
        return
    reply, failed = _asked(what, lambda: aws.looker("bedrock").get_foundation_model_availability(modelId=model.base_id))
    if failed and _is_missing(failed[0]):
        yield from _missing(what, model)
        return
    yield from failed
    if reply:
        yield from _access(what, reply)


def _is_missing(finding: Finding) -> bool:
    return any(code in finding.sentence for code in ("ValidationException", "ResourceNotFoundException"))


def _missing(what: str, model: Model) -> Iterator[Finding]:
    """There is no such model: the nearest that the region has, or that is known."""
    reply, _ = _asked(what, lambda: aws.looker("bedrock").list_foundation_models())
    ids = [each["modelId"] for each in reply["modelSummaries"]] if reply else []
    meant = nearest(model, tuple(ids) or None)
    yield Finding(
        what,
        "error",
        "Bedrock has no such model here.",
        f"Did you mean {meant}?" if meant else "Look it up in the model catalog of Bedrock's console.",
    )


def _access(what: str, reply: Any) -> Iterator[Finding]:
    agreement = (reply.get("agreementAvailability") or {}).get("status", "AVAILABLE")
    if reply.get("regionAvailability") == "NOT_AVAILABLE":
        yield Finding(what, "error", "it is not in this region.", "Set AWS_REGION to one that has it.")
    elif reply.get("authorizationStatus") == "NOT_AUTHORIZED":
        yield Finding(
            what, "error", "the account is not authorized for it.", "Ask AWS, or your organization's policies."
        )
    elif reply.get("entitlementAvailability") == "NOT_AVAILABLE" or agreement != "AVAILABLE":
        remedy = "Open it once in the playground of Bedrock's console, which makes the agreement."
        yield Finding(what, "error", "the account has no agreement for it.", remedy)
    else:
        yield Finding(what, "ok", "it is in the region, and the account has access.")


def _quotas(model: Model, limits: Limits) -> Iterator[Finding]:
    """The account's quotas of batch jobs of the model, where they differ from what a run plans with."""
    what = f"quotas of {model.id}"

    def ask() -> list[dict[str, Any]]:
        pages = aws.looker("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="bedrock")
        return [quota for page in pages for quota in page["Quotas"]]

    quotas, failed = _asked(what, ask)
    yield from failed
    if quotas is None:
        return
    ours = [quota for quota in quotas if _BATCH_QUOTA.search(quota["QuotaName"]) and _is_of(quota["QuotaName"], model)]
    planned = {
        "minimum number of records": ("BEDROCK_BATCH_MIN_RECORDS_PER_JOB", limits.min_records_per_job),
        "records per batch inference job": ("BEDROCK_BATCH_MAX_RECORDS_PER_JOB", limits.max_records_per_job),
        "sum of in-progress and submitted": ("BEDROCK_BATCH_MAX_JOBS", limits.max_jobs),
    }
    seen = 0
    for quota in ours:
        name, value = quota["QuotaName"].lower(), int(quota["Value"])
        known = next((entry for start, entry in planned.items() if name.startswith(start)), None)
        if known is None:
            continue
        seen += 1
        variable, used = known
        if value != used:
            yield Finding(
                what,
                "warning",
                f"{quota['QuotaName']}: {value:,}; a run plans with {used:,}.",
                f"Set {variable}={value}.",
            )
    if not seen:
        yield Finding(what, "unknown", "Service Quotas lists none of batch inference under its name.")
    elif all(int(quota["Value"]) for quota in ours):
        yield Finding(what, "ok", f"{seen} of batch inference were looked at.")


def _is_of(quota: str, model: Model) -> bool:
    """Whether a quota is a model's: its name holds the words of the model's."""
    words = [word for word in re.split(r"[^a-z0-9]+", model.name.lower()) if word and not re.fullmatch(r"\d{6,}", word)]
    named = re.split(r"[^a-z0-9]+", quota.lower())
    return bool(words) and all(word in named for word in words)
