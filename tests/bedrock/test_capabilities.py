"""The table of models: its reader, the rows a user adds, and what is said of a model without one."""

from pathlib import Path

import pytest

from tasks.bedrock.capabilities import MODELS_VARIABLE, Capabilities, all_models, capabilities_of, unknown_warning
from tasks.bedrock.models import parse_model
from tasks.codecs import all_codecs
from tasks.errors import ConfigurationError

ROW = """
[[model]]
id = "anthropic.claude-opus-6"
seen = "2026-12-01"
source = "Anthropic's announcement"
"""


def of(model: str) -> Capabilities:
    return capabilities_of(parse_model(model))


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("us.anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("global.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"),
        ("anthropic.claude-opus-4-20250514-v1:0", "anthropic.claude-opus-4"),
        ("us.anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6"),
        ("in.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5"),
        ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2"),
        ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v1"),
        ("amazon.nova-lite-v1:0:300k", "amazon.nova-lite"),
        ("mistral.mistral-7b-instruct-v0:2", "mistral.mistral-7b-instruct"),
        ("openai.gpt-oss-20b-1:0", "openai.gpt-oss-20b-1"),
        ("arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-v4:0", "cohere.embed-v4"),
        ("deepseek.v3-v1:0", "deepseek.v3"),
        ("deepseek.v3.2", "deepseek.v3.2"),
    ],
)
def test_a_row_speaks_for_its_model(model: str, row: str) -> None:
    facts = of(model)
    assert (facts.id, facts.known, unknown_warning(parse_model(model))) == (row, True, None)


@pytest.mark.parametrize(
    ("model", "family", "codec"),
    [
        ("anthropic.claude-opus-5-6", "Claude", "anthropic"),
        ("us.anthropic.claude-opus-50", "Claude", "anthropic"),
        ("amazon.nova-3-lite-v1:0", "Nova", "nova"),
        ("amazon.nova-canvas-v2:0", "images", ""),
        ("deepseek.v4", "DeepSeek", "openai-bodied"),
        ("mistral.mistral-large-4-800b-instruct", "Mistral", "mistral"),
        ("xai.grok-4.7", "any other", "converse"),
        ("acme.unknown-model", "any other", "converse"),
    ],
)
def test_a_model_without_a_row_is_its_family_s_most_careful(model: str, family: str, codec: str) -> None:
    facts = of(model)
    assert (facts.id, facts.known, facts.codec) == (family, False, codec)
    assert MODELS_VARIABLE in (unknown_warning(parse_model(model)) or "")


def test_no_row_is_more_careful_than_its_family() -> None:
    """What the family takes, each of its models takes, but for models that are older than the fact."""
    older = {"prefill": {"meta.llama2-13b-chat", "meta.llama2-70b-chat"}}
    for name, facts in all_models().items():
        family = of(f"{name}-of-tomorrow")
        assert not family.known
        for field in (
            "images",
            "documents",
            "tools",
            "strict_tools",
            "structured_output",
            "stop",
            "prefill",
            "penalties",
        ):
            assert getattr(facts, field) >= getattr(family, field) or name in older.get(field, set()), (name, field)
        assert facts.tool_choice >= family.tool_choice, name


def test_every_codec_is_a_family_s_and_no_row_exceeds_itself() -> None:
    served = {facts.codec for facts in all_models().values()}
    assert served <= {codec.family for codec in all_codecs()}
    for name, facts in all_models().items():
        assert facts.max_tokens is None or (facts.default_max_tokens or 0) <= facts.max_tokens, name
        assert "effort" not in facts.thinking or facts.efforts, name
        assert facts.kind != "chat" or not facts.dimensions, name


def test_a_user_adds_a_row_and_overrides_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model that is launched tomorrow needs no release."""
    own = tmp_path / "models.toml"
    own.write_text(
        ROW
        + 'like = "anthropic.claude-opus-5"\nmax_tokens = 256_000\n'
        + '[[model]]\nid = "anthropic.claude-opus-4-7"\nseen = "2026-12-01"\nsource = "our account"\nbatch = "yes"\n'
    )
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    new = of("us.anthropic.claude-opus-6-v1:0")
    assert (new.known, new.strict_tools, new.max_tokens, new.source) == (
        True,
        True,
        256_000,
        "Anthropic's announcement",
    )
    changed = of("anthropic.claude-opus-4-7")
    assert (changed.batch, changed.source, changed.max_tokens) == ("yes", "our account", 128_000)
    monkeypatch.delenv(MODELS_VARIABLE)
    assert of("anthropic.claude-opus-4-7").batch == "no"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROW.replace('source = "Anthropic\'s announcement"\n', ""), "must say 'source'"),
        (ROW.replace('seen = "2026-12-01"\n', ""), "must say 'seen'"),
        (ROW.replace("2026-12-01", "last week"), "must be a day"),
        (ROW.replace("id =", "name ="), "without its 'id'"),
        (ROW + 'colour = "blue"\n', "colour"),
        (ROW + 'images = "yes"\n', "images"),
        (ROW + 'like = "anthropic.claude-none"\n', "leads to no other row"),
        (ROW + 'like = "anthropic.claude-opus-6"\n', "leads to no other row"),
        ("[[models]]\n", "models"),
        ("= 3", "no TOML"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    own = tmp_path / "models.toml"
    own.write_text(text)
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    with pytest.raises(ConfigurationError, match=words):
        of("amazon.nova-lite-v1:0")


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match=MODELS_VARIABLE):
        of("amazon.nova-lite-v1:0")
