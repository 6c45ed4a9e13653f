"""Answers become result lines: each request's own, with its tokens, its cost and, where it has none, the reason."""

import io
import json
from typing import Any, NoReturn

import msgspec
import pyarrow.parquet as pq
import pytest

from tasks.batch.document import BatchDocument, Origin, Range, Shard
from tasks.batch.paths import index_object, result_piece
from tasks.bedrock.limits import Limits
from tasks.bedrock.names import record_id
from tasks.errors import AccountingError
from tasks.normalize import answered_so_far, normalize_range
from tasks.openai_format.batch import RequestCounts
from tasks.openai_format.results import HttpError, encode_error
from tasks.results.files import RESULT_SCHEMA
from tasks.results.outputs import ShardOutput
from tasks.results.totals import RangeResult
from tasks.shards.index import Index
from tests.builders import REF, document, job, put_index, put_shard, range_of, records, shard
from tests.fakes import Cloud

HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "the prompt that nobody may read"


def answer(number: int, text: str = "hi", choice: int = 0, **usage: Any) -> dict[str, Any]:
    message = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 2, **usage},
    }
    return {"recordId": record_id(number, choice), "modelOutput": message}


def error(number: int, code: int, message: str = "no", **more: Any) -> dict[str, Any]:
    return {"recordId": record_id(number), "error": {"errorCode": code, "errorMessage": message, **more}}


def batch(count: int = 3, shards: list[Shard] | None = None, **fields: Any) -> BatchDocument:
    """A batch of one range in its last round; its model has a price."""
    section = {"model": HAIKU, "base_model": HAIKU, "ranges": [range_of(0, count)], **fields.pop("section", {})}
    given: dict[str, Any] = {"section": {"last_round": 1, **section}, **fields}
    shards = shards or [shard(jobs=[job("Completed")], records=count)]
    return document(shards, request_counts=RequestCounts(total=count), **given)


