import re

import pytest

from deployments.sandbox import patterns
from tasks.bedrock.limits import availability_warning
from tasks.bedrock.models import parse_model
from tasks.bedrock.names import batch_id, client_request_token, job_name, record_id
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


@pytest.mark.parametrize("wanted", [None, "", "---", "my job", "Ünïcode/../../x", "a" * 200, "x_y.z+w"])
def test_job_names_and_tokens_fit_the_patterns(wanted: str | None) -> None:
    batch = batch_id("00", "m", {})
    name = job_name(batch, 12345, 3, wanted)
    assert patterns.JOB_NAME.fullmatch(name)
    assert len(name) <= 63
    assert patterns.TOKEN.fullmatch(client_request_token("s3://b/p/" + batch, 1, 1))
    assert patterns.S3_URI.fullmatch(f"s3://bucket/bedrock-batch/batches/{batch}/input/part-00000-1.jsonl")


def test_names_tell_everything_apart() -> None:
    base = batch_id("00", "m", {"a": 1, "b": 2})
    assert base == batch_id("00", "m", {"b": 2, "a": 1})
    assert (
        len(
            {
                base,
                batch_id("01", "m", {"a": 1, "b": 2}),
                batch_id("00", "n", {"a": 1, "b": 2}),
                batch_id("00", "m", {"a": 1}),
            }
        )
        == 4
    )
    assert re.fullmatch(r"batch_[0-9a-f]{32}", base)
    tokens = {
        client_request_token(folder, shard, attempt) for folder in "ab" for shard in (1, 11) for attempt in (1, 11)
    }
    assert len(tokens) == 8
    assert record_id(7) == "r000000007"
    assert record_id(7, 2) == "r000000007c0002"
