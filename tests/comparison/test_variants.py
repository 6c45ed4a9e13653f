"""What a call may name, what overrides do to a line, and what a comparison would cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.compare import compare_models
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import rate_for
from tasks.comparison.estimate import estimate_judge, estimate_variants, require_budget
from tasks.comparison.judge import Judge, read_judge
from tasks.comparison.reference import read_reference
from tasks.comparison.texts import asked
from tasks.comparison.variants import BATCH_OPTIONS, Variant, changer, lines_of, read_variants, slug
from tasks.errors import ConfigurationError, InputFileError
from tasks.storage.sources import find_sources
from tests.conftest import CLAUDE, NOVA, chat, write_lines

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "at least one"),
        (CLAUDE, "must be a list"),
        ([CLAUDE, CLAUDE], "both called"),
        ([3], r"models\[0\]"),
        ([{"model": CLAUDE, "label": "a"}, {"model": CLAUDE, "label": "b"}], "are the same"),
        (["a b"], "no Bedrock"),
        ([{"label": "a"}], r"models\[0\]"),
        ([{"model": CLAUDE, "label": ""}], "label"),
        ([{"model": CLAUDE, "overrides": {"messages": []}}], "overrides"),
        ([{"model": CLAUDE, "overrides": {"system": 3}}], "system"),
        *(
            ([{"model": CLAUDE, "overrides": {"seed": odd}}], "finite numbers")
            for odd in (float("nan"), [float("inf")], {"a": -float("inf")}, "\ud83d", {3: 4}, object())
        ),
        ([{"model": CLAUDE, "poll_seconds": 3}], "poll_seconds cannot be set for one model"),
        ([{"model": CLAUDE, "unsupported": "ignore"}], r"models\[0\]: unsupported: .*'error' or 'drop', not 'ignore'"),
        ([{"model": CLAUDE, "job_name": 3}], r"models\[0\]: job_name: .* not 3"),
    ],
)
def test_what_cannot_be_compared_is_named(models: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_variants(models)


def test_the_same_model_twice_with_other_settings_is_an_ab_test() -> None:
    first, second = read_variants([NOVA, {"model": NOVA, "label": "cold", "overrides": {"temperature": 0}}])
    assert (first.label, second.label, second.model) == (NOVA, "cold", NOVA)
    assert slug("ä/../b: c", 3) == "03-b-c"
    assert slug("日本", 0) == "00-variant"


def changed(line: Any, **overrides: Any) -> Any:
    return json.loads(changer(overrides)(json.dumps(line).encode()))


def test_variants_stand_beside_models() -> None:
    """As Prefect's form has them: ids as lines of text, variants field by field."""
    both = read_variants([CLAUDE], [{"model": NOVA, "label": "lite"}])
    assert both == read_variants([CLAUDE, {"model": NOVA, "label": "lite"}])
    assert read_variants([], [{"model": NOVA}]) == read_variants([NOVA])
    with pytest.raises(ConfigurationError, match=r"^models\[0\] and variants\[0\] are both called"):
        read_variants([CLAUDE], [{"model": CLAUDE}])
    with pytest.raises(ConfigurationError, match=r"^variants\[1\]: label must be"):
        read_variants([CLAUDE], [{"model": NOVA}, {"model": NOVA, "label": ""}])
    kinds = {name: each["items"] for name, each in compare_models.parameters.properties.items() if "items" in each}
    assert kinds["variants"]["properties"].keys() == {"model", "label", "overrides", *BATCH_OPTIONS}
    ids, as_json = compare_models.parameters.properties["models"]["anyOf"]
    assert (ids["items"], as_json["title"]) == ({"type": "string"}, "as JSON")


def test_overrides() -> None:
    line = chat("a", messages=[{"role": "developer", "content": "old"}, {"role": "user", "content": "ü\n"}], top_p=0.5)
    body = changed(line, temperature=0, top_p=None, system="new")["body"]
    assert body["messages"] == [{"role": "system", "content": "new"}, {"role": "user", "content": "ü\n"}]
    assert body["temperature"] == 0
    assert "top_p" not in body
    responses = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "x"}}
    assert changed(responses, system="new")["body"]["instructions"] == "new"
    completions = {**responses, "url": "/v1/completions", "body": {"model": "m", "prompt": "x"}}
    with pytest.raises(ConfigurationError, match="no system prompt"):
        changed(completions, system="new")
    for odd in (b"", b"  ", b"{", b"[1]", b'{"url":3,"body":{}}', b'{"url":"/v1/chat/completions","body":[]}'):
        assert changer({"temperature": 0, "system": "s"})(odd) == odd


