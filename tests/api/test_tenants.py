"""Who may call, and what each may name."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tasks.api.errors import CallError, ForbiddenError, InvalidCallError
from tasks.api.tenants import Tenants, load_tenants
from tasks.errors import ConfigurationError
from tasks.storage.uris import S3Uri
from tests.api.callers import tenant
from tests.fakes import BUCKET

DIGEST = hashlib.sha256(b"a-key-of-acme-0123").hexdigest()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    for name in ("PREFIX", "ROLE_ARN", "KMS_KEY", "API_KEY", "API_CONFIG"):
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
    """
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
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _configured(monkeypatch, tmp_path / "api.toml", text)


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
        f"s3://{BUCKET}/in/" + "a" * 2000,
    ],
)
def test_folders_are_no_input(uri: str) -> None:
    with pytest.raises(InvalidCallError):
        tenant().input_uri(uri)


def test_outputs_go_to_allowed_places_only() -> None:
    tenant().check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/x/"}})
    for uri in ("s3://other/out/", f"s3://{BUCKET}/prefix/other/", f"s3://{BUCKET}/"):
        with pytest.raises(ForbiddenError):
            tenant().check_output({"s3OutputDataConfig": {"s3Uri": uri}})
    configs: list[Any] = [{}, [], "s3://x", {"s3OutputDataConfig": None}, {"s3OutputDataConfig": {"s3Uri": 5}}]
    for config in configs:
        with pytest.raises(InvalidCallError):
            tenant().check_output(config)
    with pytest.raises(ForbiddenError):
        tenant().check_output({"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/out/", "s3EncryptionKeyId": "k"}})
