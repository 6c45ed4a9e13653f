# ruff: noqa: N803 (the names are AWS's)
"""S3 and Bedrock in memory, for unit tests: boto3's own clients, with everything behind their operations replaced.

Parameters are checked as boto3 checks them, ETags, conditions, ranges, pages and uploads are as S3 has them, and the time
is a clock that tests set. What a test wants to go wrong it says of an operation, before or after it takes effect.

End-to-end tests have the sandbox (`deployments/sandbox`) and HTTP instead, and patch no client.
"""

import functools
import hashlib
import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, NoReturn

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from botocore.response import StreamingBody
from botocore.validate import ParamValidator

from tasks import aws

BUCKET, REGION, ACCOUNT = "bucket", "us-east-1", "123456789012"
OPEN = ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
#: S3's least for a part that is not the last one.
_PART_BYTES = 5 << 20
_PAGE = 1000


def refusal(code: str, status: int = 400, message: str = "", operation: str = "Operation") -> ClientError:
    """An error as boto3 raises it."""
    reply: Any = {"Error": {"Code": code, "Message": message or code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(reply, operation)


class Clock:
    """The time, everywhere: nothing waits for it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 2, 9, 30, tzinfo=timezone.utc)

    def __call__(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class _Event:
    """What happens at a call of an operation, on something whose name holds a text."""

    operation: str
    text: str
    after: bool
    action: Callable[[], object]
    #: So many times; None for ever.
    times: int | None


class Service:
    """One service: a method for each operation, of the operation's name."""

    name = ""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        #: Every call: the operation, and its parameters.
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.client: Any = _client(self.name, self._call)
        self._lock = threading.RLock()
        self._events: list[_Event] = []

    def before(self, operation: str, action: Callable[[], object], *, on: str = "", times: int | None = 1) -> None:
        """Have something happen before a call takes effect; where it raises, the call takes none."""
        self._events.append(_Event(operation, on, False, action, times))

    def after(self, operation: str, action: Callable[[], object], *, on: str = "", times: int | None = 1) -> None:
        """Have something happen after a call took effect; where it raises, its reply is lost."""
        self._events.append(_Event(operation, on, True, action, times))

    def refuse(
        self, operation: str, code: str, status: int = 400, message: str = "", *, on: str = "", times: int | None = 1
    ) -> None:
        self.before(operation, raising(refusal(code, status, message, operation)), on=on, times=times)

    def count(self, operation: str, on: str = "") -> int:
        return sum(name == operation and on in json.dumps(given, default=str) for name, given in self.calls)

    def _call(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        shape = self.client.meta.service_model.operation_model(operation).input_shape
        report = ParamValidator().validate(given, shape)
        if report.has_errors():
            raise ParamValidationError(report=report.generate_report())
        with self._lock:
            self.calls.append((operation, given))
        what = json.dumps({**given, "Body": None}, default=str)
        # Outside of the lock: others may do something meanwhile.
        self._happen(operation, what, after=False)
        with self._lock:
            reply = getattr(self, operation)(**given)
        self._happen(operation, what, after=True)
        headers = {"date": format_datetime(self.clock.now, usegmt=True)} if self.dated else {}
        return {**reply, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers, "RetryAttempts": 0}}

    #: Whether replies say when they were made.
    dated = True

    def _happen(self, operation: str, what: str, *, after: bool) -> None:
        with self._lock:
            found = [
                event
                for event in self._events
                if (event.operation, event.after) == (operation, after) and event.text in what and event.times != 0
            ]
            for event in found:
                event.times = event.times and event.times - 1
        for event in found:
            event.action()


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def action() -> NoReturn:
        raise error

    return action


@functools.lru_cache
def _made(service: Any) -> Any:
    """A client: to make one takes many times as long as a test."""
    session = boto3.session.Session(aws_access_key_id="k", aws_secret_access_key="s", region_name=REGION)
    # No name of it is ever looked up.
    return session.client(service, endpoint_url="http://nowhere.invalid")


def _client(service: str, call: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
    """A client whose every operation is a call of a function."""
    made = _made(service)
    client = object.__new__(type(made))
    vars(client).update(vars(made), _make_api_call=call)
    return client


@dataclass
class Stored:
    """An object."""

    body: bytes
    etag: str
    modified: datetime
    #: What it was put with.
    options: dict[str, Any]


@dataclass
class _Upload:
    key: str
    options: dict[str, Any]
    parts: dict[int, bytes] = field(default_factory=dict)


class S3(Service):
    """One bucket."""

    name = "s3"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, _Upload] = {}
        self.owner = ACCOUNT

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def put(self, key: str, body: bytes, **options: Any) -> Stored:
        """Put an object, as somebody else would."""
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        self.objects[key] = Stored(body, etag, self.clock.now.replace(microsecond=0), options)
        return self.objects[key]

    def _require_bucket(self, given: dict[str, Any]) -> None:
        if given.pop("Bucket") != BUCKET:
            raise refusal("NoSuchBucket", 404)
        if given.pop("ExpectedBucketOwner", self.owner) != self.owner:
            raise refusal("AccessDenied", 403)

    def _stored(self, key: str, missing: str = "NoSuchKey") -> Stored:
        if key not in self.objects:
            raise refusal(missing, 404)
        return self.objects[key]

    def _require_condition(self, key: str, given: dict[str, Any]) -> None:
        wanted, absent = given.pop("IfMatch", None), given.pop("IfNoneMatch", None)
        if wanted is not None and self._stored(key).etag != wanted:
            raise refusal("PreconditionFailed", 412)
        if absent == "*" and key in self.objects:
            raise refusal("PreconditionFailed", 412)

    def HeadBucket(self, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        return {}

    def PutObject(self, Key: str, Body: Any = b"", **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        self._require_condition(Key, given)
        body = Body if isinstance(Body, bytes | bytearray) else Body.read()
        return {"ETag": self.put(Key, bytes(body), **given).etag}

    def _described(self, stored: Stored, missing: str, given: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        if given.get("IfMatch", stored.etag) != stored.etag:
            raise refusal(missing, 412)
        body = stored.body
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", given.get("Range", "bytes=0-"))
        assert wanted, "the fake knows no other ranges"
        first = int(wanted[1])
        if "Range" in given and first >= len(body):
            raise refusal("InvalidRange", 416)
        body = body[first : int(wanted[2]) + 1 if wanted[2] else None]
        key = {name: stored.options[name] for name in ("SSEKMSKeyId",) if name in stored.options}
        return body, {"ETag": stored.etag, "ContentLength": len(body), "LastModified": stored.modified, **key}

    def GetObject(self, Key: str, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        body, reply = self._described(self._stored(Key), "PreconditionFailed", given)
        return {**reply, "Body": StreamingBody(io.BytesIO(body), len(body))}

    def HeadObject(self, Key: str, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        return self._described(self._stored(Key, "404"), "412", given)[1]

    def DeleteObject(self, Key: str, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        self.objects.pop(Key, None)
        return {}

    def ListObjectsV2(
        self,
        Prefix: str = "",
        Delimiter: str = "",
        MaxKeys: int = _PAGE,
        ContinuationToken: str = "",
        StartAfter: str = "",
        **given: Any,
    ) -> dict[str, Any]:
        self._require_bucket(given)
        entries: dict[str, dict[str, Any] | None] = {}
        for key in self.keys(Prefix):
            head, found, _ = key[len(Prefix) :].partition(Delimiter) if Delimiter else (key, "", "")
            stored = self.objects[key]
            entries[Prefix + head + found if found else key] = (
                None
                if found
                else {"Key": key, "ETag": stored.etag, "Size": len(stored.body), "LastModified": stored.modified}
            )
        names = [name for name in entries if name > (ContinuationToken or StartAfter)][: MaxKeys + 1]
        more, names = len(names) > MaxKeys, names[:MaxKeys]
        return {
            "Contents": [entries[name] for name in names if entries[name]],
            "IsTruncated": more,
            "KeyCount": len(names),
            "CommonPrefixes": [{"Prefix": name} for name in names if not entries[name]],
            **({"NextContinuationToken": names[-1]} if more else {}),
        }

    def CreateMultipartUpload(self, Key: str, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        upload_id = f"upload-{len(self.calls)}"
        self.uploads[upload_id] = _Upload(Key, given)
        return {"UploadId": upload_id}

    def _upload(self, upload_id: str) -> _Upload:
        if upload_id not in self.uploads:
            raise refusal("NoSuchUpload", 404)
        return self.uploads[upload_id]

    def UploadPart(self, Key: str, UploadId: str, PartNumber: int, Body: Any, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        self._upload(UploadId).parts[PartNumber] = bytes(Body)
        return {"ETag": f'"{hashlib.md5(Body).hexdigest()}"'}

    def CompleteMultipartUpload(self, Key: str, UploadId: str, MultipartUpload: Any, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        upload = self._upload(UploadId)
        self._require_condition(Key, given)
        numbers = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        parts = [upload.parts.get(number) for number in numbers]
        digests = [hashlib.md5(part or b"") for part in parts]
        named = [part["ETag"].strip('"') for part in MultipartUpload["Parts"]]
        if None in parts or numbers != sorted(numbers) or named != [digest.hexdigest() for digest in digests]:
            raise refusal("InvalidPart")
        if any(len(part or b"") < _PART_BYTES for part in parts[:-1]):
            raise refusal("EntityTooSmall")
        stored = self.put(Key, b"".join(part or b"" for part in parts), **upload.options)
        whole = hashlib.md5(b"".join(digest.digest() for digest in digests)).hexdigest()
        stored.etag = f'"{whole}-{len(parts)}"'
        del self.uploads[UploadId]
        return {"ETag": stored.etag}

    def AbortMultipartUpload(self, Key: str, UploadId: str, **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        self._upload(UploadId)
        del self.uploads[UploadId]
        return {}

    def ListMultipartUploads(self, Prefix: str = "", **given: Any) -> dict[str, Any]:
        self._require_bucket(given)
        found = [{"Key": u.key, "UploadId": id} for id, u in self.uploads.items() if u.key.startswith(Prefix)]
        return {"Uploads": found, "IsTruncated": False}


class Bedrock(Service):
    """Jobs that stand still until a test moves them."""

    name = "bedrock"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.max_jobs = 20

    def put(self, **given: Any) -> str:
        """Have a job that somebody else created; returns its ARN."""
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{len(self.jobs):012d}"
        request = {"jobName": "other", "modelId": "other.model", "clientRequestToken": "other", **given}
        self.jobs[arn] = {"status": "Submitted", **request, "jobArn": arn, "submitTime": self.clock.now}
        return arn

    def move(self, arn: str, status: str, **reply: Any) -> None:
        """Bring a job into another state; `reply` is what is told of it besides."""
        self.jobs[arn].update(status=status, **reply)

    def _open(self, model: str) -> int:
        return sum(job["modelId"] == model and job["status"] in OPEN for job in self.jobs.values())

    def CreateModelInvocationJob(self, **given: Any) -> dict[str, Any]:
        for arn, job in self.jobs.items():
            if job["clientRequestToken"] == given.get("clientRequestToken"):
                same = all(job.get(name) == value for name, value in given.items() if name != "tags")
                if not same:
                    raise refusal("ConflictException", 400, "The token was used with other parameters.")
                return {"jobArn": arn}
        if self._open(given["modelId"]) >= self.max_jobs:
            raise refusal("ServiceQuotaExceededException", 400, "Too many jobs in progress for this model.")
        return {"jobArn": self.put(**given)}

    def _job(self, arn: str) -> dict[str, Any]:
        if arn not in self.jobs:
            raise refusal("ResourceNotFoundException", 404, "Could not find the model invocation job.")
        return self.jobs[arn]

    def GetModelInvocationJob(self, jobIdentifier: str) -> dict[str, Any]:
        return dict(self._job(jobIdentifier))

    def ListModelInvocationJobs(
        self, nameContains: str = "", statusEquals: str = "", nextToken: str = "0", maxResults: int = 2, **_: Any
    ) -> dict[str, Any]:
        found = [
            job for job in self.jobs.values() if nameContains in job["jobName"] and statusEquals in ("", job["status"])
        ]
        end = int(nextToken) + maxResults
        more = {"nextToken": str(end)} if end < len(found) else {}
        return {"invocationJobSummaries": [dict(job) for job in found[int(nextToken) : end]], **more}

    def StopModelInvocationJob(self, jobIdentifier: str) -> dict[str, Any]:
        job = self._job(jobIdentifier)
        if job["status"] not in OPEN:
            raise refusal("ConflictException", 400, "The job has ended.")
        job["status"] = "Stopping"
        return {}


class Runtime(Service):
    """Calls on demand, each answered by a function of the model and the body."""

    name = "bedrock-runtime"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.answer: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _model, body: {"asked": body}

    def InvokeModel(self, modelId: str, body: bytes, **_: Any) -> dict[str, Any]:
        answer = json.dumps(self.answer(modelId, json.loads(body))).encode()
        return {"body": StreamingBody(io.BytesIO(answer), len(answer)), "contentType": "application/json"}

    def Converse(self, modelId: str, **body: Any) -> dict[str, Any]:
        return self.answer(modelId, body)


class Account(Service):
    """What the doctor looks at beside the bucket: who calls, the role, the key, models and quotas; all of it is well."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.name = name
        super().__init__(clock)
        #: Replies by operation, for a test to change.
        self.replies: dict[str, dict[str, Any]] = {}

    def _reply(self, operation: str, usual: dict[str, Any]) -> dict[str, Any]:
        return self.replies.get(operation, usual)

    def GetCallerIdentity(self) -> dict[str, Any]:
        caller = {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me", "UserId": "me"}
        return self._reply("GetCallerIdentity", caller)

    def GetRole(self, RoleName: str) -> dict[str, Any]:
        trust = {
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "bedrock.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
                }
            ]
        }
        return self._reply("GetRole", {"Role": {"AssumeRolePolicyDocument": trust}})

    def SimulatePrincipalPolicy(self, ActionNames: list[str], **_: Any) -> dict[str, Any]:
        results = [{"EvalActionName": action, "EvalDecision": "allowed"} for action in ActionNames]
        return self._reply("SimulatePrincipalPolicy", {"EvaluationResults": results})

    def DescribeKey(self, KeyId: str) -> dict[str, Any]:
        key = {"Arn": KeyId, "Enabled": True, "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled"}
        return self._reply("DescribeKey", {"KeyMetadata": key})

    def GetFoundationModelAvailability(self, modelId: str) -> dict[str, Any]:
        access = {
            "modelId": modelId,
            "agreementAvailability": {"status": "AVAILABLE"},
            "authorizationStatus": "AUTHORIZED",
            "entitlementAvailability": "AVAILABLE",
            "regionAvailability": "AVAILABLE",
        }
        return self._reply("GetFoundationModelAvailability", access)

    def GetInferenceProfile(self, inferenceProfileIdentifier: str) -> dict[str, Any]:
        return self._reply("GetInferenceProfile", {"status": "ACTIVE"})

    def ListFoundationModels(self) -> dict[str, Any]:
        return self._reply("ListFoundationModels", {"modelSummaries": [{"modelId": "amazon.nova-lite-v1:0"}]})

    def ListServiceQuotas(self, ServiceCode: str, NextToken: str = "") -> dict[str, Any]:
        quotas = [
            {"QuotaName": "Minimum number of records per batch inference job for Claude Haiku 4.5", "Value": 100.0},
            {"QuotaName": "Records per batch inference job for Claude Haiku 4.5", "Value": 50_000.0},
        ]
        return self._reply("ListServiceQuotas", {"Quotas": quotas})


class Cloud:
    """All of AWS that a batch needs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._account: dict[str, Account] = {}
        self.s3, self.bedrock, self.runtime = S3(self.clock), Bedrock(self.clock), Runtime(self.clock)

    def account(self, service: str) -> Account:
        """What is only looked at, of a service."""
        if service not in self._account:
            self._account[service] = Account(self.clock, service)
        return self._account[service]


def install(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Put the fakes in boto3's stead. The one place that knows where the pipeline has its clients."""
    cloud = Cloud()
    monkeypatch.setattr(aws, "s3", lambda: cloud.s3.client)
    monkeypatch.setattr(aws, "bedrock", lambda: cloud.bedrock.client)
    monkeypatch.setattr(aws, "runtime", lambda: cloud.runtime.client)
    monkeypatch.setattr(aws, "looker", lambda service: cloud.account(service).client)
    monkeypatch.setattr(aws, "back_off", lambda *_, **__: None)
    return cloud
