"""Who may call, and what each may name."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tasks.api.errors import CallError, ForbiddenError, InvalidCallError
from tasks.api.tenants import EVENTS, Tenants, Webhook, load_tenants
from tasks.errors import ConfigurationError
from tasks.storage.uris import S3Uri
from tests.api.callers import tenant
from tests.builders import ROLE
from tests.fakes import BUCKET

DIGEST = hashlib.sha256(b"a-key-of-acme-0123").hexdigest()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    for name in ("PREFIX", "ROLE_ARN", "KMS_KEY", "VPC_CONFIG", "API_KEY", "API_CONFIG"):
        monkeypatch.delenv(f"BEDROCK_BATCH_{name}", raising=False)


def _configured(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> Tenants:
    path.write_text(text)
    monkeypatch.setenv("BEDROCK_BATCH_API_CONFIG", str(path))
    return load_tenants()


def test_a_key_of_the_environment_is_one_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "a-long-enough-key")
    tenants = load_tenants()
    found = tenants.of_key("a-long-enough-key")
    assert found is not None
    assert str(found.settings.root) == f"s3://{BUCKET}/bedrock-batch"
    for wrong in ("a-long-enough-kez", "", None, "a" * 100_000, "é\udcff"):
        assert tenants.of_key(wrong) is None


def test_without_a_key_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="BEDROCK_BATCH_API_KEY"):
        load_tenants()
    assert load_tenants(keyless=True).of_key(None) is not None
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "short")
    with pytest.raises(ConfigurationError, match="16"):
        load_tenants()


def test_tenants_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = f"""
        model_names = {{ "gpt-4o-mini" = "us.amazon.nova-lite-v1:0" }}
        [tenants.acme]
        keys = ["sha256:{DIGEST}"]
        models = ["us.amazon.nova-*"]
        inputs = ["s3://{BUCKET}/acme-in/"]
        [tenants.other]
        keys = ["{"0" * 64}"]
        prefix = "elsewhere"
        vpc_config = {{ subnetIds = ["subnet-other"], securityGroupIds = ["sg-1"] }}
    """
    monkeypatch.setenv("BEDROCK_BATCH_VPC_CONFIG", '{"subnetIds":["subnet-all"],"securityGroupIds":["sg-1"]}')
    tenants = _configured(monkeypatch, tmp_path / "api.toml", text)
    acme = tenants.of_key("a-key-of-acme-0123")
    assert acme is not None
    assert str(acme.settings.root) == f"s3://{BUCKET}/bedrock-batch/tenants/acme"
    assert acme.model_named("gpt-4o-mini") == "us.amazon.nova-lite-v1:0"
    acme.may_use("us.amazon.nova-lite-v1:0")
    with pytest.raises(ForbiddenError):
        acme.may_use("anthropic.claude-3-haiku-20240307-v1:0")
    other = tenants.named("other")
    assert other is not None
    assert other.settings.root.key == "elsewhere"
    subnets = [found.settings.vpc_config and found.settings.vpc_config.subnetIds for found in (acme, other)]
    assert subnets == [("subnet-all",), ("subnet-other",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tenants.acme]", "has no keys"),
        ('[tenants.acme]\nkeys = ["secret"]', "SHA-256"),
        ('[tenants.acme]\nkey = ["secret"]', "key: Extra inputs"),
        ("[tenants", "no TOML"),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\n[tenants.b]\nkeys = ["{DIGEST}"]', "same key"),
        (
            f'[tenants.a]\nkeys = ["{DIGEST}"]\nprefix = "x"\n[tenants.b]\nkeys = ["{"1" * 64}"]\nprefix = "x/api"',
            "lies among",
        ),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\n[[tenants.a.webhooks]]\nurl = "https://x.example"', "no secret"),
        (
            f'[tenants.a]\nkeys = ["{DIGEST}"]\n[[tenants.a.webhooks]]\nurl = "https://x.example"\nsecret = "s"\n'
            'events = ["batch.begun"]',
            "the events batch.completed, batch.failed, batch.expired, batch.cancelled",
        ),
        (
            f'[tenants.a]\nkeys = ["{DIGEST}"]\n[[tenants.a.webhooks]]\nurl = "file:///x"\nsecret = "s"',
            r"http\(s\) URLs",
        ),
        (f'[tenants.default]\nkeys = ["{DIGEST}"]', "is not `default`"),
        (f'[tenants."a b"]\nkeys = ["{DIGEST}"]', "letters, digits"),
        (
            f'[tenants.a]\nkeys = ["{DIGEST}"]\nprefix = "x"\n[tenants.b]\nkeys = ["{"1" * 64}"]\nprefix = "/x/"',
            "the same bucket and prefix",
        ),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\nmax_file_bytes = 0', "max_file_bytes: Input should be greater than 0"),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\ninputs = ["/etc"]', "no s3:// URI"),
        (f'[tenants.a]\nkeys = ["{DIGEST}00"]', "SHA-256"),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\nconcurrent_uploads = 0', "concurrent_uploads: Input should be greater"),
        (f'[tenants.a]\nkeys = ["{DIGEST}"]\nrequests_per_minute = -1', "requests_per_minute: Input should be greater"),
        ("body_seconds = 0", "body_seconds: Input should be greater"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _configured(monkeypatch, tmp_path / "api.toml", text)


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "api.toml"
    path.write_bytes(b'[tenants."\xff"]')
    for place, said in ((path, "is no TOML"), (tmp_path, "cannot be read"), (tmp_path / "none", "cannot be read")):
        monkeypatch.setenv("BEDROCK_BATCH_API_CONFIG", str(place))
        with pytest.raises(ConfigurationError, match=f"BEDROCK_BATCH_API_CONFIG: {place} {said}"):
            load_tenants()


def test_the_bucket_of_another_is_another_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    two = f'[tenants.a]\nkeys = ["{DIGEST}"]\nprefix = "x"\n[tenants.b]\nkeys = ["{"1" * 64}"]\nprefix = "x/api"\n'
    assert _configured(monkeypatch, tmp_path / "api.toml", f'{two}bucket = "elsewhere"').named("b")


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/in/a.jsonl", f"s3%3A%2F%2F{BUCKET}%2Fin%2Fa.jsonl"])
def test_an_allowed_object_may_be_named(uri: str) -> None:
    assert tenant().input_uri(uri).key == "in/a.jsonl"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/in/a.jsonl",
        f"s3://{BUCKET}/inside/a.jsonl",
        f"s3://{BUCKET}/prefix/other/api/data/file-1",
        f"s3%253A%252F%252F{BUCKET}%252Fin%252Fa.jsonl",
        f"s3://{BUCKET}/in%2F..%2Fprefix%2Fa",
    ],
)
def test_no_other_object_may_be_named(uri: str) -> None:
    for allowed in (S3Uri(BUCKET, "in"), S3Uri(BUCKET, "prefix")):
        with pytest.raises(CallError):
            tenant(inputs=(allowed,)).input_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///x",
        "s3%3A%2F%2F",
        f"s3://{BUCKET}/in/",
        f"s3://{BUCKET}",
        f"s3://{BUCKET}/in/\0",
        f"s3://{BUCKET}/in/" + "a" * 1022,
        f"s3://{BUCKET}/in/" + "é" * 511,
    ],
)
def test_folders_are_no_input(uri: str) -> None:
    with pytest.raises(InvalidCallError) as error:
        tenant().input_uri(uri)
    assert error.value.param == "input_file_id"
    assert tenant().input_uri(f"s3://{BUCKET}/in/" + "é" * 510 + "a"), "1,024 bytes"


def test_outputs_go_to_allowed_places_only() -> None:
    tenant().check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/x/"}})
    for uri in ("s3://other/out/", f"s3://{BUCKET}/prefix/other/", f"s3://{BUCKET}/"):
        with pytest.raises(ForbiddenError):
            tenant().check_output({"s3OutputDataConfig": {"s3Uri": uri}})
    configs: list[Any] = [{}, [], "s3://x", {"s3OutputDataConfig": None}, {"s3OutputDataConfig": {"s3Uri": 5}}]
    for config in [*configs, {"s3OutputDataConfig": {"s3Uri": "/etc"}}]:
        with pytest.raises(InvalidCallError) as error:
            tenant().check_output(config)
        assert error.value.param == "output_data_config"
    with pytest.raises(ForbiddenError):
        tenant().check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/", "s3EncryptionKeyId": "k"}})


@pytest.mark.parametrize("folder", ["api", "batches", "newest", "open", "runs", "samples"])
def test_no_tenant_lives_among_what_is_kept_of_another(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        f'[tenants.a]\nkeys = ["{DIGEST}"]\nprefix = "x"\n[tenants.b]\nkeys = ["{"1" * 64}"]\nprefix = "x/{folder}/y"'
    )
    with pytest.raises(ConfigurationError, match="lies among"):
        _configured(monkeypatch, tmp_path / "api.toml", text)
    assert _configured(monkeypatch, tmp_path / "api.toml", text.replace(folder, "of-its-own")).named("b")


def test_nothing_of_a_secret_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a key that stands where its digest should, nor the secret of a webhook with a mistake."""
    hook = '[[tenants.a.webhooks]]\nurl = 5\nsecret = "whsec_OF-THE-HOOK"'
    for text in ('[tenants.a]\nkeys = ["A-KEY-ITSELF-012345"]', f'[tenants.a]\nkeys = ["{DIGEST}"]\n{hook}'):
        with pytest.raises(ConfigurationError) as error:
            _configured(monkeypatch, tmp_path / "api.toml", text)
        assert "A-KEY-ITSELF" not in str(error.value)
        assert "OF-THE-HOOK" not in str(error.value)
        assert "input_value" not in str(error.value)


