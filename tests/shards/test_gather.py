"""What is asked again, copied out of the shards that asked it. How a round uses it: `tests/test_rounds.py`."""

from typing import Any

import msgspec
import pytest

from tasks.batch.document import BatchDocument, Origin, Shard
from tasks.batch.paths import shard_object
from tasks.bedrock.limits import Limits
from tasks.bedrock.names import record_id
from tasks.errors import PipelineError
from tasks.shards.gather import Remainder, gather, merge, write_remainders
from tasks.storage.reader import read_lines
from tests.builders import REF, document, put_shard, range_of, records, shard
from tests.conftest import CLAUDE
from tests.fakes import Cloud

#: The runner of a later epoch than that of the shards.
LATER = msgspec.structs.replace(REF, epoch=2, kms_key="key")
LIMITS = Limits(min_records_per_job=10, max_records_per_job=100, max_bytes_per_file=1000)


def ids(*numbers: int) -> set[bytes]:
    return {record_id(number).encode() for number in numbers}


def asked(cloud: Cloud, count: int = 20, **fields: Any) -> Shard:
    return put_shard(cloud, shard(**fields), records(range(count)))


def batch(*shards: Shard, **fields: Any) -> BatchDocument:
    return document(list(shards), limits=LIMITS, epoch=2, **fields)


def test_records_are_copied_as_they_were_in_their_order(cloud: Cloud) -> None:
    first = asked(cloud, invocation="Converse")
    (left,) = write_remainders(LATER, batch(first), range_of(3), {"00000": ids(17, 2, 5)})
    uri = REF.uri("again", "epoch-2", "part-00003-r2.jsonl")
    body = b"".join(records([2, 5, 17]))
    written = cloud.s3.objects[uri.key]
    assert left == Remainder("00000", 3, 3, "Converse", str(uri), len(body), written.etag)
    assert written.body == body
    assert written.options["SSEKMSKeyId"] == "key"


def test_an_id_within_a_prompt_is_none(cloud: Cloud) -> None:
    """Records are told by where their id stands, not by what a user wrote."""
    lines = [
        msgspec.json.encode({"recordId": record_id(n), "modelInput": {"text": f'"recordId":"{record_id(1 - n)}"'}})
        for n in range(2)
    ]
    first = put_shard(cloud, shard(), [line + b"\n" for line in lines])
    (left,) = write_remainders(LATER, batch(first), range_of(), {"00000": ids(1)})
    assert left.uri is not None
    assert cloud.s3.objects[left.uri.removeprefix("s3://bucket/")].body == lines[1] + b"\n"


def test_several_shards_of_a_range_are_pieces_of_their_own(cloud: Cloud) -> None:
    shards = [asked(cloud), asked(cloud, id="00000-1")]
    pieces = write_remainders(LATER, batch(*shards), range_of(), {"00000": ids(*range(12)), "00000-1": ids(*range(11))})
    assert [piece.uri for piece in pieces] == [
        str(REF.uri("input", "epoch-2", name)) for name in ("part-00000-r2.jsonl", "part-00000-r2-1.jsonl")
    ]
    assert [(piece.shard, piece.records) for piece in pieces] == [("00000", 12), ("00000-1", 11)]


@pytest.mark.parametrize(("count", "folder"), [(9, "again"), (10, "input")])
def test_what_is_enough_for_a_job_lies_where_jobs_read(cloud: Cloud, count: int, folder: str) -> None:
    (left,) = write_remainders(LATER, batch(asked(cloud)), range_of(), {"00000": ids(*range(count))})
    assert left.uri == str(REF.uri(folder, "epoch-2", "part-00000-r2.jsonl"))


@pytest.mark.parametrize(
    ("shard_fields", "batch_fields", "whole"),
    [
        ({}, {}, True),
        ({"route": "on_demand"}, {}, False),
        ({"ranges": [0, 1]}, {}, False),
        ({}, {"completion_window": "immediate"}, False),
    ],
)
def test_a_shard_is_asked_again_as_it_is_only_where_a_job_may_read_the_same_object(
    cloud: Cloud, shard_fields: dict[str, Any], batch_fields: dict[str, Any], whole: bool
) -> None:
    first = asked(cloud, **shard_fields)
    before = set(cloud.s3.objects)
    (left,) = write_remainders(LATER, batch(first, **batch_fields), range_of(), {"00000": ids(*range(20))})
    assert (left.uri is None) is whole
    assert (set(cloud.s3.objects) == before) is whole
    assert left.records == 20


