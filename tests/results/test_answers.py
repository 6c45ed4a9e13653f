"""Outcomes joined by recordId from output in any order: what counts, and what is odd."""

from typing import Any

import msgspec
import numpy as np
import pytest

from tasks.bedrock.names import record_id
from tasks.bedrock.records import RecordError
from tasks.results import answers as module
from tasks.results.answers import ANSWERED, MISSING, REFUSED, RETRYABLE, Answers, decode_record_error
from tasks.results.outputs import OutputObject, ShardOutput
from tests.builders import REF
from tests.fakes import BUCKET, Cloud

STRANGE = "output records that were never asked for"
TWICE = "records that were answered more than once"


def line(request: int | str, choice: int = 0, **outcome: Any) -> bytes:
    id = request if isinstance(request, str) else record_id(request, choice)
    return msgspec.json.encode({"recordId": id, **(outcome or {"modelOutput": {"n": request}})}) + b"\n"


def error(code: int) -> dict[str, Any]:
    return {"error": {"errorCode": code, "errorMessage": "no"}}


def put(cloud: Cloud, name: str, body: bytes, attempt: int = 1) -> OutputObject:
    uri = REF.uri("bedrock", name)
    stored = cloud.s3.put(uri.key, body)
    return OutputObject(f"s3://{BUCKET}/{uri.key}", stored.etag, len(body), attempt)


def output(*objects: OutputObject, shard: str = "00000") -> ShardOutput:
    return ShardOutput(shard, list(objects), None, [])


def answers(records: list[int], first: int = 0, all_requests: int | None = None) -> Answers:
    return Answers(first, np.array(records, dtype=np.int64), all_requests)


def test_unordered_output_is_joined(cloud: Cloud) -> None:
    body = b"".join(map(line, [12, 10, 11]))
    with answers([1, 1, 1, 1], first=10) as found:
        found.load([output(put(cloud, "out", body))])
        assert list(found.kinds) == [ANSWERED] * 3 + [MISSING]
        assert [found.get(row) for row in range(3)] == [b'{"n":10}', b'{"n":11}', b'{"n":12}']
        assert not found.oddities


def test_several_records_of_a_request(cloud: Cloud) -> None:
    body = b"".join([line(1, 1), line(0), line(1, 2), line(2), line(1)])
    with answers([1, 3, 1]) as found:
        found.load([output(put(cloud, "out", body))])
        assert list(found.kinds) == [ANSWERED] * 5
        assert not found.oddities


@pytest.mark.parametrize(
    ("id", "records", "odd"),
    [
        # A choice that was not asked for.
        ("r000000000c0001", [1, 1], 1),
        ("r000000001c0003", [1, 3], 1),
        ("r000000000c0001", [1, 3], 1),
        # Another range's.
        ("r000000005", [1, 1], 0),
        ("r000000005c0001", [1, 3], 0),
        ("r000000002", [1, 1], 0),
        # Nobody's.
        ("r000000010", [1, 1], 1),
        ("r0000000000", [1, 1], 1),
        ("R000000000", [1, 1], 1),
        ("r00000000é", [1, 1], 1),
        ("r00000000:", [1, 1], 1),
        ("r00000000:", [1] * 11, 1),
        ("", [1, 1], 1),
        # Padding of a job that was too small.
        ("pad000000000", [1, 1], 0),
    ],
)
def test_records_of_others(cloud: Cloud, id: str, records: list[int], odd: int) -> None:
    with answers(records, all_requests=10) as found:
        found.load([output(put(cloud, "out", line(id) + line(0)))])
        assert found.kinds[0] == ANSWERED
        assert not any(found.kinds[1:])
        assert found.oddities == ({STRANGE: odd} if odd else {})


ANSWER: dict[str, Any] = {"modelOutput": {}}


@pytest.mark.parametrize(
    ("outcomes", "kind", "text"),
    [
        ([error(429)], RETRYABLE, None),
        ([error(400)], REFUSED, None),
        ([ANSWER], ANSWERED, b"{}"),
        # Of a job after the other, the better outcome counts, and among equals the later.
        ([error(429), error(400)], REFUSED, None),
        ([error(400), error(429)], REFUSED, None),
        ([error(400), ANSWER], ANSWERED, b"{}"),
        ([ANSWER, error(400)], ANSWERED, b"{}"),
        ([ANSWER, {"modelOutput": {"later": 1}}], ANSWERED, b'{"later":1}'),
    ],
)
def test_which_outcome_counts(cloud: Cloud, outcomes: list[dict[str, Any]], kind: int, text: bytes | None) -> None:
    objects = [put(cloud, f"{n}.out", line(0, **each), attempt=n) for n, each in enumerate(outcomes, 1)]
    for outputs in ([output(*objects)], [output(each, shard=str(n)) for n, each in enumerate(objects)]):
        with answers([1]) as found:
            found.load(outputs)
            assert found.kinds[0] == kind
            assert text is None or found.get(0) == text
            assert not found.oddities, "another job may answer again"


def test_twice_in_a_jobs_own_output_is_odd(cloud: Cloud) -> None:
    with answers([1]) as found:
        found.load([output(put(cloud, "a", line(0)), put(cloud, "b", line(0, modelOutput={"n": 1})))])
        assert found.oddities == {TWICE: 1}
        assert found.get(0) == b'{"n":1}'


def test_an_error_is_kept_as_it_was_read(cloud: Cloud) -> None:
    with answers([1]) as found:
        found.load([output(put(cloud, "out", line(0, **error(429))))])
        assert decode_record_error(found.get(0)) == RecordError(429, "no")


