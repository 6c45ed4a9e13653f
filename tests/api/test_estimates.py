"""What a file would cost: of all of a small one, of stretches of a large one, and of no compressed one."""

import gzip

import msgspec
import pytest

from tasks.api import estimates
from tasks.api.errors import InvalidCallError
from tasks.api.estimates import cost_estimate
from tasks.storage.sources import Source
from tests.api.callers import LINE, tenant, upload
from tests.conftest import CLAUDE, NOVA
from tests.fakes import Cloud


def test_every_line_of_a_small_file_counts(cloud: Cloud) -> None:
    stored = upload(tenant(), LINE * 300)
    found = cost_estimate(stored, CLAUDE)
    one = cost_estimate(upload(tenant()), CLAUDE, immediate=True)
    assert (found["object"], found["file_id"], found["model"]) == ("file.cost_estimate", stored.id, CLAUDE)
    assert (found["requests"], found["jobs"], found["route"], found["exact"]) == (300, 1, "batch", True)
    assert found["input_tokens"] == 300 * one["input_tokens"] > 0
    assert found["max_output_tokens"] == 300 * one["max_output_tokens"] > found["input_tokens"]
    assert found["accuracy"] == "tokens to within about a third"
    assert found["max_cost_usd"] == found["batch_cost_usd"]
    assert found["on_demand_cost_usd"] == pytest.approx(2 * found["batch_cost_usd"])
    assert msgspec.json.decode(msgspec.json.encode(found)) == found, "as it is sent"


def test_what_is_asked_at_once_is_asked_on_demand(cloud: Cloud) -> None:
    stored = upload(tenant(), LINE * 300)
    batch, at_once = cost_estimate(stored, CLAUDE), cost_estimate(stored, CLAUDE, immediate=True)
    assert (at_once["requests"], at_once["jobs"], at_once["route"]) == (300, 0, "on_demand")
    assert at_once["max_cost_usd"] == at_once["on_demand_cost_usd"] == batch["on_demand_cost_usd"]
    assert cost_estimate(upload(tenant(), LINE * 9), CLAUDE)["route"] == "on_demand", "fewer than a job takes"


def test_lines_that_are_no_requests_cost_nothing(cloud: Cloud) -> None:
    other = LINE.replace(b"/v1/chat/completions", b"/v1/images")
    bad = [b"\n", b"  \n", b"{\n", b"\xff\xfe\n", b"[1]\n", b'{"url": 5}\n', b"{}\n", other]
    found = cost_estimate(upload(tenant(), LINE * 2 + b"".join(bad)), CLAUDE)
    assert found["requests"] == 2
    assert cost_estimate(upload(tenant(), LINE * 2 + LINE.rstrip()), CLAUDE)["requests"] == 3, "without a last line end"
    nothing = cost_estimate(upload(tenant(), b""), CLAUDE)
    assert (nothing["requests"], nothing["jobs"], nothing["max_cost_usd"], nothing["exact"]) == (0, 0, 0.0, True)


def test_an_endpoint_that_the_model_does_not_serve_costs_nothing(cloud: Cloud) -> None:
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}}\n'
    assert cost_estimate(upload(tenant(), line * 3), CLAUDE)["requests"] == 0
    assert cost_estimate(upload(tenant(), line * 3), "amazon.titan-embed-text-v2:0")["requests"] == 3


def test_a_model_without_a_price(cloud: Cloud) -> None:
    found = cost_estimate(upload(tenant(), LINE * 3), "anthropic.claude-of-tomorrow-v1:0")
    assert found["input_tokens"] > 0
    assert [found[name] for name in ("rate", "input_cost_usd", "max_cost_usd", "batch_cost_usd")] == [None] * 4


