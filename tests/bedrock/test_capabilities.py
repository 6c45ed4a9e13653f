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


FAMILY = """
[[family]]
name = "Acme"
ids = ["acme."]
codec = "converse"
images = true
seen = "2026-12-01"
source = "Acme's card"
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
        (ROW + "max_tokens = -4\n", "claude-opus-6.*max_tokens"),
        (ROW + 'efforts = ["loud"]\n', "claude-opus-6.*efforts"),
        (ROW + 'codec = "antropic"\n', "claude-opus-6.*codec must be one of"),
        (ROW + ROW, "two rows of 'anthropic.claude-opus-6'"),
        (ROW + ROW.replace("anthropic.", "us.anthropic."), "two rows of 'anthropic.claude-opus-6'"),
        (ROW.replace("[[model]]", "[model]"), r"\[\[model\]\]"),
        ("model = 3", r"\[\[model\]\]"),
        ("default = 3", "default"),
        ('[default]\nmax_jobs = "many"', "max_jobs"),
        (FAMILY.replace('["acme."]', '"acme."'), "'ids' of .*'Acme'"),
        (FAMILY.replace('["acme."]', "[]"), "'ids' of .*'Acme'"),
        (FAMILY.replace('["acme."]', "[7]"), "'ids' of .*'Acme'"),
        (FAMILY.replace("converse", "convers"), "Acme.*codec must be one of"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
) -> None:
    """With the file, the row and the field."""
    own = tmp_path / "models.toml"
    own.write_text(text)
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    with pytest.raises(ConfigurationError, match=words) as raised:
        of("amazon.nova-lite-v1:0")
    assert str(own) in str(raised.value)


@pytest.mark.parametrize("id", ["anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-haiku-4-5"])
def test_a_row_by_another_id_of_the_model_changes_what_it_says_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, id: str
) -> None:
    """Users know the id that they call, with its date and profile."""
    own, model = tmp_path / "models.toml", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    before = of(model)
    own.write_text(f'[[model]]\nid = "{id}"\nseen = 2026-12-01\nsource = "our account"\nmax_tokens = 7\n')
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    changed = of(model)
    assert (changed.max_tokens, changed.seen, changed.strict_tools) == (7, "2026-12-01", True)
    same = {"id", "seen", "source", "max_tokens"}
    assert all(
        getattr(changed, name) == getattr(before, name) for name in Capabilities.__struct_fields__ if name not in same
    )


def test_a_family_of_a_user_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text(FAMILY)
    monkeypatch.setenv(MODELS_VARIABLE, str(own))
    facts = of("eu.acme.brain-v1:0")
    assert (facts.id, facts.known, facts.codec, facts.images) == ("Acme", False, "converse", True)


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match=MODELS_VARIABLE):
        of("amazon.nova-lite-v1:0")
