"""What a person sets once: the environment before the block, and what is wrong is named."""

import json
from typing import Any

import pytest

from tasks import settings
from tasks.bedrock.vpc import VpcConfig
from tasks.errors import ConfigurationError
from tasks.settings import (
    BedrockBatchSettings,
    Settings,
    SummarySettings,
    account_id,
    copies_of,
    fast_enabled,
    load_settings,
    settings_in_force,
    summary_settings,
)
from tasks.storage.uris import S3Uri


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the block in Prefect holds; empty, there is none. Of the environment nothing is set."""
    fields: dict[str, Any] = {}
    for name in ("BUCKET", "PREFIX", "ROLE_ARN", "KMS_KEY", "BUCKET_OWNER", "IMAGE_BUCKETS", "VPC_CONFIG", "FAST"):
        monkeypatch.delenv(f"BEDROCK_BATCH_{name}", raising=False)
    monkeypatch.setattr(settings, "_load_block", lambda: BedrockBatchSettings(**fields) if fields else None)
    return fields


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"BEDROCK_BATCH_{name}", value)


OF_THE_BLOCK = {
    "bucket": "of-block",
    "prefix": "p-block",
    "role_arn": "r-block",
    "kms_key": "k-block",
    "bucket_owner": "111111111111",
    "image_buckets": "images-block",
}


def test_the_environment(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    block.update(OF_THE_BLOCK)
    set_all(monkeypatch, BUCKET=" s3://my-bucket/ ", PREFIX="/a/b/", ROLE_ARN="role", KMS_KEY="key")
    set_all(monkeypatch, BUCKET_OWNER=" 123456789012 ", IMAGE_BUCKETS="one, s3://two/ ,,three")
    assert load_settings() == Settings(
        S3Uri("my-bucket", "a/b"), "role", "key", "123456789012", ("one", "two", "three")
    )


def test_a_bucket_of_the_environment_leaves_the_block_out(
    monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]
) -> None:
    """The block's key and account are those of another bucket."""
    block.update(OF_THE_BLOCK)
    set_all(monkeypatch, BUCKET="my-bucket")
    assert load_settings() == Settings(S3Uri("my-bucket", "bedrock-batch"), None, None)
    set_all(monkeypatch, BUCKET="s3://my-bucket/", PREFIX="/mine/of/")
    assert load_settings().root == S3Uri("my-bucket", "mine/of")


def test_the_block(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    block.update(OF_THE_BLOCK)
    place = S3Uri("of-block", "p-block")
    assert load_settings() == Settings(place, "r-block", "k-block", "111111111111", ("images-block",))
    set_all(monkeypatch, PREFIX="mine", ROLE_ARN="role", KMS_KEY="key", BUCKET_OWNER="2" * 12, IMAGE_BUCKETS="one")
    assert load_settings() == Settings(S3Uri("of-block", "mine"), "role", "key", "2" * 12, ("one",))


def test_the_jobs_vpc(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    def wanted(subnet: str) -> dict[str, list[str]]:
        return {"subnetIds": [subnet], "securityGroupIds": ["sg-1"]}

    block.update(OF_THE_BLOCK, vpc_config=wanted("of-block"))
    assert load_settings().vpc_config == VpcConfig.model_validate(wanted("of-block"))
    set_all(monkeypatch, VPC_CONFIG=json.dumps(wanted("of-environment")))
    assert load_settings().vpc_config == VpcConfig.model_validate(wanted("of-environment"))


def test_the_role_of_a_call_goes_before_all(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    set_all(monkeypatch, BUCKET="my-bucket", ROLE_ARN="role")
    assert load_settings("of the call").role_arn == "of the call"
    with settings_in_force(Settings(S3Uri("other", ""), "of the caller", None)):
        assert load_settings().role_arn == "of the caller"
        assert load_settings("of the call").role_arn == "of the call"


@pytest.mark.parametrize("bucket", [None, "", "  "])
def test_without_a_bucket(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any], bucket: str | None) -> None:
    if bucket is not None:
        set_all(monkeypatch, BUCKET=bucket)
    with pytest.raises(ConfigurationError, match="set BEDROCK_BATCH_BUCKET to an existing bucket"):
        load_settings()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"BUCKET": "My_Bucket"}, "'My_Bucket' is not a bucket name"),
        ({"PREFIX": "a b"}, "BEDROCK_BATCH_PREFIX: Bedrock refuses the folder name 'a b'"),
        ({"BUCKET_OWNER": "12345678901"}, "BEDROCK_BATCH_BUCKET_OWNER must be the 12 digits"),
        ({"BUCKET_OWNER": "1234567890123"}, "BEDROCK_BATCH_BUCKET_OWNER must be the 12 digits"),
        ({"VPC_CONFIG": "subnet-1"}, "BEDROCK_BATCH_VPC_CONFIG is no JSON"),
        ({"VPC_CONFIG": '{"subnetIds":["subnet-1"]}'}, "BEDROCK_BATCH_VPC_CONFIG.securityGroupIds: Field required"),
        ({"VPC_CONFIG": "[]"}, "BEDROCK_BATCH_VPC_CONFIG: Input should be"),
        ({"IMAGE_BUCKETS": "one,Two"}, "BEDROCK_BATCH_IMAGE_BUCKETS: 'Two' is not a bucket name"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, block: dict[str, Any], wrong: dict[str, str], message: str
) -> None:
    set_all(monkeypatch, **{"BUCKET": "my-bucket", **wrong})
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_settings_of_a_caller_hold_for_its_calls_only(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    set_all(monkeypatch, BUCKET="my-bucket", KMS_KEY="key", IMAGE_BUCKETS="one")
    before = load_settings()
    callers = Settings(S3Uri("callers", "x"), "role", None, image_folders=(S3Uri("callers", "images"),))
    with pytest.raises(RuntimeError), settings_in_force(callers):
        assert load_settings() == callers
        raise RuntimeError
    assert load_settings() == before


def test_buckets_that_inputs_were_copied_from(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    set_all(monkeypatch, BUCKET="my-bucket", IMAGE_BUCKETS="one")
    with copies_of(["from"]):
        assert load_settings().image_buckets == ("one", "from")
    assert load_settings().image_buckets == ("one",)


@pytest.mark.parametrize(("value", "enabled"), [(None, True), ("", True), ("1", True), (" 0 ", False)])
def test_short_cuts(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any], value: str | None, enabled: bool) -> None:
    if value is not None:
        set_all(monkeypatch, FAST=value)
    assert fast_enabled() is enabled


def test_a_wrong_switch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, FAST="no")
    with pytest.raises(ConfigurationError, match=r"BEDROCK_BATCH_FAST must be 1 \(the default\) or 0, not 'no'"):
        fast_enabled()


