"""What is told of a file before anything is sent: mistakes, what a model refuses, drops and maps, and the price."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tasks.bedrock.models import parse_model
from tasks.check import ALL_REFUSED, FAILS, FINE, SOME_REFUSED, Check, examine
from tasks.errors import ConfigurationError
from tasks.inputs.estimate import require_within
from tasks.inputs.survey import Survey
from tasks.validate import validate_input
from tests.conftest import NOVA, chat, write_lines

SEED: dict[str, Any] = {"seed": 1}
ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/embeddings"})
CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "hunter2-in-the-prompt"


def look(
    lines: list[Any],
    folder: Path,
    *models: str,
    unsupported: Literal["error", "drop"] = "error",
    every: int = 1,
    **options: Any,
) -> Check:
    path = write_lines(folder / "in.jsonl", lines)
    surveys = {model: Survey(parse_model(model), unsupported) for model in models or (CLAUDE,)}
    work = folder / "work"
    work.mkdir(exist_ok=True)
    summary = validate_input(str(path), None, ENDPOINTS, work, None, list(surveys.values()), every)
    return examine(summary, surveys, **options)


def test_all_well(tmp_path: Path) -> None:
    found = look([chat(f"r{i}", max_tokens=50) for i in range(300)], tmp_path, CLAUDE, NOVA)
    assert found.exit_code == FINE
    assert found.ok
    for model in found.models:
        assert (model.refused, model.causes, model.dropped, model.nearest) == (0, [], {}, None)
        assert (model.estimate.requests, model.estimate.jobs, model.estimate.route) == (300, 1, "batch")
        assert model.estimate.max_output_tokens == 15_000
        assert model.estimate.batch_cost_usd == model.estimate.max_cost_usd
        assert model.estimate.on_demand_cost_usd == pytest.approx(2 * (model.estimate.max_cost_usd or 0))


def test_equal_causes_are_told_once(tmp_path: Path) -> None:
    lines = [chat(f"r{i}", SECRET) for i in range(100)]
    for i in range(11, 29):
        lines[i]["body"]["logit_bias"] = {SECRET: 1}
    lines[50]["body"]["temperature"] = "hot"
    found = look(lines, tmp_path)
    (model,) = found.models
    assert found.exit_code == SOME_REFUSED
    assert (model.refused, model.estimate.requests) == (19, 81)
    assert [(cause.lines, cause.first_line) for cause in model.causes] == [(18, 12), (1, 51)]
    text = str(found)
    assert "18 lines: 'logit_bias' cannot be honoured by anthropic" in text
    assert "19 of 100 requests would be refused" in text
    assert SECRET not in text + found.markdown()


def test_all_fields_of_a_line_are_told(tmp_path: Path) -> None:
    found = look([chat(f"r{i}", seed=1, logit_bias={"1": 2}) for i in range(120)], tmp_path)
    (model,) = found.models
    assert model.all_refused
    assert found.exit_code == ALL_REFUSED
    assert {cause.param for cause in model.causes} == {"seed", "logit_bias"}
    assert "Not one request would be sent" in str(found)
    assert model.estimate.requests == 0


def test_what_drop_leaves_out(tmp_path: Path) -> None:
    lines = [chat(f"r{i}", **(SEED if i % 2 else {})) for i in range(200)]
    found = look(lines, tmp_path, unsupported="drop")
    (model,) = found.models
    assert (model.refused, model.dropped, found.exit_code) == (0, {"seed": 100}, FINE)
    assert "Would be left out, and counted: seed (100 requests)" in str(found)


def test_what_is_sent_as_something_else(tmp_path: Path) -> None:
    lines = [chat(f"r{i}", n=3) for i in range(40)]
    lines += [chat(f"j{i}", response_format={"type": "json_object"}) for i in range(60)]
    (model,) = look(lines, tmp_path).models
    assert sorted(model.mapped.values()) == [40, 60]
    assert model.estimate.records == 180


def test_bad_lines_and_files(tmp_path: Path) -> None:
    lines: list[Any] = [chat(f"r{i}") for i in range(100)]
    found = look([*lines, *["{"] * 30, chat("r1")], tmp_path)
    assert (found.invalid, found.exit_code) == (31, FAILS)
    assert [cause.lines for cause in found.causes] == [30, 1]
    assert "31 bad lines: the batch would fail" in str(found)
    found = look([*lines, "{"], tmp_path, on_invalid="skip")
    assert found.exit_code == SOME_REFUSED
    empty = look([], tmp_path)
    assert empty.exit_code == FAILS
    assert "empty" in str(empty)
    bare = look([{"messages": [{"role": "user", "content": SECRET}]}] * 3, tmp_path)
    assert bare.exit_code == FAILS
    assert "bare chat bodies" in str(bare)
    assert SECRET not in str(bare)


def test_a_mistyped_model(tmp_path: Path) -> None:
    found = look([chat("r0")], tmp_path, "us.anthropic.claude-hiaku-4-5-20251001-v1:0", "x.unheard-of-v1")
    first, second = found.models
    assert first.nearest == "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    assert "did you mean us.anthropic.claude-haiku-4-5" in str(found)
    assert second.nearest is None
    assert second.unknown
    assert second.estimate.max_cost_usd is None


def test_a_reference_is_held_against_the_requests(tmp_path: Path) -> None:
    lines = [chat(f"r{i}") for i in range(100)]
    some = look(lines, tmp_path, labels={f"r{i}" for i in range(50, 120)}).reference
    assert some is not None
    assert (some.matched, some.strangers, some.fits) == (50, 20, True)
    none = look(lines, tmp_path, labels={"question-1"})
    assert none.reference is not None
    assert not none.reference.fits
    assert "none of its 1 label belongs to a request" in str(none)


def test_a_sample_stands_for_all(tmp_path: Path) -> None:
    lines = [chat(f"r{i}", "word " * 50, max_tokens=10, **(SEED if i >= 2000 else {})) for i in range(4000)]
    whole, part = look(lines, tmp_path).models[0], look(lines, tmp_path, every=16).models[0]
    assert (whole.exact, part.exact) == (True, False)
    assert part.estimate.requests == pytest.approx(whole.estimate.requests, rel=0.02)
    assert part.estimate.input_tokens == pytest.approx(whole.estimate.input_tokens, rel=0.02)
    assert "about " in str(look(lines, tmp_path, every=16))


def test_fewer_than_a_job_takes_go_at_the_full_price(tmp_path: Path) -> None:
    found = look([chat(f"r{i}", max_tokens=10) for i in range(20)], tmp_path)
    guess = found.models[0].estimate
    assert (guess.route, guess.jobs, guess.below_minimum) == ("on_demand", 0, True)
    assert guess.max_cost_usd == guess.on_demand_cost_usd
    assert "at the full price" in str(found)
    padded = look([chat(f"r{i}", max_tokens=10) for i in range(20)], tmp_path, below_minimum="pad").models[0].estimate
    assert (padded.route, padded.jobs) == ("batch", 1)


def test_a_budget_is_held_before_anything_is_uploaded(tmp_path: Path) -> None:
    guess = look([chat(f"r{i}", max_tokens=1000) for i in range(1000)], tmp_path).models[0].estimate
    assert guess.max_cost_usd == pytest.approx(2.5, rel=0.05)
    require_within(guess, None)
    require_within(guess, 3)
    with pytest.raises(ConfigurationError, match=r"may cost up to \$2\.5.*nothing was submitted"):
        require_within(guess, 1)
    unknown = look([chat(f"r{i}") for i in range(10)], tmp_path, "x.unheard-of-v1").models[0].estimate
    with pytest.raises(ConfigurationError, match="no price is known"):
        require_within(unknown, 1)


def prefixed(count: int, words: int, **body: Any) -> list[Any]:
    system = {"role": "system", "content": "The rules of the house. " * words}
    return [
        chat(f"r{i}", messages=[system, {"role": "user", "content": f"{i} is a number"}], **body) for i in range(count)
    ]


def test_a_long_shared_prefix_with_short_answers_is_cheaper_cached(tmp_path: Path) -> None:
    routes = look(prefixed(400, 1000, max_tokens=20), tmp_path).models[0].routes
    assert routes.shared_requests == 400
    assert 5900 < routes.shared_tokens < 6100
    assert routes.cached_most is not None
    assert routes.batch_most is not None
    assert routes.cached_most < routes.batch_most
    assert "begin alike" in (routes.advice or "")


def test_with_long_answers_the_break_even_is_told(tmp_path: Path) -> None:
    routes = look(prefixed(400, 1000, max_tokens=4000), tmp_path).models[0].routes
    assert routes.cached_most is not None
    assert routes.batch_most is not None
    assert routes.cached_most > routes.batch_most
    # Per request: 0.5 of 6,000 in a batch, 0.1 of them cached, at 2.5 dollars a million more for answers.
    assert routes.break_even_tokens == pytest.approx(0.4 * 6000 / 2.5, rel=0.05)
    assert "fewer than" in (routes.advice or "")


def test_advice_counts_with_the_prices_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 400 requests, of 6,000 tokens that are alike; read at a half, written at double the price."""
    prices = {"models": [{"model": "anthropic", "on_demand": [1, 5], "batch": [0.5, 2.5], "cached": 0.5, "written": 2}]}
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(prices))
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(path))
    routes = look(prefixed(400, 1000, max_tokens=20), tmp_path).models[0].routes
    assert routes.cached_input is not None
    assert routes.on_demand_input is not None
    saved = routes.shared_tokens * (400 - 2 - 0.5 * 399) / 1e6
    assert routes.on_demand_input - routes.cached_input == pytest.approx(saved, rel=1e-3)