def test_a_tenant_has_all_that_its_table_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_c2VjcmV0")
    text = f"""
        model_names = {{ "a" = "x.general", "b" = "x.general" }}
        body_seconds = 5
        [tenants.acme]
        keys = ["sha256:{DIGEST}", "{"2" * 64}"]
        bucket = "acme-bucket"
        role_arns = ["{ROLE}", "{ROLE}2"]
        kms_keys = ["arn:key/1", "arn:key/2"]
        model_names = {{ "b" = "x.own" }}
        models = ["x.*"]
        inputs = ["s3://in-bucket/in"]
        outputs = ["s3://out-bucket/out"]
        max_file_bytes = 1000
        requests_per_minute = 60
        concurrent_uploads = 2
        operator = true
        [[tenants.acme.webhooks]]
        url = "https://x.example/hook"
        secret_env = "HOOK_SECRET"
        events = ["batch.failed"]
    """
    tenants = _configured(monkeypatch, tmp_path / "api.toml", text)
    (acme,) = tenants.all
    assert tenants.body_seconds == 5
    assert tenants.keyless is None
    assert (acme.name, acme.keys) == ("acme", (DIGEST, "2" * 64))
    assert str(acme.settings.root) == "s3://acme-bucket/acme"
    assert (acme.role_arns, acme.settings.role_arn) == ((ROLE, f"{ROLE}2"), ROLE)
    assert (acme.kms_keys, acme.settings.kms_key) == (("arn:key/1", "arn:key/2"), "arn:key/1")
    assert acme.model_names == {"a": "x.general", "b": "x.own"}
    assert (acme.models, acme.max_file_bytes, acme.requests_per_minute) == (("x.*",), 1000, 60)
    assert (acme.concurrent_uploads, acme.operator) == (2, True)
    assert (acme.inputs, acme.outputs) == ((S3Uri("in-bucket", "in"),), (S3Uri("out-bucket", "out"),))
    (hook,) = acme.webhooks
    assert (hook.url, hook.events, hook.key()) == ("https://x.example/hook", ("batch.failed",), "whsec_c2VjcmV0")
    assert acme.closed == acme.settings.closed_folders == (acme.settings.root,)
    assert acme.settings.image_folders == acme.inputs


