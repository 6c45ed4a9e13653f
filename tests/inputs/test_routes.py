"""Which way of asking is the cheapest, where prompts begin alike."""

import json
import re
from typing import Any

import pytest

from tasks.bedrock.limits import Limits
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate
from tasks.inputs.estimate import Estimate, estimate
from tasks.inputs.routes import _CACHES, Routes, _factors, routes_of
from tasks.inputs.survey import Survey
from tests.conftest import chat

#: 1 and 5 dollars a million on demand, half of it in a batch; caches from 4,096 tokens on.
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


def surveyed(requests: int = 100, tokens: int = 5000, most: int = 10, model: str = HAIKU) -> tuple[Survey, Estimate]:
    """Requests that share a beginning of so many tokens and add a word."""
    found = Survey(parse_model(model), "error")
    for number in range(requests):
        # The first characters of the users' own words differ.
        messages = [{"role": "system", "content": "abcd" * tokens}, {"role": "user", "content": f"{number:08d}"[::-1]}]
        line = json.dumps(chat(f"r{number}", messages=messages, max_tokens=most)).encode()
        found.add(line, "/v1/chat/completions", number + 1, "in.jsonl")
    return found, estimate(found, requests, Limits())


def routes(**options: Any) -> Routes:
    return routes_of(*surveyed(**options))


def test_a_shared_beginning_is_written_once_and_read_ever_after() -> None:
    found = routes()
    # Each has 5,000 tokens of it, and 4.5 of its own ("system", "user", and the number), rounded up.
    assert found.batch_input == pytest.approx(0.5 * 100 * 5005 / 1e6)
    assert found.batch_most == pytest.approx(0.5 * 100 * 5005 / 1e6 + 2.5 * 100 * 10 / 1e6)
    assert found.on_demand_input == pytest.approx(100 * 5005 / 1e6)
    assert found.on_demand_most == pytest.approx(100 * 5005 / 1e6 + 5 * 100 * 10 / 1e6)
    read = 5000 * 1.25 + 99 * 5000 * 0.1 + 100 * 5
    assert found.cached_input == pytest.approx(read / 1e6)
    assert found.cached_most == pytest.approx(read / 1e6 + 5 * 100 * 10 / 1e6)
    assert (found.shared_tokens, found.shared_requests) == (5000, 100)
    # A batch saves 2.5 dollars a million tokens of an answer.
    assert found.break_even_tokens == pytest.approx((250_250 - 56_250) / 250, abs=1)


def test_the_advice_names_both_prices() -> None:
    text = routes().advice
    assert text == (
        "100 requests begin alike (up to 5,000 tokens), which can be cached on demand, and in a batch job cannot: at "
        "most $0.0612 with cache points, $0.2527 in a batch; this pipeline sets no cache points, and reroutes nothing "
        "by itself"
    )


def test_with_long_answers_it_depends() -> None:
    found = routes(most=2000)
    assert found.cached_most is not None
    assert found.batch_most is not None
    assert found.cached_most > found.batch_most
    assert (
        f"but less than a batch where answers have fewer than {found.break_even_tokens} tokens on the average"
        in str(found.advice)
    )


@pytest.mark.parametrize(
    ("options", "cached"),
    [
        ({"tokens": 4095}, False),
        ({"tokens": 4096}, True),
        ({"tokens": 1023, "model": "us.amazon.nova-lite-v1:0"}, False),
        ({"tokens": 1024, "model": "us.amazon.nova-lite-v1:0"}, True),
        ({"tokens": 1024, "model": "anthropic.claude-sonnet-4-20250514-v1:0"}, True),
        ({"model": "us.meta.llama3-3-70b-instruct-v1:0"}, False),
        ({"model": "x.unheard-of-v1"}, False),
        ({"requests": 1}, False),
    ],
)
def test_what_a_model_caches(options: dict[str, Any], cached: bool) -> None:
    found = routes(**{"requests": 3, **options})
    assert (found.cached_input is not None, found.cached_most is not None, found.shared_tokens > 0) == (cached,) * 3
    assert cached or found.advice is None


def test_a_part_of_the_requests_stands_for_all() -> None:
    survey, whole = surveyed()
    found = routes_of(survey, estimate(survey, 1000, Limits()))
    assert found.shared_requests == 1000
    assert found.batch_most == pytest.approx(10 * (routes_of(survey, whole).batch_most or 0))


def test_what_is_refused_shares_nothing() -> None:
    survey, _ = surveyed()
    for number in range(50):
        line = json.dumps(chat(f"x{number}", logit_bias={"1": 1})).encode()
        survey.add(line, "/v1/chat/completions", 101 + number, "in.jsonl")
    found = routes_of(survey, estimate(survey, 150, Limits()))
    assert (survey.lines, survey.refused, found.shared_requests) == (150, 50, 100)
    assert found.cached_input == routes().cached_input


def test_no_advice_where_it_is_never_cheaper() -> None:
    found = routes(requests=2)
    assert found.break_even_tokens is None
    assert found.advice is None
    assert Routes(None, None, 1.0, 1.0).advice is None


@pytest.mark.parametrize(
    ("model", "cache"),
    [
        ("anthropic.claude-haiku-4-5-20251001-v1:0", (0.1, 1.25, 4096)),
        ("anthropic.claude-opus-4-6-v1", (0.1, 1.25, 4096)),
        ("anthropic.claude-opus-5", (0.1, 1.25, 4096)),
        ("anthropic.claude-opus-4-1-20250805-v1:0", (0.1, 1.25, 1024)),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", (0.1, 1.25, 1024)),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", (0.1, 1.25, 1024)),
        ("anthropic.claude-3-haiku-20240307-v1:0", None),
        ("amazon.nova-pro-v1:0", (0.25, 1.0, 1024)),
        ("amazon.titan-text-lite-v1", None),
    ],
)
def test_what_caching_costs_by_the_pages_of_the_vendors(model: str, cache: tuple[float, float, int] | None) -> None:
    found = next((each for each in _CACHES if re.match(each.models, model)), None)
    assert (found and (found.read, found.write, found.least)) == cache


def test_the_price_list_goes_before_them() -> None:
    cache = _CACHES[0]
    assert _factors(Rate(2.0, 9.0, "on_demand", "", "", cached=0.5, written=3.0), cache) == (0.25, 1.5)
    assert _factors(Rate(2.0, 9.0, "on_demand", "", ""), cache) == (0.1, 1.25)
    assert _factors(Rate(0.0, 9.0, "on_demand", "", "", cached=0.5, written=3.0), cache) == (0.1, 1.25)


def test_of_several_beginnings_the_largest_is_named() -> None:
    found = Survey(parse_model(HAIKU), "error")
    number = 0
    for word, size in (("abcd", 5000), ("efgh", 9000), ("ijkl", 4000)):
        for _ in range(50):
            number += 1
            messages = [{"role": "system", "content": word * size}, {"role": "user", "content": f"{number:08d}"[::-1]}]
            line = json.dumps(chat(f"r{number}", messages=messages, max_tokens=10)).encode()
            found.add(line, "/v1/chat/completions", number, "in.jsonl")
    routes = routes_of(found, estimate(found, number, Limits()))
    assert (routes.shared_tokens, routes.shared_requests) == (9000, 100)