@pytest.mark.parametrize(("words", "model"), [(100, CLAUDE), (1000, "x.unheard-of-v1")])
def test_no_advice_where_nothing_is_cached(tmp_path: Path, words: int, model: str) -> None:
    routes = look(prefixed(400, words, max_tokens=20), tmp_path, model).models[0].routes
    assert routes.cached_most is None
    assert routes.advice is None


@pytest.mark.parametrize(
    ("model", "body", "tokens"),
    [
        (CLAUDE, {}, 8192),
        ("us.anthropic.claude-opus-5-5", {}, 32_000),
        (CLAUDE, {"reasoning_effort": "high"}, 16_384 + 8192),
        (CLAUDE, {"max_tokens": 7}, 7),
        (NOVA, {}, 10_000),
        ("us.meta.llama3-3-70b-instruct-v1:0", {}, 8192),
        ("acme.unheard-of-v1:0", {}, 4096),
    ],
)
def test_an_answer_without_a_limit_is_as_long_as_the_model_lets_it(
    tmp_path: Path, model: str, body: dict[str, Any], tokens: int
) -> None:
    """A budget that is held by less would be broken."""
    found = look([chat(f"r{i}", **body) for i in range(10)], tmp_path, model)
    assert found.models[0].estimate.max_output_tokens == 10 * tokens


def test_what_a_model_cannot_hold_is_told(tmp_path: Path) -> None:
    lines = [chat(f"r{i}", "word " * 40_000, max_tokens=8000) for i in range(3)] + [chat("short", max_tokens=8000)]
    small, large = look(lines, tmp_path, "us.meta.llama3-8b-instruct-v1:0", CLAUDE).models
    assert large.window is None
    assert "3 requests" in (small.window or "")
    assert "8,192 tokens" in (small.window or "")


def test_texts_that_an_embedding_model_cannot_hold_are_told(tmp_path: Path) -> None:
    lines = [embedding("many", ["short"] * 500), embedding("long", ["short", "word " * 2000])]
    (model,) = look(lines, tmp_path, "cohere.embed-english-v3").models
    assert "1 request" in (model.window or "")


def embedding(custom_id: str, texts: list[str]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": texts}}