def test_estimates_and_the_budget(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"r{i}", "word " * 100, max_tokens=100) for i in range(300)])
    variants = [Variant(HAIKU, "a"), Variant(HAIKU, "b", {"max_tokens": 10}, {"completion_window": "immediate"})]
    first, second = estimate_variants(variants, find_sources(str(path)), 300, "24h")
    assert (first.requests, first.jobs, first.max_output_tokens) == (300, 1, 30_000)
    assert 300 * 125 <= first.input_tokens < 300 * 130
    assert first.rate is not None
    assert first.rate.basis == "batch"
    assert first.max_cost_usd == pytest.approx((first.input_tokens * 0.5 + 30_000 * 2.5) / 1e6)
    assert (second.jobs, second.max_output_tokens) == (0, 3000)
    assert second.rate is not None
    assert (second.rate.basis, second.rate.input) == ("on_demand", 1.0)
    require_budget([first, second], 1.0)
    with pytest.raises(ConfigurationError, match="may cost up to"):
        require_budget([first, second], 0.05)
    unknown = estimate_variants([Variant("x.unheard-of-v1", "x")], find_sources(str(path)), 300, "24h")
    require_budget(unknown, None)
    with pytest.raises(ConfigurationError, match="no price is known"):
        require_budget(unknown, 1.0)


def test_the_judge_is_in_the_estimate(tmp_path: Path) -> None:
    """Of three variants each answer is read four times; a request as often as it has comparisons."""
    path = write_lines(tmp_path / "in.jsonl", [chat(f"r{i}", "word " * 100, max_tokens=100) for i in range(300)])
    variants = [Variant(HAIKU, label) for label in "abc"]
    judge = Judge(HAIKU, "x" * 400, requests=50, max_tokens=16)
    each = estimate_variants(variants, find_sources(str(path)), 300, "24h")
    found = estimate_judge(judge, variants, each, 300, "24h", "on_demand")
    assert (found.label, found.requests, found.jobs, found.max_output_tokens) == (f"judge {HAIKU}", 300, 1, 300 * 16)
    assert found.input_tokens == pytest.approx(300 * (2 * 100 + 128 + 100 + 60), rel=0.02)
    assert found.rate is not None
    assert found.max_cost_usd == pytest.approx(found.rate.cost(found.input_tokens, 4800))
    require_budget(each, 0.4)
    with pytest.raises(ConfigurationError, match="may cost up to"):
        require_budget([*each, found], 0.3)
    few = estimate_judge(Judge(HAIKU, requests=5), variants, each, 300, "24h", "on_demand")
    assert (few.requests, few.jobs) == (30, 0), "too few for a job: asked on demand"


def test_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(model: str, batch: bool = True) -> Any:
        return rate_for(parse_model(model), batch=batch)

    assert (rate(f"global.{HAIKU}").input, rate(f"us.{HAIKU}").input) == (0.5, 0.55)
    assert rate(f"arn:aws:bedrock:us-east-1:1:inference-profile/us.{HAIKU}").input == 0.55
    half = rate("anthropic.claude-sonnet-4-6")
    assert (half.input, half.output, half.basis) == (1.5, 7.5, "half_of_on_demand")
    assert half.seen
    assert rate("x.unheard-of-v1") is None
    own = tmp_path / "prices.json"
    own.write_text(json.dumps({"models": [{"model": "x\\.unheard", "batch": [1, 2]}], "seen": "today"}))
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(own))
    assert rate("x.unheard-of-v1").seen == "today"
    assert rate("x.unheard-of-v1", batch=False) is None
    assert rate(HAIKU).input == 0.5
    monkeypatch.setenv("BEDROCK_BATCH_PRICES", str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError, match="no price list"):
        rate(HAIKU)


