"""Whole ranges normalised in columns, where answers are plain, and record by record: the same files."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import normalize
from tasks.batch.document import BatchDocument
from tasks.batch.paths import BatchRef, result_piece
from tasks.batch.store import read
from tasks.codecs.base import Answer, Usage
from tasks.convert import convert_range
from tasks.fast.answers import PlainAnswers
from tasks.inputs.plan import size_sampler
from tasks.open import name_batch, resume_batch, store_invalid_lines
from tasks.results.outputs import OutputObject, ShardOutput
from tasks.upload import commit_shards
from tasks.validate import validate_input
from tests.builders import call
from tests.conftest import CLAUDE, LLAMA, NOVA, chat, write_lines
from tests.fakes import Cloud
from tests.occurring import happened, occurring

pytestmark = pytest.mark.timeout(600)
LINES = 120
text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\u2028\u2029\x85b", "\ud800", "\udc00x"])
#: Of a block with a count that is too large for the columns, none is.
count = (
    st.integers(0, 500)
    | st.integers(0, 500)
    | st.sampled_from([0, 2**31 - 1, 2**31, 2**40, 2**70, -1, "1", {}, 1.5])
    | st.none()
)


#: What nearly every model returns: one text, and counts that are small numbers.
plain_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
    ["a\u2028\u2029\x85b", '"\\/']
)
plain_count = st.integers(0, 500)


def plain_claude(stop: str) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda text, prompt, completion, cached: {
            "content": [{"type": "text", "text": text}],
            "stop_reason": stop,
            "usage": {"input_tokens": prompt, "output_tokens": completion, **cached},
        },
        plain_text,
        plain_count,
        plain_count,
        st.just({}) | st.fixed_dictionaries({"cache_read_input_tokens": plain_count}),
    )


def plain_nova(stop: str) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda text, prompt, completion: {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": stop,
            "usage": {"inputTokens": prompt, "outputTokens": completion},
        },
        plain_text,
        plain_count,
        plain_count,
    )


def plain_llama(stop: str) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda text, prompt, completion: {
            "generation": text,
            "stop_reason": stop,
            "prompt_token_count": prompt,
            "generation_token_count": completion,
        },
        plain_text,
        plain_count,
        plain_count,
    )


def claude(stop: str) -> st.SearchStrategy[Any]:
    blocks = st.fixed_dictionaries({"type": st.just("text"), "text": text | st.none()}) | st.sampled_from(
        [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    )
    usage = st.fixed_dictionaries(
        {"input_tokens": count, "output_tokens": count}, optional={"cache_read_input_tokens": count}
    )
    return st.fixed_dictionaries(
        {"content": st.lists(blocks, max_size=3), "stop_reason": st.sampled_from([stop, "refusal", "tool_use", None])},
        optional={"usage": usage},
    )


def nova(stop: str) -> st.SearchStrategy[Any]:
    message = st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.lists(st.fixed_dictionaries({"text": text}), max_size=2)}
    )
    usage = st.fixed_dictionaries({"inputTokens": count, "outputTokens": count})
    return st.fixed_dictionaries(
        {"output": st.fixed_dictionaries({"message": message}), "stopReason": st.just(stop)}, optional={"usage": usage}
    )


def llama(stop: str) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"generation": text, "stop_reason": st.just(stop)},
        optional={"prompt_token_count": count, "generation_token_count": count},
    )


#: An output record: whose it is, what it says, and whether that is a plain answer.
Fate = tuple[str, Any, bool]


FAMILIES: dict[str, tuple[Any, Any, list[str]]] = {
    CLAUDE: (plain_claude, claude, ["end_turn", "max_tokens"]),
    NOVA: (plain_nova, nova, ["end_turn", "content_filtered"]),
    LLAMA: (plain_llama, llama, ["stop", "length"]),
}


def others(model: str) -> st.SearchStrategy[Any]:
    """What is no plain answer, or may be none."""
    _, family, stops = FAMILIES[model]
    errors = st.sampled_from([{"errorCode": 400, "errorMessage": "no"}, {"errorCode": 429}])
    return (
        st.fixed_dictionaries({"modelOutput": st.sampled_from(stops).flatmap(family)})
        | st.fixed_dictionaries({"modelOutput": st.sampled_from([None, {}, [], "text", 1])})
        | st.fixed_dictionaries({"error": errors})
        | st.just({})
    )


def fates(model: str) -> st.SearchStrategy[list[Fate]]:
    """Output records: most of them a plain answer to a request, some odd."""
    plain, _, stops = FAMILIES[model]
    usual = st.fixed_dictionaries({"modelOutput": st.sampled_from(stops).flatmap(plain)})
    ids = st.integers(0, LINES - 1).map(lambda number: f"r{number:09d}")
    odd = st.sampled_from(["r000000999", "pad000000001", "r000000001c0001", "nobody", ""])
    plain_ones = st.tuples(ids, usual, st.just(True))
    rest = st.tuples(ids | ids | ids | odd, others(model), st.just(False))
    return st.tuples(st.lists(plain_ones, max_size=40), st.lists(rest, max_size=8)).flatmap(
        lambda both: st.permutations([*both[0], *both[1]])
    )


@st.composite
def jobs_of(draw: Any, model: str) -> list[list[Fate]]:
    """The output of some jobs; the last one may say something else of what an earlier one answered plainly."""
    jobs = [list(job) for job in draw(st.lists(fates(model), min_size=1, max_size=3))]
    plain = [id for job in jobs[:-1] for id, _, usual in job if usual]
    if plain and draw(st.integers(0, 3)):
        _, family, stops = FAMILIES[model]
        fate = {"modelOutput": draw(st.sampled_from(stops).flatmap(family))}
        jobs[-1].append((draw(st.sampled_from(plain)), fate, False))
    return jobs


def overruled(jobs: list[list[Fate]], finish: Any) -> bool:
    """Whether a plain answer was followed, from a later job, by one that is not plain."""
    plain: set[str] = set()
    for job in jobs:
        for id, fate, usual in job:
            row = int(id[1:]) if len(id) == 10 and id[1:].isdecimal() else LINES
            if (
                not usual
                and id in plain
                and isinstance(fate.get("modelOutput"), dict)
                and row < LINES
                and not finish[row]
            ):
                return True
        plain |= {id for id, _, usual in job if usual}
    return False


def converted(model: str, path: Path) -> tuple[BatchRef, BatchDocument]:
    """A batch of one range and one job, whose job is over: hostile ids, lines that are refused and some with a context."""
    lines: list[Any] = [chat(f"req-{i}") for i in range(LINES)]
    for i, hostile in enumerate(["", '"', "\\", "\n\x00\x1f\x7f", "ключ 🗝", "</script>"]):
        lines[3 * i] = chat(hostile)
    lines[40] = "no JSON"
    for i in range(50, 60):
        lines[i] = chat(f"req-{i}", response_format={"type": "json_object"})
    write_lines(path, lines)
    resolved = call(
        input_file=str(path),
        model=model,
        on_invalid="skip",
        unsupported="drop",
        below_minimum="pad",
        invocation="InvokeModel",
    )
    summary = validate_input(str(path), None, resolved.codec.endpoints, path.parent, size_sampler(resolved))
    ref = name_batch(resolved, summary)
    document = resume_batch(ref, resolved, summary)
    store_invalid_lines(ref, summary)
    (range_,) = document.bedrock.ranges
    commit_shards(ref, document, [convert_range(ref, document, range_)])
    return ref, read(ref)


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_columns_and_records_give_the_same_files(
    model: str, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    ref, document = converted(model, tmp_path / "in.jsonl")
    (range_,) = document.bedrock.ranges
    shard = (document.bedrock.shards or [])[0]

    def run(outputs: list[ShardOutput]) -> tuple[Any, ...]:
        result = normalize.normalize_range(ref, document, range_, outputs)
        names = ("output.jsonl", "errors.jsonl", "results.parquet")
        output, errors, table = (cloud.s3.objects[result_piece(ref, range_, name).key].body for name in names)
        assert result.completed == output.count(b"\n")
        assert result.completed + result.failed == LINES
        assert len((output + errors).decode().splitlines()) == LINES
        # A sum of floats depends on their order.
        cost = pytest.approx(result.cost_usd, rel=1e-12)
        fields = {**msgspec.to_builtins(result), "cost_usd": cost}
        return output, errors, pq.read_table(io.BytesIO(table)).to_pylist(), fields

    def one_by_one(*_: object) -> None:
        return None

    def in_vain(self: normalize.Normalizer, index: pq.ParquetFile) -> PlainAnswers:
        return PlainAnswers(np.zeros(LINES, dtype=np.uint8), [])

    plain_answers = normalize.Normalizer.plain_answers
    ways: list[PlainAnswers] = []

    def noted(self: normalize.Normalizer, index: pq.ParquetFile) -> PlainAnswers:
        ways.append(plain_answers(self, index))
        return ways[-1]

    @occurring(mostly_plain=7, not_all_plain=12, overruled=2)
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(jobs_of(model), st.booleans(), st.integers(0, 2))
    def same(jobs: list[list[Fate]], small: bool, cut: int) -> None:
        objects = []
        for attempt, records in enumerate(jobs, 1):
            # Some surrogates are escaped, some raw; the latter JSON is not even UTF-8.
            lines = (json.dumps({"recordId": id, **fate}, ensure_ascii=small) for id, fate, _ in records)
            data = b"".join(line.encode("utf-8", "surrogatepass") + b"\n" for line in lines)
            data += b'{"recordId":"r000000017","modelOutput":{"con\n' * cut
            data += b"" if small else b" " * (1 << 20) + b"\n"
            uri = str(ref.uri("output", f"{attempt}.jsonl.out"))
            key = uri.removeprefix("s3://").partition("/")[2]
            etag = cloud.s3.put(key, data).etag
            objects.append(OutputObject(uri, etag, len(data), attempt))
        outputs = [ShardOutput(shard.id, objects, None, [])]
        with monkeypatch.context() as patch:
            patch.setattr(normalize.Normalizer, "plain_answers", noted)
            columns = run(outputs)
        plain, answered = int(np.count_nonzero(ways[-1].finish)), columns[0].count(b"\n")
        happened("mostly_plain", 2 * plain > answered)
        happened("not_all_plain", plain < answered)
        happened("overruled", overruled(jobs, ways[-1].finish))
        for way in (one_by_one, in_vain):
            with monkeypatch.context() as patch:
                patch.setattr(normalize.Normalizer, "plain_answers", way)
                assert run(outputs) == columns

    same()


def taken(
    *usages: Usage, error: type[Exception] | None = None, ways: tuple[int, ...] = (1, 2)
) -> tuple[list[int], list[str]]:
    """What is taken of two answers, each decoded in its own way, or failing so."""

    def way(number: int) -> Any:
        def decode(_: Any) -> Answer:
            if error and number == 1:
                raise error
            return Answer(content=f"way {number}", finish_reason="stop", usage=usages[number - 1])

        return decode

    record: Any = SimpleNamespace(has_error=False, model_output=b"{}")
    plain = PlainAnswers(np.array(ways, dtype=np.uint8), [way(1), way(2)])
    places, texts = plain.take([record, record], np.array([0, 1]))
    return places, texts.to_pylist()


def test_each_answer_is_decoded_in_its_own_way() -> None:
    assert taken(Usage(1, 2), Usage(3, 4)) == ([0, 1], ["way 1", "way 2"])
    assert taken(Usage(1, 2), Usage(3, 4), ways=(2, 0)) == ([0], ["way 2"])


def test_an_answer_that_nobody_foresaw_is_left_to_the_general_way() -> None:
    assert taken(Usage(1, 2), Usage(3, 4), error=KeyError) == ([1], ["way 2"])


@pytest.mark.parametrize("count", [2**31, 2**40, 2**63, 2**70, -1])
def test_counts_that_are_too_large_for_the_columns_are_left_to_the_general_way(count: int) -> None:
    assert taken(Usage(2**31 - 1, 2), Usage(3, 4)) == ([0, 1], ["way 1", "way 2"])
    assert taken(Usage(count, 2), Usage(3, 4)) == ([], [])