def test_a_large_file_is_looked_at_in_places(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines only, from its beginning to its end: half of them are ten times as long as the others."""
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 4096)
    long = LINE.replace(b'"x"', b'"%s"' % (b"word " * 200))
    body = LINE * 1000 + long * 1000
    stored = upload(tenant(), body)
    found = cost_estimate(stored, NOVA)
    assert found["exact"] is False
    assert found["requests"] == pytest.approx(2000, rel=0.25)


def test_a_large_file_is_looked_at_from_end_to_end(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    stretches, of, rest = estimates._STRETCHES, estimates._STRETCH_BYTES, estimates._REST_BYTES
    assert (stretches, of, rest) == (16, 256 << 10, 64 << 20)
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", len(LINE))
    stored = upload(tenant(), LINE * 31)
    cloud.s3.calls.clear()
    cost_estimate(stored, NOVA)
    begins = [int(str(given["Range"])[6:].split("-")[0]) for _, given in cloud.s3.calls if "Range" in given]
    assert sorted(set(begins))[:16] == [2 * number * len(LINE) for number in range(16)]


def test_a_last_line_that_nothing_ends_counts_as_well(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 4096)
    long = LINE.replace(b'"x"', b'"%s"' % (b"word " * 40_000))
    whole, cut = (cost_estimate(upload(tenant(), body), NOVA) for body in (LINE * 9 + long, LINE * 9 + long[:-1]))
    assert cut["input_tokens"] == pytest.approx(whole["input_tokens"], rel=0.01)
    assert cut["input_tokens"] > 20_000


def test_of_a_file_of_just_the_bytes_of_the_sample_every_line_is_looked_at(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", len(LINE))
    assert cost_estimate(upload(tenant(), LINE * 16), CLAUDE)["exact"] is True
    assert cost_estimate(upload(tenant(), LINE * 16 + b"\n"), CLAUDE)["exact"] is False


def test_a_file_of_equal_lines_is_told_to_the_line(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 4096)
    found = cost_estimate(upload(tenant(), LINE * 3000), NOVA)
    assert (found["requests"], found["exact"]) == (3000, False)


@pytest.mark.parametrize("words", [3, 2000, 5000])
def test_lines_that_are_longer_than_a_stretch_count_as_well(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, words: int
) -> None:
    """As those with images in base64 are; mixed with short ones, of which alone a stretch holds whole ones."""
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 4096)
    long = LINE.replace(b'"x"', b'"%s"' % (b"word " * words))
    equal = cost_estimate(upload(tenant(), long * 200), NOVA)
    assert (equal["requests"], equal["exact"]) == (200, words < 50)
    every = cost_estimate(upload(tenant(), long), NOVA, immediate=True)["input_tokens"]
    assert equal["input_tokens"] == pytest.approx(200 * every, rel=0.01)
    mixed = cost_estimate(upload(tenant(), (long + LINE) * 100), NOVA)
    assert mixed["requests"] == pytest.approx(200, rel=0.35)


def test_lines_beyond_all_bounds_are_given_up(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 1024)
    monkeypatch.setattr("tasks.api.estimates._REST_BYTES", 4096)
    long = LINE.replace(b'"x"', b'"%s"' % (b"word " * 10000))
    assert cost_estimate(upload(tenant(), LINE + long + LINE), NOVA)["requests"] > 0
    assert cloud.s3.count("GetObject") < 40


@pytest.mark.parametrize("body", [gzip.compress(LINE), b"\x28\xb5\x2f\xfd rest"], ids=["gzip", "zstd"])
def test_a_compressed_file_is_refused(cloud: Cloud, body: bytes) -> None:
    with pytest.raises(InvalidCallError, match="compressed") as error:
        cost_estimate(upload(tenant(), body), CLAUDE)
    assert error.value.param == "id"


@pytest.mark.parametrize("model", ["", "no such model"])
def test_a_model_that_is_none_is_refused_before_anything_is_read(cloud: Cloud, model: str) -> None:
    stored = upload(tenant())
    cloud.s3.calls.clear()
    with pytest.raises(InvalidCallError) as error:
        cost_estimate(stored, model)
    assert error.value.param == "model"
    assert not cloud.s3.calls


def test_a_field_that_the_model_cannot_honour_is_left_out_of_no_estimate(cloud: Cloud) -> None:
    """Whether the batch drops it or refuses the line is not known yet: it costs most where it is dropped."""
    line = LINE.replace(b'"messages"', b'"logit_bias": {"1": 2}, "messages"')
    assert cost_estimate(upload(tenant(), line * 3), CLAUDE)["requests"] == 3


def test_a_file_without_a_whole_line_in_the_sample_costs_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 16)
    monkeypatch.setattr("tasks.api.estimates._REST_BYTES", 64)
    found = cost_estimate(upload(tenant(), LINE.replace(b'"x"', b'"%s"' % (b"word " * 1000))), CLAUDE)
    assert (found["requests"], found["max_cost_usd"], found["exact"]) == (0, 0.0, False)


def test_the_ends_of_long_lines_are_bounded_together_and_read_in_few_calls(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.api.estimates._STRETCH_BYTES", 256)
    stored = upload(tenant(), LINE.replace(b'"x"', b'"%s"' % (b"word " * 20_000)) * 40)
    cloud.s3.calls.clear()
    assert cost_estimate(stored, NOVA)["requests"] == 40
    assert cloud.s3.count("GetObject") < 16 * 14, "each call asks for twice as much as the one before"
    monkeypatch.setattr("tasks.api.estimates._REST_BYTES", 200_000)
    asked: list[int] = []
    rest = estimates._rest

    def noted(source: Source, start: int, most: int) -> bytes:
        asked.append(most)
        return rest(source, start, most)

    monkeypatch.setattr(estimates, "_rest", noted)
    cost_estimate(stored, NOVA)
    assert asked[0] == 200_000
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] <= 0, "what one line has used up, the next one lacks"