def output(cloud: Cloud, *lines: dict[str, Any], shard_id: str = "00000") -> ShardOutput:
    """What a shard's job wrote."""
    uri = REF.uri("bedrock", f"job-{shard_id}", "part.jsonl.out")
    cloud.s3.put(uri.key, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return ShardOutput(shard_id, [], None, [], folder=REF.uri("bedrock", f"job-{shard_id}"))


def ids(count: int) -> list[str]:
    return [f"id-{number}" for number in range(count)]


def normalized(cloud: Cloud, given: BatchDocument, *outputs: ShardOutput, range_: Range | None = None) -> RangeResult:
    range_ = range_ or given.bedrock.ranges[0]
    if index_object(REF, range_).key not in cloud.s3.objects:
        put_index(cloud, range_, ids(range_.requests))
    return normalize_range(REF, given, range_, list(outputs))


def lines(cloud: Cloud, name: str = "output.jsonl") -> list[dict[str, Any]]:
    body = cloud.s3.objects[result_piece(REF, range_of(), name).key].body
    return [json.loads(line) for line in body.splitlines()]


def rows(cloud: Cloud) -> list[dict[str, Any]]:
    body = cloud.s3.objects[result_piece(REF, range_of(), "results.parquet").key].body
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
    return found


@pytest.mark.parametrize("fast", ["1", "0"])
def test_tokens_are_counted_and_paid_for_once_each(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    """By the short cut and by the general way."""
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    given = output(cloud, answer(1, cache_read_input_tokens=1000), answer(2), answer(0, output_tokens=5))
    result = normalized(cloud, batch(), given)
    assert (result.completed, result.failed, result.without_usage, result.without_cost) == (3, 0, 0, 0)
    assert (result.prompt_tokens, result.completion_tokens, result.cached_tokens) == (1030, 9, 1000)
    # Half of a dollar and of five dollars a million; batch jobs have no other price for what was cached.
    assert result.cost_usd == pytest.approx((1030 * 0.5 + 9 * 2.5) / 1e6)
    assert result.finish_reasons == {"stop": 3}
    found = rows(cloud)
    assert [(row["custom_id"], row["line"], row["cached_tokens"]) for row in found] == [
        ("id-0", 1, 0),
        ("id-1", 2, 1000),
        ("id-2", 3, 0),
    ]
    assert sum(row["cost_usd"] for row in found) == pytest.approx(result.cost_usd)


def test_both_ways_write_the_same_bytes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    given = output(cloud, error(3, 400), answer(2, "a\nb"), answer(0, "ü\u2028"), answer(1, cache_read_input_tokens=7))
    written = []
    for fast in ("1", "0"):
        monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
        result = normalized(cloud, batch(5), given)
        bodies = [
            cloud.s3.objects[result_piece(REF, range_of(), name).key].body for name in ("output.jsonl", "errors.jsonl")
        ]
        written.append((bodies, rows(cloud), msgspec.structs.replace(result, cost_usd=0)))
    assert written[0] == written[1]


def test_a_line_is_openais_and_the_same_on_every_run(cloud: Cloud) -> None:
    normalized(cloud, batch(1, created_at=77), output(cloud, answer(0, "hello")))
    (line,) = lines(cloud)
    assert line["id"] == "batch_req_0000000000000000r000000000"
    assert (line["custom_id"], line["error"]) == ("id-0", None)
    response = line["response"]
    assert (response["status_code"], response["request_id"]) == (200, "req_0000000000000000r000000000")
    body = response["body"]
    assert (body["object"], body["created"], body["model"]) == ("chat.completion", 77, HAIKU)
    assert body["choices"][0]["message"]["content"] == "hello"
    assert body["usage"]["total_tokens"] == 12


#: A row of the table whose columns say nothing.
EMPTY = dict.fromkeys(RESULT_SCHEMA.names)


@pytest.mark.parametrize("fast", ["1", "0"])
def test_a_row_has_all_that_is_known_of_a_choice(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    usage = {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 3}
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    called = {"recordId": record_id(1), "modelOutput": {"content": blocks, "stop_reason": "tool_use", "usage": usage}}
    refused = {"recordId": record_id(3), "modelOutput": {"content": [], "stop_reason": "refusal", "usage": usage}}
    given = output(cloud, answer(0, cache_read_input_tokens=3), called, error(2, 429, "slow"), refused)
    normalized(cloud, batch(4), given)
    known = {"ok": True, "status_code": 200, "choice": 0, "model": HAIKU, "file": "in.jsonl", "content": "hi"}
    counts = {
        "prompt_tokens": 13,
        "completion_tokens": 2,
        "total_tokens": 15,
        "cached_tokens": 3,
        "reasoning_tokens": 0,
    }
    found = rows(cloud)
    costs = [row.pop("cost_usd") for row in found]
    cost = pytest.approx((13 * 0.5 + 2 * 2.5) / 1e6)
    assert costs == [cost, cost, None, cost]
    empty = {name: value for name, value in EMPTY.items() if name != "cost_usd"}
    assert found == [
        {**empty, **known, **counts, "custom_id": "id-0", "line": 1, "finish_reason": "stop"},
        {
            **empty,
            **known,
            **counts,
            "custom_id": "id-1",
            "line": 2,
            "finish_reason": "tool_calls",
            "reasoning_content": "hm",
            "tool_calls": '[["t","f","{\\"a\\": 1}"]]',
        },
        {
            **empty,
            "custom_id": "id-2",
            "line": 3,
            "choice": 0,
            "ok": False,
            "status_code": 429,
            "error_code": "rate_limit_exceeded",
            "error_message": "slow",
            "model": HAIKU,
            "file": "in.jsonl",
        },
        {
            **empty,
            **known,
            **counts,
            "custom_id": "id-3",
            "line": 4,
            "finish_reason": "content_filter",
            "content": None,
            "refusal": "The model declined to answer.",
        },
    ]


TITAN = "amazon.titan-embed-text-v2:0"


def test_a_row_of_an_embedding(cloud: Cloud) -> None:
    given = batch(2, endpoint="/v1/embeddings", section={"model": TITAN, "base_model": TITAN, "family": "titan-embed"})
    vectors = [
        {"recordId": record_id(n), "modelOutput": {"embedding": [0.5, float(n)], "inputTextTokenCount": 7 + n}}
        for n in range(2)
    ]
    result = normalized(cloud, given, output(cloud, *vectors))
    assert (result.completed, result.prompt_tokens, result.completion_tokens) == (2, 15, 0)
    assert result.cost_usd == pytest.approx(15 * 0.01 / 1e6)
    found = rows(cloud)
    for number, row in enumerate(found):
        # A cent a million tokens in a batch.
        assert row.pop("cost_usd") == pytest.approx((7 + number) * 0.01 / 1e6)
        assert row == {
            **{name: value for name, value in EMPTY.items() if name != "cost_usd"},
            "custom_id": f"id-{number}",
            "line": number + 1,
            "choice": 0,
            "ok": True,
            "status_code": 200,
            "prompt_tokens": 7 + number,
            "total_tokens": 7 + number,
            "model": TITAN,
            "file": "in.jsonl",
            "embedding": [0.5, float(number)],
        }


@pytest.mark.parametrize("place", ["tasks.codecs.decoder.Decoder.decode", "tasks.normalize.output_line"])
def test_a_fault_of_ours_costs_one_answer_and_is_said(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise KeyError(SECRET)

    monkeypatch.setenv("BEDROCK_BATCH_FAST", "0")
    monkeypatch.setattr(place, fail)
    result = normalized(cloud, batch(1), output(cloud, answer(0)))
    assert (result.completed, result.failed, result.retryable) == (0, 1, 0)
    assert result.oddities == {"answers that this program failed to read (KeyError): please report it": 1}
    (found,) = lines(cloud, "errors.jsonl")
    body = found["response"]["body"]["error"]
    assert (found["response"]["status_code"], body["code"]) == (502, "invalid_model_output")
    assert body["message"] == "The model's output cannot be read (KeyError)."


#: What is in the output for a record, and its error: the line's `error`, or the response's status, type and code.
REASONS: dict[str, tuple[dict[str, Any], Any, bool]] = {
    "refused": (error(0, 400, "bad"), (400, "invalid_request_error", None, "bad"), False),
    "throttled": (error(0, 429, "slow"), (429, "rate_limit_error", "rate_limit_exceeded", "slow"), True),
    "a fault": (error(0, 503, "down"), (503, "server_error", None, "down"), True),
    "expired": (error(0, 408, "late", expired=True), ("batch_expired", "late"), True),
    "not the model's": (
        {"recordId": record_id(0), "modelOutput": {"content": 7}},
        (502, "server_error", "invalid_model_output", None),
        False,
    ),
    "a reply on demand that is no JSON": (
        {"recordId": record_id(0), "reply": "PGh0bWw+"},
        (502, "server_error", "invalid_model_output", None),
        False,
    ),
    "nothing": (
        {"recordId": record_id(0)},
        (500, "server_error", None, "Bedrock returned neither output nor error."),
        True,
    ),
}


@pytest.mark.parametrize("kind", REASONS)
def test_why_a_record_has_no_answer(cloud: Cloud, kind: str) -> None:
    line, expected, retryable = REASONS[kind]
    result = normalized(cloud, batch(1), output(cloud, line))
    assert (result.completed, result.failed, result.retryable) == (0, 1, retryable)
    assert lines(cloud) == []
    (found,) = lines(cloud, "errors.jsonl")
    if found["error"]:
        assert found["response"] is None
        assert (found["error"]["code"], found["error"]["message"]) == expected
        assert result.unanswered == {"expired": 1}
    else:
        status, type_, code, message = expected
        body = found["response"]["body"]["error"]
        assert (found["response"]["status_code"], body["type"], body["code"]) == (status, type_, code)
        assert message is None or body["message"] == message
        assert body["message"]
        assert result.unanswered == {}
    (row,) = rows(cloud)
    assert (row["ok"], row["content"], row["cost_usd"]) == (False, None, None)
    assert row["error_message"] == (found["error"] or found["response"]["body"]["error"])["message"]


#: State of the job that asked last, the batch's own, and the error of a record that is not in its output.
MISSING = [
    ("Completed", "in_progress", "server_error", "failed", "Bedrock returned no result for this request."),
    ("Failed", "in_progress", "server_error", "failed", "The Bedrock job failed: access denied"),
    ("Stopped", "in_progress", "batch_cancelled", "cancelled", None),
    ("Expired", "in_progress", "batch_expired", "expired", None),
    ("PartiallyCompleted", "in_progress", "batch_expired", "expired", None),
    ("Completed", "cancelling", "batch_cancelled", "cancelled", None),
    ("Expired", "cancelling", "batch_cancelled", "cancelled", None),
    (None, "in_progress", "server_error", "failed", "Bedrock returned no result for this request."),
]


@pytest.mark.parametrize(("status", "of_batch", "code", "counted", "message"), MISSING)
def test_why_a_record_is_missing(
    cloud: Cloud, status: str | None, of_batch: str, code: str, counted: str, message: str | None
) -> None:
    asked = shard(jobs=[job(status, message="access denied")] if status else [], records=2)
    result = normalized(cloud, batch(2, [asked], status=of_batch), output(cloud, answer(1)))
    (found,) = lines(cloud, "errors.jsonl")
    assert (found["custom_id"], found["response"], found["error"]["code"]) == ("id-0", None, code)
    assert message is None or found["error"]["message"] == message
    assert (result.completed, result.failed, result.unanswered) == (1, 1, {counted: 1})


def test_of_records_that_were_asked_twice_the_last_one_to_ask_says_why(cloud: Cloud) -> None:
    """And whose answer it is says what it cost: on demand twice as much."""
    first = shard(jobs=[job("Completed")], records=2)
    again = shard("again", round=2, origins=[Origin(range=0, shard="00000")], route="on_demand", records=2)
    given = batch(2, [first, again], section={"round": 2, "last_round": 2})
    result = normalized(
        cloud, given, output(cloud, error(0, 429), error(1, 429)), output(cloud, answer(1), shard_id="again")
    )
    assert (result.completed, result.failed, result.retryable) == (1, 1, 1)
    assert result.cost_usd == pytest.approx((10 * 1.0 + 2 * 5.0) / 1e6)
    (found,) = lines(cloud, "errors.jsonl")
    assert found["response"]["status_code"] == 429
    assert result.oddities == {}


def test_what_may_be_answered_is_asked_again_first(cloud: Cloud) -> None:
    """Nothing is settled then: neither result files nor counts."""
    asked = put_shard(cloud, shard(jobs=[job("Completed")]), records(range(4)))
    given = batch(4, [asked], section={"last_round": 2}, limits=Limits(min_records_per_job=3))
    result = normalized(cloud, given, output(cloud, answer(0), error(1, 429), error(2, 400)))
    (left,) = result.again
    assert (left.records, left.shard, left.range) == (2, "00000", 0)
    assert cloud.s3.objects[REF.uri("again", "part-00000-r2.jsonl").key].body == b"".join(records([1, 3]))
    assert (result.completed, result.failed) == (0, 0)
    assert not cloud.s3.keys(REF.uri("results").key)


@pytest.mark.parametrize(("status", "state"), [("cancelling", "Completed"), ("in_progress", "Failed")])
def test_what_may_not_is_settled(cloud: Cloud, status: str, state: str) -> None:
    asked = put_shard(cloud, shard(jobs=[job(state)]), records(range(2)))
    given = batch(2, [asked], section={"last_round": 2}, status=status)
    result = normalized(cloud, given, output(cloud, error(0, 429)))
    assert (result.again, result.failed) == ([], 2)


def test_what_was_never_asked_is_not_asked_again(cloud: Cloud) -> None:
    """Neither the records of a job that never ran, nor requests that are no records."""
    asked = put_shard(cloud, shard(), records(range(2)))
    result = normalized(cloud, batch(2, [asked], section={"last_round": 2}))
    assert (result.again, result.failed) == ([], 2)
    index(cloud, (0, 0, None), (1, 0, HttpError(400, "bad", "invalid_request_error", "x")))
    asked.jobs = [job("Completed")]
    result = normalized(cloud, batch(2, [asked], section={"last_round": 2}), output(cloud, error(0, 429)))
    assert [left.records for left in result.again] == [1]


def index(cloud: Cloud, *given: tuple[int, int, HttpError | None]) -> None:
    """An index of rows that are each a request, a choice, and an error of our own."""
    made = Index()
    for request, choice, wrong in given:
        sent = {"error": encode_error(wrong)} if wrong else {"shard": "00000"}
        made.add(request, f"id-{request}", request + 1, choice=choice, **sent)
    cloud.s3.put(index_object(REF, range_of()).key, made.finish())


def test_a_request_of_several_records_is_one_answer_or_one_error(cloud: Cloud) -> None:
    index(cloud, (0, 0, None), (0, 1, None), (1, 0, None), (1, 1, None))
    given = output(cloud, answer(0, "a"), answer(1, "c"), answer(0, "b", choice=1))
    result = normalized(cloud, batch(2), given)
    assert (result.completed, result.failed, result.completion_tokens) == (1, 1, 4)
    (line,) = lines(cloud)
    choices = line["response"]["body"]["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "b")]
    assert [(row["custom_id"], row["choice"], row["content"]) for row in rows(cloud)] == [
        ("id-0", 0, "a"),
        ("id-0", 1, "b"),
        ("id-1", 0, None),
    ]


def test_what_was_never_sent_has_our_own_error(cloud: Cloud) -> None:
    wrong = HttpError(400, "messages is empty", "invalid_request_error", "invalid_value", "messages")
    index(cloud, (0, 0, wrong), (1, 0, None))
    result = normalized(cloud, batch(2), output(cloud, answer(1)))
    (found,) = lines(cloud, "errors.jsonl")
    assert found["response"]["body"]["error"] == {
        "message": "messages is empty",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "invalid_value",
    }
    assert result.causes == {"invalid_value: messages is empty": (1, "id-0", 1)}
    assert (result.completed, result.failed, result.retryable, result.unanswered) == (1, 1, 0, {})


def test_causes_tell_nothing_of_a_prompt(cloud: Cloud) -> None:
    """The error file and the table have the message; what goes into logs and artifacts has its class."""
    given = output(cloud, error(0, 400, f"{SECRET} is too long"), error(1, 400, f"{SECRET} is too long: 7"))
    result = normalized(cloud, batch(2), given)
    assert result.causes == {
        "invalid_request_error (status 400): the input or max_tokens is beyond the model's limit": (2, "id-0", 1)
    }
    assert [row["error_message"] for row in rows(cloud)] == [f"{SECRET} is too long", f"{SECRET} is too long: 7"]


def test_the_commonest_causes_are_kept(cloud: Cloud) -> None:
    wrong = [HttpError(400, f"wrong {min(number, 60)}", "invalid_request_error", "x") for number in range(70)]
    index(cloud, *((number, 0, each) for number, each in enumerate(wrong)))
    result = normalized(cloud, batch(70))
    assert len(result.causes) == 50
    assert next(iter(result.causes.items())) == ("x: wrong 60", (10, "id-60", 61))
    assert result.failed == 70


def test_output_that_nobody_asked_for_is_said(cloud: Cloud) -> None:
    given = output(cloud, answer(0), answer(0, "again"), answer(9))
    result = normalized(cloud, batch(1), given)
    assert result.oddities == {
        "output records that were never asked for": 1,
        "records that were answered more than once": 1,
    }
    assert result.completed == 1


@pytest.mark.parametrize(
    ("known", "message"), [([None, "b"], "lacks 1 of 2 requests"), (["a", "b", "c"], "requests of another range")]
)
def test_an_index_that_does_not_fit_ends_nothing(cloud: Cloud, known: list[str | None], message: str) -> None:
    put_index(cloud, range_of(0, 3), known)
    with pytest.raises(AccountingError, match=message):
        normalized(cloud, batch(2), output(cloud, answer(1)))
    assert not cloud.s3.keys(REF.uri("results").key)


@pytest.mark.parametrize("fast", ["1", "0"])
def test_thoughts_and_answers_without_tokens_are_counted(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    without = answer(2)
    del without["modelOutput"]["usage"]
    thought: dict[str, Any] = {"output_tokens_details": {"thinking_tokens": 3}}
    result = normalized(cloud, batch(), output(cloud, answer(0, **thought), answer(1, **thought), without))
    assert (result.completed, result.without_usage, result.without_cost) == (3, 1, 1)
    assert (result.prompt_tokens, result.completion_tokens, result.reasoning_tokens) == (20, 4, 6)
    assert [row["reasoning_tokens"] for row in rows(cloud)] == [3, 3, None]


@pytest.mark.parametrize("fast", ["1", "0"])
def test_an_answer_costs_what_its_way_costs(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    """A dollar and five dollars a million on demand, where a later round asked it; half of that in the first one's job."""
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    first = shard(jobs=[job("Completed")], records=2)
    second = shard("00001", route="on_demand", records=1, round=2, origins=[Origin(range=0, shard="00000")])
    outputs = output(cloud, answer(0)), output(cloud, answer(1), shard_id="00001")
    normalized(cloud, batch(2, [first, second]), *outputs)
    assert [row["cost_usd"] for row in rows(cloud)] == pytest.approx([1e-5, 2e-5])


@pytest.mark.parametrize("fast", ["1", "0"])
def test_a_record_that_a_job_answered_twice_is_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    # Each object by itself.
    monkeypatch.setattr("tasks.results.answers._SMALL_OBJECT", 0)
    given = output(cloud, answer(0))
    cloud.s3.put(REF.uri("bedrock", "job-00000", "part-2.jsonl.out").key, json.dumps(answer(0)).encode())
    result = normalized(cloud, batch(1), given)
    assert (result.completed, result.oddities) == (1, {"records that were answered more than once": 1})


@pytest.mark.parametrize("fast", ["1", "0"])
def test_what_has_no_price_or_no_honest_count_is_counted(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str
) -> None:
    """And the price is asked for the tier that calls on demand have."""
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    tiers: list[str] = []
    monkeypatch.setattr("tasks.results.costs.rate_for", lambda _, *, batch, tier: tiers.append(tier))
    given = batch(options={"service_tier": "priority"})
    result = normalized(cloud, given, output(cloud, answer(0), answer(1), answer(2, output_tokens=-5)))
    assert (result.completed, result.without_cost, result.without_usage) == (3, 3, 1)
    assert set(tiers) == {"priority"}


@pytest.mark.parametrize("fast", ["1", "0"])
def test_an_error_beside_an_output_is_an_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_FAST", fast)
    result = normalized(cloud, batch(1), output(cloud, {**answer(0), **error(0, 400)}))
    assert (result.completed, result.failed) == (0, 1)


def test_of_a_request_of_several_records_nothing_is_known_before_all_of_them_are(cloud: Cloud) -> None:
    index(cloud, (0, 0, None), (0, 1, None), (1, 0, None), (1, 1, None))
    given = output(cloud, answer(0), answer(1), answer(1, choice=1))
    found = list(answered_so_far(REF, batch(2), range_of(0, 2), [given]))
    assert [result.rows[0].custom_id for result in found] == ["id-1"]
