"""Whole ranges normalised in columns, where answers are plain, and record by record: the same files."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import normalize
from tasks.batch.options import resolve_options
from tasks.batch.parameters import BatchParameters
from tasks.batch.paths import result_piece
from tasks.batch.store import read
from tasks.convert import convert_range
from tasks.fast.answers import PlainAnswers
from tasks.inputs.plan import size_sampler
from tasks.open import name_batch, resume_batch, store_invalid_lines
from tasks.results.outputs import OutputObject, ShardOutput
from tasks.upload import commit_shards
from tasks.validate import validate_input
from tests.conftest import CLAUDE, LLAMA, NOVA, Sandbox, chat, write_lines

LINES = 120
text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\u2028\u2029\x85b", "\ud800", "\udc00x"])
count = st.integers(0, 500) | st.sampled_from([0, 2**31 - 1, 2**31, 2**40, 2**70, -1, "1", {}, 1.5]) | st.none()


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


def fates(model: str) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Output records: most of them an answer to a request, some odd."""
    family, stops = {
        CLAUDE: (claude, ["end_turn", "max_tokens"]),
        NOVA: (nova, ["end_turn", "content_filtered"]),
        LLAMA: (llama, ["stop", "length"]),
    }[model]
    answer = st.sampled_from(stops).flatmap(family)
    outcome: st.SearchStrategy[Any] = (
        st.fixed_dictionaries({"modelOutput": answer})
        | st.fixed_dictionaries({"modelOutput": st.sampled_from([None, {}, [], "text", 1])})
        | st.fixed_dictionaries(
            {"error": st.sampled_from([{"errorCode": 400, "errorMessage": "no"}, {"errorCode": 429}])}
        )
        | st.just({})
    )
    ids = st.integers(0, LINES - 1).map(lambda number: f"r{number:09d}")
    odd = st.sampled_from(["r000000999", "pad000000001", "r000000001c0001", "nobody", ""])
    return st.lists(st.tuples(ids | ids | ids | odd, outcome), max_size=40)


def blocks(model: str) -> st.SearchStrategy[list[list[tuple[str, Any]]]]:
    return st.lists(fates(model), min_size=1, max_size=3)


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA])
def test_columns_and_records_give_the_same_files(
    model: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_ROUNDS", "1")
    path = tmp_path / "in.jsonl"
    lines: list[Any] = [chat(f"req-{i}") for i in range(LINES)]
    for i, hostile in enumerate(["", '"', "\\", "\n\x00\x1f\x7f", "ключ 🗝", "</script>"]):
        lines[3 * i] = chat(hostile)
    lines[40] = "no JSON"
    for i in range(50, 60):
        lines[i] = chat(f"req-{i}", response_format={"type": "json_object"})
    write_lines(path, lines)
    call = resolve_options(
        BatchParameters(
            input_file=str(path),
            model=model,
            on_invalid="skip",
            unsupported="drop",
            below_minimum="pad",
            invocation="InvokeModel",
        )
    )
    summary = validate_input(str(path), None, call.codec.endpoints, path.parent, size_sampler(call))
    ref = name_batch(call, summary)
    document = resume_batch(ref, call, summary)
    store_invalid_lines(ref, summary)
    (range_,) = document.bedrock.ranges
    commit_shards(ref, document, [convert_range(ref, document, range_)])
    document = read(ref)
    shard = (document.bedrock.shards or [])[0]

    def run(outputs: list[ShardOutput]) -> tuple[Any, ...]:
        result = normalize.normalize_range(ref, document, range_, outputs)
        names = ("output.jsonl", "errors.jsonl", "results.parquet")
        output, errors, table = (sandbox.read(str(result_piece(ref, range_, name))) for name in names)
        assert result.completed == output.count(b"\n")
        assert result.completed + result.failed == LINES
        assert len((output + errors).decode().splitlines()) == LINES
        return output, errors, pq.read_table(io.BytesIO(table)).to_pylist(), msgspec.to_builtins(result)

    def one_by_one(*_: object) -> None:
        return None

    def in_vain(self: normalize.Normalizer, index: pq.ParquetFile) -> PlainAnswers:
        return PlainAnswers(np.zeros(LINES, dtype=np.uint8), [])

    taken: Counter[bool] = Counter()

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(blocks(model), st.booleans(), st.integers(0, 2))
    def same(jobs: list[list[tuple[str, Any]]], small: bool, cut: int) -> None:
        objects = []
        for attempt, records in enumerate(jobs, 1):
            # Some surrogates are escaped, some raw; the latter JSON is not even UTF-8.
            lines = (json.dumps({"recordId": id, **fate}, ensure_ascii=small) for id, fate in records)
            data = b"".join(line.encode("utf-8", "surrogatepass") + b"\n" for line in lines)
            data += b'{"recordId":"r000000017","modelOutput":{"con\n' * cut
            data += b"" if small else b" " * (1 << 20) + b"\n"
            uri = str(ref.uri("output", f"{attempt}.jsonl.out"))
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            etag = sandbox.s3.put_object(Bucket=bucket, Key=key, Body=data)["ETag"].strip('"')
            objects.append(OutputObject(uri, etag, len(data), attempt))
        outputs = [ShardOutput(shard.id, objects, None, [])]
        columns = run(outputs)
        taken[bool(columns[0])] += 1
        for way in (one_by_one, in_vain):
            with monkeypatch.context() as patch:
                patch.setattr(normalize.Normalizer, "plain_answers", way)
                assert run(outputs) == columns

    same()
    assert taken[True]