def test_what_a_table_leaves_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_ROLE_ARN", ROLE)
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", "arn:key/base")
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "k" * 16)
    text = f'[tenants.acme]\nkeys = ["{DIGEST}"]\n[[webhooks]]\nurl = "https://x.example"\nsecret = "s"'
    tenants = _configured(monkeypatch, tmp_path / "api.toml", f'model_names = {{ "a" = "x.general" }}\n{text}')
    default, acme = tenants.all
    assert (tenants.body_seconds, tenants.keyless) == (60, None)
    assert load_tenants(keyless=True).keyless == default, "the other ones have keys"
    for each in (default, acme):
        assert (each.role_arns, each.kms_keys) == ((ROLE,), ("arn:key/base",))
        assert (each.settings.role_arn, each.settings.kms_key) == (ROLE, "arn:key/base")
        assert (each.max_file_bytes, each.requests_per_minute, each.concurrent_uploads) == (8 << 30, 0, 16)
        assert each.closed == (default.settings.root, acme.settings.root)
        assert each.settings.closed_folders == each.closed
        assert each.model_names == {"a": "x.general"}
    assert (default.name, default.operator, acme.operator) == ("default", True, False)
    assert default.inputs == default.outputs == (S3Uri(BUCKET, ""),)
    assert not (*acme.inputs, *acme.outputs, *acme.models, *acme.webhooks)
    assert acme.settings.image_folders == (), "no object of S3, where the table names no folder"
    assert default.webhooks[0].events == EVENTS
    assert EVENTS == ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")