def test_references(tmp_path: Path) -> None:
    def read(name: str, text: str) -> dict[str, tuple[str, ...]]:
        path = tmp_path / name
        path.write_text(text)
        return read_reference(str(path)).answers

    want = {"a": ("x",), "b": ("y",)}
    assert read("r.csv", "custom_id,label\na,x\nb,y\na,x\n") == want
    assert read("r.tsv", "note\tlabel\tcustom_id\n\tx\ta\n\ty\tb\n") == want
    assert (
        read("r.jsonl", '{"custom_id": "a", "answer": "x"}\n\n{"custom_id": "b", "other": 1, "answer": "y"}\n') == want
    )
    import pandas as pd

    pd.DataFrame({"custom_id": ["a", "b"], "truth": ["x", "y"]}).to_parquet(tmp_path / "r.parquet")
    assert read_reference(str(tmp_path / "r.parquet")).answers == want
    for name, text, message in [
        ("d.csv", "custom_id,label\na,x\na,y\n", "two different labels, in rows 1 and 2"),
        ("n.csv", "id,label\na,x\n", "no column custom_id"),
        ("m.csv", "custom_id,p,q\na,x,y\n", "name the column"),
        ("e.csv", "custom_id,label\n", "holds no label"),
        ("j.jsonl", "{\n", "no JSON"),
        ("l.jsonl", "[]\n", "no JSON object"),
        ("p.parquet", "x", "no Parquet"),
    ]:
        with pytest.raises(InputFileError, match=message):
            read(name, text)


def test_judges() -> None:
    assert read_judge(None) is None
    judge = read_judge({"model": CLAUDE, "rubric": "Prefer rhymes.", "requests": 5})
    assert judge is not None
    assert (judge.model, judge.rubric, judge.requests) == (CLAUDE, "Prefer rhymes.", 5)
    for bad in ("a b", {"model": CLAUDE, "requests": 0}, {"rubric": "x"}, {"model": CLAUDE, "temperature": 1}):
        with pytest.raises(ConfigurationError, match="judge"):
            read_judge(bad)


def test_one_odd_line_costs_neither_the_estimate_nor_the_inputs(tmp_path: Path) -> None:
    """Lines that no batch would send are not counted; those of another endpoint stay as they are."""
    good = [json.dumps(chat(f"id-{n}", "Say it", max_tokens=10)) for n in range(20)]
    completion = {"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "x"}}
    tokens = [
        "1e999",
        "1" * 400,
        "-" + "9" * 400,
        "1" * 5000,
        "-5",
        "[" * 900 + "]" * 900,
        "[" * 490 + "]" * 490,
        "NaN",
    ]
    odd = [json.dumps(completion), "{", "\ud83d", json.dumps(chat("s", "\ud83d"))]
    for field in ("max_tokens", "n", "tools", "max_output_tokens", "input"):
        fields: dict[str, Any] = {"max_tokens": 10, field: "@"}
        odd += [json.dumps(chat("x", **fields)).replace('"@"', token) for token in tokens]
    path = write_lines(
        tmp_path / "in.jsonl", [*good[:10], *(line.encode("utf-8", "replace").decode() for line in odd), *good[10:]]
    )
    variants = read_variants(
        [{"model": HAIKU, "label": "a"}, {"model": HAIKU, "label": "b", "overrides": {"system": "Be kind"}}]
    )
    sources = find_sources(str(path))
    for each in estimate_variants(variants, sources, len(good) + len(odd), "24h", "/v1/chat/completions"):
        assert 0 < each.input_tokens < 1_000_000
        assert 0 < each.max_output_tokens < 100_000
    change = changer(variants[1].overrides, "/v1/chat/completions")
    assert change(odd[0].encode()) == odd[0].encode()
    assert json.loads(change(good[0].encode()))["body"]["messages"][0] == {"role": "system", "content": "Be kind"}
    for line in path.read_bytes().splitlines():
        asked(change(line))


@pytest.mark.parametrize("field", ["model", "messages", "input", "prompt", "stream"])
def test_what_is_the_datasets_is_not_overridden(field: str) -> None:
    with pytest.raises(ConfigurationError, match="but for input, messages, model, prompt, stream"):
        read_variants([{"model": CLAUDE, "overrides": {field: None}}])


def test_labels_are_short_and_models_as_long_as_they_are() -> None:
    (found,) = read_variants([{"model": CLAUDE, "label": f" {'x' * 78} "}])
    assert found.label == "x" * 78
    assert read_variants([{"model": CLAUDE, "label": "x" * 80}])
    for label in ("x" * 81, "  ", 5):
        with pytest.raises(ConfigurationError, match="label must be text of 1 to 80 characters"):
            read_variants([{"model": CLAUDE, "label": label}])
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{HAIKU}"
    assert len(arn) > 80
    assert read_variants([arn])[0].label == arn
    assert slug("x" * 100, 7) == f"07-{'x' * 60}"


def test_blank_lines_are_no_requests_and_stay_where_they_are(tmp_path: Path) -> None:
    line = json.dumps(chat("a"))
    path = tmp_path / "in.jsonl"
    path.write_text(f"\n{line}\n \t\n{line}\n\n")
    assert [json.loads(each)["custom_id"] for each in lines_of(find_sources(str(path)))] == ["a", "a"]
