"""Model invocation jobs: the states they go through, and what they read and write."""

import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from deployments.sandbox import models, rubbish, synthetic
from deployments.sandbox.checks import Refused
from deployments.sandbox.faults import ACCOUNT, Faults, Journal

OPEN = ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping")
#: A job's time, spread over its states as the real one's is: most of it in InProgress.
_SHARES = {"Submitted": 0.1, "Validating": 0.15, "Scheduled": 0.15, "InProgress": 0.6}
_PART_BYTES = 8 << 20


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Job:
    arn: str
    request: dict[str, Any]
    end: dict[str, Any] | None
    seconds: float
    status: str = "Submitted"
    message: str = ""
    submitted: str = field(default_factory=now)
    modified: str = field(default_factory=now)
    ended: str | None = None
    total: int = 0
    processed: int = 0
    succeeded: int = 0
    errored: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    def describe(self) -> dict[str, Any]:
        """The reply of GetModelInvocationJob, and an entry of ListModelInvocationJobs."""
        request = self.request
        reply = {
            "jobArn": self.arn,
            "jobName": request["jobName"],
            "modelId": request["modelId"],
            "clientRequestToken": request.get("clientRequestToken"),
            "roleArn": request["roleArn"],
            "status": self.status,
            "message": self.message or None,
            "submitTime": self.submitted,
            "lastModifiedTime": self.modified,
            "endTime": self.ended,
            "inputDataConfig": request["inputDataConfig"],
            "outputDataConfig": request["outputDataConfig"],
            "vpcConfig": request.get("vpcConfig"),
            "timeoutDurationInHours": request.get("timeoutDurationInHours", 24),
            "modelInvocationType": request.get("modelInvocationType", "InvokeModel"),
            "totalRecordCount": self.total,
            "processedRecordCount": self.processed,
            "successRecordCount": self.succeeded,
            "errorRecordCount": self.errored,
        }
        return {key: value for key, value in reply.items() if value is not None}


class JobFailed(Exception):
    """The job ends as Failed with this message."""