def test_lines_that_are_nobodys_are_counted(cloud: Cloud) -> None:
    with answers([1]) as found:
        found.load([output(put(cloud, "out", b"<html>\n\n" + line(0) + b"{\n"))])
        assert found.oddities == {"output lines that cannot be read": 2}
        assert found.kinds[0] == ANSWERED


def test_whose_output_it_was(cloud: Cloud) -> None:
    with answers([1, 1, 1]) as found:
        found.load([output(put(cloud, "a", line(0))), output(put(cloud, "b", line(2)), shard="00000-r2")])
        assert [found.shards[place] for place in found.sources(np.arange(3))] == ["00000", "", "00000-r2"]


def test_large_objects_are_read_in_blocks_and_small_ones_at_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL_OBJECT", 100)
    small = [put(cloud, f"{n}.out", line(n)[: -(n % 2) or None]) for n in range(40)]
    large = put(cloud, "large.out", b"".join(map(line, range(40, 60))))
    with answers([1] * 60) as found:
        found.load([output(*small, large)])
        assert list(found.kinds) == [ANSWERED] * 60
        assert found.get(59) == b'{"n":59}'
        assert not found.oddities


@pytest.mark.parametrize("most", [0, 1 << 20])
def test_an_object_that_changed_is_not_read(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A small one as little as a large one."""
    monkeypatch.setattr(module, "_SMALL_OBJECT", most)
    entry = put(cloud, "out", line(0))
    put(cloud, "out", line(1))
    with answers([1]) as found, pytest.raises(Exception, match=r"out"):
        found.load([output(entry)])


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([40, 40, 40], [(0, 2), (2, 3)]),
        ([100, 1, 99, 1], [(0, 1), (1, 3), (3, 4)]),
        ([500, 500], [(0, 1), (1, 2)]),
        ([0, 0, 0], [(0, 3)]),
        ([], []),
    ],
)
def test_pieces_of_some_megabytes_or_one_row(
    sizes: list[int], parts: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", 100)
    with answers([1] * len(sizes)) as found:
        found.lengths[:] = sizes
        assert list(found.pieces(0, len(sizes))) == parts
        assert not list(found.pieces(len(sizes), len(sizes)))


@pytest.mark.parametrize("apart", [0, 10, 1000])
def test_texts_come_in_the_order_they_are_asked_for(apart: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether neighbours in the file are read with what lies between them, or apart."""
    monkeypatch.setattr(module, "_SKIPPED_BYTES", apart)
    texts = ["one", "", "drei", "ключ", "fünf"]
    with answers([1] * 5) as found:
        for row in (3, 0, 4, 1, 2):
            data = texts[row].encode()
            found._offset[row], found.lengths[row] = found._end, len(data)
            found._file.write(data + b"-" * 20)
            found._end += len(data) + 20
        for rows in ([0, 1, 2, 3, 4], [4, 0], [2], [1]):
            assert found.texts(np.array(rows)).to_pylist() == [texts[row] for row in rows]


def test_neighbours_in_the_file_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SKIPPED_BYTES", 10)
    with answers([1]) as found:
        found._file.write(b"x" * 1000)
        read: list[tuple[int, int]] = []
        at = found._file.read_at

        def noted(start: int, size: int) -> bytes:
            read.append((start, size))
            return at(start, size)

        monkeypatch.setattr(found._file, "read_at", noted)
        starts = np.array([0, 15, 30, 51, 100])
        places, data = found._read(starts, np.full(5, 10, dtype=np.int32))
    # Ten bytes between two texts are read with them, eleven are not.
    assert read == [(0, 40), (51, 10), (100, 10)]
    assert (places.tolist(), len(data)) == ([0, 15, 30, 40, 50], 60)


def test_an_object_between_the_small_and_the_large_is_read_once(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(cloud, "out", line(0))
    for most in (entry.bytes - 1, entry.bytes, entry.bytes + 1):
        monkeypatch.setattr(module, "_SMALL_OBJECT", most)
        with answers([1]) as found:
            found.load([output(entry)])
            assert (found.kinds[0], found.oddities) == (ANSWERED, {})


def test_more_jobs_than_a_byte_counts(cloud: Cloud) -> None:
    """Whose output the last ones' is, is told as the 255th's; it is somebody's, and nothing of it is odd."""
    count = 300
    outputs = [output(put(cloud, f"{n}.out", line(n)), shard=f"{n:05d}") for n in range(count)]
    with answers([1] * count) as found:
        found.load(outputs)
        assert list(found.kinds) == [ANSWERED] * count
        told = [found.shards[place] for place in found.sources(np.arange(count))]
        assert told == [f"{min(n, 254):05d}" for n in range(count)]
        assert not found.oddities


def test_all_small_objects_of_a_job_are_read(cloud: Cloud) -> None:
    """Answers on demand are an object each: more of them than are read at a time."""
    count = 300
    with answers([1] * count) as found:
        found.load([output(*(put(cloud, f"{n}.out", line(n)) for n in range(count)))])
        assert list(found.kinds) == [ANSWERED] * count


def test_the_spool_is_closed_and_memory_bounded() -> None:
    with answers([1]) as found:
        spool = found._file
        assert not spool.closed
    assert spool.closed
    assert (module._SMALL_OBJECT, module._PIECE_BYTES, module._SKIPPED_BYTES) == (1 << 20, 8 << 20, 16 << 10)
    assert (MISSING, RETRYABLE, REFUSED, ANSWERED) == (0, 1, 2, 3), "a greater one goes before a lesser one"
