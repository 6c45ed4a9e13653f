"""Deterministic names: the batch, its jobs, their tokens and its records.

Patterns: botocore `bedrock`, shapes `ModelInvocationJobName` and `ModelInvocationIdempotencyToken`.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_JOB_NAME_BYTES = 63


def batch_id(content_digest: str, model_id: str, options: Mapping[str, Any]) -> str:
    """`batch_` and 32 hex digits: the same input, model and options always name the same batch."""
    text = msgspec.json.encode([content_digest, model_id, dict(options)], order="deterministic")
    return "batch_" + hashlib.sha256(text).hexdigest()[:32]


def job_name(batch: str, shard: int, attempt: int, wanted: str | None = None) -> str:
    """A job name that Bedrock accepts, unique to the shard of the batch and the attempt at it."""
    tail = f"{batch.removeprefix('batch_')[:16]}-{shard:05d}-{attempt}"
    head = re.sub(r"[^A-Za-z0-9]+", "-", wanted or "bedrock-batch").strip("-") or "bedrock-batch"
    return f"{head[: _JOB_NAME_BYTES - len(tail) - 1].rstrip('-')}-{tail}"


def client_request_token(folder: str, shard: int, attempt: int) -> str:
    """The idempotency token of one attempt at a shard: a second create with it makes no second job.

    `folder` is the batch's S3 folder: the same batch under another prefix is another one to Bedrock.
    """
    return hashlib.sha256(f"{folder}|{shard}|{attempt}".encode()).hexdigest()[:40]


def record_id(request: int, choice: int = 0) -> str:
    """The recordId of one record: the request's place in the input (from 0), and the choice where there are many."""
    return f"r{request:09d}" if choice == 0 else f"r{request:09d}c{choice:04d}"


#: recordIds of padding start with this; they belong to no request.
PADDING_PREFIX = "pad"