def test_others_are_copied_beside_one_that_is_asked_again_as_it_is(cloud: Cloud) -> None:
    shards = [asked(cloud), asked(cloud, id="00000-1")]
    wanted = {"00000": ids(*range(20)), "00000-1": ids(1, 2)}
    whole, part = write_remainders(LATER, batch(*shards), range_of(), wanted)
    assert (whole.shard, whole.uri, whole.records) == ("00000", None, 20)
    assert (part.shard, part.uri, part.records) == (
        "00000-1",
        str(REF.uri("again", "epoch-2", "part-00000-r2-1.jsonl")),
        2,
    )


@pytest.mark.parametrize(
    ("records_", "bytes_", "groups"), [((50, 50), (1, 1), 1), ((50, 51), (1, 1), 2), ((1, 1), (999, 2), 2)]
)
def test_a_group_is_as_large_as_a_job_may_be(records_: tuple[int, int], bytes_: tuple[int, int], groups: int) -> None:
    pieces = [
        Remainder("00000", n, count, "InvokeModel", bytes=size)
        for n, (count, size) in enumerate(zip(records_, bytes_, strict=True))
    ]
    assert len(list(gather(pieces, LIMITS))) == groups


def pieces_of(cloud: Cloud, *counts: int) -> list[Remainder]:
    """Pieces of ranges from the last to the first, each of a shard of its own."""
    made = []
    for place, count in enumerate(counts):
        range_ = len(counts) - 1 - place
        uri = REF.uri("again", f"part-{range_}.jsonl")
        written = cloud.s3.put(uri.key, b"".join(records(range(range_ * 100, range_ * 100 + count))))
        made.append(Remainder(f"{range_:05d}", range_, count, "InvokeModel", str(uri), len(written.body), written.etag))
    return made