class Jobs:
    """All jobs of the imitation, each run by a thread of its own."""

    def __init__(self, s3: Any, region: str, faults: Faults, journal: Journal, seconds: float) -> None:
        self._s3, self._region, self._faults, self._journal, self._seconds = s3, region, faults, journal, seconds
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []

    def create(self, request: dict[str, Any]) -> str:
        """The ARN of a new job, or of the one that the token named before. Raises Refused."""
        token = request.get("clientRequestToken")
        with self._lock:
            for job in self._jobs.values():
                if token and job.request.get("clientRequestToken") == token:
                    if {**job.request, "tags": None} != {**request, "tags": None}:
                        raise Refused("The client request token was used with other parameters.", 409)
                    return job.arn
            model = models.base_model(request["modelId"])
            if request["roleArn"] in self._faults.get("bad_roles"):
                raise Refused(f"The provided role {request['roleArn']} cannot be assumed by principal bedrock.")
            running = [
                job
                for job in self._jobs.values()
                if job.status in OPEN and models.base_model(job.request["modelId"]) == model
            ]
            if len(running) >= self._faults.get("max_jobs"):
                raise Refused("Too many in-progress and submitted batch inference jobs for this model.", 402)
            arn = f"arn:aws:bedrock:{self._region}:{ACCOUNT}:model-invocation-job/{uuid.uuid4().hex[:12]}"
            seconds = self._faults.get("job_seconds")
            job = Job(arn, request, self._faults.take_next("job_ends"), self._seconds if seconds is None else seconds)
            self._jobs[arn] = job
            thread = threading.Thread(target=self._run, args=(job,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return arn

    def get(self, identifier: str) -> Job:
        with self._lock:
            for job in self._jobs.values():
                if identifier in (job.arn, job.id):
                    return job
        raise Refused(f"Could not find the model invocation job {identifier}.", 404)

    def all(self) -> list[Job]:
        with self._lock:
            return list(self._jobs.values())

    def stop(self, identifier: str) -> None:
        job = self.get(identifier)
        if job.status not in OPEN:
            raise Refused(f"The job is {job.status} and cannot be stopped.", 409)
        if job.status != "Stopping":
            self._enter(job, "Stopping")
            job.stop.set()

    def end_all(self) -> None:
        """Stop what runs, and wait until nothing of it is answered, written or counted any more."""
        with self._lock:
            threads, self._threads = self._threads, []
        for job in self.all():
            job.stop.set()
        for thread in threads:
            thread.join(60)

    def _enter(self, job: Job, status: str, message: str = "") -> None:
        job.status, job.message, job.modified = status, message, now()
        if status not in OPEN:
            job.ended = job.modified

    def _wait(self, job: Job, status: str) -> bool:
        """Let a state take its time; True if the job was stopped meanwhile."""
        return job.stop.wait(job.seconds * _SHARES[status])

    def _run(self, job: Job) -> None:
        end = job.end or {}
        try:
            if self._wait(job, "Submitted"):
                return self._enter(job, "Stopped")
            self._enter(job, "Validating")
            inputs = self._read_inputs(job)
            if self._wait(job, "Validating"):
                return self._enter(job, "Stopped")
            if end.get("status") == "Failed" and not end.get("fraction"):
                raise JobFailed(end.get("message", "The job failed: internal error."))
            self._enter(job, "Scheduled")
            if self._wait(job, "Scheduled"):
                return self._enter(job, "Stopped")
            if end.get("status") == "Expired":
                return self._enter(job, "Expired", "The job timed out before it began.")
            self._enter(job, "InProgress")
            self._process(job, inputs, end)
        except JobFailed as error:
            self._enter(job, "Failed", str(error))
        except Exception as error:
            self._enter(job, "Failed", f"internal error of the imitation: {type(error).__name__}: {error}")

    def _read_inputs(self, job: Job) -> dict[str, list[bytes]]:
        """The records of all input files, by file name, checked as Bedrock's validation checks them."""
        self._check_owner(job)
        bucket, key = _split(job.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])
        try:
            if key.endswith(".jsonl"):
                keys = [key]
            else:
                pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
                keys = [o["Key"] for page in pages for o in page.get("Contents", []) if o["Key"].endswith(".jsonl")]
            files = {k: self._s3.get_object(Bucket=bucket, Key=k)["Body"].read() for k in keys}
        except Exception as error:
            raise JobFailed(f"S3 denied GetObject or the input is not there ({type(error).__name__}).") from None
        if not files:
            raise JobFailed("No .jsonl file was found at the input location.")
        inputs = {}
        for name, data in files.items():
            if len(data) > 1 << 30:
                raise JobFailed(f"{name}: the file is larger than 1 GB.")
            lines = data.split(b"\n")
            if lines and lines[-1] == b"":
                lines.pop()
            for number, line in enumerate(lines, 1):
                self._check_record(name, number, line)
            inputs[name.rsplit("/", 1)[-1]] = lines
        job.total = sum(len(lines) for lines in inputs.values())
        if job.total < self._faults.get("min_records"):
            raise JobFailed(f"The job has {job.total} records; the minimum is {self._faults.get('min_records')}.")
        if max(len(lines) for lines in inputs.values()) > self._faults.get("max_records"):
            raise JobFailed(f"A file has more than {self._faults.get('max_records')} records.")
        ids = [json.loads(line).get("recordId") for lines in inputs.values() for line in lines]
        if len(set(ids)) < len(ids):
            raise JobFailed("Duplicate recordId in the input.")
        return inputs

    def _check_owner(self, job: Job) -> None:
        """Buckets are taken for the caller's unless another owner is named; a wrong one is found out late."""
        configs = (job.request["inputDataConfig"]["s3InputDataConfig"], job.request["outputDataConfig"])
        for config in (configs[0], configs[1]["s3OutputDataConfig"]):
            if config.get("s3BucketOwner", ACCOUNT) != self._faults.get("bucket_owner"):
                raise JobFailed(f"S3 denied GetObject or PutObject: {config['s3Uri']} belongs to another account.")

    @staticmethod
    def _check_record(name: str, number: int, line: bytes) -> None:
        try:
            # As text: from bytes, json.loads would forgive a byte order mark and UTF-16.
            record = json.loads(line.decode())
        except (UnicodeDecodeError, ValueError):
            raise JobFailed(f"{name}: line {number} is not a JSON object.") from None
        if not isinstance(record, dict) or not isinstance(record.get("modelInput"), dict):
            raise JobFailed(f"{name}: line {number} has no modelInput object.")
        record_id = record.get("recordId")
        if not isinstance(record_id, str) or not record_id.isalnum() or len(record_id) > 64:
            raise JobFailed(f"{name}: line {number} has no alphanumeric recordId.")

    def _process(self, job: Job, inputs: dict[str, list[bytes]], end: dict[str, Any]) -> None:
        """Answer the records, all or the fraction that the job's end leaves, and write them in another order."""
        fraction = end.get("fraction", 0.5) if end else 1.0
        limit = int(job.total * fraction) if end else job.total
        invocation = job.request.get("modelInvocationType", "InvokeModel")
        outputs: dict[str, list[bytes]] = {name: [] for name in inputs}
        tokens = [0, 0]
        started = time.monotonic()
        for name, lines in inputs.items():
            for line in lines:
                if job.processed >= limit or job.stop.is_set():
                    break
                outputs[name].append(self._answer(job, json.loads(line), invocation, tokens))
        left = job.seconds * _SHARES["InProgress"] - (time.monotonic() - started)
        job.stop.wait(max(0.0, left))
        while self._faults.get("hold") and not job.stop.is_set():
            time.sleep(0.05)
        late = self._faults.get("output_late")
        if not late:
            self._write(job, outputs, tokens)
        if job.stop.is_set():
            self._enter(job, "Stopped")
        elif end:
            self._enter(job, end["status"], end.get("message", ""))
        else:
            self._enter(job, "Completed")
        if late:
            time.sleep(late)
            self._write(job, outputs, tokens)

    def _answer(self, job: Job, record: dict[str, Any], invocation: str, tokens: list[int]) -> bytes:
        model_id, body, record_id = job.request["modelId"], record["modelInput"], record["recordId"]
        asked = self._journal.asked(model_id, body)
        job.processed += 1
        errors = self._faults.get("record_errors")
        line: dict[str, Any] = {"modelInput": body}
        try:
            strikes = errors["rate"] and synthetic.fraction(record_id, "error") < errors["rate"]
            if strikes and asked <= errors.get("times", asked):
                raise Refused(errors.get("message", "The model refused the request."), errors["code"])
            line["modelOutput"] = models.answer(model_id, body, invocation, batch=True)
            self._journal.paid(model_id, body)
            usage = line["modelOutput"].get("usage", {})
            tokens[0] += usage.get("input_tokens", usage.get("inputTokens", 0))
            tokens[1] += usage.get("output_tokens", usage.get("outputTokens", 0))
            job.succeeded += 1
        except Refused as error:
            line["error"] = {"errorCode": error.status, "errorMessage": error.message}
            job.errored += 1
        line["recordId"] = record_id
        return json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def _write(self, job: Job, outputs: dict[str, list[bytes]], tokens: list[int]) -> None:
        config = job.request["outputDataConfig"]["s3OutputDataConfig"]
        bucket, key = _split(config["s3Uri"])
        kms_key = config.get("s3EncryptionKeyId")
        if self._faults.get("s3_require_kms") and not kms_key:
            raise JobFailed("S3 denied PutObject for the output.")
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        folder = f"{key.rstrip('/')}/{job.id}" if key.strip("/") else job.id
        shuffle = random.Random(job.id).shuffle
        for name, lines in outputs.items():
            shuffle(lines)
            self._spoil(lines)
            body = b"".join(line + b"\n" for line in lines)
            self._s3.put_object(Bucket=bucket, Key=f"{folder}/{name}.out", Body=body, **encryption)
        manifest = {
            "totalRecordCount": job.total,
            "processedRecordCount": job.processed,
            "successRecordCount": job.succeeded,
            "errorRecordCount": job.errored,
            "inputTokenCount": tokens[0],
            "outputTokenCount": tokens[1],
        }
        if self._faults.get("wrong_manifest"):
            manifest |= {"processedRecordCount": job.processed - 3, "successRecordCount": job.succeeded + 1}
        body = json.dumps(manifest).encode()
        self._s3.put_object(Bucket=bucket, Key=f"{folder}/manifest.json.out", Body=body, **encryption)

    def _spoil(self, lines: list[bytes]) -> None:
        del lines[: self._faults.get("missing")]
        lines += lines[: self._faults.get("doubled")]
        for number in range(self._faults.get("unasked")):
            lines.append(b'{"modelInput":{},"modelOutput":{},"recordId":"x%08d"}' % number)
        for number in range(min(self._faults.get("garbled"), len(lines))):
            lines[number] = lines[number][: len(lines[number]) // 2]
        for number, kind in enumerate(self._faults.get("rubbish_outputs")):
            lines[number] = rubbish.spoiled_line(kind, lines[number])


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
