"""Which foundation model is behind an id, a profile or an ARN."""

import pytest

from tasks.bedrock.limits import availability_warning
from tasks.bedrock.models import Model, parse_model
from tasks.codecs import codec_for


@pytest.mark.parametrize(
    ("model", "base", "family"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("us.anthropic.claude-opus-5", "anthropic.claude-opus-5", "anthropic"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", "nova"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/apac.amazon.nova-2-lite-v1:0",
            "amazon.nova-2-lite-v1:0",
            "nova",
        ),
        (
            "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0",
            "anthropic.claude-3-5-sonnet-20240620-v1:0",
            "anthropic",
        ),
        ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0", "llama"),
        ("global.zai.glm-5.3", "zai.glm-5.3", "openai-bodied"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", "", "converse"),
    ],
)
def test_models(model: str, base: str, family: str) -> None:
    parsed = parse_model(model)
    assert (parsed.id, parsed.base_id, codec_for(parsed).family) == (model, base, family)


@pytest.mark.parametrize(
    ("model", "warning"),
    [
        ("anthropic.claude-opus-5", "only through an inference profile, such as us.anthropic.claude-opus-5"),
        ("global.anthropic.claude-opus-5", None),
        ("us.anthropic.claude-opus-4-7", "No batch inference"),
        ("us.deepseek.v3-v1:0", "only under its bare id"),
        ("arn:aws:bedrock:us-east-1::foundation-model/deepseek.v3-v1:0", None),
        ("cohere.embed-v4:0", "immediate"),
        ("acme.unknown-model", "not in the table of models"),
        ("us.xai.grok-4.7", "BEDROCK_BATCH_MODELS"),
    ],
)
def test_what_is_known_of_batch_inference_warns(model: str, warning: str | None) -> None:
    said = availability_warning(parse_model(model))
    assert said is None if warning is None else warning in (said or "")


@pytest.mark.parametrize("model", ["", "two words", "arn:aws:s3:::bucket", "arn:aws:bedrock"])
def test_what_is_no_model(model: str) -> None:
    with pytest.raises(ValueError, match=r"is (no|not the ARN of a) Bedrock model"):
        parse_model(model)


@pytest.mark.parametrize(
    ("model", "name", "provider", "region"),
    [
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001", "anthropic", None),
        (" us.amazon.nova-2-lite-v1:0:256k ", "nova-2-lite", "amazon", None),
        ("amazon.titan-embed-text-v2:0", "titan-embed-text", "amazon", None),
        ("openai.gpt-oss-20b-1:0", "gpt-oss-20b-1", "openai", None),
        ("meta.llama3-1-8b-instruct-v1:0:128k", "llama3-1-8b-instruct", "meta", None),
        ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0", "nova-pro", "amazon", "eu-west-1"),
        ("arn:aws:bedrock:::foundation-model/amazon.nova-pro-v1:0", "nova-pro", "amazon", None),
        (
            "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abc",
            "nova-micro",
            "amazon",
            "us-east-1",
        ),
        # A prefix that is none of a profile's is a provider's.
        ("usa.model-v1", "model", "usa", None),
        ("claude", "", "", None),
        ("us", "", "", None),
    ],
)
def test_the_parts_of_a_name(model: str, name: str, provider: str, region: str | None) -> None:
    parsed = parse_model(model)
    assert (parsed.id, parsed.name, parsed.provider, parsed.region) == (model.strip(), name, provider, region)


def test_nothing_is_known_of_the_model_behind_a_profile_of_ones_own() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a.b"
    assert parse_model(arn) == Model(arn, "", "", "us-east-1")


@pytest.mark.parametrize(
    ("prefix", "known"), [("us", True), ("us-gov", True), ("global", True), ("jp", True), ("moon", False)]
)
def test_regional_profiles(prefix: str, known: bool) -> None:
    parsed = parse_model(f"{prefix}.amazon.nova-lite-v1:0")
    assert parsed.base_id == ("amazon.nova-lite-v1:0" if known else f"{prefix}.amazon.nova-lite-v1:0")
