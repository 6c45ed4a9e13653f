"""Create calls: what body and headers ask for, which of them counts, and by which parameter a wrong one is told."""

import msgspec
import pytest

from tasks.api.calls import Call, is_uri, named_key, read_call
from tasks.api.errors import CallError, ForbiddenError, InvalidCallError
from tasks.api.orders import place_order
from tasks.storage.uris import S3Uri
from tests.api.callers import create, tenant, upload
from tests.builders import ROLE
from tests.conftest import CLAUDE
from tests.fakes import BUCKET, Cloud

KEY = "arn:aws:kms:us-east-1:1:key/mine"
OTHER_KEY = "arn:aws:kms:us-east-1:1:key/second"


def call(headers: dict[str, str] | None = None, /, **body: object) -> Call:
    return read_call(tenant(), {"input_file_id": "x", **body}, headers or {})


def test_a_call_that_names_its_input_only(cloud: Cloud) -> None:
    assert msgspec.structs.asdict(call()) == {
        "input_file_id": "x",
        "endpoint": None,
        "completion_window": "24h",
        "metadata": {},
        "model": None,
        "output_expires_after": None,
        "options": {},
        "reuse": True,
        "ignored": (),
        "tags": {},
        "kms_key": None,
    }


def test_a_call_that_names_everything(cloud: Cloud) -> None:
    output = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/"}}
    options = {
        "job_name": "j",
        "role_arn": ROLE,
        "output_data_config": output,
        "on_invalid": "skip",
        "unsupported": "drop",
        "below_minimum": "pad",
        "retry_failed": True,
        "max_cost_usd": 2,
    }
    found = call(
        endpoint="/v1/embeddings",
        completion_window="3d",
        metadata={"a": "b"},
        model=CLAUDE,
        output_expires_after={"anchor": "created_at", "seconds": 3600},
        reuse=False,
        **options,
    )
    assert found == Call(
        input_file_id="x",
        endpoint="/v1/embeddings",
        completion_window="3d",
        metadata={"a": "b"},
        model=CLAUDE,
        output_expires_after=3600,
        options={**options, "max_cost_usd": 2.0},
        reuse=False,
    )
    assert type(found.options["max_cost_usd"]) is float


def test_null_is_as_good_as_nothing(cloud: Cloud) -> None:
    """Clients send their defaults along."""
    names = ("endpoint", "completion_window", "metadata", "model", "output_expires_after", "job_name", "role_arn")
    more = ("output_data_config", "on_invalid", "unsupported", "retry_failed", "reuse", "max_cost_usd")
    assert call(**dict.fromkeys((*names, *more))) == call()
    assert call(job_name="", model="", role_arn="", retry_failed=False, reuse=True) == call()


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("24h", 86_400), ("48H", 172_800), (" 2d ", 172_800), ("168h", 604_800), ("immediate", 86_400)],
)
def test_how_long_a_batch_may_take(cloud: Cloud, window: str, seconds: int) -> None:
    assert call(completion_window=window).window_seconds == seconds


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/completions/", "/v1/completions"),
        ("/v1/responses", "/v1/responses"),
        ("/embeddings", "/v1/embeddings"),
    ],
)
def test_an_endpoint_by_any_of_its_names(cloud: Cloud, given: str, endpoint: str) -> None:
    assert call(endpoint=given).endpoint == endpoint


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": ""}, "input_file_id"),
        ({"input_file_id": 5}, "input_file_id"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"endpoint": ["x"]}, "endpoint"),
        ({"completion_window": ""}, "completion_window"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": "23h"}, "completion_window"),
        ({"completion_window": "169h"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"completion_window": "9" * 5000 + "h"}, "completion_window"),
        ({"completion_window": "٢٤h"}, "completion_window"),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"metadata": {"a": None}}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "a=b"}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: "x"}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"model": {}}, "model"),
        ({"job_name": 5}, "job_name"),
        ({"role_arn": []}, "role_arn"),
        ({"role_arn": "arn:aws:iam::123456789012:role/Admin"}, "role_arn"),
        ({"on_invalid": "maybe"}, "on_invalid"),
        ({"on_invalid": ""}, "on_invalid"),
        ({"unsupported": "skip"}, "unsupported"),
        ({"below_minimum": True}, "below_minimum"),
        ({"reuse": "no"}, "reuse"),
        ({"retry_failed": 1}, "retry_failed"),
        ({"max_cost_usd": "1"}, "max_cost_usd"),
        ({"max_cost_usd": True}, "max_cost_usd"),
        ({"max_cost_usd": -1}, "max_cost_usd"),
        ({"max_cost_usd": float("inf")}, "max_cost_usd"),
        ({"max_cost_usd": float("nan")}, "max_cost_usd"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"output_data_config": "s3://bucket/out/"}, "output_data_config"),
        ({"output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://other/"}}}, "output_data_config"),
    ],
)
def test_what_is_wrong_is_told_by_its_parameter(cloud: Cloud, body: dict[str, object], param: str) -> None:
    with pytest.raises(CallError) as error:
        call(**body)
    assert error.value.param == param


