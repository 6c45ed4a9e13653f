"""What a call resolves to, how that names the batch, and what of it batch.json keeps."""

import inspect
import json
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest

from flows.batch import batch_inference
from flows.compare import compare_models
from tasks.batch.document import BatchDocument
from tasks.batch.options import BatchOptions, _resolve, parse_window, read_metadata, resolve_options
from tasks.batch.parameters import BatchParameters, OnInvalid, Parameters
from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.comparison.parameters import ComparisonParameters
from tasks.comparison.variants import BATCH_OPTIONS
from tasks.errors import AccessDeniedError, ConfigurationError
from tasks.open import name_batch, resume_batch
from tasks.settings import settings_in_force
from tasks.storage.uris import S3Uri
from tests.builders import HELD, REF, call, document, store, stored, summary
from tests.conftest import CLAUDE, NOVA
from tests.fakes import BUCKET, Cloud

FLOWS = [(batch_inference, BatchParameters), (compare_models, ComparisonParameters)]


@pytest.mark.parametrize(
    ("window", "hours"),
    [
        ("24h", 24),
        ("168h", 168),
        ("36h", 36),
        ("1d", 24),
        ("7d", 168),
        (" 2D ", 48),
        ("immediate", None),
        ("Immediate", None),
        *(
            (bad, ValueError)
            for bad in (
                "23h",
                "169h",
                "8d",
                "10d",
                "0h",
                "0d",
                "h",
                "d",
                "",
                "24",
                "24 h",
                "-24h",
                "1.5d",
                "1w",
                "²4h",
                "0024h",
                "9" * 5000 + "h",
            )
        ),
    ],
)
def test_completion_windows(window: str, hours: Any) -> None:
    if hours is not ValueError:
        assert parse_window(window) == hours
        return
    with pytest.raises(ValueError, match="24h to 168h"):
        parse_window(window)


# The parameters


@pytest.mark.parametrize(("flow", "parameters"), FLOWS, ids=["batch", "compare"])
def test_signatures_are_the_models(flow: Any, parameters: type[Parameters]) -> None:
    signature = inspect.signature(flow.fn).parameters
    described = {name: (info, each) for name, info, each in parameters.described()}
    assert signature.keys() == described.keys()
    schema = flow.parameters.properties
    own = parameters.model_json_schema()["properties"]
    for name, (info, each) in described.items():
        default = inspect.Parameter.empty if info.is_required() else info.default
        assert signature[name].default == default, name
        assert schema[name]["title"] == each.title
        assert " ".join(schema[name]["description"].split()) == each.description
        extras = ("title", "description", "position", "default")
        types, expected = ({k: v for k, v in every[name].items() if k not in extras} for every in (schema, own))
        assert types == expected, name


@pytest.mark.parametrize(("flow", "parameters"), FLOWS, ids=["batch", "compare"])
def test_every_choice_is_explained(flow: Any, parameters: type[Parameters]) -> None:
    for name, info, each in parameters.described():
        choices = [choice for choice in get_args(info.annotation) if isinstance(choice, str)]
        assert list(each.choices) == choices, name
        assert each.title[0].isupper()
        assert each.text.endswith(".")


def test_what_a_variant_may_set() -> None:
    assert {
        "completion_window",
        "unsupported",
        "below_minimum",
        "invocation",
        "role_arn",
        "job_name",
    } == BATCH_OPTIONS


# The name


