"""Mistyped model ids."""

import pytest

from tasks.bedrock.models import parse_model
from tasks.bedrock.nearest import is_known, is_of_bedrock, known_ids, mistyped, nearest

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("claude-hiaku", HAIKU),
        ("anthropic.claude-hiaku-4-5-20251001-v1:0", HAIKU),
        ("us.anthropic.claude-haiku-4-5-2025101-v1:0", f"us.{HAIKU}"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-hiaku-4-5-20251001-v1:0", f"eu.{HAIKU}"),
        ("amazon.nova-lite", "amazon.nova-lite-v1:0"),
        (f"bedrock/us.{HAIKU}", HAIKU),
        ("anthropic/claude-haiku-4-5", HAIKU),
        ("us.antropic.claude-haiku-4-5-20251001-v1:0", f"us.{HAIKU}"),
        (f"US.{HAIKU}", HAIKU),
        ("nova-pro", "amazon.nova-pro-v1:0"),
        ("meta.lama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0"),
    ],
)
def test_the_id_that_was_meant(written: str, meant: str) -> None:
    assert nearest(parse_model(written)) == meant


@pytest.mark.parametrize(
    "written",
    [
        HAIKU,
        f"global.{HAIKU}",
        f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}",
        f"{HAIKU}:200k",
        "arn:aws:bedrock:us-east-1:1:custom-model/mine.1/abc",
        "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
        "gpt-4o",
        "x.unheard-of-v1",
    ],
)
def test_nothing_is_guessed(written: str) -> None:
    assert nearest(parse_model(written)) is None


def test_ids_of_other_services_are_told() -> None:
    for written in ("gpt-4o", "gemini-2.5-pro", "text-embedding-3-small"):
        assert not is_of_bedrock(parse_model(written))
    for written in (HAIKU, "anthropic.claude-new-v1:0", "arn:aws:bedrock:us-east-1:1:custom-model/mine.1/abc"):
        assert is_of_bedrock(parse_model(written))


def test_a_new_version_is_no_typo() -> None:
    new = parse_model("anthropic.claude-haiku-4-5-20260401-v1:0")
    assert nearest(new) == HAIKU
    assert mistyped(new) is None
    assert mistyped(parse_model("anthropic.claude-hiaku-4-5-20251001-v1:0")) == HAIKU


def test_the_list() -> None:
    ids = known_ids()
    assert len(ids) == len(set(ids)) > 90
    assert list(ids) == sorted(ids)
    assert all(parse_model(each).base_id == each and is_known(parse_model(each)) for each in ids)