def test_bounds_that_may_just_be_reached(cloud: Cloud) -> None:
    metadata = {f"{number:064}": "x" * 512 for number in range(16)}
    assert call(metadata=metadata).metadata == metadata
    assert call(max_cost_usd=0).options == {"max_cost_usd": 0.0}
    tags = {f"{number:064}": "x" * 256 for number in range(16)}
    header = ",".join(f"{key}={value}" for key, value in tags.items())
    assert call({"x-amzn-bedrock-tags": header}).tags == tags
    with pytest.raises(InvalidCallError, match="at most 16 tags"):
        call({"x-amzn-bedrock-tags": "k" * 65 + "=v"})


def test_tags_are_the_metadata_of_a_call_without_any(cloud: Cloud) -> None:
    header = {"x-amzn-bedrock-tags": "k=v"}
    assert call(header).metadata == {"k": "v"}
    assert call(header, metadata={}).metadata == {}


def test_unknown_fields_are_named_in_order_and_not_at_length(cloud: Cloud) -> None:
    assert call(b=1, a=2).ignored == ("a", "b")
    assert call(**{"x" * 100: 1}).ignored == ("x" * 64,)
    assert call(**{f"f{number:02}": 1 for number in range(30)}).ignored == tuple(f"f{n:02}" for n in range(20))


def test_a_role_in_the_body_goes_before_those_of_headers(cloud: Cloud) -> None:
    owner = tenant(role_arns=("one", "two", "three"))
    headers = {"x-portkey-aws-role-arn": "two", "x-amzn-bedrock-rolearn": "three"}
    body = {"input_file_id": "x"}
    assert read_call(owner, {**body, "role_arn": "one"}, headers).options == {"role_arn": "one"}
    assert read_call(owner, body, headers).options == {"role_arn": "two"}
    assert read_call(owner, body, {**headers, "x-portkey-aws-role-arn": ""}).options == {"role_arn": "three"}
    with pytest.raises(ForbiddenError) as error:
        read_call(owner, body, {"x-amzn-bedrock-rolearn": "four"})
    assert (error.value.param, error.value.code) == ("role_arn", "role_not_allowed")


def test_the_key_that_a_header_names() -> None:
    owner = tenant(kms_keys=(KEY, OTHER_KEY))
    portkeys = "x-portkey-amz-server-side-encryption-aws-kms-key-id"
    assert named_key(owner, {}) is None
    assert named_key(owner, {portkeys: ""}) is None
    assert named_key(owner, {portkeys: KEY}) == KEY
    assert named_key(owner, {portkeys: KEY, "x-amzn-bedrock-outputencryptionkeyid": OTHER_KEY}) == OTHER_KEY


@pytest.mark.parametrize("bucket", ["", BUCKET, f"s3://{BUCKET}/", "unused", "ins", "outs"])
def test_a_bucket_of_the_tenants_may_be_named(cloud: Cloud, bucket: str) -> None:
    owner = tenant(inputs=(S3Uri("ins", ""),), outputs=(S3Uri("outs", "x"),))
    assert read_call(owner, {"input_file_id": "x"}, {"x-portkey-aws-s3-bucket": bucket})


def test_a_bucket_of_somebody_elses_is_refused(cloud: Cloud) -> None:
    with pytest.raises(InvalidCallError) as error:
        call({"x-portkey-aws-s3-bucket": "others"})
    assert error.value.param == "x-portkey-aws-s3-bucket"


