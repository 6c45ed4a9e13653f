"""What is told of a file before anything is sent: mistakes, what a model refuses, drops and maps, and the price."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tasks.bedrock.models import parse_model
from tasks.check import ALL_REFUSED, FAILS, FINE, SOME_REFUSED, Check, ModelCheck, ReferenceFit, examine
from tasks.errors import ConfigurationError
from tasks.inputs.estimate import Estimate, require_within
from tasks.inputs.routes import Routes
from tasks.inputs.survey import Survey
from tasks.support.causes import Cause
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
    at_once = look([chat(f"r{i}", max_tokens=10) for i in range(20)], tmp_path, immediate=True)
    assert at_once.models[0].estimate.route == "on_demand"
    assert "at the full price" not in str(at_once), "as was asked for"


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


# The words of it


def guess(**fields: Any) -> Estimate:
    usual: dict[str, Any] = {
        "model": CLAUDE,
        "requests": 90,
        "records": 90,
        "jobs": 1,
        "route": "batch",
        "input_tokens": 9,
        "max_output_tokens": 90,
        "input_cost_usd": None,
        "max_cost_usd": None,
        "batch_cost_usd": 1.0,
        "on_demand_cost_usd": None,
        "rate": None,
    }
    return Estimate(**usual | fields)


def model_check(**fields: Any) -> ModelCheck:
    usual: dict[str, Any] = {
        "label": CLAUDE,
        "model": CLAUDE,
        "family": "anthropic",
        "nearest": None,
        "unknown": False,
        "foreign": False,
        "availability": None,
        "requests": 100,
        "refused": 0,
        "causes": [],
        "dropped": {},
        "mapped": {},
        "estimate": guess(),
        "routes": Routes(None, None, None, None),
        "exact": True,
    }
    return ModelCheck(**usual | fields)


def check(*models: ModelCheck, **fields: Any) -> Check:
    usual: dict[str, Any] = {
        "files": ["in.jsonl"],
        "requests": 100,
        "invalid": 0,
        "mistake": None,
        "causes": [],
        "endpoint": "/v1/chat/completions",
        "on_invalid": "fail",
    }
    return Check(models=list(models), **usual | fields)


def causes(count: int) -> list[Cause]:
    return [Cause("c", f"Wrong <{number}>.", None, 20 - number, 2, "in.jsonl") for number in range(count)]


def test_all_that_is_said_of_a_file() -> None:
    found = check(
        files=["a.jsonl", "b.jsonl"],
        requests=1200,
        invalid=30,
        mistake="b.jsonl is a table.",
        causes=causes(11),
        on_invalid="skip",
        reference=ReferenceFit(labels=70, matched=50, strangers=20, requests=1200),
    )
    assert str(found).splitlines() == [
        "2 files: 1,200 requests for /v1/chat/completions",
        "  b.jsonl is a table.",
        "  30 bad lines: they would go to the error file",
        *(f"    {20 - n} lines: Wrong <{n}>, first line 2" for n in range(10)),
        "    and 1 more cause",
        "  Reference: 50 of 1,200 requests have a label; 20 labels of no request",
    ]
    assert found.markdown().splitlines()[:5] == [
        "# Check",
        "",
        "- 2 files\\: 1,200 requests for /v1/chat/completions",
        "  - b.jsonl is a table.",
        "  - 30 bad lines\\: they would go to the error file",
    ]
    assert "    - 20 lines\\: Wrong &lt;0&gt;, first line 2" in found.markdown().splitlines()
    long = check(files=["x" * 1800])
    assert "x" * 1800 in long.markdown(), "a line is as long as it needs to be, within bounds"
    empty = check(requests=0, endpoint=None)
    assert str(empty).splitlines() == ["in.jsonl: 0 requests", "  The input is empty: it holds no request."]
    whole = ReferenceFit(labels=100, matched=100, strangers=0, requests=100)
    assert str(whole) == "100 of 100 requests have a label"


def test_all_that_is_said_of_a_model() -> None:
    found = model_check(
        label="small",
        nearest="us.anthropic.claude",
        unknown=True,
        foreign=True,
        availability="It is not for batches.",
        window="2 requests are too long.",
        refused=19,
        causes=causes(11),
        dropped={"seed": 19},
        mapped={"n is sent as records": 40},
        exact=False,
    )
    assert list(check(found).lines())[1:] == [
        f"small ({CLAUDE}), anthropic",
        f"  {CLAUDE} is not a model id that is known; did you mean us.anthropic.claude?",
        "  It is not for batches.",
        "  2 requests are too long.",
        "  about 19 of 100 requests would be refused, the others sent",
        *(f"    {20 - n} lines: Wrong <{n}>, first line 2" for n in range(10)),
        "    and 1 more cause",
        "  n is sent as records (about 40 requests)",
        f"  {guess()}",
    ]


def test_what_is_said_of_a_model_that_is_not_in_the_list() -> None:
    list_only, foreign, known = (
        list(check(model_check(**fields)).lines())[1:3]
        for fields in ({"unknown": True}, {"unknown": True, "foreign": True}, {})
    )
    assert list_only[1] == f"  {CLAUDE} is not in the list of known models: Bedrock decides whether there is one."
    assert "does not begin as Bedrock's ids do" in foreign[1]
    assert "us.anthropic.claude-haiku-4-5-20251001-v1:0: Bedrock decides" in foreign[1]
    assert known == [f"{CLAUDE}, anthropic", f"  {guess()}"]


def test_what_is_said_of_requests_that_are_sent_or_not() -> None:
    lines = list(check(model_check(dropped={"seed": 1, "user": 1200})).lines())
    assert lines[2] == "  Would be left out, and counted: seed (1 request), user (1,200 requests)"
    none = list(check(model_check(refused=100, dropped={"seed": 100}, estimate=guess(requests=0))).lines())
    assert none[2:] == ["  Not one request would be sent: every one of them is refused."]
    few = guess(route="on_demand", jobs=0, on_demand_cost_usd=2.0, below_minimum=True)
    said = "  Fewer than a job takes: they would be asked on demand, at the full price."
    assert list(check(model_check(estimate=few)).lines())[2:] == [f"  {few}", said]
    at_once = guess(route="on_demand", jobs=0, on_demand_cost_usd=2.0)
    assert said not in list(check(model_check(estimate=at_once)).lines())
    unpriced = guess(route="on_demand", jobs=0, batch_cost_usd=None, below_minimum=True)
    assert said not in list(check(model_check(estimate=unpriced)).lines())
    routes = Routes(1.0, 2.0, 2.0, 4.0, 0.5, 1.5, 6000, 90, 100)
    assert list(check(model_check(routes=routes)).lines())[-1] == f"  Advice: {routes.advice}"
    assert routes.advice


@pytest.mark.parametrize(
    ("fields", "models", "code"),
    [
        ({}, [{}, {}], FINE),
        ({}, [{"refused": 1}, {}], SOME_REFUSED),
        ({}, [{"refused": 100}, {}], ALL_REFUSED),
        ({}, [{"refused": 0, "requests": 0}], FINE),
        ({"invalid": 1}, [{}], FAILS),
        ({"invalid": 1, "on_invalid": "skip"}, [{}], SOME_REFUSED),
        ({"requests": 0}, [{}], FAILS),
        ({"mistake": "x", "on_invalid": "skip"}, [{}], FAILS),
    ],
)
def test_how_the_command_ends(fields: dict[str, Any], models: list[dict[str, Any]], code: int) -> None:
    found = check(*(model_check(**each) for each in models), **fields)
    assert (found.exit_code, found.ok, found.to_dict()["exit_code"]) == (code, code == FINE, code)


def test_exit_codes_are_for_ever() -> None:
    assert (FINE, FAILS, SOME_REFUSED, ALL_REFUSED) == (0, 1, 3, 4)


def test_what_was_seen_is_put_together(tmp_path: Path) -> None:
    """Requests of the file with the bad ones, of a model without; each with its causes."""
    texts = [{"type": "json_object"}] * 3
    lines: list[Any] = [chat("r0", n=2), "{", *(chat(f"r{n}", response_format=each) for n, each in enumerate(texts, 1))]
    lines += [chat("refused", **SEED)]
    found = look(lines, tmp_path, CLAUDE, on_invalid="skip")
    (model,) = found.models
    assert (found.files, found.endpoint, found.on_invalid) == (["in.jsonl"], "/v1/chat/completions", "skip")
    assert (found.requests, found.invalid, model.requests, model.refused, model.exact) == (6, 1, 5, 1, True)
    assert list(model.mapped.values()) == [3, 1], "the most frequent first"
    assert [cause.param for cause in model.causes] == ["seed"]
    assert model.estimate.requests == 4
    assert [cause.code for cause in found.causes] == ["invalid_json_line"]


def test_every_file_is_named_and_who_made_a_model_is_looked_at(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_lines(tmp_path / f"{name}.jsonl", [chat(name)])
    models = {"anthropic.unheard-of-v9:0": False, "claude-x": True, CLAUDE: False}
    surveys = {model: Survey(parse_model(model), "error") for model in models}
    summary = validate_input(str(tmp_path / "?.jsonl"), None, ENDPOINTS, tmp_path, None, list(surveys.values()))
    found = examine(summary, surveys)
    assert found.files == ["a.jsonl", "b.jsonl"]
    assert {each.model: each.foreign for each in found.models} == models
    assert [each.unknown for each in found.models] == [True, True, False]


def test_a_batch_job_is_doubted_only_where_there_is_to_be_one(tmp_path: Path) -> None:
    model = "amazon.titan-text-express-v1"
    lines = [chat(f"r{n}", max_tokens=10) for n in range(200)]
    jobs, at_once = (look(lines, tmp_path, model, immediate=now).models[0] for now in (False, True))
    assert jobs.availability
    assert (at_once.availability, at_once.estimate.route) == (None, "on_demand")


def test_labels_are_counted_by_request(tmp_path: Path) -> None:
    lines: list[Any] = [chat("a"), "", "{", chat("a"), chat("b")]
    found = look(lines, tmp_path, labels={"a", "z"}, on_invalid="skip")
    assert found.reference == ReferenceFit(labels=2, matched=2, strangers=0, requests=4)
    twice = look(lines, tmp_path, labels={"a"}, on_invalid="skip").reference
    assert twice == ReferenceFit(labels=1, matched=1, strangers=0, requests=4)
    assert look(lines, tmp_path, labels=()).reference == ReferenceFit(labels=0, matched=0, strangers=0, requests=4)
    assert look(lines, tmp_path).reference is None