@pytest.mark.parametrize(
    ("asked", "read", "name"),
    [
        ({}, {}, "batch_5726ed0588828783d78717e345b385f3"),
        ({"unsupported": "drop"}, {}, "batch_f68d2edcad792bd093a9735daf91cbcd"),
        ({"on_invalid": "skip"}, {}, "batch_f8e7f26d056ef474439db6609bfc38ba"),
        ({"invocation": "Converse"}, {}, "batch_fabfb4e6162279ca783ce9558b97d52c"),
        ({"invocation": "InvokeModel"}, {}, "batch_c47e4d0b4b26dc01205218e40806bdb0"),
        ({"fetch_images": True}, {}, "batch_848cb0582bda5cb3562b75500bad9d6b"),
        ({"model": NOVA}, {}, "batch_fb81a7fc9258bc5e81b9886c85a70cf0"),
        ({}, {"digest": "01"}, "batch_88296c6e1ce7c09221ac7ab32d40dab0"),
        ({}, {"endpoint": "/v1/responses"}, "batch_7b97f04c88aca857fd6fbf56c237e931"),
        ({}, {"endpoint": None}, "batch_e227c7f11499fd373eb80cd386d9599f"),
        (
            {
                "on_invalid": "skip",
                "unsupported": "drop",
                "invocation": "Converse",
                "fetch_images": True,
                "below_minimum": "pad",
            },
            {"endpoint": "/v1/embeddings"},
            "batch_e51c91489cc97c5208e4d8de7a7383d9",
        ),
    ],
)
def test_names_are_for_ever(cloud: Cloud, asked: dict[str, Any], read: dict[str, Any], name: str) -> None:
    """Recorded: another name for the same call would pay for its answers again."""
    assert name_batch(call(**asked), summary(**read)).batch_id == name


def test_what_does_not_change_the_result_names_the_same_batch(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = name_batch(call(), summary())
    before = stored(ref)
    for changed in (
        {"below_minimum": "pad"},
        {"completion_window": "2d"},
        {"metadata": {"a": "b"}},
        {"job_name": "x"},
        {"role_arn": "arn:aws:iam::123456789012:role/Other"},
        {"retry_failed": True},
        {"wait": False},
        {"poll_seconds": 3},
        {"max_cost_usd": 3},
        {"input_file": "moved.jsonl"},
        {"endpoint": "/v1/chat/completions"},
        {"output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://bucket-b/c"}}},
    ):
        assert name_batch(call(**changed), summary()) == ref
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "1")
    assert name_batch(call(), summary()) == ref
    assert stored(ref) == before, "naming it changes nothing"


# What is stored

#: The section's `options` and `limits` as they were written before they had a type.
STORED: dict[str, Any] = {
    "options": {
        "endpoint": "/v1/chat/completions",
        "on_invalid": "skip",
        "unsupported": "drop",
        "invocation": "Converse",
        "below_minimum": "pad",
        "output_location": "s3://b/c",
        "output_kms_key": None,
        "output_owner": None,
        "bucket_owner": "123456789012",
        "image_buckets": ["images"],
    },
    "limits": {
        "min_records_per_job": 3,
        "max_records_per_job": 7,
        "max_bytes_per_file": 1000,
        "max_jobs": 2,
        "max_rounds": 1,
    },
}


def test_documents_of_before_are_read_and_written_as_they_were() -> None:
    section = BatchDocument.model_validate_json(document(section=STORED).model_dump_json()).bedrock
    options = BatchOptions(
        endpoint="/v1/chat/completions",
        on_invalid="skip",
        unsupported="drop",
        invocation="Converse",
        below_minimum="pad",
        output_location="s3://b/c",
        bucket_owner="123456789012",
        image_buckets=("images",),
    )
    assert section.options == options
    assert section.limits.max_records_per_job == 7
    written = json.loads(section.model_dump_json(include={"options", "limits"}))
    assert written == {**STORED, "options": {**STORED["options"], "fetch_images": False}}


def test_what_a_newer_version_wrote_is_kept(cloud: Cloud) -> None:
    section = {
        "options": {**STORED["options"], "guardrail": "g"},
        "limits": {**STORED["limits"], "max_tokens": 9},
    }
    store(cloud, document(holder="me", section=section))
    resume_batch(HELD, call(below_minimum="fail"), summary())
    written = json.loads(cloud.s3.objects[REF.document.key].body)["bedrock"]
    assert written["options"]["guardrail"] == "g"
    assert written["options"]["below_minimum"] == "fail", "the latest call decides"
    settled = document([], holder="me", section=section)
    store(cloud, settled)
    resume_batch(HELD, call(), summary())
    assert json.loads(cloud.s3.objects[REF.document.key].body)["bedrock"]["limits"]["max_tokens"] == 9


