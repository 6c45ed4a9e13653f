"""What a person sets once: bucket, prefix, role and key; from the environment or from a Prefect block."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
from prefect.blocks.core import Block
from pydantic import Field

from tasks.bedrock.vpc import VpcConfig, read_vpc_config
from tasks.errors import ConfigurationError
from tasks.storage.uris import S3Uri, parse_location

#: Names the buckets, beside the batch's and the input's, of which requests may refer to objects.
IMAGE_BUCKETS_VARIABLE = "BEDROCK_BATCH_IMAGE_BUCKETS"
#: The subnets and security groups of the jobs, as JSON.
VPC_VARIABLE = "BEDROCK_BATCH_VPC_CONFIG"
#: Answers, and links of an hour, in the summary that Prefect shows.
ANSWERS_VARIABLE, MOST_ANSWERS = "BEDROCK_BATCH_SUMMARY_ANSWERS", 20
LINKS_VARIABLE = "BEDROCK_BATCH_SUMMARY_LINKS"
#: 0 turns all short cuts for uniform files off.
FAST_VARIABLE = "BEDROCK_BATCH_FAST"
#: Those of the input that the batches' inputs are copies of.
_copied_from: ContextVar[tuple[str, ...]] = ContextVar("copied_from", default=())
#: Settings that go before everything a person set: those of an API caller.
_in_force: "ContextVar[Settings | None]" = ContextVar("in_force", default=None)


class BedrockBatchSettings(Block):
    """Where batches live and which role runs them. Environment variables and flow parameters go before it."""

    _block_type_name = "Bedrock Batch Settings"
    _block_type_slug = "bedrock-batch-settings"
    _description = "The bucket, prefix, service role and KMS key of OpenAI batches on Amazon Bedrock."

    bucket: str = Field(description="An existing bucket in the region of the jobs (BEDROCK_BATCH_BUCKET).")
    prefix: str = Field(default="bedrock-batch", description="Folder of all batches (BEDROCK_BATCH_PREFIX).")
    role_arn: str | None = Field(default=None, description="Service role of the jobs (BEDROCK_BATCH_ROLE_ARN).")
    kms_key: str | None = Field(default=None, description="KMS key for all objects (BEDROCK_BATCH_KMS_KEY).")
    bucket_owner: str | None = Field(
        default=None, description="Account of the bucket, where it is another's (BEDROCK_BATCH_BUCKET_OWNER)."
    )
    image_buckets: str | None = Field(
        default=None, description="Further buckets of s3:// images, with commas between (BEDROCK_BATCH_IMAGE_BUCKETS)."
    )
    vpc_config: dict[str, Any] | None = Field(
        default=None, description="subnetIds and securityGroupIds of the jobs (BEDROCK_BATCH_VPC_CONFIG)."
    )


#: Botocore's `bedrock`, shape `AccountId`.
_ACCOUNT = re.compile(r"[0-9]{12}")


class Settings(msgspec.Struct, frozen=True):
    """The settings of one run. `root` is the folder that holds `batches/`."""

    root: S3Uri
    role_arn: str | None
    kms_key: str | None
    #: The AWS account that owns the bucket, where the user named it.
    bucket_owner: str | None = None
    #: Buckets, beside the batch's and the input's, of which requests may refer to objects.
    image_buckets: tuple[str, ...] = ()
    #: Where they are set: the only folders whose objects requests may refer to, and folders within that are closed.
    image_folders: tuple[S3Uri, ...] | None = None
    closed_folders: tuple[S3Uri, ...] = ()
    #: The subnets and security groups of the jobs of batches that name none.
    vpc_config: VpcConfig | None = None


def account_id(text: str, what: str) -> str:
    """An AWS account's number. Raises ConfigurationError naming the setting that it comes from."""
    if not isinstance(text, str) or not _ACCOUNT.fullmatch(text):
        raise ConfigurationError(
            f"{what} must be the 12 digits of an AWS account, as text, such as '123456789012', not {text!r}."
        )
    return text