def test_without_a_role_of_its_own_no_role_may_be_named() -> None:
    tenant().check_role(ROLE)
    for owner in (tenant(), tenant(role_arns=())):
        with pytest.raises(ForbiddenError) as error:
            owner.check_role(f"{ROLE}2")
        assert (error.value.param, error.value.code) == ("role_arn", "role_not_allowed")
    with pytest.raises(InvalidCallError) as wrong:
        tenant().check_role(5)
    assert wrong.value.param == "role_arn"


def test_codes_of_what_a_key_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant(models=("us.*",)).may_use("us.x")
    with pytest.raises(ForbiddenError):
        tenant(models=("us.*",)).may_use("US.x")
    with pytest.raises(ForbiddenError) as error:
        tenant(models=("us.*",)).may_use("eu.x")
    assert (error.value.param, error.value.code) == ("model", "model_not_allowed")
    for key in ("arn:key/2", 5, None):
        with pytest.raises(ForbiddenError) as error:
            tenant(kms_keys=("arn:key/1",)).check_key(key, "a-header")
        assert (error.value.param, error.value.code) == ("a-header", "kms_key_not_allowed")
    with pytest.raises(ForbiddenError) as error:
        tenant().input_uri("s3://other/x")
    assert (error.value.param, error.value.code) == ("input_file_id", "location_not_allowed")
    with pytest.raises(ForbiddenError) as error:
        tenant().check_output({"s3OutputDataConfig": {"s3Uri": "s3://other/x"}})
    assert (error.value.param, error.value.code) == ("output_data_config", "location_not_allowed")


def test_places_that_are_closed_are_closed_within_an_allowed_folder() -> None:
    owner = tenant(inputs=(S3Uri(BUCKET, ""),), outputs=(S3Uri(BUCKET, ""),))
    for key in ("prefix/other/api/data/x", "prefix/acme/batches/x"):
        with pytest.raises(ForbiddenError):
            owner.input_uri(f"s3://{BUCKET}/{key}")
        with pytest.raises(ForbiddenError):
            owner.check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/{key}/"}})
    with pytest.raises(ForbiddenError):
        owner.input_uri(f"s3://{BUCKET}/in/../prefix2/x")
    assert owner.input_uri(f"s3://{BUCKET}/prefix2/x")
    owner.check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/prefix2/"}})


def test_an_empty_key_is_nobodys_whatever_is_configured() -> None:
    """Not even of a tenant whose digest is that of nothing: `printf %s "" | sha256sum`."""
    nothing = hashlib.sha256(b"").hexdigest()
    assert Tenants((tenant(keys=(nothing,)),)).of_key("") is None
    assert Tenants((tenant(keys=(nothing,)),)).of_key(None) is None


def test_a_server_without_keys_has_one_caller_whatever_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_API_KEY", raising=False)
    keyless = load_tenants(keyless=True).keyless
    assert keyless is not None
    assert keyless.keys == (), "no key is its own"
    assert Tenants((tenant(), tenant("other")), tenant()).of_key("other-key-0123456789") == tenant()


def test_a_key_of_sixteen_characters_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "k" * 15)
    with pytest.raises(ConfigurationError, match="has 15 characters; make it 16 or more"):
        load_tenants()
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "k" * 16)
    assert load_tenants().of_key("k" * 16)
    monkeypatch.setenv("BEDROCK_BATCH_API_KEY", "k" * 16 + "\n")
    assert load_tenants().of_key("k" * 16), "as out of a file"


def test_a_webhook_without_its_secret_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match=r"https://x\.example has no secret: set secret or secret_env"):
        Webhook(url="https://x.example", secret_env="HOOK_SECRET").key()