def test_a_record_may_be_longer_than_a_line_of_an_input(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that it names are in it."""
    monkeypatch.setattr(read_lines, "__defaults__", (0, None, 20, None))
    first = asked(cloud)
    (left,) = write_remainders(LATER, batch(first), range_of(), {"00000": ids(3, 4)})
    assert left.uri is not None
    assert cloud.s3.objects[left.uri.removeprefix("s3://bucket/")].body == b"".join(records([3, 4]))
    merge(LATER, batch(), [left], "InvokeModel", "r2-00000", 2)
    assert cloud.s3.objects[shard_object(LATER, "r2-00000").key].body == b"".join(records([3, 4]))


@pytest.mark.parametrize(
    ("model", "base_model"),
    [(CLAUDE, CLAUDE), (CLAUDE, ""), ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", CLAUDE)],
)
def test_padding_is_of_the_model_that_a_profile_stands_for(cloud: Cloud, model: str, base_model: str) -> None:
    given = batch(options={"below_minimum": "pad"}, section={"model": model, "base_model": base_model})
    made = merge(LATER, given, pieces_of(cloud, 9), "InvokeModel", "r2-00000", 2)
    (*_, padding) = cloud.s3.objects[shard_object(LATER, "r2-00000").key].body.splitlines()
    assert made.padding == 1
    assert msgspec.json.decode(padding)["modelInput"]["anthropic_version"] == "bedrock-2023-05-31"


def test_pieces_become_one_shard_that_knows_where_they_came_from(cloud: Cloud) -> None:
    made = merge(LATER, batch(), pieces_of(cloud, 4, 6), "InvokeModel", "r2-00000", 2)
    written = cloud.s3.objects[shard_object(REF, "r2-00000", 2).key]
    assert written.body == b"".join(records([*range(100, 104), *range(6)]))
    assert made == Shard(
        id="r2-00000",
        epoch=2,
        ranges=[0, 1],
        round=2,
        origins=[Origin(range=1, shard="00001"), Origin(range=0, shard="00000")],
        records=10,
        bytes=len(written.body),
        etag=written.etag,
        route="batch",
    )


@pytest.mark.parametrize(
    ("count", "below_minimum", "window", "route", "padding"),
    [
        (9, "on_demand", "24h", "on_demand", 0),
        (10, "on_demand", "24h", "batch", 0),
        (9, "pad", "24h", "batch", 1),
        (10, "pad", "24h", "batch", 0),
        (9, "pad", "immediate", "on_demand", 0),
        (10, "on_demand", "immediate", "on_demand", 0),
    ],
)
def test_how_a_shard_is_asked(
    cloud: Cloud, count: int, below_minimum: str, window: str, route: str, padding: int
) -> None:
    given = batch(options={"below_minimum": below_minimum}, completion_window=window)
    made = merge(LATER, given, pieces_of(cloud, count), "InvokeModel", "r2-00000", 2)
    assert (made.route, made.padding, made.records) == (route, padding, count)
    body = cloud.s3.objects[shard_object(LATER, "r2-00000").key].body
    assert (body.count(b"\n"), body.count(b'{"recordId":"pad')) == (count + padding, padding)


def test_padding_is_never_asked_again(cloud: Cloud) -> None:
    """A shard that was padded is whole by its own records; of them alone, copies are made."""
    first = put_shard(cloud, shard(), [*records(range(9)), b'{"recordId":"pad000000000","modelInput":{}}\n'])
    first.records, first.padding = 9, 1
    (whole,) = write_remainders(LATER, batch(first), range_of(), {"00000": ids(*range(9))})
    assert (whole.uri, whole.records) == (None, 9)
    (left,) = write_remainders(LATER, batch(first), range_of(), {"00000": {*ids(*range(7)), b"pad000000000"}})
    assert left.uri is not None
    assert cloud.s3.objects[left.uri.removeprefix("s3://bucket/")].body == b"".join(records(range(7)))


def test_every_piece_is_in_one_group_in_its_order() -> None:
    pieces = [
        Remainder(f"{n:05d}", n, count, "InvokeModel", bytes=size)
        for n, (count, size) in enumerate([(60, 1), (40, 1), (1, 1), (1, 999), (1, 1), (200, 5000), (1, 1)])
    ]
    groups = [[piece.range for piece in group] for group in gather(pieces, LIMITS)]
    assert groups == [[0, 1], [2, 3], [4], [5], [6]]
    assert list(gather([], LIMITS)) == []


def test_what_is_gathered_is_encrypted_and_of_its_type_of_job(cloud: Cloud) -> None:
    """Padding, too; each record of it has an id of its own. Pieces of one range name it once."""
    pieces = pieces_of(cloud, 2, 3, 1)
    pieces[2].range = 1
    made = merge(LATER, batch(options={"below_minimum": "pad"}), pieces, "Converse", "r2-00000", 2)
    written = cloud.s3.objects[shard_object(LATER, "r2-00000").key]
    assert written.options["SSEKMSKeyId"] == "key"
    assert (made.invocation, made.ranges, made.padding) == ("Converse", [1, 2], 4)
    ids_ = [msgspec.json.decode(line)["recordId"] for line in written.body.splitlines()]
    assert ids_[6:] == [f"pad{n:09d}" for n in range(4)]
    assert all("messages" in msgspec.json.decode(line)["modelInput"] for line in written.body.splitlines()[6:])
    assert (made.bytes, made.etag) == (len(written.body), written.etag)


def test_what_changed_meanwhile_is_not_asked(cloud: Cloud) -> None:
    """It would be paid for, and is not what the index knows."""
    first = asked(cloud)
    cloud.s3.put(shard_object(REF, first.id).key, b"x" * first.bytes)
    with pytest.raises(PipelineError):
        write_remainders(LATER, batch(first), range_of(), {"00000": ids(1)})
    pieces = pieces_of(cloud, 4)
    cloud.s3.put(REF.uri("again", "part-0.jsonl").key, b"x" * pieces[0].bytes)
    with pytest.raises(PipelineError):
        merge(LATER, batch(), pieces, "InvokeModel", "r2-00000", 2)


def test_the_round_names_what_is_written(cloud: Cloud) -> None:
    """Of the third round; and a shard is read where its own epoch wrote it."""
    first = asked(cloud, epoch=2)
    later = msgspec.structs.replace(LATER, epoch=5)
    (left,) = write_remainders(later, batch(first, section={"round": 3}), range_of(), {"00000": ids(1)})
    assert left.uri == str(REF.uri("again", "epoch-5", "part-00000-r4.jsonl"))