def test_a_call_is_resolved(cloud: Cloud) -> None:
    output = {"s3Uri": "s3://elsewhere/x", "s3EncryptionKeyId": "key", "s3BucketOwner": "123456789012"}
    resolved = call(
        completion_window="2d",
        metadata={"a": "b"},
        output_data_config={"s3OutputDataConfig": output},
        on_invalid="skip",
    )
    options = resolved.options
    assert (resolved.window_hours, resolved.immediate, resolved.metadata) == (48, False, {"a": "b"})
    assert (options.output_location, options.output_kms_key, options.output_owner) == tuple(output.values())
    assert options.bucket_owner is None, "that of another bucket"
    at_home = {"s3Uri": f"s3://{BUCKET}/x", "s3BucketOwner": "123456789012"}
    resolved_at_home = call(output_data_config={"s3OutputDataConfig": at_home})
    assert resolved_at_home.settings.bucket_owner == "123456789012"
    assert resolved_at_home.options.bucket_owner == resolved_at_home.options.output_owner == "123456789012"
    assert resolved.limits == Limits()
    assert resolved.settings.root == REF.root
    skip: OnInvalid = options.on_invalid
    assert skip == "skip"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "a b"}, "no Bedrock"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": "x" * 500}, "not 'x{80}':"),
        ({"metadata": {"a": 1}}, r"metadata\['a'\]"),
        ({"output_data_config": {"s3OutputDataConfig": "s3://bucket-b"}}, "output_data_config must be"),
        ({"output_data_config": {"s3OutputDataConfig": {"s3Uri": "bucket-b"}}}, "output_data_config"),
        ({"service_tier": "reserved", "max_cost_usd": 0}, "max_cost_usd cannot be held"),
        ({"endpoint": "/v1/embeddings"}, "is not served by"),
        ({"output_data_config": {"s3Uri": "s3://bucket-b"}}, "output_data_config must be"),
        (
            {"output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://bucket-b", "s3BucketOwner": "1"}}},
            "s3BucketOwner",
        ),
        ({"vpc_config": {"subnetIds": ["subnet-1"]}}, r"vpc_config.securityGroupIds: Field required"),
        ({"vpc_config": {"subnetIds": [], "securityGroupIds": ["sg-1"]}}, r"vpc_config.subnetIds: .*at least 1"),
        ({"vpc_config": {"subnetIds": ["a b"], "securityGroupIds": ["sg-1"]}}, r"vpc_config.subnetIds.0: "),
        ({"vpc_config": {"subnetIds": ["s"], "securityGroupIds": ["g"], "vpc": "x"}}, r"vpc_config.vpc: Extra"),
        ({"vpc_config": {"subnetIds": ["s"] * 17, "securityGroupIds": ["g"]}}, r"vpc_config.subnetIds: .*at most 16"),
        ({"service_tier": "reserved", "max_cost_usd": 1}, "max_cost_usd cannot be held"),
        (
            {"model": "anthropic.claude-3-haiku-20240307-v1:0", "service_tier": "priority", "max_cost_usd": 1},
            "no price list has what .*claude-3-haiku",
        ),
        ({"model": "amazon.titan-embed-text-v2:0", "invocation": "Converse"}, "it takes InvokeModel"),
    ],
)
def test_what_is_wrong_is_named(cloud: Cloud, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(**wrong)


VPC: dict[str, Any] = {"subnetIds": ["subnet-1", "subnet-2"], "securityGroupIds": ["sg-1"]}


def test_network_and_tier_are_kept_with_the_batch(cloud: Cloud) -> None:
    plain, chosen = call().options, call(vpc_config=VPC, service_tier="flex").options
    written = json.loads(chosen.model_dump_json())
    assert (written["vpc_config"], written["service_tier"]) == (VPC, "flex")
    assert BatchOptions.model_validate(written) == chosen
    assert not json.loads(plain.model_dump_json()).keys() & {"vpc_config", "service_tier"}, "where they were chosen"
    assert chosen.naming == plain.naming, "they change no answer"


def test_a_network_of_the_settings_is_for_whoever_names_none(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_VPC_CONFIG", json.dumps({**VPC, "subnetIds": ["subnet-9"]}))
    found = [call().options.vpc_config, call(vpc_config=VPC).options.vpc_config]
    assert [each and each.subnetIds for each in found] == [("subnet-9",), ("subnet-1", "subnet-2")]


def test_without_a_bucket(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", "another")
    with pytest.raises(ConfigurationError, match="another"):
        resolve_options(BatchParameters(input_file="x", model=CLAUDE))


def test_what_a_batch_is_opened_with(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {
        "fetch_images": True,
        "unsupported": "drop",
        "invocation": "InvokeModel",
        "below_minimum": "pad",
    }
    monkeypatch.setenv("BEDROCK_BATCH_IMAGE_BUCKETS", "pictures, more-pictures")
    options = call(**asked).options
    assert {name: getattr(options, name) for name in asked} == asked
    assert options.image_buckets == ("pictures", "more-pictures")
    folders = {"image_folders": (S3Uri(BUCKET, "own"),), "closed_folders": (S3Uri(BUCKET, "own/x"),)}
    caller = msgspec.structs.replace(call().settings, **folders)
    with settings_in_force(caller):
        options = call().options
    assert (options.image_folders, options.closed_folders) == ((f"s3://{BUCKET}/own",), (f"s3://{BUCKET}/own/x",))


@pytest.mark.parametrize("endpoint", ["/chat/completions", "/v1/chat/completions/"])
def test_an_endpoint_may_be_called_as_azure_does(cloud: Cloud, endpoint: str) -> None:
    assert call(endpoint=endpoint).parameters.endpoint == endpoint


def test_a_key_of_metadata_is_text() -> None:
    odd: dict[Any, str] = {1: "a"}
    with pytest.raises(ConfigurationError, match=r"metadata\[1\] must be text, not int"):
        read_metadata(odd)


def test_no_price_is_looked_for_where_the_usual_tier_is_asked(cloud: Cloud) -> None:
    assert call(model="anthropic.claude-of-tomorrow-v1:0", max_cost_usd=1).options.service_tier == "default"


def test_the_bucket_is_that_of_the_account_that_is_set(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET_OWNER", "123456789012")
    cloud.s3.calls.clear()
    options = call(output_data_config={"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/x"}}).options
    assert options.output_owner == options.bucket_owner == "123456789012"
    heads = [given for operation, given in cloud.s3.calls if operation == "HeadBucket"]
    assert heads
    assert {given.get("ExpectedBucketOwner") for given in heads} == {"123456789012"}


PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    "found",
    [
        AccessDeniedError("no"),
        {"models": []},
        {},
        {"models": [{"modelArn": "no model at all"}]},
        {"models": [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"}]},
    ],
)
def test_a_profile_stands_for_its_model_where_that_is_told(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    def get_inference_profile(**given: str) -> Any:
        assert given == {"inferenceProfileIdentifier": PROFILE}
        if isinstance(found, Exception):
            raise found
        return found

    client = SimpleNamespace(get_inference_profile=get_inference_profile)
    monkeypatch.setattr("tasks.batch.options.aws.bedrock", lambda: client)
    profile = parse_model(PROFILE)
    model = _resolve(profile)
    if isinstance(found, dict) and found.get("models") and CLAUDE in found["models"][0]["modelArn"]:
        assert (model.id, model.base_id, model.provider, model.region) == (PROFILE, CLAUDE, "anthropic", profile.region)
    else:
        assert model == profile, "Converse serves it, whatever it is"
