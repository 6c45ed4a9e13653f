"""What the imitation is told to do wrong, and the journal of what it was asked."""

import hashlib
import json
import random
import threading
from collections import Counter
from typing import Any

#: The account of the imitation.
ACCOUNT = "123456789012"

#: Every fault, with the value that means none.
DEFAULTS: dict[str, Any] = {
    # Shares of calls that are answered 429 or 500, per API call.
    "throttle": 0.0,
    "server_error": 0.0,
    # Shares of Bedrock calls whose connection is reset before anything is done.
    "drop": 0.0,
    # The same for S3; "s3_truncate" is the share of downloads that end in the middle.
    "s3_throttle": 0.0,
    "s3_error": 0.0,
    "s3_drop": 0.0,
    "s3_truncate": 0.0,
    # Every call to S3 is refused with this code, as RequestTimeTooSkewed, SignatureDoesNotMatch or InvalidAccessKeyId.
    "s3_refused": None,
    # A bucket policy: writes without this kind of encryption are denied; so are these operations, such as DeleteObject
    # or HeadBucket; listing is allowed under this prefix only, and what is not there is denied as well.
    "s3_require_kms": False,
    "s3_denied": [],
    "s3_list_prefix": None,
    # Where all buckets are, and whose they are.
    "bucket_region": None,
    "bucket_owner": ACCOUNT,
    # Every call is refused with ExpiredToken.
    "expired_token": False,
    # So many create calls are carried out and then answered with a broken connection.
    "lose_create_replies": 0,
    # So many runtime calls are carried out, and paid, and then answered with a broken connection; or by a gateway.
    "lose_invoke_replies": 0,
    "gateway_replies": 0,
    # How the answers of the next runtime calls, or the first output lines of each job, are spoiled: of `rubbish.KINDS`.
    "rubbish_replies": [],
    "rubbish_outputs": [],
    # So many Get calls do not know the job yet.
    "unknown_gets": 0,
    # Ends of the next jobs, in order: {"status": "Expired", "fraction": 0.5, "message": "..."}.
    "job_ends": [],
    # Seconds from submission to the end of a job, spread over its states; None leaves the setting.
    "job_seconds": None,
    # Jobs stay InProgress, and calls on demand unanswered, until this is false again.
    "hold": False,
    "max_jobs": 20,
    "min_records": 100,
    "max_records": 50_000,
    # Share of records answered with this error; with "times", each of them so many times, and then answered.
    "record_errors": {"rate": 0.0, "code": 400, "message": "The model refused the request."},
    # Share of bodies whose next so many calls on demand are answered with this error, and are not paid for.
    "invoke_errors": {"rate": 0.0, "code": 408, "message": "The model timed out.", "times": 1},
    # Seconds between a job's last state and its output in S3, and whether its manifest counts wrong.
    "output_late": 0.0,
    "wrong_manifest": False,
    # So many records of each job are left out, come twice, come unasked, or are cut off in the middle.
    "missing": 0,
    "doubled": 0,
    "unasked": 0,
    "garbled": 0,
    # The answer text of every model call is this, where set.
    "denied_operations": [],
    # Milliseconds that each runtime call takes.
    "latency_ms": 0,
    # A role that Bedrock cannot assume.
    "bad_roles": [],
}


class Faults:
    """Thread-safe settings; unknown names are refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> dict[str, Any]:
        """No faults; those to come strike as after any other reset."""
        with self._lock:
            self._values = json.loads(json.dumps(DEFAULTS))
            self._random = random.Random(1)
            return dict(self._values)

    def set(self, changes: dict[str, Any]) -> dict[str, Any]:
        unknown = changes.keys() - DEFAULTS.keys()
        if unknown:
            raise ValueError(f"unknown faults: {sorted(unknown)}; known: {sorted(DEFAULTS)}")
        with self._lock:
            self._values.update(json.loads(json.dumps(changes)))
            return dict(self._values)

    def get(self, name: str) -> Any:
        with self._lock:
            return self._values[name]

    def happens(self, name: str) -> bool:
        """Whether a fault given as a share strikes this time."""
        with self._lock:
            return bool(self._random.random() < self._values[name])

    def take_one(self, name: str) -> bool:
        """Use up one of a fault given as a number."""
        with self._lock:
            if self._values[name] > 0:
                self._values[name] -= 1
                return True
            return False

    def take_next(self, name: str) -> Any:
        """Use up the first of a fault given as a list; None where none is left."""
        with self._lock:
            return self._values[name].pop(0) if self._values[name] else None


class Journal:
    """Counts calls, and how often each record's body was paid for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def call(self, operation: str) -> None:
        with self._lock:
            self.calls[operation] += 1

    def asked(self, model_id: str, body: Any) -> int:
        """Note that a body was asked; returns how often it has been."""
        digest = _digest(model_id, body)
        with self._lock:
            self._asked[digest] += 1
            return self._asked[digest]

    def paid(self, model_id: str, body: Any) -> None:
        """Note that a body was answered, which is what costs money."""
        digest = _digest(model_id, body)
        with self._lock:
            self._bodies[digest] += 1

    def reset(self) -> None:
        with self._lock:
            self.calls.clear()
            self._bodies.clear()
            self._asked.clear()

    def snapshot(self) -> dict[str, Any]:
        with self._lock:
            return {
                "calls": dict(self.calls),
                "bodies": len(self._bodies),
                "paid": sum(self._bodies.values()),
                "asked": sum(self._asked.values()),
                "most_often": max(self._bodies.values(), default=0),
            }


def _digest(model_id: str, body: Any) -> str:
    text = json.dumps([model_id, body], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