@pytest.mark.parametrize(
    ("name", "uri"),
    [("s3://b/k", True), ("s3%3A%2F%2Fb%2Fk", True), ("file-0", False), ("/etc/passwd", False), ("http://b/k", False)],
)
def test_an_input_by_its_place_or_by_its_id(name: str, uri: bool) -> None:
    assert is_uri(name) is uri


def test_the_model_of_a_call_goes_before_that_of_the_lines(cloud: Cloud) -> None:
    owner = tenant(model_names={"short": "us.amazon.nova-lite-v1:0", CLAUDE: "another"})
    file = upload(owner)
    assert create(owner, file.id, model="short").model == "us.amazon.nova-lite-v1:0"
    assert create(owner, file.id).model == "another"
    body = {"input_file_id": file.id}
    headers = {"x-portkey-aws-bedrock-model": "p", "x-amzn-bedrock-modelid": "a"}
    assert read_call(owner, body, headers).model == "p"
    assert read_call(owner, {**body, "model": "of the body"}, headers).model == "of the body"
    assert read_call(owner, body, {"x-amzn-bedrock-modelid": "a", "x-amzn-bedrock-tags": "k=v"}).metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("team=search, stage = prod", {"team": "search", "stage": "prod"}),
        ("team=a%2Cb%3D,empty=", {"team": "a,b=", "empty": ""}),
        ("te%61m=a=b,", {"team": "a=b"}),
        ('{"team": "search"}', {"team": "search"}),
        (' {"team": "search"}', {"team": "search"}),
        ("", {}),
        ("team", None),
        ("=search", None),
        ('{"team": 5}', None),
        ('{"team"', None),
        ("team=" + "x" * 257, None),
        (",".join(f"t{number}=" for number in range(17)), None),
    ],
)
def test_tags_in_awss_header(cloud: Cloud, header: str, tags: dict[str, str] | None) -> None:
    """They go onto the jobs, beside the metadata: neither takes the other's place."""
    body = {"input_file_id": "x", "metadata": {"own": "note"}}
    if tags is None:
        with pytest.raises(InvalidCallError) as error:
            read_call(tenant(), body, {"x-amzn-bedrock-tags": header})
        assert error.value.param == "x-amzn-bedrock-tags"
        return
    call = read_call(tenant(), body, {"x-amzn-bedrock-tags": header})
    assert (call.tags, call.metadata) == (tags, {"own": "note"})


@pytest.mark.parametrize(
    "header", ["x-amzn-bedrock-outputencryptionkeyid", "x-portkey-amz-server-side-encryption-aws-kms-key-id"]
)
def test_a_key_of_kms_in_a_header_is_kept_or_refused(cloud: Cloud, header: str) -> None:
    owner = tenant(kms_keys=("arn:aws:kms:us-east-1:1:key/mine",))
    body = {"input_file_id": upload(owner).id}
    order = place_order(owner, read_call(owner, body, {header: owner.kms_keys[0]}))
    assert order.kms_key == owner.kms_keys[0]
    assert place_order(owner, read_call(owner, body, {})).id != order.id
    with pytest.raises(ForbiddenError) as error:
        read_call(owner, body, {header: "arn:aws:kms:us-east-1:1:key/anothers"})
    assert error.value.param == header


def test_a_region_that_is_not_the_servers_is_refused(cloud: Cloud) -> None:
    assert read_call(tenant(), {"input_file_id": "x"}, {"x-portkey-aws-region": "us-east-1"})
    with pytest.raises(InvalidCallError, match="us-east-1") as error:
        read_call(tenant(), {"input_file_id": "x"}, {"x-portkey-aws-region": "eu-west-1"})
    assert error.value.param == "x-portkey-aws-region"


def test_options_and_unknown_fields(cloud: Cloud) -> None:
    owner = tenant()
    call = read_call(
        owner,
        {
            "input_file_id": "x",
            "job_name": "j",
            "role_arn": ROLE,
            "unsupported": "drop",
            "custom_llm_provider": "openai",
        },
        {},
    )
    assert call.options == {"job_name": "j", "role_arn": ROLE, "unsupported": "drop"}
    assert call.ignored == ("custom_llm_provider",)