@pytest.mark.parametrize(
    ("answers", "links", "expected"),
    [
        ("", "", SummarySettings(0, False)),
        ("20", "1", SummarySettings(20, True)),
        ("0", "0", SummarySettings(0, False)),
    ],
)
def test_what_the_summary_shows(
    monkeypatch: pytest.MonkeyPatch, answers: str, links: str, expected: SummarySettings
) -> None:
    set_all(monkeypatch, SUMMARY_ANSWERS=answers, SUMMARY_LINKS=links)
    assert summary_settings() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("SUMMARY_ANSWERS", "21"), ("SUMMARY_ANSWERS", "-1"), ("SUMMARY_ANSWERS", "all"), ("SUMMARY_LINKS", "yes")],
)
def test_a_summary_that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, **{"SUMMARY_ANSWERS": "1", "SUMMARY_LINKS": "1", name: value})
    with pytest.raises(ConfigurationError, match=f"BEDROCK_BATCH_{name} must be .* not '{value}'"):
        summary_settings()


# The block itself


def test_the_block_is_the_one_named_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """People have saved it under this type and name."""
    for name in ("BUCKET", "PREFIX", "ROLE_ARN", "KMS_KEY", "BUCKET_OWNER", "IMAGE_BUCKETS", "VPC_CONFIG"):
        monkeypatch.delenv(f"BEDROCK_BATCH_{name}", raising=False)
    assert (BedrockBatchSettings._block_type_name, BedrockBatchSettings._block_type_slug) == (
        "Bedrock Batch Settings",
        "bedrock-batch-settings",
    )
    asked: list[str] = []
    found: list[Any] = [BedrockBatchSettings(bucket="of-block"), None, ValueError("Unable to find block document")]

    def load(name: str) -> Any:
        asked.append(name)
        result = found[len(asked) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(BedrockBatchSettings, "load", load)
    assert load_settings() == Settings(S3Uri("of-block", "bedrock-batch"), None, None)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="No bucket is set"):
            load_settings()
    assert asked == ["default"] * 3
    set_all(monkeypatch, BUCKET="my-bucket")
    assert load_settings().root.bucket == "my-bucket"
    assert len(asked) == 3, "Prefect is asked for it only where it is needed"


def test_what_the_block_holds() -> None:
    fields = {name: (field.is_required(), field.default) for name, field in BedrockBatchSettings.model_fields.items()}
    assert fields.pop("bucket")[0]
    assert fields == {
        "prefix": (False, "bedrock-batch"),
        **dict.fromkeys(("role_arn", "kms_key", "bucket_owner", "image_buckets", "vpc_config"), (False, None)),
    }
    for name, field in BedrockBatchSettings.model_fields.items():
        assert f"(BEDROCK_BATCH_{name.upper()})" in (field.description or ""), name


def test_blocks_within_one_another_end_with_themselves(monkeypatch: pytest.MonkeyPatch, block: dict[str, Any]) -> None:
    set_all(monkeypatch, BUCKET="my-bucket")
    outer, inner = Settings(S3Uri("outer", ""), None, None), Settings(S3Uri("inner", ""), None, None)
    with settings_in_force(outer), copies_of(["a"]):
        with settings_in_force(inner), copies_of(["b"]), pytest.raises(KeyError):
            assert load_settings() == inner
            raise KeyError
        assert load_settings() == outer
    with copies_of(["a"]):
        with copies_of(["b"]):
            assert load_settings().image_buckets == ("b",)
        assert load_settings().image_buckets == ("a",)


@pytest.mark.parametrize("value", [None, 123456789012, "", "12345678901a", "\u0661" * 12])
def test_what_is_no_account(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^WHOSE must be the 12 digits of an AWS account"):
        account_id(value, "WHOSE")
    assert account_id("123456789012", "WHOSE") == "123456789012"