def load_settings(role_arn: str | None = None) -> Settings:
    """Read the environment, then the block `bedrock-batch-settings/default` for what it leaves open.

    Raises ConfigurationError when there is no bucket, or when bucket or prefix break Bedrock's patterns.
    """
    in_force = _in_force.get()
    if in_force is not None:
        return msgspec.structs.replace(in_force, role_arn=role_arn or in_force.role_arn)
    bucket = os.environ.get("BEDROCK_BATCH_BUCKET", "").strip()
    block: Any = None if bucket else _load_block()
    bucket = bucket or (block.bucket if block else "")
    if not bucket:
        raise ConfigurationError(
            "No bucket is set: set BEDROCK_BATCH_BUCKET to an existing bucket in the region of the jobs, or save a "
            "'Bedrock Batch Settings' block named 'default' in Prefect."
        )
    prefix = os.environ.get("BEDROCK_BATCH_PREFIX") or (block.prefix if block else None) or "bedrock-batch"
    bucket = bucket.removeprefix("s3://").strip("/")
    owner = os.environ.get("BEDROCK_BATCH_BUCKET_OWNER", "").strip() or (block.bucket_owner if block else None)
    return Settings(
        root=parse_location(f"s3://{bucket}/{prefix.strip('/')}", "BEDROCK_BATCH_BUCKET and BEDROCK_BATCH_PREFIX"),
        role_arn=role_arn or os.environ.get("BEDROCK_BATCH_ROLE_ARN") or (block.role_arn if block else None),
        kms_key=os.environ.get("BEDROCK_BATCH_KMS_KEY") or (block.kms_key if block else None),
        bucket_owner=account_id(owner, "BEDROCK_BATCH_BUCKET_OWNER") if owner else None,
        vpc_config=read_vpc_config(
            os.environ.get(VPC_VARIABLE, "").strip() or (block.vpc_config if block else None), VPC_VARIABLE
        ),
        image_buckets=_buckets(os.environ.get(IMAGE_BUCKETS_VARIABLE) or (block.image_buckets if block else None)),
    )


def _buckets(names: str | None) -> tuple[str, ...]:
    """Names of buckets with commas between. Raises ConfigurationError."""
    stripped = [name.strip().removeprefix("s3://").strip("/") for name in (names or "").split(",") if name.strip()]
    return (*(parse_location(f"s3://{name}", IMAGE_BUCKETS_VARIABLE).bucket for name in stripped), *_copied_from.get())


@contextmanager
def copies_of(buckets: Collection[str]) -> Iterator[None]:
    """Let the requests of batches that are opened herein refer to objects of these buckets, where they came from."""
    token = _copied_from.set(tuple(buckets))
    try:
        yield
    finally:
        _copied_from.reset(token)


@contextmanager
def settings_in_force(settings: Settings) -> Iterator[None]:
    """Have these settings, and no others, hold for what is called herein: one process works for several tenants."""
    token = _in_force.set(settings)
    try:
        yield
    finally:
        _in_force.reset(token)


def fast_enabled() -> bool:
    """Whether files whose lines are alike take the short cuts of `tasks.fast`, which come to the same; 0 means not.

    Raises ConfigurationError.
    """
    wanted = os.environ.get(FAST_VARIABLE, "").strip() or "1"
    if wanted not in ("0", "1"):
        raise ConfigurationError(f"{FAST_VARIABLE} must be 1 (the default) or 0, not {wanted!r}.")
    return wanted == "1"


class SummarySettings(msgspec.Struct, frozen=True):
    """What the summary of a batch in Prefect holds besides: nothing of it without being asked for."""

    #: So many answers are shown to whoever can see the UI.
    answers: int
    #: Links that whoever sees the UI may download the result files with, for an hour.
    signed_links: bool


def summary_settings() -> SummarySettings:
    """Raises ConfigurationError."""
    answers = os.environ.get(ANSWERS_VARIABLE, "").strip() or "0"
    links = os.environ.get(LINKS_VARIABLE, "").strip() or "0"
    if not answers.isdecimal() or int(answers) > MOST_ANSWERS:
        raise ConfigurationError(f"{ANSWERS_VARIABLE} must be a number up to {MOST_ANSWERS}, not {answers!r}.")
    if links not in ("0", "1"):
        raise ConfigurationError(f"{LINKS_VARIABLE} must be 1 or 0 (the default), not {links!r}.")
    return SummarySettings(int(answers), links == "1")


def _load_block() -> BedrockBatchSettings | None:
    try:
        loaded = BedrockBatchSettings.load("default")
    except ValueError:
        return None
    return loaded if isinstance(loaded, BedrockBatchSettings) else None
